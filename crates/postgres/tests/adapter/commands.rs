//! Commands: what they do, what they answer, and what they refuse.

use std::time::Duration;

use tidegate_core::{
    Aggregates, Aggregation, ColumnDefinition, ColumnType, Command, CommandError, FilterSpec,
    KeySpec, Literal, Lsn, ModifierSpec, Numeric, Operator, OrderSpec, Outcome, QueryError,
    QuerySpec, Reply, Selection, Sort, TableDefinition, Value,
};
use tidegate_ports::{Database, DatabaseError};

use crate::harness::{Site, by, error, key, number, row, rows, table, tenant, text, until};

async fn site(sql: &str) -> Site {
    let site = Site::new().await;
    site.sql(sql).await;
    site
}

fn composite(parts: &[Literal]) -> KeySpec {
    KeySpec {
        column: None,
        text: "[…]".to_owned(),
        parts: Some(parts.to_vec()),
    }
}

/// A stream that has passed the position that a write was answered with has the write.
#[tokio::test]
async fn own_writes_are_read() {
    let site = site("CREATE TABLE t(id serial PRIMARY KEY, name text)").await;
    site.describe("t").await;
    let mut stream = site.db.changes().await.unwrap();
    for name in ["a", "b", "c"] {
        let reply = site.add("t", &[("name", text(name))]).await.unwrap();
        let seen = until(&mut stream, reply.lsn.unwrap()).await;
        let [transaction] = &seen[..] else {
            panic!("{seen:?}")
        };
        assert!(transaction.commit.lsn <= reply.lsn.unwrap());
        let year_2020 = 1_577_836_800_000_000;
        assert!(transaction.commit.committed_at_micros > year_2020);
    }
}

/// Adding, changing and deleting answer with rows as they now are, triggers included; what matches
/// nothing answers so and has no position.
#[tokio::test]
async fn rows_come_back_as_they_are() {
    let site = site(
        "CREATE TABLE t(id serial PRIMARY KEY, name text DEFAULT 'none', at timestamptz, n numeric,
            touched integer DEFAULT 0, loud text GENERATED ALWAYS AS (upper(name)) STORED);
         CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            UPDATE t SET touched = touched + 1 WHERE id = NEW.id; RETURN NULL; END $$;
         CREATE TRIGGER touch AFTER UPDATE OF name ON t FOR EACH ROW EXECUTE FUNCTION touch()",
    )
    .await;
    let at = text("2026-01-02 03:04:05+01");
    let reply = site.add("t", &[("at", at), ("n", number("1.50"))]).await;
    let expected = [
        Value::Int(1),
        Value::text("none"),
        Value::Timestamp(1_767_319_445_000_000),
        Value::Numeric(Numeric::parse("1.5").unwrap()),
        Value::Int(0),
        Value::text("NONE"),
    ];
    assert_eq!(rows(&reply.unwrap())[0][..], expected);
    assert_eq!(rows(&site.add("t", &[]).await.unwrap()).len(), 1);
    let change = Command::UpdateSingle(table("t"), key("1"), row(&[("name", text("x"))]));
    let reply = site.run(change).await.unwrap();
    assert_eq!(
        rows(&reply)[0][4],
        Value::Int(1),
        "the trigger's work is seen"
    );
    let renamed = Command::UpdateSingle(table("t"), by("id", "1"), row(&[("id", number("9"))]));
    assert_eq!(rows(&site.run(renamed).await.unwrap())[0][0], Value::Int(9));
    let nothing = Command::UpdateSingle(table("t"), key("77"), row(&[("name", text("x"))]));
    let reply = site.run(nothing).await.unwrap();
    assert_eq!((rows(&reply).len(), reply.lsn), (0, None));
    for (id, found) in [("9", true), ("9", false)] {
        let reply = site
            .run(Command::DeleteRow(table("t"), key(id)))
            .await
            .unwrap();
        assert_eq!(reply.outcome, Outcome::Bool(found));
        assert_eq!(reply.lsn.is_some(), found);
    }
}

