//! Random queries, each as the client writes it and as SQL text written by hand here: nothing of
//! the product's own SQL or evaluation takes part in the expected answer.

use rand::Rng;
use rand::rngs::StdRng;
use rusqlite::types::Value;
use serde_json::{Value as Json, json};

use super::things::{COLUMNS, literal, random_value};

/// A subscription's query.
#[derive(Debug, Clone)]
pub(crate) struct RandomQuery {
    pub(crate) json: String,
    pub(crate) sql: String,
    pub(crate) limit: usize,
}

/// The queries that one subscriber goes through, each until it has seen some updates.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) queries: Vec<(RandomQuery, usize)>,
    pub(crate) is_binary: bool,
}

impl Plan {
    pub(crate) fn new(random: &mut StdRng) -> Self {
        let count = random.random_range(1..4);
        let queries = (0..count)
            .map(|_| (RandomQuery::new(random), random.random_range(5..60)))
            .collect();
        Self {
            queries,
            is_binary: random.random_bool(0.25),
        }
    }
}

struct Condition {
    json: Json,
    sql: String,
}

impl RandomQuery {
    fn new(random: &mut StdRng) -> Self {
        let filter = if random.random_bool(0.8) {
            Some(group(random, 0))
        } else {
            None
        };
        let order = order(random);
        let keyset = if random.random_bool(0.25) {
            Some(keyset(random, &order))
        } else {
            None
        };
        let limit = random.random_range(1..12_usize);

        let mut json = json!({ "limit": limit });
        let mut conditions = Vec::new();
        if let Some(Condition { json: wrapper, sql }) = filter {
            json["wrapper"] = wrapper;
            conditions.push(sql);
        }
        let named = |key: &Key| json!({ "field": key.column, "sort": key.sort() });
        json["order"] = order.iter().filter(|key| key.is_given).map(named).collect();
        if let Some(Keyset {
            entries,
            is_strict,
            sql,
        }) = keyset
        {
            json["cursor"] = Json::Array(entries);
            json["strict_after"] = is_strict.into();
            conditions.push(sql);
        }
        let condition = if conditions.is_empty() {
            "TRUE".to_owned()
        } else {
            conditions.join(" AND ")
        };
        let keys: Vec<String> = order.iter().map(Key::sql).collect();
        let sql = format!(
            "SELECT * FROM demo_things WHERE {condition} ORDER BY {} LIMIT {limit}",
            keys.join(", ")
        );
        Self {
            json: json.to_string(),
            sql,
            limit,
        }
    }
}

fn group(random: &mut StdRng, depth: usize) -> Condition {
    let (name, joint) = if random.random_bool(0.5) {
        ("and", " AND ")
    } else {
        ("or", " OR ")
    };
    let members: Vec<Condition> = (0..random.random_range(1..4))
        .map(|_| match depth < 2 && random.random_bool(0.25) {
            true => group(random, depth + 1),
            false => test(random),
        })
        .collect();
    let sql: Vec<&str> = members.iter().map(|member| &*member.sql).collect();
    let sql = format!("({})", sql.join(joint));
    let filters: Vec<Json> = members.into_iter().map(|member| member.json).collect();
    Condition {
        json: json!({ "filter_wrapper_type": name, "filters": filters }),
        sql,
    }
}

fn test(random: &mut StdRng) -> Condition {
    let column = COLUMNS[random.random_range(1..COLUMNS.len())];
    if column == "name" && random.random_bool(0.5) {
        return text_test(random);
    }
    let mut one = || loop {
        let value = random_value(random, column);
        if value != Value::Null {
            return value;
        }
    };
    let (a, b) = (one(), one());
    let (sql_a, sql_b) = (literal(&a), literal(&b));
    let (tag_a, tag_b) = (tagged(column, &a), tagged(column, &b));
    let list = list(column, &[&a, &b]);
    let (name, value, sql) = match random.random_range(0..14) {
        0 => ("isNull", Json::Null, format!("{column} IS NULL")),
        1 => ("isNotNull", Json::Null, format!("{column} IS NOT NULL")),
        2 => ("notEquals", tag_a, format!("{column} <> {sql_a}")),
        3 => ("lessThan", tag_a, format!("{column} < {sql_a}")),
        4 => ("lessThanOrEquals", tag_a, format!("{column} <= {sql_a}")),
        5 => ("greaterThan", tag_a, format!("{column} > {sql_a}")),
        6 => ("greaterThanOrEquals", tag_a, format!("{column} >= {sql_a}")),
        7 | 8 => ("inList", list, format!("{column} IN ({sql_a}, {sql_b})")),
        9 => (
            "notInList",
            list,
            format!("{column} NOT IN ({sql_a}, {sql_b})"),
        ),
        10 => (
            "between",
            list,
            format!("{column} BETWEEN {sql_a} AND {sql_b}"),
        ),
        11 => {
            let range = json!({ "RangeValue": { "low": tag_a, "high": tag_b,
                "include_low": false, "include_high": true } });
            (
                "notBetween",
                range,
                format!("NOT ({column} > {sql_a} AND {column} <= {sql_b})"),
            )
        }
        _ => ("equals", tag_a, format!("{column} = {sql_a}")),
    };
    let mut json = json!({ "field_name": column, "filter_type": name });
    if !value.is_null() {
        json["value"] = value;
    }
    Condition { json, sql }
}

