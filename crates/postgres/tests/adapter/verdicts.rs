//! What the engine says of a row is what Postgres says: true, false or unknown.
//!
//! A table holds random values of every type that is compared live, edges and NULL among them.
//! Random checks are made as clients make them; of each that is live, every row's verdict is
//! computed by the engine and, in one statement, by the server. Checks that are not live are only
//! run, which must work.
//!
//! `TIDEGATE_VERDICT_CASES` makes the run longer, `TIDEGATE_VERDICT_SEED` makes it another one.

mod generate;
mod pattern;

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use bytes::BytesMut;
use futures_util::TryStreamExt;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{
    Filter, FilterSpec, Group, LimitRule, Query, QueryError, QuerySpec, Row, TableSchema, Value,
};
use tidegate_sql::{
    Dialect, PostgresRows, PostgresTable, PostgresType, Scope, Target, select_columns,
};
use tidegate_view::{Truth, evaluate};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

use self::generate::{COLUMNS, test_of, text_of};
use crate::harness::{Site, connect};

/// Rows of the table: the verdicts of one statement.
const ROWS: usize = 400;

/// Verdicts of a run that nobody asked to be longer.
const CASES: usize = 600_000;

fn number(variable: &str, default: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is a number")),
        Err(_) => default,
    }
}

/// The table with its rows, as the engine has them, in the order of their ids.
async fn filled(site: &Site, random: &mut SmallRng) -> (Arc<TableSchema>, Vec<Row>) {
    let columns: Vec<String> = COLUMNS
        .iter()
        .map(|column| format!(", {} {}", column.name, column.declared))
        .collect();
    let columns = columns.concat();
    site.sql(&format!("CREATE TABLE o(id integer PRIMARY KEY{columns})"))
        .await;
    let client = site.foreign().await;
    let mut id = 0;
    while id < ROWS {
        let values = COLUMNS.iter().map(|column| {
            let text = match random.random_ratio(1, 12) {
                true => None,
                false => Some(text_of(random, column.shape)),
            };
            text.map_or("NULL".to_owned(), |text| {
                format!("'{}'", text.replace('\'', "''"))
            })
        });
        let values = values.collect::<Vec<_>>().join(", ");
        let insert = format!("INSERT INTO o VALUES ({id}, {values})");
        match client.batch_execute(&insert).await {
            Ok(()) => id += 1,
            // The ends of a range may be crossed; then other values are tried.
            Err(error) if error.code() == Some(&SqlState::DATA_EXCEPTION) => {}
            Err(error) => panic!("{insert}: {error:?}"),
        }
    }
    let schema = site.describe("o").await;
    let mut rows = site.snapshot(&schema).await.unwrap().rows;
    rows.sort_by_key(|row| match row[0] {
        Value::Int(id) => id,
        _ => panic!("an id"),
    });
    (schema, rows)
}

/// What the server says of every row: a letter each.
async fn asked(client: &Client, schema: &TableSchema, filter: &Filter) -> Result<String, String> {
    let own: Vec<PostgresType> = COLUMNS.iter().map(|column| column.own).collect();
    let place = PostgresTable {
        schema: "public".to_owned(),
        rows: PostgresRows::Own,
        columns: [vec![PostgresType::Integer], own].concat(),
    };
    let dialect = Dialect::Postgres(&place);
    let target = Target {
        dialect,
        name: "o",
        schema,
        scope: &Scope::Table,
    };
    let statement = select_columns(target, &[0], filter).unwrap();
    let (_, condition) = statement.text.split_once(" WHERE ").unwrap();
    let sql = format!(
        "SELECT string_agg(CASE {condition} WHEN true THEN 't' WHEN false THEN 'f' ELSE 'n' END, \
         '' ORDER BY id) FROM o AS t"
    );
    let parameters: Vec<AsText> = statement.parameters.iter().map(AsText::of).collect();
    let parameters = parameters.iter().map(|text| (text, Type::UNKNOWN));
    let found = async {
        let rows = client.query_typed_raw(&sql, parameters).await?;
        rows.try_collect::<Vec<_>>().await
    };
    match found.await {
        Ok(rows) => Ok(rows[0].get::<_, Option<String>>(0).unwrap_or_default()),
        Err(error) => Err(format!("{sql} of {:?}: {error:?}", statement.parameters)),
    }
}

