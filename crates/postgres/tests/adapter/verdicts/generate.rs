//! Random values, and random checks of them.

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use tidegate_core::{FilterSpec, Literal, ModifierSpec, NullsOrder, Operator, RangeType};
use tidegate_sql::PostgresType;

use super::pattern::pattern;

/// What values look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Bool,
    Int,
    Big,
    Numeric,
    Float,
    Text,
    Uuid,
    Time,
    Day,
    Bytes,
    Json,
    Array(&'static Shape),
    Range(&'static Shape),
}

/// A column of the table.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) declared: &'static str,
    pub(super) own: PostgresType,
    pub(super) shape: Shape,
}

const fn column(
    name: &'static str,
    declared: &'static str,
    own: PostgresType,
    shape: Shape,
) -> Column {
    Column {
        name,
        declared,
        own,
        shape,
    }
}

pub(super) const COLUMNS: &[Column] = &[
    column("b", "boolean", PostgresType::Boolean, Shape::Bool),
    column("i", "integer", PostgresType::Integer, Shape::Int),
    column("g", "bigint", PostgresType::BigInt, Shape::Big),
    column("n", "numeric", PostgresType::Numeric, Shape::Numeric),
    column("r", "real", PostgresType::Real, Shape::Float),
    column("d", "double precision", PostgresType::Double, Shape::Float),
    column("x", "text", PostgresType::Text, Shape::Text),
    column("v", "varchar", PostgresType::Text, Shape::Text),
    column("c", "char(8)", PostgresType::Char, Shape::Text),
    column("u", "uuid", PostgresType::Uuid, Shape::Uuid),
    column("m", "timestamptz", PostgresType::Timestamptz, Shape::Time),
    column("l", "timestamp", PostgresType::Timestamp, Shape::Time),
    column("y", "date", PostgresType::Date, Shape::Day),
    column("z", "bytea", PostgresType::Bytea, Shape::Bytes),
    column("j", "jsonb", PostgresType::Jsonb, Shape::Json),
    column("k", "json", PostgresType::Json, Shape::Json),
    column(
        "ab",
        "boolean[]",
        PostgresType::Boolean.array(),
        Shape::Array(&Shape::Bool),
    ),
    column(
        "ai",
        "integer[]",
        PostgresType::Integer.array(),
        Shape::Array(&Shape::Int),
    ),
    column(
        "an",
        "numeric[]",
        PostgresType::Numeric.array(),
        Shape::Array(&Shape::Numeric),
    ),
    column(
        "ar",
        "real[]",
        PostgresType::Real.array(),
        Shape::Array(&Shape::Float),
    ),
    column(
        "ad",
        "double precision[]",
        PostgresType::Double.array(),
        Shape::Array(&Shape::Float),
    ),
    column(
        "ax",
        "text[]",
        PostgresType::Text.array(),
        Shape::Array(&Shape::Text),
    ),
    column(
        "av",
        "varchar[]",
        PostgresType::Text.array(),
        Shape::Array(&Shape::Text),
    ),
    column(
        "ac",
        "char(8)[]",
        PostgresType::Char.array(),
        Shape::Array(&Shape::Text),
    ),
    column(
        "au",
        "uuid[]",
        PostgresType::Uuid.array(),
        Shape::Array(&Shape::Uuid),
    ),
    column(
        "am",
        "timestamptz[]",
        PostgresType::Timestamptz.array(),
        Shape::Array(&Shape::Time),
    ),
    column(
        "ay",
        "date[]",
        PostgresType::Date.array(),
        Shape::Array(&Shape::Day),
    ),
    column(
        "az",
        "bytea[]",
        PostgresType::Bytea.array(),
        Shape::Array(&Shape::Bytes),
    ),
    column(
        "aj",
        "jsonb[]",
        PostgresType::Jsonb.array(),
        Shape::Array(&Shape::Json),
    ),
    column(
        "ri",
        "int4range",
        PostgresType::Range(RangeType::Int4),
        Shape::Range(&Shape::Int),
    ),
    column(
        "rg",
        "int8range",
        PostgresType::Range(RangeType::Int8),
        Shape::Range(&Shape::Big),
    ),
    column(
        "rn",
        "numrange",
        PostgresType::Range(RangeType::Num),
        Shape::Range(&Shape::Numeric),
    ),
    column(
        "ry",
        "daterange",
        PostgresType::Range(RangeType::Date),
        Shape::Range(&Shape::Day),
    ),
    column(
        "rl",
        "tsrange",
        PostgresType::Range(RangeType::Ts),
        Shape::Range(&Shape::Time),
    ),
    column(
        "rm",
        "tstzrange",
        PostgresType::Range(RangeType::Tstz),
        Shape::Range(&Shape::Time),
    ),
];

