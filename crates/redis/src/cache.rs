//! [`HotCache`] on a Redis server.

use async_trait::async_trait;
use redis::Pipeline;
use tidegate_core::{Position, RoutingKey};
use tidegate_ports::{Appended, HotCache, PortError, Replay, TailEntry};

use crate::config::RedisConfig;
use crate::error::Trouble;
use crate::link::Link;
use crate::tail::{self, Next, Reading};

/// The tails of pages on a Redis server, shared by all gateways and owners that name it.
///
/// - *Connects when first used* and again whenever it must. While the server is away a call fails
///   at once, except for one now and then that tries to connect and may take its time-outs.
/// - *Bounds*: a tail keeps its newest entries, and all of it only for some time after the newest.
///   The sum of all tails is the server's to bound (`maxmemory` with an eviction policy); a tail
///   that it evicts is a gap.
/// - *Refusals outlive a tail no longer than it lives*: choose a retention well above the time for
///   which a late owner can go on.
pub struct RedisCache {
    config: RedisConfig,
    link: Link,
}

impl RedisCache {
    /// A cache on this server. Does not connect yet.
    #[must_use]
    pub fn new(config: RedisConfig) -> Self {
        let link = Link::new(&config);
        Self { config, link }
    }
}

#[async_trait]
impl HotCache for RedisCache {
    async fn append(&self, entries: Vec<TailEntry>) -> Result<Appended, PortError> {
        let mut appended = Appended::default();
        let mut rest = &entries[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(tail::append_length(rest));
            let (commands, answers) = tail::append(&self.config, now);
            let values = self.link.send(&commands).await?;
            appended.refused += tail::refused(&answers, &values)?;
            rest = later;
        }
        Ok(appended)
    }

    async fn replay(&self, key: &RoutingKey, after: Position) -> Result<Replay, PortError> {
        let name = tail::name(&self.config, key);
        let mut reading = Reading::new(&self.config, after);
        loop {
            let mut command = Pipeline::with_capacity(1);
            command.add_command(reading.command(&name));
            let value = self.link.send(&command).await?.pop();
            match reading.take(value.ok_or(Trouble::Garbage)?)? {
                Next::Read => {}
                Next::Answer(replay) => return Ok(replay),
            }
        }
    }
}
