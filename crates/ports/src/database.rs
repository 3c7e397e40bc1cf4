//! The database: rows now, and every change after.

use std::sync::Arc;

use async_trait::async_trait;
use tidegate_core::{
    Command, CommandError, Fence, Heartbeat, History, Life, Lsn, Query, Reply, Row, TableName,
    TableSchema, TenantId, Transaction,
};
use tokio::sync::{mpsc, watch};

use crate::error::PortError;

/// Why the database did not do something.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DatabaseError {
    /// What was asked is wrong; the text is for the client.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The database itself has trouble.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// The first rows of a query, to be read together with what they contain.
#[derive(Debug, Clone)]
pub struct SnapshotRequest {
    /// Whose rows.
    pub tenant: TenantId,
    /// Which; its own limit does not count here.
    pub query: Arc<Query>,
    /// How many rows at most.
    pub rows_max: u32,
}

/// Rows of a query and the exact set of commits they contain.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// What the rows contain.
    pub fence: Fence,
    /// The rows, in the query's order.
    pub rows: Vec<Row>,
    /// Whether the query has no further rows.
    pub complete: bool,
}

/// What the database committed since the last batch.
#[derive(Debug, Clone)]
pub struct ChangeBatch {
    /// Whole transactions, in commit order; may be empty.
    pub transactions: Vec<Transaction>,
    /// How far the stream is after them.
    pub heartbeat: Heartbeat,
}

/// The database's commits, in order, from the moment the stream was made.
///
/// It ends (`next` gives `None`) when the database closes or the feeding side failed; make a new
/// one then.
#[derive(Debug)]
pub struct ChangeStream {
    batches: mpsc::Receiver<Result<ChangeBatch, PortError>>,
    relayed: watch::Sender<Lsn>,
    history: History,
}

impl ChangeStream {
    /// A stream and its feeding side: a bounded sender of batches, and the position up to which the
    /// relay has acknowledged, for trimming.
    #[must_use]
    pub fn channel(
        batches_max: usize,
    ) -> (
        mpsc::Sender<Result<ChangeBatch, PortError>>,
        watch::Receiver<Lsn>,
        Self,
    ) {
        let (sender, batches) = mpsc::channel(batches_max);
        let (relayed, acknowledged) = watch::channel(Lsn::ZERO);
        let history = History::ONLY;
        let stream = Self {
            batches,
            relayed,
            history,
        };
        (sender, acknowledged, stream)
    }

    /// The same, of a database whose address may come to mean another one.
    #[must_use]
    pub fn of_history(self, history: History) -> Self {
        Self { history, ..self }
    }

    /// Which history of the database its positions belong to.
    #[must_use]
    pub fn history(&self) -> History {
        self.history
    }

    /// Waits for the next batch. Cancellation-safe.
    pub async fn next(&mut self) -> Option<Result<ChangeBatch, PortError>> {
        self.batches.recv().await
    }

    /// Says that every commit up to `lsn` is on the bus, so the database may forget it.
    pub fn acknowledge(&self, lsn: Lsn) {
        self.relayed.send_replace(lsn);
    }
}

/// A SQL database of many tenants.
///
/// - *Snapshots* bring their fence: the exact set of commits in their rows. Each is one consistent
///   read.
/// - *Changes* come whole transaction by transaction, in commit order, each exactly once per
///   stream. A stream contains every commit that a snapshot taken after the stream was made does
///   not.
/// - *Commands* are atomic; a write that was acknowledged is durable, and a stream that has passed
///   its `lsn` has brought it: that is the position of its commit, or one after it.
/// - The tenant is always given and always applied: no call reaches another tenant's rows.
/// - Text is compared and ordered by its bytes.
#[async_trait]
pub trait Database: Send + Sync + 'static {
    /// The schema of a table that can be subscribed to.
    ///
    /// # Errors
    /// `UnknownTable`; `UnsupportedTable` with the reason when it can not be watched.
    async fn describe(
        &self,
        tenant: &TenantId,
        table: &TableName,
    ) -> Result<Arc<TableSchema>, DatabaseError>;

    /// Reads the first rows of a query. Fails with `TableChanged` when the table no longer has the
    /// schema that the query was made for.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    async fn snapshot(&self, request: SnapshotRequest) -> Result<Snapshot, DatabaseError>;

    /// Reads the first rows of several queries, each as [`Database::snapshot`] does. A database may
    /// read them under one snapshot, which then has been taken after this was called.
    ///
    /// There are as many answers as requests, in their order.
    async fn snapshots(
        &self,
        requests: Vec<SnapshotRequest>,
    ) -> Vec<Result<Snapshot, DatabaseError>> {
        let mut snapshots = Vec::with_capacity(requests.len());
        for request in requests {
            snapshots.push(self.snapshot(request).await);
        }
        snapshots
    }

    /// Carries out a command.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    async fn execute(&self, tenant: &TenantId, command: Command) -> Result<Reply, DatabaseError>;

    /// A number higher than any given before, for ever: also after restarts, and to other
    /// processes.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn next_life(&self) -> Result<Life, PortError>;

    /// Starts streaming commits. One stream at a time.
    ///
    /// # Errors
    /// `Unavailable`; `Taken` while another process streams for the same bus; `Rejected` when the
    /// database is not set up for it, with what to do.
    async fn changes(&self) -> Result<ChangeStream, PortError>;
}
