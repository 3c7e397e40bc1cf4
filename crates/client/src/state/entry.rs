//! One subscription of a client: its page, and how far the server has answered for it.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use tidegate_core::Lsn;
use tidegate_protocol::ErrorCode;
use tokio::sync::oneshot;

use super::write;
use crate::error::Fault;
use crate::live_page::{LivePage, PageDiff, PageError, PagePosition, PageSnapshot};
use crate::mailbox::{Delivery, Mailbox, Update};
use crate::subscription::{Format, Slow, Subscribe};

/// Pages that did not fit, in a row, before the subscription is given up. One can be an accident of
/// the way; this many are a server and a client that do not understand each other.
const MISFITS_MAX: u32 = 5;

/// Times in a row a server may say "later" before the reader hears of it: about three minutes.
const REFUSALS_MAX: u32 = 10;

/// How far the server has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was sent on this connection, or it ended.
    Idle,
    /// Sent; not acknowledged. Frames that come now are of an earlier ask, so they are passed over.
    Asked(Start),
    /// Acknowledged; no page yet.
    Accepted(Start),
    /// The page stands and diffs apply to it.
    Live,
    /// The server said "later".
    Waiting,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Fresh,
    Resume,
}

/// What is to be done after a frame.
pub(super) enum Next {
    GoOn,
    AskAgain,
    End(Fault),
}

struct PendingSync {
    lsn: Lsn,
    reply: oneshot::Sender<Result<u64, Fault>>,
}

pub(super) struct Entry {
    hash_id: String,
    subscribe: Subscribe,
    mailbox: Arc<Mailbox>,
    phase: Phase,
    page: LivePage,
    /// Updates the page has seen.
    seq: u64,
    misfits: u32,
    refusals: u32,
    syncs: Vec<PendingSync>,
}

impl Entry {
    pub(super) fn new(hash_id: String, subscribe: Subscribe, mailbox: Arc<Mailbox>) -> Self {
        Self {
            hash_id,
            subscribe,
            mailbox,
            phase: Phase::Idle,
            page: LivePage::default(),
            seq: 0,
            misfits: 0,
            refusals: 0,
            syncs: Vec::new(),
        }
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.mailbox.is_abandoned()
    }

    pub(super) fn retry_attempt(&self) -> Option<u32> {
        (self.phase == Phase::Waiting).then(|| self.refusals.saturating_sub(1))
    }

    /// The frame that subscribes, from where the page stands.
    pub(super) fn ask(&mut self) -> String {
        let resume = self.page.position();
        self.phase = Phase::Asked(resume.map_or(Start::Fresh, |_| Start::Resume));
        write(&SubscribeFrame {
            op: "subscribe",
            table: &self.subscribe.table,
            hash_id: &self.hash_id,
            query: &self.subscribe.query,
            resume: resume.map(PagePosition::as_str),
            format: match self.subscribe.format {
                Format::Json => None,
                Format::Binary => Some("binary"),
            },
            slow: match self.subscribe.slow {
                Slow::Reset => None,
                Slow::Close => Some("close"),
            },
        })
    }

    pub(super) fn unsubscribe(&self, hash_id: &str) -> String {
        write(&UnsubscribeFrame {
            op: "unsubscribe",
            table: &self.subscribe.table,
            hash_id,
        })
    }

    pub(super) fn lost(&mut self) {
        self.phase = Phase::Idle;
    }

    /// The server took the query: the waiting questions about commits can be asked now.
    pub(super) fn accepted(&mut self) -> Vec<String> {
        let Phase::Asked(start) = self.phase else {
            return Vec::new();
        };
        self.phase = Phase::Accepted(start);
        self.syncs.retain(|sync| !sync.reply.is_closed());
        let lsns = self.syncs.iter().map(|sync| sync.lsn);
        lsns.map(|lsn| self.sync_frame(lsn)).collect()
    }

    pub(super) fn snapshot(&mut self, snapshot: PageSnapshot) -> Next {
        match self.phase {
            Phase::Accepted(_) | Phase::Live => {}
            Phase::Idle | Phase::Asked(_) | Phase::Waiting => return Next::GoOn,
        }
        self.page.replace(&snapshot);
        self.phase = Phase::Live;
        self.refusals = 0;
        self.deliver(Update::Snapshot(Arc::new(snapshot)));
        Next::GoOn
    }

    pub(super) fn resumed(&mut self, position: PagePosition, lsn: Option<Lsn>) -> Next {
        match self.phase {
            Phase::Accepted(Start::Resume) => {}
            Phase::Accepted(Start::Fresh) | Phase::Live => {
                return self.misfit("a resume was confirmed that was not asked for");
            }
            Phase::Idle | Phase::Asked(_) | Phase::Waiting => return Next::GoOn,
        }
        self.page.resume(&position, lsn);
        self.phase = Phase::Live;
        self.refusals = 0;
        self.deliver(Update::Resumed { position, lsn });
        Next::GoOn
    }

