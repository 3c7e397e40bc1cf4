//! Values of queries as JSON: each in an object whose one field is its tag.
//!
//! Numbers keep the digits they are written with. A value has exactly one known tag and exactly the
//! content of that tag; anything else is an error that shows it.

use serde::Deserialize;
use serde_json::value::RawValue;
use tidegate_core::{Literal, Numeric, TimeUnit};

use crate::json_text::{
    Kind, boolean, given, is_number, kind, object, string, write_separated, write_string,
};
use crate::query_json::shorten;

/// Members of a list.
pub(crate) const LIST_MAX: usize = 10_000;

/// Every tag of a value; exactly one must be there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Tagged<'a> {
    #[serde(borrow)]
    string_value: Option<&'a RawValue>,
    #[serde(borrow)]
    number_value: Option<&'a RawValue>,
    #[serde(borrow)]
    bool_value: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    null_value: Option<&'a RawValue>,
    #[serde(borrow)]
    int64_value: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp_value: Option<&'a RawValue>,
    #[serde(borrow)]
    string_list: Option<&'a RawValue>,
    #[serde(borrow)]
    int64_list: Option<&'a RawValue>,
    #[serde(borrow)]
    float64_list: Option<&'a RawValue>,
    #[serde(borrow)]
    bool_list: Option<&'a RawValue>,
    #[serde(borrow)]
    range_value: Option<&'a RawValue>,
    #[serde(borrow)]
    mixed_list: Option<&'a RawValue>,
}

/// A field that counts as there even when it is null.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// Which tag a value has.
#[derive(Clone, Copy)]
enum Tag {
    String,
    Number,
    Bool,
    Null,
    Int64,
    Timestamp,
    StringList,
    Int64List,
    Float64List,
    BoolList,
    Range,
    MixedList,
}

impl<'a> Tagged<'a> {
    fn only(&self) -> Option<(Tag, &'a RawValue)> {
        let all = [
            (Tag::String, self.string_value),
            (Tag::Number, self.number_value),
            (Tag::Bool, self.bool_value),
            (Tag::Null, self.null_value),
            (Tag::Int64, self.int64_value),
            (Tag::Timestamp, self.timestamp_value),
            (Tag::StringList, self.string_list),
            (Tag::Int64List, self.int64_list),
            (Tag::Float64List, self.float64_list),
            (Tag::BoolList, self.bool_list),
            (Tag::Range, self.range_value),
            (Tag::MixedList, self.mixed_list),
        ];
        let mut there = all.into_iter().filter_map(|(tag, raw)| Some((tag, raw?)));
        there.next().filter(|_| there.next().is_none())
    }
}

#[derive(Deserialize)]
struct Single<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
}

#[derive(Deserialize)]
struct Several<'a> {
    #[serde(borrow)]
    values: Vec<&'a RawValue>,
}

/// Reads a tagged value, or says what is wrong with it. Ranges and mixed lists nest once at most.
pub(crate) fn parse_literal(raw: &RawValue, depth: usize) -> Result<Literal, String> {
    let unknown = || {
        format!(
            "{} is not a value: it needs one tag such as {{\"StringValue\":{{\"value\":…}}}}",
            shorten(raw.get())
        )
    };
    let tagged: Tagged<'_> = object(raw).ok_or_else(unknown)?;
    let (tag, body) = tagged.only().ok_or_else(unknown)?;
    let wrong = || format!("{} does not fit its tag", shorten(raw.get()));
    let single = || {
        object::<Single<'_>>(body)
            .map(|body| body.value)
            .ok_or_else(wrong)
    };
    let several = |member: fn(&RawValue) -> Option<Literal>| {
        let values = object::<Several<'_>>(body).ok_or_else(wrong)?.values;
        if values.len() > LIST_MAX {
            return Err(format!("a list holds at most {LIST_MAX} values"));
        }
        let members = values.into_iter().map(|raw| member(raw).ok_or_else(wrong));
        Ok(Literal::List(members.collect::<Result<_, _>>()?))
    };
    match tag {
        Tag::Null => Ok(Literal::Null),
        Tag::String => text_literal(single()?).ok_or_else(wrong),
        Tag::Number => number_literal(single()?).ok_or_else(wrong),
        Tag::Bool => bool_literal(single()?).ok_or_else(wrong),
        Tag::Int64 => int_literal(single()?).ok_or_else(wrong),
        Tag::Timestamp => time_literal(body).ok_or_else(wrong),
        Tag::StringList => several(text_literal),
        Tag::Int64List => several(int_literal),
        Tag::Float64List => several(number_literal),
        Tag::BoolList => several(bool_literal),
        Tag::Range | Tag::MixedList if depth > 0 => Err("ranges and lists do not nest".to_owned()),
        Tag::Range => range_literal(body, depth),
        Tag::MixedList => mixed_literal(body, depth),
    }
}

fn text_literal(raw: &RawValue) -> Option<Literal> {
    string(raw).map(Literal::Text)
}

fn bool_literal(raw: &RawValue) -> Option<Literal> {
    boolean(raw).map(Literal::Bool)
}

/// A number as a number or as text; `NaN` and infinities have the latter form only.
fn number_literal(raw: &RawValue) -> Option<Literal> {
    let text = match kind(raw) {
        Kind::Number => raw.get().to_owned(),
        Kind::String => string(raw)?,
        _ => return None,
    };
    Numeric::parse(&text)?;
    Some(Literal::Number(text))
}

fn int_literal(raw: &RawValue) -> Option<Literal> {
    let text = match kind(raw) {
        Kind::Number => raw.get().to_owned(),
        Kind::String => string(raw)?,
        _ => return None,
    };
    text.parse::<i64>().ok()?;
    Some(Literal::Int(text))
}

