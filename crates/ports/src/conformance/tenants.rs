//! What every database promises of tables that tenants share.
//!
//! The column that says whose a row is is called [`TENANT_COLUMN`]. What the database gives is held
//! against what another program reads, which asks for that column itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::{
    Aggregation, ColumnDefinition, Command, CommandError, FilterSpec, KeySpec, LimitRule, Literal,
    Lsn, ModifierSpec, Operator, OrderSpec, Outcome, Query, QueryError, QuerySpec, RowChange,
    Selection, Sort, TableDefinition, TableInfo, TableName, TableSchema, TenantId, Transaction,
    Value,
};

use crate::database::{ChangeStream, Database, DatabaseError, SnapshotRequest};

/// The name that the database under test is told.
pub const TENANT_COLUMN: &str = "tenant_id";

/// A database under test, and another program at it.
#[async_trait]
pub trait SharedTables: Send + Sync {
    /// The database.
    fn database(&self) -> &dyn Database;
    /// Runs statements, as one transaction of another program.
    async fn run(&self, statements: &str);
    /// Reads rows of two integers by one statement of another program.
    async fn read(&self, statement: &str) -> Vec<(i64, i64)>;
    /// The condition that a row is a tenant's, byte for byte.
    fn is_of(&self, tenant: &str) -> String;
    /// What has to be done about a table whose primary key is without the column, if anything.
    fn tells_whose(&self, table: &str) -> String;
    /// Whether it knows `INSERT OR REPLACE`.
    fn replaces(&self) -> bool;
}

/// A type of the column, and two tenants whose ids it can hold.
#[derive(Debug, Clone, Copy)]
pub struct TenantType {
    /// The type in SQL.
    pub sql: &'static str,
    /// The tenants.
    pub tenants: [&'static str; 2],
    /// A tenant whose rows it can not hold, if there is one.
    pub misfit: Option<&'static str>,
}

/// Tables `notes`, whose key holds the column, and `docs`, whose key does not, each with `id`,
/// `body` and `n`; and `plain`, without the column.
async fn prepare(site: &dyn SharedTables, of: TenantType) {
    let kind = of.sql;
    site.run(&format!(
        "CREATE TABLE notes({TENANT_COLUMN} {kind} NOT NULL, id INTEGER NOT NULL, body TEXT, \
         n INTEGER, PRIMARY KEY ({TENANT_COLUMN}, id)); \
         CREATE TABLE docs(id INTEGER PRIMARY KEY, body TEXT, {TENANT_COLUMN} {kind}, n INTEGER); \
         CREATE TABLE plain(id INTEGER PRIMARY KEY); {}",
        site.tells_whose("docs")
    ))
    .await;
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).expect("valid")
}

fn table(name: &str) -> TableName {
    TableName::parse(name).expect("valid")
}

fn text(text: &str) -> Literal {
    Literal::Text(text.to_owned())
}

fn number(number: i64) -> Literal {
    Literal::Number(number.to_string())
}

fn values(values: &[(&str, Literal)]) -> Vec<(String, Literal)> {
    let owned = |(name, value): &(&str, Literal)| ((*name).to_owned(), value.clone());
    values.iter().map(owned).collect()
}

fn key(text: &str) -> KeySpec {
    KeySpec {
        column: None,
        text: text.to_owned(),
        parts: None,
    }
}

/// One tenant's hand on the database.
struct Hand<'a> {
    site: &'a dyn SharedTables,
    tenant: TenantId,
}

