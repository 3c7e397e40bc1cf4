//! The naive engine: filters every row, sorts them all, cuts.
//!
//! It shares nothing with the crate but the vocabulary: logic with `Option<bool>`, order by
//! comparing values, no bytes and no state.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use tidegate_core::{
    Check, Comparison, Direction, Filter, Inclusion, KeysetBound, Nulls, OrderKey, Polarity, Query,
    Row, RowChange, TableChange, TableSchema, TextMatch, Value,
};

/// The rows of a table, by the text of their key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) rows: BTreeMap<String, Row>,
}

pub(crate) fn key_text(values: &[Value]) -> String {
    let texts = values
        .iter()
        .map(|value| value.to_text().unwrap_or_default());
    texts.collect::<Vec<_>>().join("|")
}

impl Table {
    pub(crate) fn apply(&mut self, schema: &TableSchema, change: &TableChange) {
        let Some(rows) = &change.rows else {
            self.rows.clear();
            return;
        };
        for change in rows {
            match change {
                RowChange::Delete { key } => {
                    self.rows.remove(&key_text(key));
                }
                RowChange::Upsert { old_key, row } => {
                    if let Some(key) = old_key {
                        self.rows.remove(&key_text(key));
                    }
                    self.rows.insert(key_text(&schema.key_of(row)), row.clone());
                }
            }
        }
    }

    /// The first `count` rows of a query, its own limit set aside.
    pub(crate) fn page(&self, query: &Query, count: usize) -> Vec<Row> {
        let mut rows: Vec<Row> = self
            .rows
            .values()
            .filter(|row| truth(query.filter(), row) == Some(true) && after_keyset(query, row))
            .cloned()
            .collect();
        rows.sort_by(|a, b| compare_rows(query.order(), a, b));
        rows.truncate(count);
        rows
    }
}

pub(crate) fn truth(filter: &Filter, row: &[Value]) -> Option<bool> {
    match filter {
        Filter::All(members) => {
            let all: Vec<_> = members.iter().map(|member| truth(member, row)).collect();
            if all.contains(&Some(false)) {
                Some(false)
            } else if all.contains(&None) {
                None
            } else {
                Some(true)
            }
        }
        Filter::Any(members) => {
            let all: Vec<_> = members.iter().map(|member| truth(member, row)).collect();
            if all.contains(&Some(true)) {
                Some(true)
            } else if all.contains(&None) {
                None
            } else {
                Some(false)
            }
        }
        Filter::Test(test) => check_truth(&test.check, &row[test.column]),
    }
}

fn check_truth(check: &Check, value: &Value) -> Option<bool> {
    let turned = |inside: bool, polarity: &Polarity| match polarity {
        Polarity::Inside => inside,
        Polarity::Outside => !inside,
    };
    match check {
        Check::IsNull => Some(*value == Value::Null),
        Check::IsNotNull => Some(*value != Value::Null),
        Check::InList(list, polarity) if list.is_empty() => Some(turned(false, polarity)),
        Check::InList(list, polarity) => {
            let hits: Option<Vec<_>> = list.iter().map(|member| value.compare(member)).collect();
            Some(turned(hits?.contains(&Ordering::Equal), polarity))
        }
        Check::Compare(comparison, constant) => {
            let order = value.compare(constant)?;
            Some(match comparison {
                Comparison::Equal => order == Ordering::Equal,
                Comparison::NotEqual => order != Ordering::Equal,
                Comparison::Less => order == Ordering::Less,
                Comparison::LessOrEqual => order != Ordering::Greater,
                Comparison::Greater => order == Ordering::Greater,
                Comparison::GreaterOrEqual => order != Ordering::Less,
            })
        }
        Check::Between {
            low,
            high,
            polarity,
        } => {
            let (above, below) = (value.compare(&low.0)?, value.compare(&high.0)?);
            let above = above == Ordering::Greater
                || (above == Ordering::Equal && low.1 == Inclusion::Included);
            let below = below == Ordering::Less
                || (below == Ordering::Equal && high.1 == Inclusion::Included);
            Some(turned(above && below, polarity))
        }
        Check::Text(kind, needle) => {
            let Value::Text(text) = value else {
                return None;
            };
            let (text, needle) = (text.as_bytes(), needle.as_bytes());
            let contains =
                needle.is_empty() || text.windows(needle.len()).any(|part| part == needle);
            Some(match kind {
                TextMatch::StartsWith => text.starts_with(needle),
                TextMatch::EndsWith => text.ends_with(needle),
                TextMatch::Contains => contains,
                TextMatch::NotContains => !contains,
            })
        }
        Check::Folded(..)
        | Check::Pattern(..)
        | Check::Array(_)
        | Check::Json(_)
        | Check::Range(..) => panic!("no query of these tests asks this: {check:?}"),
    }
}

pub(crate) fn compare_values(key: &OrderKey, a: &Value, b: &Value) -> Ordering {
    let null_side = match key.nulls {
        Nulls::First => Ordering::Less,
        Nulls::Last => Ordering::Greater,
    };
    match (a.is_null(), b.is_null()) {
        (true, true) => Ordering::Equal,
        (true, false) => null_side,
        (false, true) => null_side.reverse(),
        (false, false) => {
            let order = a.compare(b).expect("one column, one kind");
            match key.direction {
                Direction::Ascending => order,
                Direction::Descending => order.reverse(),
            }
        }
    }
}

pub(crate) fn compare_rows(order: &[OrderKey], a: &[Value], b: &[Value]) -> Ordering {
    order
        .iter()
        .map(|key| compare_values(key, &a[key.column], &b[key.column]))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

pub(crate) fn after_keyset(query: &Query, row: &[Value]) -> bool {
    let Some(keyset) = query.keyset() else {
        return true;
    };
    let order = keyset
        .values
        .iter()
        .zip(query.order())
        .map(|(value, key)| compare_values(key, &row[key.column], value))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal);
    match keyset.bound {
        KeysetBound::At => order.is_ge(),
        KeysetBound::After => order.is_gt(),
    }
}
