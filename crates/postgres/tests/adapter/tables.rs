//! Which tables can be watched, why others cannot, and how a table comes into the stream.

use std::time::Duration;

use tidegate_core::{ColumnType, Command, CommandError, Outcome, Tenancy, TenantId};
use tidegate_ports::{Database, DatabaseError, PortError};

use crate::harness::{Model, Site, error, table, tenant, until, whole};

/// Each kind of table that cannot be watched says why, in a list as well; none is in the
/// publication, where it could make writes fail.
#[tokio::test]
async fn refusals() {
    let site = Site::new().await;
    site.sql(
        "CREATE TABLE nokey(a integer);
         CREATE VIEW v AS SELECT 1 AS id;
         CREATE MATERIALIZED VIEW mv AS SELECT 1 AS id;
         CREATE UNLOGGED TABLE lost(id integer PRIMARY KEY);
         CREATE TABLE mute(id integer PRIMARY KEY); ALTER TABLE mute REPLICA IDENTITY NOTHING;
         CREATE TABLE late(id integer PRIMARY KEY DEFERRABLE);
         CREATE TABLE other(id integer PRIMARY KEY, a integer NOT NULL UNIQUE);
         ALTER TABLE other REPLICA IDENTITY USING INDEX other_a_key;
         CREATE TABLE odd(id inet PRIMARY KEY);
         CREATE TABLE parent(id integer PRIMARY KEY); CREATE TABLE child() INHERITS (parent);
         CREATE TABLE fine(id integer PRIMARY KEY)",
    )
    .await;
    let Outcome::Tables(tables) = site.run(Command::ListTables).await.unwrap().outcome else {
        panic!("a list")
    };
    for (name, why) in [
        ("nokey", "has no primary key"),
        ("v", "is a view"),
        ("mv", "is a materialized view"),
        ("lost", "is not logged"),
        ("mute", "replica identity"),
        ("late", "replica identity"),
        ("other", "replica identity"),
        ("odd", "its key column id has inet"),
        ("parent", "inherit"),
        ("child", "has no primary key"),
    ] {
        let refused = error(site.db.describe(&tenant(), &table(name)).await);
        assert!(
            matches!(refused, CommandError::UnsupportedTable(_)),
            "{name}: {refused:?}"
        );
        assert!(refused.to_string().contains(why), "{name}: {refused}");
        let listed = tables.iter().find(|info| info.name == table(name)).unwrap();
        assert_eq!(listed.refusal, Some(refused.to_string()));
    }
    let fine = tables
        .iter()
        .find(|info| info.name == table("fine"))
        .unwrap();
    assert_eq!(
        (fine.refusal.clone(), &fine.key[..]),
        (None, &["id".to_owned()][..])
    );
    assert_eq!(tables.len(), 11);
    // Writers of the others are not bothered.
    site.db.changes().await.unwrap();
    site.sql("INSERT INTO nokey VALUES (1); UPDATE nokey SET a = 2; DELETE FROM nokey")
        .await;
}

/// Types by name, domains as what they are of.
#[tokio::test]
async fn types() {
    let site = Site::new().await;
    site.sql(
        "CREATE DOMAIN mail AS varchar(80); CREATE DOMAIN work_mail AS mail;
         CREATE TABLE t(id bigint PRIMARY KEY, a work_mail NOT NULL, b time, c integer[])",
    )
    .await;
    let schema = site.describe("t").await;
    let kinds: Vec<&ColumnType> = schema.columns().iter().map(|column| &column.kind).collect();
    let other = |name: &str| ColumnType::Other(name.into());
    let expected = [
        &ColumnType::BigInt,
        &ColumnType::Text,
        &other("time without time zone"),
        &ColumnType::array_of(ColumnType::Integer),
    ];
    assert_eq!(kinds, expected);
    let nullable: Vec<bool> = schema
        .columns()
        .iter()
        .map(|column| column.nullable)
        .collect();
    assert_eq!(nullable, [false, false, true, true]);
}

