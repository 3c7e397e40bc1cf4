//! Queries as FlatBuffers: `StreamingSqlDataFilter`, what clients send as `queryFbB64` and what old
//! stream processors read.
//!
//! Bytes come from anyone. They are verified under budgets for tables and size, and the walk over
//! the filter has the bounds that a query in JSON has.

use flatbuffers::{FlatBufferBuilder, UnionWIPOffset, VerifierOptions, WIPOffset, root_with_opts};
use tidegate_core::{
    FilterSpec, Group, KeysetSpec, Literal, ModifierSpec, NullsOrder, Numeric, Operator, OrderSpec,
    QuerySpec, Sort, TimeUnit as Unit,
};

use crate::error_code::{ErrorCode, WireError};
use crate::filter_json::{FILTER_DEPTH_MAX, FILTER_NODES_MAX};
use crate::generated::sql::sql_schema::{
    BasicSqlDataFilter, BasicSqlDataFilterArgs, BasicSqlDataFilterType, BasicSqlDataFilterWrapper,
    BoolList, BoolListArgs, BoolValue, BoolValueArgs, CursorEntry, CursorEntryArgs, FilterValue,
    Float64List, Float64ListArgs, Int64List, Int64ListArgs, Int64Value, Int64ValueArgs, NullValue,
    NullValueArgs, NullsSortOrder, NumberValue, NumberValueArgs, OrderKeySpec, OrderKeySpecArgs,
    OrderSort, RangeValue, RangeValueArgs, SQLFilterWrapperType, SqlFilterModifier,
    SqlFilterModifierArgs, StreamingSqlDataFilter, StreamingSqlDataFilterArgs, StringList,
    StringListArgs, StringValue, StringValueArgs, TimeUnit, TimestampValue, TimestampValueArgs,
};
use crate::generated::twin::{Child, Walk, WrittenChild, write_wrapper};
use crate::literal_json::LIST_MAX;
use crate::query_json::{ORDER_KEYS_MAX, shorten};
use crate::query_name::QueryWords;

/// Budgets of the verifier. A filter of the size we allow has a few tables a node; depth is for
/// values within values, as wrappers are verified one by one.
pub(crate) const BUDGETS: VerifierOptions = VerifierOptions {
    max_depth: 16,
    max_tables: 8_192,
    max_apparent_size: 8 << 20,
    ignore_missing_null_terminator: false,
};

/// The limit that the schema gives a query without one.
const LIMIT_DEFAULT: u32 = 50;

/// Reads a query.
///
/// # Errors
/// `bad_query` when the bytes are no `StreamingSqlDataFilter`; else the code of the part that makes
/// no sense.
pub fn decode_query(bytes: &[u8]) -> Result<QuerySpec, WireError> {
    let root = root_with_opts::<StreamingSqlDataFilter<'_>>(&BUDGETS, bytes).map_err(|_| {
        WireError::new(
            ErrorCode::BadQuery,
            "the query is not a StreamingSqlDataFilter",
        )
    })?;
    let mut spec = QuerySpec {
        limit: Some(u64::from(root.limit())),
        ..QuerySpec::default()
    };
    if let Some(wrapper) = root.wrapper() {
        spec.filter = Some(decode_filter(bytes, wrapper)?);
    }
    spec.order = decode_order(root.order())?;
    spec.keyset = decode_keyset(root.cursor())?;
    Ok(spec)
}

/// Reads the filter of a wrapper that lies in verified bytes.
pub(crate) fn decode_filter<'b>(
    bytes: &'b [u8],
    wrapper: BasicSqlDataFilterWrapper<'b>,
) -> Result<FilterSpec, WireError> {
    let mut nodes = 0;
    decode_wrapper(&mut Walk::new(&BUDGETS, bytes), wrapper, 0, &mut nodes)
}

type List<'b, T> = flatbuffers::Vector<'b, flatbuffers::ForwardsUOffset<T>>;

pub(crate) fn decode_order<'b>(
    keys: Option<List<'b, OrderKeySpec<'b>>>,
) -> Result<Vec<OrderSpec>, WireError> {
    let keys = keys.unwrap_or_default();
    if keys.len() > ORDER_KEYS_MAX {
        let why = format!("an order has at most {ORDER_KEYS_MAX} keys");
        return Err(WireError::new(ErrorCode::BadOrder, why));
    }
    keys.iter().map(decode_order_key).collect()
}

