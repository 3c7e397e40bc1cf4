//! The table of the oracle, and what it held after each commit.

use std::collections::BTreeMap;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rusqlite::Connection;
use rusqlite::types::Value;
use tidegate_core::Lsn;

/// Rows live under these keys: few, so that writers meet.
pub(crate) const KEYS: i64 = 60;

pub(crate) const CREATE: &str = "CREATE TABLE demo_things (
    id INTEGER PRIMARY KEY, n INTEGER, big BIGINT, x DOUBLE, price NUMERIC(10, 2), flag BOOLEAN,
    name TEXT, at TIMESTAMP)";

pub(crate) const COLUMNS: [&str; 8] = ["id", "n", "big", "x", "price", "flag", "name", "at"];

/// Everything a row holds, by column.
pub(crate) type Thing = Vec<Value>;

/// The whole table, by key.
pub(crate) type Things = BTreeMap<i64, Thing>;

/// A commit, and what the table held after it.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) lsn: Lsn,
    pub(crate) did: Did,
}

/// What a commit did.
#[derive(Debug, Clone)]
pub(crate) enum Did {
    /// The stranger who made it read the whole table within it.
    Left(Things),
    /// A procedure put a row there, whole.
    Put(Thing),
    /// A procedure changed some columns of a row.
    Set(i64, Vec<(usize, Value)>),
    /// A procedure deleted a row.
    Deleted(i64),
}

impl Did {
    /// Whether the server made the transaction itself, so that it stands apart from all others.
    fn is_apart(&self) -> bool {
        !matches!(self, Self::Left(_))
    }
}

/// The table after every commit, by commit position.
pub(crate) struct History {
    states: Vec<State>,
}

pub(crate) struct State {
    pub(crate) lsn: Lsn,
    pub(crate) things: Things,
    /// Whether subscribers must have seen the page exactly here.
    pub(crate) is_apart: bool,
}

impl History {
    pub(crate) fn new(mut events: Vec<Event>) -> Self {
        // A stranger's transaction that changed nothing reads the position of the one before it.
        // What it read includes that one, so it comes after.
        events.sort_by_key(|event| (event.lsn, !event.did.is_apart()));
        let mut things = Things::new();
        let mut states = Vec::with_capacity(events.len());
        for Event { lsn, did } in events {
            let is_apart = did.is_apart();
            match did {
                Did::Left(left) => things = left,
                Did::Put(thing) => {
                    things.insert(key_of(&thing), thing);
                }
                Did::Set(key, values) => {
                    let thing = things.get_mut(&key).expect("a changed row is there");
                    values
                        .into_iter()
                        .for_each(|(column, value)| thing[column] = value);
                }
                Did::Deleted(key) => {
                    things.remove(&key).expect("a deleted row was there");
                }
            }
            states.push(State {
                lsn,
                things: things.clone(),
                is_apart,
            });
        }
        Self { states }
    }

    pub(crate) fn states(&self) -> &[State] {
        &self.states
    }

    pub(crate) fn last_lsn(&self) -> Lsn {
        self.states.last().expect("there is a first state").lsn
    }

    /// The index of the state at a position: that of the last commit at or below it.
    pub(crate) fn index_at(&self, lsn: Lsn) -> usize {
        let after = self.states.partition_point(|state| state.lsn <= lsn);
        after.checked_sub(1).expect("the first state is at zero")
    }
}

pub(crate) fn key_of(thing: &Thing) -> i64 {
    match thing[0] {
        Value::Integer(key) => key,
        _ => panic!("a key is an integer"),
    }
}

/// Makes the file with the table and some rows, before the server knows of it.
pub(crate) fn create(file: &Path, seed: u64) -> Event {
    let database = Connection::open(file).expect("the folder is writable");
    database
        .pragma_update(None, "journal_mode", "wal")
        .expect("it is a file");
    database.execute_batch(CREATE).expect("the table is new");
    let mut random = StdRng::seed_from_u64(seed);
    for key in 0..KEYS / 2 {
        let values: Vec<String> = COLUMNS[1..]
            .iter()
            .map(|column| literal(&random_value(&mut random, column)))
            .collect();
        let insert = format!(
            "INSERT INTO demo_things VALUES ({key}, {})",
            values.join(", ")
        );
        database.execute_batch(&insert).expect("keys differ");
    }
    Event {
        lsn: Lsn::ZERO,
        did: Did::Left(read(&database)),
    }
}

/// Reads the whole table.
pub(crate) fn read(database: &Connection) -> Things {
    let mut statement = database
        .prepare_cached("SELECT * FROM demo_things")
        .expect("it is there");
    let rows = statement.query_map([], |row| {
        (0..COLUMNS.len())
            .map(|at| row.get::<_, Value>(at))
            .collect::<Result<Thing, _>>()
    });
    let things = rows
        .expect("it can be read")
        .map(|thing| thing.expect("it can be read"));
    things.map(|thing| (key_of(&thing), thing)).collect()
}

/// A value for a column: from few, so that filters meet them; sometimes NULL.
pub(crate) fn random_value(random: &mut StdRng, column: &str) -> Value {
    const NAMES: [&str; 10] = ["", "a", "ab", "abc", "b", "B", "%", "a_b", "zürich", "東京"];
    if random.random_bool(0.15) {
        return Value::Null;
    }
    match column {
        "n" => Value::Integer(random.random_range(-3..4)),
        "big" => Value::Integer(i64::MAX - random.random_range(0..4)),
        "x" => Value::Real(f64::from(random.random_range(-4..5)) / 4.0),
        "price" => Value::Real(f64::from(random.random_range(0..9)) / 2.0),
        "flag" => Value::Integer(random.random_range(0..2)),
        "name" => Value::Text(NAMES[random.random_range(0..NAMES.len())].to_owned()),
        "at" => Value::Text(format!(
            "2026-01-02T03:04:05.{:03}Z",
            random.random_range(0..5)
        )),
        _ => panic!("no column {column}"),
    }
}

/// A value as SQL text.
pub(crate) fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => format!("{number:?}"),
        Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Blob(_) => panic!("no column holds bytes"),
    }
}

/// A value as the wire has it, by column.
pub(crate) fn json(column: &str, value: &Value) -> serde_json::Value {
    match (column, value) {
        (_, Value::Null) => serde_json::Value::Null,
        ("big" | "price", Value::Integer(number)) => number.to_string().into(),
        ("price", Value::Real(number)) => number.to_string().into(),
        ("flag", Value::Integer(number)) => (*number != 0).into(),
        (_, Value::Integer(number)) => (*number).into(),
        // JSON of a whole float has no point; serde_json tells 1 from 1.0.
        (_, Value::Real(number)) if number.fract() == 0.0 => (*number as i64).into(),
        (_, Value::Real(number)) => (*number).into(),
        (_, Value::Text(text)) => text.as_str().into(),
        (_, Value::Blob(_)) => panic!("no column holds bytes"),
    }
}
