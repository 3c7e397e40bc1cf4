//! Those who write the table: two strangers with transactions of their own, and callers of
//! procedures.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rusqlite::types::Value;
use rusqlite::{Connection, TransactionBehavior};
use serde_json::{Value as Json, json};
use tidegate_client::{Client, Payload};
use tidegate_core::Lsn;

use super::Events;
use super::things::{COLUMNS, Did, Event, KEYS, Things, json as wire, literal, random_value, read};

/// The newest position in the log, as a stranger can see it within a transaction.
const LAST_LSN: &str = "SELECT seq FROM sqlite_sequence WHERE name = '_tidegate_log'";

/// A transaction of a stranger: statements, any of which may fail by a constraint, and how it ends.
struct Script {
    statements: Vec<String>,
    is_committed: bool,
}

fn script(random: &mut StdRng) -> Script {
    let mut statements: Vec<String> = (0..random.random_range(1..6))
        .map(|_| statement(random))
        .collect();
    if random.random_bool(0.2) {
        statements.insert(0, "SAVEPOINT inner_part".to_owned());
        let rest = ["ROLLBACK TO inner_part", "RELEASE inner_part"];
        let end = rest[random.random_range(0..2)].to_owned();
        statements.insert(random.random_range(1..=statements.len()), end);
    }
    Script {
        statements,
        is_committed: random.random_bool(0.85),
    }
}

fn statement(random: &mut StdRng) -> String {
    let key = random.random_range(0..KEYS);
    let column = COLUMNS[random.random_range(1..COLUMNS.len())];
    let value = literal(&random_value(random, column));
    match random.random_range(0..10) {
        0 | 1 => {
            let values: Vec<String> = COLUMNS[1..]
                .iter()
                .map(|column| literal(&random_value(random, column)))
                .collect();
            let verb =
                ["INSERT", "INSERT OR REPLACE", "INSERT OR IGNORE"][random.random_range(0..3)];
            format!(
                "{verb} INTO demo_things VALUES ({key}, {})",
                values.join(", ")
            )
        }
        2 => format!("DELETE FROM demo_things WHERE id = {key}"),
        3 => {
            let other = random.random_range(0..KEYS);
            format!("UPDATE demo_things SET id = {other} WHERE id = {key}")
        }
        4 => format!(
            "UPDATE demo_things SET {column} = {value} WHERE id % 10 = {}",
            key % 10
        ),
        _ => format!("UPDATE demo_things SET {column} = {value} WHERE id = {key}"),
    }
}

/// A stranger's permission to make one more transaction. Without it the strangers, who need not
/// wait for the disk, would be done before anybody has seen anything.
pub(crate) type Turns = Receiver<()>;

/// Writes through a connection of this process until there are no more turns.
pub(crate) fn this_process(file: &Path, seed: u64, turns: &Turns) -> Events {
    let mut random = StdRng::seed_from_u64(seed);
    let mut database = Connection::open(file).expect("the file is there");
    database
        .busy_timeout(std::time::Duration::from_secs(30))
        .expect("it can be set");
    database
        .pragma_update(None, "synchronous", "off")
        .expect("it can be set");
    let mut events = Vec::new();
    for () in turns {
        let Script {
            statements,
            is_committed,
        } = script(&mut random);
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = transaction.expect("others let go in time");
        for statement in &statements {
            // A constraint that says no is part of the test: the statement's own work is undone.
            let _ = transaction.execute_batch(statement);
        }
        if is_committed {
            let lsn: Option<i64> = transaction.query_row(LAST_LSN, [], |row| row.get(0)).ok();
            let left = read(&transaction);
            transaction.commit().expect("it holds the lock");
            events.extend(lsn.map(|lsn| Event {
                lsn: Lsn::new(lsn as u64),
                did: Did::Left(left),
            }));
        }
    }
    events
}

