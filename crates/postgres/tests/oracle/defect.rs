//! The database as a pipeline sees it: slow at random, and for a control with one rule broken.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{
    Command, Fence, Life, Lsn, Reply, TableName, TableSchema, TenantId, TransactionSnapshot, Xid,
};
use tidegate_ports::{
    ChangeBatch, ChangeStream, Database, DatabaseError, PortError, Snapshot, SnapshotRequest,
};
use tidegate_postgres::PostgresDatabase;
use tokio::sync::mpsc;

/// A rule that is broken. The oracle must notice each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defect {
    /// A snapshot claims every commit up to its horizon, visible or not.
    FenceByLsn,
    /// Transactions in progress are left out of the snapshot's list.
    EmptyInProgress,
    /// The first transaction that the snapshot cannot see counts as seen: `<=` for `<`.
    OneTooFar,
    /// Heartbeats claim that all is visible, so nothing recent is kept.
    NothingRecent,
    /// Rows are joined to the stream before it has come to them.
    NoHorizon,
    /// A page that was cut says that it is complete.
    BoundNotLowered,
}

pub(crate) const DEFECTS: [Defect; 6] = [
    Defect::FenceByLsn,
    Defect::EmptyInProgress,
    Defect::OneTooFar,
    Defect::NothingRecent,
    Defect::NoHorizon,
    Defect::BoundNotLowered,
];

type Outlet = (Option<Defect>, mpsc::Sender<Result<ChangeBatch, PortError>>);

/// One stream for several pipelines, so that the server decodes its log once for all of them.
#[derive(Default)]
pub(crate) struct Tee {
    outlets: Mutex<Vec<Outlet>>,
}

impl Tee {
    /// Waits until so many listen.
    pub(crate) async fn wait_for(&self, count: usize) {
        while self.outlets.lock().unwrap().len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Passes on what comes until it ends or nobody listens any more.
    pub(crate) async fn pass_on(&self, mut stream: ChangeStream) {
        while let Some(batch) = stream.next().await {
            let batch = batch.expect("the stream of a run does not break");
            let lsn = batch.heartbeat.lsn;
            let mut outlets = self.outlets.lock().unwrap().clone();
            outlets.retain(|(_, outlet)| !outlet.is_closed());
            self.outlets.lock().unwrap().clone_from(&outlets);
            if outlets.is_empty() {
                return;
            }
            for (defect, outlet) in outlets {
                let batch = distorted_batch(defect, batch.clone());
                // One that has just been closed is let go next time.
                let _ = outlet.send(Ok(batch)).await;
            }
            stream.acknowledge(lsn);
        }
    }
}

/// Where a pipeline's changes come from.
pub(crate) enum Changes {
    /// From the adapter, as in the program.
    Own,
    /// From a stream that is shared.
    Shared(Arc<Tee>),
}

/// See the module.
pub(crate) struct Distorted {
    pub(crate) database: Arc<PostgresDatabase>,
    pub(crate) changes: Changes,
    pub(crate) defect: Option<Defect>,
    pub(crate) dice: Mutex<SmallRng>,
}

impl Distorted {
    pub(crate) fn new(
        database: &Arc<PostgresDatabase>,
        changes: Changes,
        defect: Option<Defect>,
        seed: u64,
    ) -> Self {
        Self {
            database: Arc::clone(database),
            changes,
            defect,
            dice: Mutex::new(SmallRng::seed_from_u64(seed)),
        }
    }

    /// Reads take their time, before as after.
    async fn dawdle(&self) {
        let is_slow = self.dice.lock().unwrap().random_ratio(1, 4);
        let time = self.dice.lock().unwrap().random_range(0..30) * u64::from(is_slow);
        if time > 0 {
            tokio::time::sleep(Duration::from_millis(time)).await;
        }
    }
}

fn distorted_batch(defect: Option<Defect>, mut batch: ChangeBatch) -> ChangeBatch {
    if defect == Some(Defect::NothingRecent) {
        let all = Xid::new(u64::MAX);
        batch.heartbeat.visible = Some(TransactionSnapshot {
            xmin: all,
            xmax: all,
            in_progress: Vec::new(),
        });
    }
    batch
}

fn distorted_fence(defect: Option<Defect>, fence: Fence) -> Fence {
    let Fence::Visible {
        mut snapshot,
        mut horizon,
    } = fence
    else {
        panic!("Postgres says who is visible");
    };
    match defect {
        Some(Defect::FenceByLsn) => return Fence::Prefix(horizon),
        Some(Defect::EmptyInProgress) => {
            snapshot.in_progress.clear();
            snapshot.xmin = snapshot.xmax;
        }
        Some(Defect::OneTooFar) => snapshot.xmax = Xid::new(snapshot.xmax.get() + 1),
        Some(Defect::NoHorizon) => horizon = Lsn::ZERO,
        Some(Defect::NothingRecent | Defect::BoundNotLowered) | None => {}
    }
    Fence::Visible { snapshot, horizon }
}

#[async_trait]
impl Database for Distorted {
    async fn describe(
        &self,
        tenant: &TenantId,
        table: &TableName,
    ) -> Result<Arc<TableSchema>, DatabaseError> {
        self.database.describe(tenant, table).await
    }

    async fn snapshot(&self, request: SnapshotRequest) -> Result<Snapshot, DatabaseError> {
        let mut snapshots = self.snapshots(vec![request]).await;
        snapshots.pop().expect("one answer")
    }

    async fn snapshots(
        &self,
        requests: Vec<SnapshotRequest>,
    ) -> Vec<Result<Snapshot, DatabaseError>> {
        self.dawdle().await;
        let limits: Vec<u32> = requests.iter().map(|one| one.query.limit()).collect();
        let read = self.database.snapshots(requests).await;
        let distort = |(snapshot, limit): (Result<Snapshot, DatabaseError>, u32)| {
            let mut snapshot = snapshot?;
            snapshot.fence = distorted_fence(self.defect, snapshot.fence);
            if self.defect == Some(Defect::BoundNotLowered) {
                snapshot.rows.truncate(limit as usize);
                snapshot.complete = true;
            }
            Ok(snapshot)
        };
        let snapshots = read.into_iter().zip(limits).map(distort).collect();
        self.dawdle().await;
        snapshots
    }

    async fn execute(&self, tenant: &TenantId, command: Command) -> Result<Reply, DatabaseError> {
        self.database.execute(tenant, command).await
    }

    async fn next_life(&self) -> Result<Life, PortError> {
        self.database.next_life().await
    }

    async fn changes(&self) -> Result<ChangeStream, PortError> {
        match &self.changes {
            Changes::Own => self.database.changes().await,
            Changes::Shared(tee) => {
                let (sender, _, stream) = ChangeStream::channel(2);
                tee.outlets.lock().unwrap().push((self.defect, sender));
                Ok(stream)
            }
        }
    }
}
