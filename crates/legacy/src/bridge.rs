//! The bridge: an old gateway served from our processor.
//!
//! ```text
//!  old gateway ──queries, seeds──▶ bridge ──leases──▶ processor
//!       ▲                            │ ▲                  │
//!       └──page diffs, row events────┘ └──pages, diffs────┘
//! ```
//!
//! The processor does not know of it: to it a bridge is one more gateway. What a bridge decides
//! stands in `state` and `feed`, which do no I/O and read no clock; here is the loop around them.
//!
//! Several bridges share the topic of seeds as a group, and who has a key's partition of it serves
//! the key. Queries, and what is remembered, are read whole by each, so that one can go on where
//! another stopped.
//!
//! Invariants:
//! - What is said of a key was written down before (`memory`), as far as a successor must know it.
//! - Of a key, every LSN is higher than the one before, over restarts and owners too.
//! - A partition that is gained is served only when all that its last owner wrote down has been
//!   read.

#[cfg(test)]
mod client;
mod feed;
mod intake;
mod listing;
mod memory;
mod metrics;
mod outgoing;
mod page;
mod pk;
mod state;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_core::{LimitRule, RoutingKey, TableName, Tenancy, TenantId};
use tidegate_ports::{
    Backoff, Broker, Bus, Database, DatabaseError, Keep, Message, PortError, Record, Topic,
    TopicName,
};
use tidegate_protocol::ControlRecord;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::intake::{Intake, Taken};
use self::metrics::Metrics;
use self::outgoing::Outgoing;
use self::state::{Described, Oddity, Settings, State, Undescribed};

/// Keys of an old gateway that are served at once.
const FEEDS_MAX: usize = 20_000;
/// Keys whose query is known.
const QUERIES_MAX: usize = 200_000;
/// Time between looks at what is due.
const TICK: Duration = Duration::from_millis(50);
/// Records handed to a broker at once.
const SEND_MAX: usize = 256;
/// Tables looked up at once.
const DESCRIBES_MAX: usize = 8;
/// Time for the last releases. Whatever is not said by then lapses by itself.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long what old gateways read is kept, in a topic that we make: they start at the latest.
const KEEP_MILLIS: u64 = 24 * 3_600_000;

/// The topics that old gateways write and read.
#[derive(Debug, Clone)]
pub struct OldTopics {
    /// Queries: `server.query.control`.
    pub queries: TopicName,
    /// What clients were given: `server.page.seed`.
    pub seeds: TopicName,
    /// Diffs: `server.page.diffs`.
    pub diffs: TopicName,
    /// The same, row by row: `server.row.events`.
    pub events: TopicName,
}

/// Settings of a bridge.
#[derive(Debug, Clone)]
pub struct BridgeConfig {
    /// The old gateways' topics.
    pub topics: OldTopics,
    /// Our own topic, where what must be known after a restart is kept. All bridges name the same.
    pub memory: TopicName,
    /// The group of the bridges.
    pub group: String,
    /// How tenants share the database.
    pub tenancy: Tenancy,
    /// What a query's limit may be.
    pub subscription_limit: LimitRule,
    /// Its name as an owner of leases: a random number, drawn at start.
    pub gateway_id: u64,
    /// How long a key is served after somebody last asked for it.
    pub idle: Duration,
    /// The wall clock at start, in milliseconds since 1970. Only the age of records is told by it.
    pub started_millis: u64,
}

/// The seams, as a bridge uses them.
#[derive(Clone)]
pub struct BridgePorts {
    /// Pages and diffs come from here, leases go there.
    pub bus: Arc<dyn Bus>,
    /// Where the old gateways' topics are.
    pub broker: Arc<dyn Broker>,
    /// What tables look like.
    pub database: Arc<dyn Database>,
}

impl fmt::Debug for BridgePorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BridgePorts")
    }
}

/// Serves old gateways until it is told to stop.
///
/// # Errors
/// When the broker refuses, or a topic of the old gateways cannot be made.
pub async fn run(
    config: BridgeConfig,
    ports: BridgePorts,
    stop: CancellationToken,
) -> Result<(), PortError> {
    let mut bridge = Bridge::new(config, ports);
    let outcome = stop.run_until_cancelled(bridge.serve()).await;
    bridge.release().await;
    outcome.unwrap_or(Ok(()))
}

