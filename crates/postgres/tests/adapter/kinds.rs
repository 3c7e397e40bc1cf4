//! Columns of every type there is: written from a client's JSON, read back as the same JSON, and
//! told by the stream as the same row.

use tidegate_core::{Command, Outcome, Row, TableSchema};
use tidegate_ports::Database;
use tidegate_protocol::{RowWriter, parse_command};

use crate::harness::{Model, Site, error, rows, table, until};

/// A type, a value as a client writes it, and as it is then shown.
const KINDS: &[(&str, &str, &str)] = &[
    ("text", "\"a\"", "\"a\""),
    ("varchar(5)", "\"ab\"", "\"ab\""),
    ("char(5)", "\"ab\"", "\"ab\""),
    (
        "text[]",
        r#"["a","b \"c\"",null,"","NULL"]"#,
        r#"["a","b \"c\"",null,"","NULL"]"#,
    ),
    ("varchar(5)[]", r#"["é",",{}"]"#, r#"["é",",{}"]"#),
    ("char(3)[]", r#"["ab","c"]"#, r#"["ab","c"]"#),
    ("integer", "1", "1"),
    ("bigint", "9007199254740993", "\"9007199254740993\""),
    ("smallint", "1", "1"),
    ("numeric", "1.50", "\"1.50\""),
    ("real", "0.1", "0.1"),
    ("double precision", "0.1", "0.1"),
    ("money", "12.34", "\"$12.34\""),
    ("money", "\"12.34\"", "\"$12.34\""),
    ("date", "\"2026-01-02\"", "\"2026-01-02\""),
    ("time", "\"12:34:56.5\"", "\"12:34:56.5\""),
    (
        "timestamp",
        "\"2026-01-02T03:04:05.5\"",
        "\"2026-01-02T03:04:05.500Z\"",
    ),
    (
        "timestamptz",
        "\"2026-01-02T03:04:05+02\"",
        "\"2026-01-02T01:04:05.000Z\"",
    ),
    ("interval", "\"1 day 02:03:04.5\"", "\"1 day 02:03:04.5\""),
    ("timetz", "\"12:34:56+02\"", "\"12:34:56+02\""),
    ("boolean", "true", "true"),
    ("bytea", r#""\\x00ff""#, r#""\\x00ff""#),
    ("json", r#"{"b": 1,"a":[ ]}"#, r#"{"b": 1,"a":[ ]}"#),
    ("jsonb", r#"{"b": 1,"a":[ ]}"#, r#"{"a": [], "b": 1}"#),
    ("json[]", r#"[{"x":1},[2],null]"#, r#"[{"x":1},[2],null]"#),
    ("jsonb[]", r#"[{"x":1},[2],"t"]"#, r#"[{"x": 1},[2],"t"]"#),
    (
        "uuid",
        "\"11111111-2222-3333-4444-555555555555\"",
        "\"11111111-2222-3333-4444-555555555555\"",
    ),
    ("xml", "\"<a>b</a>\"", "\"<a>b</a>\""),
    ("integer[]", "[1,null,-2]", "[1,null,-2]"),
    ("integer[]", "[[1,2],[3,4]]", "[[1,2],[3,4]]"),
    ("integer[]", "[]", "[]"),
    ("integer[]", "[[],[]]", "[]"),
    ("bigint[]", "[9007199254740993]", "[\"9007199254740993\"]"),
    ("numeric[]", "[1.50,\"NaN\"]", "[\"1.50\",\"NaN\"]"),
    ("boolean[]", "[true,false]", "[true,false]"),
    ("real[]", "[0.1]", "[0.1]"),
    ("date[]", "[\"2026-01-02\"]", "[\"2026-01-02\"]"),
    (
        "timestamptz[]",
        "[\"2025-01-01T00:00:00Z\"]",
        "[\"2025-01-01T00:00:00.000Z\"]",
    ),
    ("bytea[]", r#"["\\x00"]"#, r#"["\\x00"]"#),
    ("interval[]", "[\"1 day\",null]", "[\"1 day\",null]"),
    ("inet[]", "[\"10.0.0.1\"]", "[\"10.0.0.1\"]"),
    ("int4range", "\"[1,5]\"", "\"[1,6)\""),
    ("tsrange", "\"empty\"", "\"empty\""),
    ("mood", "\"sad\"", "\"sad\""),
    ("work_mail", "\"a@b\"", "\"a@b\""),
    ("labels", "[\"a\"]", "[\"a\"]"),
    ("point", "\"(1,2)\"", "\"(1,2)\""),
    ("inet", "\"10.0.0.1\"", "\"10.0.0.1\""),
];

async fn site() -> Site {
    let site = Site::new().await;
    site.sql(
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN work_mail AS varchar(80);
         CREATE DOMAIN labels AS text[]",
    )
    .await;
    let columns: Vec<String> = KINDS
        .iter()
        .enumerate()
        .map(|(at, (kind, ..))| format!(", c{at} {kind}"))
        .collect();
    let columns = columns.concat();
    site.sql(&format!("CREATE TABLE k(id integer PRIMARY KEY{columns})"))
        .await;
    site
}

fn json(schema: &std::sync::Arc<TableSchema>, row: &Row) -> String {
    let mut out = Vec::new();
    RowWriter::new(schema.clone()).write_row(&mut out, row);
    String::from_utf8(out).unwrap()
}

fn command(method: &str, payload: &str) -> Command {
    let payload = serde_json::value::RawValue::from_string(payload.to_owned()).unwrap();
    parse_command(method, Some("k"), Some(&payload)).unwrap()
}

/// Each value goes in and comes out, added or changed, alone or in a page, and in the stream.
#[tokio::test]
async fn every_kind_of_column() {
    let site = site().await;
    let schema = site.describe("k").await;
    let mut stream = site.db.changes().await.unwrap();
    let members = |part: fn(&(&str, &str, &str)) -> String| -> String {
        let member = |(at, kind)| format!(",\"c{at}\":{}", part(kind));
        KINDS.iter().enumerate().map(member).collect()
    };
    let given = members(|(_, given, _)| (*given).to_owned());
    let shown = members(|(_, _, shown)| (*shown).to_owned());
    let added = command("ADD_SINGLE", &format!("{{\"row\":{{\"id\":1{given}}}}}"));
    let reply = site.run(added).await.unwrap();
    assert_eq!(
        json(&schema, &rows(&reply)[0]),
        format!("{{\"id\":1{shown}}}")
    );
    site.run(command("ADD_SINGLE", "{\"row\":{\"id\":2}}"))
        .await
        .unwrap();
    let updates = &given[1..];
    let payload = format!("{{\"primaryId\":2,\"updates\":{{{updates}}}}}");
    let reply = site.run(command("UPDATE_SINGLE", &payload)).await.unwrap();
    assert_eq!(
        json(&schema, &rows(&reply)[0]),
        format!("{{\"id\":2{shown}}}")
    );
    let page = site.run(command("GET_DATA", "{}")).await.unwrap();
    let page: Vec<String> = rows(&page).iter().map(|row| json(&schema, row)).collect();
    let expected = [1, 2].map(|id| format!("{{\"id\":{id}{shown}}}"));
    assert_eq!(page, expected);
    let single = site
        .run(command("GET_SINGLE", "{\"primaryId\":2}"))
        .await
        .unwrap();
    let Outcome::Row { row: Some(row), .. } = single.outcome else {
        panic!("a row")
    };
    assert_eq!(json(&schema, &row), expected[1]);
    // The table is live with all of them.
    let mut model = Model::default();
    for transaction in until(&mut stream, site.log_end().await).await {
        model.apply(&schema, &transaction).unwrap();
    }
    let told: Vec<String> = model.rows.values().map(|row| json(&schema, row)).collect();
    assert_eq!(told, expected);
    assert_eq!(model, site.model(&schema).await);
}

/// What does not fit a column is refused in words that name it, and nothing is written.
#[tokio::test]
async fn refused_values() {
    let site = site().await;
    let at = |kind: &str| KINDS.iter().position(|(own, ..)| *own == kind).unwrap();
    for (kind, value) in [
        ("text[]", "\"a\""),
        ("text[]", "{\"a\":1}"),
        ("text[]", "[1]"),
        ("integer[]", "[1,[2]]"),
        ("integer[]", "[[1],[2,3]]"),
        ("integer[]", "[1.5]"),
        ("integer[]", "[{}]"),
        ("time", "\"25:00\""),
        ("interval", "\"long\""),
        ("varchar(5)", "\"abcdef\""),
        ("jsonb", "\"{x\""),
        ("mood", "\"fine\""),
        ("int4range", "\"[5,1]\""),
        ("interval", "[1]"),
    ] {
        let column = format!("c{}", at(kind));
        let payload = format!("{{\"row\":{{\"id\":1,\"{column}\":{value}}}}}");
        let refused = error(site.run(command("ADD_SINGLE", &payload)).await);
        let code = tidegate_protocol::ErrorCode::from(&refused);
        assert_eq!(code.as_str(), "bad_value", "{kind} {value}: {refused}");
    }
    let left = site
        .run(Command::GetData(table("k"), Default::default()))
        .await
        .unwrap();
    assert!(rows(&left).is_empty());
}
