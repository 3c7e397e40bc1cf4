//! That payloads are read in all their spellings, and that what makes no sense is refused.

use tidegate_core::{FilterSpec, Group};

use super::*;
use crate::golden::recordings;

fn parse(method: &str, table: Option<&str>, payload: &str) -> Result<Command, WireError> {
    let raw: &RawValue = serde_json::from_str(payload).unwrap();
    parse_command(method, table, Some(raw))
}

fn notes() -> TableName {
    TableName::parse("notes").unwrap()
}

fn check(method: &str, payload: &str, expected: Command) {
    assert_eq!(
        parse(method, Some("notes"), payload),
        Ok(expected),
        "{payload}"
    );
}

fn refused(method: &str, payload: &str) -> ErrorCode {
    parse(method, Some("notes"), payload)
        .expect_err(payload)
        .code
}

fn key(column: Option<&str>, text: &str) -> KeySpec {
    KeySpec {
        column: column.map(str::to_owned),
        text: text.to_owned(),
        parts: None,
    }
}

/// Recorded calls are all read, except those that made no sense then either.
#[test]
fn recorded_calls_are_read() {
    let senseless = [
        "create_table_bad_type",
        "create_table_no_definition",
        "get_data_bad_json",
        "get_data_no_table",
        "get_data_order_unknown",
        "lower_case_method",
    ];
    let mut refused = Vec::new();
    for (name, recording) in recordings("response_") {
        let frame = &recording["ws"];
        let payload = frame.get("payload").map(ToString::to_string);
        let raw = payload
            .as_deref()
            .map(|text| serde_json::from_str::<&RawValue>(text).unwrap());
        let method = frame["method"].as_str().unwrap();
        if parse_command(method, frame["table"].as_str(), raw).is_err() {
            let short = name
                .trim_start_matches("response_")
                .trim_end_matches(".json");
            refused.push(short.to_owned());
        }
    }
    assert_eq!(refused, senseless);
}