struct Bridge {
    config: BridgeConfig,
    ports: BridgePorts,
    state: State,
    describing: JoinSet<((TenantId, TableName), Described)>,
    permits: Arc<Semaphore>,
    metrics: Metrics,
    told: HashSet<Oddity>,
    started: Instant,
}

impl Bridge {
    fn new(config: BridgeConfig, ports: BridgePorts) -> Self {
        let settings = Settings {
            tenancy: config.tenancy.clone(),
            subscription_limit: config.subscription_limit,
            gateway_id: config.gateway_id,
            partition_count: ports.bus.partition_count(),
            feeds_max: FEEDS_MAX,
            queries_max: QUERIES_MAX,
            idle_millis: millis(config.idle),
        };
        Self {
            config,
            ports,
            state: State::new(settings),
            describing: JoinSet::new(),
            permits: Arc::new(Semaphore::new(DESCRIBES_MAX)),
            metrics: Metrics::new(),
            told: HashSet::new(),
            started: Instant::now(),
        }
    }

    /// A clock that only goes forwards, dated as records are.
    fn now(&self) -> u64 {
        self.config.started_millis + millis(self.started.elapsed())
    }

    async fn serve(&mut self) -> Result<(), PortError> {
        self.make_topics().await?;
        let now = self.now();
        let Self { state, config, .. } = self;
        let on_known = |known| intake::on_message(state, config, &known, now);
        let mut intake = Intake::open(config, &self.ports, on_known).await?;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                taken = intake.next() => self.take(taken, &mut intake).await?,
                Some(done) = self.describing.join_next() => {
                    let (table, described) = done.expect("a look-up does not panic");
                    let now = self.now();
                    self.state.on_described(&table, &described, now);
                }
                _ = ticks.tick() => {
                    let now = self.now();
                    self.state.tick(now);
                }
            }
            self.carry_out().await?;
        }
    }

    async fn take(&mut self, taken: Taken, intake: &mut Intake) -> Result<(), PortError> {
        let now = self.now();
        match taken {
            Taken::Message(received) => {
                intake::on_message(&mut self.state, &self.config, &received, now);
            }
            Taken::Batch(batch) => intake::on_batch(&mut self.state, &batch, now),
            Taken::Gap => self.state.on_gap(now),
            Taken::Gaining(partitions) => {
                tracing::info!(
                    count = partitions.len(),
                    "partitions of old gateways were gained"
                );
                intake.mark().await?;
            }
            Taken::Gained(partitions) => {
                self.state.gain(&partitions);
                intake.unmark().await?;
            }
            Taken::Lost(partitions) => {
                tracing::info!(
                    count = partitions.len(),
                    "partitions of old gateways were lost"
                );
                self.state.lose(&partitions);
            }
            Taken::Failed(error) => intake::missed(&error).await,
        }
        Ok(())
    }

    /// Makes the topics that are missing, so that a bridge may start before its gateways.
    async fn make_topics(&self) -> Result<(), PortError> {
        let OldTopics {
            queries,
            seeds,
            diffs,
            events,
        } = &self.config.topics;
        let count = self.ports.bus.partition_count();
        let topics = [
            (queries, count, Keep::LastOfKey),
            (seeds, count, Keep::Millis(KEEP_MILLIS)),
            (diffs, count, Keep::Millis(KEEP_MILLIS)),
            (events, count, Keep::Millis(KEEP_MILLIS)),
            // One partition: its readers must know when they have read all of it.
            (&self.config.memory, 1, Keep::LastOfKey),
        ];
        for (topic, partitions, keep) in topics {
            until_done(|| self.ports.broker.create(topic, partitions, keep)).await?;
        }
        Ok(())
    }

    async fn carry_out(&mut self) -> Result<(), PortError> {
        let effects = std::mem::take(&mut self.state.effects);
        for (oddity, why) in effects.oddities {
            self.note(oddity, &why);
        }
        let memories = effects.memories.into_iter().map(|(key, memory)| Message {
            key: Some(Bytes::copy_from_slice(key.as_str().as_bytes())),
            value: memory.map(|memory| memory.encode()),
            headers: Vec::new(),
        });
        self.send(&self.config.memory, memories.collect()).await?;
        let mut out = Outgoing::default();
        for saying in &effects.sayings {
            out.add(saying);
        }
        self.metrics.diffs.increment(out.diffs.len() as u64);
        self.metrics.events.increment(out.events.len() as u64);
        self.metrics.long_rows.increment(out.long_rows);
        self.send(&self.config.topics.diffs, out.diffs).await?;
        self.send(&self.config.topics.events, out.events).await?;
        self.publish(effects.leases).await;
        for (tenant, table) in effects.describes {
            let database = Arc::clone(&self.ports.database);
            let permits = Arc::clone(&self.permits);
            self.describing.spawn(async move {
                // Closed never.
                let _permit = permits.acquire().await;
                let described = database.describe(&tenant, &table).await;
                ((tenant, table), described.map_err(undescribed))
            });
        }
        let (keys, pages) = self.state.sizes();
        self.metrics.keys.set(keys as f64);
        self.metrics.pages.set(pages as f64);
        Ok(())
    }

    /// Sends messages for as long as it takes. Meanwhile nothing is read: what was decided on is
    /// said before anything else is decided.
    async fn send(&self, topic: &TopicName, messages: Vec<Message>) -> Result<(), PortError> {
        for part in messages.chunks(SEND_MAX) {
            let mut backoff = Backoff::default();
            loop {
                match self.ports.broker.send(topic, part.to_vec()).await {
                    Ok(()) => break,
                    Err(error) if error.is_retryable() => {
                        tracing::warn!(%error, %topic, "records could not be written yet");
                        self.metrics.retries.increment(1);
                        backoff.wait().await;
                    }
                    Err(error @ PortError::TooLarge { .. }) => {
                        tracing::error!(%error, %topic, "records are too large for the broker");
                        self.metrics.unsendable.increment(part.len() as u64);
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Publishes leases. What fails is said again: a wish for a page soon, a renewal at its turn.
    async fn publish(&self, leases: Vec<(RoutingKey, ControlRecord)>) {
        let count = self.ports.bus.partition_count();
        let records: Vec<Record> = leases
            .iter()
            .map(|(key, record)| Record {
                partition: key.partition(count),
                key: Bytes::from(key.encode()),
                value: record.encode(),
            })
            .collect();
        for part in records.chunks(SEND_MAX) {
            if let Err(error) = self.ports.bus.publish(Topic::Control, part.to_vec()).await {
                tracing::warn!(%error, count = part.len(), "leases could not be published");
            }
        }
    }

    async fn release(&mut self) {
        self.state.effects.leases.clear();
        self.state.release_all();
        let leases = std::mem::take(&mut self.state.effects.leases);
        let released = tokio::time::timeout(RELEASE_TIMEOUT, self.publish(leases));
        if released.await.is_err() {
            tracing::info!("some leases were not released and will lapse");
        }
    }

    fn note(&mut self, oddity: Oddity, why: &str) {
        metrics::count(oddity);
        let kind = metrics::name(oddity);
        if self.told.insert(oddity) {
            tracing::warn!(kind, why, "first of its kind; more are only counted");
        } else {
            tracing::debug!(kind, why, "again");
        }
    }
}

fn undescribed(error: DatabaseError) -> (Undescribed, String) {
    let kind = match &error {
        DatabaseError::Port(error) if error.is_retryable() => Undescribed::Away,
        DatabaseError::Port(_) | DatabaseError::Command(_) => Undescribed::Refused,
    };
    (kind, error.to_string())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Tries until the broker is there.
async fn until_done<T, Attempt>(mut attempt: impl FnMut() -> Attempt) -> Result<T, PortError>
where
    Attempt: Future<Output = Result<T, PortError>>,
{
    let mut backoff = Backoff::default();
    loop {
        match attempt().await {
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, "the broker is not there yet, trying again");
                backoff.wait().await;
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests;
