//! Reads what is said of the parts that Tidegate replaces: which of their topics are where.

use std::time::Duration;

use tidegate_ports::TopicName;

use super::error::ConfigError;
use super::keys::Key;
use super::layers::Settings;
use super::{BusAddress, Config};

/// How gateways of the old kind are served.
#[derive(Debug, Clone)]
pub(crate) struct Legacy {
    pub(crate) topics: OldTopics,
    pub(crate) idle: Duration,
}

/// The topics of the old kind.
#[derive(Debug, Clone)]
pub(crate) struct OldTopics {
    pub(crate) queries: TopicName,
    pub(crate) seeds: TopicName,
    pub(crate) diffs: TopicName,
    pub(crate) events: TopicName,
}

/// What is wanted, unless nothing is.
pub(super) fn legacy(settings: &Settings) -> Result<Option<Legacy>, ConfigError> {
    let is_wanted = settings.choice(Key::Legacy, &[("true", true), ("false", false)])?;
    let idle = Duration::from_secs(3_600 * settings.number(Key::LegacyIdleHours)?);
    match is_wanted {
        true => Ok(Some(Legacy {
            topics: topics(settings)?,
            idle,
        })),
        false => Ok(None),
    }
}

fn topics(settings: &Settings) -> Result<OldTopics, ConfigError> {
    let name = |key| {
        let name = TopicName::parse(settings.text(key).trim());
        name.ok_or_else(|| settings.refused(key))
    };
    let pair = settings.text(Key::PageTopics).split_once(',');
    let pair = pair.and_then(|(diffs, events)| {
        let (diffs, events) = (
            TopicName::parse(diffs.trim())?,
            TopicName::parse(events.trim())?,
        );
        (diffs != events).then_some((diffs, events))
    });
    let (diffs, events) = pair.ok_or_else(|| settings.refused(Key::PageTopics))?;
    Ok(OldTopics {
        queries: name(Key::QueryControlTopic)?,
        seeds: name(Key::PageSeedTopic)?,
        diffs,
        events,
    })
}

/// Old gateways are other programs: they and we meet on a broker or not at all.
pub(super) fn refuse_without_broker(
    settings: &Settings,
    config: &Config,
) -> Result<(), ConfigError> {
    if config.legacy.is_some() && config.bus == BusAddress::Memory {
        let why = "but the bus is in this process: old gateways need bus = kafka://";
        return Err(settings.conflict(Key::Legacy, why));
    }
    Ok(())
}
