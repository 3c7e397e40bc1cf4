//! The database over a broker.
//!
//! - A [`Worker`] takes calls from a topic, which it shares with other workers, carries them out on
//!   a database, and answers where each call says.
//! - A [`WorkerDatabase`] is a `Database` for whoever has no database of its own: it sends calls,
//!   and waits for their answers on a reply topic of its process.
//!
//! *A call is carried out at most once.* A worker makes sure that no other gets a write before it
//! begins it; so a write whose worker died may be lost, which its caller sees as a time-out, and is
//! never done twice. A call whose caller no longer waits is not carried out at all.
//!
//! *Reply topics have owners* ([`owners`]). The owner of one says again and again that it lives, in
//! a topic of its own; workers remove the topic of one that has been silent for ten times as long
//! as it said it would be. Topics that nobody says anything about, such as an old gateway's, are
//! nobody's to remove.
//!
//! What is deliberately absent: snapshots and changes. Who keeps pages has a database.

#![warn(missing_docs)]

mod call;
mod client;
mod config;
mod metrics;
mod owners;
mod replies;
mod worker;

pub use client::WorkerDatabase;
pub use config::{ClientConfig, REPLY_PREFIX, ReplyTopic, RpcTopics, WorkerConfig};
pub use worker::Worker;
