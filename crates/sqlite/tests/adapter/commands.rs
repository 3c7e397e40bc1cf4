//! Commands: what they do, what they answer, and what they refuse.

use std::path::Path;

use tidegate_core::{
    Aggregates, Aggregation, Command, CommandError, FilterSpec, KeySpec, Literal, Lsn,
    ModifierSpec, Numeric, Operator, OrderSpec, Outcome, QuerySpec, Reply, Row, Selection, Sort,
    Value,
};
use tidegate_ports::{Database, DatabaseError};
use tidegate_sqlite::SqliteDatabase;

use crate::harness::{
    Folder, add, by, config, error, foreign, key, number, row, rows, run, table, tenant, text,
    until,
};

fn open(path: &Path, sql: &str) -> SqliteDatabase {
    foreign(path).execute_batch(sql).unwrap();
    SqliteDatabase::open(config(path)).unwrap()
}

fn composite(parts: &[Literal]) -> KeySpec {
    KeySpec {
        column: None,
        text: "[…]".to_owned(),
        parts: Some(parts.to_vec()),
    }
}

/// A write is answered with the position of its commit; the stream has that change there, alone,
/// and the time it was made.
#[tokio::test]
async fn writes_are_answered_with_their_position() {
    let folder = Folder::new();
    let db = open(
        &folder.file(),
        "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT)",
    );
    let mut stream = db.changes().await.unwrap();
    let mut lsns = Vec::new();
    for name in ["a", "b"] {
        lsns.push(
            add(&db, "t", &[("name", text(name))])
                .await
                .unwrap()
                .lsn
                .unwrap(),
        );
    }
    let seen = until(&mut stream, lsns[1]).await;
    let commits: Vec<Lsn> = seen.iter().map(|seen| seen.commit.lsn).collect();
    assert_eq!(commits, lsns);
    let year_2020 = 1_577_836_800_000_000;
    assert!(
        seen.iter()
            .all(|seen| seen.commit.committed_at_micros > year_2020)
    );
    assert_eq!(seen[0].tables[0].rows.as_ref().unwrap().len(), 1);
}

/// Many writes at once share a flush, but stay transactions of their own; one that fails takes no
/// other with it, not even one that fails at the commit.
#[tokio::test]
async fn a_group_of_writes_stays_apart() {
    let folder = Folder::new();
    let db = open(
        &folder.file(),
        "CREATE TABLE t(id INTEGER PRIMARY KEY, u INT UNIQUE,
            late INT REFERENCES t(id) DEFERRABLE INITIALLY DEFERRED)",
    );
    let mut stream = db.changes().await.unwrap();
    let writes = (0..60_u32).map(|at| {
        let late = if at % 20 == 7 {
            number("999")
        } else {
            Literal::Null
        };
        let values = row(&[("u", number(&(at % 50).to_string())), ("late", late)]);
        let (tenant, command) = (tenant(), Command::AddSingle(table("t"), values));
        let db = &db;
        async move { (at, db.execute(&tenant, command).await) }
    });
    let mut done: Vec<(u32, Result<Reply, DatabaseError>)> = futures(writes).await;
    done.sort_by_key(|(at, _)| *at);
    let mut lsns = Vec::new();
    for (at, result) in done {
        match result {
            Ok(reply) => lsns.push(reply.lsn.unwrap()),
            Err(DatabaseError::Command(CommandError::Constraint(_))) => {
                assert!(at >= 50 || at % 20 == 7, "{at}");
            }
            other => panic!("{at}: {other:?}"),
        }
    }
    lsns.sort();
    // The 57th may take the unique value that the 7th could not keep.
    assert!((47..=48).contains(&lsns.len()), "{}", lsns.len());
    let seen = until(&mut stream, *lsns.last().unwrap()).await;
    assert_eq!(
        seen.iter().map(|seen| seen.commit.lsn).collect::<Vec<_>>(),
        lsns
    );
    for transaction in seen {
        assert_eq!(transaction.tables.len(), 1);
        assert_eq!(transaction.tables[0].rows.as_ref().unwrap().len(), 1);
    }
}

/// Runs futures at the same time on the test's own task.
async fn futures<F: Future>(list: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = list.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|context| {
        let mut pending = false;
        for (future, output) in &mut running {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        match pending {
            true => std::task::Poll::Pending,
            false => std::task::Poll::Ready(()),
        }
    })
    .await;
    running
        .into_iter()
        .filter_map(|(_, output)| output)
        .collect()
}

