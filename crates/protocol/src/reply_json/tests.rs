//! That replies have the shapes that recorded clients got, with numbers that lose nothing.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use tidegate_core::{Column, ColumnType, Lsn, Row, TableName, TableSchema};

use super::*;
use crate::golden::recordings;

fn schema() -> Arc<TableSchema> {
    let column = |name: &str, kind| Column {
        name: name.into(),
        kind,
        nullable: false,
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

fn row(id: &str, big: i64) -> Row {
    Row::new(vec![Value::text(id), Value::Int(big)])
}

fn data(outcome: Outcome) -> Json {
    let reply = Reply { outcome, lsn: None };
    serde_json::from_slice(&reply_data(&reply)).unwrap()
}

fn recorded(name: &str) -> Json {
    recordings("response_")[&format!("response_{name}.json")]["frame"]["data"].clone()
}

/// Rows with a cursor, and the object that stands for no row.
#[test]
fn rows() {
    let page = |rows: Vec<Row>| {
        data(Outcome::Page {
            schema: schema(),
            rows,
            order: vec![1, 0],
            lsn: Lsn::new(9_007_199_254_740_993),
        })
    };
    let expected = json!({
        "rows": [{"id": "a", "big": "1"}, {"id": "b", "big": "2"}],
        "cursor": {"big": "2", "id": "b", "lsn": "9007199254740993"},
    });
    assert_eq!(page(vec![row("a", 1), row("b", 2)]), expected);
    assert_eq!(
        page(Vec::new()),
        json!({"rows": [], "cursor": {"lsn": "9007199254740993"}})
    );
    let single = |row| {
        data(Outcome::Row {
            schema: schema(),
            row,
        })
    };
    assert_eq!(single(Some(row("a", 1))), json!({"id": "a", "big": "1"}));
    assert_eq!(single(None), recorded("get_single_missing"));
    let affected = data(Outcome::Rows {
        schema: schema(),
        rows: Vec::new(),
    });
    assert_eq!(affected, recorded("update_single_missing"));
    assert_eq!(
        data(Outcome::Bool(true)),
        recorded("delete_row_company_column")
    );
}

/// Aggregates have the recorded names. A number is a number where a double holds it.
#[test]
fn aggregates() {
    let numeric = |text: &str| Some(Numeric::parse(text).unwrap());
    let full = Aggregates {
        count: 30,
        sum: vec![
            ("n".into(), numeric("123.50")),
            ("amount".into(), numeric("12345678901234567890")),
        ],
        average: vec![("n".into(), numeric("4.5"))],
        minimum: vec![
            ("n".into(), Value::Int(-5)),
            ("created".into(), Value::Null),
        ],
        maximum: vec![("big".into(), Value::Int(i64::MAX))],
    };
    let mut expected = recorded("injected_agg_full");
    expected["sumValues"]["amount"] = json!("12345678901234567890");
    expected["maximumValues"]["big"] = json!("9223372036854775807");
    assert_eq!(data(Outcome::Aggregates(full)), expected);

    let some = Aggregates {
        count: 0,
        sum: vec![("n".into(), None)],
        average: vec![
            ("a".into(), numeric("0.1")),
            ("b".into(), numeric("0.3333333333333333333333")),
            ("c".into(), numeric("NaN")),
        ],
        maximum: vec![
            ("t".into(), Value::Timestamp(0)),
            ("f".into(), Value::Float(2.0)),
            ("i".into(), Value::Float(f64::INFINITY)),
            ("d".into(), Value::text("x")),
        ],
        ..Aggregates::default()
    };
    let expected = json!({
        "count": 0,
        "sumValues": {"n": null},
        "avgValues": {"a": 0.1, "b": "0.3333333333333333333333", "c": "NaN"},
        "maximumValues": {"t": "1970-01-01T00:00:00.000Z", "f": 2, "i": "Infinity", "d": "x"},
    });
    assert_eq!(data(Outcome::Aggregates(some)), expected);
    let none = Aggregates::default();
    assert_eq!(data(Outcome::Aggregates(none)), json!({"count": 0}));
}

/// A list of tables says what a client needs to subscribe, or why it cannot.
#[test]
fn tables() {
    let info = |refusal: Option<&str>| TableInfo {
        name: TableName::parse("notes").unwrap(),
        columns: schema().columns().to_vec(),
        key: vec!["id".into()],
        refusal: refusal.map(str::to_owned),
    };
    let table = |refusal: Json| {
        json!({
            "name": "notes",
            "columns": [
                {"name": "id", "type": "text", "nullable": false},
                {"name": "big", "type": "bigint", "nullable": false},
            ],
            "primaryKey": ["id"],
            "refusal": refusal,
        })
    };
    assert_eq!(
        data(Outcome::Tables(vec![info(None), info(Some("no key"))])),
        json!([table(Json::Null), table(json!("no key"))])
    );
}
