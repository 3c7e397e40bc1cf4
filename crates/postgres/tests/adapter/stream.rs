//! The change stream: what each kind of change becomes, and what ends a stream.

use tidegate_core::{RowChange, TableChange, Transaction, Value};
use tidegate_ports::{Database, PortError};

use crate::harness::{Model, Site, one, tenant, until};

/// The one table's change in each transaction.
fn changes(transactions: &[Transaction]) -> Vec<&TableChange> {
    let mut changes = Vec::new();
    for transaction in transactions {
        assert_eq!(transaction.tables.len(), 1);
        changes.push(&transaction.tables[0]);
    }
    changes
}

fn key_of(change: &RowChange) -> (Option<&[Value]>, Option<Value>) {
    match change {
        RowChange::Upsert { old_key, row } => (old_key.as_deref(), Some(row[0].clone())),
        RowChange::Delete { key } => (Some(key), None),
    }
}

/// Inserts, updates, altered keys, deletes: with the default identity and with all of the old row.
#[tokio::test]
async fn each_kind_of_change() {
    for identity in ["DEFAULT", "FULL", "USING INDEX by_both"] {
        let site = Site::new().await;
        site.sql(&format!(
            "CREATE TABLE t(id integer PRIMARY KEY, a text NOT NULL);
             CREATE UNIQUE INDEX by_both ON t(id, a);
             ALTER TABLE t REPLICA IDENTITY {identity}"
        ))
        .await;
        site.describe("t").await;
        let mut stream = site.db.changes().await.unwrap();
        let client = site.foreign().await;
        for sql in [
            "INSERT INTO t VALUES (1, 'x'), (2, 'y')",
            "UPDATE t SET a = 'z' WHERE id = 1",
            "UPDATE t SET id = 7 WHERE id = 1",
            "DELETE FROM t WHERE id = 7",
            "BEGIN; INSERT INTO t VALUES (9, ''); DELETE FROM t WHERE id = 9; COMMIT",
        ] {
            client.batch_execute(sql).await.unwrap();
        }
        let transactions = until(&mut stream, site.log_end().await).await;
        let changes = changes(&transactions);
        let keys: Vec<Vec<_>> = changes
            .iter()
            .map(|change| change.rows.as_ref().unwrap().iter().map(key_of).collect())
            .collect();
        let (one, two, seven, nine) = (Value::Int(1), Value::Int(2), Value::Int(7), Value::Int(9));
        let expected = vec![
            vec![(None, Some(one.clone())), (None, Some(two))],
            vec![(None, Some(one.clone()))],
            vec![(Some(std::slice::from_ref(&one)), Some(seven.clone()))],
            vec![(Some(std::slice::from_ref(&seven)), None)],
            vec![
                (None, Some(nine.clone())),
                (Some(std::slice::from_ref(&nine)), None),
            ],
        ];
        assert_eq!(keys, expected, "{identity}");
    }
}

/// A value that is stored apart and was not changed is not streamed: the table is read again,
/// unless the old row is streamed whole.
#[tokio::test]
async fn large_values() {
    let site = Site::new().await;
    site.sql(
        "CREATE TABLE t(id integer PRIMARY KEY, n integer, large text);
         ALTER TABLE t ALTER large SET STORAGE EXTERNAL;
         INSERT INTO t VALUES (1, 1, repeat('x', 100000))",
    )
    .await;
    let schema = site.describe("t").await;
    let mut model = site.model(&schema).await;
    let mut stream = site.db.changes().await.unwrap();
    site.sql("UPDATE t SET n = 2").await;
    let transactions = until(&mut stream, site.log_end().await).await;
    assert_eq!(changes(&transactions)[0].rows, None);
    site.sql("UPDATE t SET n = 3, large = repeat('y', 100000)")
        .await;
    let transactions = until(&mut stream, site.log_end().await).await;
    model.apply(&schema, &transactions[0]).unwrap();
    site.sql("ALTER TABLE t REPLICA IDENTITY FULL").await;
    site.sql("UPDATE t SET n = 4").await;
    until(&mut stream, site.log_end().await).await;
    site.sql("UPDATE t SET n = 5").await;
    let transactions = until(&mut stream, site.log_end().await).await;
    model.apply(&schema, &transactions[0]).unwrap();
    assert_eq!(model, site.model(&schema).await);
}

