//! That recorded calls mean to us what their clients wrote, that calls survive their bytes, and
//! that hostile bytes are errors.

use proptest::prelude::{Just, any, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy;
use tidegate_core::{FilterSpec, Numeric};

use super::*;
use crate::arbitrary::{query, text};
use crate::command_json::parse_command;
use crate::golden::{bytes_of, recordings};

/// Recordings in which the recorded gateway changed the call, and how.
const NOT_ALIKE: &[(&str, &str)] = &[
    ("create_table_bad_type", "an unknown type became text"),
    (
        "get_data_bad_json",
        "a text that is no JSON became a query of nothing",
    ),
    (
        "get_data_int64_exact",
        "a 64-bit integer went through a double",
    ),
    (
        "get_data_limit_and_offset",
        "the offset was lost beside a limit",
    ),
    ("get_data_loose_all", "strict_after was lost"),
    ("get_data_no_table", "no table became an empty one"),
    ("get_data_order_unknown", "an unknown sort became another"),
    ("get_data_query_limit_0", "zero rows became no limit"),
    ("get_data_timestamp", "a timestamp became a double"),
    (
        "add_single_big_number",
        "digits of a number were lost in a double",
    ),
    ("get_data_between_range", "a range was lost"),
];

/// What the recorded gateway always adds: the column `id`, and NULL as the value of `isNull`. It
/// drops modifiers. Numbers are compared by value.
fn normal(mut command: Command) -> Command {
    fn value(literal: &mut Literal) {
        match literal {
            Literal::Number(text) => {
                let float: f64 = text.parse().unwrap();
                *text = Numeric::from_float(float).as_str().to_owned();
            }
            Literal::List(members) => members.iter_mut().for_each(value),
            _ => {}
        }
    }
    fn filter(spec: &mut FilterSpec) {
        match spec {
            FilterSpec::Group(_, members) => members.iter_mut().for_each(filter),
            FilterSpec::Test {
                value: literal,
                modifier,
                ..
            } => {
                *modifier = Default::default();
                value(literal.get_or_insert(Literal::Null));
            }
        }
    }
    match &mut command {
        Command::GetData(_, selection) => {
            selection.query.filter.iter_mut().for_each(filter);
            selection
                .query
                .keyset
                .iter_mut()
                .for_each(|entry| value(&mut entry.value));
            // The recorded gateway lost it on the way.
            let order = &mut selection.query.order;
            order.iter_mut().for_each(|key| key.is_pk = false);
        }
        Command::RunAggregation(_, aggregation) => aggregation.filter.iter_mut().for_each(filter),
        Command::UpdateSingle(_, key, row) => {
            key.column.get_or_insert("id".to_owned());
            row.sort_by(|a, b| a.0.cmp(&b.0));
        }
        Command::GetSingle(_, key) | Command::DeleteRow(_, key) => {
            key.column.get_or_insert("id".to_owned());
        }
        // The test's own reading of the recording sorts columns.
        Command::AddSingle(_, row) => row.sort_by(|a, b| a.0.cmp(&b.0)),
        Command::CreateTable(..) | Command::TableExists(_) | Command::ListTables => {}
    }
    command
}

/// Every recorded call is the command that the client's frame is, unless the gateway falsified it.
#[test]
fn recorded_calls_mean_their_frames() {
    let mut alike = 0;
    for (name, recording) in recordings("request_") {
        let short = name
            .trim_start_matches("request_")
            .trim_end_matches(".json");
        let request = SqlRequest::decode(&bytes_of(&recording).unwrap());
        let frame = &recording["ws"];
        let payload = frame.get("payload").map(ToString::to_string);
        let raw = payload
            .as_deref()
            .map(|text| serde_json::from_str::<&RawValue>(text).unwrap());
        let method = frame["method"].as_str().unwrap();
        let written = parse_command(method, frame["table"].as_str(), raw);
        let read = request.as_ref().map(|request| match &request.call {
            SqlCall::Run(command) => normal(command.clone()),
            SqlCall::Describe(_) => panic!("{name}: no old gateway asks that"),
        });
        if NOT_ALIKE.iter().any(|(not, _)| *not == short) {
            let same = matches!((&written, &read), (Ok(a), Ok(b)) if normal(a.clone()) == *b);
            assert!(!same, "{name} is alike");
            continue;
        }
        let written = written.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(read, Ok(normal(written)), "{name}");
        let request = request.unwrap();
        let decoded = &recording["decoded"];
        assert_eq!(decoded["correlation_id"], request.correlation_id, "{name}");
        assert_eq!(decoded["reply_topic"], request.reply_topic, "{name}");
        assert_eq!(
            decoded["payload"]["company_id"], request.company_id,
            "{name}"
        );
        alike += 1;
    }
    assert!(alike > 60, "only {alike}");
}

fn key_spec() -> impl Strategy<Value = KeySpec> {
    (proptest::option::of("[a-z]{1,3}"), text()).prop_map(|(column, text)| KeySpec {
        column,
        parts: key_parts(&text),
        text,
    })
}

fn row() -> impl Strategy<Value = Vec<(String, Literal)>> {
    let value = prop_oneof![
        Just(Literal::Null),
        any::<bool>().prop_map(Literal::Bool),
        any::<i64>().prop_map(|number| Literal::Number(number.to_string())),
        text().prop_map(Literal::Text),
        Just(Literal::Json("{\"a\": [1]}".to_owned())),
    ];
    proptest::collection::btree_map(text(), value, 0..4).prop_map(|row| row.into_iter().collect())
}

fn command() -> impl Strategy<Value = Command> {
    let table = || TableName::parse("notes").unwrap();
    let fields = || proptest::collection::vec(text(), 0..3);
    let column = || ColumnDefinition {
        name: "id".into(),
        data_type: "custom".into(),
        nullable: true,
        constraints: vec!["primaryKey".into(), "nullsNotDistinct".into()],
        options: vec![("a".into(), "b".into())],
    };
    prop_oneof![
        (query(), any::<u32>()).prop_map(move |(mut query, offset)| {
            query.limit = query.limit.filter(|limit| *limit > 0);
            let offset = u64::from(offset);
            Command::GetData(table(), Selection { query, offset })
        }),
        key_spec().prop_map(move |key| Command::GetSingle(table(), key)),
        key_spec().prop_map(move |key| Command::DeleteRow(table(), key)),
        row().prop_map(move |row| Command::AddSingle(table(), row)),
        (key_spec(), row()).prop_map(move |(key, row)| Command::UpdateSingle(table(), key, row)),
        (fields(), fields(), query()).prop_map(move |(sum, maximum, query)| {
            let aggregation = Aggregation {
                sum,
                maximum,
                filter: query.filter,
                ..Aggregation::default()
            };
            Command::RunAggregation(table(), aggregation)
        }),
        Just(Command::TableExists(table())),
        Just(Command::ListTables),
        text().prop_map(move |comment| {
            let definition = TableDefinition {
                columns: vec![column()],
                comment: Some(comment),
                options: Vec::new(),
            };
            Command::CreateTable(table(), definition)
        }),
    ]
}

fn request() -> impl Strategy<Value = SqlRequest> {
    let describe = SqlCall::Describe(TableName::parse("notes").unwrap());
    let call = prop_oneof![8 => command().prop_map(SqlCall::Run), 1 => Just(describe)];
    (call, text(), text()).prop_map(|(call, correlation_id, company_id)| SqlRequest {
        correlation_id,
        reply_topic: "replies".to_owned(),
        company_id,
        call,
    })
}

proptest! {
    /// Numbers of queries go through doubles in this format, so they are compared as such; and
    /// integers that a double would round come back as integers, which a second round trip leaves
    /// alone.
    #[test]
    fn calls_round_trip(request in request()) {
        let read = SqlRequest::decode(&request.encode().unwrap()).unwrap();
        let again = SqlRequest::decode(&read.encode().unwrap()).unwrap();
        prop_assert_eq!(format!("{read:?}"), format!("{again:?}"));
        prop_assert_eq!(&read.correlation_id, &request.correlation_id);
        prop_assert_eq!(&read.company_id, &request.company_id);
        let is_query = matches!(
            &request.call,
            SqlCall::Run(Command::GetData(..) | Command::RunAggregation(..))
        );
        if !is_query {
            prop_assert_eq!(read, request);
        }
    }

    #[test]
    fn hostile_bytes_do_not_panic(request in request(), at in any::<usize>(), byte in any::<u8>()) {
        let mut bytes = request.encode().unwrap();
        let place = at % bytes.len();
        let _ = SqlRequest::decode(&bytes[..place]);
        bytes[place] = byte;
        let _ = SqlRequest::decode(&bytes);
    }
}

/// A call that cannot be carried out can still be answered.
#[test]
fn errors_say_where_to_answer() {
    let request = SqlRequest {
        correlation_id: "c1".into(),
        reply_topic: "replies".into(),
        company_id: "demo".into(),
        call: SqlCall::Run(Command::AddSingle(
            TableName::parse("notes").unwrap(),
            Vec::new(),
        )),
    };
    let mut bytes = request.encode().unwrap();
    let at = bytes.windows(2).position(|window| window == b"{}").unwrap();
    bytes[at] = b'[';
    let error = SqlRequest::decode(&bytes).unwrap_err();
    assert_eq!(error.correlation_id.as_deref(), Some("c1"));
    assert_eq!(error.reply_topic.as_deref(), Some("replies"));
    assert_eq!(error.error.code, ErrorCode::BadCommand);
    assert_eq!(SqlRequest::decode(b"junk").unwrap_err().reply_topic, None);
}

/// What a worker has no words for is refused before it is sent.
#[test]
fn refuses_what_cannot_be_said() {
    let code = |command: Command| {
        let request = SqlRequest {
            correlation_id: String::new(),
            reply_topic: String::new(),
            company_id: String::new(),
            call: SqlCall::Run(command),
        };
        request.encode().unwrap_err().code
    };
    let table = || TableName::parse("notes").unwrap();
    let none = Selection {
        query: QuerySpec {
            limit: Some(0),
            ..QuerySpec::default()
        },
        offset: 0,
    };
    assert_eq!(code(Command::GetData(table(), none)), ErrorCode::BadLimit);
    let row = vec![("a".to_owned(), Literal::List(Vec::new()))];
    assert_eq!(code(Command::AddSingle(table(), row)), ErrorCode::BadValue);
}