pub(crate) fn decode_keyset<'b>(
    entries: Option<List<'b, CursorEntry<'b>>>,
) -> Result<Vec<KeysetSpec>, WireError> {
    let entries = entries.unwrap_or_default();
    if entries.len() > ORDER_KEYS_MAX {
        let why = format!("a cursor has at most {ORDER_KEYS_MAX} entries");
        return Err(WireError::new(ErrorCode::BadCursor, why));
    }
    entries.iter().map(decode_cursor_entry).collect()
}

fn bad_filter(message: impl Into<String>) -> WireError {
    WireError::new(ErrorCode::BadFilter, message)
}

fn decode_wrapper<'b>(
    walk: &mut Walk<'_, 'b>,
    wrapper: BasicSqlDataFilterWrapper<'b>,
    depth: usize,
    nodes: &mut usize,
) -> Result<FilterSpec, WireError> {
    let count = wrapper.filters().map_or(0, |filters| filters.len());
    *nodes = nodes.saturating_add(count).saturating_add(1);
    if depth > FILTER_DEPTH_MAX || *nodes > FILTER_NODES_MAX {
        return Err(bad_filter(format!(
            "a filter is at most {FILTER_DEPTH_MAX} groups deep and {FILTER_NODES_MAX} tests long"
        )));
    }
    let group = match wrapper.filter_wrapper_type() {
        SQLFilterWrapperType::or => Group::Or,
        SQLFilterWrapperType::and => Group::And,
        _ => return Err(bad_filter("a filter wrapper is `and` or `or`")),
    };
    let children = walk
        .children(wrapper)
        .map_err(|error| bad_filter(error.to_string()))?;
    let members = children.into_iter().map(|child| match child {
        Child::Wrapper(inner) => decode_wrapper(walk, inner, depth + 1, nodes),
        Child::Filter(filter) => decode_test(filter),
    });
    Ok(FilterSpec::Group(group, members.collect::<Result<_, _>>()?))
}

fn decode_test(filter: BasicSqlDataFilter<'_>) -> Result<FilterSpec, WireError> {
    let column = filter
        .field_name()
        .ok_or_else(|| bad_filter("a filter needs field_name"))?;
    let number = filter.filter_type().0;
    let operator = Operator::from_number(number).ok_or_else(|| {
        let why = format!("{number} is not the number of an operator");
        WireError::new(ErrorCode::UnsupportedOperator, why)
    })?;
    let value = filter_literal(filter).map_err(|why| {
        let why = format!("the value for {}: {why}", shorten(column));
        WireError::new(ErrorCode::BadValue, why)
    })?;
    Ok(FilterSpec::Test {
        column: column.to_owned(),
        operator,
        value,
        modifier: match filter.modifier() {
            Some(modifier) => decode_modifier(modifier)?,
            None => ModifierSpec::default(),
        },
    })
}

fn decode_modifier(modifier: SqlFilterModifier<'_>) -> Result<ModifierSpec, WireError> {
    Ok(ModifierSpec {
        distinct: modifier.distinct(),
        case_insensitive: modifier.case_insensitive(),
        nulls_order: match modifier.nulls_order() {
            NullsSortOrder::first => NullsOrder::First,
            NullsSortOrder::last => NullsOrder::Last,
            NullsSortOrder::default_ => NullsOrder::Default,
            _ => return Err(bad_filter("nulls_order is first, last or default")),
        },
    })
}

fn decode_order_key(key: OrderKeySpec<'_>) -> Result<OrderSpec, WireError> {
    let sort = Sort::ALL.get(usize::from(key.sort().0)).copied();
    Ok(OrderSpec {
        column: key.field().to_owned(),
        sort: sort.ok_or_else(|| WireError::new(ErrorCode::BadOrder, "a sort is not known"))?,
        is_pk: key.is_pk(),
    })
}

fn decode_cursor_entry(entry: CursorEntry<'_>) -> Result<KeysetSpec, WireError> {
    let column = entry.field().to_owned();
    let bad = |why: &str| {
        let why = format!("cursor column {}: {why}", shorten(entry.field()));
        WireError::new(ErrorCode::BadCursor, why)
    };
    let value = cursor_literal(entry)
        .map_err(|why| bad(&why))?
        .ok_or_else(|| bad("a value is needed"))?;
    Ok(KeysetSpec { column, value })
}

