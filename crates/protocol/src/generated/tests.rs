//! That the generated types read what other implementations of the schemas write, that the twin
//! is the vector of unions it stands for, and that bytes which lie about it are refused.

use flatbuffers::{FlatBufferBuilder, VerifierOptions, root_with_opts};
use serde_json::{Value, json};

use super::delivery::tidegate::{
    ChangeKind, PageChange, PageChangeArgs, PageDiff, PageDiffArgs, finish_page_diff_buffer,
    page_diff_buffer_has_identifier, root_as_page_diff,
};
use super::sql::sql_rpc::{RequestEnvelope, ResponseEnvelope, RpcPayload};
use super::sql::sql_schema::{
    BasicSqlDataFilter, BasicSqlDataFilterArgs, BasicSqlDataFilterType, BasicSqlDataFilterWrapper,
    FilterValue, SQLFilterWrapperType, StreamingSqlDataFilter, StreamingSqlDataFilterArgs,
    StringValue, StringValueArgs,
};
use super::twin::{Child, ChildError, Walk, WrittenChild, write_wrapper};
use crate::golden::{bytes_of, recordings};

const OPTIONS: VerifierOptions = VerifierOptions {
    max_depth: 16,
    max_tables: 1_000,
    max_apparent_size: 1 << 20,
    ignore_missing_null_terminator: false,
};

#[test]
fn a_nested_filter_reads_back() {
    let bytes = nested_filter();
    let query = root_with_opts::<StreamingSqlDataFilter>(&OPTIONS, &bytes).unwrap();
    assert_eq!(
        (query.hash(), query.limit(), query.schema_version()),
        (Some("q1"), 50, 1)
    );

    let expected = json!({"and": [
        ["title", "equals", "StringValue"],
        {"or": [["n", "isNull", "NONE"], ["tag", "contains", "StringValue"], {"or": []}]},
    ]});
    let shape = Walk::new(&OPTIONS, &bytes).shape(query.wrapper().unwrap());
    assert_eq!(shape, Ok(expected));
}

/// Where the query record, or the request around one, has a wrapper, its shape is compared with
/// what the recording says is in it; what values say is for the codecs' tests.
#[test]
fn recorded_queries_verify() {
    let mut with_children = 0;
    let recordings = recordings("streaming_filter_");
    for (name, recording) in &recordings {
        let Some(bytes) = bytes_of(recording) else {
            continue;
        };
        let query = root_with_opts::<StreamingSqlDataFilter>(&OPTIONS, &bytes)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let decoded = &recording["decoded"];
        assert_eq!(json!(query.hash()), decoded["hash"], "{name}");
        assert_eq!(json!(query.limit()), decoded["limit"], "{name}");
        assert_eq!(
            json!(query.schema_version()),
            decoded["schema_version"],
            "{name}"
        );
        with_children += check_wrapper(name, &bytes, query.wrapper(), &decoded["wrapper"]);
    }
    assert!(
        with_children > 80,
        "only {with_children} of {}",
        recordings.len()
    );
}

#[test]
fn recorded_requests_verify() {
    let mut with_children = 0;
    for (name, recording) in &recordings("request_") {
        let bytes = bytes_of(recording).unwrap_or_else(|| panic!("{name} has no bytes"));
        let request = root_with_opts::<RequestEnvelope>(&OPTIONS, &bytes)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let decoded = &recording["decoded"];
        assert_eq!(
            json!(request.correlation_id()),
            decoded["correlation_id"],
            "{name}"
        );
        assert_eq!(
            json!(request.method().variant_name()),
            decoded["method"],
            "{name}"
        );
        assert_eq!(
            json!(request.payload_type().variant_name()),
            decoded["payload_type"],
            "{name}"
        );
        let wrapper = match request.payload_type() {
            RpcPayload::GetDataReq => request.payload_as_get_data_req().unwrap().wrapper(),
            RpcPayload::RunAggregationReq => {
                request.payload_as_run_aggregation_req().unwrap().wrapper()
            }
            _ => continue,
        };
        with_children += check_wrapper(name, &bytes, wrapper, &decoded["payload"]["wrapper"]);
    }
    assert!(with_children > 20, "only {with_children}");
}

#[test]
fn recorded_responses_verify() {
    let mut verified = 0;
    for (name, recording) in &recordings("response_") {
        let Some(bytes) = bytes_of(recording) else {
            continue;
        };
        let response = root_with_opts::<ResponseEnvelope>(&OPTIONS, &bytes)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let decoded = &recording["decoded"];
        assert_eq!(
            json!(response.correlation_id()),
            decoded["correlation_id"],
            "{name}"
        );
        assert_eq!(json!(response.ok()), decoded["ok"], "{name}");
        assert_eq!(
            json!(response.error_code().variant_name()),
            decoded["error_code"],
            "{name}"
        );
        assert_eq!(
            json!(response.error_message()),
            decoded["error_message"],
            "{name}"
        );
        assert_eq!(
            json!(response.data_type().variant_name()),
            decoded["data_type"],
            "{name}"
        );
        verified += 1;
    }
    assert!(verified > 60, "only {verified}");
}

