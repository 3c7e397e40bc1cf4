//! Capture.

use tidegate_sqlite::SqliteDatabase;

use crate::harness::{Folder, Model, config, describe, log_end, python, snapshot, until};
use tidegate_ports::Database;

/// Another process writes.
#[tokio::test]
async fn sees_other_processes() {
    let folder = Folder::new();
    let path = folder.file();
    python(
        &path,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT UNIQUE, x)",
    );
    let db = SqliteDatabase::open(config(&path)).unwrap();
    let mut stream = db.changes().await.unwrap();
    let schema = describe(&db, "t").await;
    let before = snapshot(&db, &schema).await.unwrap();
    let mut model = Model::of(&schema, &before.rows);
    python(
        &path,
        "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2.5), (3, 'c', x'00ff'); INSERT OR REPLACE INTO t VALUES (4, 'a', NULL); UPDATE t SET id = id + 10; INSERT OR IGNORE INTO t VALUES (99, 'b', 1); DELETE FROM t WHERE id = 13",
    );
    for transaction in until(&mut stream, log_end(&path)).await {
        model.apply(&schema, &transaction).unwrap();
    }
    let after = snapshot(&db, &schema).await.unwrap();
    assert_eq!(model, Model::of(&schema, &after.rows));
    assert_eq!(after.rows.len(), 2);
}
