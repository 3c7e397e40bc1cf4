//! What the pages of a table wait for: their rows, the stream, and the changes to be applied to
//! the rows.
//!
//! One log of changes serves all the reads of a table. That is exact, because what a read does
//! not need is in its fence: a change older than the read's share was shown visible before the
//! read was asked for. So the log only has to reach back far enough, never to start at the right
//! place.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use tidegate_core::{Commit, Lsn, TableSchema, TenantId};

use crate::effect::PageId;
use crate::net::NetChange;
use crate::recent::Recent;

/// Entries below which trimming is not worth a walk over the pages.
const TRIM_MIN: usize = 1_024;

/// One transaction's change of the table, made ready to be applied.
#[derive(Debug)]
pub(crate) struct PendingChange {
    pub(crate) commit: Commit,
    /// What it left of each row; `None` when it cannot be read.
    pub(crate) net: Option<Arc<[NetChange]>>,
}

impl PendingChange {
    fn weight(&self) -> usize {
        self.net.as_ref().map_or(1, |net| net.len().max(1))
    }
}

/// A page whose rows have come, and what the stream has to pass before they are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Waiting {
    pub(crate) horizon: Lsn,
    pub(crate) page: PageId,
    pub(crate) attempt: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Changes since the earliest read under way was asked for, and what was recent then.
    log: VecDeque<PendingChange>,
    rows: usize,
    rows_max: usize,
    trim_at: usize,
    /// Reads that were asked for and are not installed.
    reads: usize,
    /// Pages that have gone or have asked again are still in here; their names and attempts tell.
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// From where on a read asked for now needs the log, and the state of `Recent` for which that
    /// holds.
    needed: Option<(u64, Lsn)>,
}

impl Pending {
    pub(crate) fn new(rows_max: usize) -> Self {
        Self {
            log: VecDeque::new(),
            rows: 0,
            rows_max,
            trim_at: TRIM_MIN,
            reads: 0,
            waiting: BinaryHeap::new(),
            needed: None,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn log(&self) -> impl Iterator<Item = &PendingChange> {
        self.log.iter()
    }

    /// Notes that a read is asked for at `position`. Gives the first commit that it may need.
    pub(crate) fn begin_read(
        &mut self,
        recent: &Recent,
        tenant: &TenantId,
        schema: &TableSchema,
        position: Lsn,
    ) -> Lsn {
        let table = schema.table();
        if self.reads == 0 {
            self.clear_log();
            for streamed in recent.of(tenant, table) {
                self.push(streamed.commit, streamed.net(schema));
            }
        }
        self.reads += 1;
        match self.needed {
            Some((version, needed_from)) if version == recent.version() => needed_from,
            Some(_) | None => {
                let next = Lsn::new(position.get().saturating_add(1));
                let oldest = recent.of(tenant, table).next();
                let needed_from = oldest.map_or(next, |streamed| streamed.commit.lsn);
                self.needed = Some((recent.version(), needed_from));
                needed_from
            }
        }
    }

    /// Notes that a read is installed or given up; after the last one no change is needed.
    pub(crate) fn end_read(&mut self) {
        self.reads -= 1;
        if self.reads == 0 {
            self.clear_log();
        }
    }

    /// Forgets all reads.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.rows_max);
    }

    fn clear_log(&mut self) {
        self.log.clear();
        (self.rows, self.trim_at) = (0, TRIM_MIN);
    }

    /// Keeps a change for the reads under way, if there are any.
    pub(crate) fn keep(&mut self, commit: Commit, net: Option<&Arc<[NetChange]>>) {
        if self.reads > 0 {
            self.push(commit, net.cloned());
        }
    }

    fn push(&mut self, commit: Commit, net: Option<Arc<[NetChange]>>) {
        let change = PendingChange { commit, net };
        self.rows += change.weight();
        self.log.push_back(change);
    }

    pub(crate) fn is_over_bound(&self) -> bool {
        self.rows > self.rows_max
    }

    pub(crate) fn wants_trim(&self) -> bool {
        self.log.len() >= self.trim_at
    }

    /// Drops what no read needs, and waits with the next trim until the rest has doubled.
    pub(crate) fn trim(&mut self, needed_from: Lsn) {
        while let Some(oldest) = self.log.front() {
            if oldest.commit.lsn >= needed_from {
                break;
            }
            self.rows -= oldest.weight();
            self.log.pop_front();
        }
        self.trim_at = TRIM_MIN.max(self.log.len() * 2);
    }

    pub(crate) fn wait(&mut self, waiting: Waiting) {
        self.waiting.push(Reverse(waiting));
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes a page that need not wait any longer once the stream has come to `position`.
    pub(crate) fn take_ready(&mut self, position: Lsn) -> Option<Waiting> {
        let Reverse(next) = self.waiting.peek()?;
        if next.horizon > position {
            return None;
        }
        self.waiting.pop().map(|Reverse(waiting)| waiting)
    }
}
