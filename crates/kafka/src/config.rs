//! What an operator may choose, and what that means in librdkafka's words.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use tidegate_ports::{PortError, Topic};

use crate::error;
use crate::metrics::INTERVAL_MILLIS;

/// What a record may take beside its key and value: headers of records and of batches.
const RECORD_OVERHEAD: usize = 64 << 10;
/// Bytes of one answer to a fetch, if no record is larger.
const FETCH_BYTES_MAX: usize = 8 << 20;
/// What a new producer needs to be known to the brokers, with some room.
const PUBLISH_TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// Settings on which the bus relies.
const RESERVED: [&str; 15] = [
    "acks",
    "allow.auto.create.topics",
    "auto.offset.reset",
    "bootstrap.servers",
    "client.id",
    "enable.auto.commit",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "group.id",
    "group.protocol",
    "message.timeout.ms",
    "partition.assignment.strategy",
    "request.required.acks",
    "statistics.interval.ms",
    "transactional.id",
];

/// A Kafka cluster and how to use it.
#[derive(Clone)]
pub struct KafkaConfig {
    /// Where to ask for the cluster first: `host:port`, separated by commas.
    pub brokers: String,
    /// What the brokers' logs and quotas call us.
    pub client_id: String,
    /// What names of topics and groups begin with. Systems that share a cluster differ in it.
    pub topic_prefix: String,
    /// Partitions of each topic. It cannot be changed later: it decides which keys meet.
    pub partition_count: u32,
    /// Copies of each partition of topics that are made here.
    pub replication: Replication,
    /// What topics that are made here keep.
    pub retention: Retentions,
    /// What happens when a topic is not there.
    pub missing_topics: MissingTopics,
    /// How long a record may wait for company in a request.
    pub linger: Duration,
    /// How long a publish waits without any progress before it is `Unavailable`. At least a second:
    /// each such failure costs a new producer, which needs half of it to be known to the brokers.
    pub publish_timeout: Duration,
    /// How long a question to the cluster may take.
    pub request_timeout: Duration,
    /// How long a member of a group may be silent before its partitions go to others.
    pub session_timeout: Duration,
    /// How long a member of a group may leave its reader unpolled before its partitions go to
    /// others. Not less than `session_timeout`.
    pub poll_interval_max: Duration,
    /// Bytes of one record's key and value: above any page a client may ask for.
    pub record_bytes_max: usize,
    /// Bytes of records that wait to be sent. At the bound, a publish waits.
    pub queue_bytes_max: usize,
    /// Bytes of records that a reader fetches ahead. At the bound, it stops fetching.
    pub reader_bytes_max: usize,
    /// Records handed to a reader at once: enough to amortize a wake-up, few enough to give others
    /// a turn.
    pub batch_records_max: usize,
    /// Further settings of librdkafka by its own names, for all clients: `security.protocol`,
    /// `sasl.username`, `ssl.ca.location` and the like. They are never shown.
    pub properties: Vec<(String, String)>,
}

/// Copies of each partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replication {
    /// As many as the brokers make by themselves.
    ByBroker,
    /// So many.
    Copies(u16),
}

/// What happens when a topic is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingTopics {
    /// It is made.
    Create,
    /// It is an error.
    Refuse,
}

/// What each topic keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retentions {
    /// Of changes. Owners start at the end, so this is only how far one may fall behind.
    pub changes: Retention,
    /// Of leases. A new owner reads all of it, so it is about as long as a lease lives without
    /// being renewed. Not compacted: two gateways hold leases under one key.
    pub control: Retention,
    /// Of diffs. Gateways start at the end, so this is only how far one may fall behind.
    pub diffs: Retention,
}

/// How much of a partition is kept, whichever bound is met first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How long, by the broker's clock.
    pub time: Duration,
    /// How many bytes of each partition.
    pub partition_bytes: u64,
}

impl Default for Retentions {
    fn default() -> Self {
        let minutes = |count: u64, partition_bytes| Retention {
            time: Duration::from_secs(60 * count),
            partition_bytes,
        };
        Self {
            changes: minutes(60, 1 << 30),
            control: minutes(1, 256 << 20),
            diffs: minutes(15, 1 << 30),
        }
    }
}