const INTS: &[&str] = &["0", "1", "-1", "2", "3", "10", "2147483646", "-2147483648"];
const BIGS: &[&str] = &[
    "0",
    "1",
    "2",
    "9007199254740993",
    "9223372036854775806",
    "-9223372036854775808",
];
const NUMBERS: &[&str] = &[
    "0",
    "-0.0",
    "1",
    "1.0",
    "1.50",
    "1.5",
    "-1",
    "0.1",
    "1e3",
    "1000",
    "1e-20",
    "NaN",
    "9007199254740993",
    "9007199254740992.0",
    "0.1000000000000000055",
];
const FLOATS: &[&str] = &[
    "0",
    "-0",
    "1",
    "1.5",
    "0.1",
    "-1",
    "16777217",
    "16777216",
    "1e30",
    "NaN",
    "Infinity",
    "-Infinity",
    "1e-30",
    "3.4e38",
];
const UUIDS: &[&str] = &[
    "00000000-0000-0000-0000-000000000000",
    "0190a6e0-1111-7abc-8def-0123456789ab",
    "0190a6e0-1111-7abc-8def-0123456789ac",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
];
const TIMES: &[&str] = &[
    "2026-01-02 03:04:05Z",
    "2026-01-02 03:04:05.000001Z",
    "1970-01-01 00:00:00Z",
    "1969-12-31 23:59:59.999999Z",
    "0001-01-01 00:00:00Z",
    "9999-12-31 23:59:59.999999Z",
    "2026-01-02 00:00:00Z",
];
const DAYS: &[&str] = &[
    "2026-01-02",
    "2026-01-03",
    "1970-01-01",
    "0001-01-01",
    "9999-12-30",
];
const BYTES: &[&str] = &["\\x", "\\x00", "\\x0001", "\\xff", "\\x61"];
const LETTERS: &[&str] = &[
    "a", "b", "A", "B", "c", "k", "K", "\u{212a}", "\u{130}", "i", "I", "é", "É", "ß", "1", "0",
    " ", "_", "-", ".", "%", "\\", "\"", "{", "}", ",", "[", "]", "\n", "\t", "😀", "e\u{301}",
    "'",
];

fn pick<'a>(random: &mut SmallRng, from: &[&'a str]) -> &'a str {
    from.choose(random).unwrap()
}

fn word(random: &mut SmallRng) -> String {
    let count = [0, 1, 1, 2, 2, 3, 5].choose(random).copied().unwrap();
    let letters: String = (0..count).map(|_| pick(random, LETTERS)).collect();
    let few = ["", "a", "ab", "NULL", "null", "A", "b", "AB 1"];
    match random.random_bool(0.4) {
        true => pick(random, &few).to_owned(),
        false => letters,
    }
}

