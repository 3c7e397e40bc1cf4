//! Reads the keys of the three seams and of the roles, and refuses what does not go together.

use std::time::Duration;

use tidegate_core::Tenancy;
use tidegate_ports::TopicName;
use tidegate_rpc::RpcTopics;

use super::addresses::{self, BusAddress, CacheAddress, DatabaseAddress, Role, Roles, Tls};
use super::error::ConfigError;
use super::keys::Key;
use super::layers::Settings;
use super::{Config, Engines, RpcSettings, bounded};

pub(super) fn bus(settings: &Settings) -> Result<BusAddress, ConfigError> {
    let address = addresses::bus(settings.text(Key::Bus));
    let address = address.ok_or_else(|| settings.refused(Key::Bus))?;
    match address {
        BusAddress::Memory => {}
        BusAddress::Kafka(_) => built_with(settings, Key::Bus, "kafka", cfg!(feature = "kafka"))?,
    }
    Ok(address)
}

pub(super) fn cache(settings: &Settings) -> Result<CacheAddress, ConfigError> {
    let address = addresses::cache(settings.text(Key::Cache));
    let address = address.ok_or_else(|| settings.refused(Key::Cache))?;
    match address {
        CacheAddress::Memory => {}
        CacheAddress::Redis(ref redis) => {
            built_with(settings, Key::Cache, "redis", cfg!(feature = "redis"))?;
            with_tls(settings, Key::Cache, &redis.tls)?;
        }
    }
    Ok(address)
}

pub(super) fn database(settings: &Settings) -> Result<DatabaseAddress, ConfigError> {
    let Some(text) = settings.optional_text(Key::Database) else {
        let file = settings.path(Key::Data)?.join("tidegate.db");
        return Ok(DatabaseAddress::Sqlite(file));
    };
    let address = addresses::database(&text).ok_or_else(|| settings.refused(Key::Database))?;
    match address {
        DatabaseAddress::Sqlite(_) | DatabaseAddress::Workers => {}
        DatabaseAddress::Postgres(ref postgres) => {
            built_with(
                settings,
                Key::Database,
                "postgres",
                cfg!(feature = "postgres"),
            )?;
            with_tls(settings, Key::Database, &postgres.tls)?;
        }
    }
    Ok(address)
}

/// The database's address as it may be shown.
pub(super) fn database_shown(settings: &Settings) -> String {
    match settings.shown(Key::Database).value {
        text if text.is_empty() => {
            let folder = settings.text(Key::Data).trim_end_matches('/');
            format!("sqlite:{folder}/tidegate.db")
        }
        text => text,
    }
}

/// Refuses to be silent where encryption was asked for, and this build has none.
fn with_tls(settings: &Settings, key: Key, tls: &Tls) -> Result<(), ConfigError> {
    match tls {
        Tls::Prefer | Tls::Require | Tls::VerifyFull(_) if !cfg!(feature = "tls") => {
            let why = "which asks for TLS, but this build has none: build with --features tls";
            Err(settings.conflict(key, why))
        }
        Tls::Disable | Tls::Prefer | Tls::Require | Tls::VerifyFull(_) => Ok(()),
    }
}

/// Refuses an address that this build has no adapter for.
fn built_with(
    settings: &Settings,
    key: Key,
    feature: &str,
    is_built_in: bool,
) -> Result<(), ConfigError> {
    if is_built_in {
        return Ok(());
    }
    let why = format!(
        "but this build has no adapter for it: build with --features {feature}, or with \
         --features cluster for all of them (set {} to overrule it)",
        key.variable()
    );
    Err(settings.conflict(key, why))
}

pub(super) fn roles(settings: &Settings) -> Result<Roles, ConfigError> {
    Roles::parse(settings.text(Key::Roles)).ok_or_else(|| settings.refused(Key::Roles))
}

pub(super) fn rpc(settings: &Settings) -> Result<RpcSettings, ConfigError> {
    let topic = |key| {
        let text = settings.optional_text(key);
        let topic = text.map(|text| TopicName::parse(&text).ok_or_else(|| settings.refused(key)));
        topic.transpose()
    };
    let calls = topic(Key::RpcRequestTopic)?;
    let calls = calls.ok_or_else(|| settings.refused(Key::RpcRequestTopic))?;
    let partitions = bounded(settings.number(Key::Partitions)?);
    let topics = RpcTopics::new(calls, partitions);
    Ok(RpcSettings {
        topics: topics.ok_or_else(|| settings.refused(Key::RpcRequestTopic))?,
        reply_topic: topic(Key::RpcReplyTopic)?,
        timeout: Duration::from_secs(settings.number(Key::RpcTimeoutSeconds)?),
        heartbeat: Duration::from_secs(settings.number(Key::RpcHeartbeatSeconds)?),
    })
}

