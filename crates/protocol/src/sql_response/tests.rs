//! That recorded answers become the frames that clients got, that replies survive their bytes, and
//! that hostile bytes are errors.

use std::sync::Arc;

use proptest::prelude::{any, proptest};
use serde_json::{Value as Json, json};
use tidegate_core::{Column, ColumnType, Lsn, TableName};

use super::*;
use crate::golden::{bytes_of, recordings};
use crate::reply_json::reply_data;

/// Numbers as doubles, which is all that the recorded gateway could say.
fn as_doubles(value: &Json) -> Json {
    match value {
        Json::Number(number) => json!(number.as_f64()),
        Json::Array(members) => members.iter().map(as_doubles).collect(),
        Json::Object(members) => {
            let members = members.iter();
            members
                .map(|(name, value)| (name.clone(), as_doubles(value)))
                .collect()
        }
        other => other.clone(),
    }
}

/// Every recorded answer gives the data or the error that the client got.
#[test]
fn recorded_answers_become_their_frames() {
    let mut compared = 0;
    for (name, recording) in recordings("response_") {
        let Some(bytes) = bytes_of(&recording) else {
            continue;
        };
        let response =
            SqlResponse::decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            recording["decoded"]["correlation_id"], response.correlation_id,
            "{name}"
        );
        let frame = &recording["frame"];
        match (name.as_str(), response.result) {
            // These ended in a time-out then, in rounded numbers, and in a lost date.
            ("response_injected_row_not_json.json", result) => {
                assert_eq!(result.unwrap_err().code, ErrorCode::UnreadableValue);
            }
            ("response_injected_agg_full.json", result) => {
                let data: Json = serde_json::from_slice(&result.unwrap()).unwrap();
                let long = "12345678901234567890.123456789";
                assert_eq!(data["sumValues"], json!({"n": 123.5, "amount": long}));
                assert_eq!(
                    data["minimumValues"],
                    json!({"n": -5, "created": "2025-01-01"})
                );
                assert_eq!(data["maximumValues"], json!({"big": "9223372036854775807"}));
            }
            (_, Ok(data)) => {
                let data: Json = serde_json::from_slice(&data).unwrap();
                assert_eq!(as_doubles(&data), as_doubles(&frame["data"]), "{name}");
            }
            (_, Err(error)) => assert_eq!(frame["error"], error.message, "{name}"),
        }
        compared += 1;
    }
    assert!(compared > 60, "only {compared}");
}

fn schema() -> Arc<TableSchema> {
    let column = |name: &str, kind| Column {
        name: name.into(),
        kind,
        nullable: true,
    };
    let columns = vec![
        column("id", ColumnType::Text),
        column("big", ColumnType::BigInt),
    ];
    Arc::new(TableSchema::new(
        TableName::parse("notes").unwrap(),
        columns,
        vec![0],
    ))
}

fn outcomes() -> Vec<Outcome> {
    let row = |id: &str, big| Row::new(vec![Value::text(id), big]);
    let rows = vec![row("a", Value::Int(i64::MAX)), row("b\"é", Value::Null)];
    vec![
        Outcome::Page {
            schema: schema(),
            rows: rows.clone(),
            order: vec![1, 0],
            lsn: Lsn::new(9_007_199_254_740_993),
        },
        Outcome::Page {
            schema: schema(),
            rows: Vec::new(),
            order: vec![0],
            lsn: Lsn::new(7),
        },
        Outcome::Rows {
            schema: schema(),
            rows: rows.clone(),
        },
        Outcome::Row {
            schema: schema(),
            row: rows.first().cloned(),
        },
        Outcome::Row {
            schema: schema(),
            row: None,
        },
        Outcome::Bool(true),
        Outcome::Aggregates(Aggregates {
            count: 3,
            sum: vec![("n".into(), Numeric::parse("12345678901234567890.5"))],
            average: vec![("n".into(), Numeric::parse("1.50"))],
            minimum: vec![("t".into(), Value::Timestamp(0))],
            maximum: vec![("n".into(), Value::Int(5))],
        }),
    ]
}

/// A client cannot tell whether a reply came straight from the database or through a worker.
#[test]
fn replies_are_the_same_through_a_worker() {
    for outcome in outcomes() {
        let reply = Reply { outcome, lsn: None };
        let bytes = encode_response("c1", Ok(&reply)).unwrap();
        let response = SqlResponse::decode(&bytes).unwrap();
        assert_eq!(response.correlation_id, "c1");
        let direct = reply_data(&reply);
        let through = response.result.unwrap();
        assert_eq!(std::str::from_utf8(&through), std::str::from_utf8(&direct));
    }
}

/// A failure says whose it is, and its sentence.
#[test]
fn failures() {
    let sent = |code, message: &str| {
        let error = WireError::new(code, message);
        let bytes = encode_response("c1", Err(&error)).unwrap();
        SqlResponse::decode(&bytes).unwrap().result.unwrap_err()
    };
    let bad = sent(ErrorCode::UnknownColumn, "no such column");
    assert_eq!(bad, WireError::new(ErrorCode::BadCommand, "no such column"));
    let late = sent(ErrorCode::Timeout, "");
    assert_eq!(late, WireError::new(ErrorCode::Internal, NAMELESS));
    let tables = Reply {
        outcome: Outcome::Tables(Vec::new()),
        lsn: None,
    };
    assert!(encode_response("c1", Ok(&tables)).is_err());
}

proptest! {
    #[test]
    fn hostile_bytes_do_not_panic((pick, at) in any::<(usize, usize)>(), byte in any::<u8>()) {
        let mut outcomes = outcomes();
        let outcome = outcomes.swap_remove(pick % outcomes.len());
        let mut bytes = encode_response("c1", Ok(&Reply { outcome, lsn: None })).unwrap();
        let place = at % bytes.len();
        let _ = SqlResponse::decode(&bytes[..place]);
        bytes[place] = byte;
        let _ = SqlResponse::decode(&bytes);
    }
}