/// Adding, changing and deleting answer with rows as they now are, triggers included; what matches
/// nothing answers so and has no position.
#[tokio::test]
async fn rows_come_back_as_they_are() {
    let folder = Folder::new();
    let db = open(
        &folder.file(),
        "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT DEFAULT 'none', at TIMESTAMP, n NUMERIC,
            touched INT DEFAULT 0, loud TEXT AS (upper(name)) STORED);
         CREATE TRIGGER touch AFTER UPDATE OF name ON t BEGIN
            UPDATE t SET touched = touched + 1 WHERE id = NEW.id; END",
    );
    let reply = add(
        &db,
        "t",
        &[
            ("at", text("2026-01-02 03:04:05+01")),
            ("n", number("1.50")),
        ],
    )
    .await;
    let reply = reply.unwrap();
    let expected = Row::new(vec![
        Value::Int(1),
        Value::text("none"),
        Value::Timestamp(1_767_319_445_000_000),
        Value::Numeric(Numeric::parse("1.5").unwrap()),
        Value::Int(0),
        Value::text("NONE"),
    ]);
    assert_eq!(rows(&reply), [expected]);
    assert_eq!(rows(&add(&db, "t", &[]).await.unwrap()).len(), 1);
    let change = Command::UpdateSingle(table("t"), key("1"), row(&[("name", text("x"))]));
    let reply = run(&db, change).await.unwrap();
    assert_eq!(
        rows(&reply)[0][4],
        Value::Int(1),
        "the trigger's work is seen"
    );
    let renamed = Command::UpdateSingle(table("t"), by("id", "1"), row(&[("id", number("9"))]));
    assert_eq!(rows(&run(&db, renamed).await.unwrap())[0][0], Value::Int(9));
    let nothing = Command::UpdateSingle(table("t"), key("77"), row(&[("name", text("x"))]));
    let reply = run(&db, nothing).await.unwrap();
    assert_eq!((rows(&reply).len(), reply.lsn), (0, None));
    for (id, found) in [("9", true), ("9", false)] {
        let reply = run(&db, Command::DeleteRow(table("t"), key(id)))
            .await
            .unwrap();
        assert_eq!(reply.outcome, Outcome::Bool(found));
        assert_eq!(reply.lsn.is_some(), found);
    }
}

/// Keys: the column `id`, else the table's own; any unique column by name; a composite key by its
/// parts.
#[tokio::test]
async fn keys() {
    let folder = Folder::new();
    let db = open(
        &folder.file(),
        "CREATE TABLE own(code TEXT PRIMARY KEY, mail TEXT UNIQUE, city TEXT);
         INSERT INTO own VALUES ('a', 'm1', 'x'), ('b', 'm2', 'x');
         CREATE TABLE pair(b TEXT, a INT, v, PRIMARY KEY(a, b)) WITHOUT ROWID;
         INSERT INTO pair VALUES ('x', 1, 'first'), ('y', 1, 'second');",
    );
    let get = async |name: &str, key: KeySpec| match run(&db, Command::GetSingle(table(name), key))
        .await
    {
        Ok(Reply {
            outcome: Outcome::Row { row, .. },
            ..
        }) => row.map(|row| row[0].to_text().unwrap()),
        other => panic!("{other:?}"),
    };
    assert_eq!(get("own", key("a")).await.as_deref(), Some("a"));
    assert_eq!(get("own", by("mail", "m2")).await.as_deref(), Some("b"));
    assert_eq!(
        get("own", by("city", "x")).await.as_deref(),
        Some("a"),
        "the first by key"
    );
    assert_eq!(get("own", key("A")).await, None);
    let both = [number("1"), text("y")];
    assert_eq!(get("pair", composite(&both)).await.as_deref(), Some("y"));
    let refused = |key: KeySpec, name: &str| run(&db, Command::DeleteRow(table(name), key));
    assert!(matches!(
        error(refused(by("city", "x"), "own").await),
        CommandError::BadCommand(_)
    ));
    assert!(matches!(
        error(refused(key("1"), "pair").await),
        CommandError::BadCommand(_)
    ));
    assert!(matches!(
        error(refused(by("no", "x"), "own").await),
        CommandError::Query(_)
    ));
    let reply = refused(composite(&both), "pair").await.unwrap();
    assert_eq!(reply.outcome, Outcome::Bool(true));
    let reply = refused(by("mail", "m1"), "own").await.unwrap();
    assert_eq!(reply.outcome, Outcome::Bool(true));
}

