//! Opening, closing, crashing; bounds; and what happens under load.

use std::process::{Command as Program, Stdio};
use std::time::Duration;

use tidegate_core::{Aggregation, Command, CommandError, Literal, Lsn};
use tidegate_ports::{Database, DatabaseError, PortError};
use tidegate_sqlite::{OpenError, SqliteDatabase};

use crate::harness::{
    Folder, Model, config, describe, foreign, log_end, python, run, snapshot, table, until,
};

fn refused(folder: &Folder) -> OpenError {
    let mut config = config(&folder.file());
    config.busy_timeout = Duration::from_millis(50);
    match SqliteDatabase::open(config) {
        Ok(_) => panic!("it opens"),
        Err(error) => error,
    }
}

/// Files that cannot be worked on are refused with the reason.
#[test]
fn refuses_files() {
    let folder = Folder::new();
    std::fs::write(
        folder.file(),
        "This is a letter, not a database. ".repeat(100),
    )
    .unwrap();
    assert!(
        refused(&folder)
            .to_string()
            .ends_with("is not a SQLite database")
    );

    let folder = Folder::new();
    foreign(&folder.file())
        .execute_batch("PRAGMA encoding = 'UTF-16'; CREATE TABLE t(id)")
        .unwrap();
    assert!(refused(&folder).to_string().contains("UTF-16"));

    let folder = Folder::new();
    let other = foreign(&folder.file());
    other
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE; CREATE TABLE t(id); BEGIN EXCLUSIVE")
        .unwrap();
    let error = refused(&folder);
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");

    let folder = Folder::new();
    let _first = SqliteDatabase::open(config(&folder.file())).unwrap();
    let error = refused(&folder).to_string();
    assert!(error.contains("another Tidegate"), "{error}");

    let mut nowhere = config(&folder.file());
    nowhere.path.push("not/a/folder.db");
    assert!(matches!(
        SqliteDatabase::open(nowhere),
        Err(OpenError::Unreachable { .. })
    ));

    let folder = Folder::new();
    foreign(&folder.file())
        .execute_batch(
            "CREATE TABLE _tidegate_meta(name TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID;
             INSERT INTO _tidegate_meta VALUES ('format', 99)",
        )
        .unwrap();
    assert!(refused(&folder).to_string().contains("format 99"));
}

/// Lives rise over restarts, and what other programs wrote meanwhile is there, but not in the
/// stream.
#[tokio::test]
async fn reopening() {
    let folder = Folder::new();
    let path = folder.file();
    foreign(&path)
        .execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY)")
        .unwrap();
    let mut lives = Vec::new();
    for round in 0..3_u32 {
        let db = SqliteDatabase::open(config(&path)).unwrap();
        lives.push(db.next_life().await.unwrap());
        lives.push(db.next_life().await.unwrap());
        let mut stream = db.changes().await.unwrap();
        let schema = describe(&db, "t").await;
        assert_eq!(
            snapshot(&db, &schema).await.unwrap().rows.len() as u32,
            round
        );
        let seen = until(&mut stream, log_end(&path)).await;
        assert!(seen.is_empty(), "the stream starts now");
        drop(db);
        assert!(
            stream.next().await.is_none_or(|batch| batch.is_ok()),
            "the stream ends"
        );
        foreign(&path)
            .execute_batch("INSERT INTO t DEFAULT VALUES")
            .unwrap();
    }
    assert!(lives.is_sorted_by(|a, b| a < b), "{lives:?}");
}