/// A child is verified as what its tag says: a filter passed off as a wrapper is caught, although
/// the buffer as a whole verifies.
#[test]
fn a_false_tag_is_refused() {
    let bytes = nested_filter();
    for tag in [0, 3, 255] {
        let false_bytes = with_first_tags(&bytes, [2, tag]);
        let wrapper = verified_wrapper(&false_bytes);
        let result = Walk::new(&OPTIONS, &false_bytes).children(wrapper);
        assert_eq!(result.unwrap_err(), ChildError::UnknownTag(tag));
    }
    let false_bytes = with_first_tags(&bytes, [1, 1]);
    let wrapper = verified_wrapper(&false_bytes);
    let result = Walk::new(&OPTIONS, &false_bytes).children(wrapper);
    assert!(matches!(result, Err(ChildError::Invalid(_))), "{result:?}");
}

#[test]
fn tags_and_children_must_pair_up() {
    let mut bytes = nested_filter();
    let at = first_tags(&bytes);
    bytes[at - 4] = 1;
    let wrapper = verified_wrapper(&bytes);
    let result = Walk::new(&OPTIONS, &bytes).children(wrapper);
    assert_eq!(
        result.unwrap_err(),
        ChildError::Lengths { tags: 1, tables: 2 }
    );
}

/// Each level holds the level below twice by the same offset: 2^30 nodes in about a kilobyte.
#[test]
fn a_tree_of_shared_offsets_exhausts_the_budget() {
    let mut builder = FlatBufferBuilder::new();
    let mut wrapper = write_wrapper(&mut builder, SQLFilterWrapperType::and, &[]);
    for _ in 0..30 {
        let twice = [
            WrittenChild::Wrapper(wrapper),
            WrittenChild::Wrapper(wrapper),
        ];
        wrapper = write_wrapper(&mut builder, SQLFilterWrapperType::and, &twice);
    }
    let arguments = StreamingSqlDataFilterArgs {
        wrapper: Some(wrapper),
        ..StreamingSqlDataFilterArgs::default()
    };
    let root = StreamingSqlDataFilter::create(&mut builder, &arguments);
    builder.finish(root, None);
    let bytes = builder.finished_data();
    assert!(bytes.len() < 2_000, "{}", bytes.len());

    let result = Walk::new(&OPTIONS, bytes).shape(verified_wrapper(bytes));
    assert!(matches!(result, Err(ChildError::Invalid(_))), "{result:?}");
}

#[test]
fn no_single_byte_makes_a_walk_panic() {
    let bytes = nested_filter();
    let mut refused = 0;
    for at in 0..bytes.len() {
        for value in [0, 1, 3, 127, 128, 255] {
            let mut mutated = bytes.clone();
            mutated[at] = value;
            let Ok(query) = root_with_opts::<StreamingSqlDataFilter>(&OPTIONS, &mutated) else {
                refused += 1;
                continue;
            };
            if let Some(wrapper) = query.wrapper() {
                refused += usize::from(Walk::new(&OPTIONS, &mutated).shape(wrapper).is_err());
            }
        }
    }
    assert!(refused > bytes.len(), "only {refused}");
}

