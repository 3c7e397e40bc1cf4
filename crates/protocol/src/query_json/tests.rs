//! That queries are read as clients write them, that what makes no sense is refused with the right
//! code, and that a query survives being written.

use proptest::prelude::{prop_assert_eq, proptest};

use tidegate_core::{Group, Literal};

use super::*;
use crate::arbitrary::{query, spoil, spoilt};
use crate::filter_json::{FILTER_DEPTH_MAX, FILTER_NODES_MAX};

fn code(text: &str) -> ErrorCode {
    parse_query(text).expect_err(text).code
}

fn value(json: &str) -> Result<Option<Literal>, WireError> {
    let text = format!(
        r#"{{"wrapper":{{"filter_wrapper_type":"and","filters":[{{"field_name":"c","value":{json}}}]}}}}"#
    );
    let spec = parse_query(&text)?;
    let Some(FilterSpec::Group(Group::And, members)) = spec.filter else {
        panic!("a group: {text}")
    };
    match members.as_slice() {
        [FilterSpec::Test { value, .. }] => Ok(value.clone()),
        other => panic!("one test: {other:?}"),
    }
}

proptest! {
    #[test]
    fn queries_round_trip(spec in query()) {
        prop_assert_eq!(parse_query(&write_query(&spec)), Ok(spec));
    }

    /// Whatever is cut out of a query or put into it, reading it ends.
    #[test]
    fn mutated_text_does_not_panic(spec in query(), spoil in spoil()) {
        let mutated = spoilt(&write_query(&spec), spoil);
        if let Ok(spec) = parse_query(&mutated) {
            prop_assert_eq!(parse_query(&write_query(&spec)), Ok(spec));
        }
    }
}

