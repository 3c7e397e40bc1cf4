//! The topics, as the bus needs them.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use tidegate_ports::{PortError, Topic};
use tokio::time::{Instant, sleep};

use crate::client::Context;
use crate::close::{Closer, Closing};
use crate::config::{KafkaConfig, MissingTopics, Names, Replication};
use crate::error;

/// Pause before a topic that was just made is looked for again.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Files of a log that a broker throws away one by one. The oldest goes when it is past retention
/// as a whole, so more than a few waste little.
const SEGMENTS: u32 = 4;
/// The least that a broker takes as the size of such a file.
const SEGMENT_BYTES_MIN: u64 = 1 << 20;

/// Checks that the topics are as the bus needs them, after making those that are missing if the
/// configuration says so. Gives the names of those it made.
///
/// # Errors
/// `Unavailable` when the cluster cannot be asked; `Rejected` with a sentence for people when a
/// topic is missing or cannot be used.
pub async fn ensure_topics(config: &KafkaConfig) -> Result<Vec<String>, PortError> {
    config.check()?;
    let names = Names::new(&config.topic_prefix);
    let found = found(config, &names).await?;
    let missing: Vec<Topic> = found
        .iter()
        .filter_map(|(topic, partitions)| partitions.is_none().then_some(*topic))
        .collect();
    let admin: AdminClient<Context> = config
        .client()
        .create_with_context(Context::Plain)
        .map_err(error::from_kafka)?;
    let admin = Closing::new(admin, &Closer::new());
    let made = match (config.missing_topics, missing.is_empty()) {
        (_, true) => Vec::new(),
        (MissingTopics::Create, false) => make(&admin, config, &names, &missing).await?,
        (MissingTopics::Refuse, false) => {
            let missing: Vec<_> = missing.iter().map(|topic| names.of(*topic)).collect();
            let why = format!("these topics do not exist: {}", missing.join(", "));
            return Err(error::rejected(why));
        }
    };
    check_counts(config, &names).await?;
    check_settings(&admin, config, &names).await?;
    Ok(made)
}

/// Checks the numbers of partitions. Topics that were just made take a moment to appear, and
/// partitions to have a leader.
async fn check_counts(config: &KafkaConfig, names: &Names) -> Result<(), PortError> {
    let deadline = Instant::now() + config.request_timeout;
    loop {
        let mut is_ready = true;
        for (topic, partitions) in found(config, names).await? {
            match partitions {
                Some(Partitions { count, led }) => {
                    check_count(config, names.of(topic), count)?;
                    is_ready &= led == count;
                }
                None => is_ready = false,
            }
        }
        if is_ready {
            return Ok(());
        }
        if Instant::now() > deadline {
            let what = KafkaError::MetadataFetch(RDKafkaErrorCode::LeaderNotAvailable);
            return Err(error::unavailable(what));
        }
        sleep(LOOK_PAUSE).await;
    }
}

fn check_count(config: &KafkaConfig, name: &str, count: usize) -> Result<(), PortError> {
    let wanted = config.partition_count;
    if usize::try_from(wanted) == Ok(count) {
        return Ok(());
    }
    Err(error::rejected(format!(
        "the topic {name} has {count} partitions and the configuration says {wanted}; all topics \
         have the same number, which decides where each table goes: configure {count}, or remove \
         the topics and start over"
    )))
}

/// Partitions of a topic, and how many of them have a leader.
#[derive(Debug, Clone, Copy)]
struct Partitions {
    count: usize,
    led: usize,
}

type Found = Vec<(Topic, Option<Partitions>)>;

/// The topics that are there.
async fn found(config: &KafkaConfig, names: &Names) -> Result<Found, PortError> {
    let (client, timeout) = (config.client(), config.request_timeout);
    let names = names.clone();
    let ask = move || -> Result<Found, PortError> {
        // A consumer without a group: one that only asks.
        let consumer: BaseConsumer<Context> = client
            .create_with_context(Context::Plain)
            .map_err(error::from_kafka)?;
        let mut found = Vec::new();
        for topic in Topic::ALL {
            let name = names.of(topic);
            let metadata = consumer
                .fetch_metadata(Some(name), timeout)
                .map_err(error::from_kafka)?;
            let it = metadata.topics().iter().find(|one| one.name() == name);
            found.push((topic, it.map(partitions).transpose()?.flatten()));
        }
        Ok(found)
    };
    let answer = tokio::task::spawn_blocking(ask).await;
    answer.map_err(error::unavailable)?
}

