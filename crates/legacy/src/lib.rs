//! What stands between Tidegate's parts and the parts of the gateway that it replaces.
//!
//! The *bridge* ([`bridge`]) serves an old gateway from our processor: it reads the queries and
//! page seeds that such a gateway writes, follows their pages as a gateway of ours would, and
//! writes what an old stream processor would have written.
//!
//! The *keeper* is for the other direction: it takes a processor's place before a stream processor
//! that is not ours.
//!
//! Gateways of the first generation read pages by SQL RPC, and passed on the diffs of a stream
//! processor that knew each page by the name `{tenant}_{table}|{hashId}`. Our gateway knows pages
//! by leases, positions and epochs. The keeper stands between the two: on one side it is the owner
//! of the gateway's pages, on a bus that only the two share; on the other it speaks the old topics
//! and keeps the old cache.
//!
//! Reading order: `page` (one page: how rows that were read meet a stream that has no positions),
//! `pages` (all of them, leases and names), `keeper` (the task around them), `reading` (one page
//! from a worker), `recorder` (the cache's lists of diffs).
//!
//! What is deliberately absent: sockets, subscriptions, what a diff says. What cannot be promised
//! of a foreign stream stands in docs/PROTOCOL.md.

pub mod bridge;
mod closing;
mod config;
mod keeper;
mod metrics;
mod page;
mod pages;
mod reading;
mod recorder;
mod stream;

pub use config::{ForeignTopics, KeeperConfig, KeeperPorts};
pub use keeper::Keeper;
pub use recorder::Recorder;