/// Keys: the column `id`, else the table's own; any unique column by name; a composite key by its
/// parts; a UUID in any of its forms.
#[tokio::test]
async fn keys() {
    let site = site(
        "CREATE TABLE own(code text PRIMARY KEY, mail text UNIQUE, city text);
         INSERT INTO own VALUES ('a', 'm1', 'x'), ('b', 'm2', 'x');
         CREATE UNIQUE INDEX ON own(city) WHERE code > 'y';
         CREATE TABLE pair(b text, a integer, v text, PRIMARY KEY(a, b));
         INSERT INTO pair VALUES ('x', 1, 'first'), ('y', 1, 'second');
         CREATE TABLE ids(id uuid PRIMARY KEY);
         INSERT INTO ids VALUES ('0190a6e0-1111-7abc-8def-0123456789ab')",
    )
    .await;
    let get =
        async |name: &str, key: KeySpec| match site.run(Command::GetSingle(table(name), key)).await
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
    let upper = "0190A6E0-1111-7ABC-8DEF-0123456789AB";
    assert!(get("ids", key(upper)).await.is_some());
    assert!(get("ids", key("no uuid")).await.is_none());
    let refused = |key: KeySpec, name: &str| site.run(Command::DeleteRow(table(name), key));
    for (key, name) in [(by("city", "x"), "own"), (key("1"), "pair")] {
        let error = error(refused(key, name).await);
        assert!(matches!(error, CommandError::BadCommand(_)), "{error:?}");
    }
    let unknown = error(refused(by("no", "x"), "own").await);
    assert!(matches!(unknown, CommandError::Query(_)), "{unknown:?}");
    for (key, name) in [(composite(&both), "pair"), (by("mail", "m1"), "own")] {
        assert_eq!(
            refused(key, name).await.unwrap().outcome,
            Outcome::Bool(true)
        );
    }
}

/// Refused rows say what is wrong, and nothing of them stays; the connections are good after it.
#[tokio::test]
async fn refused_rows() {
    let site = site(
        "CREATE TABLE t(id serial PRIMARY KEY, u integer UNIQUE, n text NOT NULL DEFAULT '', d numeric(10, 2),
            c integer CHECK (c > 0), r integer REFERENCES t DEFERRABLE INITIALLY DEFERRED,
            g integer GENERATED ALWAYS AS (u + 1) STORED, j jsonb, v varchar(3));
         INSERT INTO t(id, u) VALUES (0, 1);
         CREATE FUNCTION unlucky() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.u = 13 THEN RAISE EXCEPTION 'unlucky'; END IF; RETURN NEW; END $$;
         CREATE TABLE s(id serial PRIMARY KEY, u integer, d numeric(10, 2));
         CREATE TRIGGER unlucky BEFORE INSERT ON s FOR EACH ROW EXECUTE FUNCTION unlucky()",
    )
    .await;
    for (name, column, value, said) in [
        ("t", "u", number("1"), "Key (u)=(1) already exists"),
        ("t", "n", Literal::Null, "violates not-null constraint"),
        ("t", "c", number("0"), "violates check constraint"),
        ("t", "r", number("5"), "violates foreign key constraint"),
        ("t", "d", number("0.125"), "cannot hold 0.125 exactly"),
        ("t", "d", number("123456789"), "overflow"),
        ("t", "g", number("1"), "computed by the database"),
        ("t", "u", number("1.5"), "whole number"),
        ("t", "j", text("{"), "invalid input syntax for type json"),
        ("t", "v", text("long"), "too long"),
        ("t", "n", text("a\0b"), "NUL"),
        ("t", "x", number("1"), "has no column \"x\""),
        ("s", "u", number("13"), "unlucky"),
    ] {
        let refused = error(site.add(name, &[(column, value)]).await).to_string();
        assert!(refused.contains(said), "{column}: {refused}");
    }
    let twice = site
        .add("t", &[("u", number("5")), ("u", number("6"))])
        .await;
    assert!(error(twice).to_string().contains("twice"));
    let constraint = error(site.add("t", &[("u", number("1"))]).await);
    assert!(matches!(constraint, CommandError::Constraint(_)));
    let value = error(site.add("t", &[("v", text("long"))]).await);
    assert!(matches!(
        value,
        CommandError::Query(QueryError::BadValue(_))
    ));
    let read = site
        .run(Command::GetData(table("t"), Selection::default()))
        .await;
    assert_eq!(rows(&read.unwrap()).len(), 1, "nothing of it stayed");
    assert!(site.add("t", &[("u", number("2"))]).await.is_ok());
}

