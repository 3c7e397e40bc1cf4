//! The hot cache: the tails of pages, so that a client can resume on any gateway.

use async_trait::async_trait;
use bytes::Bytes;
use tidegate_core::{Position, RoutingKey};

use crate::error::PortError;

/// One entry of a tail: what the bus carried for this position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailEntry {
    /// Whose tail.
    pub key: RoutingKey,
    /// Where in the page's history.
    pub position: Position,
    /// The record's value, as published on the bus.
    pub value: Bytes,
}

/// How an append went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Appended {
    /// Entries that were refused because their position was not above the newest of their key: work
    /// of an owner that is no longer one.
    pub refused: usize,
}

/// The answer to a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replay {
    /// Every entry strictly after the position, up to the newest: dense, one epoch, possibly none.
    Complete(Vec<(Position, Bytes)>),
    /// The run is not whole, or the key or the epoch is not known. Never a part instead.
    Gap,
}

/// The newest diffs of each page, by position.
///
/// - *One writer per key*, the owner of the page; the cache itself refuses positions that are not
///   higher than the newest, so that a late owner cannot harm.
/// - *Bounds*: entries per key and bytes in all; the oldest go first, which a reader sees as a gap.
/// - A cache that is down or empty costs resumes (they become fresh pages), never correctness.
#[async_trait]
pub trait HotCache: Send + Sync + 'static {
    /// Appends entries in the given order.
    ///
    /// # Errors
    /// `Unavailable`: any part may have been appended.
    async fn append(&self, entries: Vec<TailEntry>) -> Result<Appended, PortError>;

    /// The entries of a page after a position.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn replay(&self, key: &RoutingKey, after: Position) -> Result<Replay, PortError>;
}
