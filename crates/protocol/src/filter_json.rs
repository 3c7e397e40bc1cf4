//! Filters as JSON: a tree of wrappers and tests.
//!
//! The tree is read in one pass, under its bounds for depth and length, with values as raw text;
//! only then are names and values looked at. Reading level by level from raw text would scan what
//! lies deepest once for each level above it.

use std::cell::Cell;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tidegate_core::{FilterSpec, Group, ModifierSpec, NullsOrder, Operator};

use crate::error_code::{ErrorCode, WireError};
use crate::json_text::{given, object, string, write_separated, write_string};
use crate::literal_json::{parse_literal, write_literal};
use crate::query_json::shorten;

/// Groups inside groups.
pub(crate) const FILTER_DEPTH_MAX: usize = 32;

/// Tests and groups in one filter.
pub(crate) const FILTER_NODES_MAX: usize = 1_000;

/// Reads a filter.
///
/// # Errors
/// `bad_filter`, `bad_value` or `unsupported_operator`.
pub(crate) fn parse_filter(raw: &RawValue) -> Result<FilterSpec, WireError> {
    let seed = NodeSeed {
        depth: 0,
        nodes: &Cell::new(0),
    };
    let node = seed
        .deserialize(&mut serde_json::Deserializer::from_str(raw.get()))
        .map_err(|error| bad_filter(format!("the filter cannot be read: {error}")))?;
    if given(node.group).is_none() {
        let why = "the outermost filter is a wrapper: it needs filter_wrapper_type";
        return Err(bad_filter(why));
    }
    parse_node(&node)
}

fn bad_filter(message: impl Into<String>) -> WireError {
    WireError::new(ErrorCode::BadFilter, message)
}

/// A wrapper or a test, with its texts as they are.
#[derive(Default)]
struct Node<'a> {
    group: Option<&'a RawValue>,
    members: Vec<Node<'a>>,
    field_name: Option<&'a RawValue>,
    filter_type: Option<&'a RawValue>,
    value: Option<&'a RawValue>,
    modifier: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Label {
    FilterWrapperType,
    Filters,
    FieldName,
    FilterType,
    Value,
    Modifier,
    #[serde(other)]
    Other,
}

/// Reads a node and what is below it. The count is that of the whole tree.
#[derive(Clone, Copy)]
struct NodeSeed<'c> {
    depth: usize,
    nodes: &'c Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for NodeSeed<'_> {
    type Value = Node<'de>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Node<'de>, D::Error> {
        self.nodes.set(self.nodes.get() + 1);
        if self.depth > FILTER_DEPTH_MAX || self.nodes.get() > FILTER_NODES_MAX {
            let (depth, nodes) = (FILTER_DEPTH_MAX, FILTER_NODES_MAX);
            let why = format!("it is at most {depth} groups deep and {nodes} tests long");
            return Err(D::Error::custom(why));
        }
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for NodeSeed<'_> {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, a wrapper or a test")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Node<'de>, M::Error> {
        let mut node = Node::default();
        let mut filters_seen = false;
        while let Some(name) = map.next_key()? {
            let field = match name {
                Label::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
                Label::Filters if filters_seen => return Err(M::Error::duplicate_field("filters")),
                Label::Filters => {
                    filters_seen = true;
                    node.members = map.next_value_seed(MembersSeed(self))?;
                    continue;
                }
                Label::FilterWrapperType => &mut node.group,
                Label::FieldName => &mut node.field_name,
                Label::FilterType => &mut node.filter_type,
                Label::Value => &mut node.value,
                Label::Modifier => &mut node.modifier,
            };
            if field.replace(map.next_value()?).is_some() {
                return Err(M::Error::custom("a field is there twice"));
            }
        }
        Ok(node)
    }
}

/// Reads the members of a wrapper: an array, or null for none.
#[derive(Clone, Copy)]
struct MembersSeed<'c>(NodeSeed<'c>);

impl<'de> DeserializeSeed<'de> for MembersSeed<'_> {
    type Value = Vec<Node<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for MembersSeed<'_> {
    type Value = Vec<Node<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("filters as an array")
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_seq(self)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut sequence: S) -> Result<Self::Value, S::Error> {
        let below = NodeSeed {
            depth: self.0.depth + 1,
            nodes: self.0.nodes,
        };
        let mut members = Vec::new();
        while let Some(member) = sequence.next_element_seed(below)? {
            members.push(member);
        }
        Ok(members)
    }
}

fn parse_node(node: &Node<'_>) -> Result<FilterSpec, WireError> {
    let Some(group) = given(node.group) else {
        return parse_test(node);
    };
    let group = match string(group).as_deref() {
        Some("and") => Group::And,
        Some("or") => Group::Or,
        _ => return Err(bad_filter("filter_wrapper_type is \"and\" or \"or\"")),
    };
    let members = node.members.iter().map(parse_node);
    Ok(FilterSpec::Group(group, members.collect::<Result<_, _>>()?))
}

fn parse_test(fields: &Node<'_>) -> Result<FilterSpec, WireError> {
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
        .map_err(|why| {
            let why = format!("the value for {}: {why}", shorten(&column));
            WireError::new(ErrorCode::BadValue, why)
        })?;
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

/// Writes a filter.
pub(crate) fn write_filter(out: &mut Vec<u8>, filter: &FilterSpec) {
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
