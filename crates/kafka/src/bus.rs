//! The front door: a [`Bus`] on a Kafka cluster.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::Partition;
use tidegate_ports::{
    AssignedReader, Batch, Bus, BusEvent, BusOffset, BusReader, Link, PortError, Record, Start,
    Topic,
};
use tokio::sync::watch;

use crate::broker::KafkaBroker;
use crate::close::Closer;
use crate::config::{KafkaConfig, Names, index};
use crate::error;
use crate::feed::{Feed, Fetched, Place, Run};
use crate::group::GroupReader;
use crate::link::LinkWatch;
use crate::producer::{self, Producer};
use crate::topics;

/// What the metrics call the bus's topics.
pub(crate) const BUS_WORDS: [&str; 3] = ["changes", "control", "diffs"];

/// What the parts of a bus share.
pub(crate) struct Shared {
    pub(crate) config: Arc<KafkaConfig>,
    pub(crate) names: Names,
    pub(crate) closer: Closer,
    pub(crate) link: LinkWatch,
}

impl Shared {
    /// Within a runtime only.
    pub(crate) fn new(config: KafkaConfig) -> Result<Self, PortError> {
        let closer = Closer::new();
        Ok(Self {
            names: Names::new(&config.topic_prefix),
            link: LinkWatch::start(&config, &closer)?,
            config: Arc::new(config),
            closer,
        })
    }
}

/// A [`Bus`] on a Kafka cluster.
///
/// Retention is by time and bytes, as [`Retentions`](crate::Retentions) says, and bounded below by
/// how often the brokers look (`log.retention.check.interval.ms`).
pub struct KafkaBus {
    shared: Arc<Shared>,
    producer: Producer,
}

impl std::fmt::Debug for KafkaBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaBus")
            .field("config", &self.shared.config)
            .finish_non_exhaustive()
    }
}

impl KafkaBus {
    /// Checks the topics, making those that are missing if the configuration says so, and is ready.
    ///
    /// # Errors
    /// `Unavailable` when the cluster cannot be asked; `Rejected` when the configuration, a topic
    /// or our rights are not as they must be.
    pub async fn connect(config: KafkaConfig) -> Result<Self, PortError> {
        topics::ensure_topics(&config).await?;
        let shared = Arc::new(Shared::new(config)?);
        let producer = Producer::new(Arc::clone(&shared.config), shared.closer.clone())?;
        Ok(Self { shared, producer })
    }

    /// The topics by name of the same cluster.
    ///
    /// # Errors
    /// `Rejected` when no client can be made.
    pub fn broker(&self) -> Result<KafkaBroker, PortError> {
        KafkaBroker::over(Arc::clone(&self.shared))
    }

    /// Whether the cluster can be reached: a loss is noticed within seconds.
    #[must_use]
    pub fn link(&self) -> watch::Receiver<Link> {
        self.shared.link.link()
    }

    /// Waits until what was published is acknowledged and readers that were dropped have left their
    /// groups, for at most `patience`. Without it a process that ends may leave its partitions
    /// without an owner until its session times out.
    pub async fn close(&self, patience: Duration) {
        let end = async {
            self.producer.flush().await;
            self.shared.closer.idle().await;
        };
        if tokio::time::timeout(patience, end).await.is_err() {
            tracing::info!("some clients were still closing at the end");
        }
    }

    fn check(&self, records: &[Record]) -> Result<(), PortError> {
        let bytes_max = self.shared.config.record_bytes_max;
        for record in records {
            exists(record.partition, self.partition_count())?;
            let bytes = producer::bytes(record);
            if bytes > bytes_max {
                return Err(PortError::TooLarge {
                    what: "bus record",
                    bytes,
                    bytes_max,
                });
            }
        }
        Ok(())
    }
}

fn exists(partition: Partition, count: u32) -> Result<(), PortError> {
    if partition.get() < count {
        return Ok(());
    }
    let why = format!("there is no partition {}", partition.get());
    Err(error::rejected(why))
}

#[async_trait]
impl Bus for KafkaBus {
    fn partition_count(&self) -> u32 {
        self.shared.config.partition_count
    }

    async fn publish(&self, topic: Topic, records: Vec<Record>) -> Result<(), PortError> {
        self.check(&records)?;
        self.producer
            .publish(self.shared.names.of(topic), &records)
            .await
    }

    async fn read(
        &self,
        topic: Topic,
        partitions: &[Partition],
        start: Start,
    ) -> Result<Box<dyn AssignedReader>, PortError> {
        let names = self.shared.names.list();
        let mut reader = PlainReader {
            feed: Feed::new(Arc::clone(&self.shared), names, &BUS_WORDS)?,
            partition_count: self.partition_count(),
            topic,
            start,
            partitions: BTreeSet::new(),
        };
        reader.assign(partitions).await?;
        Ok(Box::new(reader))
    }

    async fn join(
        &self,
        group: &str,
        topics: &[(Topic, Start)],
    ) -> Result<Box<dyn BusReader>, PortError> {
        let reader = GroupReader::join(Arc::clone(&self.shared), group, topics.to_vec())?;
        Ok(Box::new(reader))
    }
}

/// A reader outside of any group.
struct PlainReader {
    feed: Feed,
    partition_count: u32,
    topic: Topic,
    start: Start,
    partitions: BTreeSet<Partition>,
}

#[async_trait]
impl BusReader for PlainReader {
    async fn poll(&mut self) -> Result<BusEvent, PortError> {
        self.feed.next().await.map(records)
    }
}

#[async_trait]
impl AssignedReader for PlainReader {
    async fn assign(&mut self, partitions: &[Partition]) -> Result<(), PortError> {
        for &partition in partitions {
            exists(partition, self.partition_count)?;
        }
        let wanted: BTreeSet<Partition> = partitions.iter().copied().collect();
        self.feed
            .unassign(|place| !wanted.contains(&Partition::new(place.partition)))?;
        self.partitions.retain(|held| wanted.contains(held));
        let new: Vec<_> = wanted.difference(&self.partitions).copied().collect();
        let place = |partition: &Partition| {
            let (topic, partition) = (index(self.topic), partition.get());
            (Place { topic, partition }, self.start)
        };
        let places: Vec<_> = new.iter().map(place).collect();
        let offsets = self.feed.locate(&places).await?;
        self.feed.assign(&offsets)?;
        self.partitions.extend(new);
        Ok(())
    }
}

/// What a reader of the bus is told of messages: there a record has a key and a value, be they
/// empty.
pub(crate) fn records(run: Run) -> BusEvent {
    let partition = Partition::new(run.place.partition);
    let record = |fetched: Fetched| Record {
        partition,
        key: fetched.message.key.unwrap_or_default(),
        value: fetched.message.value.unwrap_or_default(),
    };
    BusEvent::Records(Batch {
        topic: Topic::ALL[run.place.topic],
        partition,
        next: BusOffset(run.end.unsigned_abs()),
        records: run.fetched.into_iter().map(record).collect(),
    })
}
