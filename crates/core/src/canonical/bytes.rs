//! The bytes that a query is named by.

use std::sync::Arc;

use crate::filter::{ArrayCheck, Check, Filter, FoldedCheck, JsonCheck, RangeCheck, Test};
use crate::query::{Keyset, OrderKey};
use crate::schema::TableSchema;
use crate::value::Value;

/// The bytes that the hash is taken of. They name columns by name and type, not by index, so that
/// they outlive a change of the table that the query does not touch. Every part is framed by its
/// length.
pub(super) fn canonical_bytes(
    schema: &TableSchema,
    filter: &Filter,
    order: &[OrderKey],
    keyset: Option<&Keyset>,
    limit: u32,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    frame(&mut out, &filter_bytes(filter, schema));
    for key in order {
        column_bytes(&mut out, key.column, schema);
        frame(
            &mut out,
            format!("{:?}{:?}", key.direction, key.nulls).as_bytes(),
        );
    }
    if let Some(Keyset { values, bound }) = keyset {
        frame(&mut out, format!("{bound:?}").as_bytes());
        values.iter().for_each(|value| value_bytes(&mut out, value));
    }
    frame(&mut out, &limit.to_be_bytes());
    out
}

fn frame(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn column_bytes(out: &mut Vec<u8>, column: usize, schema: &TableSchema) {
    let column = &schema.columns()[column];
    frame(out, column.name.as_bytes());
    frame(out, column.kind.name().as_bytes());
}

fn value_bytes(out: &mut Vec<u8>, value: &Value) {
    match value {
        // Equal numbers must have equal bytes, however they are written.
        Value::Numeric(number) => {
            let mut key = vec![b'n'];
            number.write_sort_key(&mut key);
            frame(out, &key);
        }
        Value::Float(number) if *number == 0.0 => frame(out, b"v0"),
        Value::Array(array) => {
            let mut key = vec![b'a'];
            array
                .elements()
                .iter()
                .for_each(|element| value_bytes(&mut key, element));
            frame(out, &key);
        }
        other => match other.to_text() {
            Some(text) => frame(out, format!("v{text}").as_bytes()),
            None => frame(out, b""),
        },
    }
}

pub(super) fn filter_bytes(filter: &Filter, schema: &TableSchema) -> Vec<u8> {
    let mut out = Vec::with_capacity(48);
    match filter {
        Filter::All(members) | Filter::Any(members) => {
            let tag: &[u8] = if matches!(filter, Filter::All(_)) {
                b"all"
            } else {
                b"any"
            };
            frame(&mut out, tag);
            members
                .iter()
                .for_each(|member| frame(&mut out, &filter_bytes(member, schema)));
        }
        Filter::Test(Test { column, check }) => {
            column_bytes(&mut out, *column, schema);
            check_bytes(&mut out, check);
        }
    }
    out
}

fn check_bytes(out: &mut Vec<u8>, check: &Check) {
    match check {
        Check::IsNull => frame(out, b"null"),
        Check::IsNotNull => frame(out, b"not null"),
        Check::Compare(comparison, value) => {
            frame(out, format!("{comparison:?}").as_bytes());
            value_bytes(out, value);
        }
        Check::Between {
            low,
            high,
            polarity,
        } => {
            frame(
                out,
                format!("between {polarity:?} {:?} {:?}", low.1, high.1).as_bytes(),
            );
            value_bytes(out, &low.0);
            value_bytes(out, &high.0);
        }
        Check::InList(values, polarity) => {
            frame(out, format!("list {polarity:?}").as_bytes());
            values.iter().for_each(|value| value_bytes(out, value));
        }
        Check::Text(kind, needle) => {
            frame(out, format!("{kind:?}").as_bytes());
            frame(out, needle.as_bytes());
        }
        Check::Folded(folding, FoldedCheck::Text(kind, needle)) => {
            frame(out, format!("{folding:?} {kind:?}").as_bytes());
            frame(out, needle.as_bytes());
        }
        Check::Folded(folding, FoldedCheck::InList(texts, polarity)) => {
            frame(out, format!("{folding:?} list {polarity:?}").as_bytes());
            texts.iter().for_each(|text| frame(out, text.as_bytes()));
        }
        Check::Pattern(pattern, polarity) => {
            frame(
                out,
                format!("pattern {:?} {polarity:?}", pattern.case()).as_bytes(),
            );
            frame(out, pattern.source().as_bytes());
        }
        Check::Array(check) => array_bytes(out, check),
        Check::Json(check) => json_bytes(out, check),
        Check::Range(_, check) => range_bytes(out, check),
    }
}

fn array_bytes(out: &mut Vec<u8>, check: &ArrayCheck) {
    let (name, array) = match check {
        ArrayCheck::Contains(array) => ("array contains".to_owned(), array),
        ArrayCheck::ContainedBy(array) => ("array contained by".to_owned(), array),
        ArrayCheck::Overlaps(array) => ("array overlaps".to_owned(), array),
        ArrayCheck::Equals(array, polarity) => (format!("array equals {polarity:?}"), array),
        ArrayCheck::Empty(polarity) => {
            return frame(out, format!("array empty {polarity:?}").as_bytes());
        }
        ArrayCheck::Length(length) => {
            return frame(out, format!("array length {length}").as_bytes());
        }
    };
    frame(out, name.as_bytes());
    value_bytes(out, &Value::Array(Arc::clone(array)));
}

fn json_bytes(out: &mut Vec<u8>, check: &JsonCheck) {
    let mut parts = |name: &str, parts: &[&str]| {
        frame(out, format!("json {name}").as_bytes());
        parts.iter().for_each(|part| frame(out, part.as_bytes()));
    };
    fn all(keys: &[Arc<str>]) -> Vec<&str> {
        keys.iter().map(|key| &**key).collect()
    }
    match check {
        JsonCheck::Contains(document) => parts("contains", &[&document.to_text()]),
        JsonCheck::ContainedBy(document) => parts("contained by", &[&document.to_text()]),
        JsonCheck::HasKey(key) => parts("key", &[key]),
        JsonCheck::HasAnyKey(keys) => parts("any key", &all(keys)),
        JsonCheck::HasAllKeys(keys) => parts("all keys", &all(keys)),
        JsonCheck::HasField(name) => parts("field", &[name]),
        JsonCheck::HasFieldText(name) => parts("field text", &[name]),
        JsonCheck::FieldEquals(name, document) => {
            parts("field equals", &[name, &document.to_text()]);
        }
        JsonCheck::FieldTextEquals(name, text) => parts("field text equals", &[name, text]),
    }
}

fn range_bytes(out: &mut Vec<u8>, check: &RangeCheck) {
    let (name, range) = match check {
        RangeCheck::Holds(value) => {
            frame(out, b"range holds");
            return value_bytes(out, value);
        }
        RangeCheck::Covers(range) => ("range covers", range),
        RangeCheck::CoveredBy(range) => ("range covered by", range),
    };
    frame(out, name.as_bytes());
    frame(out, range.to_string().as_bytes());
}
