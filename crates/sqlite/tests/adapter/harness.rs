//! A database in a folder of its own, its change stream, and other programs at the same file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command as Program;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use tidegate_core::{
    Command, CommandError, KeySpec, LimitRule, Literal, Lsn, Outcome, Query, QuerySpec, Reply, Row,
    RowChange, TableName, TableSchema, Tenancy, TenantId, Transaction, Value,
};
use tidegate_ports::{ChangeStream, Database, DatabaseError, Snapshot, SnapshotRequest};
use tidegate_sqlite::{SqliteConfig, SqliteDatabase};

/// A folder that is removed when dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tidegate-sqlite-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("test.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn tenant() -> TenantId {
    TenantId::parse("demo").unwrap()
}

pub(crate) fn table(name: &str) -> TableName {
    TableName::parse(name).unwrap()
}

pub(crate) fn config(path: &Path) -> SqliteConfig {
    let mut config = SqliteConfig::new(path, Tenancy::Single);
    config.readers = 2;
    config.poll_interval = Duration::from_millis(1);
    config
}

/// Runs SQL as another program does: by a connection without any of our functions.
pub(crate) fn foreign(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    // What a plain SQLite has; our build switches them on.
    connection
        .execute_batch("PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF")
        .unwrap();
    connection
}

/// Runs SQL in Python's sqlite3 module: another SQLite, another process.
pub(crate) fn python(path: &Path, sql: &str) {
    let script = "import sqlite3, sys\n\
        c = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)\n\
        c.executescript(sys.argv[2])\n";
    let status = Program::new("python3")
        .arg("-c")
        .arg(script)
        .arg(path)
        .arg(sql)
        .status()
        .unwrap();
    assert!(status.success(), "{sql}");
}

pub(crate) async fn describe(db: &SqliteDatabase, name: &str) -> Arc<TableSchema> {
    db.describe(&tenant(), &table(name)).await.unwrap()
}

pub(crate) async fn run(db: &SqliteDatabase, command: Command) -> Result<Reply, DatabaseError> {
    db.execute(&tenant(), command).await
}

/// The whole table.
pub(crate) async fn snapshot(
    db: &SqliteDatabase,
    schema: &Arc<TableSchema>,
) -> Result<Snapshot, DatabaseError> {
    let rule = LimitRule::SUBSCRIPTION;
    let query = Query::from_spec(&QuerySpec::default(), schema, rule).unwrap();
    let request = SnapshotRequest {
        tenant: tenant(),
        query: Arc::new(query),
        rows_max: 1_000_000,
    };
    db.snapshot(request).await
}

/// Takes transactions until the stream has passed `lsn`.
pub(crate) async fn until(stream: &mut ChangeStream, lsn: Lsn) -> Vec<Transaction> {
    let mut seen = Vec::new();
    loop {
        let batch = stream.next().await.unwrap().unwrap();
        for transaction in &batch.transactions {
            assert!(
                transaction.commit.lsn <= batch.heartbeat.lsn,
                "heartbeats come last"
            );
        }
        seen.extend(batch.transactions);
        if batch.heartbeat.lsn >= lsn {
            return seen;
        }
    }
}

/// The end of the log, which is where a snapshot taken now stands.
pub(crate) fn log_end(path: &Path) -> Lsn {
    let end: i64 = foreign(path)
        .query_row(
            "SELECT seq FROM sqlite_sequence WHERE name = '_tidegate_log'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    Lsn::new(end as u64)
}

/// A table kept by applying changes, as a page that holds every row is.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Model {
    rows: BTreeMap<String, Row>,
}

impl Model {
    pub(crate) fn of(schema: &TableSchema, rows: &[Row]) -> Self {
        let keyed = rows
            .iter()
            .map(|row| (name(&schema.key_of(row)), row.clone()));
        let model = Self {
            rows: keyed.collect(),
        };
        assert_eq!(model.rows.len(), rows.len(), "keys are unique");
        model
    }

    /// Applies what a transaction did to a table. `None` when it must be read again.
    #[must_use]
    pub(crate) fn apply(&mut self, schema: &TableSchema, transaction: &Transaction) -> Option<()> {
        for change in &transaction.tables {
            if change.table != *schema.table() {
                continue;
            }
            if change.schema != schema.fingerprint() {
                return None;
            }
            for change in change.rows.as_ref()? {
                match change {
                    RowChange::Upsert { old_key, row } => {
                        if let Some(old) = old_key {
                            self.rows.remove(&name(old));
                        }
                        self.rows.insert(name(&schema.key_of(row)), row.clone());
                    }
                    RowChange::Delete { key } => {
                        self.rows.remove(&name(key));
                    }
                }
            }
        }
        Some(())
    }
}

fn name(key: &[Value]) -> String {
    format!("{key:?}")
}

pub(crate) fn text(text: &str) -> Literal {
    Literal::Text(text.to_owned())
}

pub(crate) fn number(text: &str) -> Literal {
    Literal::Number(text.to_owned())
}

pub(crate) fn row(values: &[(&str, Literal)]) -> Vec<(String, Literal)> {
    values
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

pub(crate) fn key(text: &str) -> KeySpec {
    KeySpec {
        column: None,
        text: text.to_owned(),
        parts: None,
    }
}

pub(crate) fn by(column: &str, text: &str) -> KeySpec {
    KeySpec {
        column: Some(column.to_owned()),
        ..key(text)
    }
}

pub(crate) async fn add(
    db: &SqliteDatabase,
    name: &str,
    values: &[(&str, Literal)],
) -> Result<Reply, DatabaseError> {
    run(db, Command::AddSingle(table(name), row(values))).await
}

pub(crate) fn rows(reply: &Reply) -> &[Row] {
    match &reply.outcome {
        Outcome::Rows { rows, .. } | Outcome::Page { rows, .. } => rows,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn error(result: Result<Reply, DatabaseError>) -> CommandError {
    match result {
        Err(DatabaseError::Command(error)) => error,
        other => panic!("{other:?}"),
    }
}
