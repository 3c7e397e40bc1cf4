//! Every operator of the wire, by its name and by its number, from a client's query to rows of a
//! real server: rows that match, and rows that do not.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value as Json, json};
use tidegate_core::{
    Aggregation, Command, CommandError, LimitRule, Operator, Outcome, Query, QueryError, QuerySpec,
    Selection, Tenancy, TenantId, Value,
};
use tidegate_ports::{Database, DatabaseError};
use tidegate_protocol::{ErrorCode, SqlCall, SqlRequest, decode_query, encode_query, parse_query};

use crate::harness::{Site, error, table};

const TABLE: &str = "CREATE TABLE t(
    id integer PRIMARY KEY, n integer, title text, tags text[], nums integer[], amounts numeric[],
    docs jsonb[], doc jsonb, raw json, span int4range, days daterange, at timestamptz,
    clock time, pause interval, price money, ids uuid[], codes char(3)[]);
  CREATE INDEX ON t USING gin (tags);
  INSERT INTO t VALUES
    (1, 10, 'Alpha 1', '{t1,all}', '{1,2,3}', '{1.50,2}', '{\"{}\"}',
     '{\"k\":1,\"s\":\"v1\",\"deep\":{\"a\":[1,2]}}', '{\"k\":1}', '[1,10)',
     '[2026-01-01,2026-02-01)', '2026-01-02 03:04:05Z', '12:34:56', '1 day 02:00:00', '12.34',
     '{11111111-2222-3333-4444-555555555555}', '{ab,c}'),
    (2, 20, 'beta 2', '{}', '{}', '{}', '{}', '[1,\"two\",null]', '[1]', 'empty', 'empty',
     '2026-01-03Z', '00:00', '1 hour', '1.00', '{}', '{}'),
    (3, 30, E'Gr\u{fc}\u{df}e\nx', '{t2,NULL}', '{3,NULL}', '{NaN}', NULL,
     '{\"s\":null,\"k\":1.0}', '{\"s\":null}', '[5,6)', '(,2026-01-15)', '1999-12-31Z',
     '23:59:59.5', '-1 day', '-5', NULL, '{abc}');
  INSERT INTO t(id) VALUES (4)";

/// An operator on a column with a value, and the ids of the rows that it selects.
type Case = (&'static str, &'static str, &'static str, &'static [i64]);