/// Tables that are not there, or not to be written to.
#[tokio::test]
async fn refused_tables() {
    let site = site(
        "CREATE TABLE t(id serial PRIMARY KEY, u integer); CREATE VIEW v AS SELECT * FROM t; \
         INSERT INTO t(u) VALUES (1); CREATE TABLE nokey(a integer)",
    )
    .await;
    for (name, expected) in [
        ("none", "there is no table none"),
        ("pg_class", "there is no table pg_class"),
        ("T", "there is no table T"),
        ("v", "v is a view: it cannot be written to"),
    ] {
        assert_eq!(error(site.add(name, &[]).await).to_string(), expected);
    }
    let empty = Command::UpdateSingle(table("t"), key("1"), Vec::new());
    assert!(matches!(
        error(site.run(empty).await),
        CommandError::BadCommand(_)
    ));
    let read = site
        .run(Command::GetData(table("v"), Selection::default()))
        .await;
    assert_eq!(rows(&read.unwrap()).len(), 1, "a view can be read once");
    assert!(
        site.add("nokey", &[("a", number("1"))])
            .await
            .unwrap()
            .lsn
            .is_some()
    );
    let read = site
        .run(Command::GetData(table("nokey"), Selection::default()))
        .await;
    assert_eq!(rows(&read.unwrap()).len(), 1);
}

/// GET_DATA has its own limits, skips its offset, and names its order.
#[tokio::test]
async fn get_data() {
    let site = site(
        "CREATE TABLE t(id integer PRIMARY KEY, v integer); \
         INSERT INTO t SELECT i, -i FROM generate_series(1, 600) i",
    )
    .await;
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
        site.run(Command::GetData(table("t"), Selection { query, offset }))
    };
    let reply = get(None, 0).await.unwrap();
    assert_eq!(rows(&reply).len(), 500);
    let Outcome::Page { order, lsn, .. } = reply.outcome else {
        panic!()
    };
    assert_eq!(order, [1, 0]);
    assert!(lsn > Lsn::ZERO);
    let reply = get(Some(3), 598).await.unwrap();
    let ids: Vec<Value> = rows(&reply).iter().map(|row| row[0].clone()).collect();
    assert_eq!(ids, [Value::Int(2), Value::Int(1)]);
    assert!(rows(&get(Some(3), u64::MAX).await.unwrap()).is_empty());
    for limit in [0, 10_001] {
        assert!(matches!(
            error(get(Some(limit), 0).await),
            CommandError::Query(_)
        ));
    }
}

/// A table that is redefined between two reads is looked up again.
#[tokio::test]
async fn reads_follow_the_table() {
    let site =
        site("CREATE TABLE t(id integer PRIMARY KEY, a integer); INSERT INTO t VALUES (1, 5)")
            .await;
    let read = async || {
        let reply = site
            .run(Command::GetData(table("t"), Selection::default()))
            .await;
        let reply = reply.unwrap();
        let texts = rows(&reply)[0].iter().map(Value::to_text);
        texts.map(Option::unwrap_or_default).collect::<Vec<_>>()
    };
    assert_eq!(read().await, ["1", "5"]);
    for (sql, expected) in [
        ("ALTER TABLE t ADD b text DEFAULT 'x'", vec!["1", "5", "x"]),
        ("ALTER TABLE t DROP a", vec!["1", "x"]),
        ("ALTER TABLE t RENAME b TO a", vec!["1", "x"]),
        (
            "ALTER TABLE t ALTER a DROP DEFAULT, ALTER a TYPE integer USING 7",
            vec!["1", "7"],
        ),
        (
            "DROP TABLE t; CREATE TABLE t(a text PRIMARY KEY); INSERT INTO t VALUES ('new')",
            vec!["new"],
        ),
    ] {
        site.sql(sql).await;
        assert_eq!(read().await, expected, "{sql}");
    }
    site.sql("DROP TABLE t").await;
    let gone = site
        .run(Command::GetData(table("t"), Selection::default()))
        .await;
    assert_eq!(error(gone).to_string(), "there is no table t");
}

