//! The front door: a [`Bus`] on a Kafka cluster.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::Partition;
use tidegate_ports::{AssignedReader, Bus, BusEvent, BusReader, PortError, Record, Start, Topic};

use crate::close::Closer;
use crate::config::{KafkaConfig, Names};
use crate::error;
use crate::feed::{Feed, Place};
use crate::group::GroupReader;
use crate::producer::{self, Producer};
use crate::topics;

/// What the parts of a bus share.
pub(crate) struct Shared {
    pub(crate) config: Arc<KafkaConfig>,
    pub(crate) names: Names,
    pub(crate) closer: Closer,
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
        let config = Arc::new(config);
        let closer = Closer::new();
        let producer = Producer::new(Arc::clone(&config), closer.clone())?;
        let names = Names::new(&config.topic_prefix);
        let shared = Arc::new(Shared {
            config,
            names,
            closer,
        });
        Ok(Self { shared, producer })
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
        let mut reader = PlainReader {
            feed: Feed::new(Arc::clone(&self.shared))?,
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
        self.feed.next().await.map(BusEvent::Records)
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
            .unassign(|place| !wanted.contains(&place.partition))?;
        self.partitions.retain(|held| wanted.contains(held));
        let new: Vec<_> = wanted.difference(&self.partitions).copied().collect();
        let place = |&partition| {
            let topic = self.topic;
            (Place { topic, partition }, self.start)
        };
        let places: Vec<_> = new.iter().map(place).collect();
        let offsets = self.feed.locate(&places).await?;
        self.feed.assign(&offsets)?;
        self.partitions.extend(new);
        Ok(())
    }
}
