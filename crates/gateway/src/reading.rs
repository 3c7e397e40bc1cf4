//! Which partitions of the diffs this gateway reads: those that its sessions' pages are in.
//!
//! The owner of the leases asks for partitions, the reader takes them on and says so, and only then
//! is a page asked for: the answer to an earlier wish would be missed.

use std::collections::BTreeSet;
use std::sync::Arc;

use metrics::{counter, gauge};
use tidegate_core::Partition;
use tidegate_ports::{AssignedReader, Backoff, Bus, PortError, Start, Topic};
use tokio::sync::{mpsc, watch};

use crate::listening::Listening;
use crate::metrics as names;
use crate::rounds::Rounds;
use crate::shard::Delivery;

/// Seconds for which a partition is still read that no lease is in: a page that is opened and
/// closed in turn shall not have it taken on each time.
const LINGER_SECONDS: u32 = 30;

/// The partitions that are to be read, as of the so-manieth change.
#[derive(Debug, Clone, Default)]
struct Wanted {
    change: u64,
    partitions: BTreeSet<Partition>,
}

/// The two ends: of the one who asks, and of the reader.
pub(crate) fn channel(partition_count: u32) -> (Ask, Reading) {
    let (wanted, asked) = watch::channel(Wanted::default());
    let (reached, is_reached) = watch::channel(0);
    let ask = Ask {
        partition_count,
        wanted,
        is_reached,
        read: BTreeSet::new(),
        idle: vec![0; partition_count as usize],
    };
    (ask, Reading { asked, reached })
}

/// The asking end.
pub(crate) struct Ask {
    partition_count: u32,
    wanted: watch::Sender<Wanted>,
    is_reached: watch::Receiver<u64>,
    /// Those that are read for certain.
    read: BTreeSet<Partition>,
    /// For how many seconds no lease has been in each partition.
    idle: Vec<u32>,
}

impl Ask {
    pub(crate) fn partition_count(&self) -> u32 {
        self.partition_count
    }

    pub(crate) fn is_read(&self, partition: Partition) -> bool {
        self.read.contains(&partition)
    }

    /// Asks for a partition, if that has not been done.
    pub(crate) fn need(&mut self, partition: Partition) {
        self.idle[partition.get() as usize] = 0;
        self.wanted.send_if_modified(|wanted| {
            let is_new = wanted.partitions.insert(partition);
            wanted.change += u64::from(is_new);
            is_new
        });
    }

    /// A second has gone by, at whose end leases were in these partitions.
    pub(crate) fn second(&mut self, leased: &BTreeSet<Partition>) {
        let Self { idle, read, .. } = self;
        self.wanted.send_if_modified(|wanted| {
            let before = wanted.partitions.len();
            wanted.partitions.retain(|partition| {
                let idle = &mut idle[partition.get() as usize];
                *idle = match leased.contains(partition) {
                    true => 0,
                    false => *idle + 1,
                };
                let stays = *idle < LINGER_SECONDS;
                if !stays {
                    read.remove(partition);
                }
                stays
            });
            let is_changed = wanted.partitions.len() < before;
            wanted.change += u64::from(is_changed);
            is_changed
        });
    }

    /// Waits until the reader has taken on something. Cancellation-safe.
    pub(crate) async fn taken_on(&mut self) {
        loop {
            // An error means that the reader has stopped, with the gateway.
            if self.is_reached.changed().await.is_err() {
                return std::future::pending().await;
            }
            let reached = *self.is_reached.borrow_and_update();
            let wanted = self.wanted.borrow();
            // What it has reached before the last change may not be read any more.
            if wanted.change == reached {
                self.read.clone_from(&wanted.partitions);
                return;
            }
        }
    }
}

/// A shard's mailbox, and what it may listen to.
pub(crate) struct Door {
    pub(crate) deliveries: mpsc::Sender<Delivery>,
    pub(crate) listening: Arc<Listening>,
}

impl Door {
    fn may_want(&self, delivery: &Delivery) -> bool {
        match delivery {
            Delivery::Batches(batches) => {
                let mut records = batches.iter().flat_map(|batch| batch.records.iter());
                records.any(|record| self.listening.may_want(record))
            }
            Delivery::Gap => true,
        }
    }
}

/// The reading end.
pub(crate) struct Reading {
    asked: watch::Receiver<Wanted>,
    reached: watch::Sender<u64>,
}

impl Reading {
    /// Reads diffs, outside of any group, and hands the same batches to every shard that may want
    /// something in them, until the shards are gone.
    pub(crate) async fn run(mut self, bus: Arc<dyn Bus>, shards: Vec<Door>) {
        let mut reader = open(&*bus).await;
        let mut rounds = Rounds::default();
        let mut backoff = Backoff::default();
        loop {
            let delivery = tokio::select! {
                asked = self.asked.changed() => {
                    if asked.is_err() {
                        return;
                    }
                    self.take_on(&mut *reader).await;
                    continue;
                }
                round = rounds.next(&mut *reader) => match round {
                    Ok(batches) => Delivery::Batches(batches),
                    Err(PortError::Gone { .. }) => {
                        counter!(names::BUS_GAPS_TOTAL).increment(1);
                        tracing::warn!("diffs were missed: this gateway is too slow for the bus");
                        Delivery::Gap
                    }
                    Err(error) => {
                        tracing::warn!(error = %error.with_causes(), "the bus could not be read");
                        backoff.wait().await;
                        continue;
                    }
                },
            };
            backoff.reset();
            for shard in &shards {
                let is_wanted = shard.may_want(&delivery);
                if is_wanted && shard.deliveries.send(delivery.clone()).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Reads what is asked for now, however often it must be tried.
    async fn take_on(&mut self, reader: &mut dyn AssignedReader) {
        let mut backoff = Backoff::default();
        loop {
            let Wanted { change, partitions } = self.asked.borrow_and_update().clone();
            let partitions = Vec::from_iter(partitions);
            match reader.assign(&partitions).await {
                Ok(()) => {
                    gauge!(names::PARTITIONS).set(partitions.len() as f64);
                    self.reached.send_replace(change);
                    return;
                }
                Err(error) => {
                    let error = error.with_causes();
                    tracing::warn!(%error, "partitions of the bus could not be taken on");
                    backoff.wait().await;
                }
            }
        }
    }
}

async fn open(bus: &dyn Bus) -> Box<dyn AssignedReader> {
    let mut backoff = Backoff::default();
    loop {
        match bus.read(Topic::Diffs, &[], Start::Latest).await {
            Ok(reader) => return reader,
            Err(error) => {
                tracing::warn!(error = %error.with_causes(), "the bus could not be opened");
                backoff.wait().await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
