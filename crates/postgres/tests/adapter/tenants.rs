//! Tenants that share tables, and tenants with a schema each: what every database promises of them,
//! and what is Postgres's own.

use async_trait::async_trait;
use tidegate_core::{
    Command, CommandError, Outcome, Selection, TableChange, TableInfo, Tenancy, TenantId,
    Transaction,
};
use tidegate_ports::Database;
use tidegate_ports::conformance::{
    SharedTables, TENANT_COLUMN, TenantType, commands_keep_tenants_apart,
    the_stream_keeps_tenants_apart,
};

use crate::harness::{Site, by, error, key, number, row, rows, table, text, until};

struct Shared {
    site: Site,
    other: tokio_postgres::Client,
    /// What is said of tables whose primary key is without the column.
    identity: &'static str,
}

impl Shared {
    async fn new() -> Self {
        let tenancy = Tenancy::Column(TENANT_COLUMN.into());
        let site = Site::with(|config| config.tenancy = tenancy).await;
        Self {
            other: site.foreign().await,
            site,
            identity: "FULL",
        }
    }
}

#[async_trait]
impl SharedTables for Shared {
    fn database(&self) -> &dyn Database {
        &self.site.db
    }

    async fn run(&self, statements: &str) {
        let all = format!("BEGIN; {statements}; COMMIT");
        self.other.batch_execute(&all).await.unwrap();
    }

    async fn read(&self, statement: &str) -> Vec<(i64, i64)> {
        let rows = self.other.query(statement, &[]).await.unwrap();
        let pair = |row: &tokio_postgres::Row| -> (i32, i32) { (row.get(0), row.get(1)) };
        let pairs = rows.iter().map(pair);
        pairs.map(|(id, n)| (id.into(), n.into())).collect()
    }

    fn is_of(&self, tenant: &str) -> String {
        format!("{TENANT_COLUMN}::text COLLATE \"C\" = '{tenant}'")
    }

    fn tells_whose(&self, table: &str) -> String {
        format!("ALTER TABLE {table} REPLICA IDENTITY {}", self.identity)
    }

    fn replaces(&self) -> bool {
        false
    }
}

const TEXT: TenantType = TenantType {
    sql: "text",
    tenants: ["acme", "beta"],
    misfit: None,
};
const CHAR: TenantType = TenantType {
    sql: "char(6)",
    tenants: ["acme", "beta"],
    misfit: None,
};
const INTEGER: TenantType = TenantType {
    sql: "bigint",
    tenants: ["1", "10"],
    misfit: Some("01"),
};
const UUID: TenantType = TenantType {
    sql: "uuid",
    tenants: [
        "0190a6e0-1111-7abc-8def-0123456789ab",
        "0190a6e0-1111-7abc-8def-0123456789ac",
    ],
    misfit: Some("0190A6E0-1111-7abc-8def-0123456789ab"),
};

#[tokio::test]
async fn commands_are_apart() {
    for of in [TEXT, CHAR, INTEGER, UUID] {
        commands_keep_tenants_apart(&Shared::new().await, of).await;
    }
}

#[tokio::test]
async fn streams_are_apart() {
    for (of, seed) in [(TEXT, 1), (CHAR, 2), (INTEGER, 3), (UUID, 4)] {
        the_stream_keeps_tenants_apart(&Shared::new().await, of, seed).await;
    }
}

/// A collation that takes `acme` and `ACME` for equal does not make them one tenant.
#[tokio::test]
async fn tenants_differ_by_their_bytes() {
    let site = Shared::new().await;
    site.run(
        "CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
    )
    .await;
    let of = TenantType {
        sql: "text COLLATE any_case",
        tenants: ["acme", "ACME"],
        misfit: None,
    };
    the_stream_keeps_tenants_apart(&site, of, 5).await;
}

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn beta() -> TenantId {
    TenantId::parse("beta").unwrap()
}

