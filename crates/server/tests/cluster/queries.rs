//! Random queries, each as the client writes it and as SQL written by hand here: nothing of the
//! product's own SQL or evaluation takes part in the expected answer.

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value as Json, json};

use crate::engines::TENANT;

/// A subscription's query.
#[derive(Debug, Clone)]
pub(crate) struct RandomQuery {
    pub(crate) json: String,
    /// An expression that gives the rows as a JSON array, in order.
    pub(crate) sql: String,
}

/// A row in the wire's forms: 64-bit and decimal numbers are text, times are in UTC.
const ROW: &str = r#"json_build_object('id', id::text, 'n', n, 'price', price::text, 'flag', flag,
    'name', name, 'at', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    'owner', owner)"#;

struct Condition {
    json: Json,
    sql: String,
}

impl RandomQuery {
    /// One of the tenant of most tests.
    pub(crate) fn new(random: &mut StdRng) -> Self {
        Self::of(TENANT, random)
    }

    pub(crate) fn of(tenant: &str, random: &mut StdRng) -> Self {
        let limit = random.random_range(1..12);
        let mut json = json!({ "limit": limit });
        let mut condition = "TRUE".to_owned();
        if random.random_bool(0.8) {
            let filter = group(random);
            json["wrapper"] = filter.json;
            condition = filter.sql;
        }
        let (order, keys) = order(random);
        json["order"] = order;
        let page = format!(
            "SELECT *, row_number() OVER (ORDER BY {keys}) AS place FROM {tenant}_things
             WHERE {condition} ORDER BY {keys} LIMIT {limit}"
        );
        let sql = format!(
            "(SELECT coalesce(json_agg({ROW} ORDER BY place), '[]')::text FROM ({page}) page)"
        );
        Self {
            json: json.to_string(),
            sql,
        }
    }
}

fn group(random: &mut StdRng) -> Condition {
    let (name, joint) = [("and", " AND "), ("or", " OR ")][random.random_range(0..2)];
    let count = random.random_range(1..4);
    let members: Vec<Condition> = (0..count).map(|_| test(random)).collect();
    let sql: Vec<&str> = members.iter().map(|member| &*member.sql).collect();
    let sql = format!("({})", sql.join(joint));
    let filters: Vec<Json> = members.into_iter().map(|member| member.json).collect();
    Condition {
        json: json!({ "filter_wrapper_type": name, "filters": filters }),
        sql,
    }
}

fn test(random: &mut StdRng) -> Condition {
    let number = random.random_range(-3..4);
    let half = f64::from(random.random_range(0..9)) / 2.0;
    let text = ["", "a", "ab", "b", "B", "%", "ü"][random.random_range(0..7)];
    let (field, name, value, sql) = match random.random_range(0..12) {
        0 => ("n", "isNull", Json::Null, "n IS NULL".to_owned()),
        1 => ("n", "equals", int(number), format!("n = {number}")),
        2 => ("n", "notEquals", int(number), format!("n <> {number}")),
        3 => ("n", "greaterThan", int(number), format!("n > {number}")),
        4 => (
            "price",
            "lessThanOrEquals",
            json!({ "NumberValue": { "value": half } }),
            format!("price <= {half}"),
        ),
        5 => (
            "flag",
            "equals",
            json!({ "BoolValue": { "value": true } }),
            "flag".to_owned(),
        ),
        6 => (
            "flag",
            "isNotNull",
            Json::Null,
            "flag IS NOT NULL".to_owned(),
        ),
        7 => (
            "name",
            "startsWith",
            string(text),
            format!("left(name, {}) = '{text}'", text.chars().count()),
        ),
        8 => (
            "name",
            "contains",
            string(text),
            format!("position('{text}' IN name) > 0"),
        ),
        9 => (
            "name",
            "greaterThan",
            string(text),
            format!("name > '{text}' COLLATE \"C\""),
        ),
        10 => (
            "name",
            "inList",
            json!({ "StringList": { "values": [text, "abc"] } }),
            format!("name IN ('{text}', 'abc')"),
        ),
        _ => ("id", "lessThan", int(30), "id < 30".to_owned()),
    };
    let mut json = json!({ "field_name": field, "filter_type": name });
    if !value.is_null() {
        json["value"] = value;
    }
    Condition { json, sql }
}

fn int(number: i32) -> Json {
    json!({ "Int64Value": { "value": number.to_string() } })
}

fn string(text: &str) -> Json {
    json!({ "StringValue": { "value": text } })
}

/// An order as the client writes it, and as SQL with the primary key at its end.
fn order(random: &mut StdRng) -> (Json, String) {
    let columns = [
        ("n", "n"),
        ("price", "price"),
        ("flag", "flag"),
        ("name", "name COLLATE \"C\""),
        ("at", "at"),
    ];
    let mut given = Vec::new();
    let mut keys = Vec::new();
    for _ in 0..random.random_range(0..3) {
        let (column, sql) = columns[random.random_range(0..columns.len())];
        let (sort, direction) = [
            ("ASC_DEFAULT", "ASC NULLS LAST"),
            ("DESC_DEFAULT", "DESC NULLS FIRST"),
            ("ASC_NULLS_FIRST", "ASC NULLS FIRST"),
            ("DESC_NULLS_LAST", "DESC NULLS LAST"),
        ][random.random_range(0..4)];
        if given.iter().all(|key: &Json| key["field"] != column) {
            given.push(json!({ "field": column, "sort": sort }));
            keys.push(format!("{sql} {direction}"));
        }
    }
    keys.push("id".to_owned());
    (Json::Array(given), keys.join(", "))
}
