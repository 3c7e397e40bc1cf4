//! That a query's FlatBuffer means what its JSON means, in recordings and in general, and that
//! bytes which lie are refused.

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::arbitrary::query;
use crate::golden::{bytes_of, recordings};
use crate::query_json::parse_query;

/// Recordings in which the recorded encoder changed the query, and why we do not.
const NOT_ALIKE: &[(&str, &str)] = &[
    ("array_root", "an array was taken for a query of nothing"),
    ("limit_fraction", "half a row was rounded away"),
    ("filters_not_array", "a filter that is no list was dropped"),
    ("field_missing", "a missing name became an empty one"),
    ("op_unknown", "an unknown operator became equals"),
    ("wrap_unknown_type", "an unknown wrapper became and"),
    (
        "order_field_missing",
        "a missing name became the text undefined",
    ),
    ("value_int64_missing", "a missing number became 0"),
    (
        "value_int64_number_past_2_53",
        "digits were lost in a double",
    ),
];

/// Numbers by value: `10` and `10.0` are the same number, and so are `1e+308` and its digits.
fn normal(mut spec: QuerySpec) -> QuerySpec {
    fn literal(value: &mut Literal) {
        match value {
            Literal::Number(text) => {
                let value: f64 = text.parse().unwrap();
                *text = Numeric::from_float(value).as_str().to_owned();
            }
            Literal::List(members) => members.iter_mut().for_each(literal),
            Literal::Range { low, high, .. } => {
                literal(low);
                literal(high);
            }
            _ => {}
        }
    }
    fn filter(spec: &mut FilterSpec) {
        match spec {
            FilterSpec::Group(_, members) => members.iter_mut().for_each(filter),
            FilterSpec::Test { value, .. } => value.iter_mut().for_each(literal),
        }
    }
    spec.filter.iter_mut().for_each(filter);
    spec.keyset
        .iter_mut()
        .for_each(|entry| literal(&mut entry.value));
    spec.limit = spec.limit.or(Some(50));
    spec
}

/// The recorded encoder drops modifiers.
fn without_modifiers(mut spec: QuerySpec) -> QuerySpec {
    fn filter(spec: &mut FilterSpec) {
        match spec {
            FilterSpec::Group(_, members) => members.iter_mut().for_each(filter),
            FilterSpec::Test { modifier, .. } => *modifier = ModifierSpec::default(),
        }
    }
    spec.filter.iter_mut().for_each(filter);
    spec
}

/// Wherever the recorded gateway published a query, its bytes and its JSON are one query to us,
/// unless it is one of those that the gateway falsified.
#[test]
fn recorded_queries_mean_their_json() {
    let mut alike = 0;
    for (name, recording) in recordings("streaming_filter_") {
        let short = name
            .trim_start_matches("streaming_filter_")
            .trim_start_matches("alt_");
        let short = short.trim_end_matches(".json");
        let Some(bytes) = bytes_of(&recording) else {
            continue;
        };
        let from_json = parse_query(&recording["json"].to_string());
        if let Some((_, why)) = NOT_ALIKE.iter().find(|(not, _)| *not == short) {
            let same = from_json.is_ok_and(|json| Ok(json) == decode_query(&bytes));
            assert!(!same, "{name} is alike, though {why}");
            continue;
        }
        let alternative = name.contains("_alt_");
        if alternative && recording["same_content_as_gateway"] == false && short != "full" {
            continue;
        }
        let from_json = from_json.unwrap_or_else(|error| panic!("{name}: {error}"));
        let from_bytes = decode_query(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            without_modifiers(normal(from_json)),
            without_modifiers(normal(from_bytes)),
            "{name}"
        );
        alike += 1;
    }
    assert!(alike > 90, "only {alike}");
}

/// The queries that the recorded encoder choked on are queries like any other, where they make
/// sense.
#[test]
fn unpublished_queries_are_published() {
    for short in ["cursor_null", "value_null", "value_range", "value_missing"] {
        let name = format!("streaming_filter_{short}");
        let recording = &recordings("streaming_filter_")[&format!("{name}.json")];
        assert!(recording["hex"].is_null(), "{name}");
        let spec = parse_query(&recording["json"].to_string()).unwrap();
        let bytes = encode_query(&spec, "h1").unwrap();
        assert_eq!(decode_query(&bytes).map(normal), Ok(normal(spec)), "{name}");
    }
}

