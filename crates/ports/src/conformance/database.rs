//! What every database promises: answers, snapshots with their fence, changes, commands.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tidegate_core::{
    Command, KeySpec, LimitRule, Literal, Lsn, Query, QuerySpec, Reply, Row, RowChange, TableName,
    TableSchema, TenantId, Transaction, Value,
};

use super::corpus::{CORPUS_SQL, CORPUS_TABLE, corpus_cases};
use crate::database::{ChangeStream, Database, DatabaseError, Snapshot, SnapshotRequest};

/// A database under test, and another program at it.
#[async_trait]
pub trait DatabaseSite: Send + Sync {
    /// The database.
    fn database(&self) -> &dyn Database;
    /// Whose tables go by their own names.
    fn tenant(&self) -> TenantId;
    /// Runs statements, as one transaction of another program.
    async fn run(&self, statements: &str);
}

async fn describe(site: &dyn DatabaseSite, name: &str) -> Arc<TableSchema> {
    let table = TableName::parse(name).expect("valid");
    let described = site.database().describe(&site.tenant(), &table).await;
    described.expect("it can be watched")
}

async fn snapshot(site: &dyn DatabaseSite, query: Arc<Query>) -> Snapshot {
    let request = SnapshotRequest {
        tenant: site.tenant(),
        rows_max: query.limit(),
        query,
    };
    let snapshot = site.database().snapshot(request).await;
    snapshot.expect("it can be read")
}

/// Every query of the corpus gives its rows, and a page that was cut says so.
///
/// # Panics
/// When it does not.
pub async fn answers_conform(site: &dyn DatabaseSite) {
    site.run(CORPUS_SQL).await;
    let schema = describe(site, CORPUS_TABLE).await;
    for case in corpus_cases() {
        let found = snapshot(site, case.query(&schema)).await;
        case.check(&found.rows);
        assert!(found.complete, "{:?}", case.spec);
    }
    let few = QuerySpec {
        limit: Some(2),
        ..QuerySpec::default()
    };
    let few = Query::from_spec(&few, &schema, LimitRule::SUBSCRIPTION).expect("valid");
    let cut = snapshot(site, Arc::new(few)).await;
    assert_eq!((cut.rows.len(), cut.complete), (2, false));
}

type Numbers = BTreeMap<i64, Value>;

fn id(value: &Value) -> i64 {
    match value {
        Value::Int(id) => *id,
        other => panic!("an id is an integer: {other:?}"),
    }
}

fn numbers(rows: &[Row]) -> Numbers {
    rows.iter()
        .map(|row| (id(&row[0]), row[1].clone()))
        .collect()
}

fn apply(numbers: &mut Numbers, transaction: &Transaction) {
    for change in transaction.tables.iter().flat_map(|table| &table.rows) {
        for change in change {
            match change {
                RowChange::Upsert { old_key, row } => {
                    if let Some(key) = old_key {
                        numbers.remove(&id(&key[0]));
                    }
                    numbers.insert(id(&row[0]), row[1].clone());
                }
                RowChange::Delete { key } => {
                    numbers.remove(&id(&key[0]));
                }
            }
        }
    }
}

/// Transactions until the stream has passed a position.
async fn until(stream: &mut ChangeStream, lsn: Lsn) -> Vec<Transaction> {
    let mut seen = Vec::new();
    loop {
        let batch = stream.next().await.expect("it goes on").expect("it works");
        stream.acknowledge(batch.heartbeat.lsn);
        seen.extend(batch.transactions);
        if batch.heartbeat.lsn >= lsn {
            return seen;
        }
    }
}

/// Transactions come whole, once and in order; a snapshot has exactly those that its fence says;
/// what a command wrote has come when the stream has passed its position.
///
/// # Panics
/// When that is not so.
pub async fn changes_conform(site: &dyn DatabaseSite) {
    site.run("CREATE TABLE c(id INTEGER PRIMARY KEY, n INTEGER)")
        .await;
    let schema = describe(site, "c").await;
    let whole = Query::from_spec(&QuerySpec::default(), &schema, LimitRule::SUBSCRIPTION);
    let whole = Arc::new(whole.expect("valid"));
    let stream = site.database().changes().await;
    let mut stream = stream.expect("it can be streamed");
    site.run("INSERT INTO c VALUES (1, 10), (2, 20), (3, NULL)")
        .await;
    let early = snapshot(site, Arc::clone(&whole)).await;
    // A database may be unable to tell strangers' commits apart that wait together.
    let mut seen = until(&mut stream, early.fence.horizon()).await;
    site.run(
        "UPDATE c SET n = 11 WHERE id = 1; DELETE FROM c WHERE id = 2; \
              UPDATE c SET id = 9 WHERE id = 3; INSERT INTO c VALUES (4, 40)",
    )
    .await;
    let (last, refused) = command(site).await;
    let late = snapshot(site, whole).await;
    seen.extend(until(&mut stream, last.max(late.fence.horizon())).await);

    assert_eq!(seen.len(), 4, "two strangers' and two commands': {seen:?}");
    assert!(seen.is_sorted_by(|a, b| a.commit.lsn < b.commit.lsn));
    assert!(
        seen[3].commit.lsn <= last,
        "a write's position has the write"
    );
    for (snapshot, count) in [(early, 1), (late, 4)] {
        let mut expected = Numbers::new();
        for (at, transaction) in seen.iter().enumerate() {
            let is_in = snapshot.fence.contains(&transaction.commit);
            assert_eq!(is_in, at < count, "{:?}", snapshot.fence);
            if is_in {
                apply(&mut expected, transaction);
                assert!(transaction.commit.lsn <= snapshot.fence.horizon());
            }
        }
        assert_eq!(numbers(&snapshot.rows), expected);
    }
    assert!(refused, "a key that is taken is the client's mistake");
    let lives = [
        site.database().next_life().await,
        site.database().next_life().await,
    ];
    let [first, second] = lives.map(|life| life.expect("there is one"));
    assert!(first.get() < second.get());
}

/// Adds a row and alters it; gives the last position, and whether a key that is taken is refused.
async fn command(site: &dyn DatabaseSite) -> (Lsn, bool) {
    let table = || TableName::parse("c").expect("valid");
    let value = |name: &str, number: &str| (name.to_owned(), Literal::Number(number.to_owned()));
    let key = |text: &str| KeySpec {
        column: None,
        text: text.to_owned(),
        parts: None,
    };
    let tenant = site.tenant();
    let run = async |command: Command| -> Result<Reply, DatabaseError> {
        site.database().execute(&tenant, command).await
    };
    let row = || vec![value("id", "5"), value("n", "50")];
    let added = run(Command::AddSingle(table(), row())).await;
    let added = added
        .expect("it is new")
        .lsn
        .expect("a write has a position");
    let taken = run(Command::AddSingle(table(), row())).await;
    let nothing = run(Command::DeleteRow(table(), key("77"))).await;
    assert_eq!(nothing.expect("it is no mistake").lsn, None);
    let update = Command::UpdateSingle(table(), key("5"), vec![value("n", "51")]);
    let altered = run(update).await.expect("it is there").lsn;
    let altered = altered.expect("a write has a position");
    assert!(added < altered);
    (altered, matches!(taken, Err(DatabaseError::Command(_))))
}
