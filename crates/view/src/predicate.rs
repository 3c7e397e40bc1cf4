//! Whether a row satisfies a filter, exactly as Postgres would decide it.
//!
//! SQL's logic has three values. A check of NULL is unknown, not false, and the difference shows
//! as soon as something negates it; so the evaluator keeps all three and only [`matches`] folds
//! them.

mod special;

use std::cmp::Ordering;

use self::special::{array_check, folded_check, json_check, known, range_check};
use tidegate_core::{
    Check, Comparison, Filter, Inclusion, JsonCheck, Polarity, Test, TextMatch, Value,
};

/// The result of a condition. In rising order, so that AND is the minimum and OR the maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Truth {
    /// It does not hold.
    False,
    /// NULL was in the way.
    Unknown,
    /// It holds.
    True,
}

impl Truth {
    const fn of(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }

    /// What `polarity` makes of whether a value is inside.
    const fn inside(is_inside: bool, polarity: Polarity) -> Self {
        match polarity {
            Polarity::Inside => Self::of(is_inside),
            Polarity::Outside => Self::of(!is_inside),
        }
    }
}

/// Whether the row satisfies the filter: a result of unknown does not.
#[must_use]
pub fn matches(filter: &Filter, row: &[Value]) -> bool {
    evaluate(filter, row) == Truth::True
}

/// Evaluates a filter on a row, whose values stand in the order of the schema the filter was made
/// for.
#[must_use]
pub fn evaluate(filter: &Filter, row: &[Value]) -> Truth {
    match filter {
        Filter::All(members) => {
            let mut least = Truth::True;
            for member in members {
                least = least.min(evaluate(member, row));
                if least == Truth::False {
                    break;
                }
            }
            least
        }
        Filter::Any(members) => {
            let mut most = Truth::False;
            for member in members {
                most = most.max(evaluate(member, row));
                if most == Truth::True {
                    break;
                }
            }
            most
        }
        Filter::Test(Test { column, check }) => match row.get(*column) {
            Some(value) => evaluate_check(check, value),
            None => Truth::Unknown,
        },
    }
}

fn evaluate_check(check: &Check, value: &Value) -> Truth {
    match check {
        Check::IsNull => return Truth::of(value.is_null()),
        Check::IsNotNull => return Truth::of(!value.is_null()),
        // Postgres cannot write an empty list; the contract says that NULL is not in it either.
        Check::InList(values, polarity) if values.is_empty() => {
            return Truth::inside(false, *polarity);
        }
        // No document has no members.
        Check::Json(JsonCheck::HasField(_) | JsonCheck::HasFieldText(_)) if value.is_null() => {
            return Truth::False;
        }
        Check::Compare(..)
        | Check::Between { .. }
        | Check::InList(..)
        | Check::Text(..)
        | Check::Folded(..)
        | Check::Pattern(..)
        | Check::Array(_)
        | Check::Json(_)
        | Check::Range(..) => {}
    }
    // `None` where the value is NULL (or of another kind, which a column's values never are), and
    // for checks that only the database can decide, which no live query has.
    known_check(check, value).unwrap_or(Truth::Unknown)
}

fn known_check(check: &Check, value: &Value) -> Option<Truth> {
    Some(match check {
        Check::IsNull | Check::IsNotNull => return None,
        Check::Compare(comparison, constant) => {
            Truth::of(satisfies(*comparison, value.compare(constant)?))
        }
        Check::Between {
            low,
            high,
            polarity,
        } => {
            let above = within(low.1, value.compare(&low.0)?);
            let below = within(high.1, high.0.compare(value)?);
            Truth::inside(above && below, *polarity)
        }
        Check::InList(values, polarity) => {
            value.compare(values.first()?)?;
            let order = |member: &Value| member.compare(value).unwrap_or(Ordering::Less);
            Truth::inside(values.binary_search_by(order).is_ok(), *polarity)
        }
        Check::Text(kind, needle) => Truth::of(text_matches(*kind, text_of(value)?, needle)),
        Check::Folded(folding, check) => return folded_check(*folding, check, text_of(value)?),
        Check::Pattern(pattern, polarity) => {
            return known(pattern.matches(text_of(value)?), *polarity);
        }
        Check::Array(check) => match value {
            Value::Array(array) => array_check(check, array),
            _ => return None,
        },
        Check::Json(check) => match value {
            Value::Json(text) => return json_check(check, text),
            _ => return None,
        },
        Check::Range(kind, check) => return range_check(*kind, check, text_of(value)?),
    })
}

fn text_of(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

const fn satisfies(comparison: Comparison, order: Ordering) -> bool {
    match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    }
}

/// Whether a value that compares to an end of a range like this lies on its inner side.
const fn within(end: Inclusion, order: Ordering) -> bool {
    match end {
        Inclusion::Included => order.is_ge(),
        Inclusion::Excluded => order.is_gt(),
    }
}

/// Both are UTF-8, so a match of bytes is a match of characters.
fn text_matches(kind: TextMatch, text: &str, needle: &str) -> bool {
    match kind {
        TextMatch::StartsWith => text.starts_with(needle),
        TextMatch::EndsWith => text.ends_with(needle),
        TextMatch::Contains => text.contains(needle),
        TextMatch::NotContains => !text.contains(needle),
    }
}

#[cfg(test)]
mod tests;
