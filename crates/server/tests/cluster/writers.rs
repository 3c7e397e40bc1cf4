//! Those who write the table: strangers with transactions of their own, and callers of procedures.

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value as Json, json};
use tidegate_client::Payload;
use tidegate_core::Lsn;
use tokio_postgres::Client;

use crate::engines::{KEYS, TENANT, unique};

/// A value for a column as SQL text: from few, so that filters meet them; sometimes NULL.
fn literal(random: &mut StdRng, column: &str) -> String {
    match value(random, column) {
        Json::Null => "NULL".to_owned(),
        Json::String(text) => format!("'{text}'"),
        other => other.to_string(),
    }
}

fn value(random: &mut StdRng, column: &str) -> Json {
    const NAMES: [&str; 10] = ["", "a", "ab", "abc", "b", "B", "%", "a_b", "zürich", "東京"];
    if random.random_bool(0.15) {
        return Json::Null;
    }
    match column {
        "n" => random.random_range(-3..4).into(),
        "price" => format!("{:.2}", f64::from(random.random_range(0..9)) / 2.0).into(),
        "flag" => random.random_bool(0.5).into(),
        "name" => NAMES[random.random_range(0..NAMES.len())].into(),
        "at" => format!("2026-01-02T03:04:05.{:03}Z", random.random_range(0..5)).into(),
        _ => panic!("no column {column}"),
    }
}

const COLUMNS: [&str; 5] = ["n", "price", "flag", "name", "at"];

fn statement(tenant: &str, random: &mut StdRng) -> String {
    let table = format!("{tenant}_things");
    let key = random.random_range(0..KEYS);
    let column = COLUMNS[random.random_range(0..COLUMNS.len())];
    let value = literal(random, column);
    match random.random_range(0..10) {
        0..3 => {
            let values = COLUMNS.map(|column| literal(random, column)).join(", ");
            let conflict = match random.random_bool(0.5) {
                true => "DO NOTHING".to_owned(),
                false => format!("(id) DO UPDATE SET {column} = excluded.{column}"),
            };
            format!("INSERT INTO {table} VALUES ({key}, {values}) ON CONFLICT {conflict}")
        }
        3 => format!("DELETE FROM {table} WHERE id = {key}"),
        4 => {
            let other = random.random_range(0..KEYS);
            // Only where it is free: a constraint that says no would end the whole transaction.
            format!(
                "UPDATE {table} SET id = {other} WHERE id = {key}
                 AND NOT EXISTS (SELECT 1 FROM {table} WHERE id = {other})"
            )
        }
        5 => format!(
            "UPDATE {table} SET {column} = {value} WHERE id % 10 = {}",
            key % 10
        ),
        _ => format!("UPDATE {table} SET {column} = {value} WHERE id = {key}"),
    }
}

/// Where commits of the table are, as the server's own decoder of the log says: exactly, and by
/// nothing of the product's.
///
/// A position that is asked for before or after a commit is not exact. Heartbeats are written at
/// any moment, and a page that was read right may stand at one which lies in between.
pub(crate) struct Commits {
    database: Client,
    slot: String,
}

impl Commits {
    /// From now on; the slot goes with the connection.
    pub(crate) async fn new(database: Client) -> Self {
        let slot = unique("commits");
        let create =
            format!("SELECT pg_create_logical_replication_slot('{slot}', 'test_decoding', true)");
        database.batch_execute(&create).await.expect("it is new");
        Self { database, slot }
    }

    /// Where the one commit is that was made since the last call, if there was one.
    pub(crate) async fn next(&self) -> Option<Lsn> {
        let decoded = "WITH told AS MATERIALIZED (SELECT lsn, xid, data FROM
              pg_logical_slot_get_changes($1::text::name, NULL, NULL, 'skip-empty-xacts', '1'))
            SELECT (lsn - '0/0'::pg_lsn)::bigint FROM told WHERE data LIKE 'COMMIT%' AND xid::text IN
              (SELECT xid::text FROM told WHERE data LIKE 'table public.demo_things:%')";
        let rows = self.database.query(decoded, &[&self.slot]).await;
        let rows = rows.expect("it is SQL");
        assert!(rows.len() < 2, "writers take turns");
        let lsn: i64 = rows.first()?.get(0);
        Some(Lsn::new(lsn.try_into().expect("positions are positive")))
    }
}

/// What a transaction does: several statements, some of them undone.
pub(crate) fn statements(tenant: &str, random: &mut StdRng) -> Vec<String> {
    let mut statements: Vec<String> = (0..random.random_range(1..6))
        .map(|_| statement(tenant, random))
        .collect();
    if random.random_bool(0.2) {
        statements.insert(0, "SAVEPOINT inner_part".to_owned());
        let rest = ["ROLLBACK TO inner_part", "RELEASE inner_part"];
        let end = rest[random.random_range(0..2)].to_owned();
        statements.insert(random.random_range(1..=statements.len()), end);
    }
    statements
}

/// A transaction of several statements, some of them undone, which is committed or rolled back.
///
/// With others at work it may be refused, by a deadlock or a key that is taken, and is then rolled
/// back.
pub(crate) async fn transaction(database: &mut Client, random: &mut StdRng) {
    let statements = statements(TENANT, random);
    let is_committed = random.random_bool(0.85);
    let transaction = database.transaction().await.expect("the server is up");
    for statement in &statements {
        if let Err(error) = transaction.batch_execute(statement).await {
            assert!(error.code().is_some(), "{statement}: {error}");
            return;
        }
    }
    let ended = match is_committed {
        true => transaction.commit().await,
        false => transaction.rollback().await,
    };
    ended.expect("nothing is deferred");
}

/// Calls a procedure that writes. A key that is taken or missing is an error, which is nobody's.
pub(crate) async fn call(client: &tidegate_client::Client, random: &mut StdRng) {
    let key = random.random_range(0..KEYS).to_string();
    let (method, payload) = match random.random_range(0..6) {
        0 | 1 => {
            let mut row = json!({ "id": key });
            for column in COLUMNS {
                row[column] = value(random, column);
            }
            ("ADD_SINGLE", json!({ "row": row }))
        }
        2 => ("DELETE_ROW", json!({ "primaryId": key })),
        _ => {
            let column = COLUMNS[random.random_range(0..COLUMNS.len())];
            let updates = json!({ column: value(random, column) });
            (
                "UPDATE_SINGLE",
                json!({ "primaryId": key, "updates": updates }),
            )
        }
    };
    let payload = Payload::parse(&payload.to_string()).expect("it is JSON");
    // What is refused changes nothing.
    let _ = client.rpc(method, Some("things"), payload).await;
}

/// Writes a row that was not there, until that is acknowledged, and gives its commit.
pub(crate) async fn last_write(client: &tidegate_client::Client) -> Lsn {
    for id in 1_000_000_u64.. {
        let row = json!({ "row": { "id": id.to_string() } });
        let payload = Payload::parse(&row.to_string()).expect("it is JSON");
        if let Ok(reply) = client.rpc("ADD_SINGLE", Some("things"), payload).await {
            return reply.lsn.expect("a write has a position");
        }
    }
    unreachable!("the server comes back")
}
