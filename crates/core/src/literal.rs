//! Values as clients write them, before a column's type gives them meaning.

use crate::array::{Array, Dimension};
use crate::calendar::{parse_date, parse_timestamp};
use crate::document::Document;
use crate::numeric::Numeric;
use crate::schema::ColumnType;
use crate::value::Value;

/// Unit of a timestamp literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeUnit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    #[default]
    Micros,
    /// Nanoseconds; must be whole microseconds.
    Nanos,
}

/// A value as it was written. Numbers are kept as text, so that none goes through a double.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// NULL.
    Null,
    /// True or false.
    Bool(bool),
    /// A number, as written.
    Number(String),
    /// A 64-bit integer, as written.
    Int(String),
    /// Text.
    Text(String),
    /// A point in time: a count of units since 1970-01-01 UTC.
    Time {
        /// The count.
        epoch: i64,
        /// Its unit.
        unit: TimeUnit,
    },
    /// Several values.
    List(Vec<Literal>),
    /// Two ends.
    Range {
        /// Lower end.
        low: Box<Literal>,
        /// Upper end.
        high: Box<Literal>,
        /// Whether the lower end belongs to it.
        include_low: bool,
        /// Whether the upper end belongs to it.
        include_high: bool,
    },
    /// A JSON object or array, as written (rows of ADD_SINGLE and UPDATE_SINGLE only).
    Json(String),
}

impl Literal {
    /// Reads the literal as a value of a column's type, exactly as SQL would cast it, or says in
    /// words why it does not fit.
    ///
    /// # Errors
    /// A phrase that completes "column x …", for example `needs a whole number`.
    pub fn coerce(&self, kind: &ColumnType) -> Result<Value, String> {
        match self {
            Self::Null => Ok(Value::Null),
            Self::Bool(value) => match kind {
                ColumnType::Boolean => Ok(Value::Bool(*value)),
                ColumnType::Json | ColumnType::JsonText => {
                    Ok(Value::Json(value.to_string().into()))
                }
                _ => Err(mismatch(kind, "a boolean")),
            },
            Self::Number(text) | Self::Int(text) => coerce_number(text, kind),
            Self::Text(text) => coerce_text(text, kind),
            Self::Time { epoch, unit } => match kind {
                ColumnType::Timestamp => micros(*epoch, *unit).map(Value::Timestamp),
                ColumnType::Date => {
                    let days = micros(*epoch, *unit)?.div_euclid(86_400_000_000);
                    i32::try_from(days)
                        .map(Value::Date)
                        .map_err(|_| "is out of range".to_owned())
                }
                _ => Err(mismatch(kind, "a timestamp")),
            },
            Self::Json(text) => match kind {
                ColumnType::Json | ColumnType::JsonText => Ok(Value::Json(text.as_str().into())),
                ColumnType::Array(array) => written_array(text, array.element()),
                _ => Err(mismatch(kind, "a JSON object or array")),
            },
            Self::List(members) => match kind {
                ColumnType::Array(array) => {
                    let members = members.iter().map(|member| member.coerce(array.element()));
                    let members = members.collect::<Result<_, _>>()?;
                    Ok(Value::Array(Array::flat(members).into()))
                }
                _ => Err(mismatch(kind, "a list")),
            },
            Self::Range { .. } => Err(mismatch(kind, "a range")),
        }
    }
}

/// An array as it stands in the JSON of a row; arrays in it are further dimensions, unless its
/// elements are themselves documents.
fn written_array(text: &str, element: &ColumnType) -> Result<Value, String> {
    let Some(Document::Array(members)) = Document::parse(text) else {
        return Err("needs a JSON array".to_owned());
    };
    let mut dimensions = Vec::new();
    let mut elements = Vec::new();
    fill(&members, element, 0, &mut dimensions, &mut elements)?;
    if elements.is_empty() {
        dimensions.clear();
    }
    let array = Array::new(dimensions, elements);
    let array =
        array.ok_or("needs a JSON array whose rows are equally long, and no deeper than 6")?;
    Ok(Value::Array(array.into()))
}

