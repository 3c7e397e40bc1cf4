//! Queries as JSON: what clients put into `queryJson`.
//!
//! Numbers are kept as they are written, so that none goes through a double. An unknown name, tag
//! or shape is an error that says which. Depth and length are bounded, and the cost of a text does
//! not grow with its nesting.

use serde::Deserialize;
use serde_json::value::RawValue;
use tidegate_core::{FilterSpec, KeysetSpec, OrderSpec, QuerySpec, Sort};

use crate::error_code::{ErrorCode, WireError};
use crate::filter_json::{parse_filter, write_filter};
use crate::json_text::{
    Kind, array, boolean, given, kind, object, string, write_int, write_separated, write_string,
};
use crate::literal_json::{parse_literal, write_literal};

/// Order keys, and members of a cursor: more than a table has columns worth ordering by.
pub(crate) const ORDER_KEYS_MAX: usize = 64;

#[derive(Deserialize)]
struct QueryFields<'a> {
    #[serde(borrow)]
    wrapper: Option<&'a RawValue>,
    #[serde(borrow)]
    limit: Option<&'a RawValue>,
    #[serde(borrow)]
    order: Option<&'a RawValue>,
    #[serde(borrow)]
    cursor: Option<&'a RawValue>,
    #[serde(borrow)]
    strict_after: Option<&'a RawValue>,
}

/// Reads a query.
///
/// # Errors
/// `bad_query` when it is not a JSON object; else the code of the part that cannot be read.
pub fn parse_query(text: &str) -> Result<QuerySpec, WireError> {
    let raw: &RawValue = serde_json::from_str(text)
        .map_err(|error| bad_query(format!("the query is not JSON: {error}")))?;
    let fields: QueryFields<'_> = object(raw)
        .ok_or_else(|| bad_query("the query is not a JSON object with each field once"))?;
    let mut spec = QuerySpec {
        filter: given(fields.wrapper).map(parse_filter).transpose()?,
        ..QuerySpec::default()
    };
    spec.limit = parse_limit(fields.limit)?;
    spec.order = parse_order(fields.order)?;
    spec.keyset = parse_keyset(fields.cursor)?;
    if let Some(strict) = given(fields.strict_after) {
        spec.strict_after =
            boolean(strict).ok_or_else(|| bad_query("strict_after is true or false".to_owned()))?;
    }
    Ok(spec)
}

fn bad_query(message: impl Into<String>) -> WireError {
    WireError::new(ErrorCode::BadQuery, message)
}

/// A whole number of rows, as a number or as text; absent or null is `None`.
pub(crate) fn parse_limit(raw: Option<&RawValue>) -> Result<Option<u64>, WireError> {
    let Some(raw) = given(raw) else {
        return Ok(None);
    };
    count(raw).map(Some).ok_or_else(|| {
        WireError::new(
            ErrorCode::BadLimit,
            "limit is a whole number of rows".to_owned(),
        )
    })
}

/// A whole number as a number or as text.
pub(crate) fn count(raw: &RawValue) -> Option<u64> {
    match kind(raw) {
        Kind::Number => raw.get().parse().ok(),
        Kind::String => string(raw)?.parse().ok(),
        _ => None,
    }
}

#[derive(Deserialize)]
struct OrderFields<'a> {
    #[serde(borrow)]
    field: Option<&'a RawValue>,
    #[serde(borrow)]
    sort: Option<&'a RawValue>,
    #[serde(borrow)]
    is_pk: Option<&'a RawValue>,
}

