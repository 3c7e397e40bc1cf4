//! Commands: what they do, what they answer, and what they refuse.

use std::path::Path;

use tidegate_core::{
    Aggregates, Aggregation, ColumnDefinition, ColumnType, Command, CommandError, FilterSpec,
    KeySpec, Literal, Lsn, ModifierSpec, Numeric, Operator, OrderSpec, Outcome, QuerySpec, Reply,
    Row, Selection, Sort, TableDefinition, Tenancy, TenantId, Value,
};
use tidegate_ports::{Database, DatabaseError};
use tidegate_sqlite::SqliteDatabase;

use crate::harness::{Folder, config, describe, foreign, run, table, tenant, until};

fn open(path: &Path, sql: &str) -> SqliteDatabase {
    foreign(path).execute_batch(sql).unwrap();
    SqliteDatabase::open(config(path)).unwrap()
}

fn text(text: &str) -> Literal {
    Literal::Text(text.to_owned())
}

fn number(text: &str) -> Literal {
    Literal::Number(text.to_owned())
}

fn row(values: &[(&str, Literal)]) -> Vec<(String, Literal)> {
    values
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

fn key(text: &str) -> KeySpec {
    KeySpec {
        column: None,
        text: text.to_owned(),
        parts: None,
    }
}

fn by(column: &str, text: &str) -> KeySpec {
    KeySpec {
        column: Some(column.to_owned()),
        ..key(text)
    }
}

fn composite(parts: &[Literal]) -> KeySpec {
    KeySpec {
        column: None,
        text: "[…]".to_owned(),
        parts: Some(parts.to_vec()),
    }
}

async fn add(
    db: &SqliteDatabase,
    name: &str,
    values: &[(&str, Literal)],
) -> Result<Reply, DatabaseError> {
    run(db, Command::AddSingle(table(name), row(values))).await
}

fn rows(reply: &Reply) -> &[Row] {
    match &reply.outcome {
        Outcome::Rows { rows, .. } | Outcome::Page { rows, .. } => rows,
        other => panic!("{other:?}"),
    }
}

fn error(result: Result<Reply, DatabaseError>) -> CommandError {
    match result {
        Err(DatabaseError::Command(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// A write is answered with the position of its commit; the stream has that change there, alone, and the
/// time it was made.
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

/// Many writes at once share a flush, but stay transactions of their own; one that fails takes no other
/// with it, not even one that fails at the commit.
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

/// Keys: the column `id`, else the table's own; any unique column by name; a composite key by its parts.
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

/// Refusals say what is wrong in the client's words, and nothing of a refused write stays.
#[tokio::test]
async fn refusals() {
    let folder = Folder::new();
    let db = open(
        &folder.file(),
        "CREATE TABLE t(id INTEGER PRIMARY KEY, u INT UNIQUE, n TEXT NOT NULL DEFAULT '', d DECIMAL,
            f REAL, c INT CHECK (c > 0), r INT REFERENCES t, g INT AS (u + 1));
         INSERT INTO t(id, u) VALUES (1, 1);
         CREATE TRIGGER no BEFORE INSERT ON t WHEN NEW.u = 13 BEGIN SELECT RAISE(ABORT, 'unlucky'); END;
         CREATE TRIGGER all_gone BEFORE INSERT ON t WHEN NEW.u = 14 BEGIN SELECT RAISE(ROLLBACK, 'no'); END;
         CREATE VIEW v AS SELECT id, u FROM t;
         CREATE TABLE nokey(a INT, b TEXT);",
    );
    let said = async |values: &[(&str, Literal)]| error(add(&db, "t", values).await).to_string();
    assert_eq!(
        said(&[("u", number("1"))]).await,
        "table t has a row with the same u already"
    );
    assert_eq!(
        said(&[("id", number("1"))]).await,
        "table t has a row with the same id already"
    );
    assert_eq!(
        said(&[("n", Literal::Null)]).await,
        "column n of table t must not be NULL"
    );
    assert_eq!(
        said(&[("c", number("0"))]).await,
        "a check of table t failed: c > 0"
    );
    assert!(
        said(&[("r", number("5"))])
            .await
            .contains("refer to a row that is not there")
    );
    assert_eq!(said(&[("u", number("13"))]).await, "unlucky");
    assert_eq!(said(&[("u", number("14"))]).await, "no");
    assert!(
        said(&[("d", number("0.12345678901234567890"))])
            .await
            .contains("exactly")
    );
    assert!(
        said(&[("f", text("NaN"))])
            .await
            .contains("cannot hold NaN")
    );
    assert!(said(&[("g", number("1"))]).await.contains("computed"));
    assert!(said(&[("u", number("1.5"))]).await.contains("whole number"));
    assert!(
        said(&[("u", number("5")), ("u", number("6"))])
            .await
            .contains("twice")
    );
    assert!(matches!(
        error(add(&db, "t", &[("x", number("1"))]).await),
        CommandError::Query(_)
    ));
    assert!(matches!(
        error(add(&db, "none", &[]).await),
        CommandError::UnknownTable(_)
    ));
    assert!(matches!(
        error(add(&db, "_tidegate_log", &[]).await),
        CommandError::UnknownTable(_)
    ));
    assert!(matches!(
        error(add(&db, "v", &[]).await),
        CommandError::UnsupportedTable(_)
    ));
    let empty = Command::UpdateSingle(table("t"), key("1"), Vec::new());
    assert!(matches!(
        error(run(&db, empty).await),
        CommandError::BadCommand(_)
    ));
    let read = run(&db, Command::GetData(table("t"), Selection::default()))
        .await
        .unwrap();
    assert_eq!(rows(&read).len(), 1, "nothing of it stayed");
    for name in ["v", "nokey"] {
        let refused = db.describe(&tenant(), &table(name)).await;
        assert!(
            matches!(
                refused,
                Err(DatabaseError::Command(CommandError::UnsupportedTable(_)))
            ),
            "{name}"
        );
    }
    let read = run(&db, Command::GetData(table("v"), Selection::default()))
        .await
        .unwrap();
    assert_eq!(rows(&read).len(), 1, "a view can be read once");
    assert!(
        add(&db, "nokey", &[("a", number("1"))])
            .await
            .unwrap()
            .lsn
            .is_some()
    );
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

/// Aggregates are exact, and NULL counts for nothing.
#[tokio::test]
async fn aggregates() {
    let folder = Folder::new();
    let db = open(
        &folder.file(),
        "CREATE TABLE t(id INTEGER PRIMARY KEY, i BIGINT, n NUMERIC, f REAL, s TEXT, m TIMESTAMP);
         INSERT INTO t VALUES
            (1, 9223372036854775807, 0.1, 0.5, 'b', '2026-01-01 00:00'),
            (2, 9223372036854775807, 0.2, 0.25, 'B', '2026-01-01T01:00:00+02:00'),
            (3, NULL, NULL, NULL, NULL, NULL)",
    );
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    let wanted = Aggregation {
        sum: names(&["i", "n", "f"]),
        average: names(&["n", "f"]),
        minimum: names(&["s", "m"]),
        maximum: names(&["s", "i"]),
        filter: None,
    };
    let aggregate =
        async |wanted: Aggregation| match run(&db, Command::RunAggregation(table("t"), wanted))
            .await?
            .outcome
        {
            Outcome::Aggregates(found) => Ok(found),
            other => panic!("{other:?}"),
        };
    let decimal = |text: &str| Some(Numeric::parse(text).unwrap());
    let found: Result<Aggregates, DatabaseError> = aggregate(wanted.clone()).await;
    let found = found.unwrap();
    assert_eq!(found.count, 3);
    let values = |list: &[(String, Option<Numeric>)]| {
        list.iter()
            .map(|(_, value)| value.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        values(&found.sum),
        [
            decimal("18446744073709551614"),
            decimal("0.3"),
            decimal("0.75")
        ]
    );
    assert_eq!(values(&found.average), [decimal("0.15"), decimal("0.375")]);
    assert_eq!(found.minimum[0].1, Value::text("B"));
    assert_eq!(found.minimum[1].1, Value::Timestamp(1_767_222_000_000_000));
    assert_eq!(found.maximum[1].1, Value::Int(i64::MAX));
    let mut filtered = wanted;
    filtered.filter = Some(FilterSpec::Test {
        column: "s".to_owned(),
        operator: Operator::IsNull,
        value: None,
        modifier: ModifierSpec::default(),
    });
    let found = aggregate(filtered).await.unwrap();
    assert_eq!(
        (found.count, &found.sum[0].1, &found.maximum[0].1),
        (1, &None, &Value::Null)
    );
    let odd = Aggregation {
        sum: names(&["s"]),
        ..Aggregation::default()
    };
    assert!(matches!(
        aggregate(odd).await,
        Err(DatabaseError::Command(CommandError::BadCommand(_)))
    ));
}

fn column(
    name: &str,
    data_type: &str,
    constraints: &[&str],
    options: &[(&str, &str)],
) -> ColumnDefinition {
    ColumnDefinition {
        name: name.to_owned(),
        data_type: data_type.to_owned(),
        nullable: true,
        constraints: constraints.iter().map(|name| (*name).to_owned()).collect(),
        options: options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

fn definition(columns: Vec<ColumnDefinition>) -> TableDefinition {
    TableDefinition {
        columns,
        comment: None,
        options: Vec::new(),
    }
}

/// A table that was created is one of the tenant's at once, with the types that were asked for, and its
/// changes are in the stream.
#[tokio::test]
async fn create_table() {
    let folder = Folder::new();
    let db = SqliteDatabase::open(config(&folder.file())).unwrap();
    let mut stream = db.changes().await.unwrap();
    let types = [
        ("serial", ColumnType::WideInteger),
        ("varchar", ColumnType::Text),
        ("bigInt", ColumnType::BigInt),
        ("smallInt", ColumnType::SmallInt),
        ("decimal", ColumnType::Numeric),
        ("doublePrecision", ColumnType::Double),
        ("timestamptz", ColumnType::Timestamp),
        ("date", ColumnType::Date),
        ("boolean", ColumnType::Boolean),
        ("bytea", ColumnType::Bytea),
        ("jsonb", ColumnType::Json),
        ("uuid", ColumnType::Text),
        ("text", ColumnType::Text),
    ];
    let mut columns: Vec<ColumnDefinition> = types
        .iter()
        .map(|(name, _)| column(&format!("a {name}"), name, &[], &[]))
        .collect();
    columns[0].constraints = vec!["primaryKey".to_owned()];
    columns[1] = column(
        "a varchar",
        "varchar",
        &["unique", "default"],
        &[("length", "9"), ("default", "it's")],
    );
    columns[6].options = vec![("default".to_owned(), "now()".to_owned())];
    columns[8] = column(
        "a boolean",
        "boolean",
        &["notNull", "indexed"],
        &[("default", "true")],
    );
    let create = Command::CreateTable(table("new one"), definition(columns));
    let reply = run(&db, create.clone()).await.unwrap();
    assert_eq!(reply.outcome, Outcome::Bool(true));
    assert!(reply.lsn.is_some());
    let schema = describe(&db, "new one").await;
    let kinds: Vec<ColumnType> = schema
        .columns()
        .iter()
        .map(|column| column.kind.clone())
        .collect();
    assert_eq!(kinds, types.map(|(_, kind)| kind));
    let reply = add(
        &db,
        "new one",
        &[("a uuid", text("12345678901234567890123456789012"))],
    )
    .await
    .unwrap();
    let row = &rows(&reply)[0];
    assert_eq!(
        (&row[0], &row[1], &row[8]),
        (&Value::Int(1), &Value::text("it's"), &Value::Bool(true))
    );
    assert_eq!(row[11], Value::text("12345678901234567890123456789012"));
    assert!(matches!(row[6], Value::Timestamp(_)));
    let seen = until(&mut stream, reply.lsn.unwrap()).await;
    assert_eq!(
        seen.last().unwrap().tables[0].rows.as_ref().unwrap().len(),
        1
    );
    assert!(matches!(
        error(run(&db, create).await),
        CommandError::Constraint(_)
    ));
    let exists = |name: &str| run(&db, Command::TableExists(table(name)));
    assert_eq!(
        exists("new one").await.unwrap().outcome,
        Outcome::Bool(true)
    );
    assert_eq!(
        exists("New One").await.unwrap().outcome,
        Outcome::Bool(false)
    );
    for bad in [
        definition(Vec::new()),
        definition(vec![column("a", "interval", &[], &[])]),
        definition(vec![column("a", "text", &["exclusion"], &[])]),
        definition(vec![column("a", "text", &[], &[("check", "1=1")])]),
        definition(vec![column(
            "a",
            "integer",
            &[],
            &[("default", "1); DROP TABLE x")],
        )]),
        definition(vec![
            column("a", "text", &[], &[]),
            column("A", "text", &[], &[]),
        ]),
        definition(vec![column("", "text", &[], &[])]),
        definition(vec![column("a", "serial", &[], &[])]),
    ] {
        let refused = error(run(&db, Command::CreateTable(table("bad"), bad.clone())).await);
        assert!(
            matches!(refused, CommandError::BadCommand(_)),
            "{bad:?}: {refused:?}"
        );
    }
    for reserved in ["_tidegate_x", "sqlite_x", "SQLITE_y"] {
        let create = Command::CreateTable(
            table(reserved),
            definition(vec![column("a", "text", &[], &[])]),
        );
        assert!(matches!(
            error(run(&db, create).await),
            CommandError::BadCommand(_)
        ));
    }
}

/// Names and values that look like SQL are names and values.
#[tokio::test]
async fn hostile_names() {
    let folder = Folder::new();
    let db = SqliteDatabase::open(config(&folder.file())).unwrap();
    let mut stream = db.changes().await.unwrap();
    let hostile = [
        "a\"; DROP TABLE t; --",
        "a'b",
        "[x]",
        "`",
        "NEW.x",
        "select",
        "\"\"",
        "a) VALUES (1); --",
        "?1",
        "é\u{202e}",
        "rowid",
    ];
    for name in hostile {
        let mut columns = vec![column("id", "integer", &["primaryKey"], &[])];
        columns.extend(
            hostile
                .iter()
                .map(|name| column(name, "text", &["unique"], &[])),
        );
        let create = Command::CreateTable(table(name), definition(columns));
        assert_eq!(
            run(&db, create).await.unwrap().outcome,
            Outcome::Bool(true),
            "{name}"
        );
        let values: Vec<(&str, Literal)> = hostile.iter().map(|name| (*name, text(name))).collect();
        let reply = add(&db, name, &values).await.unwrap();
        assert_eq!(rows(&reply)[0][1], Value::text(hostile[0]));
        let found = run(
            &db,
            Command::GetSingle(table(name), by(hostile[0], hostile[0])),
        )
        .await;
        assert!(matches!(
            found.unwrap().outcome,
            Outcome::Row { row: Some(_), .. }
        ));
        let query = QuerySpec {
            filter: Some(FilterSpec::Test {
                column: hostile[3].to_owned(),
                operator: Operator::Contains,
                value: Some(text("`")),
                modifier: ModifierSpec::default(),
            }),
            order: vec![OrderSpec {
                column: hostile[7].to_owned(),
                sort: Sort::DescDefault,
            }],
            ..QuerySpec::default()
        };
        let read = run(
            &db,
            Command::GetData(table(name), Selection { query, offset: 0 }),
        )
        .await;
        assert_eq!(rows(&read.unwrap()).len(), 1);
        let seen = until(&mut stream, reply.lsn.unwrap()).await;
        assert_eq!(seen.last().unwrap().tables[0].table, table(name));
    }
    let tables = run(&db, Command::ListTables).await.unwrap().outcome;
    let Outcome::Tables(tables) = tables else {
        panic!()
    };
    assert_eq!(tables.len(), hostile.len());
    assert!(tables.iter().all(|table| table.refusal.is_none()));
}

/// A tenant reaches its own tables only, and the database's inner ones not at all.
#[tokio::test]
async fn tenants_are_apart() {
    let folder = Folder::new();
    let path = folder.file();
    foreign(&path)
        .execute_batch(
            "CREATE TABLE demo_t(id INTEGER PRIMARY KEY); INSERT INTO demo_t VALUES (1);
             CREATE TABLE other_t(id INTEGER PRIMARY KEY);
             CREATE TABLE alone(id INTEGER PRIMARY KEY)",
        )
        .unwrap();
    let mut prefixed = config(&path);
    prefixed.tenancy = Tenancy::Prefix;
    let db = SqliteDatabase::open(prefixed).unwrap();
    let mut stream = db.changes().await.unwrap();
    let list = async |name: &str| {
        let tenant = TenantId::parse(name).unwrap();
        match db
            .execute(&tenant, Command::ListTables)
            .await
            .unwrap()
            .outcome
        {
            Outcome::Tables(tables) => tables.len(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((list("demo").await, list("other").await), (1, 1));
    assert_eq!(
        (
            list("sqlite").await,
            list("demo_t").await,
            list("Demo").await
        ),
        (0, 0, 0)
    );
    let sqlite = TenantId::parse("sqlite").unwrap();
    for name in ["schema", "sequence", "master"] {
        let read = Command::GetData(table(name), Selection::default());
        assert!(matches!(
            error(db.execute(&sqlite, read).await),
            CommandError::UnknownTable(_)
        ));
    }
    foreign(&path)
        .execute_batch("INSERT INTO other_t VALUES (5); INSERT INTO alone VALUES (1)")
        .unwrap();
    let lsn = add(&db, "t", &[]).await.unwrap().lsn.unwrap();
    let seen = until(&mut stream, lsn).await;
    let mut changes = seen.iter().flat_map(|seen| &seen.tables);
    assert_eq!(changes.next().unwrap().tenant.as_str(), "other");
    assert_eq!(changes.next().unwrap().tenant.as_str(), "demo");
    assert!(
        changes.next().is_none(),
        "a table of nobody is not captured"
    );
    let create = Command::CreateTable(
        table("mine"),
        definition(vec![column("a", "text", &[], &[])]),
    );
    run(&db, create).await.unwrap();
    assert_eq!((list("demo").await, list("other").await), (2, 1));
}
