//! The outboxes of a shard's sessions, side by side: what channels deliver into.
//!
//! Delivering to a listener is an index and a push, no more. What a push implies for the shard is
//! noted down here and taken up after the batch: sessions that have something to write, sessions
//! that must be closed, subscriptions that wait for their outbox to drain.

use bytes::Bytes;
use tidegate_core::Lsn;

use crate::outbox::{Outbox, OutboxLimits, Owner, Push, SubscriptionId};

/// A session by its place in the shard. Places are reused; only owners that are told of a session's
/// end keep one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SessionIndex(pub(crate) u32);

impl SessionIndex {
    fn at(self) -> usize {
        self.0 as usize
    }
}

/// A word that was dropped with the diffs it vouched for, and must be said later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unsaid {
    pub(crate) session: SessionIndex,
    pub(crate) subscription: SubscriptionId,
    pub(crate) lsn: Lsn,
}

#[derive(Debug, Default)]
struct Slot {
    outbox: Outbox,
    is_touched: bool,
    /// Subscriptions to be served a fresh page once the outbox has drained.
    lagging: Vec<SubscriptionId>,
}

/// What has happened since it was last reported. Kept here because counting in a registry for each
/// write would show beside the write itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OutboxCounts {
    pub(crate) frames_pushed: u64,
    pub(crate) frames_skipped: u64,
    pub(crate) writes: u64,
    pub(crate) written_bytes: u64,
}

/// All outboxes of a shard.
#[derive(Debug)]
pub(crate) struct Outboxes {
    limits: OutboxLimits,
    slots: Vec<Slot>,
    touched: Vec<SessionIndex>,
    overrun: Vec<SessionIndex>,
    /// Sessions with so much unsent that their sockets should be tried before they get more.
    pressed: Vec<SessionIndex>,
    unsaid: Vec<Unsaid>,
    counts: OutboxCounts,
}

impl Outboxes {
    pub(crate) fn new(limits: OutboxLimits) -> Self {
        Self {
            limits,
            slots: Vec::new(),
            touched: Vec::new(),
            overrun: Vec::new(),
            pressed: Vec::new(),
            unsaid: Vec::new(),
            counts: OutboxCounts::default(),
        }
    }

    /// Makes the outbox of a session empty, as it is for a new one.
    pub(crate) fn reset(&mut self, session: SessionIndex) {
        if self.slots.len() <= session.at() {
            self.slots.resize_with(session.at() + 1, Slot::default);
        }
        let slot = &mut self.slots[session.at()];
        slot.outbox = Outbox::default();
        slot.lagging = Vec::new();
    }

    /// Adds a frame. The bound of a subscription is its channel's business, so `Full` is returned;
    /// for the session's own frames it means that the session is over.
    pub(crate) fn push(&mut self, session: SessionIndex, frame: Bytes, owner: Owner) -> Push {
        let slot = &mut self.slots[session.at()];
        let pushed = slot.outbox.push(frame, owner, &self.limits);
        match (pushed, owner) {
            (Push::Pushed, _) => self.counts.frames_pushed += 1,
            (Push::Full, Owner::Session) => self.overrun.push(session),
            (Push::Full, Owner::BestEffort) => self.counts.frames_skipped += 1,
            (Push::Full, Owner::Subscription(_) | Owner::Synced(..)) => {}
        }
        if slot.outbox.bytes() > self.limits.bytes_max / 2 {
            self.pressed.push(session);
        }
        self.touch(session);
        pushed
    }

    /// Adds a frame whatever the bound: one that belongs to another which was just accepted, or the
    /// last one of a session.
    pub(crate) fn push_after(&mut self, session: SessionIndex, frame: Bytes, owner: Owner) {
        self.slots[session.at()].outbox.push_after(frame, owner);
        self.counts.frames_pushed += 1;
        self.touch(session);
    }

    /// Notes that the session wants a turn after the batch.
    pub(crate) fn touch(&mut self, session: SessionIndex) {
        let slot = &mut self.slots[session.at()];
        if !slot.is_touched {
            slot.is_touched = true;
            self.touched.push(session);
        }
    }

    /// Whether any session wants a turn.
    pub(crate) fn has_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Takes a session off the list of those that want a turn.
    pub(crate) fn next_touched(&mut self) -> Option<SessionIndex> {
        let session = self.touched.pop()?;
        self.slots[session.at()].is_touched = false;
        Some(session)
    }

    /// Drops what a subscription has queued and notes that it waits for a fresh page.
    pub(crate) fn lag(&mut self, session: SessionIndex, subscription: SubscriptionId) {
        self.drop_subscription(session, subscription);
        self.slots[session.at()].lagging.push(subscription);
        self.touch(session);
    }

    /// Drops what a subscription has queued.
    pub(crate) fn drop_subscription(
        &mut self,
        session: SessionIndex,
        subscription: SubscriptionId,
    ) {
        let slot = &mut self.slots[session.at()];
        for lsn in slot.outbox.drop_subscription(subscription) {
            self.unsaid.push(Unsaid {
                session,
                subscription,
                lsn,
            });
        }
    }

    /// Notes that a session must be closed because it is too slow.
    pub(crate) fn overrun(&mut self, session: SessionIndex) {
        self.overrun.push(session);
        self.touch(session);
    }

    /// Sessions to be closed as too slow, each maybe more than once.
    pub(crate) fn take_overrun(&mut self) -> Vec<SessionIndex> {
        std::mem::take(&mut self.overrun)
    }

    /// What must be said later.
    pub(crate) fn take_unsaid(&mut self) -> Vec<Unsaid> {
        std::mem::take(&mut self.unsaid)
    }

    /// The lagging subscriptions of a session whose outbox is down to the low mark.
    pub(crate) fn take_drained(&mut self, session: SessionIndex) -> Vec<SubscriptionId> {
        let slot = &mut self.slots[session.at()];
        match slot.outbox.bytes() <= self.limits.bytes_low {
            true => std::mem::take(&mut slot.lagging),
            false => Vec::new(),
        }
    }

    pub(crate) fn outbox(&mut self, session: SessionIndex) -> &mut Outbox {
        &mut self.slots[session.at()].outbox
    }

    /// Sessions whose sockets should be tried now, each maybe more than once.
    pub(crate) fn take_pressed(&mut self) -> Vec<SessionIndex> {
        std::mem::take(&mut self.pressed)
    }

    /// A socket took this many bytes in one call.
    pub(crate) fn count_write(&mut self, bytes: usize) {
        self.counts.writes += 1;
        self.counts.written_bytes += bytes as u64;
    }

    /// Counts since the last call.
    pub(crate) fn take_counts(&mut self) -> OutboxCounts {
        std::mem::take(&mut self.counts)
    }
}