const REFUSING: &str = "
    CREATE TABLE t(id INTEGER PRIMARY KEY, u INT UNIQUE, n TEXT NOT NULL DEFAULT '', d DECIMAL,
        f REAL, c INT CHECK (c > 0), r INT REFERENCES t, g INT AS (u + 1), j JSON);
    INSERT INTO t(id, u) VALUES (1, 1);
    CREATE TRIGGER unlucky BEFORE INSERT ON t WHEN NEW.u = 13 BEGIN
        SELECT RAISE(ABORT, 'unlucky'); END;
    CREATE TRIGGER all_gone BEFORE INSERT ON t WHEN NEW.u = 14 BEGIN
        SELECT RAISE(ROLLBACK, 'no'); END;
    CREATE VIEW v AS SELECT id, u FROM t;
    CREATE TABLE nokey(a INT, b TEXT);
";

/// Refused rows say what is wrong in the client's words, and nothing of them stays.
#[tokio::test]
async fn refused_rows() {
    let folder = Folder::new();
    let db = open(&folder.file(), REFUSING);
    for (column, value, said) in [
        (
            "u",
            number("1"),
            "table t has a row with the same u already",
        ),
        (
            "id",
            number("1"),
            "table t has a row with the same id already",
        ),
        ("n", Literal::Null, "column n of table t must not be NULL"),
        ("c", number("0"), "a check of table t failed: c > 0"),
        ("r", number("5"), "would refer to a row that is not there"),
        ("u", number("13"), "unlucky"),
        ("u", number("14"), "no"),
        ("d", number("0.12345678901234567890"), "exactly"),
        ("f", text("NaN"), "cannot hold NaN"),
        ("g", number("1"), "computed"),
        ("u", number("1.5"), "whole number"),
        ("j", text("{"), "takes JSON only"),
        ("x", number("1"), "table t has no column \"x\""),
    ] {
        let refused = error(add(&db, "t", &[(column, value)]).await).to_string();
        assert!(refused.contains(said), "{column}: {refused}");
    }
    let twice = add(&db, "t", &[("u", number("5")), ("u", number("6"))]).await;
    assert!(error(twice).to_string().contains("twice"));
    let read = run(&db, Command::GetData(table("t"), Selection::default())).await;
    assert_eq!(rows(&read.unwrap()).len(), 1, "nothing of it stayed");
}

/// Tables that are not there, or not to be written to or watched.
#[tokio::test]
async fn refused_tables() {
    let folder = Folder::new();
    let db = open(&folder.file(), REFUSING);
    for (name, expected) in [
        ("none", "there is no table none"),
        ("_tidegate_log", "there is no table _tidegate_log"),
        ("T", "there is no table T"),
        ("v", "v is a view: it cannot be written to"),
    ] {
        assert_eq!(error(add(&db, name, &[]).await).to_string(), expected);
    }
    let empty = Command::UpdateSingle(table("t"), key("1"), Vec::new());
    assert!(matches!(
        error(run(&db, empty).await),
        CommandError::BadCommand(_)
    ));
    for name in ["v", "nokey"] {
        match db.describe(&tenant(), &table(name)).await {
            Err(DatabaseError::Command(CommandError::UnsupportedTable(_))) => {}
            other => panic!("{name}: {other:?}"),
        }
    }
    let read = run(&db, Command::GetData(table("v"), Selection::default())).await;
    assert_eq!(rows(&read.unwrap()).len(), 1, "a view can be read once");
    let added = add(&db, "nokey", &[("a", number("1"))]).await.unwrap();
    assert!(added.lsn.is_some());
}

