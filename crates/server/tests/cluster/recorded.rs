//! A worker of the real program carries out every call that was recorded of an old gateway, over
//! the tables that were behind it.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tidegate_kafka::{KafkaBroker, KafkaConfig};
use tidegate_ports::{Broker, BrokerEvent, Keep, Message, Start, TopicName};
use tidegate_protocol::{ErrorCode, SqlAnswer, SqlResponse, WireError};

use crate::engines::{Site, address, unique};
use crate::program::Program;

/// Only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where the recorded calls want their answers.
const REPLY_TOPIC: &str = "sql.rpc.responses.ws.golden";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/tests/golden")
}

/// Recorded messages whose file name starts so, by the rest of it.
fn recordings(prefix: &str) -> BTreeMap<String, Json> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(golden().join("fb")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if let Some(name) = name.strip_prefix(prefix) {
            let text = std::fs::read(&path).unwrap();
            found.insert(name.to_owned(), serde_json::from_slice(&text).unwrap());
        }
    }
    found
}

/// In the order in which they were recorded: some see what others wrote.
fn in_order(recorded: BTreeMap<String, Json>) -> Vec<(String, Json)> {
    let mut orders = HashMap::new();
    for transcript in ["rpc", "rpc_delete"] {
        let path = golden()
            .join("ws")
            .join(format!("transcript_{transcript}.jsonl"));
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let event: Json = serde_json::from_str(line).unwrap();
            let frame = event["text"].as_str().unwrap_or_default();
            if event["dir"] == "out"
                && let Ok(frame) = serde_json::from_str::<Json>(frame)
                && let Some(id) = frame["correlationId"].as_str()
            {
                let order = orders.len();
                orders.entry(id.to_owned()).or_insert(order);
            }
        }
    }
    let mut recorded: Vec<_> = recorded.into_iter().collect();
    let order = |(_, call): &(String, Json)| {
        let id = call["ws"]["correlationId"].as_str().unwrap_or_default();
        orders.get(id).copied().unwrap_or(usize::MAX)
    };
    recorded.sort_by_key(order);
    recorded
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_calls_are_answered_as_they_were() {
    let mut site = Site::at(&address("TIDEGATE_TEST_POSTGRES"), &[]).await;
    let database = site.connect().await;
    let fixture = std::fs::read_to_string(golden().join("fixture.sql")).unwrap();
    database.batch_execute(&fixture).await.expect("it is empty");
    let kafka = address("TIDEGATE_TEST_KAFKA");
    let calls = format!("{}.calls", unique("recorded"));
    let program = Program::over(&kafka, "memory:", &site.url);
    let _worker = program.start_with("worker", &[("rpc-request-topic", &calls)]);
    let calls = TopicName::parse(&calls).unwrap();
    let replies = TopicName::parse(REPLY_TOPIC).unwrap();
    let broker = KafkaBroker::connect(KafkaConfig::new(kafka)).await.unwrap();
    broker
        .create(&replies, 1, Keep::Millis(60_000))
        .await
        .unwrap();
    let mut reader = broker.follow(&[replies], Start::Latest).await.unwrap();

    let recorded = recordings("response_");
    let mut compared = 0;
    for (name, call) in in_order(recordings("request_")) {
        let key = call["key"].as_str().unwrap().to_owned();
        let hex = call["hex"].as_str().unwrap();
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let value: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        let message = Message {
            key: Some(Bytes::from(key.clone())),
            value: Some(value.into()),
            headers: Vec::new(),
        };
        broker.send(&calls, vec![message]).await.unwrap();
        let answer = loop {
            let event = tokio::time::timeout(PATIENCE, reader.poll()).await;
            let Ok(BrokerEvent::Messages(messages)) = event.expect("an answer comes") else {
                continue;
            };
            let of_call = |one: &&tidegate_ports::Received| {
                one.message.key.as_deref() == Some(key.as_bytes())
            };
            if let Some(found) = messages.iter().find(of_call) {
                break found.message.value.clone().unwrap();
            }
        };
        let answer = SqlResponse::decode(&answer).unwrap().result;
        check(
            &name,
            &answer,
            recorded.get(&name).map(|then| &then["frame"]),
        );
        compared += 1;
    }
    assert!(compared > 70, "only {compared}");
}