/// Writes through Python's SQLite, in a process of its own, until there are no more turns.
pub(crate) fn another_process(file: &Path, seed: u64, turns: &Turns) -> Events {
    let mut random = StdRng::seed_from_u64(seed);
    let mut python = Command::new("python3")
        .args(["-c", include_str!("writer.py")])
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is installed");
    let mut orders = python.stdin.take().expect("it is piped");
    let mut answers = BufReader::new(python.stdout.take().expect("it is piped")).lines();
    let mut events = Vec::new();
    for () in turns {
        let Script {
            statements,
            is_committed,
        } = script(&mut random);
        let order = json!({ "statements": statements, "commit": is_committed });
        writeln!(orders, "{order}").expect("python runs");
        let answer = answers
            .next()
            .expect("python answers")
            .expect("python answers in text");
        let answer: Json = serde_json::from_str(&answer).expect("python answers in JSON");
        if let Some(lsn) = answer["lsn"].as_u64() {
            let did = Did::Left(things(&answer["rows"]));
            events.push(Event {
                lsn: Lsn::new(lsn),
                did,
            });
        }
    }
    drop(orders);
    assert!(python.wait().expect("it ends").success());
    events
}

fn things(rows: &Json) -> Things {
    let value = |json: &Json| match json {
        Json::Null => Value::Null,
        Json::Number(number) => number
            .as_i64()
            .map(Value::Integer)
            .or(number.as_f64().map(Value::Real))
            .expect("a number is an integer or a float"),
        Json::String(text) => Value::Text(text.clone()),
        other => panic!("no column holds {other}"),
    };
    let thing = |row: &Json| -> Vec<Value> {
        row.as_array()
            .expect("a row is an array")
            .iter()
            .map(value)
            .collect()
    };
    let rows = rows
        .as_array()
        .expect("rows are an array")
        .iter()
        .map(thing);
    rows.map(|thing| (super::things::key_of(&thing), thing))
        .collect()
}

/// Calls procedures, gives each stranger a turn with every call, and now and then cuts a
/// subscriber's connection.
pub(crate) async fn procedures(
    caller: &Client,
    subscribers: &[Client],
    seed: u64,
    calls: u64,
    strangers: Vec<SyncSender<()>>,
) -> Events {
    let mut random = StdRng::seed_from_u64(seed);
    let mut events = Vec::new();
    for _ in 0..calls {
        let key = random.random_range(0..KEYS);
        events.extend(call(caller, &mut random, key).await);
        for stranger in &strangers {
            // One that has not used its last turn gets none: calls do not wait for strangers.
            let _ = stranger.try_send(());
        }
        if random.random_bool(0.1) {
            subscribers[random.random_range(0..subscribers.len())]
                .drop_connection()
                .await;
        }
    }
    events
}

async fn call(caller: &Client, random: &mut StdRng, key: i64) -> Option<Event> {
    let (method, payload, did) = match random.random_range(0..6) {
        0 | 1 => {
            let mut thing = vec![Value::Integer(key)];
            thing.extend(
                COLUMNS[1..]
                    .iter()
                    .map(|column| random_value(random, column)),
            );
            let row: Json = COLUMNS
                .iter()
                .zip(&thing)
                .map(|(column, value)| ((*column).to_owned(), wire(column, value)))
                .collect::<serde_json::Map<_, _>>()
                .into();
            ("ADD_SINGLE", json!({ "row": row }), Did::Put(thing))
        }
        2 => (
            "DELETE_ROW",
            json!({ "primaryId": key.to_string() }),
            Did::Deleted(key),
        ),
        _ => {
            let column = random.random_range(1..COLUMNS.len());
            let value = random_value(random, COLUMNS[column]);
            let updates = json!({ COLUMNS[column]: wire(COLUMNS[column], &value) });
            let payload = json!({ "primaryId": key.to_string(), "updates": updates });
            (
                "UPDATE_SINGLE",
                payload,
                Did::Set(key, vec![(column, value)]),
            )
        }
    };
    let payload = Payload::parse(&payload.to_string()).expect("it is JSON");
    match caller.rpc(method, Some("things"), payload).await {
        // A write that found nothing has no commit.
        Ok(reply) => reply.lsn.map(|lsn| Event { lsn, did }),
        Err(fault) => {
            assert_eq!(fault.code, "constraint", "{method}: {fault}");
            None
        }
    }
}