/// A reader of the union `FilterValue` in one of the places where it stands. flatc gives each place
/// accessors of its own.
macro_rules! literal_reader {
    ($(#[$doc:meta])* $name:ident($table:ident), $kind:ident, $range:expr;
     $string:ident, $number:ident, $bool:ident, $int:ident, $time:ident,
     $strings:ident, $ints:ident, $floats:ident, $bools:ident) => {
        $(#[$doc])*
        pub(crate) fn $name(from: $table<'_>) -> Result<Option<Literal>, String> {
            let tag = from.$kind();
            let literal = match tag {
                FilterValue::NONE => return Ok(None),
                FilterValue::StringValue => from.$string().and_then(text_of),
                FilterValue::NumberValue => from.$number().map(|v| number_of(v.value())),
                FilterValue::BoolValue => from.$bool().map(|v| Literal::Bool(v.value())),
                FilterValue::NullValue => Some(Literal::Null),
                FilterValue::Int64Value => {
                    from.$int().map(|v| Literal::Int(v.value().to_string()))
                }
                FilterValue::TimestampValue => from.$time().and_then(time_of),
                FilterValue::StringList => from.$strings().and_then(|list| {
                    list_of(list.values(), |text| Literal::Text(text.to_owned()))
                }),
                FilterValue::Int64List => from.$ints().and_then(|list| {
                    list_of(list.values(), |value: i64| Literal::Int(value.to_string()))
                }),
                FilterValue::Float64List => {
                    from.$floats().and_then(|list| list_of(list.values(), number_of))
                }
                FilterValue::BoolList => {
                    from.$bools().and_then(|list| list_of(list.values(), Literal::Bool))
                }
                FilterValue::RangeValue => return $range(from),
                _ => None,
            };
            literal
                .map(Some)
                .ok_or_else(|| format!("{} does not make sense", tag.variant_name().unwrap_or("its tag")))
        }
    };
}

literal_reader!(
    filter_literal(BasicSqlDataFilter), value_type,
    |from: BasicSqlDataFilter<'_>| range_of(from.value_as_range_value());
    value_as_string_value, value_as_number_value, value_as_bool_value, value_as_int_64_value,
    value_as_timestamp_value, value_as_string_list, value_as_int_64_list, value_as_float_64_list,
    value_as_bool_list
);
literal_reader!(
    cursor_literal(CursorEntry), value_type,
    |from: CursorEntry<'_>| range_of(from.value_as_range_value());
    value_as_string_value, value_as_number_value, value_as_bool_value, value_as_int_64_value,
    value_as_timestamp_value, value_as_string_list, value_as_int_64_list, value_as_float_64_list,
    value_as_bool_list
);
literal_reader!(
    low_literal(RangeValue), low_type, |_| Err("ranges do not nest".to_owned());
    low_as_string_value, low_as_number_value, low_as_bool_value, low_as_int_64_value,
    low_as_timestamp_value, low_as_string_list, low_as_int_64_list, low_as_float_64_list,
    low_as_bool_list
);
literal_reader!(
    high_literal(RangeValue), high_type, |_| Err("ranges do not nest".to_owned());
    high_as_string_value, high_as_number_value, high_as_bool_value, high_as_int_64_value,
    high_as_timestamp_value, high_as_string_list, high_as_int_64_list, high_as_float_64_list,
    high_as_bool_list
);

fn text_of(value: StringValue<'_>) -> Option<Literal> {
    value.value().map(|text| Literal::Text(text.to_owned()))
}

/// A whole number with all its digits, else the shortest text that reads back as the double.
fn number_of(value: f64) -> Literal {
    // In this range the conversion is exact.
    let is_whole = value.fract() == 0.0 && value.abs() < (1_u64 << 63) as f64;
    Literal::Number(match is_whole {
        true => (value as i64).to_string(),
        false => Numeric::from_float(value).as_str().to_owned(),
    })
}

fn time_of(value: TimestampValue<'_>) -> Option<Literal> {
    let unit = match value.unit() {
        TimeUnit::SECONDS => Unit::Seconds,
        TimeUnit::MILLIS => Unit::Millis,
        TimeUnit::MICROS => Unit::Micros,
        TimeUnit::NANOS => Unit::Nanos,
        _ => return None,
    };
    Some(Literal::Time {
        epoch: value.epoch(),
        unit,
    })
}

fn list_of<T>(
    values: impl IntoIterator<Item = T>,
    literal: impl Fn(T) -> Literal,
) -> Option<Literal> {
    let members: Vec<_> = values.into_iter().take(LIST_MAX + 1).map(literal).collect();
    (members.len() <= LIST_MAX).then_some(Literal::List(members))
}

fn range_of(range: Option<RangeValue<'_>>) -> Result<Option<Literal>, String> {
    let range = range.ok_or("RangeValue does not make sense")?;
    let end = |literal: Option<Literal>| literal.ok_or("a range needs both ends");
    Ok(Some(Literal::Range {
        low: Box::new(end(low_literal(range)?)?),
        high: Box::new(end(high_literal(range)?)?),
        include_low: range.include_low(),
        include_high: range.include_high(),
    }))
}

/// Writes a query, with the client's name for it.
///
/// # Errors When the query says something that this format cannot: a cursor with `strict_after`
/// false, a list of mixed kinds, a limit above 32 bits.
pub fn encode_query(spec: &QuerySpec, hash: &str) -> Result<Vec<u8>, WireError> {
    if !spec.strict_after && !spec.keyset.is_empty() {
        let why = "strict_after: false has no place in a StreamingSqlDataFilter";
        return Err(WireError::new(ErrorCode::BadCursor, why));
    }
    write_query(spec, &QueryWords::new(hash, 1)?)
}

/// Writes a query for a foreign stream processor. It learns all but `strict_after`, which has no
/// place here: it gets the rows as they were selected.
///
/// # Errors
/// When the query says something else that this format cannot.
pub fn encode_named_query(spec: &QuerySpec, words: &QueryWords) -> Result<Vec<u8>, WireError> {
    write_query(spec, words)
}

fn write_query(spec: &QuerySpec, words: &QueryWords) -> Result<Vec<u8>, WireError> {
    let limit = spec.limit.map_or(Ok(LIMIT_DEFAULT), u32::try_from);
    let limit = limit.map_err(|_| WireError::new(ErrorCode::BadLimit, "limit is above 32 bits"))?;
    let mut builder = FlatBufferBuilder::new();
    let b = &mut builder;
    let hash = Some(b.create_string(&words.hash));
    let wrapper = spec.filter.as_ref().map(|filter| encode_filter(b, filter));
    let wrapper = wrapper.transpose()?;
    let order = encode_order(b, &spec.order);
    let cursor = encode_keyset(b, &spec.keyset)?;
    let arguments = StreamingSqlDataFilterArgs {
        hash,
        wrapper,
        limit,
        order: Some(order),
        cursor: Some(cursor),
        schema_version: words.schema_version,
    };
    let root = StreamingSqlDataFilter::create(b, &arguments);
    b.finish(root, None);
    Ok(builder.finished_data().to_vec())
}

type Written<'b, T> = WIPOffset<List<'b, T>>;

pub(crate) fn encode_order<'b>(
    b: &mut FlatBufferBuilder<'b>,
    order: &[OrderSpec],
) -> Written<'b, OrderKeySpec<'b>> {
    let keys: Vec<_> = order
        .iter()
        .map(|key| {
            let field = Some(b.create_string(&key.column));
            let at = Sort::ALL.iter().position(|sort| *sort == key.sort);
            let sort = OrderSort(at.and_then(|at| u8::try_from(at).ok()).expect("six sorts"));
            let is_pk = key.is_pk;
            OrderKeySpec::create(b, &OrderKeySpecArgs { field, sort, is_pk })
        })
        .collect();
    b.create_vector(&keys)
}

pub(crate) fn encode_keyset<'b>(
    b: &mut FlatBufferBuilder<'b>,
    keyset: &[KeysetSpec],
) -> Result<Written<'b, CursorEntry<'b>>, WireError> {
    let entries = keyset.iter().map(|entry| {
        let field = Some(b.create_string(&entry.column));
        let (value_type, value) = encode_literal(b, &entry.value)?;
        let arguments = CursorEntryArgs {
            field,
            value_type,
            value: Some(value),
        };
        Ok(CursorEntry::create(b, &arguments))
    });
    let entries = entries.collect::<Result<Vec<_>, WireError>>()?;
    Ok(b.create_vector(&entries))
}