/// Holds an answer against the recorded one.
fn check(name: &str, ours: &Result<SqlAnswer, WireError>, theirs: Option<&Json>) {
    let ours = match ours {
        Ok(SqlAnswer::Data { json, .. }) => Ok(serde_json::from_str::<Json>(json).unwrap()),
        Ok(SqlAnswer::Schema(_)) => panic!("{name}: nobody asked for a schema"),
        Err(error) => Err(error),
    };
    if let Some((_, better, _)) = BETTER.iter().find(|(better, ..)| *better == name) {
        let is_so = match (better, &ours) {
            (Ours::Rows(count), Ok(data)) => data["rows"].as_array().unwrap().len() == *count,
            (Ours::Affected(count), Ok(data)) => data.as_array().map(Vec::len) == Some(*count),
            (Ours::Count(count), Ok(data)) => data["count"] == *count,
            (Ours::Yes, Ok(data)) => *data == true,
            (Ours::Refused(code), Err(error)) => error.code == *code,
            (Ours::Rows(_) | Ours::Affected(_) | Ours::Count(_) | Ours::Yes, Err(_))
            | (Ours::Refused(_), Ok(_)) => false,
        };
        assert!(is_so, "{name}: {ours:?}");
        return;
    }
    // Without a recorded answer there is only that we gave one.
    let Some(theirs) = theirs else { return };
    match (&ours, &theirs["ok"]) {
        (Ok(ours), Json::Bool(true)) => {
            assert_eq!(alike(ours), alike(&theirs["data"]), "{name}");
        }
        // What it could not do at all we may be able to.
        (_, Json::Bool(false)) => {
            let why = theirs["error"].as_str().unwrap();
            let is_unsupported = why.starts_with("Unsupported filter type");
            assert!(is_unsupported || ours.is_err(), "{name}: {why}");
        }
        (Err(error), _) => {
            // A class of operators that is not there yet; then as now.
            let is_unsupported = error.code == ErrorCode::UnsupportedOperator;
            assert!(is_unsupported, "{name}: {error}");
        }
        (Ok(_), _) => panic!("{name}: the recording makes no sense"),
    }
}

/// Rows without what is said differently on purpose: digits of a second beyond the third,
/// numbers that went through doubles, the column types in whose form the old worker followed its
/// driver, and a cursor, which names the whole order now.
fn alike(data: &Json) -> Json {
    const OTHER_FORM: [&str; 4] = ["b", "d", "iv", "na"];
    match data {
        Json::Object(members) => members
            .iter()
            .filter(|(name, _)| !OTHER_FORM.contains(&name.as_str()))
            .filter(|(name, _)| name.as_str() != "cursor")
            .map(|(name, value)| (name.clone(), alike(value)))
            .collect(),
        Json::Array(members) => members.iter().map(alike).collect(),
        Json::Number(number) => json!(number.as_f64()),
        Json::String(text) => match text
            .strip_suffix('Z')
            .and_then(|text| text.rsplit_once('.'))
        {
            Some((seconds, digits)) if digits.len() > 3 && seconds.contains('T') => {
                json!(format!("{seconds}.{}Z", &digits[..3]))
            }
            _ => data.clone(),
        },
        Json::Null | Json::Bool(_) => data.clone(),
    }
}

/// What ours answers instead.
enum Ours {
    Rows(usize),
    Affected(usize),
    Count(u64),
    Yes,
    Refused(ErrorCode),
}

/// Where ours answers something else on purpose, and why.
const BETTER: [(&str, Ours, &str); 13] = [
    (
        "add_single_array_column",
        Ours::Affected(1),
        "arrays could not be written",
    ),
    (
        "get_data_query_no_limit",
        Ours::Rows(1),
        "no limit was taken for none of the rows",
    ),
    (
        "get_data_query_limit_0",
        Ours::Rows(30),
        "the same: the old gateway sends 0 for none",
    ),
    (
        "get_data_bad_json",
        Ours::Rows(30),
        "the same, of a query that the old gateway dropped",
    ),
    (
        "get_data_equals_null",
        Ours::Refused(ErrorCode::BadValue),
        "nothing equals NULL",
    ),
    (
        "get_data_like_wildcards",
        Ours::Rows(0),
        "wildcards were not escaped",
    ),
    (
        "delete_row",
        Ours::Yes,
        "a column companyId was demanded of every table",
    ),
    (
        "delete_row_company_column_other",
        Ours::Yes,
        "the table is the tenant's, and so are its rows",
    ),
    (
        "create_table_json_text",
        Ours::Yes,
        "it could not make tables",
    ),
    (
        "create_table_bad_type",
        Ours::Yes,
        "nor this one, whose type the old gateway lost",
    ),
    (
        "agg_all",
        Ours::Count(34),
        "it left out what it had computed",
    ),
    ("agg_snake_wrapper", Ours::Count(9), "the same"),
    ("agg_nothing", Ours::Count(34), "the same"),
];
