//! Creating tables, names that look like SQL, and tenants.

use tidegate_core::{
    ColumnDefinition, ColumnType, Command, CommandError, FilterSpec, Literal, ModifierSpec,
    Operator, OrderSpec, Outcome, QuerySpec, Selection, Sort, TableDefinition, Tenancy, TenantId,
    Value,
};
use tidegate_ports::Database;
use tidegate_sqlite::SqliteDatabase;

use crate::harness::{
    Folder, add, by, config, describe, error, foreign, rows, run, table, text, until,
};

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

/// The wire's names of types, and what they become.
const TYPES: &[(&str, ColumnType)] = &[
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

fn of_all_types() -> TableDefinition {
    let plain = |(name, _): &(&str, ColumnType)| column(&format!("a {name}"), name, &[], &[]);
    let mut columns: Vec<ColumnDefinition> = TYPES.iter().map(plain).collect();
    columns[0].constraints = vec!["primaryKey".to_owned()];
    let options = [("length", "9"), ("default", "it's")];
    columns[1] = column("a varchar", "varchar", &["unique", "default"], &options);
    columns[6].options = vec![("default".to_owned(), "now()".to_owned())];
    let constraints = ["notNull", "indexed"];
    columns[8] = column("a boolean", "boolean", &constraints, &[("default", "true")]);
    definition(columns)
}

/// A table that was created is one of the tenant's at once, with the types that were asked for, and
/// its changes are in the stream.
#[tokio::test]
async fn create_table() {
    let folder = Folder::new();
    let db = SqliteDatabase::open(config(&folder.file())).unwrap();
    let mut stream = db.changes().await.unwrap();
    let create = Command::CreateTable(table("new one"), of_all_types());
    let reply = run(&db, create.clone()).await.unwrap();
    assert_eq!(reply.outcome, Outcome::Bool(true));
    assert!(reply.lsn.is_some());
    let schema = describe(&db, "new one").await;
    for (column, (name, kind)) in schema.columns().iter().zip(TYPES) {
        assert_eq!(column.kind, *kind, "{name}");
    }
    let digits = "12345678901234567890123456789012";
    let reply = add(&db, "new one", &[("a uuid", text(digits))])
        .await
        .unwrap();
    let row = &rows(&reply)[0];
    assert_eq!((&row[0], &row[1]), (&Value::Int(1), &Value::text("it's")));
    assert_eq!(
        (&row[8], &row[11]),
        (&Value::Bool(true), &Value::text(digits))
    );
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
    for (name, exists) in [
        ("new one", true),
        ("New One", false),
        ("_tidegate_log", false),
    ] {
        let reply = run(&db, Command::TableExists(table(name))).await.unwrap();
        assert_eq!(reply.outcome, Outcome::Bool(exists), "{name}");
    }
}

/// Definitions that make no sense, or that SQLite cannot keep, are refused and leave nothing
/// behind.
#[tokio::test]
async fn refused_definitions() {
    let folder = Folder::new();
    let db = SqliteDatabase::open(config(&folder.file())).unwrap();
    let one = |column: ColumnDefinition| definition(vec![column]);
    let plain = |name: &str| column(name, "text", &[], &[]);
    for (name, bad) in [
        ("bad", definition(Vec::new())),
        ("bad", one(column("a", "interval", &[], &[]))),
        ("bad", one(column("a", "text", &["exclusion"], &[]))),
        ("bad", one(column("a", "text", &[], &[("check", "1=1")]))),
        (
            "bad",
            one(column(
                "a",
                "integer",
                &[],
                &[("default", "1); DROP TABLE x")],
            )),
        ),
        ("bad", one(column("a", "varchar", &[], &[("length", "1)")]))),
        ("bad", definition(vec![plain("a"), plain("A")])),
        ("bad", one(plain(""))),
        ("bad", one(plain("a\0b"))),
        ("bad", one(column("a", "serial", &[], &[]))),
        ("_tidegate_x", one(plain("a"))),
        ("sqlite_x", one(plain("a"))),
        ("SQLITE_y", one(plain("a"))),
    ] {
        let refused = error(run(&db, Command::CreateTable(table(name), bad.clone())).await);
        assert!(
            matches!(refused, CommandError::BadCommand(_)),
            "{bad:?}: {refused:?}"
        );
    }
    let Outcome::Tables(tables) = run(&db, Command::ListTables).await.unwrap().outcome else {
        panic!()
    };
    assert!(tables.is_empty());
}

const HOSTILE: [&str; 11] = [
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

/// Names and values that look like SQL are names and values.
#[tokio::test]
async fn hostile_names() {
    let folder = Folder::new();
    let db = SqliteDatabase::open(config(&folder.file())).unwrap();
    let mut stream = db.changes().await.unwrap();
    for name in HOSTILE {
        let mut columns = vec![column("id", "integer", &["primaryKey"], &[])];
        columns.extend(
            HOSTILE
                .iter()
                .map(|name| column(name, "text", &["unique"], &[])),
        );
        let create = Command::CreateTable(table(name), definition(columns));
        assert_eq!(
            run(&db, create).await.unwrap().outcome,
            Outcome::Bool(true),
            "{name}"
        );
        let values: Vec<(&str, Literal)> = HOSTILE.iter().map(|name| (*name, text(name))).collect();
        let reply = add(&db, name, &values).await.unwrap();
        assert_eq!(rows(&reply)[0][1], Value::text(HOSTILE[0]));
        let found = run(
            &db,
            Command::GetSingle(table(name), by(HOSTILE[0], HOSTILE[0])),
        )
        .await;
        assert!(matches!(
            found.unwrap().outcome,
            Outcome::Row { row: Some(_), .. }
        ));
        let query = QuerySpec {
            filter: Some(FilterSpec::Test {
                column: HOSTILE[3].to_owned(),
                operator: Operator::Contains,
                value: Some(text("`")),
                modifier: ModifierSpec::default(),
            }),
            order: vec![OrderSpec {
                column: HOSTILE[7].to_owned(),
                sort: Sort::DescDefault,
                is_pk: false,
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
    assert_eq!(tables.len(), HOSTILE.len());
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