pub(super) fn engines(settings: &Settings) -> Result<Engines, ConfigError> {
    let replication = bounded(settings.number(Key::KafkaReplication)?);
    let is_topic = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let prefix = settings.text(Key::KafkaTopicPrefix);
    if !prefix.chars().all(is_topic) || prefix.len() > TOPIC_PREFIX_MAX {
        return Err(settings.refused(Key::KafkaTopicPrefix));
    }
    let replication = u16::try_from(replication).expect("the key's bound is below");
    Ok(Engines {
        kafka_replication: (replication > 0).then_some(replication),
        kafka_topic_prefix: prefix.to_owned(),
        kafka_properties: properties(settings)?,
        redis_key_prefix: settings.required_text(Key::RedisKeyPrefix)?,
        redis_retention: Duration::from_secs(settings.number(Key::RedisRetentionSeconds)?),
        postgres_schema: settings.required_text(Key::PostgresSchema)?,
        postgres_publication: name(settings, Key::PostgresPublication)?,
        postgres_slot: name(settings, Key::PostgresSlot)?,
        postgres_connections: settings.count(Key::PostgresConnections)?,
        postgres_timeout: Duration::from_secs(settings.number(Key::PostgresTimeoutSeconds)?),
    })
}

fn properties(settings: &Settings) -> Result<Vec<(String, String)>, ConfigError> {
    let Some(text) = settings.optional_text(Key::KafkaProperties) else {
        return Ok(Vec::new());
    };
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let name = name.trim();
        (!name.is_empty()).then(|| (name.to_owned(), value.trim().to_owned()))
    };
    let pairs: Option<Vec<_>> = text.split(',').map(pair).collect();
    pairs.ok_or_else(|| settings.refused(Key::KafkaProperties))
}

/// Leaves room for our own part of a topic's name, of which Kafka allows 249 letters.
const TOPIC_PREFIX_MAX: usize = 200;

/// Letters of a name, in Postgres.
const NAME_MAX: usize = 63;

/// A name that needs no quotes in any of Postgres' languages.
fn name(settings: &Settings, key: Key) -> Result<String, ConfigError> {
    let text = settings.required_text(key)?;
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    match text.chars().all(is_plain) && text.len() <= NAME_MAX {
        true => Ok(text),
        false => Err(settings.refused(key)),
    }
}

/// Each value is right in itself; this asks whether the parts can meet.
pub(super) fn refuse_what_does_not_go_together(
    settings: &Settings,
    config: &Config,
) -> Result<(), ConfigError> {
    let conflict = |key, why: &str| Err(settings.conflict(key, why));
    if config.tenancy == Tenancy::Schema && matches!(config.database, DatabaseAddress::Sqlite(_)) {
        return conflict(
            Key::Tenancy,
            "but SQLite has no schemas: set database to postgres://, or tenancy to prefix or column",
        );
    }
    let has_others = config.roles != Roles::parse("gateway").expect("a word");
    if config.database == DatabaseAddress::Workers && has_others {
        return conflict(
            Key::Database,
            "but workers give no snapshots and no changes: it goes with roles gateway only",
        );
    }
    if config.roles.has(Role::Worker) && config.bus == BusAddress::Memory {
        return conflict(
            Key::Roles,
            "but the bus is in this process, where nobody asks a worker: it needs bus = kafka://",
        );
    }
    if config.roles.is_all() {
        return Ok(());
    }
    if config.bus == BusAddress::Memory {
        return conflict(
            Key::Roles,
            "but the bus is in this process: parts in other processes need bus = kafka://",
        );
    }
    if let DatabaseAddress::Sqlite(_) = config.database {
        return conflict(
            Key::Roles,
            "but one process at a time has a SQLite file: parts in other processes need \
             database = postgres://",
        );
    }
    if config.demo.is_some() {
        return conflict(Key::Demo, "but the demo goes with roles all only");
    }
    if !config.roles.has(Role::Gateway) && config.admin.is_none() {
        return conflict(
            Key::Roles,
            "which serve nobody on listen: set admin to an address for /health, /ready and \
             /metrics",
        );
    }
    Ok(())
}

/// What is allowed and yet seldom meant.
pub(super) fn warning(config: &Config) -> Option<&'static str> {
    let keeps_pages = config.roles.has(Role::Gateway) || config.roles.has(Role::Processor);
    let is_split = !config.roles.is_all() && keeps_pages;
    (is_split && config.cache == CacheAddress::Memory).then_some(
        "the cache is in this process, but roles are split: clients that reconnect get fresh pages",
    )
}
