//! Postgres's answers are the engine's: every operator, order and keyset over one corpus of values,
//! against a plain evaluation over core values.
//!
//! The corpus holds what makes databases disagree: wildcards, infinities, NaN, numbers of one value
//! and two scales, text whose byte order is not its alphabetic order (under a collation of a
//! language, and under one that takes letters of both cases for equal), blanks at the end of a
//! `char`, UUIDs, and NULL everywhere. All its rows come through the change stream as well, and are
//! the same.

use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tidegate_core::{
    Command, FilterSpec, Group, KeysetSpec, LimitRule, Literal, ModifierSpec, Operator, OrderSpec,
    Outcome, Query, QuerySpec, Row, Selection, Sort, TableSchema,
};
use tidegate_ports::{Database, SnapshotRequest};

use crate::harness::{Model, Site, table, tenant, until};
use crate::naive::expected;

/// Each column with the values stored in it, as SQL.
const CORPUS: &[(&str, &str, &[&str])] = &[
    (
        "i",
        "integer",
        &["0", "1", "-1", "2147483647", "-2147483648", "2", "10"],
    ),
    ("s", "smallint", &["0", "-32768", "32767", "5"]),
    (
        "g",
        "bigint",
        &[
            "0",
            "9007199254740993",
            "9007199254740992",
            "-5",
            "9223372036854775807",
        ],
    ),
    ("b", "boolean", &["false", "true"]),
    (
        "r",
        "real",
        &[
            "0",
            "0.1",
            "-0.0",
            "16777217",
            "'NaN'",
            "'Infinity'",
            "1e-40",
            "3.4e38",
        ],
    ),
    (
        "d",
        "double precision",
        &[
            "0.0",
            "-0.0",
            "1",
            "1.5",
            "'Infinity'",
            "'-Infinity'",
            "1e-300",
            "0.1",
            "'NaN'",
            "9007199254740993",
            "1e300",
        ],
    ),
    (
        "n",
        "numeric",
        &[
            "0",
            "1",
            "1.0",
            "0.1",
            "-0.1",
            "9007199254740993",
            "1e23",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "-1e300",
            "1.50",
            "0.5",
            "2",
            "10",
            "0.1000000000000000055",
            "1e-400",
        ],
    ),
    (
        "t",
        "text COLLATE \"en_x\"",
        &[
            "''",
            "'a'",
            "'A'",
            "'b'",
            "'B'",
            "'a%'",
            "'a_b'",
            "'axb'",
            "'é'",
            "'z'",
            "' a'",
            "'a '",
            "'\u{1F600}'",
            "'\u{FFFD}'",
            "'%'",
            "'100'",
            "E'a\\nb'",
            "'a\\b'",
            "'e\u{301}'",
        ],
    ),
    (
        "v",
        "varchar(20) COLLATE \"any_case\"",
        &["''", "'a'", "'A'", "'ab'", "'aB'", "'é'", "'É'", "'b '"],
    ),
    (
        "c",
        "char(5)",
        &["''", "'a'", "'a b'", "'A'", "'abcde'", "'é'"],
    ),
    (
        "u",
        "uuid",
        &[
            "'00000000-0000-0000-0000-000000000000'",
            "'0190a6e0-1111-7abc-8def-0123456789ab'",
            "'0190A6E0-1111-7ABC-8DEF-0123456789AC'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        ],
    ),
    (
        "m",
        "timestamptz",
        &[
            "'2026-01-02T03:04:05.000Z'",
            "'2026-01-02 05:04:05+02'",
            "'1970-01-01'",
            "'1969-12-31T23:59:59.999999Z'",
            "'9999-12-31T23:59:59.999999Z'",
            "'2026-01-02T03:04:05.0001Z'",
            "'0001-01-01'",
        ],
    ),
    (
        "k",
        "timestamp",
        &[
            "'2026-01-02 03:04:05'",
            "'2026-01-02 03:04:05.000001'",
            "'1970-01-01'",
        ],
    ),
    (
        "y",
        "date",
        &[
            "'2026-01-02'",
            "'1969-12-31'",
            "'0001-01-01'",
            "'9999-12-31'",
        ],
    ),
    (
        "x",
        "bytea",
        &["'\\x'", "'\\x00'", "'\\x00ff'", "'\\x61'", "'\\xff'"],
    ),
];

/// Constants to compare with, for each column.
const CONSTANTS: &[(&str, &[&str])] = &[
    ("i", &["0", "1", "2147483647", "-2147483648", "3"]),
    ("s", &["0", "-32768", "32767"]),
    ("g", &["9007199254740993", "0"]),
    ("b", &["true", "false"]),
    ("r", &["0", "0.1", "NaN", "16777217", "-Infinity"]),
    (
        "d",
        &[
            "0",
            "0.1",
            "Infinity",
            "-Infinity",
            "NaN",
            "1e-300",
            "9007199254740993",
        ],
    ),
    (
        "n",
        &[
            "0",
            "0.1",
            "0.1000000000000000055",
            "1",
            "1.00",
            "NaN",
            "Infinity",
            "100000000000000000000000",
            "-1e300",
            "1.5",
        ],
    ),
    (
        "t",
        &[
            "",
            "a",
            "A",
            "a%",
            "_",
            "%",
            "é",
            "b",
            " ",
            "\u{1F600}",
            "z",
            "100",
            "\\",
            "\u{301}",
        ],
    ),
    ("v", &["a", "A", "", "aB", "é"]),
    ("c", &["", "a", "a ", "a b", "A", "b"]),
    (
        "u",
        &[
            "0190a6e0-1111-7abc-8def-0123456789ab",
            "0190A6E0-1111-7ABC-8DEF-0123456789AB",
            "",
            "0190",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
        ],
    ),
    (
        "m",
        &[
            "2026-01-02T03:04:05Z",
            "1970-01-01",
            "1969-12-31T23:59:59.999999Z",
            "2026-01-02T04:04:05+01",
        ],
    ),
    ("k", &["2026-01-02T03:04:05Z", "1970-01-01"]),
    ("y", &["2026-01-02", "1970-01-01", "0001-01-01"]),
    ("x", &["\\x", "\\x00", "\\x61", "\\x00ff"]),
];

const COMPARISONS: &[Operator] = &[
    Operator::Equals,
    Operator::NotEquals,
    Operator::LessThan,
    Operator::LessThanOrEquals,
    Operator::GreaterThan,
    Operator::GreaterThanOrEquals,
];

const TEXTS: &[Operator] = &[
    Operator::StartsWith,
    Operator::EndsWith,
    Operator::Contains,
    Operator::NotContains,
];

const ROWS: usize = 100;

// The corpus as a table.

struct Corpus {
    site: Site,
    schema: Arc<TableSchema>,
    rows: Vec<Row>,
}

impl Corpus {
    /// Rows of random combinations; every value and NULL is in many of them.
    async fn new() -> Self {
        let site = Site::new().await;
        let columns: Vec<String> = CORPUS
            .iter()
            .map(|(name, kind, _)| format!("\"{name}\" {kind}"))
            .collect();
        let create = format!(
            "CREATE COLLATION en_x (provider = icu, locale = 'en'); \
             CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false); \
             CREATE TABLE t(id bigint PRIMARY KEY, {}); CREATE INDEX ON t(t); CREATE INDEX ON t(v)",
            columns.join(", ")
        );
        site.sql(&create).await;
        let schema = site.describe("t").await;
        let mut stream = site.db.changes().await.unwrap();
        let mut dice = SmallRng::seed_from_u64(1);
        let mut inserts = String::new();
        for id in 0..ROWS {
            let values: Vec<&str> = CORPUS
                .iter()
                .map(|(_, _, values)| match values.get(id) {
                    Some(value) => value,
                    None if dice.random_ratio(1, 6) => "NULL",
                    None => values.choose(&mut dice).unwrap(),
                })
                .collect();
            inserts.push_str(&format!(
                "INSERT INTO t VALUES ({id}, {});",
                values.join(", ")
            ));
        }
        site.sql(&inserts).await;
        let rows = read(&site, &QuerySpec::default()).await;
        assert_eq!(rows.len(), ROWS);
        let mut streamed = Model::default();
        for transaction in until(&mut stream, site.log_end().await).await {
            streamed.apply(&schema, &transaction).unwrap();
        }
        // By their prints: a NaN is not equal to itself.
        let read = Model::of(&schema, &rows);
        assert_eq!(format!("{streamed:?}"), format!("{read:?}"));
        Self { site, schema, rows }
    }

    /// Both ways of reading a query give what the plain evaluation gives.
    async fn check(&self, spec: &QuerySpec) {
        let query = Query::from_spec(spec, &self.schema, LimitRule::READ).unwrap();
        let expected = expected(&query, &self.rows);
        let found = read(&self.site, spec).await;
        assert!(
            same(&found, &expected),
            "{spec:?}: {:?} not {:?}",
            ids(&found),
            ids(&expected)
        );
        let request = SnapshotRequest {
            tenant: tenant(),
            query: Arc::new(query),
            rows_max: 10_000,
        };
        let snapshot = self.site.db.snapshot(request).await.unwrap();
        assert!(snapshot.complete || spec.limit.is_some());
        assert!(
            same(&snapshot.rows[..expected.len()], &expected),
            "{spec:?}"
        );
    }
}

/// Whether rows are equal; a NaN is equal to itself.
fn same(a: &[Row], b: &[Row]) -> bool {
    let mut pairs = a.iter().zip(b).flat_map(|(a, b)| a.iter().zip(b.iter()));
    a.len() == b.len() && pairs.all(|(a, b)| a == b || a.to_text() == b.to_text())
}

fn ids(rows: &[Row]) -> Vec<String> {
    rows.iter().filter_map(|row| row[0].to_text()).collect()
}

async fn read(site: &Site, spec: &QuerySpec) -> Vec<Row> {
    let selection = Selection {
        query: spec.clone(),
        offset: 0,
    };
    match site
        .run(Command::GetData(table("t"), selection))
        .await
        .unwrap()
        .outcome
    {
        Outcome::Page { rows, .. } => rows,
        other => panic!("{other:?}"),
    }
}

fn constants(column: &str) -> Vec<Literal> {
    let (_, texts) = CONSTANTS.iter().find(|(name, _)| *name == column).unwrap();
    texts
        .iter()
        .map(|text| Literal::Text((*text).to_owned()))
        .collect()
}

fn test(column: &str, operator: Operator, value: Option<Literal>) -> FilterSpec {
    FilterSpec::Test {
        column: column.to_owned(),
        operator,
        value,
        modifier: ModifierSpec::default(),
    }
}

/// Every test of a column that the corpus has constants for.
fn tests_of(column: &str) -> Vec<FilterSpec> {
    let constants = constants(column);
    let mut tests = vec![
        test(column, Operator::IsNull, None),
        test(column, Operator::IsNotNull, None),
        test(column, Operator::InList, Some(Literal::List(Vec::new()))),
        test(column, Operator::NotInList, Some(Literal::List(Vec::new()))),
    ];
    for constant in &constants {
        for operator in COMPARISONS {
            tests.push(test(column, *operator, Some(constant.clone())));
        }
        if matches!(column, "t" | "v" | "c" | "u") {
            tests.extend(
                TEXTS
                    .iter()
                    .map(|kind| test(column, *kind, Some(constant.clone()))),
            );
        }
    }
    for (at, low) in constants.iter().enumerate() {
        for high in &constants[at..] {
            for (include_low, include_high) in [(true, true), (true, false), (false, true)] {
                let range = Literal::Range {
                    low: Box::new(low.clone()),
                    high: Box::new(high.clone()),
                    include_low,
                    include_high,
                };
                tests.push(test(column, Operator::Between, Some(range.clone())));
                tests.push(test(column, Operator::NotBetween, Some(range)));
            }
        }
        let list = Literal::List(constants[..=at].to_vec());
        tests.push(test(column, Operator::InList, Some(list.clone())));
        tests.push(test(column, Operator::NotInList, Some(list)));
    }
    tests
}

fn with_filter(filter: FilterSpec) -> QuerySpec {
    QuerySpec {
        filter: Some(filter),
        limit: Some(10_000),
        ..QuerySpec::default()
    }
}

/// Every operator with every constant, column by column.
#[tokio::test]
async fn operators() {
    let corpus = Corpus::new().await;
    for (column, _, _) in CORPUS {
        for test in tests_of(column) {
            corpus.check(&with_filter(test)).await;
        }
    }
}

fn tree(dice: &mut SmallRng, all: &[FilterSpec], depth: u32) -> FilterSpec {
    if depth == 0 || dice.random_ratio(1, 4) {
        return all.choose(dice).unwrap().clone();
    }
    let group = if dice.random() { Group::And } else { Group::Or };
    let members = (0..dice.random_range(1..5)).map(|_| tree(dice, all, depth - 1));
    FilterSpec::Group(group, members.collect())
}

/// Groups within groups, under three-valued logic.
#[tokio::test]
async fn trees() {
    let corpus = Corpus::new().await;
    let all: Vec<FilterSpec> = CORPUS
        .iter()
        .flat_map(|(column, _, _)| tests_of(column))
        .collect();
    let mut dice = SmallRng::seed_from_u64(2);
    for _ in 0..200 {
        corpus.check(&with_filter(tree(&mut dice, &all, 4))).await;
    }
}

/// A filter as wide and as deep as is accepted.
#[tokio::test]
async fn largest_filters() {
    let corpus = Corpus::new().await;
    for group in [Group::And, Group::Or] {
        let number = |at: u32| Literal::Number(at.to_string());
        let members = (0..999).map(|at| test("i", Operator::NotEquals, Some(number(at))));
        corpus
            .check(&with_filter(FilterSpec::Group(group, members.collect())))
            .await;
    }
    let mut deep = test("i", Operator::IsNull, None);
    for level in 0..31 {
        let group = if level % 2 == 0 {
            Group::And
        } else {
            Group::Or
        };
        let other = test("s", Operator::IsNull, None);
        deep = FilterSpec::Group(group, vec![deep, other]);
    }
    corpus.check(&with_filter(deep)).await;
    let list = Literal::List(
        (0..10_000)
            .map(|at| Literal::Number(at.to_string()))
            .collect(),
    );
    corpus
        .check(&with_filter(test("n", Operator::InList, Some(list))))
        .await;
}

/// Every order of every column, and from every row on: at it and after it, by whole and partial
/// keysets.
#[tokio::test]
async fn orders_and_keysets() {
    let corpus = Corpus::new().await;
    let mut dice = SmallRng::seed_from_u64(3);
    let names: Vec<&str> = CORPUS.iter().map(|(name, _, _)| *name).collect();
    for (at, first) in names.iter().enumerate() {
        for sort in Sort::ALL {
            let mut columns = vec![(*first, *sort)];
            for _ in 0..dice.random_range(0..3) {
                columns.push((
                    names.choose(&mut dice).unwrap(),
                    *Sort::ALL.choose(&mut dice).unwrap(),
                ));
            }
            let mut spec = QuerySpec {
                order: columns
                    .iter()
                    .map(|(name, sort)| OrderSpec {
                        column: (*name).to_owned(),
                        sort: *sort,
                        is_pk: false,
                    })
                    .collect(),
                limit: Some(10_000),
                ..QuerySpec::default()
            };
            corpus.check(&spec).await;
            spec.limit = Some(7);
            let query = Query::from_spec(&spec, &corpus.schema, LimitRule::READ).unwrap();
            for row in corpus.rows.iter().skip(at).step_by(23) {
                let whole: Vec<KeysetSpec> = query
                    .order()
                    .iter()
                    .map(|key| keyset(&corpus.schema, key.column, row))
                    .collect();
                for length in 1..=whole.len() {
                    spec.keyset = whole[..length].to_vec();
                    spec.strict_after = !spec.strict_after;
                    corpus.check(&spec).await;
                }
            }
        }
    }
}

/// As a client sends back what a reply's cursor held: text.
fn keyset(schema: &TableSchema, column: usize, row: &Row) -> KeysetSpec {
    let value = match row[column].to_text() {
        Some(text) => Literal::Text(text),
        None => Literal::Null,
    };
    KeysetSpec {
        column: schema.columns()[column].name.to_string(),
        value,
    }
}
