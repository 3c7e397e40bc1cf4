//! `sync`: telling a client when a subscription has passed a commit.
//!
//! The word is queued behind the diffs it vouches for. When those are dropped because the client is
//! too slow, the word goes with them and waits again.

use tidegate_core::Lsn;
use tidegate_protocol::server_frame::{self, ErrorSubject};
use tidegate_protocol::{ErrorCode, HashId};

use super::Shard;
use crate::frame;
use crate::outbox::{Owner, Push, SubscriptionId};
use crate::session::{Place, Second, SessionId};

/// A client that waits for a commit.
#[derive(Debug)]
pub(super) struct SyncWait {
    session: SessionId,
    subscription: SubscriptionId,
    lsn: Lsn,
    until: Second,
}

impl Shard {
    pub(super) fn on_sync(&mut self, id: SessionId, label: &HashId, lsn: Lsn) {
        let syncs_max = self.limits().session_syncs_max;
        let seconds = self.limits().sync_timeout.as_secs() as Second;
        let until = self.now.saturating_add(seconds);
        let Some(session) = self.open_session(id) else {
            return;
        };
        let Ok(at) = session.find(label) else {
            let why = "there is no such subscription";
            self.refuse_sync(id, label, ErrorCode::UnknownSubscription, why);
            return;
        };
        if session.syncs_waiting >= syncs_max {
            let why = "too many syncs are waiting already";
            self.refuse_sync(id, label, ErrorCode::SyncTimeout, why);
            return;
        }
        session.syncs_waiting += 1;
        let wait = SyncWait {
            session: id,
            subscription: session.subscriptions[at].id,
            lsn,
            until,
        };
        if !self.try_synced(&wait) {
            self.syncs.push(wait);
        }
    }

    fn refuse_sync(&mut self, id: SessionId, label: &HashId, code: ErrorCode, why: &str) {
        let payload = server_frame::error(code, why, ErrorSubject::Subscription(label));
        self.reply(id, frame::text(&payload));
    }

    /// Tells those whose commit has been passed.
    pub(super) fn answer_syncs(&mut self) {
        let waits = std::mem::take(&mut self.syncs);
        for wait in waits {
            if !self.try_synced(&wait) {
                self.syncs.push(wait);
            }
        }
    }

    /// Tells those who have waited too long.
    pub(super) fn expire_syncs(&mut self) {
        let now = self.now;
        let waits = std::mem::take(&mut self.syncs);
        for wait in waits {
            if wait.until > now {
                self.syncs.push(wait);
                continue;
            }
            let Some(session) = self.open_session(wait.session) else {
                continue;
            };
            session.syncs_waiting -= 1;
            if let Some(label) = session
                .by_id(wait.subscription)
                .map(|held| held.label.clone())
            {
                let why = "the subscription did not pass the commit in time";
                self.refuse_sync(wait.session, &label, ErrorCode::SyncTimeout, why);
            }
        }
    }

    /// Words that were dropped with the diffs of a slow subscription wait again.
    pub(super) fn wait_for_unsaid(&mut self) {
        let seconds = self.limits().sync_timeout.as_secs() as Second;
        let until = self.now.saturating_add(seconds);
        for unsaid in self.outboxes.take_unsaid() {
            let Some(session) = self.sessions.get_mut(unsaid.session.0 as usize) else {
                continue;
            };
            session.syncs_waiting += 1;
            let serial = session.serial;
            self.syncs.push(SyncWait {
                session: SessionId {
                    index: unsaid.session,
                    serial,
                },
                subscription: unsaid.subscription,
                lsn: unsaid.lsn,
                until,
            });
        }
    }

    /// Answers a wait if it is over, one way or the other. `false` when it goes on.
    fn try_synced(&mut self, wait: &SyncWait) -> bool {
        let Some(session) = self.open_session(wait.session) else {
            return true;
        };
        let Some(held) = session.by_id(wait.subscription) else {
            // Unsubscribed meanwhile: nobody waits any more.
            session.syncs_waiting -= 1;
            return true;
        };
        let Place::Listening { channel, place } = held.place else {
            return false;
        };
        let label = held.label.clone();
        let entry = &self.channels[channel as usize];
        let progress = self.progress[entry.partition.get() as usize];
        if !entry
            .channel
            .has_passed(place, wait.subscription, wait.lsn, progress)
        {
            return false;
        }
        let frame = frame::text(&server_frame::synced(&label, wait.lsn));
        let owner = Owner::Synced(wait.subscription, wait.lsn);
        if self.outboxes.push(wait.session.index, frame, owner) == Push::Full {
            return false;
        }
        if let Some(session) = self.session(wait.session) {
            session.syncs_waiting -= 1;
        }
        true
    }
}
