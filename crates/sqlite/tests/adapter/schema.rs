//! Tables that come, change and go while the database is open, and tables that cannot be watched.

use std::path::Path;
use std::sync::Arc;

use rusqlite::config::DbConfig;
use tidegate_core::{
    Command, CommandError, Literal, Outcome, Selection, TableChange, TableSchema, Transaction,
};
use tidegate_ports::{ChangeStream, Database, DatabaseError};
use tidegate_sqlite::SqliteDatabase;

use crate::harness::{
    Folder, Model, config, describe, foreign, log_end, python, run, snapshot, table, tenant, until,
};

async fn open(path: &Path, sql: &str) -> (SqliteDatabase, ChangeStream) {
    foreign(path).execute_batch(sql).unwrap();
    let db = SqliteDatabase::open(config(path)).unwrap();
    let stream = db.changes().await.unwrap();
    (db, stream)
}

fn changes_of<'a>(seen: &'a [Transaction], name: &str) -> Vec<&'a TableChange> {
    let all = seen.iter().flat_map(|seen| &seen.tables);
    all.filter(|change| change.table.as_str() == name).collect()
}

/// The refusal of a table, from its description and from the list, which agree.
async fn refusal(db: &SqliteDatabase, name: &str) -> Option<String> {
    let described = match db.describe(&tenant(), &table(name)).await {
        Ok(_) => None,
        Err(DatabaseError::Command(CommandError::UnsupportedTable(why))) => Some(why),
        Err(other) => panic!("{name}: {other:?}"),
    };
    let list = run(db, Command::ListTables).await.unwrap().outcome;
    let Outcome::Tables(tables) = list else {
        panic!()
    };
    let listed = tables
        .into_iter()
        .find(|info| info.name.as_str() == name)
        .unwrap();
    assert_eq!(described, listed.refusal);
    described
}

/// Lets another program change a table, and checks that the stream says so and goes on exactly
/// after.
async fn altered(before: &str, alter: &str, columns: &[&str], after: &str) {
    let folder = Folder::new();
    let path = folder.file();
    let (db, mut stream) = open(&path, before).await;
    let old = describe(&db, "t").await;
    foreign(&path).execute_batch(alter).unwrap();
    let new: Arc<TableSchema> = describe(&db, "t").await;
    let names: Vec<&str> = new.columns().iter().map(|column| &*column.name).collect();
    assert_eq!(names, columns, "{alter}");
    let start = snapshot(&db, &new).await.unwrap();
    let seen = until(&mut stream, start.fence.horizon()).await;
    let resets = changes_of(&seen, "t");
    // What was written after the change may be told row by row already, when the triggers were
    // rebuilt between the two: then all of it follows the new shape.
    let told = resets.iter().rposition(|change| change.rows.is_none());
    let told = told.unwrap_or_else(|| panic!("{alter}: the stream says so"));
    for change in &resets[told..] {
        assert_eq!(change.schema, new.fingerprint(), "{alter}");
    }
    if old.fingerprint() != new.fingerprint() {
        let stale = snapshot(&db, &old).await.unwrap_err().to_string();
        assert!(stale.contains("was redefined"), "{alter}: {stale}");
    }
    foreign(&path).execute_batch(after).unwrap();
    let mut model = Model::of(&new, &start.rows);
    for transaction in until(&mut stream, log_end(&path)).await {
        model.apply(&new, &transaction).unwrap();
    }
    let end = snapshot(&db, &new).await.unwrap();
    assert_eq!(model, Model::of(&new, &end.rows), "{alter}");
}

