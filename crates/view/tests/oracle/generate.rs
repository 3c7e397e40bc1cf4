//! Random tables, rows and queries. Few distinct values, so that ties, NULLs and special values
//! meet.

use std::sync::Arc;

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use tidegate_core::{
    Column, ColumnType, FilterSpec, Group, KeysetSpec, LimitRule, Literal, ModifierSpec, Numeric,
    Operator, OrderSpec, Query, QuerySpec, Row, Sort, TableName, TableSchema, Value,
};

const KINDS: &[ColumnType] = &[
    ColumnType::Boolean,
    ColumnType::Integer,
    ColumnType::BigInt,
    ColumnType::Double,
    ColumnType::Numeric,
    ColumnType::Text,
    ColumnType::Timestamp,
    ColumnType::Date,
    ColumnType::Bytea,
];

/// Keys that rows have.
pub(crate) const KEYS: i64 = 60;

/// A table with a column of each kind; its key has one column or two.
pub(crate) fn schema(rng: &mut SmallRng) -> Arc<TableSchema> {
    let mut columns = vec![
        ("id", ColumnType::BigInt, false),
        ("part", ColumnType::Text, false),
    ];
    let names = ["bo", "it", "bi", "fl", "nu", "tx", "ts", "da", "by"];
    columns.extend(
        names
            .into_iter()
            .zip(KINDS)
            .map(|(name, kind)| (name, kind.clone(), true)),
    );
    let columns = columns.into_iter().map(|(name, kind, nullable)| Column {
        name: name.into(),
        kind,
        nullable,
    });
    let key = match rng.random_range(0..3) {
        0 => vec![0],
        1 => vec![0, 1],
        _ => vec![1, 0],
    };
    let table = TableName::parse("things").expect("valid");
    Arc::new(TableSchema::new(table, columns.collect(), key))
}

pub(crate) fn value(kind: &ColumnType, rng: &mut SmallRng) -> Value {
    let pick = rng.random_range(0..8);
    let number = pick as i64 - 3;
    match kind {
        ColumnType::Boolean => Value::Bool(pick < 4),
        ColumnType::Double => Value::Float(match pick {
            0 => f64::NAN,
            1 => f64::NEG_INFINITY,
            2 => -0.0,
            3 => 0.0,
            4 => f64::INFINITY,
            5 => -1.5,
            _ => 2.5,
        }),
        ColumnType::Numeric => {
            let texts = ["NaN", "-Infinity", "-1.5", "0", "1.5", "1.50", "10", "2"];
            Value::Numeric(Numeric::parse(texts[pick]).expect("a number"))
        }
        ColumnType::Text => Value::text(["", "a", "ab", "abc", "b", "é", "a\0", "z"][pick]),
        ColumnType::Timestamp => Value::Timestamp(number * 1_000_000),
        ColumnType::Date => Value::Date(number as i32),
        ColumnType::Bytea => {
            let all: [&[u8]; 8] = [
                b"",
                b"\0",
                b"\0\0",
                b"\0\xff",
                b"a",
                b"a\0",
                b"\xff",
                b"\xff\xff",
            ];
            Value::Bytes(all[pick].into())
        }
        _ => Value::Int(number),
    }
}

fn nullable_value(kind: &ColumnType, rng: &mut SmallRng) -> Value {
    match rng.random_ratio(1, 5) {
        true => Value::Null,
        false => value(kind, rng),
    }
}

/// The values of the key columns that go with a number.
pub(crate) fn key_values(id: i64) -> Vec<Value> {
    let part = if id % 2 == 0 { "" } else { "x" };
    vec![Value::Int(id), Value::text(part)]
}

/// A row with this number in its key.
pub(crate) fn row(schema: &TableSchema, id: i64, rng: &mut SmallRng) -> Row {
    let mut values = key_values(id);
    for column in &schema.columns()[2..] {
        values.push(nullable_value(&column.kind, rng));
    }
    Row::new(values)
}