fn partitions(topic: &MetadataTopic) -> Result<Option<Partitions>, PortError> {
    let code = topic.error().map(RDKafkaErrorCode::from);
    match code {
        None => {
            let partitions = topic.partitions();
            let led = partitions.iter().filter(|one| one.leader() >= 0);
            Ok(Some(Partitions {
                count: partitions.len(),
                led: led.count(),
            }))
        }
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            Ok(None)
        }
        Some(code) => Err(error::from_kafka(KafkaError::MetadataFetch(code))),
    }
}

async fn make(
    admin: &AdminClient<Context>,
    config: &KafkaConfig,
    names: &Names,
    missing: &[Topic],
) -> Result<Vec<String>, PortError> {
    let settings: Vec<_> = missing
        .iter()
        .map(|topic| (*topic, settings(config, *topic)))
        .collect();
    let replication = match config.replication {
        Replication::ByBroker => -1,
        Replication::Copies(copies) => i32::from(copies),
    };
    let new: Vec<_> = settings
        .iter()
        .map(|(topic, settings)| NewTopic {
            name: names.of(*topic),
            num_partitions: i32::try_from(config.partition_count).expect("checked at the start"),
            replication: TopicReplication::Fixed(replication),
            config: settings
                .iter()
                .map(|(name, value)| (*name, &**value))
                .collect(),
        })
        .collect();
    let options = AdminOptions::new()
        .request_timeout(Some(config.request_timeout))
        .operation_timeout(Some(config.request_timeout));
    let results = admin.create_topics(&new, &options).await;
    let mut made = Vec::new();
    for result in results.map_err(error::from_kafka)? {
        match result {
            Ok(name) => made.push(name),
            // Somebody who started together with us was faster.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                return Err(error::rejected(format!(
                    "the topic {name} cannot be made: {code}"
                )));
            }
        }
    }
    tracing::info!(topics = ?made, partitions = config.partition_count, "topics made");
    Ok(made)
}

/// What a topic is made with. Time is the broker's, so that no publisher's clock decides what is
/// kept.
fn settings(config: &KafkaConfig, topic: Topic) -> Vec<(&'static str, String)> {
    let kept = config.retention.of(topic);
    let segment_bytes = (kept.partition_bytes / u64::from(SEGMENTS))
        .max(SEGMENT_BYTES_MIN)
        // A record has to fit into one.
        .max(2 * config.message_bytes_max() as u64)
        .min(1 << 30);
    let segment_time = (kept.time / SEGMENTS).max(Duration::from_secs(1));
    vec![
        ("cleanup.policy", "delete".to_owned()),
        ("message.timestamp.type", "LogAppendTime".to_owned()),
        ("max.message.bytes", config.message_bytes_max().to_string()),
        ("retention.ms", kept.time.as_millis().to_string()),
        ("retention.bytes", kept.partition_bytes.to_string()),
        ("segment.ms", segment_time.as_millis().to_string()),
        ("segment.bytes", segment_bytes.to_string()),
    ]
}

/// Refuses topics that would lose or not take what the bus puts there, whoever made them.
async fn check_settings(
    admin: &AdminClient<Context>,
    config: &KafkaConfig,
    names: &Names,
) -> Result<(), PortError> {
    let topics = Topic::ALL.map(|topic| ResourceSpecifier::Topic(names.of(topic)));
    let options = AdminOptions::new().request_timeout(Some(config.request_timeout));
    let described = admin.describe_configs(&topics, &options).await;
    for (topic, described) in Topic::ALL.iter().zip(described.map_err(error::from_kafka)?) {
        let name = names.of(*topic);
        let described = match described {
            Ok(described) => described,
            Err(code) => {
                // We may be allowed to use a topic and not to look at it.
                tracing::warn!(topic = name, %code, "the topic's settings cannot be seen");
                continue;
            }
        };
        let value = |setting: &str| described.get(setting).and_then(|entry| entry.value.clone());
        if value("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
            return Err(error::rejected(format!(
                "the topic {name} is compacted, which would remove records that are still needed: \
                 set its cleanup.policy to delete"
            )));
        }
        let bytes_max = value("max.message.bytes").and_then(|bytes| bytes.parse::<usize>().ok());
        let wanted = config.message_bytes_max();
        if bytes_max.is_some_and(|bytes_max| bytes_max < wanted) {
            return Err(error::rejected(format!(
                "the topic {name} takes records of {} bytes and the configuration says {}: set \
                 its max.message.bytes to {wanted} or more, or configure smaller records",
                bytes_max.unwrap_or(0),
                config.record_bytes_max,
            )));
        }
    }
    Ok(())
}
