//! A keyset as a condition of SQL, and the order it belongs to.
//!
//! Row-value comparison does not fit mixed directions or NULLs in any database, so the comparison
//! is written out: after the first half of the keys, or equal in it and after the second half.
//! Halving keeps the text short and the expression shallow for any number of keys.

use tidegate_core::{Comparison, Direction, Keyset, KeysetBound, Nulls, OrderKey};

use crate::writer::{Parameter, Writer};

/// A key of the order and where in it the page starts.
struct Bound {
    key: OrderKey,
    /// None for NULL, which is written in words: a parameter that no text names is refused.
    value: Option<Parameter>,
}

impl Writer<'_> {
    pub(crate) fn order(&mut self, order: &[OrderKey]) {
        for (at, key) in order.iter().enumerate() {
            self.push(if at == 0 { " ORDER BY " } else { ", " });
            self.ordering_column(key.column);
            self.push(match key.direction {
                Direction::Ascending => " ASC",
                Direction::Descending => " DESC",
            });
            // Left out where nothing is NULL: with it SQLite does not use an index for the order.
            if self.is_nullable(key.column) {
                self.push(match key.nulls {
                    Nulls::First => " NULLS FIRST",
                    Nulls::Last => " NULLS LAST",
                });
            }
        }
    }

    pub(crate) fn keyset(&mut self, order: &[OrderKey], keyset: &Keyset) {
        let bounds: Vec<Bound> = order
            .iter()
            .zip(&keyset.values)
            .map(|(key, value)| Bound {
                key: *key,
                value: (!value.is_null()).then(|| self.bind_constant(value)),
            })
            .collect();
        if let [first, ..] = &bounds[..] {
            self.range(first);
        }
        self.push("(");
        self.after_all(&bounds);
        if keyset.bound == KeysetBound::At {
            self.push(" OR ");
            self.equal_all(&bounds);
        }
        self.push(")");
    }

    /// Says once more, as a plain range, what follows from the rest for the first key, so that an
    /// index on it can be entered at the right place.
    fn range(&mut self, first: &Bound) {
        let Some(value) = first.value else { return };
        if self.is_nullable(first.key.column) {
            return;
        }
        let comparison = match first.key.direction {
            Direction::Ascending => Comparison::GreaterOrEqual,
            Direction::Descending => Comparison::LessOrEqual,
        };
        self.compared(first.key.column, comparison, value);
        self.push(" AND ");
    }

    fn after_all(&mut self, bounds: &[Bound]) {
        match bounds {
            [] => self.truth(false),
            [bound] => self.after(bound),
            _ => {
                let (left, right) = bounds.split_at(bounds.len() / 2);
                self.push("(");
                self.after_all(left);
                self.push(" OR (");
                self.equal_all(left);
                self.push(" AND ");
                self.after_all(right);
                self.push("))");
            }
        }
    }

    fn equal_all(&mut self, bounds: &[Bound]) {
        if bounds.is_empty() {
            return self.truth(true);
        }
        self.joined(" AND ", bounds, &mut |writer, bound| {
            let Some(value) = bound.value else {
                writer.column(bound.key.column);
                return writer.push(" IS NULL");
            };
            writer.compared(bound.key.column, Comparison::Equal, value);
        });
    }

    fn after(&mut self, bound: &Bound) {
        let column = bound.key.column;
        match (bound.value, bound.key.nulls) {
            (None, Nulls::First) => {
                self.column(column);
                self.push(" IS NOT NULL");
            }
            (None, Nulls::Last) => self.truth(false),
            (Some(value), nulls) => {
                let comparison = match bound.key.direction {
                    Direction::Ascending => Comparison::Greater,
                    Direction::Descending => Comparison::Less,
                };
                self.push("(");
                self.compared(bound.key.column, comparison, value);
                if nulls == Nulls::Last && self.is_nullable(column) {
                    self.push(" OR ");
                    self.column(column);
                    self.push(" IS NULL");
                }
                self.push(")");
            }
        }
    }
}

pub(crate) fn comparison_text(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => " = ",
        Comparison::NotEqual => " <> ",
        Comparison::Less => " < ",
        Comparison::LessOrEqual => " <= ",
        Comparison::Greater => " > ",
        Comparison::GreaterOrEqual => " >= ",
    }
}