/// A process that dies in the middle of its transaction leaves nothing of it, neither in the table
/// nor in the log; what it committed before is in both.
#[tokio::test]
async fn a_killed_writer_leaves_nothing() {
    let folder = Folder::new();
    let path = folder.file();
    foreign(&path)
        .execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY)")
        .unwrap();
    let db = SqliteDatabase::open(config(&path)).unwrap();
    let mut stream = db.changes().await.unwrap();
    let script = "import os, signal, sqlite3, sys\n\
        c = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
        c.execute('INSERT INTO t VALUES (1)')\n\
        c.execute('PRAGMA cache_size = 1')\n\
        c.execute('BEGIN')\n\
        c.execute('WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n LIMIT 5000) '\n\
        \x20   'INSERT INTO t SELECT i FROM n')\n\
        os.kill(os.getpid(), signal.SIGKILL)\n";
    let status = Program::new("python3")
        .arg("-c")
        .arg(script)
        .arg(&path)
        .status()
        .unwrap();
    assert!(!status.success());
    python(&path, "INSERT INTO t VALUES (7)");
    let seen = until(&mut stream, log_end(&path)).await;
    let schema = describe(&db, "t").await;
    let mut model = Model::default();
    for transaction in &seen {
        model.apply(&schema, transaction).unwrap();
    }
    let end = snapshot(&db, &schema).await.unwrap();
    assert_eq!(end.rows.len(), 2);
    assert_eq!(model, Model::of(&schema, &end.rows));
}

/// Too many changes at once are told as such, and small ones beside them in the same transaction
/// are kept.
#[tokio::test]
async fn large_transactions() {
    let folder = Folder::new();
    let path = folder.file();
    foreign(&path)
        .execute_batch(
            "CREATE TABLE t(id INTEGER PRIMARY KEY); CREATE TABLE s(id INTEGER PRIMARY KEY)",
        )
        .unwrap();
    let db = SqliteDatabase::open(config(&path)).unwrap();
    let mut stream = db.changes().await.unwrap();
    for (count, kept) in [(10_000, true), (10_001, false)] {
        foreign(&path)
            .execute_batch("BEGIN; DELETE FROM t; DELETE FROM s; INSERT INTO s VALUES (1); COMMIT")
            .unwrap();
        until(&mut stream, log_end(&path)).await;
        foreign(&path)
            .execute_batch(&format!(
                "BEGIN; INSERT INTO s VALUES (2);
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {count})
                 INSERT INTO t SELECT i FROM n; COMMIT"
            ))
            .unwrap();
        let seen = until(&mut stream, log_end(&path)).await;
        assert_eq!(seen.len(), 1);
        let rows = |name: &str| {
            let found = seen[0]
                .tables
                .iter()
                .find(|change| change.table == table(name))
                .unwrap();
            found.rows.as_ref().map(Vec::len)
        };
        assert_eq!(rows("t"), kept.then_some(count));
        assert_eq!(rows("s"), Some(1));
    }
}

/// While another process writes without a pause, snapshots join the stream exactly, and own writes
/// stay transactions of their own.
#[tokio::test]
async fn joins_under_load() {
    let folder = Folder::new();
    let path = folder.file();
    foreign(&path)
        .execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, u INT UNIQUE, who TEXT)")
        .unwrap();
    let db = SqliteDatabase::open(config(&path)).unwrap();
    let mut stream = db.changes().await.unwrap();
    let schema = describe(&db, "t").await;
    let script = "import random, sqlite3, sys\n\
        r = random.Random(1)\n\
        c = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)\n\
        c.execute('PRAGMA synchronous = OFF')\n\
        for _ in range(400):\n\
        \x20   c.execute('BEGIN IMMEDIATE')\n\
        \x20   for _ in range(r.randrange(1, 5)):\n\
        \x20       i, u = r.randrange(60), r.randrange(60)\n\
        \x20       c.execute('REPLACE INTO t VALUES (?, ?, ?)', (i, u, 'them'))\n\
        \x20       c.execute('DELETE FROM t WHERE id = ?', (r.randrange(60),))\n\
        \x20   c.execute(r.choice(['COMMIT', 'COMMIT', 'ROLLBACK']))\n";
    let mut child = Program::new("python3")
        .arg("-c")
        .arg(script)
        .arg(&path)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let (mut snapshots, mut own) = (Vec::new(), Vec::new());
    while child.try_wait().unwrap().is_none() {
        snapshots.push(snapshot(&db, &schema).await.unwrap());
        let values = vec![("who".to_owned(), Literal::Text("us".to_owned()))];
        own.extend(
            run(&db, Command::AddSingle(table("t"), values))
                .await
                .unwrap()
                .lsn,
        );
    }
    assert!(child.wait().unwrap().success());
    snapshots.push(snapshot(&db, &schema).await.unwrap());
    let seen = until(&mut stream, log_end(&path)).await;
    let end = Model::of(&schema, &snapshots.last().unwrap().rows);
    for start in &snapshots {
        let mut model = Model::of(&schema, &start.rows);
        for transaction in seen
            .iter()
            .filter(|seen| !start.fence.contains(&seen.commit))
        {
            model.apply(&schema, transaction).unwrap();
        }
        assert_eq!(model, end, "from {:?} on", start.fence);
    }
    let commits: Vec<Lsn> = seen.iter().map(|seen| seen.commit.lsn).collect();
    assert!(commits.is_sorted_by(|a, b| a < b));
    for lsn in own {
        let transaction = seen.iter().find(|seen| seen.commit.lsn == lsn).unwrap();
        assert_eq!(transaction.tables[0].rows.as_ref().unwrap().len(), 1);
    }
}

