//! What time brings about: one sweep a second looks after all sessions and channels of a shard, so
//! that none of them needs a timer of its own.

use std::sync::Arc;

use tidegate_protocol::CloseCode;

use super::Shard;
use crate::frame;
use crate::interest::{InterestCommand, MAILBOX_MAX};
use crate::outbox::Owner;
use crate::outboxes::SessionIndex;
use crate::session::{Second, Session, SessionId, SessionPhase};
use crate::ws::Opcode;

/// An owner that owes a page is reminded after 1, 2, 4 and then every 8 seconds.
const REMINDER_SHIFT_MAX: u32 = 3;

impl Shard {
    /// What time brings about, once a second.
    pub(super) fn sweep(&mut self) {
        self.now = self
            .started
            .elapsed()
            .as_secs()
            .try_into()
            .unwrap_or(Second::MAX);
        self.sweep_sessions();
        self.sweep_channels();
        self.answer_syncs();
        self.expire_syncs();
        self.report();
    }

    fn sweep_sessions(&mut self) {
        let idle = self.limits().idle_timeout.as_secs() as Second;
        let ping_interval = self.limits().ping_interval.as_secs() as Second;
        let ping = frame::frame(Opcode::Ping, b"");
        let now = self.now;
        let mut expired = Vec::new();
        for (key, session) in &mut self.sessions {
            let index = SessionIndex(key as u32);
            match session.phase {
                SessionPhase::Ended => {}
                SessionPhase::Closing { until } if now < until => {}
                SessionPhase::Closing { .. } => end(session),
                SessionPhase::Open if now - session.heard_at >= idle => end(session),
                SessionPhase::Open if now >= session.expires_at => expired.push(SessionId {
                    index,
                    serial: session.serial,
                }),
                SessionPhase::Open if now - session.pinged_at >= ping_interval => {
                    session.pinged_at = now;
                    // It may go unsent when the client is behind: then there is no need to ask
                    // whether it is there, only to wait until it reads.
                    self.outboxes.push(index, ping.clone(), Owner::BestEffort);
                }
                SessionPhase::Open => {}
            }
        }
        for id in expired {
            self.close(id, CloseCode::Refused, "the token has expired");
        }
    }

    fn sweep_channels(&mut self) {
        let linger = self.limits().linger.as_secs() as Second;
        let (now, shard) = (self.now, self.index);
        let mut forsaken = Vec::new();
        for (index, entry) in &mut self.channels {
            entry.channel.forget_frames();
            match entry.deserted_at {
                Some(since) if now - since >= linger => forsaken.push(index as u32),
                Some(_) => {}
                None => {
                    let patience = 1 << entry.asks.min(REMINDER_SHIFT_MAX);
                    let is_overdue =
                        entry.channel.is_owed_page() && now - entry.asked_at >= patience;
                    if is_overdue && self.outgoing.len() < MAILBOX_MAX {
                        entry.asks += 1;
                        entry.asked_at = now;
                        self.outgoing.push_back(InterestCommand::NeedPage {
                            shard,
                            key: entry.key.clone(),
                            wanted: Arc::clone(&entry.wanted),
                        });
                    }
                }
            }
        }
        for index in forsaken {
            self.remove_channel(index);
        }
    }

    fn report(&mut self) {
        if let Some(gateway) = &self.gateway_metrics {
            gateway.report(&self.shared.census);
        }
        self.metrics.channels.set(self.channels.len() as f64);
        self.metrics.history_bytes.set(self.history_bytes as f64);
        self.metrics
            .subscriptions
            .set(self.subscription_count as f64);
        let counts = self.outboxes.take_counts();
        self.metrics.frames.increment(counts.frames_pushed);
        self.metrics.frames_skipped.increment(counts.frames_skipped);
        self.metrics.writes.increment(counts.writes);
        self.metrics.written_bytes.increment(counts.written_bytes);
    }

    /// The gateway stops: everybody is sent away, to come back elsewhere.
    pub(super) fn drain(&mut self) {
        self.is_draining = true;
        let sessions: Vec<SessionId> = self
            .sessions
            .iter()
            .map(|(key, session)| SessionId {
                index: SessionIndex(key as u32),
                serial: session.serial,
            })
            .collect();
        for id in sessions {
            self.close(id, CloseCode::ShuttingDown, "the server is shutting down");
        }
    }
}

fn end(session: &mut Session) {
    session.phase = SessionPhase::Ended;
    session.wake();
}