    pub(super) fn diff(&mut self, diff: PageDiff) -> Next {
        match self.phase {
            Phase::Live => {}
            Phase::Accepted(_) => return self.misfit(&PageError::NoPage.to_string()),
            Phase::Idle | Phase::Asked(_) | Phase::Waiting => return Next::GoOn,
        }
        if let Err(error) = self.page.apply(&diff) {
            return self.misfit(&error.to_string());
        }
        self.misfits = 0;
        self.deliver(Update::Diff(diff));
        Next::GoOn
    }

    /// The page and the server's frames do not fit each other: never go on from a guess.
    fn misfit(&mut self, why: &str) -> Next {
        self.page = LivePage::default();
        self.misfits += 1;
        tracing::warn!(
            hash_id = self.hash_id,
            why,
            "page dropped, subscribing anew"
        );
        if self.misfits < MISFITS_MAX {
            return Next::AskAgain;
        }
        let message = format!("the server's frames do not fit the page: {why}");
        Next::End(Fault::new("bad_page", message, false))
    }

    /// Asks whether a commit was passed: at once if the server knows the subscription, else later.
    pub(super) fn sync(
        &mut self,
        lsn: Lsn,
        reply: oneshot::Sender<Result<u64, Fault>>,
    ) -> Option<String> {
        self.syncs.retain(|sync| !sync.reply.is_closed());
        self.syncs.push(PendingSync { lsn, reply });
        match self.phase {
            Phase::Accepted(_) | Phase::Live => Some(self.sync_frame(lsn)),
            Phase::Idle | Phase::Asked(_) | Phase::Waiting => None,
        }
    }

    pub(super) fn synced(&mut self, lsn: Lsn) -> Next {
        // Before the page stands, it can only be the answer to an earlier ask.
        if self.phase == Phase::Live {
            for sync in self.syncs.extract_if(.., |sync| sync.lsn <= lsn) {
                // Whoever asked may have given up.
                let _ = sync.reply.send(Ok(self.seq));
            }
        }
        Next::GoOn
    }

    pub(super) fn failed(&mut self, fault: Fault) -> Next {
        let code = ErrorCode::from_text(&fault.code);
        match code {
            // The frame does not say which one; the server counts each from when it was asked.
            Some(ErrorCode::SyncTimeout | ErrorCode::BadLsn) => {
                if !self.syncs.is_empty() {
                    let first = self.syncs.remove(0);
                    // Whoever asked may have given up.
                    let _ = first.reply.send(Err(fault));
                }
                Next::GoOn
            }
            // Said of a sync, and it means that no more diffs will come: ask for them.
            Some(ErrorCode::UnknownSubscription) if self.misfits + 1 < MISFITS_MAX => {
                self.misfits += 1;
                Next::AskAgain
            }
            // The server cannot even read it: a position of some other system. Start without.
            Some(ErrorCode::BadPosition) if self.page.position().is_some() => {
                self.page = LivePage::default();
                Next::AskAgain
            }
            Some(_) | None if fault.retry && self.refusals < REFUSALS_MAX => {
                self.refusals += 1;
                self.phase = Phase::Waiting;
                tracing::debug!(
                    hash_id = self.hash_id,
                    code = fault.code,
                    "told to come back"
                );
                Next::GoOn
            }
            Some(_) | None => Next::End(fault),
        }
    }

    fn fail_syncs(&mut self, fault: &Fault) {
        for sync in self.syncs.drain(..) {
            // Whoever asked may have given up.
            let _ = sync.reply.send(Err(fault.clone()));
        }
    }

    pub(super) fn end(mut self, fault: Option<Fault>) {
        let why = "the subscription has ended";
        let closed = || Fault::new("unknown_subscription", why, false);
        let reason = fault.clone().unwrap_or_else(closed);
        self.fail_syncs(&reason);
        let seq = self.seq + 1;
        let last = fault.map(Update::Error);
        self.mailbox
            .end(last.map(|update| Delivery { seq, update }));
    }

    fn deliver(&mut self, update: Update) {
        self.seq += 1;
        let seq = self.seq;
        self.mailbox.push(Delivery { seq, update }, &self.page);
    }

    fn sync_frame(&self, lsn: Lsn) -> String {
        write(&SyncFrame {
            op: "sync",
            hash_id: &self.hash_id,
            lsn: &lsn.to_string(),
        })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SubscribeFrame<'a> {
    op: &'static str,
    table: &'a str,
    hash_id: &'a str,
    query: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    resume: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slow: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UnsubscribeFrame<'a> {
    op: &'static str,
    table: &'a str,
    hash_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SyncFrame<'a> {
    op: &'static str,
    hash_id: &'a str,
    lsn: &'a str,
}