impl Hand<'_> {
    async fn try_execute(&self, command: Command) -> Result<Outcome, DatabaseError> {
        let database = self.site.database();
        let reply = database.execute(&self.tenant, command).await?;
        Ok(reply.outcome)
    }

    async fn execute(&self, command: Command) -> Outcome {
        self.try_execute(command).await.expect("it is allowed")
    }

    async fn refused(&self, command: Command) -> CommandError {
        match self.try_execute(command).await {
            Err(DatabaseError::Command(error)) => error,
            other => panic!("refused: {other:?}"),
        }
    }

    async fn add(&self, name: &str, id: i64, n: i64) -> Outcome {
        let row = values(&[("id", number(id)), ("n", number(n))]);
        self.execute(Command::AddSingle(table(name), row)).await
    }

    async fn describe(&self, name: &str) -> Arc<TableSchema> {
        let database = self.site.database();
        let described = database.describe(&self.tenant, &table(name)).await;
        described.expect("it can be watched")
    }

    /// `(id, n)` of the whole table, from a snapshot.
    async fn snapshot(&self, schema: &Arc<TableSchema>) -> BTreeMap<i64, i64> {
        let rule = LimitRule::SUBSCRIPTION;
        let query = Query::from_spec(&QuerySpec::default(), schema, rule).expect("plain");
        let request = SnapshotRequest {
            tenant: self.tenant.clone(),
            query: Arc::new(query),
            rows_max: 10_000,
        };
        let database = self.site.database();
        let snapshot = database.snapshot(request).await.expect("it is up");
        snapshot.rows.iter().map(|row| pair(schema, row)).collect()
    }

    /// `(id, n)` of the whole table, from GET_DATA.
    async fn get(&self, name: &str) -> BTreeMap<i64, i64> {
        let all = Command::GetData(table(name), Selection::default());
        match self.execute(all).await {
            Outcome::Page { schema, rows, .. } => {
                rows.iter().map(|row| pair(&schema, row)).collect()
            }
            other => panic!("rows: {other:?}"),
        }
    }

    /// The count and the sum of `n`.
    async fn total(&self, name: &str) -> (u64, Option<String>) {
        let wanted = Aggregation {
            sum: vec!["n".to_owned()],
            ..Aggregation::default()
        };
        match self
            .execute(Command::RunAggregation(table(name), wanted))
            .await
        {
            Outcome::Aggregates(found) => {
                let sum = found.sum[0].1.as_ref();
                (found.count, sum.map(|sum| sum.as_str().to_owned()))
            }
            other => panic!("aggregates: {other:?}"),
        }
    }

    async fn single(&self, name: &str, id: &str) -> Option<(i64, i64)> {
        match self.execute(Command::GetSingle(table(name), key(id))).await {
            Outcome::Row { schema, row } => row.map(|row| pair(&schema, &row)),
            other => panic!("a row: {other:?}"),
        }
    }

    /// How many rows an update changed.
    async fn update(&self, name: &str, id: &str, n: i64) -> usize {
        let row = values(&[("n", number(n))]);
        match self
            .execute(Command::UpdateSingle(table(name), key(id), row))
            .await
        {
            Outcome::Rows { rows, .. } => rows.len(),
            other => panic!("rows: {other:?}"),
        }
    }

    async fn delete(&self, name: &str, id: &str) -> bool {
        match self.execute(Command::DeleteRow(table(name), key(id))).await {
            Outcome::Bool(deleted) => deleted,
            other => panic!("yes or no: {other:?}"),
        }
    }

    async fn exists(&self, name: &str) -> bool {
        match self.execute(Command::TableExists(table(name))).await {
            Outcome::Bool(exists) => exists,
            other => panic!("yes or no: {other:?}"),
        }
    }

    async fn tables(&self) -> Vec<TableInfo> {
        match self.execute(Command::ListTables).await {
            Outcome::Tables(tables) => tables,
            other => panic!("tables: {other:?}"),
        }
    }
}

fn pair(schema: &TableSchema, row: &[Value]) -> (i64, i64) {
    assert_eq!(
        row.len(),
        schema.columns().len(),
        "no column but those told"
    );
    let int = |name: &str| match row[schema.column_index(name).expect("it is there")] {
        Value::Int(number) => number,
        ref other => panic!("a number: {other:?}"),
    };
    (int("id"), int("n"))
}

