//! Which pages this gateway wants kept: one lease per routing key, however many shards listen to
//! it.
//!
//! The owner of the leases is one task. Shards tell it what they need over a bounded mailbox; what
//! does not fit they say again a second later, so everything here may be repeated.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_core::{Partition, QuerySpec, RoutingKey};
use tidegate_ports::{Bus, Record, Topic};
use tidegate_protocol::{ControlRecord, QueryName, Want};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use crate::reading::Ask;

/// Commands that may wait. A herd of new queries is absorbed; past it shards come back later.
pub(crate) const MAILBOX_MAX: usize = 4_096;
/// Each lease is renewed once in so many ticks of a second, a part of them at each tick.
const RENEW_TICKS: u64 = 10;
const TICK: Duration = Duration::from_secs(1);
/// Records handed to the bus at once.
const PUBLISH_MAX: usize = 256;
/// Time for the last releases when the gateway stops. Whatever is not said by then lapses by
/// itself.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// What a lease says of the page that is wanted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) query: QuerySpec,
    /// Its name, for an owner who knows it by that.
    pub(crate) name: Option<QueryName>,
}

/// What a shard says about a routing key.
#[derive(Debug, Clone)]
pub(crate) enum InterestCommand {
    /// The shard listens to the key and needs its page published.
    NeedPage {
        shard: usize,
        key: RoutingKey,
        wanted: Arc<Wanted>,
    },
    /// The shard has no listener of the key any more.
    Leave { shard: usize, key: RoutingKey },
}

struct Lease {
    wanted: Arc<Wanted>,
    partition: Partition,
    shards: HashSet<usize>,
    /// When in the cycle of renewals it has its turn.
    turn: u64,
    /// A wish for the page that could not be published yet, or whose answer would be missed.
    is_page_owed: bool,
}

/// The leases of a gateway.
pub(crate) struct Interest {
    bus: Arc<dyn Bus>,
    gateway: u64,
    ask: Ask,
    leases: HashMap<RoutingKey, Lease>,
    opened: u64,
    ticks: u64,
}

impl Interest {
    pub(crate) fn new(bus: Arc<dyn Bus>, gateway: u64, ask: Ask) -> Self {
        Self {
            bus,
            gateway,
            ask,
            leases: HashMap::new(),
            opened: 0,
            ticks: 0,
        }
    }

    /// Runs until the gateway stops.
    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::Receiver<InterestCommand>,
        shutdown: CancellationToken,
    ) {
        let mut ticks = interval_at(Instant::now() + TICK, TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(PUBLISH_MAX);
        loop {
            let records = tokio::select! {
                count = commands.recv_many(&mut batch, PUBLISH_MAX) => {
                    if count == 0 {
                        break;
                    }
                    batch.drain(..).filter_map(|command| self.apply(command)).collect()
                }
                _ = ticks.tick() => self.tick(),
                () = self.ask.taken_on() => self.owed(),
                () = shutdown.cancelled() => break,
            };
            self.publish(records).await;
        }
        self.release_all().await;
    }

    /// Takes a command; gives what is to be published for it.
    fn apply(&mut self, command: InterestCommand) -> Option<(RoutingKey, ControlRecord)> {
        match command {
            InterestCommand::NeedPage { shard, key, wanted } => {
                let partition = key.partition(self.ask.partition_count());
                self.ask.need(partition);
                let is_read = self.ask.is_read(partition);
                let opened = &mut self.opened;
                let lease = self.leases.entry(key.clone()).or_insert_with(|| {
                    *opened += 1;
                    Lease {
                        wanted,
                        partition,
                        shards: HashSet::new(),
                        turn: *opened % RENEW_TICKS,
                        is_page_owed: false,
                    }
                });
                lease.shards.insert(shard);
                lease.is_page_owed = !is_read;
                if !is_read {
                    return None;
                }
                let record = lease_record(self.gateway, &key, lease, Want::Page);
                Some((key, record))
            }
            InterestCommand::Leave { shard, key } => {
                let lease = self.leases.get_mut(&key)?;
                lease.shards.remove(&shard);
                if !lease.shards.is_empty() {
                    return None;
                }
                self.leases.remove(&key);
                let gateway = self.gateway;
                Some((key.clone(), ControlRecord::Release { gateway, key }))
            }
        }
    }

    /// Renews the leases whose turn it is, and asks again for pages that could not be asked for.
    fn tick(&mut self) -> Vec<(RoutingKey, ControlRecord)> {
        self.ticks += 1;
        let turn = self.ticks % RENEW_TICKS;
        let gateway = self.gateway;
        let mut records = Vec::new();
        let mut leased = BTreeSet::new();
        for (key, lease) in &self.leases {
            leased.insert(lease.partition);
            if lease.turn == turn && !lease.is_page_owed {
                let record = lease_record(gateway, key, lease, Want::Renew);
                records.push((key.clone(), record));
            }
        }
        self.ask.second(&leased);
        records.extend(self.owed());
        records
    }

    /// Asks for the pages that are owed and whose partition is read.
    fn owed(&mut self) -> Vec<(RoutingKey, ControlRecord)> {
        let (ask, gateway) = (&self.ask, self.gateway);
        let owed = self.leases.iter_mut();
        let owed = owed.filter(|(_, lease)| lease.is_page_owed && ask.is_read(lease.partition));
        owed.map(|(key, lease)| {
            lease.is_page_owed = false;
            (key.clone(), lease_record(gateway, key, lease, Want::Page))
        })
        .collect()
    }

    /// Publishes records. Wishes for pages that fail are kept for the next tick; the rest repeats
    /// itself.
    async fn publish(&mut self, records: Vec<(RoutingKey, ControlRecord)>) {
        for part in records.chunks(PUBLISH_MAX) {
            let encoded = part
                .iter()
                .map(|(key, record)| self.encode(key, record))
                .collect();
            if let Err(error) = self.bus.publish(Topic::Control, encoded).await {
                tracing::warn!(%error, count = part.len(), "leases could not be published");
                self.owe_pages(part);
            }
        }
    }

    fn owe_pages(&mut self, failed: &[(RoutingKey, ControlRecord)]) {
        for (key, record) in failed {
            let is_wish = matches!(
                record,
                ControlRecord::Lease {
                    want: Want::Page,
                    ..
                }
            );
            if let (true, Some(lease)) = (is_wish, self.leases.get_mut(key)) {
                lease.is_page_owed = true;
            }
        }
    }

    fn encode(&self, key: &RoutingKey, record: &ControlRecord) -> Record {
        Record {
            partition: key.partition(self.bus.partition_count()),
            key: Bytes::from(key.encode()),
            value: record.encode(),
        }
    }

    async fn release_all(&mut self) {
        let gateway = self.gateway;
        let releases = self
            .leases
            .drain()
            .map(|(key, _)| (key.clone(), ControlRecord::Release { gateway, key }))
            .collect();
        let deadline = Instant::now() + RELEASE_TIMEOUT;
        if tokio::time::timeout_at(deadline, self.publish(releases))
            .await
            .is_err()
        {
            tracing::info!("some leases were not released and will lapse");
        }
    }
}

fn lease_record(gateway: u64, key: &RoutingKey, lease: &Lease, want: Want) -> ControlRecord {
    ControlRecord::Lease {
        gateway,
        key: key.clone(),
        query: lease.wanted.query.clone(),
        name: lease.wanted.name.clone(),
        want,
    }
}

#[cfg(test)]
mod tests;