/// A row like another but for one or two columns.
pub(crate) fn altered(schema: &TableSchema, row: &Row, rng: &mut SmallRng) -> Row {
    let mut values = row.to_vec();
    for _ in 0..rng.random_range(0..6) {
        let at = rng.random_range(2..values.len());
        values[at] = nullable_value(&schema.columns()[at].kind, rng);
    }
    Row::new(values)
}

fn literal(value: &Value) -> Literal {
    value.to_text().map_or(Literal::Null, Literal::Text)
}

fn test(schema: &TableSchema, rng: &mut SmallRng) -> FilterSpec {
    let column = schema.columns().choose(rng).expect("there are columns");
    let mut one = || literal(&value(&column.kind, rng));
    let (a, b, c) = (one(), one(), one());
    let operators = [
        Operator::Equals,
        Operator::Equals,
        Operator::NotEquals,
        Operator::LessThan,
        Operator::LessThanOrEquals,
        Operator::GreaterThan,
        Operator::GreaterThanOrEquals,
        Operator::IsNull,
        Operator::IsNotNull,
        Operator::Between,
        Operator::NotBetween,
        Operator::InList,
        Operator::NotInList,
        Operator::StartsWith,
        Operator::EndsWith,
        Operator::Contains,
        Operator::NotContains,
    ];
    let is_text = column.kind == ColumnType::Text;
    let operators = if is_text {
        &operators[..]
    } else {
        &operators[..13]
    };
    let operator = *operators.choose(rng).expect("there are operators");
    let value = match operator {
        Operator::IsNull | Operator::IsNotNull => None,
        Operator::Between | Operator::NotBetween => Some(Literal::Range {
            low: Box::new(a),
            high: Box::new(b),
            include_low: rng.random(),
            include_high: rng.random(),
        }),
        Operator::InList | Operator::NotInList => {
            Some(Literal::List([a, b, c][..rng.random_range(0..4)].to_vec()))
        }
        _ => Some(a),
    };
    FilterSpec::Test {
        column: column.name.to_string(),
        operator,
        value,
        modifier: ModifierSpec::default(),
    }
}

pub(crate) fn filter(schema: &TableSchema, depth: u32, rng: &mut SmallRng) -> FilterSpec {
    if depth == 0 || rng.random_ratio(1, 3) {
        return test(schema, rng);
    }
    let count = rng.random_range(1..4);
    let members = (0..count).map(|_| filter(schema, depth - 1, rng)).collect();
    let group = match rng.random() {
        true => Group::And,
        false => Group::Or,
    };
    FilterSpec::Group(group, members)
}

pub(crate) fn spec(schema: &TableSchema, rng: &mut SmallRng) -> QuerySpec {
    let order: Vec<OrderSpec> = (0..rng.random_range(0..4))
        .map(|_| OrderSpec {
            column: schema.columns()[2..]
                .choose(rng)
                .expect("there are columns")
                .name
                .to_string(),
            sort: *Sort::ALL.choose(rng).expect("there are sorts"),
            is_pk: false,
        })
        .collect();
    QuerySpec {
        filter: rng.random_ratio(2, 3).then(|| filter(schema, 2, rng)),
        order,
        limit: Some(rng.random_range(1..13)),
        ..QuerySpec::default()
    }
}

/// A random query; one in three starts at a keyset.
pub(crate) fn query(schema: &Arc<TableSchema>, rng: &mut SmallRng) -> Arc<Query> {
    let mut spec = spec(schema, rng);
    let plain = Query::from_spec(&spec, schema, LimitRule::SUBSCRIPTION).expect("a valid query");
    if rng.random_ratio(1, 3) {
        let length = rng.random_range(1..=plain.order().len());
        let sample = row(schema, rng.random_range(0..KEYS), rng);
        spec.keyset = plain.order()[..length]
            .iter()
            .map(|key| KeysetSpec {
                column: schema.columns()[key.column].name.to_string(),
                value: literal(&sample[key.column]),
            })
            .collect();
        spec.strict_after = rng.random();
    }
    Arc::new(Query::from_spec(&spec, schema, LimitRule::SUBSCRIPTION).expect("a valid query"))
}
