//! What the database is opened with.

use std::path::PathBuf;
use std::time::Duration;

use tidegate_core::Tenancy;

/// How to open a SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteConfig {
    /// The file; made when it is not there.
    pub path: PathBuf,
    /// How tenants share it.
    pub tenancy: Tenancy,
    /// Threads that read, each with a connection of its own.
    pub readers: usize,
    /// A statement that takes longer is stopped.
    pub statement_timeout: Duration,
    /// How long to wait for a lock that another process holds.
    pub busy_timeout: Duration,
    /// How often to look for commits of other processes. Own commits are noticed at once.
    pub poll_interval: Duration,
}

impl SqliteConfig {
    /// The defaults: four readers, statements up to ten seconds, locks waited for up to five, a
    /// look every five milliseconds.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, tenancy: Tenancy) -> Self {
        Self {
            path: path.into(),
            tenancy,
            readers: 4,
            statement_timeout: Duration::from_secs(10),
            busy_timeout: Duration::from_secs(5),
            poll_interval: Duration::from_millis(5),
        }
    }
}
