//! A database of its own, the adapter on it, and other programs at the same database.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tidegate_core::{
    Command, CommandError, KeySpec, LimitRule, Literal, Lsn, Outcome, Query, QuerySpec, Reply, Row,
    RowChange, TableName, TableSchema, Tenancy, TenantId, Transaction, Value,
};
use tidegate_ports::{
    ChangeBatch, ChangeStream, Database, DatabaseError, Snapshot, SnapshotRequest,
};
use tidegate_postgres::{PostgresConfig, PostgresDatabase};
use tokio_postgres::{Client, NoTls};

const VARIABLE: &str = "TIDEGATE_TEST_POSTGRES";

/// The server's address, whose path is a database that is always there.
pub(crate) fn server() -> String {
    std::env::var(VARIABLE).unwrap_or_else(|_| {
        panic!(
            "{VARIABLE} says where a Postgres server is: run `cargo xtask test`, which starts one"
        )
    })
}

/// A database, removed when dropped.
pub(crate) struct Site {
    pub(crate) db: PostgresDatabase,
    pub(crate) address: String,
    name: String,
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut PostgresConfig)) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tidegate_{}_{number}", std::process::id());
        // One test makes the whole server wait for a standby; commits that are local do not.
        let admin = connect(&server()).await;
        admin
            .batch_execute("SET synchronous_commit = local")
            .await
            .unwrap();
        let create = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'");
        admin.batch_execute(&create).await.unwrap();
        let local = format!("ALTER DATABASE {name} SET synchronous_commit = local");
        admin.batch_execute(&local).await.unwrap();
        let (before, _) = server().rsplit_once('/').map_or_else(
            || panic!("{VARIABLE} ends in the name of a database"),
            |(before, after)| (before.to_owned(), after.to_owned()),
        );
        let address = format!("{before}/{name}");
        let mut config = PostgresConfig::new(&address, Tenancy::Single);
        config.heartbeat_interval = Duration::from_millis(100);
        change(&mut config);
        Self {
            db: PostgresDatabase::new(config).unwrap(),
            address,
            name,
        }
    }

    /// Another program's connection.
    pub(crate) async fn foreign(&self) -> Client {
        connect(&self.address).await
    }

    /// Runs SQL as another program does.
    pub(crate) async fn sql(&self, sql: &str) {
        self.foreign().await.batch_execute(sql).await.unwrap();
    }

    /// Where the log ends: a stream that has passed it has everything committed before.
    pub(crate) async fn log_end(&self) -> Lsn {
        let client = self.foreign().await;
        one(&client, "SELECT pg_current_wal_insert_lsn()::text")
            .await
            .parse()
            .unwrap()
    }

    pub(crate) async fn describe(&self, name: &str) -> Arc<TableSchema> {
        self.db.describe(&tenant(), &table(name)).await.unwrap()
    }

    pub(crate) async fn run(&self, command: Command) -> Result<Reply, DatabaseError> {
        self.db.execute(&tenant(), command).await
    }

    pub(crate) async fn add(
        &self,
        name: &str,
        values: &[(&str, Literal)],
    ) -> Result<Reply, DatabaseError> {
        self.run(Command::AddSingle(table(name), row(values))).await
    }

    /// The whole table.
    pub(crate) async fn snapshot(
        &self,
        schema: &Arc<TableSchema>,
    ) -> Result<Snapshot, DatabaseError> {
        self.db.snapshot(whole(schema)).await
    }

    /// The rows of the whole table.
    pub(crate) async fn model(&self, schema: &Arc<TableSchema>) -> Model {
        Model::of(schema, &self.snapshot(schema).await.unwrap().rows)
    }
}

/// A request for the whole table.
pub(crate) fn whole(schema: &Arc<TableSchema>) -> SnapshotRequest {
    let rule = LimitRule::SUBSCRIPTION;
    let query = Query::from_spec(&QuerySpec::default(), schema, rule).unwrap();
    SnapshotRequest {
        tenant: tenant(),
        query: Arc::new(query),
        rows_max: 1_000_000,
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let name = self.name.clone();
        // A runtime of its own: this one may be ending.
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let admin = connect(&server()).await;
                let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                let local = "SET synchronous_commit = local";
                // A database that stays behind is no failure of the test.
                let _ = admin.batch_execute(local).await;
                let _ = admin.batch_execute(&drop).await;
            });
        });
        let _ = thread.join();
    }
}

pub(crate) async fn connect(address: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(address, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// One text.
pub(crate) async fn one(client: &Client, sql: &str) -> String {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

pub(crate) fn tenant() -> TenantId {
    TenantId::parse("single").unwrap()
}

pub(crate) fn table(name: &str) -> TableName {
    TableName::parse(name).unwrap()
}

/// The next batch, in time.
pub(crate) async fn next(stream: &mut ChangeStream) -> ChangeBatch {
    let next = tokio::time::timeout(Duration::from_secs(20), stream.next());
    let batch = next.await.expect("the stream goes on").unwrap().unwrap();
    for transaction in &batch.transactions {
        assert!(
            transaction.commit.lsn <= batch.heartbeat.lsn,
            "heartbeats come last"
        );
    }
    let says_who_is_visible = batch.heartbeat.visible.is_some();
    assert!(says_who_is_visible, "or all would count as visible");
    stream.acknowledge(batch.heartbeat.lsn);
    batch
}

/// Takes transactions until the stream has passed `lsn`.
pub(crate) async fn until(stream: &mut ChangeStream, lsn: Lsn) -> Vec<Transaction> {
    let mut seen: Vec<Transaction> = Vec::new();
    loop {
        let batch = next(stream).await;
        seen.extend(batch.transactions);
        if batch.heartbeat.lsn >= lsn {
            assert!(seen.is_sorted_by_key(|transaction| transaction.commit.lsn));
            return seen;
        }
    }
}

/// A table kept by applying changes, as a page that holds every row is.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) rows: BTreeMap<String, Row>,
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
    match key {
        [Value::Int(number)] => number.to_string(),
        key => format!("{key:?}"),
    }
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

pub(crate) fn rows(reply: &Reply) -> &[Row] {
    match &reply.outcome {
        Outcome::Rows { rows, .. } | Outcome::Page { rows, .. } => rows,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn error<T: std::fmt::Debug>(result: Result<T, DatabaseError>) -> CommandError {
    match result {
        Err(DatabaseError::Command(error)) => error,
        other => panic!("{other:?}"),
    }
}