/// Where the stream would not say whose a row was, the table cannot be watched, and says what to
/// do; also of partitions, whose identities are their own. So does whoever looks after the server.
#[tokio::test]
async fn identities_have_to_tell_whose() {
    let site = Shared::new().await;
    site.run(
        "CREATE TABLE t(id int PRIMARY KEY, tenant_id text NOT NULL);
         CREATE UNIQUE INDEX by_both ON t(tenant_id, id);
         CREATE TABLE parts(id int, at int, tenant_id text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
         CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
         CREATE TABLE odd(id int PRIMARY KEY, tenant_id inet);
         CREATE TABLE computed(id int PRIMARY KEY, tenant_id text GENERATED ALWAYS AS ('acme') STORED)",
    )
    .await;
    let db = &site.site.db;
    let refused = async |name: &str, part: &str| {
        let refused = error(db.describe(&acme(), &table(name)).await).to_string();
        assert!(refused.contains(part), "{refused}");
    };
    let whose = "cannot tell whose row of table t was changed: its replica identity does not hold \
                 column tenant_id (ALTER TABLE … REPLICA IDENTITY FULL";
    refused("t", whose).await;
    refused("odd", "has inet, which cannot say whose a row is").await;
    refused("computed", "computed by the server").await;
    refused("parts", "its replica identity does not hold").await;
    let remarks = db.remarks().await.unwrap();
    assert_eq!(remarks.len(), 4, "{remarks:?}");
    assert!(
        remarks.iter().any(|text| text.contains(whose)),
        "{remarks:?}"
    );
    for identity in ["FULL", "USING INDEX by_both"] {
        site.run(&format!("ALTER TABLE t REPLICA IDENTITY {identity}"))
            .await;
        db.describe(&acme(), &table("t")).await.unwrap();
    }
    site.run("ALTER TABLE parts REPLICA IDENTITY FULL").await;
    refused(
        "parts",
        "the replica identities of its partitions do not hold",
    )
    .await;
    site.run("ALTER TABLE parts_1 REPLICA IDENTITY FULL").await;
    db.describe(&acme(), &table("parts")).await.unwrap();
}

/// When a table no longer tells whose its rows were, no change of it is anybody's guess: all its
/// pages are read again. So they are when it is emptied.
#[tokio::test]
async fn what_is_not_told_is_read_again() {
    let site = Shared::new().await;
    site.run(
        "CREATE TABLE t(id int PRIMARY KEY, tenant_id text); ALTER TABLE t REPLICA IDENTITY FULL",
    )
    .await;
    site.site.db.describe(&acme(), &table("t")).await.unwrap();
    let mut stream = site.site.db.changes().await.unwrap();
    site.run("INSERT INTO t VALUES (1, 'acme'), (2, 'beta'), (3, NULL)")
        .await;
    site.run("TRUNCATE t").await;
    site.run("INSERT INTO t VALUES (1, 'acme')").await;
    site.run("ALTER TABLE t REPLICA IDENTITY DEFAULT").await;
    site.run("UPDATE t SET tenant_id = 'beta'").await;
    let seen = until(&mut stream, site.site.log_end().await).await;
    let told: Vec<(Vec<&str>, usize)> = seen
        .iter()
        .map(|done| {
            let tenants = done.tables.iter().map(|change| change.tenant.as_str());
            (tenants.collect(), done.resets.len())
        })
        .collect();
    let expect = [
        (vec!["acme", "beta"], 0),
        (vec![], 1),
        (vec!["acme"], 0),
        (vec![], 1),
    ];
    assert_eq!(told, expect);
}

/// Errors and triggers tell no tenant of another's rows: an exclusion shows only its name, and a
/// row that a trigger would give away is not written.
#[tokio::test]
async fn errors_show_no_others_rows() {
    let site = Shared::new().await;
    site.run(
        "CREATE TABLE slots(tenant_id text, id int, during int4range,
           PRIMARY KEY (tenant_id, id), EXCLUDE USING gist (during WITH &&));
         INSERT INTO slots VALUES ('beta', 1, '[41,43)');
         CREATE TABLE t(tenant_id text, id int, PRIMARY KEY (tenant_id, id));
         CREATE FUNCTION away() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN NEW.tenant_id := 'beta'; RETURN NEW; END $$;
         CREATE TRIGGER away BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION away()",
    )
    .await;
    let add = async |name: &str, values: &[(&str, tidegate_core::Literal)]| {
        let add = Command::AddSingle(table(name), row(values));
        error(site.site.db.execute(&acme(), add).await)
    };
    let refused = add("slots", &[("id", number("1")), ("during", text("[40,50)"))]).await;
    let said = refused.to_string();
    assert!(matches!(refused, CommandError::Constraint(_)), "{said}");
    assert!(!said.contains("41") && !said.contains("beta"), "{said}");
    let refused = add("t", &[("id", number("1"))]).await;
    assert!(
        refused.to_string().contains("another tenant's"),
        "{refused}"
    );
    assert!(site.read("SELECT id, id FROM t").await.is_empty());
}

/// What is unique together with the tenant names one row of its own.
#[tokio::test]
async fn unique_with_the_tenant() {
    let site = Shared::new().await;
    site.run(
        "CREATE TABLE t(tenant_id text, id int PRIMARY KEY, n int, UNIQUE (n, tenant_id));
         INSERT INTO t VALUES ('beta', 1, 7), ('acme', 2, 7), ('beta', 3, 8)",
    )
    .await;
    let delete = async |n: &str| {
        let delete = Command::DeleteRow(table("t"), by("n", n));
        site.site.db.execute(&acme(), delete).await.unwrap().outcome
    };
    assert_eq!(delete("7").await, Outcome::Bool(true));
    assert_eq!(delete("8").await, Outcome::Bool(false));
    let left = site.read("SELECT id, n FROM t ORDER BY id").await;
    assert_eq!(left, [(1, 7), (3, 8)]);
}

