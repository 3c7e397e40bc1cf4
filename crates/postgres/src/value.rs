//! Values as Postgres prints them, and as it reads them.
//!
//! Rows come as text on both ways, from a read and from the stream, and are read by one function:
//! so a row is the same value wherever it came from.

use std::error::Error;

use bytes::BytesMut;
use tidegate_core::{
    Array, Column, CommandError, Dimension, Document, Numeric, Row, TableSchema, Value, parse_date,
    parse_timestamp,
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
        PostgresType::Text | PostgresType::Uuid | PostgresType::Range(_) | PostgresType::Other => {
            Some(Value::text(text))
        }
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
        PostgresType::Jsonb if Document::is_too_deep(text) => {
            return Err("holds a document that nests too deep");
        }
        PostgresType::Json | PostgresType::Jsonb => Some(Value::Json(text.into())),
        PostgresType::Array(element) => return read_array(*element, text),
    }
    .ok_or("holds something that cannot be read")
}

/// Reads an array as the server prints it: `{1,NULL}`, `{{"a","b"},{"c","d"}}`, `[0:1]={1,2}`.
fn read_array(element: PostgresType, text: &str) -> Result<Value, &'static str> {
    const BAD: &str = "holds an array that cannot be read";
    let (bounds, body) = match text.split_once('=') {
        Some((bounds, body)) if text.starts_with('[') => (bounds, body),
        _ => ("", text),
    };
    let mut reader = ArrayReader {
        text: body,
        depth: 0,
        lengths: Vec::new(),
        counts: Vec::new(),
    };
    if !body.starts_with('{') {
        return Err(BAD);
    }
    let mut elements = Vec::new();
    while let Some(token) = reader.next().ok_or(BAD)? {
        elements.push(match token {
            None => Value::Null,
            Some(text) => read(element, &text)?,
        });
    }
    if elements.is_empty() {
        return Ok(Value::Array(Array::flat(elements).into()));
    }
    let mut lowers = bounds.split('[').skip(1).map(|bound| {
        let (lower, _) = bound.split_once(':')?;
        lower.parse::<i32>().ok()
    });
    let dimensions = reader.lengths.iter().map(|length| {
        let lower = lowers.next().unwrap_or(Some(1))?;
        Some(Dimension {
            lower,
            length: *length,
        })
    });
    let dimensions = dimensions.collect::<Option<Vec<_>>>().ok_or(BAD)?;
    let array = Array::new(dimensions, elements).ok_or(BAD)?;
    Ok(Value::Array(array.into()))
}

/// Takes the text of an array apart.
struct ArrayReader<'a> {
    text: &'a str,
    depth: usize,
    /// How long each level is, as its first list is.
    lengths: Vec<u32>,
    /// How long the list of each level that is open is so far.
    counts: Vec<u32>,
}

impl ArrayReader<'_> {
    /// The next element, which is `None` for NULL; `Some(None)` at the end, and `None` for what is
    /// no array.
    fn next(&mut self) -> Option<Option<Option<String>>> {
        loop {
            let first = self.text.chars().next();
            match first {
                None => return (self.depth == 0).then_some(None),
                Some('{') => {
                    self.count();
                    self.counts.push(0);
                    self.depth += 1;
                    self.text = &self.text[1..];
                }
                Some('}') => {
                    let length = self.counts.pop()?;
                    self.depth = self.depth.checked_sub(1)?;
                    // Levels close from within, so a level may be known before the one around it.
                    if self.lengths.len() <= self.depth {
                        self.lengths.resize(self.depth + 1, 0);
                    }
                    let known = &mut self.lengths[self.depth];
                    if *known != 0 && *known != length {
                        return None;
                    }
                    *known = length;
                    self.text = &self.text[1..];
                }
                Some(',') => self.text = &self.text[1..],
                Some('"') => {
                    self.count();
                    return self.quoted().map(|text| Some(Some(text)));
                }
                Some(_) => {
                    self.count();
                    let end = self.text.find([',', '}'])?;
                    let (plain, rest) = self.text.split_at(end);
                    self.text = rest;
                    let is_null = plain == "NULL";
                    return Some(Some((!is_null).then(|| plain.to_owned())));
                }
            }
        }
    }

    fn count(&mut self) {
        if let Some(count) = self.counts.last_mut() {
            *count = count.saturating_add(1);
        }
    }

    fn quoted(&mut self) -> Option<String> {
        let mut out = String::new();
        let mut chars = self.text.char_indices().skip(1);
        loop {
            let (at, c) = chars.next()?;
            match c {
                '"' => {
                    self.text = &self.text[at + 1..];
                    return Some(out);
                }
                '\\' => out.push(chars.next()?.1),
                c => out.push(c),
            }
        }
    }
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
        Value::Array(array) => array.elements().iter().any(holds_nul),
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

    /// Arrays are read with all that they say of themselves.
    #[test]
    fn arrays() {
        let check = |own: PostgresType, text: &str| {
            let value = read(own.array(), text).unwrap_or_else(|why| panic!("{text}: {why}"));
            let Value::Array(array) = value else {
                panic!("{text} is an array");
            };
            array
        };
        let texts = check(PostgresType::Text, r#"{a,"b \"c\"\\",NULL,"NULL","",",}"}"#);
        let text = |text: &str| Value::text(text);
        let expected = [
            text("a"),
            text("b \"c\"\\"),
            Value::Null,
            text("NULL"),
            text(""),
            text(",}"),
        ];
        assert_eq!(texts.elements(), expected);
        assert_eq!(
            check(PostgresType::Integer, "{}"),
            Array::flat(Vec::new()).into()
        );
        let square = check(PostgresType::Integer, "[0:1][-1:1]={{1,2,3},{4,5,NULL}}");
        let shape = |array: &Array| {
            let dimensions = array.dimensions().iter();
            dimensions.map(|d| (d.lower, d.length)).collect::<Vec<_>>()
        };
        assert_eq!(shape(&square), [(0, 2), (-1, 3)]);
        assert_eq!(square.elements()[5], Value::Null);
        // What we write is what is read.
        for array in [texts, square] {
            let own = match array.elements()[0] {
                Value::Int(_) => PostgresType::Integer,
                _ => PostgresType::Text,
            };
            assert_eq!(check(own, &array.to_text()), array);
        }
        for bad in [
            "",
            "{",
            "{1",
            "1,2",
            "{1}}",
            "{{1},{2,3}}",
            "{\"a}",
            "[0:1]={1}",
        ] {
            let read = read(PostgresType::Integer.array(), bad);
            assert!(read.is_err() || bad == "[0:1]={1}", "{bad:?} {read:?}");
        }
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
