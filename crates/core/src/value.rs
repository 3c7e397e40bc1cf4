//! Values of columns, and rows.

use std::cmp::Ordering;
use std::ops::Deref;
use std::sync::Arc;

use crate::array::Array;
use crate::calendar::{format_date, format_timestamp};
use crate::numeric::Numeric;

/// One value of a column. The column's type says how to read it: see [`crate::ColumnType`].
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer of any width.
    Int(i64),
    /// A float; a `real` column's value is one that `f32` holds exactly.
    Float(f64),
    /// A decimal number of any precision.
    Numeric(Numeric),
    /// Text.
    Text(Arc<str>),
    /// Microseconds since 1970-01-01 UTC.
    Timestamp(i64),
    /// Days since 1970-01-01.
    Date(i32),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A JSON document, as text.
    Json(Arc<str>),
    /// An array.
    Array(Arc<Array>),
}

impl Value {
    /// A text value.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// Whether this is NULL.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Compares two values of one column as Postgres does: text by bytes (`COLLATE "C"`), NaN equal
    /// to itself and above every number, `-0` equal to `0`, false below true.
    ///
    /// `None` when either is NULL, or when the two are not of one kind.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Int(b)) | (Self::Timestamp(a), Self::Timestamp(b)) => {
                Some(a.cmp(b))
            }
            (Self::Float(a), Self::Float(b)) => Some(compare_floats(*a, *b)),
            (Self::Numeric(a), Self::Numeric(b)) => Some(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) | (Self::Json(a), Self::Json(b)) => {
                Some(a.as_bytes().cmp(b.as_bytes()))
            }
            (Self::Date(a), Self::Date(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }

    /// The value as text: what stands in a cursor and in a primary key on the wire. `None` for
    /// NULL.
    #[must_use]
    pub fn to_text(&self) -> Option<String> {
        Some(match self {
            Self::Null => return None,
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => float_text(*value),
            Self::Numeric(value) => value.as_str().to_owned(),
            Self::Text(value) | Self::Json(value) => value.to_string(),
            Self::Timestamp(micros) => format_timestamp(*micros),
            Self::Date(days) => format_date(*days),
            Self::Bytes(bytes) => hex_text(bytes),
            Self::Array(array) => array.to_text(),
        })
    }
}

fn compare_floats(a: f64, b: f64) -> Ordering {
    match a.partial_cmp(&b) {
        Some(ordering) => ordering,
        None => a.is_nan().cmp(&b.is_nan()),
    }
}

fn float_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    value.to_string()
}

fn hex_text(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(2 + bytes.len() * 2);
    text.push_str("\\x");
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
    }
    text
}

/// A row: one value for each column of its table, in schema order. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct Row(Arc<[Value]>);

impl Row {
    /// A row of these values.
    #[must_use]
    pub fn new(values: Vec<Value>) -> Self {
        Self(values.into())
    }

    /// Whether both are one allocation. Cheap; used to share work done for one row among many
    /// pages.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Deref for Row {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Floats order as Postgres orders them, not as IEEE does.
    #[test]
    fn floats_compare_as_postgres() {
        let float = Value::Float;
        assert_eq!(
            float(f64::NAN).compare(&float(f64::NAN)),
            Some(Ordering::Equal)
        );
        assert_eq!(
            float(f64::NAN).compare(&float(f64::INFINITY)),
            Some(Ordering::Greater)
        );
        assert_eq!(float(1.0).compare(&float(f64::NAN)), Some(Ordering::Less));
        assert_eq!(float(-0.0).compare(&float(0.0)), Some(Ordering::Equal));
    }

    /// NULL compares with nothing, and kinds do not mix.
    #[test]
    fn null_is_unknown() {
        assert_eq!(Value::Null.compare(&Value::Null), None);
        assert_eq!(Value::Int(1).compare(&Value::Float(1.0)), None);
        assert_eq!(
            Value::text("é").compare(&Value::text("z")),
            Some(Ordering::Greater)
        );
    }
}