fn text_test(random: &mut StdRng) -> Condition {
    let needle = ["", "a", "b", "%", "_", "ü", "京"][random.random_range(0..7)];
    let quoted = literal(&Value::Text(needle.to_owned()));
    let length = needle.chars().count();
    let (name, sql) = match random.random_range(0..4) {
        0 => (
            "startsWith",
            format!("substr(name, 1, {length}) = {quoted}"),
        ),
        1 if length == 0 => ("endsWith", "name IS NOT NULL".to_owned()),
        1 => ("endsWith", format!("substr(name, -{length}) = {quoted}")),
        2 => ("contains", format!("instr(name, {quoted}) > 0")),
        _ => ("notContains", format!("instr(name, {quoted}) = 0")),
    };
    let value = json!({ "StringValue": { "value": needle } });
    Condition {
        json: json!({ "field_name": "name", "filter_type": name, "value": value }),
        sql,
    }
}

fn tagged(column: &str, value: &Value) -> Json {
    match (column, value) {
        ("flag", Value::Integer(number)) => json!({ "BoolValue": { "value": *number != 0 } }),
        (_, Value::Integer(number)) => json!({ "Int64Value": { "value": number.to_string() } }),
        (_, Value::Real(number)) => json!({ "NumberValue": { "value": number } }),
        (_, Value::Text(text)) => json!({ "StringValue": { "value": text } }),
        (_, Value::Null | Value::Blob(_)) => json!({ "NullValue": {} }),
    }
}

fn list(column: &str, values: &[&Value]) -> Json {
    let plain = |value: &&Value| match value {
        Value::Integer(number) if column == "flag" => json!(*number != 0),
        Value::Integer(number) => json!(number.to_string()),
        Value::Real(number) => json!(number),
        Value::Text(text) => json!(text),
        Value::Null | Value::Blob(_) => Json::Null,
    };
    let values: Vec<Json> = values.iter().map(plain).collect();
    let kind = match column {
        "flag" => "BoolList",
        "n" | "big" => "Int64List",
        "x" | "price" => "Float64List",
        _ => "StringList",
    };
    json!({ kind: { "values": values } })
}

/// An order key.
struct Key {
    column: &'static str,
    is_descending: bool,
    /// Nulls first, last, or as the database has it.
    nulls: Option<&'static str>,
    /// Whether the client named it; the primary key is added where it did not.
    is_given: bool,
}

impl Key {
    fn sort(&self) -> String {
        let direction = if self.is_descending { "DESC" } else { "ASC" };
        match self.nulls {
            None => format!("{direction}_DEFAULT"),
            Some(nulls) => format!("{direction}_NULLS_{nulls}"),
        }
    }

    fn nulls_first(&self) -> bool {
        self.nulls
            .map_or(self.is_descending, |nulls| nulls == "FIRST")
    }

    fn sql(&self) -> String {
        let direction = if self.is_descending { "DESC" } else { "ASC" };
        let nulls = if self.nulls_first() { "FIRST" } else { "LAST" };
        format!("{} {direction} NULLS {nulls}", self.column)
    }

    /// Rows whose value here comes after this one.
    fn after(&self, value: &Value) -> String {
        let column = self.column;
        if *value == Value::Null {
            let rest = format!("{column} IS NOT NULL");
            return if self.nulls_first() {
                rest
            } else {
                "FALSE".to_owned()
            };
        }
        let sign = if self.is_descending { "<" } else { ">" };
        let beyond = format!("{column} {sign} {}", literal(value));
        match self.nulls_first() {
            true => beyond,
            false => format!("({beyond} OR {column} IS NULL)"),
        }
    }
}

fn order(random: &mut StdRng) -> Vec<Key> {
    let mut order: Vec<Key> = Vec::new();
    for _ in 0..random.random_range(0..3) {
        let column = COLUMNS[random.random_range(0..COLUMNS.len())];
        let nulls = [None, Some("FIRST"), Some("LAST")][random.random_range(0..3)];
        let is_descending = random.random_bool(0.5);
        if order.iter().all(|key| key.column != column) {
            order.push(Key {
                column,
                is_descending,
                nulls,
                is_given: true,
            });
        }
    }
    if order.iter().all(|key| key.column != "id") {
        order.push(Key {
            column: "id",
            is_descending: false,
            nulls: None,
            is_given: false,
        });
    }
    order
}

struct Keyset {
    entries: Vec<Json>,
    is_strict: bool,
    sql: String,
}

/// Values for a prefix of the order keys, and what comes after (or at) them, spelled out level by
/// level.
fn keyset(random: &mut StdRng, order: &[Key]) -> Keyset {
    let length = random.random_range(1..=order.len());
    let (mut entries, mut levels, mut equal) = (Vec::new(), Vec::new(), Vec::new());
    for key in &order[..length] {
        let value = match key.column {
            "id" => Value::Integer(random.random_range(0..40)),
            column => random_value(random, column),
        };
        entries.push(json!({ "field": key.column, "value": tagged(key.column, &value) }));
        let mut level = equal.clone();
        level.push(key.after(&value));
        levels.push(format!("({})", level.join(" AND ")));
        equal.push(format!("{} IS {}", key.column, literal(&value)));
    }
    let is_strict = random.random_bool(0.5);
    if !is_strict {
        levels.push(format!("({})", equal.join(" AND ")));
    }
    Keyset {
        entries,
        is_strict,
        sql: format!("({})", levels.join(" OR ")),
    }
}