/// A parameter as text, of whatever type the statement says.
#[derive(Debug)]
struct AsText(String);

impl AsText {
    fn of(value: &Value) -> Self {
        Self(value.to_text().expect("constants are not NULL"))
    }
}

impl ToSql for AsText {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

fn letter(truth: Truth) -> char {
    match truth {
        Truth::True => 't',
        Truth::False => 'f',
        Truth::Unknown => 'n',
    }
}

/// What a run has seen, by operator.
#[derive(Default)]
struct Seen {
    live: BTreeMap<&'static str, [u64; 3]>,
    read_only: u64,
    refused: u64,
}

/// The engine and Postgres agree on every row under every check.
#[tokio::test]
async fn engine_and_postgres_agree() {
    let seed = number("TIDEGATE_VERDICT_SEED", 1) as u64;
    let wanted = number("TIDEGATE_VERDICT_CASES", CASES);
    let replay = format!(
        "TIDEGATE_VERDICT_SEED={seed} TIDEGATE_VERDICT_CASES={wanted} cargo test \
         -p tidegate-postgres --test adapter engine_and_postgres_agree"
    );
    let mut random = SmallRng::seed_from_u64(seed);
    let mut seen = Seen::default();
    let mut cases = 0;
    while cases < wanted {
        let site = Site::new().await;
        let (schema, rows) = filled(&site, &mut random).await;
        let client = connect(&site.address).await;
        // Some checks on one set of values, then others.
        let until = cases + 2_000_000.min(wanted - cases);
        while cases < until {
            cases += one_check(&client, &schema, &rows, &mut random, &mut seen, &replay).await;
        }
    }
    let mut told = String::new();
    for (operator, [t, f, n]) in &seen.live {
        told += &format!("{operator}: {t} true, {f} false, {n} unknown\n");
        assert!(*t > 0 && *f > 0, "{operator} is always the same: {told}");
    }
    println!(
        "{told}{cases} verdicts; {} not live, {} refused",
        seen.read_only, seen.refused
    );
    assert!(seen.live.len() >= 33, "operators that are live: {told}");
    assert!(seen.read_only > 0);
}

/// Makes a check and compares its verdicts; says how many.
async fn one_check(
    client: &Client,
    schema: &Arc<TableSchema>,
    rows: &[Row],
    random: &mut SmallRng,
    seen: &mut Seen,
    replay: &str,
) -> usize {
    let test = test_of(random);
    let FilterSpec::Test { operator, .. } = &test else {
        panic!("a test")
    };
    let name = operator.name();
    let spec = QuerySpec {
        filter: Some(FilterSpec::Group(Group::And, vec![test.clone()])),
        ..QuerySpec::default()
    };
    let rule = LimitRule::SUBSCRIPTION;
    match Query::live_from_spec(&spec, schema, rule) {
        Ok(query) => {
            let theirs = asked(client, schema, query.filter()).await;
            let theirs = theirs.unwrap_or_else(|why| panic!("{test:?}: {why}\n{replay}"));
            let counts = seen.live.entry(name).or_default();
            for (row, theirs) in rows.iter().zip(theirs.chars()) {
                let truth = evaluate(query.filter(), row);
                let told = || format!("{test:?} of {row:?}: {truth:?} but {theirs}\n{replay}");
                assert_eq!(letter(truth), theirs, "{}", told());
                counts[match truth {
                    Truth::True => 0,
                    Truth::False => 1,
                    Truth::Unknown => 2,
                }] += 1;
            }
            assert_eq!(theirs.len(), rows.len());
            rows.len()
        }
        Err(QueryError::NotLive(_)) => {
            let query = Query::from_spec(&spec, schema, rule).unwrap();
            // A pattern may be none, which only the server knows.
            let _ = asked(client, schema, query.filter()).await;
            seen.read_only += 1;
            1
        }
        Err(_) => {
            seen.refused += 1;
            1
        }
    }
}
