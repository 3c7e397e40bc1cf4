//! The relay: the database's commits, in order, onto the bus.
//!
//! It reads whole transactions from [`Database::changes`], splits each by (tenant, table), and
//! publishes the parts to the partitions that own them. Then the batch is acknowledged. Each
//! partition gets a heartbeat, so that an idle one also learns how far the stream has come: at once
//! when the last one is a while ago, else when it is. A heartbeat costs a record, a poll and an
//! answer in every partition, which for commits that come one by one is many times their own cost.
//!
//! Invariant: per partition, commit positions never fall. What is published twice after a failed
//! publish carries the same position again, which the processor drops.
//!
//! What is deliberately absent: any knowledge of queries, pages or clients.

mod beat;
mod metrics;
mod split;

use std::sync::Arc;
use std::time::Duration;

use tidegate_ports::{
    Backoff, Bus, ChangeBatch, ChangeStream, Database, PortError, Record, Topic, jittered,
};
use tidegate_protocol::ChangeRecord;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::beat::Beat;

/// Tells the microseconds since the start of 1970; ages of commits are measured with it.
pub type ClockMicros = fn() -> i64;

/// Between two looks of a standby at whether the other is gone.
const STANDBY_LOOK: Duration = Duration::from_millis(500);

/// How a relay stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayState {
    /// It has no stream of changes, or nothing of it is on the bus yet.
    Starting,
    /// Another one relays; this one takes over when that is gone.
    Standby,
    /// What the database commits gets onto the bus.
    Relaying,
}

/// Relays until it is told to stop. `state` follows how that goes.
///
/// # Errors
/// When the database refuses to stream, or the bus a record, for a reason that waiting will not
/// mend.
pub async fn run(
    bus: Arc<dyn Bus>,
    database: Arc<dyn Database>,
    state: watch::Sender<RelayState>,
    clock_micros: ClockMicros,
    shutdown: CancellationToken,
) -> Result<(), PortError> {
    let relay = Relay {
        bus,
        database,
        state,
        clock_micros,
        metrics: metrics::Metrics::new(),
    };
    tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        result = relay.run() => result,
    }
}

struct Relay {
    bus: Arc<dyn Bus>,
    database: Arc<dyn Database>,
    state: watch::Sender<RelayState>,
    clock_micros: ClockMicros,
    metrics: metrics::Metrics,
}

impl Relay {
    async fn run(&self) -> Result<(), PortError> {
        let mut backoff = Backoff::default();
        loop {
            let stream = match self.database.changes().await {
                Ok(stream) => stream,
                Err(PortError::Taken { .. }) => {
                    self.stand_by().await;
                    continue;
                }
                Err(error) if error.is_retryable() => {
                    self.turn(RelayState::Starting);
                    tracing::warn!(error = %error.with_causes(), "change stream unavailable, trying again");
                    backoff.wait().await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            // A new stream begins at the present. Commits between the last stream and this one were
            // never sent, so every page must be read again before it goes on.
            self.publish(split::gap(self.bus.partition_count())).await?;
            match self.relay(stream, &mut backoff).await {
                Err(error) if !error.is_retryable() => return Err(error),
                Err(error) => {
                    tracing::warn!(error = %error.with_causes(), "change stream broke, making a new one");
                }
                Ok(()) => tracing::warn!("change stream ended, making a new one"),
            }
            self.turn(RelayState::Starting);
            self.metrics.restarts.increment(1);
            backoff.wait().await;
        }
    }

    /// Waits a little for the other one to go.
    async fn stand_by(&self) {
        if self.turn(RelayState::Standby) {
            tracing::info!("another process relays, this one stands by");
        }
        tokio::time::sleep(jittered(STANDBY_LOOK)).await;
    }

    /// Whether the state was another one before.
    fn turn(&self, state: RelayState) -> bool {
        self.state.send_if_modified(|current| {
            let before = std::mem::replace(current, state);
            before != state
        })
    }

    async fn relay(
        &self,
        mut stream: ChangeStream,
        backoff: &mut Backoff,
    ) -> Result<(), PortError> {
        let mut beat = Beat::default();
        loop {
            let batch = tokio::select! {
                batch = stream.next() => match batch {
                    Some(batch) => batch?,
                    None => return Ok(()),
                },
                heartbeat = beat.due() => {
                    let heartbeat = ChangeRecord::Heartbeat(heartbeat, stream.history());
                    self.publish(split::heartbeats(&heartbeat, self.bus.partition_count()))
                        .await?;
                    continue;
                }
            };
            let lsn = batch.heartbeat.lsn;
            let commits = commit_times(&batch);
            self.metrics.transactions.increment(commits.len() as u64);
            self.record_ages(&commits, &self.metrics.commit_to_read);
            let heartbeat = beat.take(batch.heartbeat);
            let heartbeat = heartbeat.map(|beat| ChangeRecord::Heartbeat(beat, stream.history()));
            let transactions = batch.transactions;
            let partition_count = self.bus.partition_count();
            self.publish(split::records(transactions, heartbeat, partition_count))
                .await?;
            self.record_ages(&commits, &self.metrics.commit_to_bus);
            stream.acknowledge(lsn);
            if self.turn(RelayState::Relaying) {
                tracing::info!(lsn = lsn.get(), "changes are relayed");
            }
            backoff.reset();
        }
    }

    fn record_ages(&self, commits: &[i64], histogram: &::metrics::Histogram) {
        let now = (self.clock_micros)();
        for committed_at in commits {
            histogram.record((now - committed_at).max(0) as f64 / 1e6);
        }
    }

    /// Publishes until the bus takes it: until then nothing further is read from the database, and
    /// nothing is acknowledged.
    async fn publish(&self, records: Vec<Record>) -> Result<(), PortError> {
        if records.is_empty() {
            return Ok(());
        }
        let mut backoff = Backoff::default();
        loop {
            match self.bus.publish(Topic::Changes, records.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_retryable() => {
                    self.metrics.publish_retries.increment(1);
                    tracing::warn!(error = %error.with_causes(), "bus does not take changes, trying again");
                    backoff.wait().await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn commit_times(batch: &ChangeBatch) -> Vec<i64> {
    let commits = batch.transactions.iter();
    commits.map(|one| one.commit.committed_at_micros).collect()
}

/// Encodes a change record for a partition.
fn record(partition: tidegate_core::Partition, change: &ChangeRecord) -> Record {
    Record {
        partition,
        key: bytes::Bytes::new(),
        value: change.encode(),
    }
}