/// What is absent or null has its default.
#[test]
fn defaults() {
    assert_eq!(parse_query("{}"), Ok(QuerySpec::default()));
    let nulls = r#"{"wrapper":null,"limit":null,"order":null,"cursor":null,"strict_after":null}"#;
    assert_eq!(parse_query(nulls), Ok(QuerySpec::default()));
    let empty = parse_query(r#"{"wrapper":{"filter_wrapper_type":"or"}}"#).unwrap();
    assert_eq!(empty.filter, Some(FilterSpec::Group(Group::Or, Vec::new())));
    let sorted = parse_query(r#"{"order":[{"field":"n","is_pk":true}]}"#).unwrap();
    assert_eq!(sorted.order[0].sort, Sort::DescDefault);
}

/// Numbers keep their digits, whichever way they are written.
#[test]
fn numbers_are_kept_as_written() {
    let number = |text: &str| Ok(Some(Literal::Number(text.to_owned())));
    let int = |text: &str| Ok(Some(Literal::Int(text.to_owned())));
    let long = "0.12345678901234567890123";
    assert_eq!(
        value(&format!(r#"{{"NumberValue":{{"value":{long}}}}}"#)),
        number(long)
    );
    assert_eq!(
        value(r#"{"NumberValue":{"value":9007199254740993}}"#),
        number("9007199254740993")
    );
    assert_eq!(value(r#"{"NumberValue":{"value":"42"}}"#), number("42"));
    assert_eq!(value(r#"{"NumberValue":{"value":"NaN"}}"#), number("NaN"));
    assert_eq!(
        value(r#"{"Int64Value":{"value":9007199254740993}}"#),
        int("9007199254740993")
    );
    assert_eq!(
        value(r#"{"Int64Value":{"value":"-9223372036854775808"}}"#),
        int("-9223372036854775808")
    );
    let list = value(r#"{"Int64List":{"values":[1,"2"]}}"#).unwrap();
    assert_eq!(
        list,
        Some(Literal::List(vec![
            Literal::Int("1".into()),
            Literal::Int("2".into())
        ]))
    );
}

/// NULL is a value, which is not the same as no value.
#[test]
fn null_is_a_value() {
    assert_eq!(value(r#"{"NullValue":{}}"#), Ok(Some(Literal::Null)));
    assert_eq!(value(r#"{"NullValue":null}"#), Ok(Some(Literal::Null)));
    assert_eq!(value("null"), Ok(None));
}

/// Each wrong value is refused as such.
#[test]
fn refuses_wrong_values() {
    for bad in [
        r#""plain""#,
        "5",
        "[]",
        "{}",
        r#"{"DateValue":{"value":"x"}}"#,
        r#"{"StringValue":{"value":5}}"#,
        r#"{"StringValue":{}}"#,
        r#"{"StringValue":"x"}"#,
        r#"{"StringValue":["x"]}"#,
        r#"{"StringValue":{"value":"\ud800"}}"#,
        r#"{"StringValue":{"value":"x"},"NullValue":{}}"#,
        r#"{"NumberValue":{"value":"x"}}"#,
        r#"{"NumberValue":{"value":true}}"#,
        r#"{"NumberValue":{"value":1e999999}}"#,
        r#"{"Int64Value":{"value":1.0}}"#,
        r#"{"Int64Value":{}}"#,
        r#"{"Int64Value":{"value":9223372036854775808}}"#,
        r#"{"BoolValue":{"value":"true"}}"#,
        r#"{"TimestampValue":{"epoch":1.5}}"#,
        r#"{"TimestampValue":{"epoch":1,"unit":"micros"}}"#,
        r#"{"StringList":{"values":["a",1]}}"#,
        r#"{"StringList":{"values":null}}"#,
        r#"{"RangeValue":{"low":{"NumberValue":{"value":1}}}}"#,
        r#"{"RangeValue":{"low":{"RangeValue":{}},"high":{"NullValue":{}}}}"#,
    ] {
        assert_eq!(
            value(bad).expect_err(bad).code,
            ErrorCode::BadValue,
            "{bad}"
        );
    }
}

/// Each wrong part of a query has the code of that part.
#[test]
fn refuses_wrong_shapes() {
    let wrapper = |inner: &str| format!(r#"{{"wrapper":{inner}}}"#);
    for bad in [
        "",
        "{not json",
        "[1,2]",
        "null",
        "\"{}\"",
        r#"{"limit":1,"limit":2}"#,
        r#"{"strict_after":1}"#,
    ] {
        assert_eq!(code(bad), ErrorCode::BadQuery, "{bad}");
    }
    for bad in [
        "[]",
        "{}",
        r#"{"field_name":"n"}"#,
        r#"{"filter_wrapper_type":"xor","filters":[]}"#,
        r#"{"filter_wrapper_type":"and","filters":{"a":1}}"#,
        r#"{"filter_wrapper_type":"and","filters":[5]}"#,
        r#"{"filter_wrapper_type":"and","filters":[{"filter_type":"equals"}]}"#,
        r#"{"filter_wrapper_type":"and","filters":[{"field_name":"n","modifier":{"nulls_order":"x"}}]}"#,
    ] {
        assert_eq!(code(&wrapper(bad)), ErrorCode::BadFilter, "{bad}");
    }
    let unknown = r#"{"filter_wrapper_type":"and","filters":[{"field_name":"n","filter_type":"soundsLike"}]}"#;
    assert_eq!(code(&wrapper(unknown)), ErrorCode::UnsupportedOperator);
    for bad in ["2.9", "-1", "\"x\"", "true", "1e2"] {
        assert_eq!(
            code(&format!(r#"{{"limit":{bad}}}"#)),
            ErrorCode::BadLimit,
            "{bad}"
        );
    }
    for bad in [
        r#"{"field":"n"}"#,
        r#"[{"sort":"ASC_DEFAULT"}]"#,
        r#"[{"field":"n","sort":"RANDOM"}]"#,
    ] {
        assert_eq!(
            code(&format!(r#"{{"order":{bad}}}"#)),
            ErrorCode::BadOrder,
            "{bad}"
        );
    }
    for bad in [
        "{}",
        r#"[{"field":"n"}]"#,
        r#"[{"value":{"NullValue":{}}}]"#,
        r#"[{"field":"n","value":5}]"#,
    ] {
        assert_eq!(
            code(&format!(r#"{{"cursor":{bad}}}"#)),
            ErrorCode::BadCursor,
            "{bad}"
        );
    }
}

/// The error says what was wrong, in words that name it.
#[test]
fn errors_name_their_subject() {
    let error = value(r#"{"DateValue":{"value":"x"}}"#).unwrap_err();
    assert!(error.message.contains("the value for c") && error.message.contains("DateValue"));
}

/// A filter has bounds for depth and length, and a deep text does not exhaust the stack.
#[test]
fn filters_are_bounded() {
    let nested = |depth: usize| {
        let open = r#"{"filter_wrapper_type":"and","filters":["#.repeat(depth);
        format!(r#"{{"wrapper":{open}{}}}"#, "]}".repeat(depth))
    };
    assert!(parse_query(&nested(FILTER_DEPTH_MAX + 1)).is_ok());
    assert_eq!(code(&nested(FILTER_DEPTH_MAX + 2)), ErrorCode::BadFilter);
    assert_eq!(code(&nested(10_000)), ErrorCode::BadFilter);

    let long = |tests: usize| {
        let test = r#"{"field_name":"n","filter_type":"isNull"}"#;
        let tests = vec![test; tests].join(",");
        format!(r#"{{"wrapper":{{"filter_wrapper_type":"and","filters":[{tests}]}}}}"#)
    };
    assert!(parse_query(&long(FILTER_NODES_MAX - 1)).is_ok());
    assert_eq!(code(&long(FILTER_NODES_MAX)), ErrorCode::BadFilter);
    assert_eq!(code(&"[".repeat(100_000)), ErrorCode::BadQuery);
}

/// Members may be null, unknown fields are skipped, and a field stands once.
#[test]
fn members_may_be_null_and_fields_come_once() {
    let filter = |inner: &str| format!(r#"{{"wrapper":{{"filter_wrapper_type":"and",{inner}}}}}"#);
    let none = parse_query(&filter(r#""filters":null,"unknown":[[{}]]"#)).unwrap();
    assert_eq!(none.filter, Some(FilterSpec::Group(Group::And, Vec::new())));
    for twice in [
        r#""filters":[],"filters":[]"#,
        r#""filter_wrapper_type":"and""#,
        r#""filters":[{"field_name":"a","field_name":"b"}]"#,
    ] {
        assert_eq!(code(&filter(twice)), ErrorCode::BadFilter, "{twice}");
    }
}

/// A list that only a program can make, of mixed kinds, survives too.
#[test]
fn mixed_lists_survive() {
    let list = Literal::List(vec![
        Literal::Null,
        Literal::Int("1".into()),
        Literal::Text("x".into()),
    ]);
    let spec = QuerySpec {
        keyset: vec![KeysetSpec {
            column: "c".into(),
            value: list,
        }],
        ..QuerySpec::default()
    };
    assert_eq!(parse_query(&write_query(&spec)), Ok(spec));
}