/// Columns added, renamed and dropped; tables dropped and made anew; indexes added.
#[tokio::test]
async fn alterations() {
    let table = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT UNIQUE);
        INSERT INTO t VALUES (1, 'x', 1), (2, 'y', 2)";
    altered(
        table,
        "ALTER TABLE t ADD COLUMN c TEXT DEFAULT 'new'; UPDATE t SET a = 'z' WHERE id = 1",
        &["id", "a", "b", "c"],
        "UPDATE t SET c = 'set'; INSERT INTO t VALUES (3, 'n', 3, 'c')",
    )
    .await;
    altered(
        table,
        "ALTER TABLE t RENAME COLUMN b TO bee",
        &["id", "a", "bee"],
        "REPLACE INTO t VALUES (9, 'r', 1)",
    )
    .await;
    altered(
        table,
        "ALTER TABLE t DROP COLUMN a; UPDATE t SET b = 5 WHERE id = 1",
        &["id", "b"],
        "REPLACE INTO t VALUES (9, 5); DELETE FROM t WHERE id = 2",
    )
    .await;
    altered(
        table,
        "DROP TABLE t; CREATE TABLE t(id INTEGER PRIMARY KEY, z REAL); INSERT INTO t VALUES (5, 1)",
        &["id", "z"],
        "UPDATE t SET id = 6",
    )
    .await;
    altered(
        table,
        "CREATE UNIQUE INDEX more ON t(a)",
        &["id", "a", "b"],
        "REPLACE INTO t VALUES (9, 'x', 2)",
    )
    .await;
    altered(
        table,
        "DROP TRIGGER _tidegate_1_delete; DELETE FROM t WHERE id = 1",
        &["id", "a", "b"],
        "DELETE FROM t",
    )
    .await;
    altered(
        table,
        "ALTER TABLE t RENAME TO u; CREATE TABLE t(id INTEGER PRIMARY KEY)",
        &["id"],
        "INSERT INTO t VALUES (1)",
    )
    .await;
}

/// A SQLite without quoted strings refuses to drop a column that the triggers name, and no harm is
/// done.
#[tokio::test]
async fn dropping_a_column_may_be_refused() {
    let folder = Folder::new();
    let path = folder.file();
    let (_db, _stream) = open(&path, "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT)").await;
    let strict = foreign(&path);
    for option in [
        DbConfig::SQLITE_DBCONFIG_DQS_DDL,
        DbConfig::SQLITE_DBCONFIG_DQS_DML,
    ] {
        strict.set_db_config(option, false).unwrap();
    }
    let refused = strict
        .execute_batch("ALTER TABLE t DROP COLUMN a")
        .unwrap_err();
    assert!(
        refused.to_string().contains("error in trigger _tidegate_"),
        "{refused}"
    );
    strict
        .execute_batch("INSERT INTO t VALUES (1, 'still there')")
        .unwrap();
}

/// A dropped column's name is never read as its value, though the old triggers log it as such.
#[tokio::test]
async fn a_dropped_column_is_not_misread() {
    let folder = Folder::new();
    let path = folder.file();
    let (db, mut stream) = open(&path, "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT)").await;
    python(
        &path,
        "ALTER TABLE t DROP COLUMN a; INSERT INTO t VALUES (1)",
    );
    describe(&db, "t").await;
    for change in changes_of(&until(&mut stream, log_end(&path)).await, "t") {
        assert_eq!(change.rows, None);
    }
}

/// A table that is gone is said to be: its pages are to be read again, and then there is none.
#[tokio::test]
async fn dropped_tables() {
    let folder = Folder::new();
    let path = folder.file();
    let (db, mut stream) = open(&path, "CREATE TABLE t(id INTEGER PRIMARY KEY)").await;
    let schema = describe(&db, "t").await;
    python(&path, "INSERT INTO t VALUES (1); DROP TABLE t");
    let gone = snapshot(&db, &schema).await;
    assert!(matches!(
        gone,
        Err(DatabaseError::Command(CommandError::UnknownTable(_)))
    ));
    let seen = until(&mut stream, log_end(&path)).await;
    assert_eq!(changes_of(&seen, "t").last().unwrap().rows, None);
}