/// Takes the elements of one level. The first one of each level says how long all are.
fn fill(
    members: &[Document],
    element: &ColumnType,
    depth: usize,
    dimensions: &mut Vec<Dimension>,
    elements: &mut Vec<Value>,
) -> Result<(), String> {
    let length = u32::try_from(members.len()).map_err(|_| "is too long".to_owned())?;
    let uneven = || "needs a JSON array whose rows are equally long".to_owned();
    match dimensions.get(depth) {
        None => dimensions.push(Dimension { lower: 1, length }),
        Some(first) if first.length == length => {}
        Some(_) => return Err(uneven()),
    }
    let is_document = matches!(element, ColumnType::Json | ColumnType::JsonText);
    for member in members {
        let is_level = matches!(member, Document::Array(_)) && !is_document;
        if is_level != (dimensions.len() > depth + 1) && !(is_level && elements.is_empty()) {
            return Err(uneven());
        }
        match member {
            Document::Array(inner) if !is_document => {
                fill(inner, element, depth + 1, dimensions, elements)?;
            }
            // A text in an array of documents is one, not the text of one.
            member if is_document && *member != Document::Null => {
                elements.push(Value::Json(member.to_text().into()));
            }
            member => elements.push(element_of(member).coerce(element)?),
        }
    }
    Ok(())
}

fn element_of(document: &Document) -> Literal {
    match document {
        Document::Null => Literal::Null,
        Document::Bool(value) => Literal::Bool(*value),
        Document::Number(number) => Literal::Number(number.as_str().to_owned()),
        Document::Text(text) => Literal::Text(text.clone()),
        Document::Array(_) | Document::Object(_) => Literal::Json(document.to_text()),
    }
}

fn mismatch(kind: &ColumnType, given: &str) -> String {
    format!("is of type {kind} and does not take {given}")
}

fn micros(epoch: i64, unit: TimeUnit) -> Result<i64, String> {
    let scaled = match unit {
        TimeUnit::Seconds => epoch.checked_mul(1_000_000),
        TimeUnit::Millis => epoch.checked_mul(1_000),
        TimeUnit::Micros => Some(epoch),
        TimeUnit::Nanos if epoch % 1_000 == 0 => Some(epoch / 1_000),
        TimeUnit::Nanos => return Err("keeps microseconds, not nanoseconds".to_owned()),
    };
    scaled
        .filter(in_calendar)
        .ok_or_else(|| "holds years 0001 to 9999 only".to_owned())
}

/// Years 0001 to 9999, as the text form has four digits for them.
fn in_calendar(micros: &i64) -> bool {
    (-62_135_596_800_000_000..253_402_300_800_000_000).contains(micros)
}

fn coerce_number(text: &str, kind: &ColumnType) -> Result<Value, String> {
    let number =
        Numeric::parse(text).ok_or_else(|| format!("does not take {text:?}: no number"))?;
    match kind {
        ColumnType::Numeric => Ok(Value::Numeric(number)),
        ColumnType::Double => float(number.as_str(), f64::MAX),
        ColumnType::Real => real(number.as_str()),
        ColumnType::Json | ColumnType::JsonText => Ok(Value::Json(text.into())),
        // Of a number in words of its own (`money`) the database makes what it is.
        ColumnType::Other(_) => Ok(Value::text(text)),
        _ => match kind.integer_range() {
            Some(range) => integer(&number, kind, range),
            None => Err(mismatch(kind, "a number")),
        },
    }
}

fn integer(number: &Numeric, kind: &ColumnType, (low, high): (i64, i64)) -> Result<Value, String> {
    match number.to_int() {
        Some(value) if (low..=high).contains(&value) => Ok(Value::Int(value)),
        _ => Err(format!(
            "is of type {kind}: {number} is not a whole number of {low} to {high}"
        )),
    }
}

fn float(text: &str, max: f64) -> Result<Value, String> {
    let value: f64 = text
        .parse()
        .map_err(|_| format!("does not take {text:?}: no number"))?;
    let asked_for_infinity = text.ends_with("Infinity");
    if value.is_infinite() && !asked_for_infinity || value.is_finite() && value.abs() > max {
        return Err(format!("does not hold {text}: too large"));
    }
    Ok(Value::Float(value))
}

/// Rounds through `f32`, as a cast to `real` does, so that `0.1` compares as the column holds it.
fn real(text: &str) -> Result<Value, String> {
    match float(text, f64::from(f32::MAX))? {
        Value::Float(value) if value.is_finite() => {
            let narrow: f32 = text
                .parse()
                .map_err(|_| format!("does not take {text:?}"))?;
            Ok(Value::Float(f64::from(narrow)))
        }
        other => Ok(other),
    }
}