/// A row is named in camelCase or snake_case, by text, number or array; `id` is nobody's default
/// here: the database knows the key.
#[test]
fn keys() {
    let single = |key| Command::GetSingle(notes(), key);
    check(
        "GET_SINGLE",
        r#"{"primaryKeyColumn":"title","primaryId":"n1"}"#,
        single(key(Some("title"), "n1")),
    );
    check(
        "GET_SINGLE",
        r#"{"primary_key_column":"id","primary_id":"n1"}"#,
        single(key(Some("id"), "n1")),
    );
    check(
        "GET_SINGLE",
        r#"{"primaryKeyColumn":"","primaryId":7}"#,
        single(key(None, "7")),
    );
    check("GET_SINGLE", "{}", single(key(None, "")));
    let composite = |text: &str| {
        single(KeySpec {
            column: None,
            text: text.to_owned(),
            parts: Some(vec![
                Literal::Text("a".into()),
                Literal::Number("9007199254740993".into()),
            ]),
        })
    };
    check(
        "GET_SINGLE",
        r#"{"primaryId":["a",9007199254740993]}"#,
        composite(r#"["a",9007199254740993]"#),
    );
    check(
        "GET_SINGLE",
        r#"{"primaryId":"[\"a\", 9007199254740993]"}"#,
        composite(r#"["a", 9007199254740993]"#),
    );
    check(
        "GET_SINGLE",
        r#"{"primaryId":"[x"}"#,
        single(key(None, "[x")),
    );
    assert_eq!(
        refused("GET_SINGLE", r#"{"primaryId":{}}"#),
        ErrorCode::BadCommand
    );
}

/// A write says which row it means.
#[test]
fn writes_do_not_guess_the_row() {
    assert_eq!(refused("DELETE_ROW", "{}"), ErrorCode::BadCommand);
    assert_eq!(
        refused("UPDATE_SINGLE", r#"{"updates":{"n":1}}"#),
        ErrorCode::BadCommand
    );
    check(
        "DELETE_ROW",
        r#"{"primaryId":"n1"}"#,
        Command::DeleteRow(notes(), key(None, "n1")),
    );
}

/// A row's values keep their kind and digits, in all the fields where a row may stand.
#[test]
fn rows() {
    let row = r#"{"id":"a","n":9007199254740993,"ok":true,"x":null,"tags":["t", 1],"meta":{"a":{"b":1}}}"#;
    let quoted = serde_json::to_string(row).unwrap();
    let expected = vec![
        ("id".to_owned(), Literal::Text("a".into())),
        ("n".to_owned(), Literal::Number("9007199254740993".into())),
        ("ok".to_owned(), Literal::Bool(true)),
        ("x".to_owned(), Literal::Null),
        ("tags".to_owned(), Literal::Json(r#"["t", 1]"#.into())),
        ("meta".to_owned(), Literal::Json(r#"{"a":{"b":1}}"#.into())),
    ];
    for name in ["row", "data", "rowJson", "row_json"] {
        for value in [row, &quoted] {
            let payload = format!("{{\"{name}\":{value}}}");
            check(
                "ADD_SINGLE",
                &payload,
                Command::AddSingle(notes(), expected.clone()),
            );
        }
    }
    for name in ["updates", "updates_json"] {
        for value in [row, &quoted] {
            let payload = format!("{{\"primaryId\":\"a\",\"{name}\":{value}}}");
            let command = Command::UpdateSingle(notes(), key(None, "a"), expected.clone());
            check("UPDATE_SINGLE", &payload, command);
        }
    }
    check("ADD_SINGLE", "{}", Command::AddSingle(notes(), Vec::new()));
    for bad in ["5", "[]", "\"x\"", "\"[1]\"", r#"{"a":1,"a":2}"#] {
        let code = refused("ADD_SINGLE", &format!("{{\"row\":{bad}}}"));
        assert_eq!(code, ErrorCode::BadCommand, "{bad}");
    }
    let broken = r#"{"row":{"a":"\ud800"}}"#;
    assert_eq!(refused("ADD_SINGLE", broken), ErrorCode::BadValue);
}

/// A query comes whole or in loose parts, and `offset` counts beside either.
#[test]
fn selections() {
    let filter = FilterSpec::Group(Group::Or, Vec::new());
    let selection = |offset| {
        let query = QuerySpec {
            filter: Some(filter.clone()),
            limit: Some(2),
            strict_after: false,
            ..QuerySpec::default()
        };
        Command::GetData(notes(), Selection { query, offset })
    };
    let parts = r#""wrapper":{"filter_wrapper_type":"or"},"limit":2,"strict_after":false"#;
    let quoted = serde_json::to_string(&format!("{{{parts}}}")).unwrap();
    check("GET_DATA", &format!("{{{parts}}}"), selection(0));
    check(
        "GET_DATA",
        &format!("{{{parts},\"offset\":3}}"),
        selection(3),
    );
    check(
        "GET_DATA",
        &format!("{{\"queryJson\":{quoted},\"offset\":\"3\"}}"),
        selection(3),
    );
    check(
        "GET_DATA",
        &format!("{{\"queryJson\":{{{parts}}}}}"),
        selection(0),
    );
    check(
        "GET_DATA",
        "{}",
        Command::GetData(notes(), Selection::default()),
    );
    check(
        "GET_DATA",
        r#"{"queryJson":""}"#,
        Command::GetData(notes(), Selection::default()),
    );
    assert_eq!(refused("GET_DATA", r#"{"offset":-1}"#), ErrorCode::BadLimit);
    assert_eq!(
        refused("GET_DATA", r#"{"queryJson":"{not json"}"#),
        ErrorCode::BadQuery
    );
    assert_eq!(
        refused("GET_DATA", r#"{"strict_after":1}"#),
        ErrorCode::BadCommand
    );
}

/// The table may stand in the frame or in the payload; the frame's counts.
#[test]
fn tables() {
    for payload in [r#"{"tableName":"notes"}"#, r#"{"table":"notes"}"#] {
        let command = parse("TABLE_EXISTS", None, payload);
        assert_eq!(command, Ok(Command::TableExists(notes())), "{payload}");
        let command = parse("TABLE_EXISTS", Some(""), payload);
        assert_eq!(command, Ok(Command::TableExists(notes())), "{payload}");
    }
    check(
        "TABLE_EXISTS",
        r#"{"table":"other"}"#,
        Command::TableExists(notes()),
    );
    let code = |table: &str| parse("TABLE_EXISTS", Some(table), "{}").unwrap_err().code;
    assert_eq!(code("a\nb"), ErrorCode::UnknownTable);
    assert_eq!(code(""), ErrorCode::BadCommand);
    assert_eq!(parse("LIST_TABLES", None, "{}"), Ok(Command::ListTables));
    assert_eq!(
        parse_command("LIST_TABLES", None, None),
        Ok(Command::ListTables)
    );
    assert_eq!(refused("LIST_TABLES", "[]"), ErrorCode::BadCommand);
}

/// Fields of an aggregation, in both spellings.
#[test]
fn aggregations() {
    let expected = Aggregation {
        sum: vec!["n".into(), "amount".into()],
        average: vec!["n".into()],
        minimum: vec!["created".into()],
        maximum: vec!["big".into()],
        filter: Some(FilterSpec::Group(Group::And, Vec::new())),
    };
    let command = Command::RunAggregation(notes(), expected);
    check(
        "RUN_AGGREGATION",
        r#"{"countEnabled":true,"sumFields":["n","amount"],"averageFields":["n"],"minimumFields":["created"],"maximumFields":["big"],"wrapper":{"filter_wrapper_type":"and","filters":[]}}"#,
        command.clone(),
    );
    check(
        "RUN_AGGREGATION",
        r#"{"count_enabled":true,"sum_fields":["n","amount"],"average_fields":["n"],"minimum_fields":["created"],"maximum_fields":["big"],"wrapper":{"filter_wrapper_type":"and","filters":[]}}"#,
        command,
    );
    assert_eq!(
        refused("RUN_AGGREGATION", r#"{"sumFields":"n"}"#),
        ErrorCode::BadCommand
    );
}

/// A definition in both spellings, as an object or its text, with options in any of their shapes.
#[test]
fn definitions() {
    let column = ColumnDefinition {
        name: "code".into(),
        data_type: "char".into(),
        nullable: true,
        constraints: vec!["primaryKey".into(), "default".into()],
        options: vec![("length".into(), "3".into())],
    };
    let definition = TableDefinition {
        columns: vec![column],
        comment: Some("made".into()),
        options: Vec::new(),
    };
    let expected = Command::CreateTable(notes(), definition);
    for text in [
        r#"{"name":"notes","comment":"made","columns":[{"name":"code","dataType":"char_","isNullable":true,"constraints":["primaryKey","default_"],"customOptions":{"length":3}}]}"#,
        r#"{"name":"notes","comment":"made","table_options":{},"columns":[{"name":"code","data_type":"char","is_nullable":true,"constraints":["primaryKey","default"],"custom_options":{"options":[{"key":"length","value":"3"}]}}]}"#,
    ] {
        let quoted = serde_json::to_string(text).unwrap();
        for payload in [
            format!("{{\"definition\":{text}}}"),
            format!("{{\"definition_json\":{quoted}}}"),
        ] {
            let command = parse("CREATE_TABLE", None, &payload);
            assert_eq!(command, Ok(expected.clone()), "{payload}");
        }
    }
    let column =
        |rest: &str| format!(r#"{{"definition":{{"name":"t","columns":[{{"name":"a"{rest}}}]}}}}"#);
    for bad in [
        column(""),
        column(r#","dataType":"quux""#),
        column(r#","dataType":"text","constraints":["zzz"]"#),
        column(r#","dataType":"text","isNullable":"yes""#),
        r#"{"definition":{"name":"t"}}"#.to_owned(),
        "{}".to_owned(),
    ] {
        assert_eq!(
            refused("CREATE_TABLE", &bad),
            ErrorCode::BadCommand,
            "{bad}"
        );
    }
}