/// What takes too long is stopped, and says so.
#[tokio::test]
async fn statements_are_stopped() {
    let site = Site::with(|config| config.statement_timeout = Duration::from_millis(300)).await;
    site.sql(
        "CREATE TABLE t(id integer PRIMARY KEY); \
         CREATE VIEW slow AS SELECT 1 AS id, pg_sleep(20)::text AS s",
    )
    .await;
    let slow = site
        .run(Command::GetData(table("slow"), Selection::default()))
        .await;
    assert!(matches!(error(slow), CommandError::Timeout(_)));
    let other = site.foreign().await;
    other
        .batch_execute("BEGIN; INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    let waits = site.add("t", &[("id", number("1"))]).await;
    assert!(matches!(error(waits), CommandError::Timeout(_)));
    other.batch_execute("ROLLBACK").await.unwrap();
    assert!(site.add("t", &[("id", number("1"))]).await.is_ok());
}

/// A caller who gives up leaves no transaction open behind, on whichever connection.
#[tokio::test]
async fn abandoned_writes() {
    let site = Site::with(|config| config.connections = 1).await;
    site.sql("CREATE TABLE t(id integer PRIMARY KEY)").await;
    let other = site.foreign().await;
    other
        .batch_execute("BEGIN; INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    let values = [("id", number("1"))];
    let write = site.add("t", &values);
    assert!(
        tokio::time::timeout(Duration::from_millis(200), write)
            .await
            .is_err()
    );
    other.batch_execute("COMMIT").await.unwrap();
    site.add("t", &[("id", number("2"))]).await.unwrap();
    let count = crate::harness::one(&other, "SELECT count(*)::text FROM t").await;
    assert_eq!(count, "2");
    let open = "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() \
                AND state LIKE 'idle in transaction%'";
    assert_eq!(crate::harness::one(&other, open).await, "0");
}

const AGGREGATED: &str = "
    CREATE TABLE t(id integer PRIMARY KEY, i bigint, n numeric, f real, s text, m timestamp, b boolean, x bytea,
        u uuid, y date);
    INSERT INTO t VALUES
        (1, 9223372036854775807, 0.1, 0.5, 'b', '2026-01-01 00:00', true, '\\x00ff',
            'ffffffff-0000-0000-0000-000000000000', '2026-01-01'),
        (2, 9223372036854775807, 0.2, 0.25, 'B', '2025-12-31 23:00', false, '\\x01',
            '00000000-0000-0000-0000-000000000001', '2025-01-01'),
        (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)";

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn decimal(text: &str) -> Option<Numeric> {
    Some(Numeric::parse(text).unwrap())
}

async fn aggregate(site: &Site, wanted: Aggregation) -> Result<Aggregates, DatabaseError> {
    match site
        .run(Command::RunAggregation(table("t"), wanted))
        .await?
        .outcome
    {
        Outcome::Aggregates(found) => Ok(found),
        other => panic!("{other:?}"),
    }
}

/// Aggregates are exact, and every type that has an order has a lowest and a highest value.
#[tokio::test]
async fn aggregates() {
    let site = site(AGGREGATED).await;
    let ordered = names(&["s", "m", "i", "b", "x", "u", "y"]);
    let wanted = Aggregation {
        sum: names(&["i", "n", "f"]),
        average: names(&["n", "f"]),
        minimum: ordered.clone(),
        maximum: ordered,
        filter: None,
    };
    let found = aggregate(&site, wanted).await.unwrap();
    assert_eq!(found.count, 3);
    let values = |list: &[(String, Option<Numeric>)]| -> Vec<Option<Numeric>> {
        list.iter().map(|(_, value)| value.clone()).collect()
    };
    let sums = [
        decimal("18446744073709551614"),
        decimal("0.3"),
        decimal("0.75"),
    ];
    assert_eq!(values(&found.sum), sums);
    assert_eq!(values(&found.average), [decimal("0.15"), decimal("0.375")]);
    let texts = |list: &[(String, Value)]| -> Vec<String> {
        list.iter()
            .map(|(_, value)| value.to_text().unwrap())
            .collect()
    };
    let lowest = [
        "B",
        "2025-12-31T23:00:00.000Z",
        "9223372036854775807",
        "false",
        "\\x00ff",
    ];
    assert_eq!(texts(&found.minimum)[..5], lowest);
    assert_eq!(texts(&found.minimum)[6], "2025-01-01");
    let highest = [
        "b",
        "2026-01-01T00:00:00.000Z",
        "9223372036854775807",
        "true",
        "\\x01",
    ];
    assert_eq!(texts(&found.maximum)[..5], highest);
    assert_eq!(
        texts(&found.maximum)[5],
        "ffffffff-0000-0000-0000-000000000000"
    );
}

/// NULL counts for nothing, the count is always there, and what has no sum is refused.
#[tokio::test]
async fn aggregates_of_nothing() {
    let site = site(AGGREGATED).await;
    let nulls = FilterSpec::Test {
        column: "s".to_owned(),
        operator: Operator::IsNull,
        value: None,
        modifier: ModifierSpec::default(),
    };
    let wanted = Aggregation {
        sum: names(&["i"]),
        maximum: names(&["s"]),
        filter: Some(nulls),
        ..Aggregation::default()
    };
    let found = aggregate(&site, wanted).await.unwrap();
    let got = (found.count, &found.sum[0].1, &found.maximum[0].1);
    assert_eq!(got, (1, &None, &Value::Null));
    let odd = Aggregation {
        sum: names(&["s"]),
        ..Aggregation::default()
    };
    assert!(matches!(
        error(aggregate(&site, odd).await),
        CommandError::BadCommand(_)
    ));
}

fn column(
    name: &str,
    data_type: &str,
    constraints: &[&str],
    options: &[(&str, &str)],
) -> ColumnDefinition {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    ColumnDefinition {
        name: name.to_owned(),
        data_type: data_type.to_owned(),
        nullable: true,
        constraints: names(constraints),
        options: options.iter().map(pair).collect(),
    }
}

fn definition(columns: Vec<ColumnDefinition>) -> TableDefinition {
    TableDefinition {
        columns,
        comment: Some("it's; DROP".to_owned()),
        options: Vec::new(),
    }
}

/// The wire's names of types, and what they become.
const TYPES: &[(&str, ColumnType)] = &[
    ("serial", ColumnType::Integer),
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
    ("real", ColumnType::Real),
    ("char_", ColumnType::Text),
];

/// A table that was created is one of the tenant's at once, with the types that were asked for, and
/// its changes are in a stream that was there before.
#[tokio::test]
async fn create_table() {
    let site = Site::new().await;
    let mut stream = site.db.changes().await.unwrap();
    let plain = |(name, _): &(&str, ColumnType)| column(&format!("a {name}"), name, &[], &[]);
    let mut columns: Vec<ColumnDefinition> = TYPES.iter().map(plain).collect();
    columns[0].constraints = names(&["primaryKey"]);
    let options = [("length", "9"), ("default", "it's")];
    columns[1] = column("a varchar", "varchar", &["unique", "default"], &options);
    columns[4].options = vec![
        ("precision".to_owned(), "9".to_owned()),
        ("scale".to_owned(), "2".to_owned()),
    ];
    columns[6].options = vec![("default".to_owned(), "now()".to_owned())];
    columns[8] = column(
        "a boolean",
        "boolean",
        &["notNull", "indexed"],
        &[("default", "true")],
    );
    let create = Command::CreateTable(table("new one"), definition(columns));
    let reply = site.run(create.clone()).await.unwrap();
    assert_eq!(reply.outcome, Outcome::Bool(true));
    assert!(reply.lsn.is_some());
    let reply = site
        .add("new one", &[("a real", number("0.1"))])
        .await
        .unwrap();
    let row = &rows(&reply)[0];
    assert_eq!((&row[0], &row[1]), (&Value::Int(1), &Value::text("it's")));
    assert_eq!(row[8], Value::Bool(true));
    assert!(matches!(row[6], Value::Timestamp(_)));
    let seen = until(&mut stream, reply.lsn.unwrap()).await;
    assert_eq!(
        seen.last().unwrap().tables[0].rows.as_ref().unwrap().len(),
        1
    );
    let schema = site.describe("new one").await;
    for (column, (name, kind)) in schema.columns().iter().zip(TYPES) {
        assert_eq!(column.kind, *kind, "{name}");
    }
    let again = error(site.run(create).await);
    assert_eq!(again.to_string(), "table new one exists already");
    for (name, exists) in [("new one", true), ("New One", false), ("pg_class", false)] {
        let reply = site.run(Command::TableExists(table(name))).await.unwrap();
        assert_eq!(reply.outcome, Outcome::Bool(exists), "{name}");
    }
}

/// Definitions that make no sense are refused and leave nothing behind.
#[tokio::test]
async fn refused_definitions() {
    let site = Site::new().await;
    let one = |column: ColumnDefinition| definition(vec![column]);
    let plain = |name: &str| column(name, "text", &[], &[]);
    let long = "x".repeat(64);
    for (name, bad) in [
        ("bad", definition(Vec::new())),
        ("bad", one(column("a", "nonsense", &[], &[]))),
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
        ("bad", one(column("a", "text", &["identity"], &[]))),
        ("bad", definition(vec![plain("a"), plain("a")])),
        ("bad", one(plain(""))),
        ("bad", one(plain("a\0b"))),
        ("bad", one(plain(&long))),
        ("bad", one(plain("ctid"))),
        (&long, one(plain("a"))),
    ] {
        let refused = error(
            site.run(Command::CreateTable(table(name), bad.clone()))
                .await,
        );
        assert!(
            matches!(refused, CommandError::BadCommand(_)),
            "{bad:?}: {refused:?}"
        );
    }
    let tables = site
        .db
        .execute(&tenant(), Command::ListTables)
        .await
        .unwrap();
    assert_eq!(tables.outcome, Outcome::Tables(Vec::new()));
}