/// What the relay has acknowledged goes from the log; what it has not stays.
#[tokio::test]
async fn the_log_is_trimmed() {
    let folder = Folder::new();
    let path = folder.file();
    foreign(&path)
        .execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, n INT)")
        .unwrap();
    let db = SqliteDatabase::open(config(&path)).unwrap();
    let mut stream = db.changes().await.unwrap();
    let kept = || -> i64 {
        foreign(&path)
            .query_row("SELECT count(*) FROM _tidegate_log", [], |row| row.get(0))
            .unwrap()
    };
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 9000)
         INSERT INTO t(n) SELECT i FROM n";
    foreign(&path).execute_batch(fill).unwrap();
    let end = log_end(&path);
    until(&mut stream, end).await;
    assert_eq!(kept(), 9_000);
    stream.acknowledge(end);
    // Trimmed in steps, between other work; heartbeats go on meanwhile.
    while kept() >= 2_000 {
        stream.next().await.unwrap().unwrap();
    }
    assert_eq!(log_end(&path), end, "the end stays where it is");
    foreign(&path)
        .execute_batch("UPDATE t SET n = 0 WHERE id <= 5")
        .unwrap();
    let seen = until(&mut stream, log_end(&path)).await;
    assert_eq!(seen[0].tables[0].rows.as_ref().unwrap().len(), 5);
}

/// A new stream ends the old one and starts at the end; one that is dropped is not waited for.
#[tokio::test]
async fn one_stream_at_a_time() {
    let folder = Folder::new();
    let path = folder.file();
    foreign(&path)
        .execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY)")
        .unwrap();
    let db = SqliteDatabase::open(config(&path)).unwrap();
    let mut first = db.changes().await.unwrap();
    foreign(&path)
        .execute_batch("INSERT INTO t VALUES (1)")
        .unwrap();
    let mut second = db.changes().await.unwrap();
    while let Some(batch) = first.next().await {
        batch.unwrap();
    }
    foreign(&path)
        .execute_batch("INSERT INTO t VALUES (2)")
        .unwrap();
    let seen = until(&mut second, log_end(&path)).await;
    assert_eq!(seen.len(), 1);
    drop(second);
    assert!(db.changes().await.unwrap().next().await.is_some());
}

