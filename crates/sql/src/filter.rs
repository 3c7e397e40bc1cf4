//! A filter as a condition of SQL.

use std::sync::Arc;

use tidegate_core::{Check, Comparison, Filter, Inclusion, Polarity, Test, TextMatch, Value};

use crate::dialect::{Comparand, Dialect};
use crate::postgres::PostgresType;
use crate::writer::{Parameter, Writer};

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
            Check::Folded(folding, check) => self.folded(column, *folding, check),
            Check::Pattern(pattern, polarity) => self.pattern(column, pattern, *polarity),
            Check::Array(check) => self.array(column, check),
            Check::Json(check) => self.json(column, check),
            Check::Range(kind, check) => self.range_check(column, *kind, check),
        }
    }

    pub(crate) fn comparison(&mut self, column: usize, comparison: Comparison, value: &Value) {
        let parameter = self.bind_constant(value);
        self.compared(column, comparison, parameter);
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
        // One form serves the whole list only if it serves each member.
        let plain = |value: &&Value| self.comparand(column, Some(value));
        let mut comparands = values.iter().map(|value| plain(&value));
        let first = comparands.next().expect("the list is not empty");
        let comparand =
            comparands.find(|other| *other != first && matches!(other, Comparand::Text(_)));
        let comparand = comparand.unwrap_or(first);
        let parameters: Vec<Parameter> = values
            .iter()
            .map(|value| self.bind_constant(value))
            .collect();
        let narrowed = match (comparand, polarity) {
            (Comparand::Text(own), Polarity::Inside) => self.narrow(column, own, &parameters),
            _ => false,
        };
        self.comparable_column(column, comparand);
        self.push(match polarity {
            Polarity::Inside => " IN (",
            Polarity::Outside => " NOT IN (",
        });
        for (at, parameter) in parameters.iter().enumerate() {
            if at > 0 {
                self.push(", ");
            }
            self.comparable_constant(comparand, *parameter);
        }
        self.push(if narrowed { "))" } else { ")" });
    }

    fn text_match(&mut self, column: usize, kind: TextMatch, needle: &Arc<str>) {
        match self.dialect {
            Dialect::Sqlite => self.text_match_sqlite(column, None, kind, needle),
            Dialect::Postgres(_) => self.text_match_postgres(column, kind, needle),
        }
    }

    /// As a search in bytes, which in valid UTF-8 is a search in text. `LIKE` would have wildcards
    /// and ignore case; the text functions of SQLite stop at a NUL character.
    pub(crate) fn text_match_sqlite(
        &mut self,
        column: usize,
        function: Option<&'static str>,
        kind: TextMatch,
        needle: &Arc<str>,
    ) {
        let bytes = Value::Bytes(needle.as_bytes().into());
        let parameter = self.bind(bytes);
        let haystack = |writer: &mut Self| {
            writer.push("CAST(");
            match function {
                Some(function) => writer.comparable_column(column, Comparand::Function(function)),
                None => writer.column(column),
            }
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

    /// By functions that know no wildcards. The collation is said because some refuse a column's
    /// own when it takes different bytes for equal.
    fn text_match_postgres(&mut self, column: usize, kind: TextMatch, needle: &Arc<str>) {
        let parameter = self.bind(Value::Text(Arc::clone(needle)));
        let comparand = match self.comparand(column, None) {
            text @ Comparand::Text(_) => text,
            _ => Comparand::Text(PostgresType::Other),
        };
        let (before, after) = match kind {
            TextMatch::Contains | TextMatch::NotContains => ("strpos(", ", "),
            TextMatch::StartsWith => ("starts_with(", ", "),
            TextMatch::EndsWith => ("right(", ""),
        };
        self.push(before);
        self.comparable_column(column, comparand);
        self.push(after);
        if kind == TextMatch::EndsWith {
            self.push(&format!(", {}) = ", needle.chars().count()));
        }
        self.comparable_constant(comparand, parameter);
        self.push(match kind {
            TextMatch::Contains => ") > 0",
            TextMatch::NotContains => ") = 0",
            TextMatch::StartsWith => ")",
            TextMatch::EndsWith => "",
        });
    }
}