/// No command and no snapshot of one tenant reaches, shows or counts a row of another; the column
/// is not there for it.
pub async fn commands_keep_tenants_apart(site: &dyn SharedTables, of: TenantType) {
    prepare(site, of).await;
    let [ours, theirs] = of.tenants.map(|name| Hand {
        site,
        tenant: tenant(name),
    });
    the_column_is_hidden(&ours).await;
    // The same key twice, where it is one within a tenant.
    for (hand, n) in [(&ours, 10), (&theirs, 20)] {
        hand.add("notes", 1, n).await;
    }
    ours.add("notes", 2, 12).await;
    ours.add("docs", 5, 15).await;
    site.run("INSERT INTO docs(id, n) VALUES (6, 16)").await;
    for (hand, notes, docs) in [
        (&ours, &[(1, 10), (2, 12)][..], &[(5, 15)][..]),
        (&theirs, &[(1, 20)][..], &[][..]),
    ] {
        for (name, expect) in [("notes", notes), ("docs", docs)] {
            let expect: BTreeMap<i64, i64> = expect.iter().copied().collect();
            assert_eq!(hand.get(name).await, expect);
            let schema = hand.describe(name).await;
            assert_eq!(hand.snapshot(&schema).await, expect);
            let sum = (!expect.is_empty()).then(|| expect.values().sum::<i64>().to_string());
            assert_eq!(hand.total(name).await, (expect.len() as u64, sum));
        }
    }
    assert_eq!(theirs.single("notes", "1").await, Some((1, 20)));
    for (name, id) in [("notes", "2"), ("docs", "5"), ("docs", "6")] {
        assert_eq!(theirs.single(name, id).await, None);
        assert_eq!(theirs.update(name, id, 99).await, 0);
        assert!(!theirs.delete(name, id).await);
    }
    assert_eq!(theirs.update("notes", "1", 21).await, 1);
    assert!(theirs.delete("notes", "1").await);
    assert_eq!(ours.get("notes").await, [(1, 10), (2, 12)].into());
    let taken = Command::AddSingle(table("docs"), values(&[("id", number(5))]));
    let refused = theirs.refused(taken).await;
    assert!(
        matches!(refused, CommandError::Constraint(_)),
        "{refused:?}"
    );
    tables_are_nobodys_own(&theirs).await;
    if let Some(misfit) = of.misfit {
        fits_nowhere(site, misfit).await;
    }
}

async fn the_column_is_hidden(hand: &Hand<'_>) {
    for name in ["notes", "docs"] {
        let schema = hand.describe(name).await;
        let names: Vec<&str> = schema
            .columns()
            .iter()
            .map(|column| &*column.name)
            .collect();
        assert_eq!(names, ["id", "body", "n"]);
        assert_eq!(schema.key(), [0], "the column is no part of the key");
        let column = || TENANT_COLUMN.to_owned();
        let named = Selection {
            query: QuerySpec {
                filter: Some(FilterSpec::Test {
                    column: column(),
                    operator: Operator::IsNotNull,
                    value: None,
                    modifier: ModifierSpec::default(),
                }),
                ..QuerySpec::default()
            },
            ..Selection::default()
        };
        let ordered = Selection {
            query: QuerySpec {
                order: vec![OrderSpec {
                    column: column(),
                    sort: Sort::AscDefault,
                    is_pk: false,
                }],
                ..QuerySpec::default()
            },
            ..Selection::default()
        };
        let lowest = Aggregation {
            minimum: vec![column()],
            ..Aggregation::default()
        };
        let by_column = KeySpec {
            column: Some(column()),
            ..key("1")
        };
        let given = || values(&[("id", number(9)), (TENANT_COLUMN, text("1"))]);
        for command in [
            Command::GetData(table(name), named),
            Command::GetData(table(name), ordered),
            Command::RunAggregation(table(name), lowest),
            Command::GetSingle(table(name), by_column.clone()),
            Command::DeleteRow(table(name), by_column),
            Command::AddSingle(table(name), given()),
            Command::UpdateSingle(table(name), key("1"), given()),
        ] {
            let refused = hand.refused(command).await;
            let is_unknown = matches!(
                refused,
                CommandError::Query(QueryError::UnknownColumn { .. })
            );
            assert!(is_unknown, "{refused:?}");
        }
    }
}

async fn tables_are_nobodys_own(hand: &Hand<'_>) {
    assert!(hand.exists("notes").await);
    assert!(!hand.exists("plain").await, "nobody's");
    let listed = hand.tables().await;
    let names: Vec<&str> = listed.iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names, ["docs", "notes"]);
    for info in &listed {
        assert_eq!(info.key, ["id"]);
        assert!(
            info.columns
                .iter()
                .all(|column| &*column.name != TENANT_COLUMN)
        );
    }
    let definition = TableDefinition {
        columns: vec![ColumnDefinition {
            name: "id".to_owned(),
            data_type: "integer".to_owned(),
            nullable: false,
            constraints: vec!["primaryKey".to_owned()],
            options: Vec::new(),
        }],
        options: Vec::new(),
        comment: None,
    };
    let refused = hand
        .refused(Command::CreateTable(table("mine"), definition))
        .await;
    assert!(
        matches!(refused, CommandError::BadCommand(_)),
        "{refused:?}"
    );
}

