//! What a session still has to be sent: a bounded queue of shared frames.
//!
//! It does no I/O: the shard asks for slices to write and says how many bytes the socket took. Each
//! frame has an owner, so that the frames of one subscription can be dropped when it falls too far
//! behind (a fresh page will replace them) while the session's other frames stay in order. A frame
//! of which the socket took a part is never dropped: the rest of it must follow.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};
use tidegate_core::Lsn;

/// Slices offered to the socket at once. Linux takes up to 1,024; past a few dozen the cost of the
/// call no longer counts.
pub(crate) const SLICES_MAX: usize = 64;

/// A subscription within its session. Never used twice, so late news of an ended one finds nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SubscriptionId(pub(crate) u32);

/// Whose frame it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The session's: acks, errors, results, control frames. Never dropped; too many end the
    /// session.
    Session,
    /// A snapshot, diff or resume of a subscription: dropped when the subscription is reset.
    Subscription(SubscriptionId),
    /// Word that a subscription has passed a commit. It must not outlive the diffs it vouches for.
    Synced(SubscriptionId, Lsn),
    /// A broadcast: not sent at all when the client is behind.
    BestEffort,
}

/// How a push went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Push {
    Pushed,
    /// The bound is reached; the frame was not taken.
    Full,
}

/// Bounds of an outbox, in bytes. Frames count whole, though they may be shared.
#[derive(Debug, Clone, Copy)]
pub struct OutboxLimits {
    /// Unsent bytes past which a subscription is reset rather than queued for: room for several
    /// pages. Past this, the backlog costs the client more than a fresh page does. One frame may go
    /// beyond, so that a page larger than the bound can be sent at all.
    pub bytes_max: usize,
    /// A subscription that was reset gets its fresh page once no more than this is unsent.
    pub bytes_low: usize,
    /// Unsent bytes, of all kinds, past which a session that also has frames that cannot be dropped
    /// is closed.
    pub session_bytes_max: usize,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        Self {
            bytes_max: 1 << 20,
            bytes_low: 64 << 10,
            session_bytes_max: 4 << 20,
        }
    }
}

#[derive(Debug)]
struct Entry {
    frame: Bytes,
    owner: Owner,
}

/// A session's unsent frames.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Whether a part of the first frame has gone out already.
    is_front_begun: bool,
}

impl Outbox {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a frame, unless its owner's bound is reached.
    pub(crate) fn push(&mut self, frame: Bytes, owner: Owner, limits: &OutboxLimits) -> Push {
        let bytes_max = match owner {
            Owner::Session => limits.session_bytes_max,
            Owner::Subscription(_) | Owner::Synced(..) => limits.bytes_max,
            Owner::BestEffort => limits.bytes_low,
        };
        if self.bytes > bytes_max {
            return Push::Full;
        }
        self.push_after(frame, owner);
        Push::Pushed
    }

    /// Adds a frame whatever the bound.
    pub(crate) fn push_after(&mut self, frame: Bytes, owner: Owner) {
        self.bytes += frame.len();
        self.entries.push_back(Entry { frame, owner });
    }

    /// Drops what a subscription has queued. Returns the commits whose `synced` went with it.
    pub(crate) fn drop_subscription(&mut self, id: SubscriptionId) -> Vec<Lsn> {
        let mut unsaid = Vec::new();
        let mut keep = self.is_front_begun;
        let mut dropped = 0;
        self.entries.retain(|entry| {
            if std::mem::take(&mut keep) {
                return true;
            }
            match entry.owner {
                Owner::Subscription(owner) if owner == id => {}
                Owner::Synced(owner, lsn) if owner == id => unsaid.push(lsn),
                Owner::Session | Owner::Subscription(_) | Owner::Synced(..) | Owner::BestEffort => {
                    return true;
                }
            }
            dropped += entry.frame.len();
            false
        });
        self.bytes -= dropped;
        unsaid
    }

    /// Drops everything that may be dropped, to make way for a close frame.
    pub(crate) fn clear(&mut self) {
        self.entries.truncate(usize::from(self.is_front_begun));
        self.bytes = self.entries.iter().map(|entry| entry.frame.len()).sum();
    }

    /// The frame to write next, if it is the only one: it needs no list.
    pub(crate) fn only(&self) -> Option<&[u8]> {
        match (self.entries.len(), self.entries.front()) {
            (1, Some(entry)) => Some(&entry.frame),
            (_, Some(_) | None) => None,
        }
    }

    /// The frames to write next, at most as many as fit, and how many they are.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES_MAX]) -> usize {
        let mut count = 0;
        for (slice, entry) in slices.iter_mut().zip(&self.entries) {
            *slice = IoSlice::new(&entry.frame);
            count += 1;
        }
        count
    }

    /// The socket took this many bytes.
    pub(crate) fn advance(&mut self, mut taken: usize) {
        self.bytes -= taken;
        while let Some(front) = self.entries.front_mut() {
            let length = front.frame.len();
            if taken < length {
                front.frame.advance(taken);
                self.is_front_begun |= taken > 0;
                return;
            }
            taken -= length;
            self.entries.pop_front();
            self.is_front_begun = false;
        }
        // A burst must not be paid for in memory for as long as the session lives.
        if self.entries.capacity() > SLICES_MAX {
            self.entries = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests;
