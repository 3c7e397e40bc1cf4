//! A filter as a condition of SQL.

use std::sync::Arc;

use tidegate_core::{Check, Comparison, Filter, Inclusion, Polarity, Test, TextMatch, Value};

use crate::dialect::Dialect;
use crate::keyset::comparison_text;
use crate::writer::Writer;

impl Writer<'_> {
    pub(crate) fn filter(&mut self, filter: &Filter) {
        match filter {
            Filter::All(members) if members.is_empty() => self.truth(true),
            Filter::All(members) => self.joined(" AND ", members, &mut Self::member),
            Filter::Any(members) => self.joined(" OR ", members, &mut Self::member),
            Filter::Test(test) => self.test(test),
        }
    }

    pub(crate) fn truth(&mut self, truth: bool) {
        self.push(self.dialect.truth(truth));
    }

    fn member(&mut self, member: &Filter) {
        self.filter(member);
    }

    fn test(&mut self, test: &Test) {
        let column = test.column;
        match &test.check {
            Check::IsNull => {
                self.column(column);
                self.push(" IS NULL");
            }
            Check::IsNotNull => {
                self.column(column);
                self.push(" IS NOT NULL");
            }
            Check::Compare(comparison, value) => self.comparison(column, *comparison, value),
            Check::Between {
                low,
                high,
                polarity,
            } => self.between(column, low, high, *polarity),
            Check::InList(values, polarity) => self.in_list(column, values, *polarity),
            Check::Text(kind, needle) => self.text_match(column, *kind, needle),
        }
    }

    pub(crate) fn comparison(&mut self, column: usize, comparison: Comparison, value: &Value) {
        let parameter = self.bind_constant(value);
        self.comparable_column(column);
        self.push(comparison_text(comparison));
        self.comparable_constant(column, parameter);
    }

    fn between(
        &mut self,
        column: usize,
        low: &(Value, Inclusion),
        high: &(Value, Inclusion),
        polarity: Polarity,
    ) {
        let above = match low.1 {
            Inclusion::Included => Comparison::GreaterOrEqual,
            Inclusion::Excluded => Comparison::Greater,
        };
        let below = match high.1 {
            Inclusion::Included => Comparison::LessOrEqual,
            Inclusion::Excluded => Comparison::Less,
        };
        if polarity == Polarity::Outside {
            self.push("NOT ");
        }
        self.push("(");
        self.comparison(column, above, &low.0);
        self.push(" AND ");
        self.comparison(column, below, &high.0);
        self.push(")");
    }

    fn in_list(&mut self, column: usize, values: &[Value], polarity: Polarity) {
        if values.is_empty() {
            // Not even NULL is in an empty list: no unknown here.
            return self.truth(polarity == Polarity::Outside);
        }
        self.comparable_column(column);
        self.push(match polarity {
            Polarity::Inside => " IN (",
            Polarity::Outside => " NOT IN (",
        });
        for (at, value) in values.iter().enumerate() {
            if at > 0 {
                self.push(", ");
            }
            let parameter = self.bind_constant(value);
            self.comparable_constant(column, parameter);
        }
        self.push(")");
    }

    fn text_match(&mut self, column: usize, kind: TextMatch, needle: &Arc<str>) {
        match self.dialect {
            Dialect::Sqlite => self.text_match_sqlite(column, kind, needle),
        }
    }

    /// As a search in bytes, which in valid UTF-8 is a search in text. `LIKE` would have wildcards
    /// and ignore case; the text functions of SQLite stop at a NUL character.
    fn text_match_sqlite(&mut self, column: usize, kind: TextMatch, needle: &Arc<str>) {
        let bytes = Value::Bytes(needle.as_bytes().into());
        let parameter = self.bind(bytes);
        let haystack = |writer: &mut Self| {
            writer.push("CAST(");
            writer.column(column);
            writer.push(" AS BLOB)");
        };
        match kind {
            TextMatch::Contains | TextMatch::NotContains => {
                self.push("instr(");
                haystack(self);
                self.push(", ");
                self.parameter(parameter);
                self.push(if kind == TextMatch::Contains {
                    ") > 0"
                } else {
                    ") = 0"
                });
            }
            // SQLite takes the empty part of an empty blob for NULL, and `substr(x, -0)` for all of
            // x.
            TextMatch::StartsWith | TextMatch::EndsWith if needle.is_empty() => {
                haystack(self);
                self.push(" >= ");
                self.parameter(parameter);
            }
            TextMatch::StartsWith => {
                self.push("substr(");
                haystack(self);
                self.push(&format!(", 1, {}) = ", needle.len()));
                self.parameter(parameter);
            }
            TextMatch::EndsWith => {
                self.push("substr(");
                haystack(self);
                self.push(&format!(", -{}) = ", needle.len()));
                self.parameter(parameter);
            }
        }
    }
}
