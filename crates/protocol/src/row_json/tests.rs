//! That rows, keys and cursors are written as the contract says, and that the result is always JSON.

use proptest::collection::vec;
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
use serde_json::{Value as Json, json};
use tidegate_core::{Numeric, TableName};

use super::*;
use crate::arbitrary::{text, value};

fn table(columns: &[(&str, ColumnType)], key: Vec<usize>) -> Arc<TableSchema> {
    let column = |(name, kind): &(&str, ColumnType)| Column {
        name: (*name).into(),
        kind: kind.clone(),
        nullable: true,
    };
    let columns = columns.iter().map(column).collect();
    Arc::new(TableSchema::new(
        TableName::parse("t").unwrap(),
        columns,
        key,
    ))
}

fn cell(kind: ColumnType, value: Value) -> String {
    let mut out = Vec::new();
    write_value(&mut out, &kind, &value);
    String::from_utf8(out).unwrap()
}

/// One case for each kind of column.
#[test]
fn values() {
    let float = |value| cell(ColumnType::Double, Value::Float(value));
    let cases = [
        (
            cell(ColumnType::BigInt, Value::Int(i64::MIN)),
            "\"-9223372036854775808\"",
        ),
        (
            cell(ColumnType::WideInteger, Value::Int(i64::MAX)),
            "9223372036854775807",
        ),
        (cell(ColumnType::SmallInt, Value::Int(-7)), "-7"),
        (
            cell(
                ColumnType::Numeric,
                Value::Numeric(Numeric::parse("1.10").unwrap()),
            ),
            "\"1.10\"",
        ),
        (
            cell(
                ColumnType::Numeric,
                Value::Numeric(Numeric::parse("NaN").unwrap()),
            ),
            "\"NaN\"",
        ),
        (float(0.1), "0.1"),
        (float(1.0), "1"),
        (float(-0.0), "-0"),
        (float(1e21), "1e21"),
        (float(1.5e-9), "1.5e-9"),
        (float(f64::MAX), "1.7976931348623157e308"),
        (float(f64::NAN), "\"NaN\""),
        (float(f64::NEG_INFINITY), "\"-Infinity\""),
        (
            cell(ColumnType::Real, Value::Float(f64::from(0.1_f32))),
            "0.1",
        ),
        (cell(ColumnType::Boolean, Value::Bool(true)), "true"),
        (
            cell(ColumnType::Text, Value::text("a\"b\\c\n\u{1}é🌍")),
            "\"a\\\"b\\\\c\\n\\u0001é🌍\"",
        ),
        (
            cell(
                ColumnType::Timestamp,
                Value::Timestamp(1_767_323_045_678_901),
            ),
            "\"2026-01-02T03:04:05.678901Z\"",
        ),
        (cell(ColumnType::Date, Value::Date(0)), "\"1970-01-01\""),
        (
            cell(ColumnType::Bytea, Value::Bytes([0, 255].as_slice().into())),
            "\"\\\\x00ff\"",
        ),
        (
            cell(
                ColumnType::Json,
                Value::Json(" {\"n\":12345678901234567890}\n".into()),
            ),
            "{\"n\":12345678901234567890}",
        ),
        (
            cell(ColumnType::Json, Value::Json("{not json".into())),
            "\"{not json\"",
        ),
        (cell(ColumnType::Text, Value::Null), "null"),
    ];
    for (given, expected) in cases {
        assert_eq!(given, expected);
    }
}

/// A document of ten thousand brackets is passed on without recursion.
#[test]
fn deep_documents_pass() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(
        cell(ColumnType::Json, Value::Json(deep.as_str().into())),
        deep
    );
}

proptest! {
    /// Whatever is in a row, the result is JSON with the columns in their order, and equal twice.
    #[test]
    fn rows_are_json(names in vec(text(), 0..4), values in vec(value(), 4)) {
        let columns: Vec<_> = names.iter().map(|name| (name.as_str(), ColumnType::Double)).collect();
        let writer = RowWriter::new(table(&columns, Vec::new()));
        let row = Row::new(values[..names.len()].to_vec());
        let mut out = Vec::new();
        writer.write_row(&mut out, &row);
        let parsed: Result<serde_json::Map<String, Json>, _> = serde_json::from_slice(&out);
        prop_assert!(parsed.is_ok(), "{}", String::from_utf8_lossy(&out));
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        prop_assert_eq!(parsed.unwrap().len(), unique.len());
    }

    /// The text of a float reads back as the float.
    #[test]
    fn floats_round_trip(value in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL) {
        let text = value_text(&ColumnType::Double, &Value::Float(value)).unwrap();
        prop_assert_eq!(text.parse::<f64>().unwrap(), value);
    }
}

/// A single key is its value's text; a composite one is a JSON array of what stands in the row.
#[test]
fn primary_keys() {
    let columns = [
        ("a", ColumnType::BigInt),
        ("b", ColumnType::Text),
        ("c", ColumnType::Integer),
    ];
    let values = vec![Value::Int(5), Value::text("x\"y"), Value::Int(7)];
    let pk = |key: Vec<usize>| {
        let schema = table(&columns, key);
        pk_text(&schema, &schema.key_of(&Row::new(values.clone())))
    };
    assert_eq!(pk(vec![0]), "5");
    assert_eq!(pk(vec![1]), "x\"y");
    assert_eq!(pk(vec![2, 0, 1]), r#"[7,"5","x\"y"]"#);
}

/// The pieces of a page.
#[test]
fn pages() {
    let columns = [
        ("id", ColumnType::Text),
        ("lsn", ColumnType::BigInt),
        ("n", ColumnType::Integer),
    ];
    let writer = RowWriter::new(table(&columns, vec![0]));
    let rows = [
        Row::new(vec![Value::text("a"), Value::Int(1), Value::Null]),
        Row::new(vec![Value::text("b"), Value::Int(2), Value::Int(3)]),
    ];
    let mut out = Vec::new();
    writer.write_rows(&mut out, &rows);
    let parsed: Json = serde_json::from_slice(&out).unwrap();
    assert_eq!(
        parsed,
        json!([{"id":"a","lsn":"1","n":null},{"id":"b","lsn":"2","n":3}])
    );
    out.clear();
    writer.write_pks(&mut out, &rows);
    assert_eq!(out, br#"["a","b"]"#);
    let cursor = |row| {
        let mut out = Vec::new();
        writer.write_cursor(&mut out, [2, 1, 0], row);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(cursor(&rows[0]), r#""n":null,"id":"a""#);
    assert_eq!(cursor(&rows[1]), r#""n":"3","id":"b""#);
    out.clear();
    writer.write_rows(&mut out, []);
    assert_eq!(out, b"[]");
}