/// A tenant whose id is no value of the column has no rows, and can have none; it is no error.
async fn fits_nowhere(site: &dyn SharedTables, name: &str) {
    let hand = Hand {
        site,
        tenant: tenant(name),
    };
    let schema = hand.describe("notes").await;
    assert!(hand.snapshot(&schema).await.is_empty());
    assert!(hand.get("notes").await.is_empty());
    assert_eq!(hand.total("notes").await, (0, None));
    assert_eq!(hand.single("notes", "1").await, None);
    assert_eq!(hand.update("notes", "1", 99).await, 0);
    assert!(!hand.delete("notes", "1").await);
    let added = Command::AddSingle(table("notes"), values(&[("id", number(7))]));
    let refused = hand.refused(added).await;
    assert!(
        matches!(refused, CommandError::Constraint(_)),
        "{refused:?}"
    );
}

/// What one tenant's reader keeps of one table.
struct Kept {
    tenant: TenantId,
    schema: Arc<TableSchema>,
    rows: BTreeMap<i64, i64>,
}

impl Kept {
    /// Whether the rows are those that there are; else they have to be read again.
    fn apply(&mut self, transaction: &Transaction) -> bool {
        let (tenant, table) = (self.tenant.clone(), self.schema.table());
        if transaction.resets.iter().any(|reset| reset.table == *table) {
            return false;
        }
        let concerns = |change: &&tidegate_core::TableChange| {
            change.tenant == tenant && change.table == *table
        };
        for change in transaction.tables.iter().filter(concerns) {
            assert_eq!(change.schema, self.schema.fingerprint());
            let Some(changes) = &change.rows else {
                return false;
            };
            for change in changes {
                match change {
                    RowChange::Delete { key } => remove(&mut self.rows, key),
                    RowChange::Upsert { old_key, row } => {
                        if let Some(old_key) = old_key {
                            remove(&mut self.rows, old_key);
                        }
                        let (id, n) = pair(&self.schema, row);
                        self.rows.insert(id, n);
                    }
                }
            }
        }
        true
    }
}

fn remove(rows: &mut BTreeMap<i64, i64>, key: &[Value]) {
    match key {
        [Value::Int(id)] => rows.remove(id),
        other => panic!("a key of one column: {other:?}"),
    };
}

/// Whatever happens to shared tables, also when rows go from one tenant to another, alone or many
/// in a transaction, what the stream tells each tenant adds up to its own rows. Random writes, of
/// this seed.
pub async fn the_stream_keeps_tenants_apart(site: &dyn SharedTables, of: TenantType, seed: u64) {
    prepare(site, of).await;
    let hand = |name: &str| Hand {
        site,
        tenant: tenant(name),
    };
    let mut kept = Vec::new();
    for name in ["notes", "docs"] {
        for tenant in of.tenants {
            let hand = hand(tenant);
            let schema = hand.describe(name).await;
            kept.push(Kept {
                tenant: hand.tenant.clone(),
                schema,
                rows: BTreeMap::new(),
            });
        }
    }
    let mut stream = site.database().changes().await.expect("it is set up");
    let mut dice = Dice(seed);
    for step in 0..STEPS {
        let statements = dice.transaction(of, site.replaces());
        site.run(&statements).await;
        let marker = hand(of.tenants[0]);
        let told = pass(&marker, &mut stream, MARKERS + step).await;
        for kept in &mut kept {
            let whole = told.iter().all(|transaction| kept.apply(transaction));
            if !whole {
                let hand = hand(kept.tenant.as_str());
                kept.rows = hand.snapshot(&kept.schema).await;
            }
            let (table, tenant) = (kept.schema.table(), &kept.tenant);
            let is_own = site.is_of(tenant.as_str());
            let all = format!("SELECT id, n FROM {table} WHERE {is_own}");
            let expect: BTreeMap<i64, i64> = site.read(&all).await.into_iter().collect();
            assert_eq!(
                kept.rows, expect,
                "{table} of {tenant}, seed {seed}, step {step}, after {statements}"
            );
        }
    }
    for kept in &kept {
        let snapshot = hand(kept.tenant.as_str()).snapshot(&kept.schema).await;
        assert_eq!(snapshot, kept.rows, "SQL says what the stream says");
    }
}

