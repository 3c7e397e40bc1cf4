//! Asks each engine once whether it can be used, for `tidegate doctor`.

use tidegate_ports::PortError;

use super::page_of_nobody;
use crate::config::{BusAddress, CacheAddress, Config, DatabaseAddress, Role};

/// What is done about topics that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissingTopics {
    Make,
    Report,
}

/// What was found at an engine, or why it cannot be used.
pub(crate) type Finding = Result<String, PortError>;

/// Whether the brokers are there, and the topics as they must be.
#[cfg_attr(
    not(feature = "kafka"),
    expect(clippy::unused_async, reason = "only the adapter waits")
)]
pub(crate) async fn bus(config: &Config, missing: MissingTopics) -> Finding {
    match &config.bus {
        BusAddress::Memory => Ok("in this process: nothing to ask".to_owned()),
        #[cfg(feature = "kafka")]
        BusAddress::Kafka(address) => {
            use tidegate_kafka::{KafkaConfig, MissingTopics as Missing, ensure_topics};
            let kafka = KafkaConfig {
                missing_topics: match missing {
                    MissingTopics::Make => Missing::Create,
                    MissingTopics::Report => Missing::Refuse,
                },
                ..super::adapters::kafka_config(config, address)
            };
            ensure_topics(&kafka).await?;
            Ok(format!(
                "the topics are there, with {} partitions",
                config.partitions
            ))
        }
        #[cfg(not(feature = "kafka"))]
        BusAddress::Kafka(_) => Err(not_built_in(missing)),
    }
}

/// Whether the topics are there over which workers are asked. Nothing when nobody here asks or
/// answers.
#[cfg_attr(
    not(feature = "kafka"),
    expect(clippy::unused_async, reason = "only the adapter waits")
)]
pub(crate) async fn workers(config: &Config, missing: MissingTopics) -> Option<Finding> {
    let concerns_us = config.roles.has(Role::Worker) || config.database == DatabaseAddress::Workers;
    match &config.bus {
        #[cfg(feature = "kafka")]
        BusAddress::Kafka(address) if concerns_us => {
            let kafka = super::adapters::kafka_config(config, address);
            Some(worker_topics(config, kafka, missing).await)
        }
        #[cfg(not(feature = "kafka"))]
        BusAddress::Kafka(_) if concerns_us => Some(Err(not_built_in(missing))),
        BusAddress::Memory | BusAddress::Kafka(_) => None,
    }
}

#[cfg(feature = "kafka")]
async fn worker_topics(
    config: &Config,
    kafka: tidegate_kafka::KafkaConfig,
    missing: MissingTopics,
) -> Finding {
    use tidegate_ports::Broker;
    let broker = tidegate_kafka::KafkaBroker::connect(kafka).await?;
    let topics = &config.rpc.topics;
    if missing == MissingTopics::Make {
        topics.ensure(&broker).await?;
    }
    let there = broker.topics().await?;
    match [&topics.calls, &topics.owners]
        .into_iter()
        .find(|topic| !there.contains(topic))
    {
        None => Ok(format!("the topic {} is there", topics.calls)),
        Some(missing) => Err(PortError::Rejected {
            what: "the broker",
            why: format!("the topic {missing} does not exist; a worker makes it when it starts"),
        }),
    }
}

/// Whether the cache answers to our login.
pub(crate) async fn cache(config: &Config) -> Finding {
    match &config.cache {
        CacheAddress::Memory => Ok("in this process: nothing to ask".to_owned()),
        CacheAddress::Redis(_) => {
            let cache = super::make_cache(config).map_err(|failure| PortError::Rejected {
                what: "the cache",
                why: failure.sentence,
            })?;
            let (nobody, start) = page_of_nobody();
            cache.replay(&nobody, start).await?;
            Ok("it answers".to_owned())
        }
    }
}

/// Whether the database is set up for capturing changes, and gives a stream of them.
#[cfg_attr(
    not(feature = "postgres"),
    expect(clippy::unused_async, reason = "only the adapter waits")
)]
pub(crate) async fn database(config: &Config) -> Finding {
    match &config.database {
        // To open it would make it, or find it open in a server that runs.
        DatabaseAddress::Sqlite(file) => match file.exists() {
            true => Ok("the file is there; serve says whether it can be used".to_owned()),
            false => Ok("serve makes the file".to_owned()),
        },
        DatabaseAddress::Workers => Ok("the workers have it".to_owned()),
        #[cfg(feature = "postgres")]
        DatabaseAddress::Postgres(address) => {
            use tidegate_ports::Database;
            let database = super::adapters::make_postgres(config, address)?;
            database.check().await?;
            // The slot is a temporary one and goes with the stream.
            let streams = match database.changes().await {
                Ok(_) => "it is set up for logical replication, and streams",
                Err(PortError::Taken { .. }) => {
                    "it is set up for logical replication, and streams to a relay"
                }
                Err(error) => return Err(error),
            };
            let remarks = database.remarks().await?;
            let found = [streams.to_owned()].into_iter().chain(remarks);
            Ok(found.collect::<Vec<_>>().join("; "))
        }
        #[cfg(not(feature = "postgres"))]
        DatabaseAddress::Postgres(_) => Err(not_built_in(())),
    }
}

/// The configuration refuses such an address before anybody asks.
#[cfg(not(all(feature = "kafka", feature = "postgres")))]
fn not_built_in<T>(_: T) -> PortError {
    PortError::Rejected {
        what: "this build",
        why: "it has no adapter for it".to_owned(),
    }
}
