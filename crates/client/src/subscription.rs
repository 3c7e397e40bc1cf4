//! A subscription: what to subscribe to, and the handle that reads it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tidegate_core::{Lsn, QuerySpec};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::client::Shared;
use crate::error::Fault;
use crate::live_page::LivePage;
use crate::mailbox::{Delivery, Mailbox, Update};
use crate::query;
use crate::state::Command;

/// The server gives up a `sync` after 30 s; a reconnect in between may start it over once.
const SYNC_TIME_MAX: Duration = Duration::from_secs(75);

/// How diffs are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// As JSON text frames.
    #[default]
    Json,
    /// As `FlatBuffers` in binary frames.
    Binary,
}

/// What the server does when this client falls too far behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Slow {
    /// It sends a fresh page.
    #[default]
    Reset,
    /// It closes the connection.
    Close,
}

/// What to subscribe to.
#[derive(Debug, Clone)]
pub struct Subscribe {
    /// The table.
    pub(crate) table: String,
    /// The query as JSON.
    pub(crate) query: Box<RawValue>,
    /// How diffs are delivered.
    pub(crate) format: Format,
    /// What happens when this client falls behind.
    pub(crate) slow: Slow,
}

impl Subscribe {
    /// A page of `table`.
    #[must_use]
    pub fn new(table: &str, query: &QuerySpec) -> Self {
        Self::with_raw(table, query::to_json(query))
    }

    /// A page of `table`, its query as JSON text, which is sent as it is.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn from_json(table: &str, query_json: &str) -> Result<Self, serde_json::Error> {
        let query = RawValue::from_string(query_json.trim().to_owned())?;
        Ok(Self::with_raw(table, query))
    }

    fn with_raw(table: &str, query: Box<RawValue>) -> Self {
        Self {
            table: table.to_owned(),
            query,
            format: Format::default(),
            slow: Slow::default(),
        }
    }

    /// Chooses how diffs are delivered.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Chooses what happens when this client falls behind.
    #[must_use]
    pub fn slow(mut self, slow: Slow) -> Self {
        self.slow = slow;
        self
    }

    /// FNV-1a of table and query. Nothing rests on it but that equal queries get equal labels.
    pub(crate) fn fingerprint(&self) -> u64 {
        let query = self.query.get().bytes();
        let bytes = self.table.bytes().chain([0]).chain(query);
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }
}

/// A point in a subscription's updates; see [`Subscription::sync_point`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SyncPoint(u64);

/// A live page. It ends when it is dropped.
///
/// [`Self::page`] is the page as of the last update that was read, so reader and page never
/// disagree. A reader that falls behind loses no state: its updates are merged into a snapshot.
pub struct Subscription {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    hash_id: String,
    page: LivePage,
    seq: u64,
    ended: Option<Fault>,
}

impl Subscription {
    pub(crate) fn new(shared: Arc<Shared>, mailbox: Arc<Mailbox>) -> Self {
        Self {
            shared,
            mailbox,
            hash_id: String::new(),
            page: LivePage::default(),
            seq: 0,
            ended: None,
        }
    }

    pub(crate) fn set_hash_id(&mut self, hash_id: String) {
        self.hash_id = hash_id;
    }

    /// The label that names it within its session.
    #[must_use]
    pub fn hash_id(&self) -> &str {
        &self.hash_id
    }

    /// The page as of the last update that was read.
    #[must_use]
    pub fn page(&self) -> &LivePage {
        &self.page
    }

    /// The rows of [`Self::page`] as JSON texts, in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &str> {
        self.page.rows().iter().map(|row| &*row.json)
    }

    /// The next update; `None` when the subscription has ended and all is read. Nothing is lost
    /// when the wait is given up.
    pub async fn next(&mut self) -> Option<Update> {
        let delivery = self.mailbox.take().await?;
        Some(self.apply(delivery))
    }

    /// The next update, if one is there already.
    pub fn try_next(&mut self) -> Option<Update> {
        let delivery = self.mailbox.try_take()?;
        Some(self.apply(delivery))
    }

    fn apply(&mut self, delivery: Delivery) -> Update {
        self.seq = delivery.seq;
        delivery.update.apply_to(&mut self.page);
        if let Update::Error(fault) = &delivery.update {
            self.ended = Some(fault.clone());
        }
        delivery.update
    }

    /// Reads until there is a page, and nothing further; at once when there is one.
    ///
    /// # Errors
    /// When the subscription ends instead.
    pub async fn ready(&mut self) -> Result<&LivePage, Fault> {
        while self.page.position().is_none() {
            if self.next().await.is_none() {
                return Err(self.end_fault());
            }
        }
        Ok(&self.page)
    }

    /// Waits until the subscription has passed a commit, and reads up to there: afterwards
    /// [`Self::page`] holds that commit. With the `lsn` of a write's reply, one reads one's own
    /// writes. The updates on the way are applied and not given out; to see them use
    /// [`Self::sync_point`].
    ///
    /// # Errors
    /// When the subscription has not passed it in time (code `sync_timeout`), or has ended.
    pub async fn sync(&mut self, lsn: Lsn) -> Result<(), Fault> {
        let point = self.sync_point(lsn).await?;
        while !self.has_passed(point) {
            if self.next().await.is_none() {
                return Err(self.end_fault());
            }
        }
        Ok(())
    }

    /// Waits until this client has received all up to a commit. It reads nothing: the updates up to
    /// there are read with [`Self::next`], until [`Self::has_passed`] the point that this returns.
    ///
    /// # Errors
    /// As [`Self::sync`].
    pub async fn sync_point(&self, lsn: Lsn) -> Result<SyncPoint, Fault> {
        if self.ended.is_some() {
            return Err(self.end_fault());
        }
        let (reply, answer) = oneshot::channel();
        let hash_id = self.hash_id.clone();
        let asked = self.shared.send(Command::Sync {
            hash_id,
            lsn,
            reply,
        });
        asked.await.map_err(|_| self.end_fault())?;
        match timeout(SYNC_TIME_MAX, answer).await {
            Ok(Ok(seq)) => seq.map(SyncPoint),
            Ok(Err(_)) => Err(self.end_fault()),
            Err(_) => {
                let message = "the subscription did not pass the commit in time";
                Err(Fault::new("sync_timeout", message, true))
            }
        }
    }

    /// Whether all updates up to a point have been read.
    #[must_use]
    pub fn has_passed(&self, point: SyncPoint) -> bool {
        self.seq >= point.0
    }

    fn end_fault(&self) -> Fault {
        let ended = || Fault::new("unknown_subscription", "the subscription has ended", false);
        self.ended.clone().unwrap_or_else(ended)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // A drop cannot wait for room in the command queue. The owner finds the mark by itself.
        self.mailbox.abandon();
        self.shared.abandoned.notify_one();
    }
}
