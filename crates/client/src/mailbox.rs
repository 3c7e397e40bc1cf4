//! The bounded queue between the owner of a connection and the reader of one subscription.
//!
//! Data going down never waits, so a full queue is not waited for: what is in it is merged into one
//! snapshot of the page as it is now. A channel cannot do that, for its sender cannot take back
//! what was sent; hence a lock. It guards the queue alone and is held for a push or a pop.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::error::Fault;
use crate::live_page::{LivePage, PageDiff, PagePosition, PageSnapshot, SnapshotReason};
use tidegate_core::Lsn;

/// What happened to a page. It has been applied to [`crate::Subscription::page`] when it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// The page was replaced.
    Snapshot(Arc<PageSnapshot>),
    /// After a reconnect: the page was complete, and its missing diffs follow.
    Resumed {
        /// Where the page stands.
        position: PagePosition,
        /// The commit it stands at, when the server said.
        lsn: Option<Lsn>,
    },
    /// The page changed.
    Diff(PageDiff),
    /// The subscription has ended. Nothing follows.
    Error(Fault),
}

impl Update {
    /// Does to the reader's page what it did to the owner's.
    pub(crate) fn apply_to(&self, page: &mut LivePage) {
        match self {
            Self::Snapshot(snapshot) => page.replace(snapshot),
            Self::Resumed { position, lsn } => page.resume(position, *lsn),
            Self::Diff(diff) => {
                let applied = page.apply(diff);
                applied.expect("the same diff fitted the same page before it was queued");
            }
            Self::Error(_) => {}
        }
    }
}

/// An update, and how many the page had seen when it was made.
pub(crate) struct Delivery {
    pub(crate) seq: u64,
    pub(crate) update: Update,
}

#[derive(Default)]
struct Queue {
    deliveries: VecDeque<Delivery>,
    ended: bool,
}

pub(crate) struct Mailbox {
    queue: Mutex<Queue>,
    arrived: Notify,
    updates_max: usize,
    abandoned: AtomicBool,
}

impl Mailbox {
    /// A queue of at most `updates_max` updates; at least one.
    pub(crate) fn new(updates_max: usize) -> Self {
        Self {
            queue: Mutex::default(),
            arrived: Notify::new(),
            updates_max: updates_max.max(1),
            abandoned: AtomicBool::new(false),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A panic while it was held cannot have left the queue half changed: each use is one call.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an update that `page` has seen already; merges when there is no room.
    pub(crate) fn push(&self, delivery: Delivery, page: &LivePage) {
        let mut queue = self.queue();
        if queue.deliveries.len() < self.updates_max {
            queue.deliveries.push_back(delivery);
        } else {
            let merged = page.to_snapshot(SnapshotReason::Reader);
            let merged = merged.expect("a page that saw an update has a position");
            queue.deliveries.clear();
            queue.deliveries.push_back(Delivery {
                seq: delivery.seq,
                update: Update::Snapshot(Arc::new(merged)),
            });
        }
        drop(queue);
        self.arrived.notify_one();
    }

    /// Ends the queue, with an error or without. What is in it can still be read.
    pub(crate) fn end(&self, last: Option<Delivery>) {
        let mut queue = self.queue();
        if !queue.ended {
            queue.deliveries.extend(last);
            queue.ended = true;
        }
        drop(queue);
        self.arrived.notify_one();
    }

    /// Whether the reader has gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.queue().deliveries.clear();
    }

    /// The next update, if one is there.
    pub(crate) fn try_take(&self) -> Option<Delivery> {
        self.queue().deliveries.pop_front()
    }

    /// The next update; `None` when the queue has ended. Nothing is lost when the wait is given up.
    pub(crate) async fn take(&self) -> Option<Delivery> {
        loop {
            let arrived = self.arrived.notified();
            {
                let mut queue = self.queue();
                let next = queue.deliveries.pop_front();
                if next.is_some() || queue.ended {
                    return next;
                }
            }
            arrived.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(rows: usize) -> LivePage {
        let mut page = LivePage::default();
        page.replace(&PageSnapshot {
            rows: (0..rows)
                .map(|at| crate::PageRow::new(&at.to_string(), "{}"))
                .collect(),
            position: PagePosition::new(&format!("1-{rows}")),
            lsn: None,
            reason: SnapshotReason::Subscribe,
        });
        page
    }

    fn diff(seq: u64) -> Delivery {
        let update = Update::Diff(PageDiff {
            changes: Vec::new(),
            position: PagePosition::new("1-1"),
            lsn: None,
        });
        Delivery { seq, update }
    }

    /// A reader that does not read costs a bounded queue; it then gets the page as it is now, once,
    /// and what came after it.
    #[tokio::test]
    async fn a_full_queue_becomes_one_snapshot() {
        let mailbox = Mailbox::new(3);
        for seq in 1..=4 {
            mailbox.push(diff(seq), &page(4));
        }
        mailbox.push(diff(5), &page(5));
        mailbox.end(None);

        let merged = mailbox.take().await.unwrap();
        assert_eq!(merged.seq, 4);
        let expect = page(4).to_snapshot(SnapshotReason::Reader).unwrap();
        assert_eq!(merged.update, Update::Snapshot(Arc::new(expect)));
        assert_eq!(mailbox.take().await.unwrap().seq, 5);
        assert!(mailbox.take().await.is_none());
        assert!(mailbox.try_take().is_none());
    }

    /// An update that arrives while the reader waits wakes it.
    #[tokio::test]
    async fn an_arrival_wakes_the_reader() {
        let mailbox = Mailbox::new(2);
        let (taken, ()) = tokio::join!(mailbox.take(), async {
            tokio::task::yield_now().await;
            mailbox.push(diff(1), &page(1));
        });
        assert_eq!(taken.unwrap().seq, 1);
        let (taken, ()) = tokio::join!(mailbox.take(), async {
            tokio::task::yield_now().await;
            mailbox.end(None);
        });
        assert!(taken.is_none());
    }
}