/// A table comes into the stream whole: who wrote to it before is waited for, and is then in every
/// snapshot; who writes after is in the stream.
#[tokio::test]
async fn tables_join_a_running_stream() {
    let site = Site::new().await;
    site.sql("CREATE TABLE t(id integer PRIMARY KEY)").await;
    let mut stream = site.db.changes().await.unwrap();
    let early = site.foreign().await;
    early
        .batch_execute("BEGIN; INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    let name = table("t");
    let owner = tenant();
    let describing = site.db.describe(&owner, &name);
    tokio::pin!(describing);
    assert!(
        tokio::time::timeout(Duration::from_millis(150), &mut describing)
            .await
            .is_err()
    );
    early
        .batch_execute("INSERT INTO t VALUES (2); COMMIT")
        .await
        .unwrap();
    let schema = describing.await.unwrap();
    let snapshot = site.snapshot(&schema).await.unwrap();
    assert_eq!(snapshot.rows.len(), 2);
    let mut model = Model::of(&schema, &snapshot.rows);
    site.sql("INSERT INTO t VALUES (3)").await;
    for transaction in until(&mut stream, site.log_end().await).await {
        assert!(!snapshot.fence.contains(&transaction.commit));
        model.apply(&schema, &transaction).unwrap();
    }
    assert_eq!(model.rows.len(), 3);
}

/// A writer who does not come to an end keeps a table out, for now.
#[tokio::test]
async fn a_long_writer_keeps_a_table_out() {
    let site = Site::new().await;
    site.sql("CREATE TABLE t(id integer PRIMARY KEY)").await;
    let early = site.foreign().await;
    early
        .batch_execute("BEGIN; INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    match site.db.describe(&tenant(), &table("t")).await {
        Err(DatabaseError::Port(error)) => assert!(error.is_retryable(), "{error:?}"),
        other => panic!("{other:?}"),
    }
    early.batch_execute("COMMIT").await.unwrap();
    site.describe("t").await;
}

/// A page's query whose table was redefined is refused, and so is one whose table is gone.
#[tokio::test]
async fn redefined_tables() {
    let site = Site::new().await;
    site.sql("CREATE TABLE t(id integer PRIMARY KEY, a integer)")
        .await;
    let schema = site.describe("t").await;
    assert!(site.snapshot(&schema).await.unwrap().rows.is_empty());
    for sql in [
        "ALTER TABLE t ADD b integer",
        "ALTER TABLE t DROP b; ALTER TABLE t DROP a",
        "ALTER TABLE t ADD a text",
    ] {
        site.sql(sql).await;
        let refused = error(site.snapshot(&schema).await);
        assert!(
            matches!(refused, CommandError::TableChanged(_)),
            "{sql}: {refused:?}"
        );
    }
    // As it was: the same columns, though of another age, and its changes are not told yet.
    site.sql("DROP TABLE t; CREATE TABLE t(id integer PRIMARY KEY, a integer)")
        .await;
    let refused = error(site.snapshot(&schema).await);
    assert!(
        matches!(refused, CommandError::TableChanged(_)),
        "{refused:?}"
    );
    assert_eq!(site.describe("t").await, schema);
    assert!(site.snapshot(&schema).await.is_ok());
    site.sql("DROP TABLE t").await;
    let refused = error(site.snapshot(&schema).await);
    assert!(
        matches!(refused, CommandError::UnknownTable(_)),
        "{refused:?}"
    );
}

/// A publication that was made by hand is used as it is, and refused where it leaves something out.
#[tokio::test]
async fn publications_made_by_hand() {
    let site = Site::with(|config| config.publication = "by hand".to_owned()).await;
    site.sql(
        "CREATE TABLE a(id integer PRIMARY KEY); CREATE TABLE b(id integer PRIMARY KEY, x integer, y integer);
         CREATE TABLE p(id integer PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE PUBLICATION \"by hand\" FOR TABLE a, b (id, x)",
    )
    .await;
    site.describe("a").await;
    let part = error(site.db.describe(&tenant(), &table("b")).await);
    assert!(
        part.to_string().contains("leaves out some rows or columns"),
        "{part}"
    );
    let root = error(site.db.describe(&tenant(), &table("p")).await);
    assert!(
        root.to_string().contains("publish_via_partition_root"),
        "{root}"
    );
    site.sql("ALTER PUBLICATION \"by hand\" SET (publish = 'insert')")
        .await;
    match site.db.changes().await {
        Err(PortError::Rejected { why, .. }) => assert!(why.contains("publish = "), "{why}"),
        other => panic!("{other:?}"),
    }
}

/// A tenant reaches its own tables only, and no schema but the one.
#[tokio::test]
async fn tenants_are_apart() {
    let site = Site::with(|config| config.tenancy = Tenancy::Prefix).await;
    site.sql(
        "CREATE TABLE demo_t(id serial PRIMARY KEY); CREATE TABLE other_t(id serial PRIMARY KEY);
         CREATE TABLE alone(id serial PRIMARY KEY); CREATE SCHEMA s; CREATE TABLE s.demo_u(id serial PRIMARY KEY)",
    )
    .await;
    let of = |name: &str| TenantId::parse(name).unwrap();
    let list = async |name: &str| match site
        .db
        .execute(&of(name), Command::ListTables)
        .await
        .unwrap()
        .outcome
    {
        Outcome::Tables(tables) => tables.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!((list("demo").await, list("other").await), (1, 1));
    assert_eq!(
        (list("pg").await, list("demo_t").await, list("Demo").await),
        (0, 0, 0)
    );
    let hidden = site.db.describe(&of("pg"), &table("class")).await;
    assert!(matches!(error(hidden), CommandError::UnknownTable(_)));
    for name in ["demo", "other"] {
        site.db.describe(&of(name), &table("t")).await.unwrap();
    }
    let mut stream = site.db.changes().await.unwrap();
    site.sql("INSERT INTO other_t VALUES (5); INSERT INTO alone VALUES (1); INSERT INTO s.demo_u VALUES (1)")
        .await;
    let add = Command::AddSingle(table("t"), Vec::new());
    let lsn = site
        .db
        .execute(&of("demo"), add)
        .await
        .unwrap()
        .lsn
        .unwrap();
    let seen = until(&mut stream, lsn).await;
    let tenants: Vec<&str> = seen
        .iter()
        .flat_map(|t| &t.tables)
        .map(|t| t.tenant.as_str())
        .collect();
    assert_eq!(tenants, ["other", "demo"]);
}

/// Row security would hide rows from reads that the stream shows.
#[tokio::test]
async fn row_security_is_refused() {
    let site = Site::new().await;
    let role = format!("tidegate_role_{}", std::process::id());
    site.sql(&format!(
        "CREATE TABLE t(id integer PRIMARY KEY); ALTER TABLE t ENABLE ROW LEVEL SECURITY;
         DO $$ BEGIN CREATE ROLE {role} LOGIN PASSWORD 's3cret'; EXCEPTION WHEN duplicate_object THEN END $$;
         GRANT SELECT ON t TO {role}"
    ))
    .await;
    site.describe("t").await;
    let address = site
        .address
        .replacen("postgres@", &format!("{role}:s3cret@"), 1);
    let config = tidegate_postgres::PostgresConfig::new(address, Tenancy::Single);
    let db = tidegate_postgres::PostgresDatabase::new(config).unwrap();
    let refused = error(db.describe(&tenant(), &table("t")).await);
    assert!(refused.to_string().contains("row security"), "{refused}");
    // The same role may not stream, nor make the publication, nor count lives.
    match db.changes().await {
        Err(error @ PortError::Rejected { .. }) => {
            let text = error.to_string();
            assert!(
                text.contains("ALTER ROLE") && !text.contains("s3cret"),
                "{text}"
            );
        }
        other => panic!("{other:?}"),
    }
    match db.next_life().await {
        Err(PortError::Rejected { why, .. }) => assert!(why.contains("GRANT CREATE"), "{why}"),
        other => panic!("{other:?}"),
    }
    drop(db);
    site.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .await;
}

/// A read that comes again is prepared on its connection; a table that is changed or made anew
/// under it is read as it is then, or refused as changed, never answered from what was prepared.
#[tokio::test]
async fn prepared_reads_follow_their_table() {
    let site = Site::with(|config| config.connections = 1).await;
    const MAKE: &str = "CREATE TABLE t(id integer PRIMARY KEY, a integer); \
                        INSERT INTO t VALUES (1, 10), (2, 20)";
    for change in [
        "ALTER TABLE t ALTER a TYPE bigint",
        "ALTER TABLE t DROP a",
        "ALTER TABLE t ADD b text",
        "DROP TABLE t; CREATE TABLE t(id integer PRIMARY KEY, a integer); \
         INSERT INTO t VALUES (7, 70)",
    ] {
        site.sql("DROP TABLE IF EXISTS t").await;
        site.sql(MAKE).await;
        let request = whole(&site.describe("t").await);
        for _ in 0..3 {
            let page = site.db.snapshot(request.clone()).await.unwrap();
            assert_eq!(page.rows.len(), 2, "before {change}");
        }
        site.sql(change).await;
        match site.db.snapshot(request).await {
            Ok(page) => assert_eq!(page.rows.len(), 1, "{change}"),
            Err(DatabaseError::Command(CommandError::TableChanged(_))) => {}
            other => panic!("{change}: {other:?}"),
        }
        let request = whole(&site.describe("t").await);
        let page = site.db.snapshot(request).await.unwrap();
        assert!(!page.rows.is_empty(), "{change}");
    }
}

/// Reads that are asked for together are answered each for itself, in their order, also when one of
/// them fails.
#[tokio::test]
async fn reads_together_are_each_its_own() {
    let site = Site::new().await;
    site.sql(
        "CREATE TABLE t(id integer PRIMARY KEY); INSERT INTO t VALUES (1), (2);
         CREATE TABLE u(id integer PRIMARY KEY); INSERT INTO u VALUES (3)",
    )
    .await;
    let (t, u) = (site.describe("t").await, site.describe("u").await);
    site.sql("DROP TABLE u").await;
    let requests = [&t, &u, &t, &t].map(whole);
    let answers = site.db.snapshots(requests.to_vec()).await;
    let counts: Vec<_> = answers
        .iter()
        .map(|answer| answer.as_ref().map(|page| page.rows.len()).ok())
        .collect();
    assert_eq!(counts, [Some(2), None, Some(2), Some(2)]);
}
