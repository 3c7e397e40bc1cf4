//! Topics by name: a [`Broker`] on a Kafka cluster.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header as OutgoingHeader, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use tidegate_ports::{
    Broker, BrokerEvent, BrokerReader, Keep, Link, Message, PortError, Start, TopicName,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::bus::Shared;
use crate::client::Context;
use crate::close::Closing;
use crate::config::{KafkaConfig, Replication};
use crate::error;
use crate::feed::{Feed, Place, bytes};
use crate::link::Admin;
use crate::metrics::ProducerMeter;
use crate::share::{ShareReader, received};

/// Pause when the queue is full of other messages.
const FULL_PAUSE: Duration = Duration::from_millis(1);
/// Pause before a topic that was just made is looked for again.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// A [`Broker`] on a Kafka cluster.
///
/// Keys are placed as librdkafka's default partitioner does it, so our messages meet those of other
/// programs that use it. Retention is the topic's.
pub struct KafkaBroker {
    shared: Arc<Shared>,
    producer: Closing<FutureProducer<Context>>,
}

impl std::fmt::Debug for KafkaBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaBroker")
            .field("config", &self.shared.config)
            .finish_non_exhaustive()
    }
}

impl KafkaBroker {
    /// Makes sure that the cluster is there.
    ///
    /// # Errors
    /// `Unavailable` when the cluster cannot be asked; `Rejected` when the configuration is not as
    /// it must be.
    pub async fn connect(config: KafkaConfig) -> Result<Self, PortError> {
        config.check()?;
        let broker = Self::over(Arc::new(Shared::new(config)?))?;
        broker.topics().await?;
        Ok(broker)
    }

    pub(crate) fn over(shared: Arc<Shared>) -> Result<Self, PortError> {
        let producer = shared
            .config
            .message_producer()
            .create_with_context(Context::Producer(ProducerMeter::new()))
            .map_err(error::from_kafka)?;
        Ok(Self {
            producer: Closing::new(producer, &shared.closer),
            shared,
        })
    }

    /// Waits until what was sent is acknowledged and readers that were dropped have left their
    /// groups, for at most `patience`.
    pub async fn close(&self, patience: Duration) {
        let producer = self.producer.clone();
        let flush = tokio::task::spawn_blocking(move || producer.flush(patience));
        let end = async {
            if !matches!(flush.await, Ok(Ok(()))) {
                tracing::info!("some messages were not acknowledged before the end");
            }
            self.shared.closer.idle().await;
        };
        if timeout(patience, end).await.is_err() {
            tracing::info!("some clients were still closing at the end");
        }
    }

    /// Partitions of a topic that have a leader, and all. What a producer knows of topics is as of
    /// its last question, so it is the producer's client that asks.
    async fn partitions(&self, topic: &TopicName) -> Result<Option<(usize, usize)>, PortError> {
        let (producer, config) = (self.producer.clone(), Arc::clone(&self.shared.config));
        let name = topic.as_str().to_owned();
        let ask = move || {
            let metadata = producer
                .client()
                .fetch_metadata(Some(&name), config.request_timeout)
                .map_err(error::from_kafka)?;
            let found = metadata.topics().iter().find(|one| one.name() == name);
            let Some(found) = found else {
                return Ok(None);
            };
            match found.error().map(RDKafkaErrorCode::from) {
                None => {
                    let partitions = found.partitions();
                    let led = partitions.iter().filter(|one| one.leader() >= 0).count();
                    Ok(Some((led, partitions.len())))
                }
                Some(
                    RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic,
                ) => Ok(None),
                Some(code) => Err(error::from_kafka(KafkaError::MetadataFetch(code))),
            }
        };
        let answer = tokio::task::spawn_blocking(ask).await;
        answer.map_err(error::unavailable)?
    }

    async fn existing(&self, topic: &TopicName) -> Result<u32, PortError> {
        match self.partitions(topic).await? {
            Some((_, count)) => Ok(u32::try_from(count).unwrap_or(u32::MAX)),
            None => Err(error::rejected(format!("there is no topic {topic}"))),
        }
    }

