//! Queries evaluated plainly, over all rows of a table, by the values' own comparison.

use std::cmp::Ordering;

use tidegate_core::{
    Check, Comparison, Direction, Filter, Inclusion, Keyset, KeysetBound, Nulls, Polarity, Query,
    Row, Test, TextMatch, Value,
};
use tidegate_view::{Truth, evaluate};

fn matches(filter: &Filter, row: &Row) -> Option<bool> {
    match filter {
        Filter::All(members) => combined(members, row, false),
        Filter::Any(members) => combined(members, row, true),
        Filter::Test(test) => passes(test, row),
    }
}

/// AND is false when one member is, OR true when one member is; else unknown wins.
fn combined(members: &[Filter], row: &Row, decides: bool) -> Option<bool> {
    let results: Vec<Option<bool>> = members.iter().map(|member| matches(member, row)).collect();
    if results.contains(&Some(decides)) {
        return Some(decides);
    }
    if results.contains(&None) {
        return None;
    }
    Some(!decides)
}

fn passes(test: &Test, row: &Row) -> Option<bool> {
    let value = &row[test.column];
    match &test.check {
        Check::IsNull => Some(value.is_null()),
        Check::IsNotNull => Some(!value.is_null()),
        Check::Compare(comparison, constant) => compares(value, *comparison, constant),
        Check::Between {
            low,
            high,
            polarity,
        } => {
            let above = match low.1 {
                Inclusion::Included => Comparison::GreaterOrEqual,
                Inclusion::Excluded => Comparison::Greater,
            };
            let below = match high.1 {
                Inclusion::Included => Comparison::LessOrEqual,
                Inclusion::Excluded => Comparison::Less,
            };
            let inside = compares(value, above, &low.0)? && compares(value, below, &high.0)?;
            Some(inside == (*polarity == Polarity::Inside))
        }
        Check::InList(values, polarity) if values.is_empty() => {
            Some(*polarity == Polarity::Outside)
        }
        Check::InList(values, polarity) => {
            let found = |other: &Value| value.compare(other) == Some(Ordering::Equal);
            (!value.is_null()).then(|| values.iter().any(found) == (*polarity == Polarity::Inside))
        }
        Check::Text(kind, needle) => {
            let Value::Text(text) = value else {
                return None;
            };
            Some(match kind {
                TextMatch::StartsWith => text.starts_with(&**needle),
                TextMatch::EndsWith => text.ends_with(&**needle),
                TextMatch::Contains => text.contains(&**needle),
                TextMatch::NotContains => !text.contains(&**needle),
            })
        }
        // These are held against the server itself, check by check: see `verdicts`.
        Check::Folded(..)
        | Check::Pattern(..)
        | Check::Array(_)
        | Check::Json(_)
        | Check::Range(..) => match evaluate(&Filter::Test(test.clone()), row) {
            Truth::True => Some(true),
            Truth::False => Some(false),
            Truth::Unknown => None,
        },
    }
}

fn compares(value: &Value, comparison: Comparison, constant: &Value) -> Option<bool> {
    let ordering = value.compare(constant)?;
    Some(match comparison {
        Comparison::Equal => ordering.is_eq(),
        Comparison::NotEqual => ordering.is_ne(),
        Comparison::Less => ordering.is_lt(),
        Comparison::LessOrEqual => ordering.is_le(),
        Comparison::Greater => ordering.is_gt(),
        Comparison::GreaterOrEqual => ordering.is_ge(),
    })
}

fn order(
    query: &Query,
    a: &dyn Fn(usize) -> Value,
    b: &dyn Fn(usize) -> Value,
    keys: usize,
) -> Ordering {
    for (place, key) in query.order().iter().take(keys).enumerate() {
        let (a, b) = (a(place), b(place));
        let nulls_first = key.nulls == Nulls::First;
        let ordering = match (a.is_null(), b.is_null()) {
            (true, true) => Ordering::Equal,
            (true, false) if nulls_first => Ordering::Less,
            (true, false) => Ordering::Greater,
            (false, true) if nulls_first => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => match key.direction {
                Direction::Ascending => a.compare(&b).unwrap(),
                Direction::Descending => b.compare(&a).unwrap(),
            },
        };
        if ordering.is_ne() {
            return ordering;
        }
    }
    Ordering::Equal
}

fn of_row<'a>(query: &'a Query, row: &'a Row) -> impl Fn(usize) -> Value + 'a {
    |place| row[query.order()[place].column].clone()
}

fn from_keyset(query: &Query, keyset: Option<&Keyset>, row: &Row) -> bool {
    let Some(keyset) = keyset else { return true };
    let at = |place: usize| keyset.values[place].clone();
    let ordering = order(query, &of_row(query, row), &at, keyset.values.len());
    match keyset.bound {
        KeysetBound::At => ordering.is_ge(),
        KeysetBound::After => ordering.is_gt(),
    }
}

/// The query's rows out of all of a table's.
pub(crate) fn expected(query: &Query, rows: &[Row]) -> Vec<Row> {
    first(query, rows, query.limit() as usize)
}

/// The first of the query's rows, whatever its limit.
pub(crate) fn first(query: &Query, rows: &[Row], count: usize) -> Vec<Row> {
    let mut found: Vec<Row> = rows
        .iter()
        .filter(|row| matches(query.filter(), row) == Some(true))
        .filter(|row| from_keyset(query, query.keyset(), row))
        .cloned()
        .collect();
    let keys = query.order().len();
    found.sort_by(|a, b| order(query, &of_row(query, a), &of_row(query, b), keys));
    found.truncate(count);
    found
}