/// Reads the keys of an order; absent or null is no order.
pub(crate) fn parse_order(raw: Option<&RawValue>) -> Result<Vec<OrderSpec>, WireError> {
    let bad = |message: &str| WireError::new(ErrorCode::BadOrder, message);
    let Some(raw) = given(raw) else {
        return Ok(Vec::new());
    };
    let keys = array(raw).ok_or_else(|| bad("order is an array of {field, sort}"))?;
    if keys.len() > ORDER_KEYS_MAX {
        return Err(bad("an order has at most 64 keys"));
    }
    let key = |raw: &RawValue| {
        let fields: OrderFields<'_> =
            object(raw).ok_or_else(|| bad("an order key is {field, sort}"))?;
        let column = given(fields.field)
            .and_then(string)
            .ok_or_else(|| bad("an order key needs field, a text"))?;
        let sort = match given(fields.sort) {
            None => Sort::default(),
            Some(raw) => string(raw)
                .and_then(|name| Sort::ALL.iter().copied().find(|sort| sort.name() == name))
                .ok_or_else(|| bad(&format!("{} is not a sort", shorten(raw.get()))))?,
        };
        Ok(OrderSpec {
            column,
            sort,
            // Whatever else it is, it is not a claim.
            is_pk: given(fields.is_pk).and_then(boolean).unwrap_or_default(),
        })
    };
    keys.into_iter().map(key).collect()
}

#[derive(Deserialize)]
struct EntryFields<'a> {
    #[serde(borrow)]
    field: Option<&'a RawValue>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

/// Reads the entries of a cursor; absent or null is none.
pub(crate) fn parse_keyset(raw: Option<&RawValue>) -> Result<Vec<KeysetSpec>, WireError> {
    let bad = |message: String| WireError::new(ErrorCode::BadCursor, message);
    let Some(raw) = given(raw) else {
        return Ok(Vec::new());
    };
    let entries =
        array(raw).ok_or_else(|| bad("cursor is an array of {field, value}".to_owned()))?;
    if entries.len() > ORDER_KEYS_MAX {
        return Err(bad("a cursor has at most 64 entries".to_owned()));
    }
    let entry = |raw: &RawValue| {
        let fields: EntryFields<'_> =
            object(raw).ok_or_else(|| bad("a cursor entry is {field, value}".to_owned()))?;
        let column = given(fields.field)
            .and_then(string)
            .ok_or_else(|| bad("a cursor entry needs field, a text".to_owned()))?;
        let value = given(fields.value)
            .ok_or_else(|| bad(format!("cursor column {} needs a value", shorten(&column))))?;
        let value = parse_literal(value, 0)
            .map_err(|why| bad(format!("cursor column {}: {why}", shorten(&column))))?;
        Ok(KeysetSpec { column, value })
    };
    entries.into_iter().map(entry).collect()
}

pub(crate) fn shorten(text: &str) -> String {
    text.chars().take(60).collect()
}

/// Writes a query as the JSON that [`parse_query`] reads.
///
/// A list of mixed kinds, which only a caller of this function can make, gets the tag `MixedList`.
#[must_use]
pub fn write_query(spec: &QuerySpec) -> String {
    let mut out = Vec::with_capacity(256);
    out.push(b'{');
    if let Some(filter) = &spec.filter {
        out.extend_from_slice(b"\"wrapper\":");
        match filter {
            FilterSpec::Group(..) => write_filter(&mut out, filter),
            FilterSpec::Test { .. } => {
                out.extend_from_slice(b"{\"filter_wrapper_type\":\"and\",\"filters\":[");
                write_filter(&mut out, filter);
                out.extend_from_slice(b"]}");
            }
        }
        out.push(b',');
    }
    if let Some(limit) = spec.limit {
        out.extend_from_slice(b"\"limit\":");
        write_int(&mut out, limit);
        out.push(b',');
    }
    out.extend_from_slice(b"\"order\":[");
    write_separated(&mut out, &spec.order, |out, key| {
        out.extend_from_slice(b"{\"field\":");
        write_string(out, &key.column);
        out.extend_from_slice(b",\"sort\":");
        write_string(out, key.sort.name());
        if key.is_pk {
            out.extend_from_slice(b",\"is_pk\":true");
        }
        out.push(b'}');
    });
    out.extend_from_slice(b"],\"cursor\":[");
    write_separated(&mut out, &spec.keyset, |out, entry| {
        out.extend_from_slice(b"{\"field\":");
        write_string(out, &entry.column);
        out.extend_from_slice(b",\"value\":");
        write_literal(out, &entry.value);
        out.push(b'}');
    });
    out.extend_from_slice(b"],\"strict_after\":");
    out.extend_from_slice(spec.strict_after.to_string().as_bytes());
    out.push(b'}');
    String::from_utf8(out).expect("only text was written")
}

#[cfg(test)]
mod tests;
