//! Changes of a table that pages waiting for their rows will have to look at.
//!
//! One log serves all the requests of a table. That is exact, because what a request does not need is
//! in its fence: a change older than the request's share was shown visible before it was made. So the
//! log only has to reach back far enough, never to start at the right place.

use std::collections::VecDeque;

use tidegate_core::Lsn;

use crate::recent::Streamed;

/// Entries below which trimming is not worth a walk over the requests.
const TRIM_MIN: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    streamed: VecDeque<Streamed>,
    rows: usize,
    trim_at: usize,
}

impl Pending {
    pub(crate) fn push(&mut self, streamed: Streamed) {
        self.rows += streamed.weight();
        self.streamed.push_back(streamed);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Streamed> {
        self.streamed.iter()
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn wants_trim(&self) -> bool {
        self.streamed.len() >= self.trim_at.max(TRIM_MIN)
    }

    /// Drops what no request needs, and waits with the next trim until the rest has doubled.
    pub(crate) fn trim(&mut self, needed_from: Lsn) {
        while let Some(oldest) = self.streamed.front() {
            if oldest.commit.lsn >= needed_from {
                break;
            }
            self.rows -= oldest.weight();
            self.streamed.pop_front();
        }
        self.trim_at = self.streamed.len() * 2;
    }
}
