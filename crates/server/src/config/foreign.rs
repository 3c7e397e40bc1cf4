//! Reads what is said of a gateway in the old one's place, and what follows from it.

use std::time::Duration;

use tidegate_legacy::ForeignTopics;
use tidegate_ports::TopicName;

use super::error::{ConfigError, Origin};
use super::keys::Key;
use super::layers::Settings;
use super::{BusAddress, Config};
use tidegate_core::Tenancy;

/// How pages of a foreign stream processor are served.
#[derive(Debug, Clone)]
pub(crate) struct Foreign {
    pub(crate) topics: ForeignTopics,
    /// The group that keeps diffs in the cache.
    pub(crate) group: String,
    pub(crate) slow_sockets_max: usize,
    #[cfg_attr(
        not(feature = "redis"),
        expect(dead_code, reason = "only the adapter for Redis has prefixes")
    )]
    pub(crate) key_prefix: String,
    pub(crate) diffs_max: usize,
    /// Zero is for ever.
    pub(crate) retention: Duration,
}

/// Takes up what was not said and follows from what was: whoever starts us with the old gateway's
/// environment wants its place. Keys that are said by anything are left as they are.
pub(super) fn follow(settings: &mut Settings) {
    let is_default = |settings: &Settings, key| settings.get(key).origin == Origin::Default;
    let brokers = settings.get(Key::Bus).origin.clone();
    let is_old = [Key::Pages, Key::Roles, Key::Database, Key::Legacy]
        .iter()
        .all(|key| is_default(settings, *key));
    if is_old && brokers.variable() == Some("KAFKA_BROKERS") {
        settings.set(Key::Pages, "gateway".to_owned(), brokers);
    }
    if settings.text(Key::Pages) != "gateway" {
        return;
    }
    let origin = settings.get(Key::Pages).origin.clone();
    for (key, value) in [(Key::Roles, "gateway"), (Key::Database, "workers:")] {
        if is_default(settings, key) {
            settings.set(key, value.to_owned(), origin.clone());
        }
    }
    // The old one listened everywhere. Ours does where it knows whom to believe.
    let listen = settings.get(Key::Listen).clone();
    let is_said = listen.origin != Origin::Default && listen.origin.variable() != Some("WS_PORT");
    if !is_said
        && settings.text(Key::Auth) != "none"
        && let Ok(mut address) = listen.value.parse::<std::net::SocketAddr>()
    {
        address.set_ip(std::net::Ipv4Addr::UNSPECIFIED.into());
        settings.set(Key::Listen, address.to_string(), listen.origin);
    }
}

/// What is wanted, unless our own processor keeps the pages.
pub(super) fn foreign(settings: &Settings) -> Result<Option<Foreign>, ConfigError> {
    let pages = [("processor", false), ("gateway", true)];
    if !settings.choice(Key::Pages, &pages)? {
        return Ok(None);
    }
    let name =
        |key: Key, text: &str| TopicName::parse(text.trim()).ok_or_else(|| settings.refused(key));
    let followed = settings.text(Key::PageTopics).split(',');
    let followed = followed.filter(|text| !text.trim().is_empty());
    let followed = followed.map(|text| name(Key::PageTopics, text));
    let followed = followed.collect::<Result<Vec<_>, _>>()?;
    let mut topics = ForeignTopics::of_names(&followed);
    if topics.followed().len() < followed.len() || followed.is_empty() {
        let why = "of which each has to end in page.diffs or row.events: that is what tells what \
                   is in them";
        return Err(settings.conflict(Key::PageTopics, why));
    }
    let topic = |key| name(key, settings.text(key));
    topics.control = topic(Key::QueryControlTopic)?;
    topics.seed = topic(Key::PageSeedTopic)?;
    Ok(Some(Foreign {
        topics,
        group: settings.required_text(Key::PageGroup)?,
        slow_sockets_max: settings.count(Key::SlowSocketsMax)?,
        // The old one left blanks out.
        key_prefix: settings
            .text(Key::SharedKeyPrefix)
            .split_whitespace()
            .collect(),
        diffs_max: settings.count(Key::SharedDiffsMax)?,
        retention: Duration::from_millis(settings.number(Key::SharedRetentionMillis)?),
    }))
}

/// A foreign processor is another program, and knows tables by one kind of name.
pub(super) fn refuse_what_does_not_go_together(
    settings: &Settings,
    config: &Config,
) -> Result<(), ConfigError> {
    if config.foreign.is_none() {
        return Ok(());
    }
    let conflict = |why: &str| Err(settings.conflict(Key::Pages, why));
    if config.bus == BusAddress::Memory {
        return conflict("but the bus is in this process: foreign topics need bus = kafka://");
    }
    if config.tenancy != Tenancy::Prefix {
        return conflict(
            "but foreign topics name pages by TENANT_TABLE: it needs tenancy = prefix",
        );
    }
    if config.roles.to_string() != "gateway" {
        return conflict("but the pages are not ours: it goes with roles gateway only");
    }
    Ok(())
}