    /// Waits until a topic is there for everybody, or for nobody any more.
    async fn appeared(&self, topic: &TopicName, is_wanted: bool) -> Result<(), PortError> {
        let deadline = Instant::now() + self.shared.config.request_timeout;
        loop {
            let found = self.partitions(topic).await?;
            let is_so = match found {
                Some((led, count)) => is_wanted && led == count,
                None => !is_wanted,
            };
            if is_so {
                return Ok(());
            }
            if Instant::now() > deadline {
                let what = KafkaError::MetadataFetch(RDKafkaErrorCode::LeaderNotAvailable);
                return Err(error::unavailable(what));
            }
            sleep(LOOK_PAUSE).await;
        }
    }

    fn admin(&self) -> Admin {
        Arc::clone(&self.shared.link.admin)
    }

    fn options(&self) -> AdminOptions {
        let patience = Some(self.shared.config.request_timeout);
        AdminOptions::new()
            .request_timeout(patience)
            .operation_timeout(patience)
    }

    async fn send_all(&self, topic: &TopicName, messages: &[Message]) -> Result<(), KafkaError> {
        let mut sent = VecDeque::with_capacity(messages.len());
        for message in messages {
            self.hand_over(topic, message, &mut sent).await?;
        }
        for delivery in sent {
            acknowledged(delivery).await?;
        }
        Ok(())
    }

    /// Hands a message over, when the queue has room for it.
    async fn hand_over(
        &self,
        topic: &TopicName,
        message: &Message,
        sent: &mut VecDeque<DeliveryFuture>,
    ) -> Result<(), KafkaError> {
        let since = Instant::now();
        loop {
            match self.producer.send_result(outgoing(topic, message)) {
                Ok(delivery) => {
                    sent.push_back(delivery);
                    return Ok(());
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    // Our own oldest message makes room, or somebody else's.
                    if let Some(delivery) = sent.pop_front() {
                        acknowledged(delivery).await?;
                    } else if since.elapsed() > self.shared.config.publish_timeout {
                        return Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
                    } else {
                        sleep(FULL_PAUSE).await;
                    }
                }
                Err((error, _)) => return Err(error),
            }
        }
    }
}

async fn acknowledged(delivery: DeliveryFuture) -> Result<(), KafkaError> {
    match delivery.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err((error, _))) => Err(error),
        Err(_) => Err(KafkaError::Canceled),
    }
}

fn is_unknown(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(
        code,
        Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition)
    )
}

fn refusal(error: KafkaError, topic: &TopicName) -> PortError {
    match error.rdkafka_error_code() {
        Some(
            code @ (RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::MessageBatchTooLarge
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition),
        ) => error::rejected(format!("the topic {topic} does not take a message: {code}")),
        _ => error::from_kafka(error),
    }
}

fn outgoing<'a>(topic: &'a TopicName, message: &'a Message) -> FutureRecord<'a, [u8], [u8]> {
    let mut record = FutureRecord::to(topic.as_str());
    if let Some(key) = &message.key {
        record = record.key(&key[..]);
    }
    if let Some(value) = &message.value {
        record = record.payload(&value[..]);
    }
    if !message.headers.is_empty() {
        let headers = OwnedHeaders::new_with_capacity(message.headers.len());
        let headers = message.headers.iter().fold(headers, |headers, header| {
            headers.insert(OutgoingHeader {
                key: &header.name,
                value: header.value.as_deref(),
            })
        });
        record = record.headers(headers);
    }
    record
}

#[async_trait]
impl Broker for KafkaBroker {
    async fn send(&self, topic: &TopicName, messages: Vec<Message>) -> Result<(), PortError> {
        let bytes_max = self.shared.config.record_bytes_max;
        if let Some(bytes) = messages.iter().map(bytes).find(|bytes| *bytes > bytes_max) {
            return Err(PortError::TooLarge {
                what: "message",
                bytes,
                bytes_max,
            });
        }
        let sent = match self.send_all(topic, &messages).await {
            // Perhaps it has been made since the producer last looked.
            Err(error) if is_unknown(&error) && self.partitions(topic).await?.is_some() => {
                self.send_all(topic, &messages).await
            }
            sent => sent,
        };
        sent.map_err(|error| refusal(error, topic))
    }

