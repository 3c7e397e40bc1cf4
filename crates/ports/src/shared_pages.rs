//! The cache as gateways of the first generation share it: stored pages, lists of diffs, and who
//! is interested in what.
//!
//! Pages and diffs lie under the names and in the formats that programs before us read and write,
//! so this is no tail of positions, as the [`HotCache`](crate::HotCache) is. Keys and contents are
//! text that means nothing here.

use async_trait::async_trait;
use bytes::Bytes;
use tidegate_core::Lsn;

use crate::error::PortError;

/// A gateway's claim to a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageClaim {
    /// Which page.
    pub key: String,
    /// A digest of the query that the key stands for.
    pub query: String,
}

/// How a claim went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// The page is claimed for a lease from now, and was not this gateway's before.
    Granted,
    /// It goes on being this gateway's, for a lease from now.
    Renewed,
    /// Another gateway holds the key for another query.
    Conflict,
}

/// Whether others are interested in a page that one gateway has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It was the last. Only one gateway is ever told so.
    Last,
    /// There are others.
    Others,
}

/// A diff to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedDiff {
    /// Whose list.
    pub key: String,
    /// The topic it came by.
    pub topic: String,
    /// The partition of the topic.
    pub partition: u32,
    /// Where in the partition it stood.
    pub offset: u64,
    /// What is kept.
    pub entry: String,
}

/// Pages and diffs that all gateways share.
///
/// - *Claims* lapse by themselves unless they are made again within the lease, so a gateway that
///   dies leaves nothing behind for long.
/// - *Lists* keep each diff once, however many gateways append it and however often: one that
///   stands no higher in its partition than the newest kept from there is a repetition. The oldest
///   entries go first; all of a list goes some time after its newest.
/// - A cache that is down costs what is kept, never correctness.
#[async_trait]
pub trait SharedPages: Send + Sync + 'static {
    /// Claims pages for a gateway, or renews its claims; one answer for each.
    ///
    /// # Errors
    /// `Unavailable`: any of them may have been claimed.
    async fn claim(&self, gateway: u64, claims: Vec<PageClaim>) -> Result<Vec<Claimed>, PortError>;

    /// Gives a page up. Doing so twice may say `Last` twice only when the first answer was lost.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn leave(&self, gateway: u64, key: &str) -> Result<Left, PortError>;

    /// Keys whose every claim has lapsed, at most so many. Each is told to one caller, once.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn take_lapsed(&self, count_max: usize) -> Result<Vec<String>, PortError>;

    /// Keeps diffs, in the given order.
    ///
    /// # Errors
    /// `Unavailable`: some of them may be kept. The same call may be made again.
    async fn append(&self, diffs: Vec<SharedDiff>) -> Result<(), PortError>;

    /// What is kept of a page's diffs, oldest first.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn diffs(&self, key: &str) -> Result<Vec<Bytes>, PortError>;

    /// Keeps a page that was read, and drops the diffs that are in it. An older page does not
    /// replace a newer one.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn store(&self, key: &str, lsn: Lsn, page: Bytes) -> Result<(), PortError>;

    /// The primary keys of a page in order, as a stream processor has written them; empty where it
    /// has not.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn range(&self, key: &str) -> Result<Vec<String>, PortError>;
}