impl Retentions {
    pub(crate) const fn of(&self, topic: Topic) -> Retention {
        match topic {
            Topic::Changes => self.changes,
            Topic::Control => self.control,
            Topic::Diffs => self.diffs,
        }
    }
}

impl KafkaConfig {
    /// The defaults for a cluster.
    #[must_use]
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            client_id: "tidegate".to_owned(),
            topic_prefix: "tidegate.".to_owned(),
            partition_count: 8,
            replication: Replication::ByBroker,
            retention: Retentions::default(),
            missing_topics: MissingTopics::Create,
            linger: Duration::ZERO,
            publish_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(10),
            session_timeout: Duration::from_secs(6),
            poll_interval_max: Duration::from_secs(60),
            record_bytes_max: 16 << 20,
            queue_bytes_max: 64 << 20,
            reader_bytes_max: 32 << 20,
            batch_records_max: 256,
            properties: Vec::new(),
        }
    }

    /// Bytes of a record as the brokers count them.
    pub(crate) const fn message_bytes_max(&self) -> usize {
        self.record_bytes_max + RECORD_OVERHEAD
    }

    /// Refuses what could not work.
    pub(crate) fn check(&self) -> Result<(), PortError> {
        let refuse = |why: String| Err(error::rejected(why));
        if self.partition_count == 0 || i32::try_from(self.partition_count).is_err() {
            return refuse(format!(
                "{} partitions are not possible",
                self.partition_count
            ));
        }
        // librdkafka's own bound.
        if self.message_bytes_max() > 1_000_000_000 {
            return refuse(format!(
                "records of {} bytes are not possible",
                self.record_bytes_max
            ));
        }
        if self.queue_bytes_max < self.message_bytes_max() {
            return refuse(
                "queue_bytes_max has no room for a record of record_bytes_max".to_owned(),
            );
        }
        if self.publish_timeout < PUBLISH_TIMEOUT_MIN {
            return refuse("publish_timeout is less than a second".to_owned());
        }
        if self.poll_interval_max < self.session_timeout {
            return refuse("poll_interval_max is less than session_timeout".to_owned());
        }
        match self
            .properties
            .iter()
            .find(|(name, _)| RESERVED.contains(&name.as_str()))
        {
            Some((name, _)) => refuse(format!("the property {name} is not for you to set")),
            None => Ok(()),
        }
    }

    /// What all clients have in common. No client may make a topic by asking for it: it would get
    /// the broker's partitions and retention.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", &self.client_id)
            .set("allow.auto.create.topics", "false")
            .set("socket.nagle.disable", "true")
            .set("socket.keepalive.enable", "true")
            .set("socket.timeout.ms", millis(self.request_timeout))
            // A broker that is back is noticed within a second.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("message.max.bytes", self.message_bytes_max().to_string())
            .set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    /// The producer of the bus.
    pub(crate) fn gapless_producer(&self) -> ClientConfig {
        let mut config = self.producer();
        config
            .set("enable.gapless.guarantee", "true")
            // Records expire one by one, and one that expires alone leaves a hole before its
            // successors. They are given up together instead: see `producer`.
            .set("message.timeout.ms", "0");
        config
    }

    /// The producer of messages to topics by name. Each has its own fate.
    pub(crate) fn message_producer(&self) -> ClientConfig {
        let mut config = self.producer();
        config
            .set("message.timeout.ms", millis(self.publish_timeout))
            // A topic that no broker knows is refused after so long. The default, 30 s, would make
            // an answer to a process that is gone wait longer than anybody does for it.
            .set("topic.metadata.propagation.max.ms", "2000");
        config
    }

    fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        let linger = self.linger.as_secs_f64() * 1_000.0;
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("statistics.interval.ms", INTERVAL_MILLIS)
            .set("queue.buffering.max.ms", linger.to_string())
            .set("queue.buffering.max.kbytes", kbytes(self.queue_bytes_max));
        config
    }

    /// A consumer that commits nothing by itself.
    pub(crate) fn consumer(&self, group: &str) -> ClientConfig {
        let fetch_bytes_max = FETCH_BYTES_MAX.max(self.message_bytes_max());
        let mut config = self.client();
        config
            .set("group.id", group)
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", millis(self.session_timeout))
            // Members learn of a change of the group with a heartbeat.
            .set("heartbeat.interval.ms", millis(self.session_timeout / 10))
            .set("max.poll.interval.ms", millis(self.poll_interval_max))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("queued.max.messages.kbytes", kbytes(self.reader_bytes_max))
            .set("fetch.max.bytes", fetch_bytes_max.to_string())
            .set("receive.message.max.bytes", (fetch_bytes_max + RECORD_OVERHEAD).to_string())
            // A partition that was just gained waits for the answer to the fetch before it.
            .set("fetch.wait.max.ms", "100")
            // Fetching goes on soon after a full queue has drained or a leader was lost. The
            // defaults, 1 s and 0.5 s, would be seen on screens.
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.error.backoff.ms", "50");
        config
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().max(1).to_string()
}