#[derive(Deserialize)]
struct TimeFields<'a> {
    #[serde(borrow)]
    epoch: &'a RawValue,
    #[serde(borrow)]
    unit: Option<&'a RawValue>,
}

fn time_literal(raw: &RawValue) -> Option<Literal> {
    let fields: TimeFields<'_> = object(raw)?;
    let epoch = match int_literal(fields.epoch)? {
        Literal::Int(text) => text.parse().ok()?,
        _ => return None,
    };
    let unit = match given(fields.unit) {
        None => TimeUnit::default(),
        Some(raw) => match string(raw)?.as_str() {
            "SECONDS" => TimeUnit::Seconds,
            "MILLIS" => TimeUnit::Millis,
            "MICROS" => TimeUnit::Micros,
            "NANOS" => TimeUnit::Nanos,
            _ => return None,
        },
    };
    Some(Literal::Time { epoch, unit })
}

#[derive(Deserialize)]
struct RangeFields<'a> {
    #[serde(borrow)]
    low: &'a RawValue,
    #[serde(borrow)]
    high: &'a RawValue,
    include_low: Option<bool>,
    include_high: Option<bool>,
}

fn range_literal(raw: &RawValue, depth: usize) -> Result<Literal, String> {
    let fields: RangeFields<'_> =
        object(raw).ok_or("a RangeValue is {low, high, include_low, include_high}")?;
    Ok(Literal::Range {
        low: Box::new(parse_literal(fields.low, depth + 1)?),
        high: Box::new(parse_literal(fields.high, depth + 1)?),
        include_low: fields.include_low.unwrap_or(true),
        include_high: fields.include_high.unwrap_or(true),
    })
}

fn mixed_literal(raw: &RawValue, depth: usize) -> Result<Literal, String> {
    let values = object::<Several<'_>>(raw)
        .ok_or("a MixedList is {values:[…]}, each with its tag")?
        .values;
    if values.len() > LIST_MAX {
        return Err(format!("a list holds at most {LIST_MAX} values"));
    }
    let members = values.into_iter().map(|raw| parse_literal(raw, depth + 1));
    Ok(Literal::List(members.collect::<Result<_, _>>()?))
}

/// Writes a value with its tag.
pub(crate) fn write_literal(out: &mut Vec<u8>, literal: &Literal) {
    match literal {
        Literal::Null => out.extend_from_slice(b"{\"NullValue\":{}}"),
        Literal::Bool(value) => {
            let text = format!("{{\"BoolValue\":{{\"value\":{value}}}}}");
            out.extend_from_slice(text.as_bytes());
        }
        Literal::Number(text) => write_tagged(out, "NumberValue", text, write_number),
        Literal::Int(text) => write_tagged(out, "Int64Value", text, write_string),
        // A document is no query value; as text it is refused or accepted by the same columns.
        Literal::Text(text) | Literal::Json(text) => {
            write_tagged(out, "StringValue", text, write_string);
        }
        Literal::Time { epoch, unit } => {
            let unit = match unit {
                TimeUnit::Seconds => "SECONDS",
                TimeUnit::Millis => "MILLIS",
                TimeUnit::Micros => "MICROS",
                TimeUnit::Nanos => "NANOS",
            };
            let text =
                format!("{{\"TimestampValue\":{{\"epoch\":\"{epoch}\",\"unit\":\"{unit}\"}}}}");
            out.extend_from_slice(text.as_bytes());
        }
        Literal::List(members) => write_list(out, members),
        Literal::Range {
            low,
            high,
            include_low,
            include_high,
        } => {
            out.extend_from_slice(b"{\"RangeValue\":{\"low\":");
            write_literal(out, low);
            out.extend_from_slice(b",\"high\":");
            write_literal(out, high);
            let ends =
                format!(",\"include_low\":{include_low},\"include_high\":{include_high}}}}}");
            out.extend_from_slice(ends.as_bytes());
        }
    }
}

fn write_tagged(out: &mut Vec<u8>, tag: &str, text: &str, write: fn(&mut Vec<u8>, &str)) {
    out.extend_from_slice(b"{\"");
    out.extend_from_slice(tag.as_bytes());
    out.extend_from_slice(b"\":{\"value\":");
    write(out, text);
    out.extend_from_slice(b"}}");
}

fn write_number(out: &mut Vec<u8>, text: &str) {
    if is_number(text) {
        out.extend_from_slice(text.as_bytes());
    } else {
        write_string(out, text);
    }
}

fn write_list(out: &mut Vec<u8>, members: &[Literal]) {
    let all = |is: fn(&Literal) -> bool| members.iter().all(is);
    let tag = if all(|member| matches!(member, Literal::Text(_))) {
        "StringList"
    } else if all(|member| matches!(member, Literal::Int(_))) {
        "Int64List"
    } else if all(|member| matches!(member, Literal::Number(_))) {
        "Float64List"
    } else if all(|member| matches!(member, Literal::Bool(_))) {
        "BoolList"
    } else {
        "MixedList"
    };
    out.extend_from_slice(format!("{{\"{tag}\":{{\"values\":[").as_bytes());
    write_separated(out, members, |out, member| match (tag, member) {
        ("MixedList", member) => write_literal(out, member),
        (_, Literal::Number(text)) => write_number(out, text),
        (_, Literal::Text(text) | Literal::Int(text)) => write_string(out, text),
        (_, Literal::Bool(value)) => out.extend_from_slice(value.to_string().as_bytes()),
        (_, other) => write_literal(out, other),
    });
    out.extend_from_slice(b"]}}");
}
