//! SQLite's answers are the engine's: every operator, order and keyset over one corpus of values,
//! against a plain evaluation over core values.
//!
//! The corpus holds what makes databases disagree: one moment in several stored forms, decimals as
//! integers, floats and text, wildcards, NUL characters, infinities, text whose byte order is not
//! its alphabetic order, and NULL everywhere.

use std::cmp::Ordering;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tidegate_core::{
    Check, Command, Comparison, Direction, Filter, FilterSpec, Group, Inclusion, Keyset,
    KeysetBound, KeysetSpec, LimitRule, Literal, ModifierSpec, Nulls, Operator, OrderSpec, Outcome,
    Polarity, Query, QuerySpec, Row, Selection, Sort, TableSchema, Test, TextMatch, Value,
};
use tidegate_ports::{Database, SnapshotRequest};
use tidegate_sqlite::SqliteDatabase;

use crate::harness::{Folder, config, describe, foreign, run, table, tenant};

/// Each column with the values stored in it, as SQL.
const CORPUS: &[(&str, &str, &[&str])] = &[
    (
        "i",
        "INTEGER",
        &[
            "0",
            "1",
            "-1",
            "9223372036854775807",
            "-9223372036854775808",
            "2",
            "10",
        ],
    ),
    ("s", "SMALLINT", &["0", "-32768", "32767", "5"]),
    (
        "g",
        "BIGINT",
        &["0", "9007199254740993", "9007199254740992", "-5"],
    ),
    ("b", "BOOLEAN", &["0", "1", "TRUE"]),
    (
        "d",
        "DOUBLE",
        &[
            "0.0",
            "-0.0",
            "1",
            "1.5",
            "9e999",
            "-9e999",
            "1e-300",
            "0.1",
            "9007199254740993",
        ],
    ),
    (
        "n",
        "DECIMAL(20, 4)",
        &[
            "0",
            "1",
            "1.0",
            "0.1",
            "-0.1",
            "9007199254740993",
            "9007199254740992.0",
            "1e23",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "'1e23'",
            "-1e300",
            "'inf'",
            "1.5",
            "'0.5'",
            "2",
            "10",
            "4611686018427387950",
            "9223372036854775808",
        ],
    ),
    (
        "t",
        "VARCHAR(20) COLLATE NOCASE",
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
            "'a' || char(0)",
            "'a' || char(0) || 'b'",
            "' a'",
            "'a '",
            "'\u{1F600}'",
            "'\u{FFFD}'",
            "'%'",
            "'100'",
        ],
    ),
    (
        "m",
        "TIMESTAMP",
        &[
            "'2026-01-02T03:04:05.000Z'",
            "'2026-01-02 03:04:05'",
            "'2026-01-02 05:04:05+02'",
            "1767323045",
            "0",
            "'1970-01-01'",
            "'1969-12-31T23:59:59.9999995Z'",
            "'1969-12-31T23:59:59.999999Z'",
            "-1",
            "'9999-12-31T23:59:59.999999Z'",
            "'2026-01-02T03:04:05.0001Z'",
            "'2025-12-31 24:00'",
        ],
    ),
    (
        "y",
        "DATE",
        &[
            "'2026-01-02'",
            "'1969-12-31'",
            "'0001-01-01'",
            "'9999-12-31'",
        ],
    ),
    ("x", "BLOB", &["x''", "x'00'", "x'00ff'", "x'61'", "x'ff'"]),
];

