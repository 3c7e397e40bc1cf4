//! The bus on Apache Kafka: three topics, one partition count, librdkafka underneath.
//!
//! - *Publishing* is idempotent and waits for all in-sync replicas. A publish that fails takes its
//!   producer with it ([`producer`]), so that the log never holds the end of a batch without its
//!   beginning.
//! - *Reading* assigns partitions at concrete offsets and commits nothing ([`feed`]). "After the
//!   newest record" is asked of the leaders before `read` returns.
//! - *Joining* uses two consumers ([`group`]). One is a member of the consumer group of the topic
//!   of changes, with the cooperative-sticky assignor, and reads nothing: its assignment says which
//!   partition *numbers* are ours. The other is a plain reader of those numbers in all topics. No
//!   assignor that moves only what must move promises the same numbers of several topics to one
//!   member; the range assignor does, but takes everything from everyone at each change, and each
//!   partition that changes hands costs every page in it a fresh start.
//!
//! librdkafka is built from its bundled source: that needs a C compiler, make and zlib's headers
//! (Debian: `apt-get install zlib1g-dev`), and OpenSSL's (`libssl-dev`) with the feature `ssl`.
//!
//! Rights it needs, where a cluster asks for them: to describe, read and write the topics, to read
//! their configuration, to make them if it is to, and to read the groups whose names begin with the
//! prefix. Leaders must not be elected from replicas that are behind (`unclean.leader.election`,
//! off by default): records that vanish so cannot be missed by anyone.
//!
//! What is deliberately absent: committed offsets (a new owner is a new life and starts where the
//! present is), transactions, automatic creation of topics, and any knowledge of what records mean.

#![warn(missing_docs)]

mod broker;
mod bus;
mod client;
mod close;
mod config;
mod error;
mod feed;
mod group;
mod link;
mod member;
mod metrics;
mod producer;
mod share;
mod topics;

pub use broker::KafkaBroker;
pub use bus::KafkaBus;
pub use config::{KafkaConfig, MissingTopics, Replication, Retention, Retentions};
pub use topics::ensure_topics;
