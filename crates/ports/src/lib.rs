//! The three seams of the system: [`Bus`] (with [`Broker`], its topics by name), [`HotCache`] and
//! [`Database`].
//!
//! Each trait's comment is its contract. The in-memory bus and cache here are real implementations,
//! used by the embedded system; `conformance` holds one suite per seam that every implementation
//! passes. What is deliberately absent: any knowledge of what the bytes mean (`tidegate-protocol`)
//! and any client of a real broker, cache or database (the adapter crates).

#![warn(missing_docs)]

mod backoff;
mod broker;
mod bus;
mod cache;
#[cfg(feature = "conformance")]
pub mod conformance;
mod database;
mod error;
mod memory_broker;
mod memory_bus;
mod memory_cache;
mod memory_shared_pages;
mod shared_pages;

pub use backoff::{Backoff, jittered};
pub use broker::{
    Broker, BrokerEvent, BrokerReader, Header, Keep, Link, Message, Received, TopicName,
};
pub use bus::{AssignedReader, Batch, Bus, BusEvent, BusOffset, BusReader, Record, Start, Topic};
pub use cache::{Appended, HotCache, Replay, TailEntry};
pub use database::{ChangeBatch, ChangeStream, Database, DatabaseError, Snapshot, SnapshotRequest};
pub use error::PortError;
pub use memory_broker::{MemoryBroker, MemoryBrokerLimits};
pub use memory_bus::{MemoryBus, MemoryBusLimits};
pub use memory_cache::{MemoryCache, MemoryCacheLimits};
pub use memory_shared_pages::{MemorySharedPages, SharedPagesLimits};
pub use shared_pages::{Claimed, Left, PageClaim, SharedDiff, SharedPages};
