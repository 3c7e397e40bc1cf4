//! A channel is a shard's view of one routing key: who listens, and the last part of its history.
//!
//! It does no I/O and reads no clock. The shard feeds it records and commands; frames go into the
//! outboxes, and what else is to be done comes back as effects. So every rule of delivery can be
//! tested without a socket.
//!
//! Order is decided by the owner of the page. Here only "+1" is checked: the next diff is
//! delivered, an older one dropped; a hole is filled from the cache or ends in a visible reset,
//! never in a silent part.

mod filling;
mod history;
mod listeners;
mod serving;

use bytes::Bytes;
use tidegate_core::{Life, Lsn, Position};
use tidegate_protocol::server_frame::SnapshotReason;
use tidegate_protocol::{DiffContent, Format, HashId, PageContent, PageOrigin, SlowPolicy};

use crate::frame;
use crate::outbox::{Owner, Push, SubscriptionId};
use crate::outboxes::{Outboxes, SessionIndex};
use crate::subscription::{Delivery, Phase, Subscription, Wish};

use filling::{Filling, HELD_DIFFS_MAX};
use history::History;
pub use history::HistoryLimits;
pub(crate) use listeners::ListenerPlace;
use listeners::{Group, Listeners};
pub(crate) use serving::decode_entries;
use serving::{fall_behind, join};

/// What the shard is to do for a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Ask the owner to publish the page. At most one such wish is open per channel.
    AskPage,
    /// Read the cache for one subscription, and call [`Channel::on_replay`].
    Replay {
        place: ListenerPlace,
        id: SubscriptionId,
        after: Position,
    },
    /// Read the cache for the whole channel, and call [`Channel::on_fill`].
    Fill { after: Position },
    /// Count that a subscription was given a fresh page, and why.
    Reset(SnapshotReason),
}

/// A new listener.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    pub(crate) session: SessionIndex,
    pub(crate) id: SubscriptionId,
    pub(crate) label: HashId,
    pub(crate) format: Format,
    pub(crate) slow: SlowPolicy,
}

/// Where a new listener wants to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    Fresh,
    After(Position),
    AfterVersion(Lsn),
}

/// Whether the owner has been asked for the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    No,
    Yes,
}

/// One routing key in one shard.
#[derive(Debug)]
pub(crate) struct Channel {
    limits: HistoryLimits,
    listeners: Listeners,
    history: Option<History>,
    filling: Option<Filling>,
    asked: Asked,
    /// Whether records may have been missed since the history's last diff. While in doubt nothing
    /// is wrong with what was sent, but nobody can be told that they have everything.
    in_doubt: bool,
}

/// What a channel needs to act: where frames go and where effects are noted.
pub(crate) struct Context<'a> {
    pub(crate) outboxes: &'a mut Outboxes,
    pub(crate) effects: &'a mut Vec<Effect>,
}

impl Channel {
    pub(crate) fn new(limits: HistoryLimits) -> Self {
        Self {
            limits,
            listeners: Listeners::default(),
            history: None,
            filling: None,
            asked: Asked::No,
            in_doubt: false,
        }
    }

    pub(crate) fn is_deserted(&self) -> bool {
        self.listeners.is_empty()
    }

    /// Bytes of history held.
    pub(crate) fn bytes(&self) -> usize {
        self.history.as_ref().map_or(0, History::bytes)
    }

    /// Forgets what serves newcomers and resumes only. Nobody who is live notices.
    pub(crate) fn shed(&mut self) {
        if let Some(history) = &mut self.history {
            history.shed();
        }
    }

    /// Adds a listener and serves it from what is here, if that suffices.
    pub(crate) fn subscribe(
        &mut self,
        listener: Listener,
        begin: Begin,
        context: &mut Context<'_>,
    ) -> ListenerPlace {
        let phase = Phase::Waiting(Wish::Snapshot(SnapshotReason::Subscribe));
        let place = self.listeners.add(listener, phase);
        let mut fence = Lsn::ZERO;
        let wish = match (begin, &self.history) {
            (Begin::Fresh, _) => Wish::Snapshot(SnapshotReason::Subscribe),
            (Begin::After(position), _) => Wish::Resume(position),
            (Begin::AfterVersion(version), Some(history)) => match history.position_of(version) {
                Some((position, contained)) => {
                    fence = contained;
                    Wish::Resume(position)
                }
                None => Wish::Snapshot(SnapshotReason::Unrecoverable),
            },
            (Begin::AfterVersion(_), None) => Wish::Snapshot(SnapshotReason::Unrecoverable),
        };
        self.listeners.set_fence(place, fence);
        self.serve(place, wish, context);
        place
    }

