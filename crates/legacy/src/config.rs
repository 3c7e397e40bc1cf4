//! What a keeper is made with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tidegate_ports::{Broker, Bus, Database, HotCache, SharedPages, TopicName};

/// The topics that a foreign stream processor and its gateways share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignTopics {
    /// Opaque diffs of pages.
    pub diffs: Vec<TopicName>,
    /// Events of single rows.
    pub events: Vec<TopicName>,
    /// Where queries are announced and cleared.
    pub control: TopicName,
    /// Where the rows of a page are sent that was read.
    pub seed: TopicName,
}

impl ForeignTopics {
    /// Topics of which each is known by the end of its name, as the names themselves are the only
    /// thing that tells them apart; the others are as they always were.
    #[must_use]
    pub fn of_names(names: &[TopicName]) -> Self {
        let ending = |end: &str| {
            let named = names.iter().filter(|name| name.as_str().ends_with(end));
            named.cloned().collect()
        };
        let topic = |name| TopicName::parse(name).expect("it is a name");
        Self {
            diffs: ending("page.diffs"),
            events: ending("row.events"),
            control: topic("server.query.control"),
            seed: topic("server.page.seed"),
        }
    }

    /// What is followed.
    #[must_use]
    pub fn followed(&self) -> Vec<TopicName> {
        self.diffs.iter().chain(&self.events).cloned().collect()
    }
}

/// What a keeper talks to.
#[derive(Clone)]
pub struct KeeperPorts {
    /// The bus that only the keeper and its gateway share: leases come from it, pages go there.
    pub bus: Arc<dyn Bus>,
    /// The cache that only these two share: the tails of the pages, by position.
    pub cache: Arc<dyn HotCache>,
    /// The old topics.
    pub broker: Arc<dyn Broker>,
    /// The cache that all gateways share.
    pub shared: Arc<dyn SharedPages>,
    /// The SQL workers.
    pub database: Arc<dyn Database>,
}

impl fmt::Debug for KeeperPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeeperPorts")
    }
}

/// Settings of a keeper.
#[derive(Clone)]
pub struct KeeperConfig {
    /// The old topics.
    pub topics: ForeignTopics,
    /// Identity of the gateway among all: a random number. It names its claims, and makes its
    /// epochs differ from those of any other gateway and any earlier life.
    pub gateway_id: u64,
    /// Sockets with something unsent above which the stream is not read on.
    pub slow_sockets_max: usize,
    /// How many there are.
    pub slow_sockets: Arc<dyn Fn() -> usize + Send + Sync>,
    /// How long a page may take to be read.
    pub read_timeout: Duration,
    /// The wall clock, in microseconds since 1970. It stamps what is stored and decides nothing.
    pub clock_micros: fn() -> i64,
}

impl fmt::Debug for KeeperConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeeperConfig")
            .field("topics", &self.topics)
            .field("slow_sockets_max", &self.slow_sockets_max)
            .finish_non_exhaustive()
    }
}
