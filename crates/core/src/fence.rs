//! What a SQL result already contains, so that it can be joined to the change stream.

use crate::change::Commit;
use crate::position::Lsn;

/// A database transaction id, widened to 64 bits so that it never wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Xid(u64);

impl Xid {
    /// Wraps a raw number.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The raw number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A Postgres transaction snapshot: `xmin:xmax:xip` of `pg_current_snapshot()`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionSnapshot {
    /// Every transaction below is visible.
    pub xmin: Xid,
    /// Every transaction at or above is not.
    pub xmax: Xid,
    /// Those in between that were still in progress, ascending.
    pub in_progress: Vec<Xid>,
}

impl TransactionSnapshot {
    /// Whether the rows read under this snapshot include the work of `xid`.
    #[must_use]
    pub fn sees(&self, xid: Xid) -> bool {
        xid < self.xmin || (xid < self.xmax && self.in_progress.binary_search(&xid).is_err())
    }
}

/// What a snapshot already contains.
///
/// An LSN alone cannot say this for Postgres: the commit record is written before the transaction
/// becomes visible, so a commit below the snapshot's LSN may be missing from its rows. There the
/// transaction snapshot is kept and asked by transaction id. SQLite has one writer at a time, so
/// there the rows are a plain prefix of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fence {
    /// All commits up to and including this one, and no other.
    Prefix(Lsn),
    /// The commits that the transaction snapshot sees.
    Visible {
        /// Who is visible.
        snapshot: TransactionSnapshot,
        /// Insert position read after the snapshot: no visible commit lies above it.
        horizon: Lsn,
    },
}

impl Fence {
    /// Whether the snapshot's rows include this commit. The one place where that is decided.
    #[must_use]
    pub fn contains(&self, commit: &Commit) -> bool {
        match self {
            Self::Prefix(lsn) => commit.lsn <= *lsn,
            Self::Visible { snapshot, .. } => snapshot.sees(commit.xid),
        }
    }

    /// The stream must have passed this before the snapshot may be installed: from there on, no
    /// commit of the stream can be in the snapshot.
    #[must_use]
    pub const fn horizon(&self) -> Lsn {
        match self {
            Self::Prefix(lsn) => *lsn,
            Self::Visible { horizon, .. } => *horizon,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(lsn: u64, xid: u64) -> Commit {
        Commit {
            lsn: Lsn::new(lsn),
            xid: Xid::new(xid),
            committed_at_micros: 0,
        }
    }

    /// A prefix fence includes its own commit and nothing after it.
    #[test]
    fn prefix_is_inclusive() {
        let fence = Fence::Prefix(Lsn::new(10));
        assert!(fence.contains(&commit(10, 0)));
        assert!(!fence.contains(&commit(11, 0)));
        assert_eq!(fence.horizon(), Lsn::new(10));
    }

    /// A commit with a low LSN that was still in progress is not in the snapshot.
    #[test]
    fn visibility_is_not_lsn_order() {
        let snapshot = TransactionSnapshot {
            xmin: Xid::new(5),
            xmax: Xid::new(9),
            in_progress: vec![Xid::new(5), Xid::new(7)],
        };
        let fence = Fence::Visible {
            snapshot,
            horizon: Lsn::new(100),
        };
        assert!(fence.contains(&commit(90, 4)));
        assert!(!fence.contains(&commit(1, 5)));
        assert!(fence.contains(&commit(99, 6)));
        assert!(!fence.contains(&commit(2, 7)));
        assert!(!fence.contains(&commit(3, 9)));
    }
}
