//! What the database is opened with.

use std::time::Duration;

use tidegate_core::Tenancy;

use crate::tls::PostgresTls;

/// How to use a Postgres database.
#[derive(Clone)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/name`, or the same as `key=value` pairs.
    pub address: String,
    /// Whether connections are encrypted; what the address says of it does not count.
    pub tls: PostgresTls,
    /// How tenants share it.
    pub tenancy: Tenancy,
    /// The schema that the tables are in.
    pub schema: String,
    /// The publication whose tables are streamed; made when it is not there, and extended by tables
    /// that are asked for.
    pub publication: String,
    /// What the names of replication slots start with. Each stream has a slot of its own, which
    /// goes with the stream's connection.
    pub slot_prefix: String,
    /// Whose streams exclude one another.
    pub streams: Streams,
    /// Connections for commands and snapshots. A stream takes two more.
    pub connections: usize,
    /// A statement that takes longer is stopped.
    pub statement_timeout: Duration,
    /// How often the stream is told what is visible.
    pub heartbeat_interval: Duration,
    /// How long a stream may take to start: transactions that are open then must end first.
    pub start_timeout: Duration,
}

/// How many streams there may be at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Streams {
    /// As many as there are processes: each has a bus of its own.
    Many,
    /// One over all processes that say the same name: they feed one bus, on which two relays would
    /// be in each other's way.
    OneOf(String),
}

impl PostgresConfig {
    /// The defaults: no encryption, schema `public`, publication and slots `tidegate`, any number
    /// of streams, eight connections, statements up to ten seconds, five heartbeats a second, a
    /// minute for a stream to start.
    #[must_use]
    pub fn new(address: impl Into<String>, tenancy: Tenancy) -> Self {
        Self {
            address: address.into(),
            tls: PostgresTls::Disable,
            tenancy,
            schema: "public".to_owned(),
            publication: "tidegate".to_owned(),
            slot_prefix: "tidegate".to_owned(),
            streams: Streams::Many,
            connections: 8,
            statement_timeout: Duration::from_secs(10),
            heartbeat_interval: Duration::from_millis(200),
            start_timeout: Duration::from_secs(60),
        }
    }
}

/// Without the address, which may hold a password.
impl std::fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("tenancy", &self.tenancy)
            .field("schema", &self.schema)
            .field("publication", &self.publication)
            .finish_non_exhaustive()
    }
}
