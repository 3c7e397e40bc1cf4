//! Tenants that share tables: what every database promises of them, and what is SQLite's own.

use async_trait::async_trait;
use tidegate_core::{Command, CommandError, Outcome, Tenancy, TenantId};
use tidegate_ports::conformance::{
    SharedTables, TENANT_COLUMN, TenantType, commands_keep_tenants_apart,
    the_stream_keeps_tenants_apart,
};
use tidegate_ports::{Database, DatabaseError};
use tidegate_sqlite::SqliteDatabase;

use crate::harness::{Folder, by, config, error, foreign, number, row, rows, table, text};

struct Site {
    db: SqliteDatabase,
    folder: Folder,
}

impl Site {
    fn new() -> Self {
        let folder = Folder::new();
        let mut config = config(&folder.file());
        config.tenancy = Tenancy::Column(TENANT_COLUMN.into());
        let db = SqliteDatabase::open(config).unwrap();
        Self { db, folder }
    }
}

#[async_trait]
impl SharedTables for Site {
    fn database(&self) -> &dyn Database {
        &self.db
    }

    async fn run(&self, statements: &str) {
        let all = format!("BEGIN IMMEDIATE; {statements}; COMMIT");
        foreign(&self.folder.file()).execute_batch(&all).unwrap();
    }

    async fn read(&self, statement: &str) -> Vec<(i64, i64)> {
        let connection = foreign(&self.folder.file());
        let mut prepared = connection.prepare(statement).unwrap();
        let rows = prepared.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.unwrap().map(Result::unwrap).collect()
    }

    fn is_of(&self, tenant: &str) -> String {
        format!("{TENANT_COLUMN} || '' = '{tenant}'")
    }

    fn tells_whose(&self, _: &str) -> String {
        String::new()
    }

    fn replaces(&self) -> bool {
        true
    }
}

const TEXT: TenantType = TenantType {
    sql: "TEXT",
    tenants: ["acme", "beta"],
    misfit: None,
};
const ANY_CASE: TenantType = TenantType {
    sql: "TEXT COLLATE NOCASE",
    tenants: ["acme", "ACME"],
    misfit: None,
};
const INTEGER: TenantType = TenantType {
    sql: "INTEGER",
    tenants: ["1", "10"],
    misfit: Some("01"),
};
const UUID: TenantType = TenantType {
    sql: "UUID",
    tenants: [
        "0190a6e0-1111-7abc-8def-0123456789ab",
        "0190a6e0-1111-7abc-8def-0123456789ac",
    ],
    misfit: Some("1e3"),
};

#[tokio::test]
async fn commands_are_apart() {
    for of in [TEXT, INTEGER, UUID] {
        commands_keep_tenants_apart(&Site::new(), of).await;
    }
}

#[tokio::test]
async fn streams_are_apart() {
    for (of, seed) in [(TEXT, 1), (INTEGER, 2), (UUID, 3)] {
        the_stream_keeps_tenants_apart(&Site::new(), of, seed).await;
    }
}

/// A column that takes `acme` and `ACME` for equal has them as two tenants all the same, but one
/// row of a key at most.
#[tokio::test]
async fn tenants_differ_by_their_bytes() {
    the_stream_keeps_tenants_apart(&Site::new(), ANY_CASE, 4).await;
}

/// Without schemas there is none for each tenant.
#[tokio::test]
async fn tenants_by_schema_are_refused() {
    let folder = Folder::new();
    let mut config = config(&folder.file());
    config.tenancy = Tenancy::Schema;
    let refused = SqliteDatabase::open(config).err().unwrap().to_string();
    assert!(refused.contains("that takes Postgres"), "{refused}");
}

/// A column that cannot say whose a row is says so, and nobody has rows of the table.
#[tokio::test]
async fn columns_that_name_nobody() {
    let site = Site::new();
    site.run(
        "CREATE TABLE odd(id INTEGER PRIMARY KEY, tenant_id NUMERIC); INSERT INTO odd VALUES (1, 7);
         CREATE TABLE computed(id INTEGER PRIMARY KEY, tenant_id TEXT AS ('acme'));
         CREATE TABLE alone(tenant_id TEXT PRIMARY KEY)",
    )
    .await;
    let acme = TenantId::parse("7").unwrap();
    for (name, part) in [
        ("odd", "has numeric, which cannot say whose a row is"),
        ("computed", "is computed"),
        ("alone", "has no primary key"),
    ] {
        let refused = match site.db.describe(&acme, &table(name)).await {
            Err(DatabaseError::Command(error)) => error,
            other => panic!("{other:?}"),
        };
        assert!(matches!(refused, CommandError::UnsupportedTable(_)));
        assert!(refused.to_string().contains(part), "{refused}");
    }
    let add = Command::AddSingle(table("odd"), row(&[("id", text("2"))]));
    let refused = error(site.db.execute(&acme, add).await);
    assert!(matches!(refused, CommandError::Constraint(_)), "{refused}");
}

/// What is unique together with the tenant names one row of its own.
#[tokio::test]
async fn unique_with_the_tenant() {
    let site = Site::new();
    site.run(
        "CREATE TABLE t(tenant_id TEXT, id INTEGER PRIMARY KEY, n INTEGER, UNIQUE(n, tenant_id));
         INSERT INTO t VALUES ('beta', 1, 7), ('acme', 2, 7), ('beta', 3, 8)",
    )
    .await;
    let acme = TenantId::parse("acme").unwrap();
    let delete = async |n: &str| {
        let delete = Command::DeleteRow(table("t"), by("n", n));
        site.db.execute(&acme, delete).await.unwrap().outcome
    };
    assert_eq!(delete("7").await, Outcome::Bool(true));
    assert_eq!(delete("8").await, Outcome::Bool(false));
    let left = site.read("SELECT id, n FROM t ORDER BY id").await;
    assert_eq!(left, [(1, 7), (3, 8)]);
}

/// A trigger may give a row away; then whoever wrote it is not shown it.
#[tokio::test]
async fn rows_given_away_are_not_shown() {
    let site = Site::new();
    site.run(
        "CREATE TABLE t(tenant_id TEXT, id INTEGER PRIMARY KEY);
         CREATE TRIGGER away AFTER INSERT ON t BEGIN
           UPDATE t SET tenant_id = 'beta' WHERE id = NEW.id; END",
    )
    .await;
    let acme = TenantId::parse("acme").unwrap();
    let add = Command::AddSingle(table("t"), row(&[("id", number("1"))]));
    let reply = site.db.execute(&acme, add).await.unwrap();
    assert!(rows(&reply).is_empty(), "{reply:?}");
    assert_eq!(
        site.read("SELECT id, 0 FROM t WHERE tenant_id = 'beta'")
            .await,
        [(1, 0)]
    );
}
