//! That recorded answers become the frames that clients got, that replies survive their bytes, and
//! that hostile bytes are errors.

use std::sync::Arc;

use proptest::prelude::{any, proptest};
use serde_json::{Value as Json, json};
use tidegate_core::TableInfo;

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
                let data: Json = serde_json::from_str(&data_of(result.unwrap())).unwrap();
                let long = "12345678901234567890.123456789";
                assert_eq!(data["sumValues"], json!({"n": 123.5, "amount": long}));
                assert_eq!(
                    data["minimumValues"],
                    json!({"n": -5, "created": "2025-01-01"})
                );
                assert_eq!(data["maximumValues"], json!({"big": "9223372036854775807"}));
            }
            (_, Ok(answer)) => {
                let data: Json = serde_json::from_str(&data_of(answer)).unwrap();
                assert_eq!(as_doubles(&data), as_doubles(&frame["data"]), "{name}");
            }
            (_, Err(error)) => assert_eq!(frame["error"], error.message, "{name}"),
        }
        compared += 1;
    }
    assert!(compared > 60, "only {compared}");
}

fn data_of(answer: SqlAnswer) -> String {
    match answer {
        SqlAnswer::Data { json, lsn: None } => json,
        other => panic!("{other:?}"),
    }
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
        // More than the first version counts, and nothing but NULL.
        Outcome::Aggregates(Aggregates {
            count: 5_000_000_000,
            sum: vec![("n".into(), None)],
            minimum: vec![("t".into(), Value::Null)],
            ..Aggregates::default()
        }),
        Outcome::Tables(vec![TableInfo {
            name: TableName::parse("notes").unwrap(),
            columns: schema().columns().to_vec(),
            key: vec!["id".to_owned()],
            refusal: Some("it is a \"view\"".to_owned()),
        }]),
        Outcome::Json("[1]".to_owned()),
    ]
}

/// A client cannot tell whether a reply came straight from the database or through a worker.
#[test]
fn replies_are_the_same_through_a_worker() {
    for outcome in outcomes() {
        let reply = Reply { outcome, lsn: None };
        let bytes = encode_response("c1", SqlResult::Reply(&reply)).unwrap();
        let response = SqlResponse::decode(&bytes).unwrap();
        assert_eq!(response.correlation_id, "c1");
        let direct = reply_data(&reply);
        let through = data_of(response.result.unwrap());
        assert_eq!(Ok(&*through), std::str::from_utf8(&direct));
    }
}

/// Old gateways find the sums where they always were.
#[test]
fn aggregates_are_also_where_old_gateways_look() {
    let outcome = Outcome::Aggregates(Aggregates {
        count: 2,
        sum: vec![("n".into(), Numeric::parse("1.5"))],
        ..Aggregates::default()
    });
    let bytes = encode_response("c1", SqlResult::Reply(&Reply { outcome, lsn: None })).unwrap();
    let root = flatbuffers::root::<ResponseEnvelope<'_>>(&bytes).unwrap();
    let agg = root.data_as_agg_res().unwrap().agg().unwrap();
    let sum = agg.sum_values().unwrap().get(0);
    assert_eq!(
        (agg.count(), sum.key(), sum.value()),
        (2, Some("n"), Some("1.5"))
    );
}

/// A write's commit comes back, so that its client can wait for it.
#[test]
fn a_write_tells_its_commit() {
    let lsn = Some(Lsn::new(u64::MAX));
    let reply = Reply {
        outcome: Outcome::Bool(true),
        lsn,
    };
    let bytes = encode_response("c1", SqlResult::Reply(&reply)).unwrap();
    let json = "true".to_owned();
    let expected = Ok(SqlAnswer::Data { json, lsn });
    assert_eq!(SqlResponse::decode(&bytes).unwrap().result, expected);
}

/// A table's schema is the same on the other side, whatever its columns are.
#[test]
fn schemas_survive_their_bytes() {
    let kinds = [
        ColumnType::Boolean,
        ColumnType::SmallInt,
        ColumnType::Integer,
        ColumnType::BigInt,
        ColumnType::WideInteger,
        ColumnType::Real,
        ColumnType::Double,
        ColumnType::Numeric,
        ColumnType::Text,
        ColumnType::Timestamp,
        ColumnType::Date,
        ColumnType::Bytea,
        ColumnType::Json,
        ColumnType::JsonText,
        ColumnType::Range(RangeType::Int8),
        ColumnType::array_of(ColumnType::Range(RangeType::Int8)),
        ColumnType::array_of(ColumnType::Text),
        ColumnType::Other("integer".into()),
    ];
    let columns = kinds.into_iter().enumerate().map(|(at, kind)| Column {
        name: format!("c {at}").into(),
        kind,
        nullable: at % 2 == 0,
    });
    let table = TableName::parse("notes").unwrap();
    let schema = TableSchema::new(table, columns.collect(), vec![9, 2]);
    let bytes = encode_response("c1", SqlResult::Schema(&schema)).unwrap();
    let expected = Ok(SqlAnswer::Schema(Arc::new(schema)));
    assert_eq!(SqlResponse::decode(&bytes).unwrap().result, expected);
}

/// A failure keeps its code and its sentence.
#[test]
fn failures() {
    let sent = |code, message: &str| {
        let error = WireError::new(code, message);
        let bytes = encode_response("c1", SqlResult::Error(&error)).unwrap();
        SqlResponse::decode(&bytes).unwrap().result.unwrap_err()
    };
    let bad = sent(ErrorCode::UnknownColumn, "no such column");
    assert_eq!(
        bad,
        WireError::new(ErrorCode::UnknownColumn, "no such column")
    );
    let late = sent(ErrorCode::Timeout, "");
    assert_eq!(late, WireError::new(ErrorCode::Timeout, NAMELESS));
}

proptest! {
    #[test]
    fn hostile_bytes_do_not_panic((pick, at) in any::<(usize, usize)>(), byte in any::<u8>()) {
        let mut outcomes = outcomes();
        let outcome = outcomes.swap_remove(pick % outcomes.len());
        let reply = Reply { outcome, lsn: None };
        let mut bytes = match pick % 3 {
            0 => encode_response("c1", SqlResult::Schema(&schema())).unwrap(),
            _ => encode_response("c1", SqlResult::Reply(&reply)).unwrap(),
        };
        let place = at % bytes.len();
        let _ = SqlResponse::decode(&bytes[..place]);
        bytes[place] = byte;
        let _ = SqlResponse::decode(&bytes);
    }
}
