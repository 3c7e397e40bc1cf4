//! Values as Postgres prints them, and as it reads them.
//!
//! Rows come as text on both ways, from a read and from the stream, and are read by one function:
//! so a row is the same value wherever it came from.

use std::error::Error;

use bytes::BytesMut;
use tidegate_core::{
    Column, CommandError, Numeric, Row, TableSchema, Value, parse_date, parse_timestamp,
};
use tidegate_sql::PostgresType;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

/// Reads the text of a value, or says what is wrong with it.
pub(crate) fn read(own: PostgresType, text: &str) -> Result<Value, &'static str> {
    match own {
        PostgresType::Boolean => match text {
            "t" | "true" => Some(Value::Bool(true)),
            "f" | "false" => Some(Value::Bool(false)),
            _ => None,
        },
        PostgresType::SmallInt | PostgresType::Integer | PostgresType::BigInt => {
            text.parse().ok().map(Value::Int)
        }
        PostgresType::Real => {
            let narrow: Option<f32> = text.parse().ok();
            narrow.map(|narrow| Value::Float(f64::from(narrow)))
        }
        PostgresType::Double => text.parse().ok().map(Value::Float),
        PostgresType::Numeric => Numeric::parse(text).map(Value::Numeric),
        PostgresType::Text | PostgresType::Uuid | PostgresType::Other => Some(Value::text(text)),
        // Printed with its blanks by the stream, and without by a cast.
        PostgresType::Char => Some(Value::text(text.trim_end_matches(' '))),
        PostgresType::Timestamp | PostgresType::Timestamptz => {
            let micros = parse_timestamp(text).map(Value::Timestamp);
            return micros.ok_or("holds a time outside of the years 0001 to 9999");
        }
        PostgresType::Date => {
            let days = parse_date(text).map(Value::Date);
            return days.ok_or("holds a day outside of the years 0001 to 9999");
        }
        PostgresType::Bytea => bytes(text),
        PostgresType::Json | PostgresType::Jsonb => Some(Value::Json(text.into())),
    }
    .ok_or("holds something that cannot be read")
}

fn bytes(text: &str) -> Option<Value> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(pair).collect();
    bytes.map(|bytes| Value::Bytes(bytes.into()))
}

/// Reads a row from the texts of all its columns.
pub(crate) fn read_row<'a>(
    schema: &TableSchema,
    own: &[PostgresType],
    mut text_of: impl FnMut(usize) -> Option<&'a str>,
) -> Result<Row, CommandError> {
    let columns = schema.columns().iter().zip(own).enumerate();
    let values = columns.map(|(at, (column, own))| match text_of(at) {
        None => Ok(Value::Null),
        Some(text) => read(*own, text).map_err(|why| unreadable(schema, column, why)),
    });
    values.collect::<Result<Vec<_>, _>>().map(Row::new)
}

pub(crate) fn unreadable(schema: &TableSchema, column: &Column, why: &str) -> CommandError {
    let (table, name, kind) = (schema.table(), &column.name, &column.kind);
    CommandError::UnreadableValue(format!("table {table}: column {name} ({kind}) {why}"))
}

/// A value as a parameter: its text, of whatever type the statement says.
#[derive(Debug)]
pub(crate) struct Parameter<'a>(pub(crate) &'a Value);

impl ToSql for Parameter<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let Some(text) = self.0.to_text() else {
            return Ok(IsNull::Yes);
        };
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// Postgres holds no NUL character in text. Found here, it is an error in words.
pub(crate) fn holds_nul(value: &Value) -> bool {
    match value {
        Value::Text(text) | Value::Json(text) => text.contains('\0'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the stream and a cast print differently is one value.
    #[test]
    fn both_prints_are_one_value() {
        assert_eq!(
            read(PostgresType::Boolean, "t"),
            read(PostgresType::Boolean, "true")
        );
        assert_eq!(
            read(PostgresType::Char, "ab  "),
            read(PostgresType::Char, "ab")
        );
        assert_eq!(
            read(PostgresType::Timestamptz, "2026-01-02 03:04:05+00"),
            read(PostgresType::Timestamp, "2026-01-02 03:04:05")
        );
    }

    /// Moments that have no four-digit year, and text that is no value, are refused.
    #[test]
    fn refuses_what_has_no_value() {
        for (own, text) in [
            (PostgresType::Timestamp, "infinity"),
            (PostgresType::Timestamp, "0044-03-15 00:00:00 BC"),
            (PostgresType::Date, "10000-01-01"),
            (PostgresType::Date, "-infinity"),
            (PostgresType::Bytea, "\\x0"),
            (PostgresType::Bytea, "\\xzz"),
            (PostgresType::Integer, "1.5"),
            (PostgresType::Boolean, "yes"),
        ] {
            assert!(read(own, text).is_err(), "{text}");
        }
        assert_eq!(
            read(PostgresType::Bytea, "\\x00fF"),
            Ok(Value::Bytes(vec![0, 255].into()))
        );
        assert_eq!(
            read(PostgresType::Real, "0.1"),
            Ok(Value::Float(f64::from(0.1_f32)))
        );
    }
}