    /// Removes a listener. What it has queued is the session's business.
    pub(crate) fn unsubscribe(&mut self, place: ListenerPlace) {
        self.listeners.remove(place);
    }

    /// All listeners, taken out.
    pub(crate) fn dissolve(&mut self) -> Vec<(SessionIndex, SubscriptionId)> {
        self.listeners.drain()
    }

    /// Takes a page that the owner published.
    pub(crate) fn on_page(&mut self, page: PageContent, context: &mut Context<'_>) {
        let Some(history) = &mut self.history else {
            self.adopt(page, SnapshotReason::Unrecoverable, context);
            return;
        };
        let head = history.head();
        if page.position.epoch < head.epoch {
            return;
        }
        if page.position.epoch > head.epoch {
            self.filling = None;
            self.adopt(page, SnapshotReason::Epoch, context);
        } else if page.position > head {
            // Diffs were missed: this page contains them, but nobody was sent them.
            self.begin_filling(head, context).page = Some(page);
        } else {
            // An older one is a repetition by the bus and answers no question; but one that was
            // read stands where its fence puts it.
            let is_current = page.position == head || page.origin == PageOrigin::Read;
            history.rebase(page);
            if is_current {
                self.asked = Asked::No;
                self.in_doubt = false;
            }
            self.serve_waiting(context);
        }
    }

    /// Takes a diff that the owner published.
    pub(crate) fn on_diff(&mut self, diff: DiffContent, context: &mut Context<'_>) {
        let Some(history) = &self.history else {
            // The page that was asked for will contain it.
            return;
        };
        let head = history.head();
        if diff.position.follows(head) {
            self.deliver(diff, context);
            if self.filling.is_some() {
                self.release_held(context);
            }
        } else if diff.position.epoch > head.epoch {
            // The page that began that epoch was missed.
            self.lose(SnapshotReason::Epoch, context);
        } else if diff.position > head {
            let filling = self.begin_filling(head, context);
            filling.held.push_back(diff);
            if filling.held.len() > HELD_DIFFS_MAX {
                self.give_up_filling(context);
            }
        }
    }

    /// The cache has answered for the whole channel; `None` when it does not have what follows.
    pub(crate) fn on_fill(
        &mut self,
        after: Position,
        entries: Option<Vec<DiffContent>>,
        context: &mut Context<'_>,
    ) {
        if self
            .filling
            .as_ref()
            .is_none_or(|filling| filling.after != after)
        {
            return;
        }
        for diff in entries.into_iter().flatten() {
            if self.follows_head(diff.position) {
                self.deliver(diff, context);
            }
        }
        self.release_held(context);
        if self.filling.is_some() {
            self.give_up_filling(context);
        }
    }

    /// The cache has answered for one subscription; `None` when it does not have what follows.
    pub(crate) fn on_replay(
        &mut self,
        (place, id): (ListenerPlace, SubscriptionId),
        after: Position,
        entries: Option<Vec<DiffContent>>,
        context: &mut Context<'_>,
    ) {
        let Some(member) = self.listeners.get(place, id) else {
            return;
        };
        if member.phase != Phase::Replaying(after) {
            return;
        }
        let joined = match (entries, &self.history) {
            (Some(entries), Some(history)) => join(after, entries, history),
            (None, _) | (_, None) => None,
        };
        match joined {
            Some(diffs) => self.send_resume(place, after, diffs, context),
            None => self.serve_snapshot(place, self.resume_failure(after), context),
        }
    }

    /// The outbox of a lagging subscription has drained.
    pub(crate) fn recover(
        &mut self,
        place: ListenerPlace,
        id: SubscriptionId,
        context: &mut Context<'_>,
    ) {
        if self
            .listeners
            .get(place, id)
            .is_some_and(|member| member.phase == Phase::Lagging)
        {
            self.serve_snapshot(place, SnapshotReason::Overflow, context);
        }
    }