    async fn follow(
        &self,
        topics: &[TopicName],
        start: Start,
    ) -> Result<Box<dyn BrokerReader>, PortError> {
        // Each once: leaders are not asked twice about one.
        let topics: BTreeSet<&TopicName> = topics.iter().collect();
        let topics: Arc<[TopicName]> = topics.into_iter().cloned().collect();
        let mut wanted = Vec::new();
        for (index, topic) in topics.iter().enumerate() {
            let count = self.existing(topic).await?;
            let place = |partition| Place {
                topic: index,
                partition,
            };
            wanted.extend((0..count).map(|partition| (place(partition), start)));
        }
        let names = topics.iter().map(|name| name.as_str().to_owned()).collect();
        let words = vec!["followed"; topics.len()];
        let mut feed = Feed::new(Arc::clone(&self.shared), names, &words)?;
        let offsets = feed.locate(&wanted).await?;
        feed.assign(&offsets)?;
        Ok(Box::new(PlainReader { feed, topics }))
    }

    async fn share(
        &self,
        group: &str,
        topics: &[TopicName],
        start: Start,
    ) -> Result<Box<dyn BrokerReader>, PortError> {
        for topic in topics {
            self.existing(topic).await?;
        }
        let reader = ShareReader::join(Arc::clone(&self.shared), group, topics, start)?;
        Ok(Box::new(reader))
    }

    async fn create(
        &self,
        topic: &TopicName,
        partitions: u32,
        keep: Keep,
    ) -> Result<(), PortError> {
        let partitions = i32::try_from(partitions).ok().filter(|count| *count > 0);
        let partitions =
            partitions.ok_or_else(|| error::rejected("a topic has at least one partition"))?;
        let bytes_max = self.shared.config.message_bytes_max().to_string();
        let settings = settings(keep);
        let new = NewTopic {
            name: topic.as_str(),
            num_partitions: partitions,
            replication: TopicReplication::Fixed(match self.shared.config.replication {
                Replication::ByBroker => -1,
                Replication::Copies(copies) => i32::from(copies),
            }),
            config: settings
                .iter()
                .map(|(name, value)| (*name, &**value))
                .chain([("max.message.bytes", &*bytes_max)])
                .collect(),
        };
        let made = self.admin().create_topics([&new], &self.options()).await;
        for made in made.map_err(error::from_kafka)? {
            match made {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => {
                    let why = format!("the topic {topic} cannot be made: {code}");
                    return Err(error::rejected(why));
                }
            }
        }
        self.appeared(topic, true).await
    }

    async fn remove(&self, topic: &TopicName) -> Result<(), PortError> {
        let removed = self
            .admin()
            .delete_topics(&[topic.as_str()], &self.options())
            .await;
        for removed in removed.map_err(error::from_kafka)? {
            match removed {
                Ok(_)
                | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition))
                | Err((_, RDKafkaErrorCode::UnknownTopic)) => {}
                Err((_, code)) => {
                    let why = format!("the topic {topic} cannot be removed: {code}");
                    return Err(error::rejected(why));
                }
            }
        }
        self.appeared(topic, false).await
    }

    async fn topics(&self) -> Result<Vec<TopicName>, PortError> {
        let (admin, config) = (self.admin(), Arc::clone(&self.shared.config));
        let ask = move || {
            let metadata = admin
                .inner()
                .fetch_metadata(None, config.request_timeout)
                .map_err(error::from_kafka)?;
            let topics = metadata.topics().iter();
            Ok(topics
                .filter_map(|one| TopicName::parse(one.name()))
                .collect())
        };
        let answer = tokio::task::spawn_blocking(ask).await;
        answer.map_err(error::unavailable)?
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.shared.link.link()
    }
}

/// What a topic is made with.
fn settings(keep: Keep) -> Vec<(&'static str, String)> {
    match keep {
        // A file goes as a whole, when its newest message is too old.
        Keep::Millis(millis) => vec![
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", millis.to_string()),
            ("segment.ms", (millis / 4).max(1_000).to_string()),
        ],
        Keep::LastOfKey => vec![("cleanup.policy", "compact".to_owned())],
    }
}

/// A reader outside of any group.
struct PlainReader {
    feed: Feed,
    topics: Arc<[TopicName]>,
}

#[async_trait]
impl BrokerReader for PlainReader {
    async fn poll(&mut self) -> Result<BrokerEvent, PortError> {
        let run = self.feed.next().await?;
        Ok(BrokerEvent::Messages(received(&self.topics, run)))
    }

    async fn settle(&mut self) -> Result<(), PortError> {
        Ok(())
    }
}
