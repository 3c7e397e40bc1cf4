//! Queries as JSON: what clients put into `queryJson`.
//!
//! Numbers are kept as they are written, so that none goes through a double. Every level is read on
//! its own from raw text, under a bound for depth and one for the number of tests, so no text can
//! exhaust the stack; and an unknown name, tag or shape is an error that says which.

use serde::Deserialize;
use serde_json::value::RawValue;
use tidegate_core::{
    FilterSpec, Group, KeysetSpec, ModifierSpec, NullsOrder, Operator, OrderSpec, QuerySpec, Sort,
};

use crate::error_code::{ErrorCode, WireError};
use crate::json_text::{
    Kind, array, boolean, given, kind, object, string, write_int, write_separated, write_string,
};
use crate::literal_json::{parse_literal, write_literal};

/// Groups inside groups.
pub(crate) const FILTER_DEPTH_MAX: usize = 32;

/// Tests and groups in one filter.
pub(crate) const FILTER_NODES_MAX: usize = 1_000;

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

fn bad_filter(message: impl Into<String>) -> WireError {
    WireError::new(ErrorCode::BadFilter, message)
}

fn bad_value(message: impl Into<String>) -> WireError {
    WireError::new(ErrorCode::BadValue, message)
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

/// Reads a filter.
///
/// # Errors
/// `bad_filter`, `bad_value` or `unsupported_operator`.
pub(crate) fn parse_filter(raw: &RawValue) -> Result<FilterSpec, WireError> {
    let mut nodes = 0;
    let filter = parse_node(raw, 0, &mut nodes)?;
    match filter {
        FilterSpec::Group(..) => Ok(filter),
        FilterSpec::Test { .. } => Err(bad_filter(
            "the outermost filter is a wrapper: it needs filter_wrapper_type",
        )),
    }
}

#[derive(Deserialize)]
struct NodeFields<'a> {
    #[serde(borrow)]
    filter_wrapper_type: Option<&'a RawValue>,
    #[serde(borrow)]
    filters: Option<&'a RawValue>,
    #[serde(borrow)]
    field_name: Option<&'a RawValue>,
    #[serde(borrow)]
    filter_type: Option<&'a RawValue>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    modifier: Option<&'a RawValue>,
}

fn parse_node(raw: &RawValue, depth: usize, nodes: &mut usize) -> Result<FilterSpec, WireError> {
    *nodes += 1;
    if depth > FILTER_DEPTH_MAX || *nodes > FILTER_NODES_MAX {
        return Err(bad_filter(format!(
            "a filter is at most {FILTER_DEPTH_MAX} groups deep and {FILTER_NODES_MAX} tests long"
        )));
    }
    let fields: NodeFields<'_> =
        object(raw).ok_or_else(|| bad_filter("a filter is a JSON object with each field once"))?;
    let Some(group) = given(fields.filter_wrapper_type) else {
        return parse_test(&fields);
    };
    let group = match string(group).as_deref() {
        Some("and") => Group::And,
        Some("or") => Group::Or,
        _ => return Err(bad_filter("filter_wrapper_type is \"and\" or \"or\"")),
    };
    let members = match given(fields.filters) {
        Some(members) => array(members).ok_or_else(|| bad_filter("filters is an array"))?,
        None => Vec::new(),
    };
    if members.len() > FILTER_NODES_MAX {
        return Err(bad_filter(format!(
            "a filter is at most {FILTER_NODES_MAX} tests long"
        )));
    }
    let members = members
        .into_iter()
        .map(|member| parse_node(member, depth + 1, nodes));
    Ok(FilterSpec::Group(group, members.collect::<Result<_, _>>()?))
}

fn parse_test(fields: &NodeFields<'_>) -> Result<FilterSpec, WireError> {
    let column = given(fields.field_name)
        .and_then(string)
        .ok_or_else(|| bad_filter("a filter needs field_name, a text"))?;
    // Absent means `equals`, as it does in the FlatBuffer; an unknown name never does.
    let operator = match given(fields.filter_type) {
        None => Operator::Equals,
        Some(raw) => string(raw)
            .as_deref()
            .and_then(Operator::from_name)
            .ok_or_else(|| {
                let text = format!("{} is not an operator", shorten(raw.get()));
                WireError::new(ErrorCode::UnsupportedOperator, text)
            })?,
    };
    let value = given(fields.value)
        .map(|raw| parse_literal(raw, 0))
        .transpose()
        .map_err(|why| bad_value(format!("the value for {}: {why}", shorten(&column))))?;
    let modifier = match given(fields.modifier) {
        Some(raw) => parse_modifier(raw)?,
        None => ModifierSpec::default(),
    };
    Ok(FilterSpec::Test {
        column,
        operator,
        value,
        modifier,
    })
}

#[derive(Deserialize)]
struct ModifierFields<'a> {
    distinct: Option<bool>,
    case_insensitive: Option<bool>,
    #[serde(borrow)]
    nulls_order: Option<&'a RawValue>,
}

fn parse_modifier(raw: &RawValue) -> Result<ModifierSpec, WireError> {
    let bad = || {
        bad_filter("a modifier is {distinct, case_insensitive, nulls_order: first|last|default}")
    };
    let fields: ModifierFields<'_> = object(raw).ok_or_else(bad)?;
    let nulls_order = match given(fields.nulls_order) {
        None => NullsOrder::Default,
        Some(raw) => match string(raw).as_deref() {
            Some("first") => NullsOrder::First,
            Some("last") => NullsOrder::Last,
            Some("default" | "default_") => NullsOrder::Default,
            _ => return Err(bad()),
        },
    };
    Ok(ModifierSpec {
        distinct: fields.distinct.unwrap_or(false),
        case_insensitive: fields.case_insensitive.unwrap_or(false),
        nulls_order,
    })
}

#[derive(Deserialize)]
struct OrderFields<'a> {
    #[serde(borrow)]
    field: Option<&'a RawValue>,
    #[serde(borrow)]
    sort: Option<&'a RawValue>,
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
        Ok(OrderSpec { column, sort })
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

fn write_filter(out: &mut Vec<u8>, filter: &FilterSpec) {
    match filter {
        FilterSpec::Group(group, members) => {
            let name = match group {
                Group::And => "and",
                Group::Or => "or",
            };
            out.extend_from_slice(b"{\"filter_wrapper_type\":");
            write_string(out, name);
            out.extend_from_slice(b",\"filters\":[");
            write_separated(out, members, write_filter);
            out.extend_from_slice(b"]}");
        }
        FilterSpec::Test {
            column,
            operator,
            value,
            modifier,
        } => {
            out.extend_from_slice(b"{\"field_name\":");
            write_string(out, column);
            out.extend_from_slice(b",\"filter_type\":");
            write_string(out, operator.name());
            if let Some(value) = value {
                out.extend_from_slice(b",\"value\":");
                write_literal(out, value);
            }
            write_modifier(out, *modifier);
            out.push(b'}');
        }
    }
}

fn write_modifier(out: &mut Vec<u8>, modifier: ModifierSpec) {
    if modifier == ModifierSpec::default() {
        return;
    }
    let nulls = match modifier.nulls_order {
        NullsOrder::First => "first",
        NullsOrder::Last => "last",
        NullsOrder::Default => "default",
    };
    let text = format!(
        ",\"modifier\":{{\"distinct\":{},\"case_insensitive\":{},\"nulls_order\":\"{nulls}\"}}",
        modifier.distinct, modifier.case_insensitive
    );
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests;
