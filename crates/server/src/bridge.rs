//! What the bridge to old gateways is told by the configuration.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::LimitRule;
use tidegate_legacy::bridge::{BridgeConfig, BridgePorts, OldTopics};
use tidegate_ports::TopicName;

use crate::clock;
use crate::config::{Config, Legacy};
use crate::exit::{Exit, Failure};
use crate::seams::Seams;

/// The name of our own topic and of the group, after the prefix that all have.
const NAME: &str = "bridge";

/// Everything a bridge needs, if there is to be one.
pub(crate) fn prepare(
    config: &Config,
    seams: &Seams,
    subscription_limit: LimitRule,
) -> Result<Option<(BridgeConfig, BridgePorts)>, Failure> {
    let Some(Legacy { topics, idle }) = config.legacy.clone() else {
        return Ok(None);
    };
    let name = format!("{}{NAME}", config.engines.kafka_topic_prefix);
    let memory = TopicName::parse(&name).ok_or_else(|| {
        Failure::new(
            Exit::Config,
            format!("{name:?} cannot be the name of a topic"),
        )
    })?;
    let millis = u64::try_from(clock::micros_now() / 1_000).unwrap_or(0);
    let bridge = BridgeConfig {
        topics: OldTopics {
            queries: topics.queries,
            seeds: topics.seeds,
            diffs: topics.diffs,
            events: topics.events,
        },
        memory,
        group: name,
        tenancy: config.tenancy.clone(),
        subscription_limit,
        gateway_id: StdRng::from_os_rng().random(),
        idle,
        started_millis: millis,
    };
    let ports = BridgePorts {
        bus: seams.bus.clone(),
        broker: seams.broker.clone(),
        database: seams.database.clone(),
    };
    Ok(Some((bridge, ports)))
}
