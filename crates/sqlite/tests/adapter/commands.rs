//! Commands.

use tidegate_core::{Command, Literal, Outcome, Selection};
use tidegate_ports::Database;
use tidegate_sqlite::SqliteDatabase;

use crate::harness::{Folder, config, foreign, run, table, tenant, until};

/// A write is answered with the position of its commit, and the stream passes it with that change alone.
#[tokio::test]
async fn writes_are_answered_with_their_position() {
    let folder = Folder::new();
    let path = folder.file();
    foreign(&path)
        .execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT)")
        .unwrap();
    let db = SqliteDatabase::open(config(&path)).unwrap();
    let mut stream = db.changes().await.unwrap();
    let values = vec![("name".to_owned(), Literal::Text("x".into()))];
    let reply = run(&db, Command::AddSingle(table("t"), values))
        .await
        .unwrap();
    let lsn = reply.lsn.unwrap();
    let seen = until(&mut stream, lsn).await;
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].commit.lsn, lsn);
    let read = db
        .execute(
            &tenant(),
            Command::GetData(table("t"), Selection::default()),
        )
        .await
        .unwrap();
    let Outcome::Page { rows, .. } = read.outcome else {
        panic!()
    };
    assert_eq!(rows.len(), 1);
}
