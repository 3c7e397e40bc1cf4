//! The engines of the tests, and a table of their own for each test.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

/// The tenant whose tables most tests use.
pub(crate) const TENANT: &str = "demo";

/// The table under test, of a tenant whose name stands in every row. The database sorts text by a
/// language, the product by bytes.
fn create_things(tenant: &str) -> String {
    format!(
        "CREATE TABLE {tenant}_things (
         id BIGINT PRIMARY KEY, n INTEGER, price NUMERIC(10, 2), flag BOOLEAN, name TEXT,
         at TIMESTAMPTZ, owner TEXT NOT NULL DEFAULT '{tenant}')"
    )
}

/// Rows live under these keys: few, so that writers meet.
pub(crate) const KEYS: i64 = 60;

/// An engine's address.
pub(crate) fn address(variable: &str) -> String {
    setting(variable).unwrap_or_else(|| {
        panic!("{variable} says where the engine is: run `cargo xtask test`, which starts it")
    })
}

/// What whoever runs the tests has said.
#[expect(
    clippy::disallowed_methods,
    reason = "what tests are told, read in one place"
)]
pub(crate) fn setting(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}

/// A name that no other test has.
pub(crate) fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{what}_{}_{count}", std::process::id())
}

/// A database with the table, and connections to it. It goes when the services end: a slot of a
/// process that was killed may hold it for a while.
pub(crate) struct Site {
    pub(crate) url: String,
    /// What drives the connections; they end with the value.
    driving: JoinSet<()>,
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::at(&address("TIDEGATE_TEST_POSTGRES"), &[TENANT]).await
    }

    /// A database of its own on a server, with the tables of some tenants.
    pub(crate) async fn at(server: &str, tenants: &[&str]) -> Self {
        Self::named(server, &unique("cluster"), tenants).await
    }

    /// The same, by a name of one's choice that must be new.
    pub(crate) async fn named(server: &str, name: &str, tenants: &[&str]) -> Self {
        let mut driving = JoinSet::new();
        let postgres = connect(server, &mut driving).await;
        let create = format!("CREATE DATABASE {name}");
        postgres.batch_execute(&create).await.expect("it is new");
        let (base, _) = server
            .rsplit_once('/')
            .expect("the address names a database");
        let url = format!("{base}/{name}");
        let mut site = Self { url, driving };
        let database = site.connect().await;
        for tenant in tenants {
            let made = database.batch_execute(&create_things(tenant)).await;
            made.expect("it is empty");
        }
        site
    }

    /// Another program at the same database.
    pub(crate) async fn connect(&mut self) -> Client {
        connect(&self.url, &mut self.driving).await
    }
}

async fn connect(url: &str, driving: &mut JoinSet<()>) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .expect("the server is up");
    driving.spawn(async move {
        // Ends with the client; what is wrong the client says.
        let _ = connection.await;
    });
    client
}