/// After a TRUNCATE, and after a table was redefined, its pages are read again; then rows follow
/// the new schema.
#[tokio::test]
async fn truncated_and_redefined() {
    let site = Site::new().await;
    site.sql("CREATE TABLE t(id integer PRIMARY KEY, n numeric(10, 4)); INSERT INTO t VALUES (1, 1.2345)")
        .await;
    let before = site.describe("t").await;
    let mut stream = site.db.changes().await.unwrap();
    let client = site.foreign().await;
    client
        .batch_execute("INSERT INTO t VALUES (2, 2)")
        .await
        .unwrap();
    client.batch_execute("TRUNCATE t").await.unwrap();
    let transactions = until(&mut stream, site.log_end().await).await;
    let rows: Vec<bool> = changes(&transactions)
        .iter()
        .map(|c| c.rows.is_some())
        .collect();
    assert_eq!(rows, [true, false]);

    client
        .batch_execute(
            "ALTER TABLE t ADD COLUMN more text DEFAULT 'm'; INSERT INTO t VALUES (3, 3)",
        )
        .await
        .unwrap();
    let after = site.describe("t").await;
    assert_ne!(before.fingerprint(), after.fingerprint());
    let transactions = until(&mut stream, site.log_end().await).await;
    assert!(
        changes(&transactions)
            .iter()
            .all(|change| change.rows.is_none())
    );
    // The stream may have been ahead of what was visible when the table was looked up; soon it is
    // looked up again, and then rows are read by the new schema.
    let mut model = Model::default();
    for id in 4.. {
        let insert = format!("INSERT INTO t VALUES ({id}, 4, 'x')");
        client.batch_execute(&insert).await.unwrap();
        let transactions = until(&mut stream, site.log_end().await).await;
        let [.., last] = &transactions[..] else {
            panic!("{transactions:?}")
        };
        if last.tables[0].rows.is_some() {
            model.apply(&after, last).unwrap();
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(model.rows.len(), 1);

    // Rewritten values are changes of no row, and the schema of the engine is the same.
    client
        .batch_execute(
            "ALTER TABLE t ALTER n TYPE numeric(10, 0); INSERT INTO t VALUES (-5, 5, '')",
        )
        .await
        .unwrap();
    assert_eq!(site.describe("t").await.fingerprint(), after.fingerprint());
    let transactions = until(&mut stream, site.log_end().await).await;
    assert_eq!(changes(&transactions)[0].rows, None);
}

/// What changes rows without a change of any: the pages are read again, and find what is there.
#[tokio::test]
async fn redefined_without_a_change() {
    let site = Site::new().await;
    site.sql(
        "CREATE TABLE p(id integer PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE p1(id integer PRIMARY KEY); INSERT INTO p1 VALUES (1);
         CREATE TABLE t(id integer PRIMARY KEY, n numeric(9, 4)); INSERT INTO t VALUES (1, 0.5555)",
    )
    .await;
    site.describe("t").await;
    site.describe("p").await;
    let mut stream = site.db.changes().await.unwrap();
    for (sql, name) in [
        ("ALTER TABLE t ALTER n TYPE numeric(9, 1)", "t"),
        (
            "ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (0) TO (10)",
            "p",
        ),
        ("ALTER TABLE t DROP n", "t"),
        ("DROP TABLE t", "t"),
    ] {
        site.sql(sql).await;
        let transaction = loop {
            let batch = crate::harness::next(&mut stream).await;
            if let Some(transaction) = batch.transactions.into_iter().next() {
                break transaction;
            }
        };
        assert_eq!(transaction.tables[0].table.as_str(), name, "{sql}");
        assert_eq!(transaction.tables[0].rows, None);
    }
}

/// A table whose definition changed within the reader's sight, but later in the stream: rows of the
/// older shape are not read by the newer.
#[tokio::test]
async fn stream_behind_the_catalog() {
    let site = Site::new().await;
    site.sql("CREATE TABLE t(id integer PRIMARY KEY, a integer, b integer)")
        .await;
    site.describe("t").await;
    let mut stream = site.db.changes().await.unwrap();
    // All of it is there before the stream is read, and the names say the opposite of the columns.
    site.sql("INSERT INTO t VALUES (1, 10, 20)").await;
    site.sql(
        "ALTER TABLE t RENAME a TO x; ALTER TABLE t RENAME b TO a; ALTER TABLE t RENAME x TO b",
    )
    .await;
    site.sql("INSERT INTO t VALUES (2, 10, 20)").await;
    let schema = site.describe("t").await;
    let transactions = until(&mut stream, site.log_end().await).await;
    for change in changes(&transactions) {
        let Some(rows) = &change.rows else { continue };
        assert_eq!(rows.len(), 1);
        if change.schema == schema.fingerprint() {
            let RowChange::Upsert { row, .. } = &rows[0] else {
                panic!("{rows:?}")
            };
            let at = schema.column_index("b").unwrap();
            assert_eq!(row[at], Value::Int(10));
        }
    }
}

/// Values of types that are not told apart are text, the same in the stream as in a read; those
/// that no type of ours holds make the pages be read again, and reading them an error in words.
#[tokio::test]
async fn other_types_and_unreadable_values() {
    let site = Site::new().await;
    site.sql(
        "CREATE TYPE mood AS ENUM ('ok', 'sad'); CREATE DOMAIN short AS varchar(9) CHECK (length(value) < 9);
         CREATE TABLE t(id integer PRIMARY KEY, m mood, i inet, a text[], j jsonb, o json, p point, v interval,
           g timetz, q short, y money, r int4range, x xml, z cidr, w \"char\", l name, k bit(3))",
    )
    .await;
    let schema = site.describe("t").await;
    let mut stream = site.db.changes().await.unwrap();
    site.sql(
        "INSERT INTO t VALUES (1, 'sad', '10.0.0.1', '{a,NULL,\"b c\"}', '{\"b\": 1, \"a\": [1.0]}', '{\"b\":1 }',
           '(1,2)', '1 mon 2 days', '03:04:05+02', 'dom', 12.5, '[1,5)', '<a/>', '10.0.0.0/8', 'x', 'n', B'101'),
           (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
    )
    .await;
    let mut model = Model::default();
    for transaction in until(&mut stream, site.log_end().await).await {
        model.apply(&schema, &transaction).unwrap();
    }
    assert_eq!(model, site.model(&schema).await);
    let row = &model.rows["1"];
    assert_eq!(row[2], Value::text("10.0.0.1"));

    site.sql("CREATE TABLE s(id integer PRIMARY KEY, at timestamptz)")
        .await;
    let schema = site.describe("s").await;
    site.sql("INSERT INTO s VALUES (1, 'infinity')").await;
    site.sql("INSERT INTO s VALUES (2, '2026-01-01')").await;
    let transactions = until(&mut stream, site.log_end().await).await;
    let rows: Vec<bool> = changes(&transactions)
        .iter()
        .map(|c| c.rows.is_some())
        .collect();
    assert_eq!(rows, [false, true]);
    let error = crate::harness::error(site.snapshot(&schema).await);
    assert_eq!(
        error.to_string(),
        "table s: column at (timestamp) holds a time outside of the years 0001 to 9999"
    );
}

/// Names that want to be SQL, and names of other cases and scripts.
#[tokio::test]
async fn hostile_names() {
    let site = Site::new().await;
    let names = [
        "a\"b",
        "x'; DROP TABLE t; --",
        "Ünïcode",
        "UPPER",
        "select",
        "with space",
        "t",
    ];
    let mut stream = None;
    for name in names {
        let quoted = tidegate_sql::quoted(name);
        site.sql(&format!(
            "CREATE TABLE {quoted}({quoted} integer PRIMARY KEY, \"$1\" text)"
        ))
        .await;
        let schema = site.describe(name).await;
        let stream = match &mut stream {
            Some(stream) => stream,
            none => none.insert(site.db.changes().await.unwrap()),
        };
        site.sql(&format!("INSERT INTO {quoted} VALUES (1, '')"))
            .await;
        let mut model = Model::default();
        for transaction in until(stream, site.log_end().await).await {
            model.apply(&schema, &transaction).unwrap();
        }
        assert_eq!(model, site.model(&schema).await, "{name}");
        assert_eq!(model.rows.len(), 1, "{name}");
    }
}

/// Rows of partitions come under the name of the whole.
#[tokio::test]
async fn partitions() {
    let site = Site::new().await;
    site.sql(
        "CREATE TABLE t(id integer PRIMARY KEY, a text) PARTITION BY RANGE (id);
         CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);
         CREATE TABLE t2 (a text, id integer NOT NULL);
         ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM (10) TO (20)",
    )
    .await;
    let schema = site.describe("t").await;
    let mut stream = site.db.changes().await.unwrap();
    site.sql("INSERT INTO t VALUES (1, 'a'), (11, 'b'), (2, 'c')")
        .await;
    site.sql("UPDATE t SET id = 12 WHERE id = 1").await;
    site.sql("DELETE FROM t2 WHERE id = 11").await;
    let mut model = Model::default();
    for transaction in until(&mut stream, site.log_end().await).await {
        model.apply(&schema, &transaction).unwrap();
    }
    assert_eq!(model, site.model(&schema).await);
    assert_eq!(model.rows.len(), 2);
    let why = crate::harness::error(
        site.db
            .describe(&tenant(), &crate::harness::table("t1"))
            .await,
    );
    assert_eq!(
        why.to_string(),
        "table t1 is a partition of t: watch that one"
    );
}

/// More than is worth streaming is not: the pages are read again.
#[tokio::test]
async fn large_transactions() {
    let site = Site::new().await;
    site.sql("CREATE TABLE t(id integer PRIMARY KEY); CREATE TABLE s(id integer PRIMARY KEY)")
        .await;
    site.describe("t").await;
    site.describe("s").await;
    let mut stream = site.db.changes().await.unwrap();
    site.sql(
        "BEGIN; INSERT INTO s VALUES (1); INSERT INTO t SELECT generate_series(1, 10001); COMMIT",
    )
    .await;
    let transactions = until(&mut stream, site.log_end().await).await;
    let [transaction] = &transactions[..] else {
        panic!("one transaction")
    };
    let rows: Vec<_> = transaction
        .tables
        .iter()
        .map(|t| t.rows.as_ref().map(Vec::len))
        .collect();
    assert_eq!(rows, [Some(1), None]);
}

/// The stream ends with its connection, says so, and leaves no slot; the next one is right.
#[tokio::test]
async fn killed_sender() {
    let site = Site::new().await;
    site.sql("CREATE TABLE t(id integer PRIMARY KEY)").await;
    let schema = site.describe("t").await;
    let mut stream = site.db.changes().await.unwrap();
    let client = site.foreign().await;
    client
        .batch_execute("INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    assert_eq!(until(&mut stream, site.log_end().await).await.len(), 1);
    let kill = "SELECT count(pg_terminate_backend(active_pid))::text FROM pg_replication_slots \
                WHERE database = current_database()";
    assert_eq!(one(&client, kill).await, "1");
    let error = loop {
        match stream.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("it says why it ends"),
        }
    };
    assert!(matches!(error, PortError::Unavailable { .. }), "{error:?}");
    assert!(stream.next().await.is_none());
    client
        .batch_execute("INSERT INTO t VALUES (2)")
        .await
        .unwrap();
    let mut stream = site.db.changes().await.unwrap();
    let mut model = site.model(&schema).await;
    client
        .batch_execute("INSERT INTO t VALUES (3)")
        .await
        .unwrap();
    for transaction in until(&mut stream, site.log_end().await).await {
        model.apply(&schema, &transaction).unwrap();
    }
    assert_eq!(model.rows.len(), 3);
    drop(stream);
    let slots =
        "SELECT count(*)::text FROM pg_replication_slots WHERE database = current_database()";
    while one(&client, slots).await != "0" {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// What was acknowledged is let go of.
#[tokio::test]
async fn acknowledged_log_is_let_go() {
    let site = Site::new().await;
    site.sql("CREATE TABLE t(id integer PRIMARY KEY)").await;
    site.describe("t").await;
    let mut stream = site.db.changes().await.unwrap();
    let client = site.foreign().await;
    client
        .batch_execute("INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    let end = site.log_end().await;
    until(&mut stream, end).await;
    let confirmed = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots \
                     WHERE database = current_database()";
    loop {
        let lsn: tidegate_core::Lsn = one(&client, confirmed).await.parse().unwrap();
        if lsn >= end {
            break;
        }
        crate::harness::next(&mut stream).await;
    }
}