proptest! {
    /// All but `strict_after` and numbers beyond a double survives.
    #[test]
    fn queries_round_trip(spec in query()) {
        let mut spec = normal(spec);
        spec.strict_after = true;
        let bytes = encode_query(&spec, "h").unwrap();
        let read = decode_query(&bytes).map(normal);
        prop_assert_eq!(format!("{read:?}"), format!("{:?}", Ok::<_, WireError>(as_ints(spec))));
    }

    #[test]
    fn mutated_bytes_do_not_panic(spec in query(), at in any::<usize>(), byte in any::<u8>()) {
        let mut spec = spec;
        spec.strict_after = true;
        let bytes = encode_query(&spec, "h").unwrap();
        let mut changed = bytes.clone();
        let place = at % changed.len();
        changed[place] = byte;
        if let Ok(other) = decode_query(&changed) {
            let again = encode_query(&other, "h");
            prop_assert!(again.is_ok(), "{:?}", again);
        }
        let _ = decode_query(&bytes[..place]);
    }

    #[test]
    fn any_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_query(&bytes);
    }
}

/// What `encode_query` does to whole numbers that a double would round.
fn as_ints(mut spec: QuerySpec) -> QuerySpec {
    fn literal(value: &mut Literal) {
        match value {
            Literal::Number(text) => {
                if let Ok(int) = text.parse::<i64>()
                    && (int as f64) as i128 != i128::from(int)
                {
                    *value = Literal::Int(int.to_string());
                }
            }
            Literal::Range { low, high, .. } => {
                literal(low);
                literal(high);
            }
            _ => {}
        }
    }
    fn filter(spec: &mut FilterSpec) {
        match spec {
            FilterSpec::Group(_, members) => members.iter_mut().for_each(filter),
            FilterSpec::Test { value, .. } => value.iter_mut().for_each(literal),
        }
    }
    spec.filter.iter_mut().for_each(filter);
    spec.keyset
        .iter_mut()
        .for_each(|entry| literal(&mut entry.value));
    spec
}

/// A whole number that a double would round keeps its digits as an integer.
#[test]
fn large_integers_keep_their_digits() {
    let entry = |value: Literal| QuerySpec {
        keyset: vec![KeysetSpec {
            column: "c".into(),
            value,
        }],
        ..QuerySpec::default()
    };
    let spec = entry(Literal::Number("9007199254740993".into()));
    let read = decode_query(&encode_query(&spec, "h").unwrap()).unwrap();
    assert_eq!(
        read.keyset[0].value,
        Literal::Int("9007199254740993".into())
    );
}

/// What the format cannot say is an error, not something else.
#[test]
fn refuses_what_cannot_be_said() {
    let spec = |value: Literal| QuerySpec {
        keyset: vec![KeysetSpec {
            column: "c".into(),
            value,
        }],
        ..QuerySpec::default()
    };
    let code = |spec: &QuerySpec| encode_query(spec, "h").unwrap_err().code;
    let mixed = Literal::List(vec![Literal::Int("1".into()), Literal::Text("x".into())]);
    assert_eq!(code(&spec(mixed)), ErrorCode::BadValue);
    let mut at = spec(Literal::Null);
    at.strict_after = false;
    assert_eq!(code(&at), ErrorCode::BadCursor);
    let long = QuerySpec {
        limit: Some(1 << 32),
        ..QuerySpec::default()
    };
    assert_eq!(code(&long), ErrorCode::BadLimit);
}

/// Wrappers nest as deep as in JSON, and no deeper, in what is written as in what is read.
#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| {
        let mut filter = FilterSpec::Group(Group::And, Vec::new());
        for _ in 0..depth {
            filter = FilterSpec::Group(Group::Or, vec![filter]);
        }
        QuerySpec {
            filter: Some(filter),
            ..QuerySpec::default()
        }
    };
    let deepest = nested(FILTER_DEPTH_MAX);
    let read = decode_query(&encode_query(&deepest, "h").unwrap()).unwrap();
    assert_eq!(read.filter, deepest.filter);
    assert!(encode_query(&nested(FILTER_DEPTH_MAX + 1), "h").is_err());

    let mut builder = FlatBufferBuilder::new();
    let mut wrapper = write_wrapper(&mut builder, SQLFilterWrapperType::and, &[]);
    for _ in 0..=FILTER_DEPTH_MAX {
        let inner = [WrittenChild::Wrapper(wrapper)];
        wrapper = write_wrapper(&mut builder, SQLFilterWrapperType::and, &inner);
    }
    let arguments = StreamingSqlDataFilterArgs {
        wrapper: Some(wrapper),
        ..StreamingSqlDataFilterArgs::default()
    };
    let root = StreamingSqlDataFilter::create(&mut builder, &arguments);
    builder.finish(root, None);
    let error = decode_query(builder.finished_data()).unwrap_err();
    assert_eq!(error.code, ErrorCode::BadFilter);
}