#[test]
fn a_page_diff_reads_back() {
    let mut builder = FlatBufferBuilder::new();
    let (hash_id, position) = (builder.create_string("q1"), builder.create_string("3.7"));
    let (pk, row) = (
        builder.create_string("n1"),
        builder.create_string(r#"{"id":"n1"}"#),
    );
    let change = PageChangeArgs {
        kind: ChangeKind::Modified,
        pk: Some(pk),
        from: 4,
        pos: 2,
        row: Some(row),
    };
    let change = PageChange::create(&mut builder, &change);
    let changes = builder.create_vector(&[change]);
    let diff = PageDiffArgs {
        hash_id: Some(hash_id),
        lsn: u64::MAX,
        position: Some(position),
        changes: Some(changes),
    };
    let diff = PageDiff::create(&mut builder, &diff);
    finish_page_diff_buffer(&mut builder, diff);
    let bytes = builder.finished_data();

    assert!(page_diff_buffer_has_identifier(bytes));
    assert_eq!(&bytes[4..8], b"TGD1");
    let diff = root_as_page_diff(bytes).unwrap();
    assert_eq!(
        (diff.hash_id(), diff.lsn(), diff.position()),
        ("q1", u64::MAX, "3.7")
    );
    let change = diff.changes().get(0);
    assert_eq!((change.kind(), change.pk()), (ChangeKind::Modified, "n1"));
    assert_eq!((change.from(), change.pos()), (4, 2));
    assert_eq!(change.row(), Some(r#"{"id":"n1"}"#));
}

impl<'b> Walk<'_, 'b> {
    /// A wrapper as JSON: `{kind: [children]}`, a filter as its field, operator and kind of value.
    fn shape(&mut self, wrapper: BasicSqlDataFilterWrapper<'b>) -> Result<Value, ChildError> {
        let mut children = Vec::new();
        for child in self.children(wrapper)? {
            // Looks at every field, so that one which was not verified would show.
            let _ = format!("{child:?}");
            children.push(match child {
                Child::Wrapper(inner) => self.shape(inner)?,
                Child::Filter(filter) => json!([
                    filter.field_name(),
                    filter.filter_type().variant_name(),
                    filter.value_type().variant_name(),
                ]),
            });
        }
        let kind = wrapper
            .filter_wrapper_type()
            .variant_name()
            .unwrap_or("unknown");
        Ok(json!({ kind: children }))
    }
}

/// The same shape, from the `decoded` part of a recording.
fn recorded_shape(wrapper: &Value) -> Value {
    let child = |child: &Value| match child.get("filter_wrapper_type") {
        Some(_) => recorded_shape(child),
        None => {
            let value = child["value"]
                .as_object()
                .and_then(|value| value.keys().next());
            json!([
                child["field_name"],
                child["filter_type"],
                value.map_or("NONE", |key| key)
            ])
        }
    };
    let children: Vec<Value> = wrapper["filters"]
        .as_array()
        .unwrap()
        .iter()
        .map(child)
        .collect();
    json!({ wrapper["filter_wrapper_type"].as_str().unwrap(): children })
}

/// How many wrappers with children there were: 0 or 1.
fn check_wrapper(
    name: &str,
    bytes: &[u8],
    wrapper: Option<BasicSqlDataFilterWrapper<'_>>,
    decoded: &Value,
) -> usize {
    let Some(wrapper) = wrapper else {
        assert!(decoded.is_null(), "{name}");
        return 0;
    };
    let shape = Walk::new(&OPTIONS, bytes).shape(wrapper);
    assert_eq!(shape, Ok(recorded_shape(decoded)), "{name}");
    usize::from(wrapper.filters().is_some_and(|filters| !filters.is_empty()))
}

fn nested_filter() -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let b = &mut builder;
    let is_null = leaf(b, "n", BasicSqlDataFilterType::isNull, None);
    let contains = leaf(b, "tag", BasicSqlDataFilterType::contains, Some("x"));
    let empty = WrittenChild::Wrapper(write_wrapper(b, SQLFilterWrapperType::or, &[]));
    let either = write_wrapper(b, SQLFilterWrapperType::or, &[is_null, contains, empty]);
    let equals = leaf(b, "title", BasicSqlDataFilterType::equals, Some("a"));
    let both = [equals, WrittenChild::Wrapper(either)];
    let wrapper = Some(write_wrapper(b, SQLFilterWrapperType::and, &both));
    let hash = Some(b.create_string("q1"));
    let arguments = StreamingSqlDataFilterArgs {
        hash,
        wrapper,
        ..StreamingSqlDataFilterArgs::default()
    };
    let root = StreamingSqlDataFilter::create(b, &arguments);
    builder.finish(root, None);
    builder.finished_data().to_vec()
}

fn leaf<'b>(
    builder: &mut FlatBufferBuilder<'b>,
    field_name: &str,
    filter_type: BasicSqlDataFilterType,
    value: Option<&str>,
) -> WrittenChild<'b> {
    let mut arguments = BasicSqlDataFilterArgs {
        filter_type,
        ..BasicSqlDataFilterArgs::default()
    };
    arguments.field_name = Some(builder.create_string(field_name));
    if let Some(value) = value {
        let value = Some(builder.create_string(value));
        let value = StringValue::create(builder, &StringValueArgs { value });
        arguments.value_type = FilterValue::StringValue;
        arguments.value = Some(value.as_union_value());
    }
    WrittenChild::Filter(BasicSqlDataFilter::create(builder, &arguments))
}

fn verified_wrapper(bytes: &[u8]) -> BasicSqlDataFilterWrapper<'_> {
    root_with_opts::<StreamingSqlDataFilter>(&OPTIONS, bytes)
        .unwrap()
        .wrapper()
        .unwrap()
}

/// Where the tags of the outermost wrapper stand; their count is in the four bytes before.
fn first_tags(bytes: &[u8]) -> usize {
    let tags = verified_wrapper(bytes).filters_type().unwrap();
    tags.bytes().as_ptr() as usize - bytes.as_ptr() as usize
}

fn with_first_tags(bytes: &[u8], tags: [u8; 2]) -> Vec<u8> {
    let mut copy = bytes.to_vec();
    let at = first_tags(bytes);
    assert_eq!(copy[at..at + 2], [2, 1], "a filter, then a wrapper");
    copy[at..at + 2].copy_from_slice(&tags);
    copy
}
