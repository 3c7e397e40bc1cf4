//! The database of a run, and connections to it.

use tidegate_core::{TableName, Tenancy, TenantId};
use tidegate_postgres::{PostgresConfig, PostgresDatabase};
use tokio_postgres::{Client, NoTls};

use crate::load::TABLES;

const VARIABLE: &str = "TIDEGATE_TEST_POSTGRES";

const LOCAL: &str = "SET synchronous_commit = local";
const NO_STANDBY: &str = "ALTER SYSTEM RESET synchronous_standby_names";

/// A database of its own. It is removed when dropped, and the server no longer waits for a standby
/// then, however the run ended.
pub(crate) struct Site {
    pub(crate) address: String,
    server: String,
    name: String,
}

impl Site {
    pub(crate) async fn new() -> Self {
        let server = std::env::var(VARIABLE).unwrap_or_else(|_| {
            panic!("{VARIABLE} says where a Postgres server is: run `cargo xtask test` or `cargo xtask oracle`")
        });
        let name = format!("oracle_{}", std::process::id());
        let admin = connect(&server).await;
        for sql in [LOCAL, NO_STANDBY, "SELECT pg_reload_conf()"] {
            admin.batch_execute(sql).await.unwrap();
        }
        end_prepared(&server, &admin).await;
        let create = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'");
        admin.batch_execute(&create).await.unwrap();
        // The run takes the standby away. What only reads and tells must not wait for it.
        let local = format!("ALTER DATABASE {name} SET synchronous_commit = local");
        admin.batch_execute(&local).await.unwrap();
        let (before, _) = server.rsplit_once('/').expect("an address");
        let address = format!("{before}/{name}");
        let site = Self {
            address,
            server,
            name,
        };
        let client = site.connect().await;
        for table in TABLES {
            let create = format!(
                "CREATE TABLE {table}(id bigint PRIMARY KEY, grp integer NOT NULL, val integer,
                 price numeric(8, 2), flag boolean, name text, body text);
                 ALTER TABLE {table} ALTER body SET STORAGE EXTERNAL"
            );
            client.batch_execute(&create).await.unwrap();
        }
        let full = "ALTER TABLE b_things REPLICA IDENTITY FULL";
        client.batch_execute(full).await.unwrap();
        site
    }

    pub(crate) async fn connect(&self) -> Client {
        connect(&self.address).await
    }

    /// The product's adapter on the database.
    pub(crate) fn database(&self) -> PostgresDatabase {
        let mut config = PostgresConfig::new(&self.address, Tenancy::Prefix);
        config.heartbeat_interval = std::time::Duration::from_millis(100);
        PostgresDatabase::new(config).unwrap()
    }
}

/// What an earlier run prepared and did not end outlives it, and would let no later slot be made.
async fn end_prepared(server: &str, admin: &Client) {
    let prepared = "SELECT gid, database FROM pg_prepared_xacts WHERE gid LIKE 'oracle_%'";
    let (before, _) = server.rsplit_once('/').expect("an address");
    for row in admin.query(prepared, &[]).await.unwrap() {
        let (gid, database): (&str, &str) = (row.get(0), row.get(1));
        let inside = connect(&format!("{before}/{database}")).await;
        let end = format!("ROLLBACK PREPARED '{gid}'");
        inside.batch_execute(&end).await.unwrap();
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // A runtime of its own: this one may be ending.
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let admin = connect(&server).await;
                for sql in [
                    LOCAL,
                    NO_STANDBY,
                    "SELECT pg_reload_conf()",
                    &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
                ] {
                    // What cannot be undone goes with the server.
                    let _ = admin.batch_execute(sql).await;
                }
            });
        });
        let _ = thread.join();
    }
}

async fn connect(address: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(address, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Whose a table is, and what it is called there.
pub(crate) fn logical(table: usize) -> (TenantId, TableName) {
    let (tenant, name) = TABLES[table].split_once('_').unwrap();
    let tenant = TenantId::parse(tenant).unwrap();
    (tenant, TableName::parse(name).unwrap())
}
