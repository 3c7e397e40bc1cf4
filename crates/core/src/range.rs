//! Ranges of Postgres: what lies between two ends.

use std::cmp::Ordering;
use std::fmt;

use crate::calendar::{parse_far_date, parse_far_timestamp};
use crate::filter::Inclusion;
use crate::numeric::Numeric;
use crate::schema::ColumnType;
use crate::value::Value;

/// A range type that Postgres brings along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RangeType {
    /// `int4range`
    Int4,
    /// `int8range`
    Int8,
    /// `numrange`
    Num,
    /// `daterange`
    Date,
    /// `tsrange`
    Ts,
    /// `tstzrange`
    Tstz,
}

impl RangeType {
    const ALL: [Self; 6] = [
        Self::Int4,
        Self::Int8,
        Self::Num,
        Self::Date,
        Self::Ts,
        Self::Tstz,
    ];

    /// The type of a name in SQL.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its name in SQL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int4 => "int4range",
            Self::Int8 => "int8range",
            Self::Num => "numrange",
            Self::Date => "daterange",
            Self::Ts => "tsrange",
            Self::Tstz => "tstzrange",
        }
    }

    /// The type of what lies in it.
    #[must_use]
    pub const fn element(self) -> ColumnType {
        match self {
            Self::Int4 => ColumnType::Integer,
            Self::Int8 => ColumnType::BigInt,
            Self::Num => ColumnType::Numeric,
            Self::Date => ColumnType::Date,
            Self::Ts | Self::Tstz => ColumnType::Timestamp,
        }
    }

    /// The value after this one, where values can be counted. An error when there is none.
    fn after(self, value: &Value) -> Option<Result<Value, String>> {
        let out = || "is out of range".to_owned();
        match (self, value) {
            (Self::Int4, Value::Int(value)) => {
                let next = i32::try_from(value + 1).map_err(|_| out());
                Some(next.map(|next| Value::Int(next.into())))
            }
            (Self::Int8, Value::Int(value)) => {
                Some(value.checked_add(1).map(Value::Int).ok_or_else(out))
            }
            (Self::Date, Value::Date(days)) => {
                Some(days.checked_add(1).map(Value::Date).ok_or_else(out))
            }
            _ => None,
        }
    }
}

/// One end of a range: a value, and whether it belongs; `None` when there is no end.
pub type End = Option<(Value, Inclusion)>;

/// A range, in the one form that Postgres gives it: where values can be counted, the lower end
/// belongs to it and the upper one does not.
#[derive(Debug, Clone, PartialEq)]
pub enum Range {
    /// Nothing lies in it.
    Empty,
    /// What lies between two ends.
    Between {
        /// The lower end.
        low: End,
        /// The upper end.
        high: End,
    },
}

impl Range {
    /// A range of these ends.
    ///
    /// # Errors
    /// A phrase that completes "column x …" when the ends are crossed, or have no next value.
    pub fn new(kind: RangeType, low: End, high: End) -> Result<Self, String> {
        if let (Some((low, _)), Some((high, _))) = (&low, &high)
            && low.compare(high) == Some(Ordering::Greater)
        {
            return Err("needs a range whose lower end is not above the upper".to_owned());
        }
        let low = counted(kind, low, Inclusion::Excluded, Inclusion::Included)?;
        let high = counted(kind, high, Inclusion::Included, Inclusion::Excluded)?;
        if let (Some((from, low)), Some((to, high))) = (&low, &high) {
            let both = (*low, *high) == (Inclusion::Included, Inclusion::Included);
            match from.compare(to) {
                Some(Ordering::Equal) if both => {}
                Some(Ordering::Less) => {}
                _ => return Ok(Self::Empty),
            }
        }
        Ok(Self::Between { low, high })
    }

    /// Reads the text that Postgres prints.
    #[must_use]
    pub fn parse(kind: RangeType, text: &str) -> Option<Self> {
        if text == "empty" {
            return Some(Self::Empty);
        }
        let inclusion = |included: bool| match included {
            true => Inclusion::Included,
            false => Inclusion::Excluded,
        };
        let (first, last) = (text.chars().next()?, text.chars().next_back()?);
        let ends = text.get(1..text.len() - 1)?;
        let (low, high) = ends.split_once(',')?;
        let end = |text: &str, included: bool| match text.trim_matches('"') {
            "" => Some(None),
            text => Some(Some((bound(kind, text)?, inclusion(included)))),
        };
        Some(Self::Between {
            low: end(low, first == '[')?,
            high: end(high, last == ']')?,
        })
    }

    /// Whether a value lies in it.
    #[must_use]
    pub fn holds(&self, value: &Value) -> bool {
        let Self::Between { low, high } = self else {
            return false;
        };
        let above = low
            .as_ref()
            .is_none_or(|(low, end)| value.compare(low).is_some_and(|order| admits(*end, order)));
        let below = high
            .as_ref()
            .is_none_or(|(high, end)| high.compare(value).is_some_and(|order| admits(*end, order)));
        above && below
    }

