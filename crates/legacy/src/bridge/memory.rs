//! What must be known of an old routing key after a restart, kept in a topic of our own.
//!
//! The clients of an old gateway outlive us. To bring them to today's page we must know which rows
//! they may hold, and above which LSN they still listen. Both are written down *before* anything
//! is said that goes beyond them, and generously: rows that they may hold, an LSN that is ahead.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What is remembered of one old routing key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// The tenant, as the old gateway writes it.
    pub(super) company: String,
    /// The table, as clients name it.
    pub(super) table: String,
    /// The label.
    pub(super) hash: String,
    /// The partition of the topic of seeds that the key is in: who has that serves it.
    pub(super) partition: u32,
    /// No client listens only above a higher LSN than this, and nothing was said with a higher one.
    pub(super) lsn: u64,
    /// Every row that a client may hold is one of these.
    pub(super) pks: BTreeSet<Arc<str>>,
}

impl Memory {
    pub(super) fn encode(&self) -> Bytes {
        let text = serde_json::to_vec(self);
        text.expect("texts and numbers are JSON").into()
    }

    /// `None` when the bytes are not what [`Memory::encode`] writes.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}