/// A statement that takes too long is stopped, whether it reads or writes, and the next ones work.
#[tokio::test]
async fn slow_statements_are_stopped() {
    let folder = Folder::new();
    let path = folder.file();
    foreign(&path)
        .execute_batch(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, n INT);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 30000)
             INSERT INTO t SELECT i, i FROM n;
             CREATE TABLE slow(id INTEGER PRIMARY KEY, n INT);
             CREATE TRIGGER slowly AFTER INSERT ON slow WHEN NEW.n = 1 BEGIN
                UPDATE t SET n = (SELECT count(*) FROM t AS a WHERE a.n < t.n); END",
        )
        .unwrap();
    let mut config = config(&path);
    config.statement_timeout = Duration::from_millis(1);
    let db = SqliteDatabase::open(config).unwrap();
    let sum = Aggregation {
        sum: vec!["n".to_owned()],
        ..Aggregation::default()
    };
    let slow_read = run(&db, Command::RunAggregation(table("t"), sum)).await;
    let add = |n: &str| {
        let values = vec![("n".to_owned(), Literal::Number(n.to_owned()))];
        run(&db, Command::AddSingle(table("slow"), values))
    };
    let slow_write = add("1").await;
    for result in [slow_read, slow_write] {
        assert!(
            matches!(
                result,
                Err(DatabaseError::Command(CommandError::Timeout(_)))
            ),
            "{result:?}"
        );
    }
    let left: i64 = foreign(&path)
        .query_row("SELECT count(*) FROM slow", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0, "nothing of it stays");
    assert!(run(&db, Command::TableExists(table("t"))).await.is_ok());
}

/// A lock that another process does not let go makes writes unavailable, not reads.
#[tokio::test]
async fn a_locked_file_is_unavailable_for_writes() {
    let folder = Folder::new();
    let path = folder.file();
    foreign(&path)
        .execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY)")
        .unwrap();
    let mut config = config(&path);
    config.busy_timeout = Duration::from_millis(50);
    let db = SqliteDatabase::open(config).unwrap();
    let other = foreign(&path);
    other
        .execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (1)")
        .unwrap();
    let refused = run(&db, Command::AddSingle(table("t"), Vec::new())).await;
    assert!(
        matches!(
            refused,
            Err(DatabaseError::Port(PortError::Unavailable { .. }))
        ),
        "{refused:?}"
    );
    let schema = describe(&db, "t").await;
    assert!(snapshot(&db, &schema).await.unwrap().rows.is_empty());
    other.execute_batch("COMMIT").unwrap();
    let reply = run(&db, Command::AddSingle(table("t"), Vec::new()))
        .await
        .unwrap();
    assert!(reply.lsn.is_some());
}

/// What was put into a file can be taken out again, and the file is as if it had never been here.
#[test]
fn capture_can_be_removed() {
    let folder = Folder::new();
    let path = folder.file();
    let schema = || -> Vec<String> {
        let other = foreign(&path);
        let mut statement = other
            .prepare("SELECT name FROM sqlite_schema WHERE name <> 'sqlite_sequence' ORDER BY 1")
            .unwrap();
        let names = statement.query_map([], |row| row.get(0)).unwrap();
        names.collect::<Result<_, _>>().unwrap()
    };
    foreign(&path)
        .execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT UNIQUE)")
        .unwrap();
    let before = schema();
    drop(SqliteDatabase::open(config(&path)).unwrap());
    assert_ne!(schema(), before);
    SqliteDatabase::remove_capture(&config(&path)).unwrap();
    assert_eq!(schema(), before);
    foreign(&path)
        .execute_batch("INSERT INTO t VALUES (1, 'x')")
        .unwrap();
    drop(SqliteDatabase::open(config(&path)).unwrap());
}

/// A read whose rows are too large together is refused, not held in memory.
#[tokio::test]
async fn large_reads_are_refused() {
    let folder = Folder::new();
    let path = folder.file();
    foreign(&path)
        .execute_batch(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 17)
             INSERT INTO t SELECT i, zeroblob(4000000) FROM n",
        )
        .unwrap();
    let db = SqliteDatabase::open(config(&path)).unwrap();
    let schema = describe(&db, "t").await;
    let refused = snapshot(&db, &schema).await;
    assert!(matches!(
        refused,
        Err(DatabaseError::Port(PortError::TooLarge { .. }))
    ));
    foreign(&path)
        .execute_batch("DELETE FROM t WHERE id > 16")
        .unwrap();
    assert_eq!(snapshot(&db, &schema).await.unwrap().rows.len(), 16);
}