/// Writes a filter. A lone test gets an `and` around it: the outermost filter is a wrapper.
pub(crate) fn encode_filter<'b>(
    b: &mut FlatBufferBuilder<'b>,
    filter: &FilterSpec,
) -> Result<WIPOffset<BasicSqlDataFilterWrapper<'b>>, WireError> {
    match encode_node(b, filter, 0)? {
        WrittenChild::Wrapper(wrapper) => Ok(wrapper),
        test @ WrittenChild::Filter(_) => Ok(write_wrapper(b, SQLFilterWrapperType::and, &[test])),
    }
}

fn encode_node<'b>(
    b: &mut FlatBufferBuilder<'b>,
    filter: &FilterSpec,
    depth: usize,
) -> Result<WrittenChild<'b>, WireError> {
    if depth > FILTER_DEPTH_MAX {
        let why = format!("a filter is at most {FILTER_DEPTH_MAX} groups deep");
        return Err(bad_filter(why));
    }
    match filter {
        FilterSpec::Group(group, members) => {
            let members = members
                .iter()
                .map(|member| encode_node(b, member, depth + 1));
            let members = members.collect::<Result<Vec<_>, _>>()?;
            let kind = match group {
                Group::Or => SQLFilterWrapperType::or,
                Group::And => SQLFilterWrapperType::and,
            };
            Ok(WrittenChild::Wrapper(write_wrapper(b, kind, &members)))
        }
        FilterSpec::Test {
            column,
            operator,
            value,
            modifier,
        } => {
            let field_name = Some(b.create_string(column));
            let value = value.as_ref().map(|value| encode_literal(b, value));
            let (value_type, value) = match value.transpose()? {
                Some((tag, value)) => (tag, Some(value)),
                None => (FilterValue::NONE, None),
            };
            let arguments = BasicSqlDataFilterArgs {
                field_name,
                value_type,
                value,
                filter_type: BasicSqlDataFilterType(operator.number()),
                modifier: encode_modifier(b, *modifier),
            };
            let filter = BasicSqlDataFilter::create(b, &arguments);
            Ok(WrittenChild::Filter(filter))
        }
    }
}

