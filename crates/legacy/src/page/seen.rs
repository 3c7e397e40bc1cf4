//! The commits whose diffs were passed on, as far back as memory goes.

use std::collections::VecDeque;

use tidegate_core::Lsn;

/// Commits remembered: what a stream processor repeats after it was restarted is younger.
const COMMITS_MAX: usize = 1_024;

/// Whether a commit was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// It is above all that was seen.
    New,
    /// It was seen.
    Known,
    /// It is below what was seen, and was not seen itself; or nobody remembers.
    Missed,
}

/// Commits in rising order.
#[derive(Debug, Default)]
pub(super) struct Seen {
    commits: VecDeque<Lsn>,
}

impl Seen {
    pub(super) fn look(&self, lsn: Lsn) -> Sight {
        if self.commits.back().is_none_or(|newest| *newest < lsn) {
            return Sight::New;
        }
        match self.commits.binary_search(&lsn) {
            Ok(_) => Sight::Known,
            Err(_) => Sight::Missed,
        }
    }

    /// Remembers a commit that is [new](Sight::New).
    pub(super) fn note(&mut self, lsn: Lsn) {
        debug_assert_eq!(self.look(lsn), Sight::New, "the caller has looked");
        self.commits.push_back(lsn);
        if self.commits.len() > COMMITS_MAX {
            self.commits.pop_front();
        }
    }
}