/// Constants to compare with, for each column.
const CONSTANTS: &[(&str, &[&str])] = &[
    (
        "i",
        &["0", "1", "9223372036854775807", "-9223372036854775808", "3"],
    ),
    ("s", &["0", "-32768", "32767"]),
    ("g", &["9007199254740993", "0"]),
    ("b", &["true", "false"]),
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
            "0.09999999999999999999",
            "1",
            "1.00",
            "NaN",
            "Infinity",
            "100000000000000000000000",
            "99999999999999991611392",
            "9007199254740993",
            "-1e300",
            "9007199254740992.5",
            "4611686018427388000",
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
            "a\0",
            "\0b",
            " ",
            "\u{1F600}",
            "z",
            "100",
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

// The plain evaluation.

fn matches(filter: &Filter, row: &Row) -> Option<bool> {
    match filter {
        Filter::All(members) => combined(members, row, false),
        Filter::Any(members) => combined(members, row, true),
        Filter::Test(test) => passes(test, row),
    }
}

/// AND is false when one member is, OR true when one member is; else unknown wins.
fn combined(members: &[Filter], row: &Row, decides: bool) -> Option<bool> {
    let results: Vec<Option<bool>> = members.iter().map(|member| matches(member, row)).collect();
    if results.contains(&Some(decides)) {
        return Some(decides);
    }
    if results.contains(&None) {
        return None;
    }
    Some(!decides)
}

fn passes(test: &Test, row: &Row) -> Option<bool> {
    let value = &row[test.column];
    match &test.check {
        Check::IsNull => Some(value.is_null()),
        Check::IsNotNull => Some(!value.is_null()),
        Check::Compare(comparison, constant) => compares(value, *comparison, constant),
        Check::Between {
            low,
            high,
            polarity,
        } => {
            let above = match low.1 {
                Inclusion::Included => Comparison::GreaterOrEqual,
                Inclusion::Excluded => Comparison::Greater,
            };
            let below = match high.1 {
                Inclusion::Included => Comparison::LessOrEqual,
                Inclusion::Excluded => Comparison::Less,
            };
            let inside = compares(value, above, &low.0)? && compares(value, below, &high.0)?;
            Some(inside == (*polarity == Polarity::Inside))
        }
        Check::InList(values, polarity) if values.is_empty() => {
            Some(*polarity == Polarity::Outside)
        }
        Check::InList(values, polarity) => {
            let found = |other: &Value| value.compare(other) == Some(Ordering::Equal);
            (!value.is_null()).then(|| values.iter().any(found) == (*polarity == Polarity::Inside))
        }
        Check::Text(kind, needle) => {
            let Value::Text(text) = value else {
                return None;
            };
            Some(match kind {
                TextMatch::StartsWith => text.starts_with(&**needle),
                TextMatch::EndsWith => text.ends_with(&**needle),
                TextMatch::Contains => text.contains(&**needle),
                TextMatch::NotContains => !text.contains(&**needle),
            })
        }
        Check::Folded(..)
        | Check::Pattern(..)
        | Check::Array(_)
        | Check::Json(_)
        | Check::Range(..) => panic!("no query of these tests asks this: {test:?}"),
    }
}

fn compares(value: &Value, comparison: Comparison, constant: &Value) -> Option<bool> {
    let ordering = value.compare(constant)?;
    Some(match comparison {
        Comparison::Equal => ordering.is_eq(),
        Comparison::NotEqual => ordering.is_ne(),
        Comparison::Less => ordering.is_lt(),
        Comparison::LessOrEqual => ordering.is_le(),
        Comparison::Greater => ordering.is_gt(),
        Comparison::GreaterOrEqual => ordering.is_ge(),
    })
}

fn order(
    query: &Query,
    a: &dyn Fn(usize) -> Value,
    b: &dyn Fn(usize) -> Value,
    keys: usize,
) -> Ordering {
    for (place, key) in query.order().iter().take(keys).enumerate() {
        let (a, b) = (a(place), b(place));
        let nulls_first = key.nulls == Nulls::First;
        let ordering = match (a.is_null(), b.is_null()) {
            (true, true) => Ordering::Equal,
            (true, false) if nulls_first => Ordering::Less,
            (true, false) => Ordering::Greater,
            (false, true) if nulls_first => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => match key.direction {
                Direction::Ascending => a.compare(&b).unwrap(),
                Direction::Descending => b.compare(&a).unwrap(),
            },
        };
        if ordering.is_ne() {
            return ordering;
        }
    }
    Ordering::Equal
}

fn of_row<'a>(query: &'a Query, row: &'a Row) -> impl Fn(usize) -> Value + 'a {
    |place| row[query.order()[place].column].clone()
}

fn from_keyset(query: &Query, keyset: Option<&Keyset>, row: &Row) -> bool {
    let Some(keyset) = keyset else { return true };
    let at = |place: usize| keyset.values[place].clone();
    let ordering = order(query, &of_row(query, row), &at, keyset.values.len());
    match keyset.bound {
        KeysetBound::At => ordering.is_ge(),
        KeysetBound::After => ordering.is_gt(),
    }
}

fn expected(query: &Query, rows: &[Row]) -> Vec<Row> {
    let mut found: Vec<Row> = rows
        .iter()
        .filter(|row| matches(query.filter(), row) == Some(true))
        .filter(|row| from_keyset(query, query.keyset(), row))
        .cloned()
        .collect();
    let keys = query.order().len();
    found.sort_by(|a, b| order(query, &of_row(query, a), &of_row(query, b), keys));
    found.truncate(query.limit() as usize);
    found
}

// The corpus as a table.

struct Corpus {
    db: SqliteDatabase,
    schema: Arc<TableSchema>,
    rows: Vec<Row>,
    _folder: Folder,
}

impl Corpus {
    /// Rows of random combinations; every value and NULL is in many of them.
    async fn new() -> Self {
        let folder = Folder::new();
        let path = folder.file();
        let other = foreign(&path);
        let columns: Vec<String> = CORPUS
            .iter()
            .map(|(name, kind, _)| format!("\"{name}\" {kind}"))
            .collect();
        let create = format!(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, {})",
            columns.join(", ")
        );
        other.execute_batch(&create).unwrap();
        let mut dice = SmallRng::seed_from_u64(1);
        other.execute_batch("BEGIN").unwrap();
        for id in 0..ROWS {
            let values: Vec<&str> = CORPUS
                .iter()
                .map(|(_, _, values)| match values.get(id) {
                    Some(value) => value,
                    None if dice.random_ratio(1, 6) => "NULL",
                    None => values.choose(&mut dice).unwrap(),
                })
                // One that no calendar has: it must not be read as another moment.
                .map(|value| if value.contains("24:00") { "NULL" } else { value })
                .collect();
            let insert = format!("INSERT INTO t VALUES ({id}, {})", values.join(", "));
            other.execute_batch(&insert).unwrap();
        }
        other.execute_batch("COMMIT").unwrap();
        let db = SqliteDatabase::open(config(&path)).unwrap();
        let schema = describe(&db, "t").await;
        let rows = read(&db, &QuerySpec::default()).await;
        assert_eq!(rows.len(), ROWS);
        Self {
            db,
            schema,
            rows,
            _folder: folder,
        }
    }

    /// Both ways of reading a query give what the plain evaluation gives.
    async fn check(&self, spec: &QuerySpec) {
        let query = Query::from_spec(spec, &self.schema, LimitRule::READ).unwrap();
        let expected = expected(&query, &self.rows);
        let found = read(&self.db, spec).await;
        assert!(
            found == expected,
            "{spec:?}: {:?} not {:?}",
            ids(&found),
            ids(&expected)
        );
        let request = SnapshotRequest {
            tenant: tenant(),
            query: Arc::new(query),
            rows_max: 10_000,
        };
        let snapshot = self.db.snapshot(request).await.unwrap();
        assert!(snapshot.complete || spec.limit.is_some());
        assert!(snapshot.rows.starts_with(&expected), "{spec:?}");
    }
}

fn ids(rows: &[Row]) -> Vec<String> {
    rows.iter().filter_map(|row| row[0].to_text()).collect()
}

async fn read(db: &SqliteDatabase, spec: &QuerySpec) -> Vec<Row> {
    let selection = Selection {
        query: spec.clone(),
        offset: 0,
    };
    match run(db, Command::GetData(table("t"), selection))
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
        if column == "t" {
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
            for row in corpus.rows.iter().skip(at).step_by(9) {
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