fn encode_modifier<'b>(
    b: &mut FlatBufferBuilder<'b>,
    modifier: ModifierSpec,
) -> Option<WIPOffset<SqlFilterModifier<'b>>> {
    if modifier == ModifierSpec::default() {
        return None;
    }
    let arguments = SqlFilterModifierArgs {
        distinct: modifier.distinct,
        case_insensitive: modifier.case_insensitive,
        nulls_order: match modifier.nulls_order {
            NullsOrder::First => NullsSortOrder::first,
            NullsOrder::Last => NullsSortOrder::last,
            NullsOrder::Default => NullsSortOrder::default_,
        },
    };
    Some(SqlFilterModifier::create(b, &arguments))
}

type Union = WIPOffset<UnionWIPOffset>;

fn encode_literal(
    b: &mut FlatBufferBuilder<'_>,
    literal: &Literal,
) -> Result<(FilterValue, Union), WireError> {
    let bad = |why: &str| WireError::new(ErrorCode::BadValue, why);
    Ok(match literal {
        Literal::Null => {
            let value = NullValue::create(b, &NullValueArgs {});
            (FilterValue::NullValue, value.as_union_value())
        }
        Literal::Bool(value) => {
            let value = BoolValue::create(b, &BoolValueArgs { value: *value });
            (FilterValue::BoolValue, value.as_union_value())
        }
        Literal::Int(text) => encode_int(b, parse(text)?),
        Literal::Number(text) => match Numeric::parse(text).and_then(|number| number.to_int()) {
            // An integer that no double is keeps its digits as what it is: a double near by may
            // print the same and yet is another number to whoever reads it.
            Some(value) if (value as f64) as i128 != i128::from(value) => encode_int(b, value),
            _ => {
                let value = NumberValue::create(
                    b,
                    &NumberValueArgs {
                        value: parse(text)?,
                    },
                );
                (FilterValue::NumberValue, value.as_union_value())
            }
        },
        Literal::Text(text) => {
            let value = Some(b.create_string(text));
            let value = StringValue::create(b, &StringValueArgs { value });
            (FilterValue::StringValue, value.as_union_value())
        }
        Literal::Time { epoch, unit } => {
            let (epoch, unit) = (*epoch, encode_unit(*unit));
            let value = TimestampValue::create(b, &TimestampValueArgs { epoch, unit });
            (FilterValue::TimestampValue, value.as_union_value())
        }
        Literal::List(members) => encode_list(b, members)?,
        Literal::Range {
            low,
            high,
            include_low,
            include_high,
        } => {
            if [low, high]
                .iter()
                .any(|end| matches!(***end, Literal::Range { .. }))
            {
                return Err(bad("ranges do not nest"));
            }
            let (low_type, low) = encode_literal(b, low)?;
            let (high_type, high) = encode_literal(b, high)?;
            let arguments = RangeValueArgs {
                low_type,
                low: Some(low),
                high_type,
                high: Some(high),
                include_low: *include_low,
                include_high: *include_high,
            };
            let value = RangeValue::create(b, &arguments);
            (FilterValue::RangeValue, value.as_union_value())
        }
        Literal::Json(_) => return Err(bad("a JSON document is not a value of a query")),
    })
}