/// GET_DATA has its own limits, skips its offset, and names its order.
#[tokio::test]
async fn get_data() {
    let folder = Folder::new();
    let db = open(
        &folder.file(),
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v INT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
         INSERT INTO t SELECT i, -i FROM n",
    );
    let get = |limit: Option<u64>, offset: u64| {
        let query = QuerySpec {
            order: vec![OrderSpec {
                column: "v".to_owned(),
                sort: Sort::AscDefault,
                is_pk: false,
            }],
            limit,
            ..QuerySpec::default()
        };
        run(
            &db,
            Command::GetData(table("t"), Selection { query, offset }),
        )
    };
    let reply = get(None, 0).await.unwrap();
    assert_eq!(rows(&reply).len(), 500);
    let Outcome::Page { order, lsn, .. } = reply.outcome else {
        panic!()
    };
    assert_eq!(order, [1, 0]);
    assert!(lsn > Lsn::ZERO);
    let reply = get(Some(3), 598).await.unwrap();
    assert_eq!(
        rows(&reply)
            .iter()
            .map(|row| row[0].clone())
            .collect::<Vec<_>>(),
        [Value::Int(2), Value::Int(1)]
    );
    assert!(rows(&get(Some(3), u64::MAX).await.unwrap()).is_empty());
    assert!(matches!(
        error(get(Some(0), 0).await),
        CommandError::Query(_)
    ));
    assert!(matches!(
        error(get(Some(10_001), 0).await),
        CommandError::Query(_)
    ));
}

const AGGREGATED: &str = "
    CREATE TABLE t(id INTEGER PRIMARY KEY, i BIGINT, n NUMERIC, f REAL, s TEXT, m TIMESTAMP);
    INSERT INTO t VALUES
        (1, 9223372036854775807, 0.1, 0.5, 'b', '2026-01-01 00:00'),
        (2, 9223372036854775807, 0.2, 0.25, 'B', '2026-01-01T01:00:00+02:00'),
        (3, NULL, NULL, NULL, NULL, NULL)";

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn decimal(text: &str) -> Option<Numeric> {
    Some(Numeric::parse(text).unwrap())
}

async fn aggregate(db: &SqliteDatabase, wanted: Aggregation) -> Result<Aggregates, DatabaseError> {
    match run(db, Command::RunAggregation(table("t"), wanted))
        .await?
        .outcome
    {
        Outcome::Aggregates(found) => Ok(found),
        other => panic!("{other:?}"),
    }
}

/// Aggregates are exact.
#[tokio::test]
async fn aggregates() {
    let folder = Folder::new();
    let db = open(&folder.file(), AGGREGATED);
    let wanted = Aggregation {
        sum: names(&["i", "n", "f"]),
        average: names(&["n", "f"]),
        minimum: names(&["s", "m"]),
        maximum: names(&["s", "i"]),
        filter: None,
    };
    let found = aggregate(&db, wanted).await.unwrap();
    assert_eq!(found.count, 3);
    let values = |list: &[(String, Option<Numeric>)]| {
        list.iter()
            .map(|(_, value)| value.clone())
            .collect::<Vec<_>>()
    };
    let sums = [
        decimal("18446744073709551614"),
        decimal("0.3"),
        decimal("0.75"),
    ];
    assert_eq!(values(&found.sum), sums);
    assert_eq!(values(&found.average), [decimal("0.15"), decimal("0.375")]);
    assert_eq!(found.minimum[0].1, Value::text("B"));
    assert_eq!(found.minimum[1].1, Value::Timestamp(1_767_222_000_000_000));
    assert_eq!(found.maximum[1].1, Value::Int(i64::MAX));
}

/// NULL counts for nothing, the count is always there, and what has no sum is refused.
#[tokio::test]
async fn aggregates_of_nothing() {
    let folder = Folder::new();
    let db = open(&folder.file(), AGGREGATED);
    let nulls = FilterSpec::Test {
        column: "s".to_owned(),
        operator: Operator::IsNull,
        value: None,
        modifier: ModifierSpec::default(),
    };
    let wanted = Aggregation {
        sum: names(&["i"]),
        maximum: names(&["s"]),
        filter: Some(nulls.clone()),
        ..Aggregation::default()
    };
    let found = aggregate(&db, wanted).await.unwrap();
    assert_eq!(
        (found.count, &found.sum[0].1, &found.maximum[0].1),
        (1, &None, &Value::Null)
    );
    let counted = Aggregation {
        filter: Some(nulls),
        ..Aggregation::default()
    };
    assert_eq!(aggregate(&db, counted).await.unwrap().count, 1);
    let odd = Aggregation {
        sum: names(&["s"]),
        ..Aggregation::default()
    };
    match aggregate(&db, odd).await {
        Err(DatabaseError::Command(CommandError::BadCommand(_))) => {}
        other => panic!("{other:?}"),
    }
}
