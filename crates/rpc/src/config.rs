//! What an operator may choose, and the names of topics.

use std::time::Duration;

use tidegate_ports::{Broker, Keep, PortError, TopicName};

/// What the names of the reply topics of processes begin with; `HOST.PID.RANDOM` follows.
pub const REPLY_PREFIX: &str = "sql.rpc.responses.ws.";

/// How long calls are kept. Nobody waits for one for longer.
const CALLS_KEPT: Keep = Keep::Millis(10 * 60 * 1_000);
/// How long answers are kept: a reader that lost its broker finds them when it is back.
const ANSWERS_KEPT: Keep = Keep::Millis(60 * 1_000);

/// The topics that workers and those who ask them share.
#[derive(Debug, Clone)]
pub struct RpcTopics {
    /// Calls, keyed by their correlation ids.
    pub calls: TopicName,
    /// Who has which reply topic, keyed by its name.
    pub owners: TopicName,
    /// Partitions of the topic of calls, when it is made here: as many workers can share it.
    pub partitions: u32,
}

impl RpcTopics {
    /// The topics beside a topic of calls. `None` when its name leaves no room for theirs.
    #[must_use]
    pub fn new(calls: TopicName, partitions: u32) -> Option<Self> {
        let owners = TopicName::parse(&format!("{calls}.owners"))?;
        Some(Self {
            calls,
            owners,
            partitions,
        })
    }

    /// Makes those that are missing.
    ///
    /// # Errors
    /// `Unavailable` when the broker is away; `Rejected` when it refuses.
    pub async fn ensure(&self, broker: &dyn Broker) -> Result<(), PortError> {
        broker
            .create(&self.calls, self.partitions, CALLS_KEPT)
            .await?;
        broker.create(&self.owners, 1, Keep::LastOfKey).await
    }
}

/// Makes a topic for answers.
pub(crate) async fn ensure_reply_topic(
    broker: &dyn Broker,
    topic: &TopicName,
) -> Result<(), PortError> {
    broker.create(topic, 1, ANSWERS_KEPT).await
}

/// How a worker works.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Where calls come from.
    pub topics: RpcTopics,
    /// The group of workers that share the calls.
    pub group: String,
    /// Calls that run at once: about as many as the database has connections for us.
    pub running_max: usize,
    /// How answers' topics must not begin: what belongs to somebody else.
    pub reserved_prefixes: Vec<String>,
    /// Milliseconds since 1970, by which the age of calls is told.
    pub clock_millis: fn() -> u64,
}

impl WorkerConfig {
    /// Whether an answer may go there. A call must not make its worker write into the logs of the
    /// system, nor ask itself.
    pub(crate) fn may_answer_at(&self, topic: &TopicName) -> bool {
        let RpcTopics { calls, owners, .. } = &self.topics;
        let is_reserved = |prefix: &String| topic.as_str().starts_with(prefix.as_str());
        topic != calls && topic != owners && !self.reserved_prefixes.iter().any(is_reserved)
    }
}

/// How workers are asked.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Where calls go to.
    pub topics: RpcTopics,
    /// Where answers come, and whose topic that is.
    pub replies: ReplyTopic,
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// Calls that wait at once; one more is refused.
    pub waiting_max: usize,
}

/// A topic for answers.
#[derive(Debug, Clone)]
pub enum ReplyTopic {
    /// This process's own. It is made at the start, and removed at the end by us, or by workers.
    Own {
        /// Its name.
        name: TopicName,
        /// How often we say that we live.
        heartbeat: Duration,
    },
    /// Somebody else's to care for. Others may read it too.
    Given(TopicName),
}

impl ReplyTopic {
    /// A topic of this process. The host's name may hold anything.
    ///
    /// # Panics
    /// Never: what it is made of is short, and made of what a name may hold.
    #[must_use]
    pub fn own(host: &str, pid: u32, random: u64, heartbeat: Duration) -> Self {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '-'
            }
        };
        let host: String = host.chars().take(64).map(plain).collect();
        let host = if host.is_empty() { "host" } else { &host };
        let name = format!("{REPLY_PREFIX}{host}.{pid}.{random:016x}");
        let name = TopicName::parse(&name).expect("short, and of letters that a name may hold");
        Self::Own { name, heartbeat }
    }

    pub(crate) const fn name(&self) -> &TopicName {
        match self {
            Self::Own { name, .. } | Self::Given(name) => name,
        }
    }
}