/// Transactions of one run.
const STEPS: i64 = 60;

/// Keys of rows that tell how far the stream is; others are far below.
const MARKERS: i64 = 1_000_000;

/// Takes from the stream until it has passed everything committed before.
async fn pass(marker: &Hand<'_>, stream: &mut ChangeStream, id: i64) -> Vec<Transaction> {
    let row = values(&[("id", number(id)), ("n", number(0))]);
    let add = Command::AddSingle(table("notes"), row);
    let reply = marker.site.database().execute(&marker.tenant, add).await;
    let lsn: Lsn = reply.expect("it is up").lsn.expect("it wrote");
    let mut told = Vec::new();
    loop {
        let next = tokio::time::timeout(Duration::from_secs(30), stream.next());
        let batch = next.await.expect("the stream goes on").expect("it is open");
        let batch = batch.expect("it is up");
        stream.acknowledge(batch.heartbeat.lsn);
        told.extend(batch.transactions);
        if batch.heartbeat.lsn >= lsn {
            return told;
        }
    }
}

/// Random statements. A generator of its own, so that a seed means the same for ever.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn transaction(&mut self, of: TenantType, replaces: bool) -> String {
        let count = 1 + self.roll(4);
        let statements = (0..count).map(|_| self.statement(of, replaces));
        statements.collect::<Vec<_>>().join("; ")
    }

    fn statement(&mut self, of: TenantType, replaces: bool) -> String {
        let table = ["notes", "docs"][self.roll(2) as usize];
        let tenant = |dice: &mut Self| match (table, dice.roll(8)) {
            ("docs", 0) => "NULL".to_owned(),
            (_, roll) => format!("'{}'", of.tenants[(roll % 2) as usize]),
        };
        let (from, to) = (tenant(self), tenant(self));
        let (id, other, n) = (self.roll(12), self.roll(12), self.roll(1_000));
        let free = |id: u64, owner: &str| match table {
            "docs" => format!("NOT EXISTS (SELECT 1 FROM docs AS x WHERE x.id = {id})"),
            _ => format!(
                "NOT EXISTS (SELECT 1 FROM notes AS x WHERE x.{TENANT_COLUMN} = {owner} AND x.id = {id})"
            ),
        };
        let insert = format!("INTO {table}({TENANT_COLUMN}, id, n) VALUES ({to}, {id}, {n})");
        match self.roll(9) {
            0 | 1 => format!("INSERT {insert} ON CONFLICT DO NOTHING"),
            2 => format!("UPDATE {table} SET n = {n} WHERE id = {id}"),
            // A move, alone and with another change of the row.
            3 => format!(
                "UPDATE {table} SET {TENANT_COLUMN} = {to} WHERE id = {id} AND {}",
                match table {
                    "docs" => "n >= 0".to_owned(),
                    _ => free(id, &to),
                }
            ),
            4 if table == "docs" => format!("UPDATE docs SET {TENANT_COLUMN} = {to}, n = {n}"),
            4 | 5 => format!(
                "UPDATE {table} SET {TENANT_COLUMN} = {to}, id = {other}, n = {n} \
                 WHERE {TENANT_COLUMN} = {from} AND id = {id} AND {}",
                free(other, &to)
            ),
            6 => format!("DELETE FROM {table} WHERE id = {id} AND n <> 0"),
            7 if replaces => format!("INSERT OR REPLACE {insert}"),
            7 | 8 => format!(
                "INSERT {insert} ON CONFLICT ({}) DO UPDATE SET {TENANT_COLUMN} = {to}, n = {n}",
                match table {
                    "docs" => "id".to_owned(),
                    _ => format!("{TENANT_COLUMN}, id"),
                }
            ),
            _ => "SELECT 1".to_owned(),
        }
    }
}