    /// Whether all of another range lies in it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Empty) => true,
            (Self::Empty, Self::Between { .. }) => false,
            (
                Self::Between { low, high },
                Self::Between {
                    low: other_low,
                    high: other_high,
                },
            ) => {
                is_outside(low, other_low, Ordering::Less)
                    && is_outside(high, other_high, Ordering::Greater)
            }
        }
    }
}

/// Moves an end that is `from` to the value after, where it is `to`.
fn counted(kind: RangeType, end: End, from: Inclusion, to: Inclusion) -> Result<End, String> {
    match end {
        Some((value, inclusion)) if inclusion == from => match kind.after(&value) {
            Some(next) => Ok(Some((next?, to))),
            None => Ok(Some((value, inclusion))),
        },
        other => Ok(other),
    }
}

fn admits(end: Inclusion, order: Ordering) -> bool {
    match end {
        Inclusion::Included => order.is_ge(),
        Inclusion::Excluded => order.is_gt(),
    }
}

/// Whether an end is at or beyond another of the same side, outwards.
fn is_outside(end: &End, inner: &End, outwards: Ordering) -> bool {
    match (end, inner) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some((end, own)), Some((inner, other))) => match end.compare(inner) {
            Some(Ordering::Equal) => *own == Inclusion::Included || *other == Inclusion::Excluded,
            order => order == Some(outwards),
        },
    }
}

/// An end's value. In a range there may be moments that no column of ours holds.
fn bound(kind: RangeType, text: &str) -> Option<Value> {
    match kind {
        RangeType::Int4 | RangeType::Int8 => text.parse().ok().map(Value::Int),
        RangeType::Num => Numeric::parse(text).map(Value::Numeric),
        RangeType::Date => parse_far_date(text).map(Value::Date),
        RangeType::Ts | RangeType::Tstz => parse_far_timestamp(text).map(Value::Timestamp),
    }
}

impl fmt::Display for Range {
    /// As Postgres reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Between { low, high } = self else {
            return f.write_str("empty");
        };
        let text = |end: &End| match end {
            None => String::new(),
            Some((value, _)) => format!("\"{}\"", value.to_text().unwrap_or_default()),
        };
        let is_included = |end: &End| matches!(end, Some((_, Inclusion::Included)));
        let open = if is_included(low) { '[' } else { '(' };
        let close = if is_included(high) { ']' } else { ')' };
        write!(f, "{open}{},{}{close}", text(low), text(high))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(kind: RangeType, text: &str) -> Range {
        Range::parse(kind, text).expect(text)
    }

    /// Ranges are compared as Postgres compares them, ends and all.
    #[test]
    fn holds_and_covers() {
        let int = |text| range(RangeType::Int4, text);
        assert!(int("[1,10)").holds(&Value::Int(1)));
        assert!(!int("[1,10)").holds(&Value::Int(10)));
        assert!(int("(,)").holds(&Value::Int(10)));
        assert!(!int("empty").holds(&Value::Int(10)));
        for (outer, inner, covers) in [
            ("[1,10)", "[1,10)", true),
            ("[1,10)", "[1,11)", false),
            ("[1,10)", "empty", true),
            ("empty", "[1,2)", false),
            ("[1,)", "[5,)", true),
            ("[1,10)", "(,5)", false),
            ("(,)", "(,)", true),
        ] {
            assert_eq!(int(outer).covers(&int(inner)), covers, "{outer} {inner}");
        }
        let num = |text| range(RangeType::Num, text);
        assert!(!num("(1.0,2]").covers(&num("[1,2]")));
        assert!(num("[1,2]").covers(&num("(1.00,2)")));
        let date = |text| range(RangeType::Date, text);
        assert!(date("[-infinity,infinity)").holds(&Value::Date(0)));
        assert!(date("[\"0044-03-15 BC\",12026-01-01)").holds(&Value::Date(0)));
    }

    /// A range made of ends is the one that Postgres makes of them.
    #[test]
    fn counted_ends() {
        let end = |value: i64, inclusion| Some((Value::Int(value), inclusion));
        let made = Range::new(
            RangeType::Int4,
            end(1, Inclusion::Excluded),
            end(5, Inclusion::Included),
        );
        assert_eq!(
            made.map(|range| range.to_string()),
            Ok("[\"2\",\"6\")".to_owned())
        );
        let new = |low, high| Range::new(RangeType::Int4, low, high);
        let nothing = new(end(3, Inclusion::Excluded), end(4, Inclusion::Excluded));
        assert_eq!(nothing, Ok(Range::Empty));
        assert!(new(end(4, Inclusion::Included), end(3, Inclusion::Included)).is_err());
        let most = end(i64::from(i32::MAX), Inclusion::Included);
        assert!(new(None, most).is_err());
    }
}
