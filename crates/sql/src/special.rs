//! Conditions on text without its case, on patterns, arrays, documents and ranges.

use std::sync::Arc;

use tidegate_core::{
    Array, ArrayCheck, Case, Document, FoldedCheck, Folding, JsonCheck, Pattern, Polarity,
    RangeCheck, RangeType, TextMatch, Value,
};

use crate::dialect::Dialect;
use crate::postgres::{PostgresType, is_printed_uuid};
use crate::writer::{Parameter, Writer};

/// The function of our own by which SQLite folds text.
const LOWER: &str = "tidegate_lower";

impl Writer<'_> {
    pub(crate) fn folded(&mut self, column: usize, folding: Folding, check: &FoldedCheck) {
        match (check, self.dialect) {
            (FoldedCheck::InList(texts, polarity), _) => {
                let bind = |text: &Arc<str>| Value::Text(Arc::clone(text));
                let texts: Vec<Parameter> =
                    texts.iter().map(|text| self.bind(bind(text))).collect();
                self.folded_column(column, folding);
                self.push(match polarity {
                    Polarity::Inside => " IN (",
                    Polarity::Outside => " NOT IN (",
                });
                for (at, text) in texts.into_iter().enumerate() {
                    if at > 0 {
                        self.push(", ");
                    }
                    self.folded_constant(text, folding);
                }
                self.push(")");
            }
            (FoldedCheck::Text(kind, needle), Dialect::Sqlite) => {
                self.text_match_sqlite(column, Some(LOWER), *kind, needle);
            }
            (FoldedCheck::Text(kind, needle), Dialect::Postgres(_)) => {
                let needle = self.bind(Value::Text(Arc::clone(needle)));
                self.folded_search(column, folding, *kind, needle);
            }
        }
    }

    fn folded_search(
        &mut self,
        column: usize,
        folding: Folding,
        kind: TextMatch,
        needle: Parameter,
    ) {
        self.push(match kind {
            TextMatch::Contains | TextMatch::NotContains => "strpos(",
            TextMatch::StartsWith => "starts_with(",
            TextMatch::EndsWith => "right(",
        });
        self.folded_column(column, folding);
        self.push(", ");
        if kind == TextMatch::EndsWith {
            // Folding may change how long a text is.
            self.push("char_length(");
            self.folded_constant(needle, folding);
            self.push(")) = ");
        }
        self.folded_constant(needle, folding);
        self.push(match kind {
            TextMatch::Contains => ") > 0",
            TextMatch::NotContains => ") = 0",
            TextMatch::StartsWith => ")",
            TextMatch::EndsWith => "",
        });
    }

    /// Under `C` only A to Z have another case; by default the database's locale decides.
    fn folded_column(&mut self, column: usize, folding: Folding) {
        match self.dialect {
            Dialect::Sqlite => {
                self.push(LOWER);
                self.push("(");
                self.column(column);
                self.push(")");
            }
            Dialect::Postgres(_) => {
                self.push("lower(");
                self.text_column(column, folding);
                self.push(")");
            }
        }
    }

    fn folded_constant(&mut self, constant: Parameter, folding: Folding) {
        match (self.dialect, folding) {
            (Dialect::Sqlite, _) => self.parameter(constant),
            (Dialect::Postgres(_), Folding::Ascii) => self.cast(constant, "text"),
            (Dialect::Postgres(_), Folding::Database) => {
                self.push("lower(");
                self.cast(constant, "text");
                self.push(" COLLATE \"default\")");
            }
        }
    }

    /// A column of Postgres as text, with who decides on its letters.
    fn text_column(&mut self, column: usize, folding: Folding) {
        self.column(column);
        self.push(match folding {
            Folding::Ascii => "::text COLLATE \"C\"",
            Folding::Database => "::text COLLATE \"default\"",
        });
    }

    pub(crate) fn pattern(&mut self, column: usize, pattern: &Pattern, polarity: Polarity) {
        let source = self.bind(Value::Text(Arc::clone(pattern.source())));
        match self.dialect {
            Dialect::Sqlite => {
                if polarity == Polarity::Outside {
                    self.push("NOT ");
                }
                self.push("tidegate_regex(");
                self.column(column);
                self.push(", ");
                self.parameter(source);
                self.push(match pattern.case() {
                    Case::Counts => ", 0)",
                    Case::Ignored => ", 1)",
                });
            }
            Dialect::Postgres(_) => {
                self.text_column(column, pattern.folding());
                self.push(match (polarity, pattern.case()) {
                    (Polarity::Inside, Case::Counts) => " ~ ",
                    (Polarity::Inside, Case::Ignored) => " ~* ",
                    (Polarity::Outside, Case::Counts) => " !~ ",
                    (Polarity::Outside, Case::Ignored) => " !~* ",
                });
                self.cast(source, "text");
            }
        }
    }

    /// Arrays are known to Postgres only.
    pub(crate) fn array(&mut self, column: usize, check: &ArrayCheck) {
        match check {
            ArrayCheck::Contains(array) => self.compared_array(column, " @> ", array),
            ArrayCheck::ContainedBy(array) => self.compared_array(column, " <@ ", array),
            ArrayCheck::Overlaps(array) => self.compared_array(column, " && ", array),
            ArrayCheck::Equals(array, Polarity::Inside) => {
                self.compared_array(column, " = ", array);
            }
            ArrayCheck::Equals(array, Polarity::Outside) => {
                self.compared_array(column, " <> ", array);
            }
            ArrayCheck::Empty(polarity) => {
                self.push("cardinality(");
                self.column(column);
                self.push(match polarity {
                    Polarity::Inside => ") = 0",
                    Polarity::Outside => ") > 0",
                });
            }
            ArrayCheck::Length(length) => {
                let length = self.bind(Value::Int(*length));
                self.push("array_length(");
                self.column(column);
                self.push(", 1) = ");
                self.cast(length, "bigint");
            }
        }
    }

    /// Elements are compared as single values are: text by its bytes, a UUID as text unless all
    /// are UUIDs.
    fn compared_array(&mut self, column: usize, operator: &str, array: &Arc<Array>) {
        let parameter = self.bind(Value::Array(Arc::clone(array)));
        let element = match self.dialect {
            Dialect::Postgres(table) => match table.columns[column] {
                PostgresType::Array(element) => *element,
                _ => PostgresType::Other,
            },
            Dialect::Sqlite => PostgresType::Other,
        };
        let is_uuid = |value: &Value| match value {
            Value::Text(text) => is_printed_uuid(text),
            _ => true,
        };
        let own = match element {
            PostgresType::Text | PostgresType::Char => None,
            PostgresType::Uuid if !array.elements().iter().all(is_uuid) => None,
            own => Some(own),
        };
        // As with single texts: what follows in the column's own collation lets an index be used.
        let narrowed = element == PostgresType::Text && operator != " <> ";
        if narrowed {
            self.push("(");
            self.column(column);
            self.push(operator);
            self.parameter(parameter);
            self.push(" AND ");
        }
        self.column(column);
        if own.is_none() {
            self.push("::text[] COLLATE \"C\"");
        }
        self.push(operator);
        match own {
            None => self.cast(parameter, "text[]"),
            Some(PostgresType::Other) => self.parameter(parameter),
            Some(own) => {
                self.cast(parameter, own.cast());
                self.push("[]");
            }
        }
        if narrowed {
            self.push(")");
        }
    }

    pub(crate) fn json(&mut self, column: usize, check: &JsonCheck) {
        match self.dialect {
            Dialect::Sqlite => self.json_sqlite(column, check),
            Dialect::Postgres(_) => self.json_postgres(column, check),
        }
    }

    fn json_postgres(&mut self, column: usize, check: &JsonCheck) {
        match check {
            JsonCheck::Contains(document) => self.compared_document(column, " @> ", document),
            JsonCheck::ContainedBy(document) => self.compared_document(column, " <@ ", document),
            JsonCheck::HasKey(key) => {
                let key = self.bind(Value::Text(Arc::clone(key)));
                self.document_column(column);
                self.push(" ? ");
                self.cast(key, "text");
            }
            JsonCheck::HasAnyKey(keys) => self.has_keys(column, " ?| ", keys),
            JsonCheck::HasAllKeys(keys) => self.has_keys(column, " ?& ", keys),
            JsonCheck::HasField(name) => {
                self.field(column, " -> ", name);
                self.push(" IS NOT NULL");
            }
            JsonCheck::HasFieldText(name) => {
                self.field(column, " ->> ", name);
                self.push(" IS NOT NULL");
            }
            JsonCheck::FieldEquals(name, document) => {
                self.field(column, " -> ", name);
                let document = self.bind(Value::Json(document.to_text().into()));
                self.push(" = ");
                self.cast(document, "jsonb");
            }
            JsonCheck::FieldTextEquals(name, text) => {
                self.field(column, " ->> ", name);
                let text = self.bind(Value::Text(Arc::clone(text)));
                self.push(" COLLATE \"C\" = ");
                self.cast(text, "text");
            }
        }
    }

    fn document_column(&mut self, column: usize) {
        self.column(column);
        if let Dialect::Postgres(table) = self.dialect
            && table.columns[column] != PostgresType::Jsonb
        {
            self.push("::jsonb");
        }
    }

    fn compared_document(&mut self, column: usize, operator: &str, document: &Document) {
        let document = self.bind(Value::Json(document.to_text().into()));
        self.document_column(column);
        self.push(operator);
        self.cast(document, "jsonb");
    }

    fn has_keys(&mut self, column: usize, operator: &str, keys: &[Arc<str>]) {
        let keys = keys.iter().map(|key| Value::Text(Arc::clone(key)));
        let keys = self.bind(Value::Array(Array::flat(keys.collect()).into()));
        self.document_column(column);
        self.push(operator);
        self.cast(keys, "text[]");
    }

    fn field(&mut self, column: usize, operator: &str, name: &Arc<str>) {
        let name = self.bind(Value::Text(Arc::clone(name)));
        self.push("(");
        self.document_column(column);
        self.push(operator);
        self.cast(name, "text");
        self.push(")");
    }

    /// By a function of our own, which reads the check from its name and constants.
    fn json_sqlite(&mut self, column: usize, check: &JsonCheck) {
        let text = |text: &Arc<str>| Value::Text(Arc::clone(text));
        let document = |document: &Document| Value::text(&document.to_text());
        let keys = |keys: &[Arc<str>]| {
            let keys = keys.iter().map(|key| Document::Text(key.to_string()));
            document(&Document::Array(keys.collect()))
        };
        let (name, constants) = match check {
            JsonCheck::Contains(other) => ("contains", vec![document(other)]),
            JsonCheck::ContainedBy(other) => ("contained_by", vec![document(other)]),
            JsonCheck::HasKey(key) => ("has_key", vec![text(key)]),
            JsonCheck::HasAnyKey(any) => ("has_any_key", vec![keys(any)]),
            JsonCheck::HasAllKeys(all) => ("has_all_keys", vec![keys(all)]),
            JsonCheck::HasField(name) => ("has_field", vec![text(name)]),
            JsonCheck::HasFieldText(name) => ("has_field_text", vec![text(name)]),
            JsonCheck::FieldEquals(name, other) => {
                ("field_equals", vec![text(name), document(other)])
            }
            JsonCheck::FieldTextEquals(name, other) => {
                ("field_text_equals", vec![text(name), text(other)])
            }
        };
        self.push(&format!("tidegate_json('{name}', "));
        self.column(column);
        for constant in constants {
            let constant = self.bind(constant);
            self.push(", ");
            self.parameter(constant);
        }
        self.push(")");
    }

    /// Ranges are known to Postgres only.
    pub(crate) fn range_check(&mut self, column: usize, kind: RangeType, check: &RangeCheck) {
        let (operator, constant, to) = match check {
            RangeCheck::Holds(value) => {
                let element = match kind {
                    RangeType::Int4 => PostgresType::Integer,
                    RangeType::Int8 => PostgresType::BigInt,
                    RangeType::Num => PostgresType::Numeric,
                    RangeType::Date => PostgresType::Date,
                    RangeType::Ts => PostgresType::Timestamp,
                    RangeType::Tstz => PostgresType::Timestamptz,
                };
                (" @> ", value.clone(), element.cast())
            }
            RangeCheck::Covers(range) => (" @> ", Value::text(&range.to_string()), kind.name()),
            RangeCheck::CoveredBy(range) => (" <@ ", Value::text(&range.to_string()), kind.name()),
        };
        let constant = self.bind(constant);
        self.column(column);
        self.push(operator);
        self.cast(constant, to);
    }
}