    /// Records may have been missed, or the page has a new owner. What was sent stays valid; the
    /// page that the owner is asked for shows whether it is the newest.
    pub(crate) fn doubt(&mut self, context: &mut Context<'_>) {
        self.in_doubt = true;
        // Whatever was asked before may have been answered in what was missed.
        self.asked = Asked::No;
        self.ask(context);
    }

    /// Whether the owner still owes the page.
    pub(crate) fn is_owed_page(&self) -> bool {
        self.asked == Asked::Yes
    }

    /// Lets go of frames that were kept for a herd of newcomers. The shard calls this now and then.
    pub(crate) fn forget_frames(&mut self) {
        self.listeners.forget_frames();
    }

    /// Whether a subscription has been sent (or has queued) everything up to a commit. `progress`
    /// is how far the owner of the partition is, and which owner that is.
    pub(crate) fn has_passed(
        &self,
        place: ListenerPlace,
        id: SubscriptionId,
        lsn: Lsn,
        progress: Option<(Life, Lsn)>,
    ) -> bool {
        let Some(history) = &self.history else {
            return false;
        };
        let is_live = |member: &Subscription| member.phase == Phase::Live;
        if self.in_doubt
            || self.filling.is_some()
            || !self.listeners.get(place, id).is_some_and(is_live)
        {
            return false;
        }
        let owner = history.head().epoch.life();
        history.passed() >= lsn
            || progress.is_some_and(|(life, passed)| life == owner && passed >= lsn)
    }

    /// Whether the channel follows a history of an owner other than this one.
    pub(crate) fn is_of_another(&self, life: Life) -> bool {
        self.history
            .as_ref()
            .is_some_and(|history| history.head().epoch.life() != life)
    }

    fn follows_head(&self, position: Position) -> bool {
        self.history
            .as_ref()
            .is_some_and(|history| position.follows(history.head()))
    }

    fn ask(&mut self, context: &mut Context<'_>) {
        if self.asked == Asked::No {
            self.asked = Asked::Yes;
            context.effects.push(Effect::AskPage);
        }
    }

    /// Starts anew with a page. Those who followed the old history get it for `reason`.
    fn adopt(&mut self, page: PageContent, reason: SnapshotReason, context: &mut Context<'_>) {
        self.history = Some(History::starting_with(page));
        self.asked = Asked::No;
        self.in_doubt = false;
        self.listeners.for_each(|member| match member.phase {
            Phase::Live | Phase::Ahead(_) => {
                member.phase = Phase::Waiting(Wish::Snapshot(reason));
            }
            Phase::Waiting(_) | Phase::Replaying(_) | Phase::Lagging => {}
        });
        self.serve_waiting(context);
    }

    /// The history cannot be continued: everybody waits for a fresh page.
    fn lose(&mut self, reason: SnapshotReason, context: &mut Context<'_>) {
        self.history = None;
        self.filling = None;
        self.listeners.for_each(|member| member.lose(reason));
        self.asked = Asked::No;
        self.ask(context);
    }

    /// Sends a diff to everybody who is at the head, and moves the head on.
    fn deliver(&mut self, diff: DiffContent, context: &mut Context<'_>) {
        for group in self.listeners.groups() {
            deliver_to_group(group, &diff, context);
        }
        if let Some(history) = &mut self.history {
            history.append(diff, &self.limits);
        }
    }
}

/// Delivers one diff to the listeners of one label and format, who all get the same bytes.
fn deliver_to_group(group: &mut Group, diff: &DiffContent, context: &mut Context<'_>) {
    let mut frame: Option<Bytes> = None;
    for (_, member) in &mut group.members {
        match member.advance(diff) {
            Delivery::Skip => continue,
            Delivery::Deliver => {}
        }
        let frame = frame
            .get_or_insert_with(|| frame::diff(&group.label, group.format, diff))
            .clone();
        let owner = Owner::Subscription(member.id);
        if context.outboxes.push(member.session, frame, owner) == Push::Full {
            fall_behind(member, context);
        }
    }
}

#[cfg(test)]
mod tests;
