//! How far one subscription is in the history of its page, and what it may be sent.

use tidegate_core::{Lsn, Position};
use tidegate_protocol::server_frame::SnapshotReason;
use tidegate_protocol::{DiffContent, SlowPolicy};

use crate::outbox::SubscriptionId;
use crate::outboxes::SessionIndex;

/// What a subscription waits for the page for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To be sent it, for this reason.
    Snapshot(SnapshotReason),
    /// To learn whether this position still belongs to its history.
    Resume(Position),
}

/// Where a subscription stands. Only a live one is at the channel's own position.
///
/// ```text
/// Waiting ──page──▶ Live ◀──▶ Lagging      by the outbox: full, and drained
///    │  ▲             ▲ │
///    │  └──────────── ┼─┘                  the history was lost
///    └─▶ Replaying ─▶ Ahead                by the cache, which may know more than the channel
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waits for the page.
    Waiting(Wish),
    /// Waits for the cache to tell what follows this position.
    Replaying(Position),
    /// Has been sent everything up to this position, which the channel has not reached.
    Ahead(Position),
    /// Has been sent everything up to the channel's position.
    Live,
    /// Too slow: gets nothing until its outbox has drained, and a fresh page then.
    Lagging,
}

/// Whether a diff goes to a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    Deliver,
    Skip,
}

/// One listener of a channel.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) session: SessionIndex,
    pub(crate) id: SubscriptionId,
    pub(crate) phase: Phase,
    pub(crate) slow: SlowPolicy,
    /// The commit up to which its page holds whatever follows, where positions do not tell: see
    /// [`PageOrigin::Read`](tidegate_protocol::PageOrigin).
    pub(crate) fence: Lsn,
}

impl Subscription {
    /// The channel has moved on by one diff. Says whether the diff is to be sent.
    pub(crate) fn advance(&mut self, diff: &DiffContent) -> Delivery {
        let position = diff.position;
        match self.phase {
            // A diff that names no commit is for those who are there when it comes.
            Phase::Live if diff.lsn > Lsn::ZERO && self.holds(diff) => Delivery::Skip,
            Phase::Live => Delivery::Deliver,
            Phase::Ahead(reached) => {
                if position >= reached {
                    self.phase = Phase::Live;
                }
                match position > reached {
                    true => Delivery::Deliver,
                    false => Delivery::Skip,
                }
            }
            Phase::Waiting(_) | Phase::Replaying(_) | Phase::Lagging => Delivery::Skip,
        }
    }

    /// Whether the page it was sent holds a diff that comes after it.
    pub(crate) fn holds(&self, diff: &DiffContent) -> bool {
        self.fence > Lsn::ZERO && diff.lsn <= self.fence
    }

    /// The history it followed is lost; the next page will be a reset, for this reason.
    pub(crate) fn lose(&mut self, reason: SnapshotReason) {
        self.phase = match self.phase {
            Phase::Live | Phase::Ahead(_) => Phase::Waiting(Wish::Snapshot(reason)),
            Phase::Replaying(after) => Phase::Waiting(Wish::Resume(after)),
            phase @ (Phase::Waiting(_) | Phase::Lagging) => phase,
        };
    }
}