/// A value as the database reads it.
pub(super) fn text_of(random: &mut SmallRng, shape: Shape) -> String {
    match shape {
        Shape::Bool => pick(random, &["t", "f"]).to_owned(),
        Shape::Int if random.random_bool(0.5) => random.random_range(-5..6).to_string(),
        Shape::Int => pick(random, INTS).to_owned(),
        Shape::Big => pick(random, BIGS).to_owned(),
        Shape::Numeric => pick(random, NUMBERS).to_owned(),
        Shape::Float => pick(random, FLOATS).to_owned(),
        Shape::Text => word(random),
        Shape::Uuid => pick(random, UUIDS).to_owned(),
        Shape::Time => pick(random, TIMES).to_owned(),
        Shape::Day => pick(random, DAYS).to_owned(),
        Shape::Bytes => pick(random, BYTES).to_owned(),
        Shape::Json => document(random, 3),
        Shape::Array(element) => array(random, *element),
        Shape::Range(element) => range(random, *element),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn array(random: &mut SmallRng, element: Shape) -> String {
    let mut list = |count: usize| {
        let members = (0..count).map(|_| match random.random_ratio(1, 6) {
            true => "NULL".to_owned(),
            false => quoted(&text_of(random, element)),
        });
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    };
    let (one, other) = (list(2), list(2));
    let some: Vec<String> = (0..4).map(&mut list).collect();
    match random.random_range(0..12) {
        0 => format!("{{{one},{other}}}"),
        1 => format!("[0:1]={one}"),
        _ => some.choose(random).unwrap().clone(),
    }
}

fn range(random: &mut SmallRng, element: Shape) -> String {
    if random.random_ratio(1, 8) {
        return "empty".to_owned();
    }
    let far: &[&str] = match element {
        Shape::Day => &["infinity", "-infinity", "0044-03-15 BC", "12026-01-01"],
        Shape::Time => &[
            "infinity",
            "-infinity",
            "0044-03-15 00:00:00 BC",
            "12026-01-01 00:00:01",
        ],
        _ => &[],
    };
    // In rising order, or the range is none: by trial, from ends of the same kind.
    let end = |random: &mut SmallRng| match random.random_range(0..6) {
        0 => String::new(),
        _ => quoted(&text_of(random, element)),
    };
    let (low, high) = match (far.is_empty(), random.random_ratio(1, 4)) {
        (false, true) => {
            let far = pick(random, far);
            match far.starts_with('-') || far.contains("BC") {
                true => (quoted(far), end(random)),
                false => (end(random), quoted(far)),
            }
        }
        _ => in_order(element, end(random), end(random)),
    };
    let (open, close) = (pick(random, &["[", "("]), pick(random, &["]", ")"]));
    format!("{open}{low},{high}{close}")
}

fn in_order(element: Shape, a: String, b: String) -> (String, String) {
    if a.is_empty() || b.is_empty() {
        return (a, b);
    }
    let number = |text: &str| {
        let number: f64 = text.trim_matches('"').parse().unwrap_or(f64::MAX);
        if number.is_nan() {
            f64::INFINITY
        } else {
            number
        }
    };
    let is_after = match element {
        Shape::Int | Shape::Big | Shape::Numeric => number(&a) > number(&b),
        // Both are beyond what a double tells apart, or years of four digits.
        _ => a > b,
    };
    match is_after {
        true => (b, a),
        false if number(&a) == number(&b) && a != b && element != Shape::Day => (a.clone(), a),
        false => (a, b),
    }
}

fn document(random: &mut SmallRng, depth: usize) -> String {
    let names = ["a", "b", "", "é", "k"];
    let count = random.random_range(0..4);
    match random.random_range(0..9) {
        0..=2 if depth > 0 => {
            let members = (0..count).map(|_| {
                let name = pick(random, &names);
                format!("\"{name}\": {}", document(random, depth - 1))
            });
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        3..=4 if depth > 0 => {
            let members = (0..count).map(|_| document(random, depth - 1));
            format!("[{}]", members.collect::<Vec<_>>().join(" , "))
        }
        5 => pick(random, &["null", "true", "false"]).to_owned(),
        6 => {
            let texts = [
                "\"a\"",
                "\"b\"",
                "\"\"",
                "\"\\u00e9\"",
                "\"1\"",
                "\"\\ud83d\\ude00\"",
                "\"\\\"\\n\"",
            ];
            pick(random, &texts).to_owned()
        }
        _ => {
            let numbers = [
                "0",
                "1",
                "1.0",
                "1.50",
                "-1",
                "1e2",
                "100",
                "12345678901234567890",
                "-0",
            ];
            pick(random, &numbers).to_owned()
        }
    }
}

fn literal(random: &mut SmallRng, shape: Shape) -> Literal {
    let text = text_of(random, shape);
    match shape {
        Shape::Int | Shape::Big | Shape::Numeric | Shape::Float if random.random_bool(0.5) => {
            Literal::Number(text)
        }
        _ => Literal::Text(text),
    }
}

fn list(random: &mut SmallRng, shape: Shape, nulls: u32) -> Literal {
    let count = random.random_range(0..4);
    let members = (0..count).map(|_| match random.random_ratio(nulls, 8) {
        true => Literal::Null,
        false => literal(random, shape),
    });
    Literal::List(members.collect())
}

fn bounds(random: &mut SmallRng, shape: Shape, nulls: u32) -> Literal {
    let mut end = || match random.random_ratio(nulls, 8) {
        true => Literal::Null,
        false => literal(random, shape),
    };
    let (low, high) = (Box::new(end()), Box::new(end()));
    Literal::Range {
        low,
        high,
        include_low: random.random_bool(0.5),
        include_high: random.random_bool(0.5),
    }
}

fn names(random: &mut SmallRng) -> Literal {
    let count = random.random_range(0..3);
    let names =
        (0..count).map(|_| Literal::Text(pick(random, &["a", "b", "", "é", "x"]).to_owned()));
    Literal::List(names.collect())
}

fn json_value(random: &mut SmallRng, operator: Operator) -> Literal {
    let name = Literal::Text(pick(random, &["a", "b", "", "é", "x"]).to_owned());
    match operator {
        Operator::JsonHasAnyKey | Operator::JsonHasAllKeys => names(random),
        Operator::JsonHasKey => name,
        Operator::JsonContains | Operator::JsonContainedBy => Literal::Text(document(random, 2)),
        _ if random.random_bool(0.3) => name,
        Operator::JsonGetField => Literal::List(vec![name, Literal::Text(document(random, 1))]),
        _ => {
            let texts = [
                "a", "1", "1.0", "1.50", "true", "null", "{}", "[]", "é", "\"a\"", "-1", "😀",
            ];
            Literal::List(vec![name, Literal::Text(pick(random, &texts).to_owned())])
        }
    }
}

/// A test of one column, with a value that its operator takes.
pub(super) fn test_of(random: &mut SmallRng) -> FilterSpec {
    let operator = *Operator::ALL.choose(random).unwrap();
    let fits = |shape: Shape| match operator {
        Operator::IsNull | Operator::IsNotNull => true,
        Operator::Regex
        | Operator::NotRegex
        | Operator::StartsWith
        | Operator::EndsWith
        | Operator::Contains
        | Operator::NotContains => shape == Shape::Text,
        _ if operator.name().starts_with("array") => matches!(shape, Shape::Array(_)),
        _ if operator.name().starts_with("json") => shape == Shape::Json,
        Operator::RangeContains => matches!(shape, Shape::Range(_)),
        Operator::RangeContainedBy => !matches!(shape, Shape::Array(_) | Shape::Json),
        _ => !matches!(shape, Shape::Array(_) | Shape::Json | Shape::Range(_)),
    };
    let columns: Vec<&Column> = COLUMNS.iter().filter(|column| fits(column.shape)).collect();
    let column = columns.choose(random).unwrap();
    FilterSpec::Test {
        column: column.name.to_owned(),
        operator,
        value: value_of(random, operator, column.shape),
        modifier: ModifierSpec {
            distinct: random.random_ratio(1, 8),
            case_insensitive: column.shape == Shape::Text && random.random_ratio(1, 3),
            nulls_order: NullsOrder::Default,
        },
    }
}

fn value_of(random: &mut SmallRng, operator: Operator, shape: Shape) -> Option<Literal> {
    Some(match (operator, shape) {
        (Operator::IsNull | Operator::IsNotNull, _) => return None,
        (Operator::Regex | Operator::NotRegex, _) => Literal::Text(pattern(random)),
        (Operator::InList | Operator::NotInList, _) => list(random, shape, 0),
        (Operator::Between | Operator::NotBetween, _) => bounds(random, shape, 0),
        (Operator::ArrayEmpty | Operator::ArrayNotEmpty, _) => {
            Literal::Bool(random.random_bool(0.5))
        }
        (Operator::ArrayLength, _) => Literal::Number(random.random_range(0..4).to_string()),
        (_, Shape::Array(element)) => list(random, *element, 1),
        (_, Shape::Json) => json_value(random, operator),
        (Operator::RangeContains, Shape::Range(element)) if random.random_bool(0.5) => {
            literal(random, *element)
        }
        (_, Shape::Range(element)) => bounds(random, *element, 2),
        (Operator::RangeContainedBy, _) => bounds(random, shape, 2),
        _ => literal(random, shape),
    })
}