fn kbytes(bytes: usize) -> String {
    (bytes >> 10).max(1).to_string()
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let properties: Vec<&str> = self.properties.iter().map(|(name, _)| &**name).collect();
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("topic_prefix", &self.topic_prefix)
            .field("partition_count", &self.partition_count)
            .field("properties", &properties)
            .finish_non_exhaustive()
    }
}

/// The names of the bus's topics on the brokers.
#[derive(Debug, Clone)]
pub(crate) struct Names([String; 3]);

/// A topic's place in the list of [`Names::list`].
pub(crate) const fn index(topic: Topic) -> usize {
    match topic {
        Topic::Changes => 0,
        Topic::Control => 1,
        Topic::Diffs => 2,
    }
}

impl Names {
    pub(crate) fn new(prefix: &str) -> Self {
        Self(Topic::ALL.map(|topic| match topic {
            Topic::Changes => format!("{prefix}changes"),
            Topic::Control => format!("{prefix}control"),
            Topic::Diffs => format!("{prefix}diffs"),
        }))
    }

    pub(crate) fn of(&self, topic: Topic) -> &str {
        &self.0[index(topic)]
    }

    /// In the order of [`Topic::ALL`].
    pub(crate) fn list(&self) -> TopicNames {
        self.0.clone().into()
    }
}

/// What a reader calls the topics it reads: by their place in this list.
pub(crate) type TopicNames = Arc<[String]>;

#[cfg(test)]
mod tests {
    //! Secrets stay out of sight, and settings on which the bus relies stay as they are.

    use super::*;

    fn config_with(name: &str, value: &str) -> KafkaConfig {
        let mut config = KafkaConfig::new("127.0.0.1:9092");
        config.properties.push((name.to_owned(), value.to_owned()));
        config
    }

    #[test]
    fn values_of_properties_are_not_shown() {
        let shown = format!("{:?}", config_with("sasl.password", "hunter2"));
        assert!(shown.contains("sasl.password") && !shown.contains("hunter2"));
    }

    #[test]
    fn properties_that_the_bus_relies_on_are_refused_by_name() {
        assert!(config_with("sasl.username", "u").check().is_ok());
        let error = config_with("acks", "0").check().unwrap_err();
        assert!(error.to_string().contains("acks"), "{error}");
    }

    #[test]
    fn impossible_numbers_are_refused() {
        let impossible: [fn(&mut KafkaConfig); 5] = [
            |config| config.partition_count = 0,
            |config| config.record_bytes_max = 2_000_000_000,
            |config| config.queue_bytes_max = config.record_bytes_max,
            |config| config.poll_interval_max = Duration::from_secs(1),
            |config| config.publish_timeout = Duration::from_millis(999),
        ];
        assert!(KafkaConfig::new("127.0.0.1:9092").check().is_ok());
        for change in impossible {
            let mut config = KafkaConfig::new("127.0.0.1:9092");
            change(&mut config);
            assert!(config.check().is_err());
        }
    }

    #[test]
    fn topics_have_their_usual_names_by_default() {
        let names = Names::new(&KafkaConfig::new("").topic_prefix);
        for topic in Topic::ALL {
            assert_eq!(names.of(topic), topic.name());
            assert_eq!(Topic::ALL[index(topic)], topic);
        }
    }
}