fn coerce_text(text: &str, kind: &ColumnType) -> Result<Value, String> {
    let bad = || format!("is of type {kind} and does not take {:?}", shorten(text));
    match kind {
        ColumnType::Text => Ok(Value::text(text)),
        ColumnType::Boolean => match text {
            "true" | "t" => Ok(Value::Bool(true)),
            "false" | "f" => Ok(Value::Bool(false)),
            _ => Err(bad()),
        },
        ColumnType::Timestamp => parse_timestamp(text)
            .filter(in_calendar)
            .map(Value::Timestamp)
            .ok_or_else(bad),
        ColumnType::Date => parse_date(text).map(Value::Date).ok_or_else(bad),
        ColumnType::Bytea => bytes(text).ok_or_else(bad),
        ColumnType::Json | ColumnType::JsonText => Ok(Value::Json(text.into())),
        ColumnType::Range(_) | ColumnType::Other(_) => Ok(Value::text(text)),
        ColumnType::Array(_) => Err(mismatch(kind, "a text; give an array")),
        ColumnType::SmallInt
        | ColumnType::Integer
        | ColumnType::BigInt
        | ColumnType::WideInteger
        | ColumnType::Real
        | ColumnType::Double
        | ColumnType::Numeric => coerce_number(text, kind),
    }
}

fn bytes(text: &str) -> Option<Value> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    let pairs = digits.chunks(2).map(|pair| {
        let [high, low] = pair else { return None };
        let digit = |b: u8| (b as char).to_digit(16);
        Some((digit(*high)? << 4 | digit(*low)?) as u8)
    });
    Some(Value::Bytes(pairs.collect::<Option<Vec<u8>>>()?.into()))
}

fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Literal {
        Literal::Number(text.to_owned())
    }

    /// Numbers reach integer and numeric columns digit for digit.
    #[test]
    fn numbers_do_not_go_through_a_double() {
        let big = "9007199254740993";
        let value = number(big).coerce(&ColumnType::BigInt);
        assert_eq!(value, Ok(Value::Int(9_007_199_254_740_993)));
        let long = "0.12345678901234567890123";
        let value = number(long).coerce(&ColumnType::Numeric).expect("fits");
        assert_eq!(value.to_text().as_deref(), Some(long));
        assert_eq!(
            number("5.0").coerce(&ColumnType::Integer),
            Ok(Value::Int(5))
        );
    }

    /// A value that the type cannot hold is an error, not a neighbour.
    #[test]
    fn refuses_what_does_not_fit() {
        assert!(number("1.5").coerce(&ColumnType::Integer).is_err());
        assert!(number("32768").coerce(&ColumnType::SmallInt).is_err());
        assert!(
            number("9223372036854775808")
                .coerce(&ColumnType::BigInt)
                .is_err()
        );
        assert!(number("1e39").coerce(&ColumnType::Real).is_err());
        assert!(number("1e400").coerce(&ColumnType::Double).is_err());
        assert!(number("1").coerce(&ColumnType::Text).is_err());
        assert!(
            Literal::Text("maybe".into())
                .coerce(&ColumnType::Boolean)
                .is_err()
        );
        let nanos = Literal::Time {
            epoch: 1_500,
            unit: TimeUnit::Nanos,
        };
        assert!(nanos.coerce(&ColumnType::Timestamp).is_err());
    }

    /// `real` rounds as the column does.
    #[test]
    fn real_rounds_through_f32() {
        let value = number("0.1").coerce(&ColumnType::Real);
        assert_eq!(value, Ok(Value::Float(f64::from(0.1_f32))));
    }

    /// Texts from a reply's cursor are read as the column's type.
    #[test]
    fn reads_cursor_texts() {
        let text = |text: &str| Literal::Text(text.to_owned());
        assert_eq!(text("12").coerce(&ColumnType::BigInt), Ok(Value::Int(12)));
        let time = text("1970-01-01T00:00:00.001Z").coerce(&ColumnType::Timestamp);
        assert_eq!(time, Ok(Value::Timestamp(1_000)));
        assert_eq!(
            text("\\x00fF").coerce(&ColumnType::Bytea),
            Ok(Value::Bytes(vec![0, 255].into()))
        );
        assert!(text("\\x0").coerce(&ColumnType::Bytea).is_err());
    }
}