/// A server of tenants with a schema each.
async fn schemas() -> Site {
    let site = Site::with(|config| config.tenancy = Tenancy::Schema).await;
    site.sql(
        "CREATE SCHEMA acme; CREATE TABLE acme.t(id int PRIMARY KEY, n int);
         CREATE SCHEMA beta; CREATE TABLE beta.t(id int PRIMARY KEY, n text);
         CREATE TABLE public.t(id int PRIMARY KEY); CREATE TABLE public.u(id int PRIMARY KEY)",
    )
    .await;
    site
}

/// Each tenant's tables are those of its schema, for every command and for snapshots; schemas that
/// are no tenant's have none.
#[tokio::test]
async fn schemas_are_apart() {
    let site = schemas().await;
    let db = &site.db;
    let tables = async |tenant: &TenantId| -> Vec<TableInfo> {
        let listed = db.execute(tenant, Command::ListTables).await;
        match listed.unwrap().outcome {
            Outcome::Tables(tables) => tables,
            other => panic!("{other:?}"),
        }
    };
    for tenant in [acme(), beta()] {
        assert_eq!(tables(&tenant).await.len(), 1);
        db.describe(&tenant, &table("t")).await.unwrap();
    }
    for nobody in ["public", "pg_catalog", "tidegate", "gamma"] {
        let nobody = TenantId::parse(nobody).unwrap();
        assert!(tables(&nobody).await.is_empty());
        let refused = error(db.describe(&nobody, &table("t")).await);
        assert!(
            matches!(refused, CommandError::UnknownTable(_)),
            "{refused}"
        );
    }
    site.sql("INSERT INTO acme.t VALUES (1); INSERT INTO beta.t VALUES (1, 'x')")
        .await;
    let delete = Command::DeleteRow(table("t"), key("1"));
    let deleted = db.execute(&acme(), delete).await.unwrap();
    assert_eq!(deleted.outcome, Outcome::Bool(true));
    let all = Command::GetData(table("t"), Selection::default());
    assert_eq!(rows(&db.execute(&beta(), all).await.unwrap()).len(), 1);
    db.execute(&acme(), create("u")).await.unwrap();
    db.describe(&acme(), &table("u")).await.unwrap();
    let hidden = error(db.describe(&beta(), &table("u")).await);
    assert!(matches!(hidden, CommandError::UnknownTable(_)), "{hidden}");
    let gamma = TenantId::parse("gamma").unwrap();
    let refused = error(db.execute(&gamma, create("u")).await).to_string();
    assert!(refused.contains("no schema gamma"), "{refused}");
}

/// Whose changes there are, each with how many rows.
fn told(seen: &[Transaction]) -> Vec<(&str, Option<usize>)> {
    let changes = seen.iter().flat_map(|done| &done.tables);
    let told = |change: &'_ TableChange| change.rows.as_ref().map(Vec::len);
    changes
        .map(|change| (change.tenant.as_str(), told(change)))
        .collect()
}

/// The stream tells each tenant of its schema's tables; a table that is redefined is read again by
/// its own tenant only.
#[tokio::test]
async fn streams_of_schemas_are_apart() {
    let site = schemas().await;
    for tenant in [acme(), beta()] {
        site.db.describe(&tenant, &table("t")).await.unwrap();
    }
    let mut stream = site.db.changes().await.unwrap();
    site.sql("INSERT INTO public.t VALUES (1); INSERT INTO beta.t VALUES (1, 'x')")
        .await;
    let add = Command::AddSingle(table("t"), row(&[("id", number("1"))]));
    let reply = site.db.execute(&acme(), add).await.unwrap();
    let seen = until(&mut stream, reply.lsn.unwrap()).await;
    assert_eq!(told(&seen), [("beta", Some(1)), ("acme", Some(1))]);
    site.sql("ALTER TABLE beta.t ADD COLUMN more int; INSERT INTO beta.t VALUES (2)")
        .await;
    let seen = until(&mut stream, site.log_end().await).await;
    let changed = told(&seen);
    assert!(!changed.is_empty(), "it is told");
    assert!(
        changed.iter().all(|(tenant, _)| *tenant == "beta"),
        "{changed:?}"
    );
}

fn create(name: &str) -> Command {
    let id = tidegate_core::ColumnDefinition {
        name: "id".to_owned(),
        data_type: "integer".to_owned(),
        nullable: false,
        constraints: vec!["primaryKey".to_owned()],
        options: Vec::new(),
    };
    let definition = tidegate_core::TableDefinition {
        columns: vec![id],
        comment: None,
        options: Vec::new(),
    };
    Command::CreateTable(table(name), definition)
}
