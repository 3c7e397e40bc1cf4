//! Rows as clients see them. A row has the same bytes wherever it appears: snapshot, diff, RPC.

use std::sync::Arc;

use tidegate_core::{
    Column, ColumnType, Dimension, Row, TableSchema, Value, format_date, format_timestamp,
};

use crate::json_text::{is_json, write_int, write_separated, write_string};

/// Writes rows of one table. Made once per table and kept: it has the column names ready to copy.
#[derive(Debug, Clone)]
pub struct RowWriter {
    schema: Arc<TableSchema>,
    /// `{"first":`, `,"second":` …
    heads: Vec<Box<[u8]>>,
}

impl RowWriter {
    /// A writer for rows of this schema.
    #[must_use]
    pub fn new(schema: Arc<TableSchema>) -> Self {
        let head = |(at, column): (usize, &Column)| {
            let mut head = vec![if at == 0 { b'{' } else { b',' }];
            write_string(&mut head, &column.name);
            head.push(b':');
            head.into_boxed_slice()
        };
        let heads = schema.columns().iter().enumerate().map(head).collect();
        Self { schema, heads }
    }

    /// How the rows are read.
    #[must_use]
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// Appends a row as a JSON object.
    ///
    /// # Panics
    /// When the row does not have the schema's number of columns.
    pub fn write_row(&self, out: &mut Vec<u8>, row: &Row) {
        assert_eq!(row.len(), self.heads.len(), "a row follows its schema");
        if self.heads.is_empty() {
            out.extend_from_slice(b"{");
        }
        let columns = self.schema.columns();
        for ((head, column), value) in self.heads.iter().zip(columns).zip(row.iter()) {
            out.extend_from_slice(head);
            write_value(out, &column.kind, value);
        }
        out.push(b'}');
    }

    /// Appends rows as a JSON array.
    pub fn write_rows<'r>(&self, out: &mut Vec<u8>, rows: impl IntoIterator<Item = &'r Row>) {
        out.push(b'[');
        write_separated(out, rows, |out, row| self.write_row(out, row));
        out.push(b']');
    }

    /// Appends a row's primary key as a JSON string.
    pub fn write_pk(&self, out: &mut Vec<u8>, row: &Row) {
        write_string(out, &pk_text(&self.schema, &self.schema.key_of(row)));
    }

    /// Appends the primary keys of rows as a JSON array of strings.
    pub fn write_pks<'r>(&self, out: &mut Vec<u8>, rows: impl IntoIterator<Item = &'r Row>) {
        out.push(b'[');
        write_separated(out, rows, |out, row| self.write_pk(out, row));
        out.push(b']');
    }

    /// Appends the order keys of a row as members of an object, without its braces: column and
    /// text, or null. Columns called `lsn` or `position` are left out: those names have a meaning
    /// of their own there.
    pub fn write_cursor(
        &self,
        out: &mut Vec<u8>,
        order: impl IntoIterator<Item = usize>,
        row: &Row,
    ) {
        let columns = self.schema.columns();
        let named = order
            .into_iter()
            .filter(|at| !is_reserved(&columns[*at].name));
        write_separated(out, named, |out, at| {
            write_string(out, &columns[at].name);
            out.push(b':');
            match value_text(&columns[at].kind, &row[at]) {
                Some(text) => write_string(out, &text),
                None => out.extend_from_slice(b"null"),
            }
        });
    }
}

/// Whether a name has a meaning of its own in a cursor, so that a column of that name has no place
/// there.
pub(crate) fn is_reserved(name: &str) -> bool {
    matches!(name, "lsn" | "position")
}

/// A primary key as text: the value's own text, or for a composite key the text of a JSON array
/// with the values as they stand in the row.
///
/// `key` holds the values in key order. A key that is NULL is the empty text.
#[must_use]
pub fn pk_text(schema: &TableSchema, key: &[Value]) -> String {
    let kind = |at: usize| &schema.columns()[schema.key()[at]].kind;
    if let [value] = key {
        return value_text(kind(0), value).unwrap_or_default();
    }
    let mut out = vec![b'['];
    write_separated(&mut out, key.iter().enumerate(), |out, (at, value)| {
        write_value(out, kind(at), value);
    });
    out.push(b']');
    String::from_utf8(out).expect("only text was written")
}

/// A value as text: what stands in cursors and keys, and what is read back as the column's type.
#[must_use]
pub fn value_text(kind: &ColumnType, value: &Value) -> Option<String> {
    match value {
        Value::Float(float) => Some(match float_text(kind, *float) {
            FloatText::Number(text) => text,
            FloatText::Name(name) => name.to_owned(),
        }),
        other => other.to_text(),
    }
}

fn write_value(out: &mut Vec<u8>, kind: &ColumnType, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(value) if *kind == ColumnType::BigInt => {
            out.push(b'"');
            write_int(out, value);
            out.push(b'"');
        }
        Value::Int(value) => write_int(out, value),
        Value::Float(value) => match float_text(kind, *value) {
            FloatText::Number(text) => out.extend_from_slice(text.as_bytes()),
            FloatText::Name(name) => write_string(out, name),
        },
        Value::Numeric(value) => write_string(out, value.as_str()),
        Value::Text(text) => write_string(out, text),
        Value::Timestamp(micros) => write_string(out, &format_timestamp(*micros)),
        Value::Date(days) => write_string(out, &format_date(*days)),
        Value::Bytes(bytes) => write_hex(out, bytes),
        // The database may hand out text that is no JSON (SQLite does not check): then it is a
        // text.
        Value::Json(text) if is_json(text) => out.extend_from_slice(text.trim().as_bytes()),
        Value::Json(text) => write_string(out, text),
        Value::Array(array) => {
            let element = match kind {
                ColumnType::Array(own) => own.element(),
                own => own,
            };
            match array.dimensions() {
                [] => out.extend_from_slice(b"[]"),
                dimensions => write_level(out, element, dimensions, &mut array.elements().iter()),
            }
        }
    }
}

/// One level of an array: of the innermost one the elements, of others the levels in it.
fn write_level<'a>(
    out: &mut Vec<u8>,
    element: &ColumnType,
    dimensions: &[Dimension],
    elements: &mut impl Iterator<Item = &'a Value>,
) {
    let Some((outer, inner)) = dimensions.split_first() else {
        return write_value(out, element, elements.next().unwrap_or(&Value::Null));
    };
    out.push(b'[');
    write_separated(out, 0..outer.length, |out, _| {
        write_level(out, element, inner, elements);
    });
    out.push(b']');
}

enum FloatText {
    Number(String),
    Name(&'static str),
}

/// The shortest decimal that reads back as the float, at the column's own precision: a `real` 0.1
/// is `0.1`.
fn float_text(kind: &ColumnType, value: f64) -> FloatText {
    if value.is_nan() {
        return FloatText::Name("NaN");
    }
    if value.is_infinite() {
        return FloatText::Name(if value > 0.0 { "Infinity" } else { "-Infinity" });
    }
    let plain = value == 0.0 || (1e-7..1e21).contains(&value.abs());
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a real column's value is one that f32 holds"
    )]
    let narrow = value as f32;
    FloatText::Number(match (kind, plain) {
        (ColumnType::Real, true) => narrow.to_string(),
        (ColumnType::Real, false) => format!("{narrow:e}"),
        (_, true) => value.to_string(),
        (_, false) => format!("{value:e}"),
    })
}

fn write_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.reserve(bytes.len() * 2 + 5);
    out.extend_from_slice(b"\"\\\\x");
    for byte in bytes {
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests;
