//! The engines of a cluster, as far as this build has adapters for them: what each is told, and how
//! it is seen to be there.

#[cfg(feature = "redis")]
use std::str::FromStr;
use std::sync::Arc;

#[cfg(feature = "kafka")]
use tidegate_kafka::{KafkaBroker, KafkaBus, KafkaConfig, Replication};
#[cfg(feature = "postgres")]
use tidegate_postgres::{PostgresConfig, PostgresDatabase, PostgresTls, Streams};
#[cfg(feature = "redis")]
use tidegate_redis::{RedisCache, RedisConfig, RedisSharedPages, RedisUrl, SharedPagesSettings};

#[cfg(any(feature = "redis", feature = "postgres"))]
use tidegate_ports::PortError;
#[cfg(feature = "redis")]
use tidegate_ports::SharedPagesLimits;

#[cfg(any(feature = "kafka", feature = "postgres"))]
use super::until_available;
#[cfg(feature = "postgres")]
use crate::config::BusAddress;
use crate::config::Config;
#[cfg(feature = "redis")]
use crate::config::Foreign;
#[cfg(feature = "kafka")]
use crate::config::KafkaAddress;
#[cfg(feature = "postgres")]
use crate::config::PostgresAddress;
#[cfg(feature = "redis")]
use crate::config::RedisAddress;
#[cfg(feature = "postgres")]
use crate::config::Tls;
use crate::exit::Failure;
#[cfg(any(feature = "redis", feature = "postgres"))]
use crate::seams::port_failure;

/// The bus on Kafka, with its topics made where they are missing.
#[cfg(feature = "kafka")]
pub(super) async fn kafka(
    config: &Config,
    address: &KafkaAddress,
) -> Result<Arc<KafkaBus>, Failure> {
    let kafka = kafka_config(config, address);
    let bus = until_available("the bus", || KafkaBus::connect(kafka.clone())).await?;
    Ok(Arc::new(bus))
}

/// Kafka for topics of others only: none of ours are made.
#[cfg(feature = "kafka")]
pub(super) async fn broker(
    config: &Config,
    address: &KafkaAddress,
) -> Result<Arc<KafkaBroker>, Failure> {
    let kafka = kafka_config(config, address);
    let broker = until_available("the broker", || KafkaBroker::connect(kafka.clone())).await?;
    Ok(Arc::new(broker))
}

#[cfg(feature = "kafka")]
pub(super) fn kafka_config(config: &Config, address: &KafkaAddress) -> KafkaConfig {
    let engines = &config.engines;
    KafkaConfig {
        topic_prefix: engines.kafka_topic_prefix.clone(),
        partition_count: config.partitions,
        replication: match engines.kafka_replication {
            Some(copies) => Replication::Copies(copies),
            None => Replication::ByBroker,
        },
        properties: engines.kafka_properties.clone(),
        ..KafkaConfig::new(address.brokers.join(","))
    }
}

#[cfg(feature = "redis")]
fn redis_url(address: &RedisAddress) -> Result<RedisUrl, Failure> {
    let refused = |error: tidegate_redis::UrlError| {
        port_failure(&PortError::Rejected {
            what: "the cache",
            why: error.to_string(),
        })
    };
    RedisUrl::from_str(&address.url()).map_err(refused)
}

/// What gateways of a foreign processor share, on Redis.
#[cfg(feature = "redis")]
pub(super) fn shared(
    foreign: &Foreign,
    address: &RedisAddress,
) -> Result<Arc<RedisSharedPages>, Failure> {
    let redis = RedisConfig {
        key_prefix: foreign.key_prefix.clone(),
        ..RedisConfig::new(redis_url(address)?)
    };
    let settings = SharedPagesSettings {
        lease: SharedPagesLimits::default().lease,
        diffs_max: foreign.diffs_max,
        retention: foreign.retention,
    };
    Ok(Arc::new(RedisSharedPages::new(&redis, settings)))
}

/// The cache on Redis. It is not waited for: without it resumes cost a fresh page, and no more.
#[cfg(feature = "redis")]
pub(super) fn redis(config: &Config, address: &RedisAddress) -> Result<Arc<RedisCache>, Failure> {
    let url = redis_url(address)?;
    Ok(Arc::new(RedisCache::new(RedisConfig {
        key_prefix: config.engines.redis_key_prefix.clone(),
        retention: config.engines.redis_retention,
        tail_entries_max: config.limits.tail_entries_max,
        ..RedisConfig::new(url)
    })))
}

/// The database on Postgres, once it is there and set up for capturing changes.
#[cfg(feature = "postgres")]
pub(super) async fn postgres(
    config: &Config,
    address: &PostgresAddress,
) -> Result<Arc<PostgresDatabase>, Failure> {
    let database = make_postgres(config, address).map_err(|error| port_failure(&error))?;
    until_available("the database", || database.check()).await?;
    Ok(Arc::new(database))
}

#[cfg(feature = "postgres")]
pub(super) fn make_postgres(
    config: &Config,
    address: &PostgresAddress,
) -> Result<PostgresDatabase, PortError> {
    let engines = &config.engines;
    PostgresDatabase::new(PostgresConfig {
        tls: match &address.tls {
            Tls::Disable => PostgresTls::Disable,
            Tls::Prefer => PostgresTls::Prefer,
            Tls::Require => PostgresTls::Require,
            Tls::VerifyFull(root) => PostgresTls::VerifyFull(root.clone()),
        },
        schema: engines.postgres_schema.clone(),
        publication: engines.postgres_publication.clone(),
        slot_prefix: engines.postgres_slot.clone(),
        streams: match &config.bus {
            // Each process has a bus of its own, and relays onto it.
            BusAddress::Memory => Streams::Many,
            BusAddress::Kafka(_) => Streams::OneOf(format!(
                "{} {}",
                engines.postgres_slot, engines.kafka_topic_prefix
            )),
        },
        connections: engines.postgres_connections,
        statement_timeout: engines.postgres_timeout,
        ..PostgresConfig::new(address.url(), config.tenancy.clone())
    })
}