const CASES: &[Case] = &[
    ("n", "equals", r#"20"#, &[2]),
    ("n", "notEquals", r#"20"#, &[1, 3]),
    ("n", "lessThan", r#"20"#, &[1]),
    ("n", "lessThanOrEquals", r#"20"#, &[1, 2]),
    ("n", "greaterThan", r#"20"#, &[3]),
    ("n", "greaterThanOrEquals", r#"20"#, &[2, 3]),
    ("n", "isNull", r#"null"#, &[4]),
    ("tags", "isNull", r#"null"#, &[4]),
    ("n", "isNotNull", r#"null"#, &[1, 2, 3]),
    ("title", "regex", r#""^[a-z]+ [0-9]$""#, &[2]),
    ("title", "regex", r#""(?i)^ALPHA""#, &[1]),
    ("title", "regex", r#""(.)\\1""#, &[]),
    ("title", "notRegex", r#""[0-9]$""#, &[3]),
    ("title", "startsWith", r#""Al""#, &[1]),
    ("title", "endsWith", r#""2""#, &[2]),
    ("title", "contains", r#""ta""#, &[2]),
    ("title", "notContains", r#""ta""#, &[1, 3]),
    ("tags", "arrayContains", r#"["t1"]"#, &[1]),
    ("tags", "arrayContains", r#""t2""#, &[3]),
    ("nums", "arrayContains", r#"[2, 1]"#, &[1]),
    ("codes", "arrayContains", r#"["c"]"#, &[1]),
    ("docs", "arrayContains", r#""{}""#, &[1]),
    ("tags", "arrayContainedBy", r#"["t1", "all", "x"]"#, &[1, 2]),
    ("tags", "arrayOverlaps", r#"["t2", "all"]"#, &[1, 3]),
    ("tags", "arrayOverlaps", r#"[null]"#, &[]),
    ("tags", "arrayEquals", r#"["t1", "all"]"#, &[1]),
    ("tags", "arrayEquals", r#"["t2", null]"#, &[3]),
    ("amounts", "arrayEquals", r#"[1.5, 2.0]"#, &[1]),
    (
        "ids",
        "arrayEquals",
        r#"["11111111-2222-3333-4444-555555555555"]"#,
        &[1],
    ),
    ("ids", "arrayOverlaps", r#"["no uuid"]"#, &[]),
    ("nums", "arrayNotEquals", r#"[1, 2, 3]"#, &[2, 3]),
    ("tags", "arrayEmpty", r#"true"#, &[2]),
    ("tags", "arrayEmpty", r#"false"#, &[1, 3]),
    ("tags", "arrayNotEmpty", r#"null"#, &[1, 3]),
    ("tags", "arrayLength", r#"2"#, &[1, 3]),
    ("tags", "arrayLength", r#"0"#, &[]),
    ("doc", "jsonContains", r#""{\"k\":1}""#, &[1, 3]),
    ("doc", "jsonContains", r#"1"#, &[2]),
    ("raw", "jsonContains", r#""{\"k\":1}""#, &[1]),
    (
        "doc",
        "jsonContainedBy",
        r#""{\"k\":1,\"s\":null,\"x\":2}""#,
        &[3],
    ),
    ("doc", "jsonHasKey", r#""deep""#, &[1]),
    ("doc", "jsonHasKey", r#""two""#, &[2]),
    ("doc", "jsonHasAnyKey", r#"["deep", "two"]"#, &[1, 2]),
    ("doc", "jsonHasAllKeys", r#"["s", "k"]"#, &[1, 3]),
    ("doc", "jsonGetField", r#""s""#, &[1, 3]),
    (
        "doc",
        "jsonGetField",
        r#"["deep", "{\"a\":[1,2.0]}"]"#,
        &[1],
    ),
    ("doc", "jsonGetFieldAsText", r#""s""#, &[1]),
    ("doc", "jsonGetFieldAsText", r#"["s", "v1"]"#, &[1]),
    ("doc", "jsonGetFieldAsText", r#"["k", "1.0"]"#, &[3]),
    (
        "n",
        "between",
        r#"{"low": 10, "high": 30, "include_high": false}"#,
        &[1, 2],
    ),
    ("n", "between", r#"[10, 20]"#, &[1, 2]),
    ("n", "notBetween", r#"{"low": 10, "high": 20}"#, &[3]),
    ("span", "rangeContains", r#"5"#, &[1, 3]),
    ("span", "rangeContains", r#"{"low": 5, "high": 7}"#, &[1]),
    ("days", "rangeContains", r#""2026-01-20""#, &[1]),
    (
        "span",
        "rangeContainedBy",
        r#"{"low": 4, "high": null}"#,
        &[2, 3],
    ),
    ("n", "rangeContainedBy", r#"[10, 20]"#, &[1, 2]),
    (
        "n",
        "rangeContainedBy",
        r#"{"low": 10, "high": null, "include_low": false}"#,
        &[2, 3],
    ),
    ("n", "inList", r#"[10, 30]"#, &[1, 3]),
    ("n", "notInList", r#"[10]"#, &[2, 3]),
    ("clock", "lessThan", r#""12:34:56.5""#, &[1, 2]),
    ("pause", "greaterThanOrEquals", r#""26 hours""#, &[1]),
    ("price", "between", r#"["1", "12.34"]"#, &[1, 2]),
    ("clock", "in", r#"["00:00:00"]"#, &[2]),
];

/// The same with a modifier.
const MODIFIED: &[(&str, &str, &str, &str, &[i64])] = &[
    ("title", "equals", r#""ALPHA 1""#, "case_insensitive", &[1]),
    (
        "title",
        "notEquals",
        r#""ALPHA 1""#,
        "case_insensitive",
        &[2, 3],
    ),
    (
        "title",
        "in",
        r#"["BETA 2", "alpha 1"]"#,
        "case_insensitive",
        &[1, 2],
    ),
    (
        "title",
        "notIn",
        r#"["BETA 2"]"#,
        "case_insensitive",
        &[1, 3],
    ),
    ("title", "startsWith", r#""GR""#, "case_insensitive", &[3]),
    ("title", "startsWith", r#""GRÜ""#, "case_insensitive", &[3]),
    ("title", "endsWith", r#""A 1""#, "case_insensitive", &[1]),
    ("title", "contains", r#""TA""#, "case_insensitive", &[2]),
    ("title", "contains", r#""Üß""#, "case_insensitive", &[3]),
    (
        "title",
        "notContains",
        r#""TA""#,
        "case_insensitive",
        &[1, 3],
    ),
    ("title", "regex", r#""^BETA""#, "case_insensitive", &[2]),
    (
        "title",
        "notRegex",
        r#""^BETA""#,
        "case_insensitive",
        &[1, 3],
    ),
    ("title", "regex", r#""^GRÜ""#, "case_insensitive", &[3]),
    ("n", "notEquals", r#"20"#, "distinct", &[1, 3, 4]),
    ("n", "equals", r#"20"#, "distinct", &[2]),
    ("n", "equals", r#"null"#, "distinct", &[4]),
    ("n", "notEquals", r#"null"#, "distinct", &[1, 2, 3]),
    ("n", "notIn", r#"[10]"#, "distinct", &[2, 3, 4]),
    (
        "tags",
        "arrayNotEquals",
        r#"["t1", "all"]"#,
        "distinct",
        &[2, 3, 4],
    ),
];

/// A plain value with its tag.
fn tagged(plain: &Json) -> Json {
    let list = |name: &str, members: &[Json]| json!({ name: { "values": members } });
    match plain {
        Json::Null => json!({ "NullValue": {} }),
        Json::Bool(value) => json!({ "BoolValue": { "value": value } }),
        Json::Number(value) => json!({ "NumberValue": { "value": value } }),
        Json::String(value) => json!({ "StringValue": { "value": value } }),
        Json::Array(members) if members.iter().all(Json::is_string) => list("StringList", members),
        Json::Array(members) if members.iter().all(Json::is_i64) => list("Int64List", members),
        Json::Array(members) if members.iter().all(Json::is_f64) => list("Float64List", members),
        Json::Array(members) => list("MixedList", &members.iter().map(tagged).collect::<Vec<_>>()),
        Json::Object(range) => {
            let mut range = range.clone();
            for end in ["low", "high"] {
                range[end] = tagged(&range[end]);
            }
            json!({ "RangeValue": range })
        }
    }
}

fn query_text(column: &str, operator: &str, value: &str, modifier: Option<&str>) -> String {
    let value = tagged(&serde_json::from_str(value).unwrap());
    let modifier = modifier.map_or(String::new(), |name| {
        format!(r#","modifier":{{"{name}":true}}"#)
    });
    format!(
        r#"{{"wrapper":{{"filter_wrapper_type":"and","filters":[{{"field_name":"{column}",
           "filter_type":"{operator}","value":{value}{modifier}}}]}}}}"#
    )
}

async fn site() -> Site {
    let site = Site::with(|_| {}).await;
    site.sql(TABLE).await;
    site
}

fn only_id(value: &Value) -> i64 {
    match value {
        Value::Int(id) => *id,
        other => panic!("{other:?}"),
    }
}

async fn selected(site: &Site, query: QuerySpec) -> Result<Vec<i64>, DatabaseError> {
    let selection = Selection { query, offset: 0 };
    let reply = site.run(Command::GetData(table("t"), selection)).await?;
    let Outcome::Page { rows, .. } = reply.outcome else {
        panic!("a page")
    };
    Ok(rows.iter().map(|row| only_id(&row[0])).collect())
}

/// Checks one query in all its forms: as JSON, as a FlatBuffer, and as the filter of an aggregate.
async fn check(site: &Site, text: &str, expected: &[i64]) {
    let spec = parse_query(text).unwrap();
    let told = text;
    let found = selected(site, spec.clone()).await;
    assert_eq!(
        found.unwrap_or_else(|why| panic!("{told}: {why}")),
        expected,
        "{told}"
    );
    // A list of values of several kinds has no FlatBuffer.
    if !text.contains("MixedList") {
        let mut read = decode_query(&encode_query(&spec, "q").unwrap()).unwrap();
        read.limit = None;
        assert_eq!(
            selected(site, read).await.unwrap(),
            expected,
            "by number: {told}"
        );
    }
    let wanted = Aggregation {
        filter: spec.filter,
        ..Aggregation::default()
    };
    let reply = site.run(Command::RunAggregation(table("t"), wanted)).await;
    let Outcome::Aggregates(found) = reply.unwrap().outcome else {
        panic!("aggregates")
    };
    assert_eq!(found.count, expected.len() as u64, "counted: {told}");
}

/// Every operator there is selects the rows it should.
#[tokio::test]
async fn every_operator() {
    let site = site().await;
    for (column, operator, value, expected) in CASES {
        check(&site, &query_text(column, operator, value, None), expected).await;
    }
    for (column, operator, value, modifier, expected) in MODIFIED {
        let text = query_text(column, operator, value, Some(modifier));
        check(&site, &text, expected).await;
    }
    let tried: BTreeSet<u8> = CASES
        .iter()
        .map(|(_, name, ..)| Operator::from_name(name).unwrap().number())
        .collect();
    let all: BTreeSet<u8> = Operator::ALL
        .iter()
        .map(|operator| operator.number())
        .collect();
    assert_eq!((tried, all.len()), (all, 35));
}

/// What the engine is sure to answer as Postgres does is live; the rest is refused by one code
/// that names the column.
#[tokio::test]
async fn what_is_live() {
    let site = site().await;
    let schema = site.describe("t").await;
    let live = |text: &str| {
        let spec = parse_query(text).unwrap();
        Query::live_from_spec(&spec, &schema, LimitRule::SUBSCRIPTION)
    };
    let not_live = |column: &str, value: &str| match (column, value) {
        ("docs" | "raw" | "clock" | "pause" | "price", _) => true,
        ("title", text) => text.contains("\\1") || text.contains('Ü'),
        _ => false,
    };
    let plain = CASES.iter().map(|(c, o, v, _)| (c, o, v, None));
    let modified = MODIFIED.iter().map(|(c, o, v, m, _)| (c, o, v, Some(*m)));
    for (column, operator, value, modifier) in plain.chain(modified) {
        let text = query_text(column, operator, value, modifier);
        match live(&text) {
            Ok(_) => assert!(!not_live(column, value), "{text}"),
            Err(error) => {
                assert!(not_live(column, value), "{text}: {error}");
                assert_eq!(ErrorCode::from(&error), ErrorCode::NotLive);
                assert!(error.to_string().contains(column), "{error}");
            }
        }
    }
}

/// An operator on a column with a value and a modifier that make no sense, and the code for it.
type Refused = (
    &'static str,
    &'static str,
    &'static str,
    Option<&'static str>,
    &'static str,
);

const REFUSED: &[Refused] = &[
    ("n", "regex", r#""a""#, None, "unsupported_operator"),
    ("n", "arrayContains", "1", None, "unsupported_operator"),
    ("n", "jsonContains", "1", None, "unsupported_operator"),
    ("n", "rangeContains", "1", None, "unsupported_operator"),
    (
        "tags",
        "rangeContainedBy",
        r#"[1, 2]"#,
        None,
        "unsupported_operator",
    ),
    ("tags", "equals", r#""a""#, None, "unsupported_operator"),
    ("nums", "arrayContains", r#""a""#, None, "bad_value"),
    ("tags", "arrayLength", r#""a""#, None, "bad_value"),
    ("tags", "arrayEmpty", "1", None, "bad_value"),
    ("tags", "arrayContains", r#"null"#, None, "bad_value"),
    ("doc", "jsonContains", r#""{k:1}""#, None, "bad_value"),
    ("doc", "jsonContains", r#""\"\\u0000\"""#, None, "bad_value"),
    (
        "doc",
        "jsonGetField",
        r#"["a", "b", "c"]"#,
        None,
        "bad_value",
    ),
    ("doc", "jsonHasKey", "1", None, "bad_value"),
    ("span", "rangeContainedBy", "1", None, "bad_value"),
    ("span", "rangeContains", r#"[2, 1]"#, None, "bad_value"),
    ("title", "regex", r#""(""#, None, "bad_value"),
    ("clock", "equals", r#""noon-ish""#, None, "bad_value"),
    (
        "n",
        "lessThan",
        "1",
        Some("case_insensitive"),
        "unsupported_operator",
    ),
    (
        "n",
        "equals",
        "1",
        Some("case_insensitive"),
        "unsupported_operator",
    ),
    (
        "n",
        "lessThan",
        "1",
        Some("distinct"),
        "unsupported_operator",
    ),
];

/// What has no meaning is refused, by the code that says what is wrong.
#[tokio::test]
async fn refused() {
    let site = site().await;
    for (column, operator, value, modifier, code) in REFUSED.iter().copied() {
        let query = query_text(column, operator, value, modifier);
        let refused = error(selected(&site, parse_query(&query).unwrap()).await);
        assert_eq!(
            ErrorCode::from(&refused).as_str(),
            code,
            "{query}: {refused}"
        );
    }
    let nulls = query_text("n", "equals", "1", None)
        .replace("}}}]", "}},\"modifier\":{\"nulls_order\":\"last\"}}]");
    let refused = error(selected(&site, parse_query(&nulls).unwrap()).await);
    assert_eq!(ErrorCode::from(&refused), ErrorCode::UnsupportedOperator);
    assert!(refused.to_string().contains("sort"), "{refused}");
    // Of a type that nobody can compare, Postgres says so.
    site.sql("CREATE TABLE p(id integer PRIMARY KEY, place point, x xml)")
        .await;
    for column in ["place", "x"] {
        let query = query_text(column, "equals", r#""(1,2)""#, None);
        let selection = Selection {
            query: parse_query(&query).unwrap(),
            offset: 0,
        };
        let refused = error(site.run(Command::GetData(table("p"), selection)).await);
        let is_operator = matches!(
            refused,
            CommandError::Query(QueryError::UnsupportedOperator(_))
        );
        assert!(is_operator, "{column}: {refused:?}");
    }
}

/// Calls that an old gateway sent to its worker, answered over the tables they were made for.
#[tokio::test]
async fn recorded_calls() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/tests/golden");
    let site = Site::with(|config| config.tenancy = Tenancy::Prefix).await;
    let fixture = std::fs::read_to_string(golden.join("fixture.sql")).unwrap();
    site.sql(&fixture).await;
    let mut paths: Vec<_> = std::fs::read_dir(golden.join("fb"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("request_")
        })
        .collect();
    // What reads goes first, so that no write is in its way.
    paths.sort_by_key(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (!name.starts_with("request_get"), name)
    });
    assert!(paths.len() > 70);
    for path in paths {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let recording: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let Some(hex) = recording["hex"].as_str() else {
            continue;
        };
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        let Ok(request) = SqlRequest::decode(&bytes) else {
            continue;
        };
        let owner = TenantId::parse(&request.company_id).unwrap();
        let SqlCall::Run(command) = request.call else {
            panic!("{name}: no old gateway asks that");
        };
        let answered = site.db.execute(&owner, command).await;
        let answer = match &answered {
            Ok(reply) => match &reply.outcome {
                Outcome::Page { rows, .. } => rows.len().to_string(),
                _ => "ok".to_owned(),
            },
            Err(DatabaseError::Command(error)) => ErrorCode::from(error).to_string(),
            Err(DatabaseError::Port(error)) => panic!("{name}: {error}"),
        };
        if let Some((_, expected)) = RECORDED.iter().find(|(other, _)| *other == name) {
            assert_eq!(answer, *expected, "{name}: {answered:?}");
        }
    }
    for (name, _) in RECORDED {
        assert!(golden.join(format!("fb/{name}.json")).exists(), "{name}");
    }
}

/// What the recorded calls are answered: a number of rows, or a code.
const RECORDED: &[(&str, &str)] = &[
    ("request_get_data_op_arrayContainedBy", "2"),
    ("request_get_data_op_arrayEmpty", "2"),
    ("request_get_data_op_arrayEquals", "0"),
    ("request_get_data_op_arrayNotEmpty", "2"),
    ("request_get_data_op_jsonContains", "1"),
    ("request_get_data_op_jsonContainedBy", "0"),
    ("request_get_data_op_jsonGetField", "2"),
    ("request_get_data_op_jsonHasAllKeys", "2"),
    ("request_get_data_op_jsonHasAnyKey", "2"),
    ("request_get_data_op_jsonHasKey", "2"),
    ("request_get_data_op_rangeContainedBy", "0"),
    ("request_get_data_op_rangeContains", "unsupported_operator"),
    ("request_get_data_op_greaterThan", "2"),
    ("request_get_data_op_lessThanOrEquals", "2"),
    ("request_get_data_not_regex", "2"),
    ("request_get_data_between_floats", "3"),
    ("request_get_data_modifier_ci", "0"),
    ("request_add_single_array_column", "ok"),
];
