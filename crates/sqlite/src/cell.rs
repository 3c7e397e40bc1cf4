//! Values as SQLite stores them, and as the engine reads them.
//!
//! A column of SQLite may hold anything whatever its type says. A value is read only in the forms
//! listed at [`read`]; everything else is refused with a phrase, so that nothing is ever misread.

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};
use serde::de::IgnoredAny;
use tidegate_core::{
    ColumnType, CommandError, Numeric, Row, TableSchema, Value, format_date, format_timestamp,
    parse_date, parse_timestamp,
};

/// First and one past the last moment with a four-digit year.
const CALENDAR: std::ops::Range<i64> = -62_135_596_800_000_000..253_402_300_800_000_000;

/// Whether a value is part of the primary key. There, two stored forms of one value would be two
/// rows of SQLite and one of the engine, so only one form is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Key,
    Plain,
}

/// Reads a stored value as its column's type, or says what is wrong with it.
///
/// | type | stored as |
/// |---|---|
/// | boolean | INTEGER 0 or 1 |
/// | integers | INTEGER in range |
/// | double | REAL or INTEGER |
/// | numeric | INTEGER, REAL (its shortest decimal), TEXT (not in a key) |
/// | text | TEXT in UTF-8 |
/// | timestamp | TEXT in an ISO form, INTEGER seconds since 1970; in a key only as we print it |
/// | date | TEXT `YYYY-MM-DD` |
/// | json | TEXT that is JSON, INTEGER, REAL |
/// | bytea | BLOB |
/// | other | anything, shown as text |
pub(crate) fn read(
    kind: &ColumnType,
    place: Place,
    stored: ValueRef<'_>,
) -> Result<Value, &'static str> {
    if matches!(stored, ValueRef::Null) {
        return match place {
            Place::Key => Err("holds NULL, in a primary key"),
            Place::Plain => Ok(Value::Null),
        };
    }
    match kind {
        ColumnType::Boolean => match stored {
            ValueRef::Integer(0) => Ok(Value::Bool(false)),
            ValueRef::Integer(1) => Ok(Value::Bool(true)),
            _ => Err("holds something that is neither 0 nor 1"),
        },
        ColumnType::SmallInt
        | ColumnType::Integer
        | ColumnType::BigInt
        | ColumnType::WideInteger => integer(kind, stored),
        ColumnType::Real | ColumnType::Double => match stored {
            // A minus zero would print as no row of Postgres does.
            ValueRef::Real(number) => Ok(Value::Float(number + 0.0)),
            ValueRef::Integer(number) => Ok(Value::Float(number as f64)),
            _ => Err("holds something that is no number"),
        },
        ColumnType::Numeric => numeric(place, stored),
        ColumnType::Text => match stored {
            ValueRef::Text(_) => Ok(Value::text(utf8(stored)?)),
            _ => Err("holds something that is no text"),
        },
        ColumnType::Timestamp => timestamp(place, stored),
        ColumnType::Date => match stored {
            ValueRef::Text(_) => parse_date(utf8(stored)?)
                .map(Value::Date)
                .ok_or("holds a text that is no day (YYYY-MM-DD)"),
            _ => Err("holds something that is no day (YYYY-MM-DD)"),
        },
        ColumnType::Bytea => match stored {
            ValueRef::Blob(bytes) => Ok(Value::Bytes(bytes.into())),
            _ => Err("holds something that is no blob"),
        },
        ColumnType::Json | ColumnType::JsonText => json(stored),
        ColumnType::Array(_) | ColumnType::Range(_) | ColumnType::Other(_) => {
            Ok(Value::text(&shown(stored)?))
        }
    }
}

