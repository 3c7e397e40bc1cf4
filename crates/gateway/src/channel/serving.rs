//! Serving one listener: with a page, or with exactly what it missed.

use bytes::Bytes;
use tidegate_core::Position;
use tidegate_protocol::server_frame::SnapshotReason;
use tidegate_protocol::{DiffContent, PageRecord, SlowPolicy};

use super::history::History;
use super::listeners::{Group, ListenerPlace};
use super::{Channel, Context, Effect};
use crate::frame;
use crate::outbox::{Owner, Push};
use crate::subscription::{Phase, Subscription, Wish};

impl Channel {
    /// Serves all who wait for the page from the history, as far as it can.
    pub(super) fn serve_waiting(&mut self, context: &mut Context<'_>) {
        for (place, wish) in self.listeners.waiting() {
            self.serve(place, wish, context);
        }
    }

    pub(super) fn serve(&mut self, place: ListenerPlace, wish: Wish, context: &mut Context<'_>) {
        match wish {
            Wish::Snapshot(reason) => self.serve_snapshot(place, reason, context),
            Wish::Resume(after) => self.serve_resume(place, after, context),
        }
    }

    /// Sends the page and the diffs after it, or waits for a fresh one.
    pub(super) fn serve_snapshot(
        &mut self,
        place: ListenerPlace,
        reason: SnapshotReason,
        context: &mut Context<'_>,
    ) {
        let limits = self.limits;
        let joinable = self.history.as_ref().and_then(|history| {
            let page = history.joinable(&limits)?;
            Some((history, page))
        });
        let Some((history, page)) = joinable else {
            self.listeners
                .set_phase(place, Phase::Waiting(Wish::Snapshot(reason)));
            self.ask(context);
            return;
        };
        let Some((group, slot)) = self.listeners.group_of(place) else {
            return;
        };
        group.members[slot].phase = Phase::Live;
        group.members[slot].fence = page.fence();
        if reason != SnapshotReason::Subscribe {
            context.effects.push(Effect::Reset(reason));
        }
        let frame = group.snapshot_frame(page, reason);
        if push(group, slot, frame, context) == Push::Full {
            return;
        }
        // The page and its diffs are one: cut apart by the bound, a page near it could never be
        // sent.
        let member = &group.members[slot];
        let owner = Owner::Subscription(member.id);
        for diff in history.after(page.position) {
            if !member.holds(diff) {
                let frame = frame::kept_diff(&group.label, group.format, diff);
                context.outboxes.push_after(member.session, frame, owner);
            }
        }
    }

    /// Continues after a position that a client claims to have, if that can be proved complete.
    pub(super) fn serve_resume(
        &mut self,
        place: ListenerPlace,
        after: Position,
        context: &mut Context<'_>,
    ) {
        let Some(history) = &self.history else {
            self.listeners
                .set_phase(place, Phase::Waiting(Wish::Resume(after)));
            self.ask(context);
            return;
        };
        if after.epoch != history.head().epoch {
            self.serve_snapshot(place, SnapshotReason::Epoch, context);
        } else if after <= history.head() && history.reaches(after) {
            let diffs = history.after(after).cloned().collect();
            self.send_resume(place, after, diffs, context);
        } else {
            self.listeners.set_phase(place, Phase::Replaying(after));
            if let Some(id) = self.listeners.id_of(place) {
                context.effects.push(Effect::Replay { place, id, after });
            }
        }
    }

    pub(super) fn resume_failure(&self, after: Position) -> SnapshotReason {
        match &self.history {
            Some(history) if history.head().epoch != after.epoch => SnapshotReason::Epoch,
            Some(_) | None => SnapshotReason::Unrecoverable,
        }
    }

    /// Sends what a client missed. `diffs` follow `after` densely and reach the head at least.
    pub(super) fn send_resume(
        &mut self,
        place: ListenerPlace,
        after: Position,
        diffs: Vec<DiffContent>,
        context: &mut Context<'_>,
    ) {
        let Some(history) = &self.history else {
            return;
        };
        let (head, lsn) = (history.head(), history.lsn_at(after));
        let Some((group, slot)) = self.listeners.group_of(place) else {
            return;
        };
        let reached = diffs.last().map_or(after, |diff| diff.position);
        group.members[slot].phase = match reached > head {
            true => Phase::Ahead(reached),
            false => Phase::Live,
        };
        let frame = frame::resumed(&group.label, lsn, after);
        let mut pushed = push(group, slot, frame, context);
        for diff in &diffs {
            if pushed == Push::Full {
                return;
            }
            if !group.members[slot].holds(diff) {
                let frame = frame::kept_diff(&group.label, group.format, diff);
                pushed = push(group, slot, frame, context);
            }
        }
    }
}

/// Sends a frame to one listener.
fn push(group: &mut Group, slot: usize, frame: Bytes, context: &mut Context<'_>) -> Push {
    let member = &mut group.members[slot];
    let owner = Owner::Subscription(member.id);
    let pushed = context.outboxes.push(member.session, frame, owner);
    if pushed == Push::Full {
        fall_behind(member, context);
    }
    pushed
}

/// A listener's outbox is full: what it has queued goes, and a fresh page will take its place.
pub(super) fn fall_behind(member: &mut Subscription, context: &mut Context<'_>) {
    match member.slow {
        SlowPolicy::Reset => {
            member.phase = Phase::Lagging;
            context.outboxes.lag(member.session, member.id);
        }
        SlowPolicy::Close => context.outboxes.overrun(member.session),
    }
}

/// What a client at `after` has missed: the cache's entries, and the channel's own diffs beyond
/// them. `None` when the two do not meet.
pub(super) fn join(
    after: Position,
    entries: Vec<DiffContent>,
    history: &History,
) -> Option<Vec<DiffContent>> {
    let mut reached = after;
    for entry in &entries {
        if !entry.position.follows(reached) {
            return None;
        }
        reached = entry.position;
    }
    let head = history.head();
    if reached.epoch != head.epoch || (reached < head && !history.reaches(reached)) {
        return None;
    }
    let mut diffs = entries;
    if reached < head {
        diffs.extend(history.after(reached).cloned());
    }
    Some(diffs)
}

/// The diffs that the cache has after a position, or `None` when any of it does not make sense.
pub(crate) fn decode_entries(entries: Vec<(Position, Bytes)>) -> Option<Vec<DiffContent>> {
    entries
        .into_iter()
        .map(|(position, value)| match PageRecord::decode(value) {
            Ok(PageRecord::Diff(diff)) if diff.position == position => Some(diff),
            Ok(_) | Err(_) => None,
        })
        .collect()
}