fn encode_unit(unit: Unit) -> TimeUnit {
    match unit {
        Unit::Seconds => TimeUnit::SECONDS,
        Unit::Millis => TimeUnit::MILLIS,
        Unit::Micros => TimeUnit::MICROS,
        Unit::Nanos => TimeUnit::NANOS,
    }
}

fn encode_int(b: &mut FlatBufferBuilder<'_>, value: i64) -> (FilterValue, Union) {
    let value = Int64Value::create(b, &Int64ValueArgs { value });
    (FilterValue::Int64Value, value.as_union_value())
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, WireError> {
    text.trim().parse().map_err(|_| {
        let why = format!("{} is not a number of its kind", shorten(text));
        WireError::new(ErrorCode::BadValue, why)
    })
}

/// A list has one kind; the first member says which.
fn encode_list(
    b: &mut FlatBufferBuilder<'_>,
    members: &[Literal],
) -> Result<(FilterValue, Union), WireError> {
    let mixed = || WireError::new(ErrorCode::BadValue, "a list holds values of one kind");
    Ok(match members.first() {
        Some(Literal::Int(_)) => {
            let values = members.iter().map(|member| match member {
                Literal::Int(text) => parse::<i64>(text),
                _ => Err(mixed()),
            });
            let values = values.collect::<Result<Vec<_>, _>>()?;
            let values = Some(b.create_vector(&values));
            let list = Int64List::create(b, &Int64ListArgs { values });
            (FilterValue::Int64List, list.as_union_value())
        }
        Some(Literal::Number(_)) => {
            let values = members.iter().map(|member| match member {
                Literal::Number(text) => parse::<f64>(text),
                _ => Err(mixed()),
            });
            let values = values.collect::<Result<Vec<_>, _>>()?;
            let values = Some(b.create_vector(&values));
            let list = Float64List::create(b, &Float64ListArgs { values });
            (FilterValue::Float64List, list.as_union_value())
        }
        Some(Literal::Bool(_)) => {
            let values = members.iter().map(|member| match member {
                Literal::Bool(value) => Ok(*value),
                _ => Err(mixed()),
            });
            let values = values.collect::<Result<Vec<_>, _>>()?;
            let values = Some(b.create_vector(&values));
            let list = BoolList::create(b, &BoolListArgs { values });
            (FilterValue::BoolList, list.as_union_value())
        }
        Some(Literal::Text(_)) | None => {
            let values = members.iter().map(|member| match member {
                Literal::Text(text) => Ok(b.create_string(text)),
                _ => Err(mixed()),
            });
            let values = values.collect::<Result<Vec<_>, _>>()?;
            let values = Some(b.create_vector(&values));
            let list = StringList::create(b, &StringListArgs { values });
            (FilterValue::StringList, list.as_union_value())
        }
        Some(_) => return Err(mixed()),
    })
}

#[cfg(test)]
mod tests;
