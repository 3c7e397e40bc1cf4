//! That rows, keys and cursors are written as the contract says, and that the result is always
//! JSON.

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

fn check(cases: &[(ColumnType, Value, &str)]) {
    for (kind, value, expected) in cases {
        assert_eq!(cell(kind.clone(), value.clone()), *expected, "{value:?}");
    }
}

/// One case for each kind of column.
#[test]
fn values() {
    let numeric = |text: &str| Value::Numeric(Numeric::parse(text).unwrap());
    let json = |text: &str| Value::Json(text.into());
    let moment = Value::Timestamp(1_767_323_045_678_901);
    let bytes = Value::Bytes([0, 255].as_slice().into());
    let text = Value::text("a\"b\\c\n\u{1}é🌍");
    check(&[
        (
            ColumnType::BigInt,
            Value::Int(i64::MIN),
            "\"-9223372036854775808\"",
        ),
        (
            ColumnType::WideInteger,
            Value::Int(i64::MAX),
            "9223372036854775807",
        ),
        (ColumnType::SmallInt, Value::Int(-7), "-7"),
        (ColumnType::Numeric, numeric("1.10"), "\"1.10\""),
        (ColumnType::Numeric, numeric("NaN"), "\"NaN\""),
        (ColumnType::Boolean, Value::Bool(true), "true"),
        (ColumnType::Text, text, r#""a\"b\\c\n\u0001é🌍""#),
        (ColumnType::Text, Value::Null, "null"),
        (
            ColumnType::Timestamp,
            moment,
            "\"2026-01-02T03:04:05.678901Z\"",
        ),
        (ColumnType::Date, Value::Date(0), "\"1970-01-01\""),
        (ColumnType::Bytea, bytes, r#""\\x00ff""#),
        (
            ColumnType::Json,
            json(" {\"n\":12345678901234567890}\n"),
            r#"{"n":12345678901234567890}"#,
        ),
        (ColumnType::Json, json("{not json"), "\"{not json\""),
    ]);
}

/// Floats are the shortest decimals that read back as themselves; what is no number is a text.
#[test]
fn floats() {
    let double = |value, expected| (ColumnType::Double, Value::Float(value), expected);
    check(&[
        double(0.1, "0.1"),
        double(1.0, "1"),
        double(-0.0, "-0"),
        double(1e21, "1e21"),
        double(1.5e-9, "1.5e-9"),
        double(f64::MAX, "1.7976931348623157e308"),
        double(f64::NAN, "\"NaN\""),
        double(f64::NEG_INFINITY, "\"-Infinity\""),
        (ColumnType::Real, Value::Float(f64::from(0.1_f32)), "0.1"),
    ]);
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
    /// Whatever is in a row, the result is a JSON object with all its columns.
    #[test]
    fn rows_are_json(names in vec(text(), 0..4), values in vec(value(), 4)) {
        let column = |name| (String::as_str(name), ColumnType::Double);
        let columns: Vec<_> = names.iter().map(column).collect();
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