fn integer(kind: &ColumnType, stored: ValueRef<'_>) -> Result<Value, &'static str> {
    let ValueRef::Integer(number) = stored else {
        return Err("holds something that is no integer");
    };
    match kind.integer_range() {
        Some((low, high)) if (low..=high).contains(&number) => Ok(Value::Int(number)),
        _ => Err("holds an integer that its type is too small for"),
    }
}

fn numeric(place: Place, stored: ValueRef<'_>) -> Result<Value, &'static str> {
    match (stored, place) {
        (ValueRef::Integer(number), _) => Ok(Value::Numeric(Numeric::from_int(number))),
        (ValueRef::Real(number), _) => Ok(Value::Numeric(Numeric::from_float(number))),
        (ValueRef::Text(_), Place::Plain) => Numeric::parse(utf8(stored)?)
            .map(Value::Numeric)
            .ok_or("holds a text that is no number"),
        _ => Err("holds something that is no number"),
    }
}

fn timestamp(place: Place, stored: ValueRef<'_>) -> Result<Value, &'static str> {
    const BAD: &str = "holds something that is no timestamp of the years 0001 to 9999";
    let micros = match (stored, place) {
        (ValueRef::Text(_), _) => parse_timestamp(utf8(stored)?).ok_or(BAD)?,
        (ValueRef::Integer(seconds), Place::Plain) => seconds.checked_mul(1_000_000).ok_or(BAD)?,
        _ => return Err(BAD),
    };
    if !CALENDAR.contains(&micros) {
        return Err(BAD);
    }
    if place == Place::Key && utf8(stored) != Ok(&format_timestamp(micros)) {
        return Err(
            "holds a timestamp in a form other than 2026-01-02T03:04:05.678Z, in a primary key",
        );
    }
    Ok(Value::Timestamp(micros))
}

fn json(stored: ValueRef<'_>) -> Result<Value, &'static str> {
    match stored {
        ValueRef::Text(_) => {
            let text = utf8(stored)?;
            match is_json(text) {
                true => Ok(Value::Json(text.into())),
                false => Err("holds a text that is no JSON"),
            }
        }
        ValueRef::Integer(number) => Ok(Value::Json(number.to_string().into())),
        ValueRef::Real(number) if number.is_finite() => {
            Ok(Value::Json(Numeric::from_float(number).as_str().into()))
        }
        _ => Err("holds something that is no JSON"),
    }
}

fn utf8(stored: ValueRef<'_>) -> Result<&str, &'static str> {
    stored.as_str().map_err(|_| "holds text that is not UTF-8")
}

/// Any stored value as text.
pub(crate) fn shown(stored: ValueRef<'_>) -> Result<String, &'static str> {
    Ok(match stored {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => Numeric::from_float(number).as_str().to_owned(),
        ValueRef::Text(_) => utf8(stored)?.to_owned(),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.into()).to_text().unwrap_or_default(),
    })
}

/// A value as it is stored and bound. Decimals go as text, which a numeric column makes a number
/// of.
pub(crate) struct Stored<'a>(pub(crate) &'a Value);

impl ToSql for Stored<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let borrowed = match self.0 {
            Value::Null => ValueRef::Null,
            Value::Bool(value) => ValueRef::Integer(i64::from(*value)),
            Value::Int(value) => ValueRef::Integer(*value),
            Value::Float(value) => ValueRef::Real(*value),
            Value::Numeric(value) => ValueRef::Text(value.as_str().as_bytes()),
            Value::Text(text) | Value::Json(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
            Value::Timestamp(micros) => return Ok(owned(format_timestamp(*micros))),
            Value::Date(days) => return Ok(owned(format_date(*days))),
            // No column here has the type.
            Value::Array(array) => return Ok(owned(array.to_text())),
        };
        Ok(ToSqlOutput::Borrowed(borrowed))
    }
}

fn owned(text: String) -> ToSqlOutput<'static> {
    ToSqlOutput::Owned(rusqlite::types::Value::Text(text))
}

/// Reads columns `offset..` of a result as a row of the table.
pub(crate) fn read_row(
    schema: &TableSchema,
    result: &rusqlite::Row<'_>,
    offset: usize,
) -> Result<Row, CommandError> {
    let mut values = Vec::with_capacity(schema.columns().len());
    for (at, column) in schema.columns().iter().enumerate() {
        let stored = result.get_ref(offset + at).map_err(short_result)?;
        let place = if schema.key().contains(&at) {
            Place::Key
        } else {
            Place::Plain
        };
        let value = read(&column.kind, place, stored).map_err(|why| {
            let key = shown_key(schema, result, offset);
            let (table, name) = (schema.table(), &column.name);
            CommandError::UnreadableValue(format!(
                "table {table}, row {key}: column {name} ({}) {why}",
                column.kind
            ))
        })?;
        values.push(value);
    }
    Ok(Row::new(values))
}

/// Roughly the memory that these columns of a result take as values.
pub(crate) fn stored_bytes(
    result: &rusqlite::Row<'_>,
    columns: std::ops::Range<usize>,
) -> rusqlite::Result<usize> {
    let mut bytes = 64;
    for at in columns {
        bytes += match result.get_ref(at)? {
            ValueRef::Text(long) | ValueRef::Blob(long) => 32 + long.len(),
            ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 24,
        };
    }
    Ok(bytes)
}

/// Whether a text is JSON.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Reads columns `offset..` of a result as the primary key of the table.
pub(crate) fn read_key(
    schema: &TableSchema,
    result: &rusqlite::Row<'_>,
    offset: usize,
) -> Result<Box<[Value]>, CommandError> {
    let part = |(at, column): (usize, &usize)| {
        let column = &schema.columns()[*column];
        let stored = result.get_ref(offset + at).map_err(short_result)?;
        read(&column.kind, Place::Key, stored).map_err(|why| {
            let (table, name) = (schema.table(), &column.name);
            CommandError::UnreadableValue(format!("table {table}: key column {name} {why}"))
        })
    };
    schema.key().iter().enumerate().map(part).collect()
}

fn shown_key(schema: &TableSchema, result: &rusqlite::Row<'_>, offset: usize) -> String {
    let part = |at: &usize| match result.get_ref(offset + at).map(shown) {
        Ok(Ok(text)) => text.chars().take(80).collect(),
        Ok(Err(_)) | Err(_) => "(unreadable)".to_owned(),
    };
    schema.key().iter().map(part).collect::<Vec<_>>().join(", ")
}

/// A result with fewer columns than its schema: the file was changed under us.
fn short_result(error: rusqlite::Error) -> CommandError {
    CommandError::UnreadableValue(format!("a row has fewer columns than its table: {error}"))
}