/// Tables and unusual forms of them: watched exactly, or refused with a reason.
#[tokio::test]
async fn unusual_tables() {
    let folder = Folder::new();
    let path = folder.file();
    let wide: Vec<String> = (0..1_890).map(|at| format!("c{at} INT")).collect();
    let other = foreign(&path);
    other
        .execute_batch(&format!(
            "CREATE TABLE wide(id INTEGER PRIMARY KEY, {});
             CREATE TABLE wider(id INTEGER PRIMARY KEY, {}, d0, d1, d2, d3, d4, d5, d6, d7, d8, d9, e0);
             CREATE TABLE nokey(a INT);
             CREATE TABLE untyped(id PRIMARY KEY);
             CREATE TABLE document(id JSON PRIMARY KEY);
             CREATE TABLE descending(id INTEGER PRIMARY KEY DESC, x INT);
             CREATE TABLE shadowed(k TEXT NOT NULL PRIMARY KEY, rowid INT, oid INT, _rowid_ INT);
             CREATE TABLE words(\"c0\" INT, \"source\" INT, \"id\" INT NOT NULL PRIMARY KEY, \"NEW\" INT,
                \"tag\" INT UNIQUE, \"note\" INT UNIQUE);
             CREATE VIEW seen AS SELECT * FROM nokey;
             CREATE VIEW broken AS SELECT * FROM gone;
             CREATE VIRTUAL TABLE text USING fts5(body);",
            wide.join(", "),
            wide.join(", ")
        ))
        .unwrap();
    let db = SqliteDatabase::open(config(&path)).unwrap();
    let mut stream = db.changes().await.unwrap();
    for (name, reason) in [
        ("wider", "more than 1900 columns"),
        ("nokey", "no primary key"),
        ("untyped", "no type"),
        ("document", "json"),
        ("seen", "view"),
        ("text", "virtual table"),
    ] {
        let why = refusal(&db, name)
            .await
            .unwrap_or_else(|| panic!("{name} is refused"));
        assert!(why.contains(reason), "{why}");
    }
    let list = run(&db, Command::ListTables).await.unwrap().outcome;
    let Outcome::Tables(tables) = list else {
        panic!()
    };
    let inner = tables
        .iter()
        .filter(|info| info.name.as_str().contains("text_"));
    assert_eq!(
        inner.count(),
        0,
        "what a virtual table is made of is not shown"
    );
    python(
        &path,
        "INSERT INTO wide(id, c1889) VALUES (1, 7); UPDATE wide SET id = 2;
         INSERT INTO descending VALUES (1, 1), (2, 2); REPLACE INTO descending(rowid, id, x) VALUES (1, 2, 9);
         INSERT INTO shadowed VALUES ('a', 1, 1, 1), ('b', 2, 2, 2); DELETE FROM shadowed WHERE k = 'a';
         INSERT INTO words VALUES (1, 1, 1, 1, 1, 1), (2, 2, 2, 2, 2, 2); REPLACE INTO words VALUES (3, 3, 3, 3, 1, 2);",
    );
    let seen = until(&mut stream, log_end(&path)).await;
    for name in ["wide", "descending", "shadowed", "words"] {
        assert_eq!(refusal(&db, name).await, None);
        let schema = describe(&db, name).await;
        let mut model = Model::default();
        for transaction in &seen {
            model.apply(&schema, transaction).unwrap();
        }
        let end = snapshot(&db, &schema).await.unwrap();
        assert_eq!(model, Model::of(&schema, &end.rows), "{name}");
        assert_eq!(end.rows.len(), 1, "{name}");
    }
}

/// A stored value that its column's type does not allow is an error that names it, in reads, and
/// makes pages be read again, in the stream. It goes when the value goes.
#[tokio::test]
async fn unreadable_values() {
    let cases = [
        ("INTEGER", "'x'", "no integer"),
        ("INTEGER", "1.5", "no integer"),
        ("SMALLINT", "40000", "too small"),
        ("BOOLEAN", "'true'", "neither 0 nor 1"),
        ("BOOLEAN", "2", "neither 0 nor 1"),
        ("REAL", "'x'", "no number"),
        ("DECIMAL", "'x'", "no number"),
        ("TEXT", "x'00'", "no text"),
        ("TEXT", "CAST(x'ff' AS TEXT)", "UTF-8"),
        ("TIMESTAMP", "'yesterday'", "no timestamp"),
        ("TIMESTAMP", "1767323045678", "no timestamp"),
        ("TIMESTAMP", "2460000.5", "no timestamp"),
        ("DATE", "20260102", "no day"),
        ("DATE", "'2026-02-30'", "no day"),
        ("JSON", "'{'", "no JSON"),
        ("BLOB", "'text'", "no blob"),
    ];
    let folder = Folder::new();
    let path = folder.file();
    let create: Vec<String> = cases
        .iter()
        .enumerate()
        .map(|(at, (kind, ..))| {
            format!("CREATE TABLE t{at}(id TEXT NOT NULL PRIMARY KEY, v {kind})")
        })
        .collect();
    let (db, mut stream) = open(&path, &create.join(";")).await;
    for (at, (kind, value, why)) in cases.iter().enumerate() {
        let name = format!("t{at}");
        let schema = describe(&db, &name).await;
        foreign(&path)
            .execute_batch(&format!(
                "INSERT INTO {name} VALUES ('good', NULL), ('k', {value})"
            ))
            .unwrap();
        let refused = snapshot(&db, &schema).await.unwrap_err().to_string();
        for part in [&*name, "row k", "column v", why] {
            assert!(refused.contains(part), "{kind} {value}: {refused}");
        }
        let seen = until(&mut stream, log_end(&path)).await;
        assert_eq!(changes_of(&seen, &name)[0].rows, None, "{kind} {value}");
        foreign(&path)
            .execute_batch(&format!("DELETE FROM {name} WHERE id = 'k'"))
            .unwrap();
        assert_eq!(snapshot(&db, &schema).await.unwrap().rows.len(), 1);
        let seen = until(&mut stream, log_end(&path)).await;
        assert_eq!(changes_of(&seen, &name)[0].rows.as_ref().unwrap().len(), 1);
    }
}

/// Keys that SQLite tells apart and the engine would not, or that are NULL, are not read.
#[tokio::test]
async fn unreadable_keys() {
    let cases = [
        ("TEXT", "NULL"),
        ("NUMERIC", "'nan'"),
        ("TIMESTAMP", "'2026-01-02 03:04:05'"),
        ("TIMESTAMP", "0"),
        ("TIMESTAMP", "'2026-01-02T03:04:05Z'"),
    ];
    for (kind, value) in cases {
        let folder = Folder::new();
        let path = folder.file();
        let (db, mut stream) = open(
            &path,
            &format!("CREATE TABLE t(id {kind} PRIMARY KEY, x INT)"),
        )
        .await;
        let schema = describe(&db, "t").await;
        let steps = [
            format!("INSERT INTO t VALUES ({value}, 1)"),
            "UPDATE t SET x = 2".to_owned(),
            "DELETE FROM t".to_owned(),
        ];
        for step in steps {
            foreign(&path).execute_batch(&step).unwrap();
            let seen = until(&mut stream, log_end(&path)).await;
            assert_eq!(
                changes_of(&seen, "t")[0].rows,
                None,
                "{kind} {value}: {step}"
            );
            let read = snapshot(&db, &schema).await;
            assert_eq!(
                read.is_err(),
                !step.starts_with("DELETE"),
                "{kind} {value}: {step}"
            );
        }
    }
    let folder = Folder::new();
    let (db, _stream) = open(&folder.file(), "CREATE TABLE t(id TIMESTAMP PRIMARY KEY)").await;
    let values = vec![(
        "id".to_owned(),
        Literal::Text("2026-01-02 03:04:05".to_owned()),
    )];
    run(&db, Command::AddSingle(table("t"), values))
        .await
        .unwrap();
    let read = run(&db, Command::GetData(table("t"), Selection::default())).await;
    assert!(read.is_ok(), "the form we write is the one we read");
}

/// A table that is wider than any before makes room in the log, and nothing that is still unread
/// there is lost, doubled or moved.
#[tokio::test]
async fn widening_keeps_what_is_unread() {
    let folder = Folder::new();
    let path = folder.file();
    let (db, mut stream) = open(&path, "CREATE TABLE t(id INTEGER PRIMARY KEY, x)").await;
    let schema = describe(&db, "t").await;
    let columns: Vec<String> = (0..200).map(|at| format!("c{at} INT NOT NULL")).collect();
    let names: Vec<String> = (0..9).map(|at| format!("c{at}")).collect();
    foreign(&path)
        .execute_batch(&format!(
            "INSERT INTO t VALUES (1, 'é'), (2, x'00');
             CREATE TABLE wide({}, PRIMARY KEY({}));
             INSERT INTO t VALUES (3, 0.1)",
            columns.join(", "),
            names.join(", ")
        ))
        .unwrap();
    let before = log_end(&path);
    let wide = describe(&db, "wide").await;
    let values = vec!["7"; 200].join(", ");
    foreign(&path)
        .execute_batch(&format!(
            "INSERT INTO wide VALUES ({values}); DELETE FROM t WHERE id = 2"
        ))
        .unwrap();
    assert!(log_end(&path) > before, "positions go on");
    let (mut model, mut wide_model) = (Model::default(), Model::default());
    for transaction in until(&mut stream, log_end(&path)).await {
        model.apply(&schema, &transaction).unwrap();
        // The table's own beginning is a reset.
        let _ = wide_model.apply(&wide, &transaction);
    }
    let end = snapshot(&db, &schema).await.unwrap();
    assert_eq!(model, Model::of(&schema, &end.rows));
    let end = snapshot(&db, &wide).await.unwrap();
    assert_eq!(wide_model, Model::of(&wide, &end.rows));
}
