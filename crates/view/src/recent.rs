//! Recent changes: those that a snapshot taken from now on may still lack.
//!
//! Postgres streams a transaction before any snapshot can see it: the commit record is written
//! first, and with a synchronous standby the two can be seconds apart. So a page that is opened
//! (or refilled *because of* such a change) must look at changes that were streamed before it
//! asked for rows. Each change is kept until a heartbeat, which carries the database's own
//! snapshot, shows it visible; a snapshot taken after that heartbeat was processed sees it too.
//! Where commits are visible in order the same rule keeps nothing beyond the next heartbeat.

use std::collections::VecDeque;
use std::sync::Arc;

use tidegate_core::{
    Commit, Fence, Heartbeat, Lsn, TableChange, TableName, TableSchema, TenantId, Xid,
};

use crate::net::{NetChange, net_changes};

/// What one transaction did to one table.
#[derive(Debug, Clone)]
pub(crate) struct Streamed {
    pub(crate) commit: Commit,
    pub(crate) deed: Deed,
}

/// See [`Streamed`].
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    /// To the rows of one tenant.
    Change(Arc<TableChange>),
    /// To all tenants' rows, nobody knows what.
    Reset(TableName),
}

impl Streamed {
    /// What it counts for against a bound.
    pub(crate) fn weight(&self) -> usize {
        match &self.deed {
            Deed::Change(change) => change.rows.as_ref().map_or(1, |rows| rows.len().max(1)),
            Deed::Reset(_) => 1,
        }
    }

    /// What it left of each row; `None` when that cannot be said.
    pub(crate) fn net(&self, schema: &TableSchema) -> Option<Arc<[NetChange]>> {
        match &self.deed {
            Deed::Change(change) => net_changes(schema, change).map(Arc::from),
            Deed::Reset(_) => None,
        }
    }

    fn concerns(&self, tenant: &TenantId, table: &TableName) -> bool {
        match &self.deed {
            Deed::Change(change) => change.table == *table && change.tenant == *tenant,
            Deed::Reset(of) => of == table,
        }
    }
}

/// Whether [`Recent`] holds all that a snapshot may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It does; a page may be opened.
    Whole,
    /// Some of it was forgotten: up to this transaction and this commit.
    Short { xid_max: Xid, lsn_max: Lsn },
}

/// See the module. One for all tables of a partition.
#[derive(Debug)]
pub(crate) struct Recent {
    streamed: VecDeque<Streamed>,
    rows: usize,
    rows_max: usize,
    reach: Reach,
    version: u64,
}

impl Recent {
    pub(crate) fn new(rows_max: usize) -> Self {
        Self {
            streamed: VecDeque::new(),
            rows: 0,
            rows_max,
            reach: Reach::Whole,
            version: 0,
        }
    }

    /// Differs whenever something was dropped in between.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn reach(&self) -> Reach {
        self.reach
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The oldest change kept: a successor must read the stream from here.
    pub(crate) fn oldest(&self) -> Option<Lsn> {
        self.streamed.front().map(|streamed| streamed.commit.lsn)
    }

    /// Keeps one more, in commit order.
    pub(crate) fn record(&mut self, streamed: Streamed) {
        self.rows += streamed.weight();
        self.streamed.push_back(streamed);
        while self.rows > self.rows_max {
            let Some(oldest) = self.streamed.pop_front() else {
                return;
            };
            self.rows -= oldest.weight();
            self.forget(&oldest.commit);
        }
    }

    fn forget(&mut self, commit: &Commit) {
        self.version += 1;
        let (xid, lsn) = (commit.xid, commit.lsn);
        self.reach = match self.reach {
            Reach::Whole => Reach::Short {
                xid_max: xid,
                lsn_max: lsn,
            },
            Reach::Short { xid_max, lsn_max } => Reach::Short {
                xid_max: xid_max.max(xid),
                lsn_max: lsn_max.max(lsn),
            },
        };
    }

    /// Drops what a heartbeat shows visible. A transaction that is held back does not hold others.
    pub(crate) fn advance(&mut self, heartbeat: &Heartbeat) {
        let seen = match &heartbeat.visible {
            Some(snapshot) => Fence::Visible {
                snapshot: snapshot.clone(),
                horizon: heartbeat.lsn,
            },
            None => Fence::Prefix(heartbeat.lsn),
        };
        self.version += 1;
        self.streamed
            .retain(|streamed| !seen.contains(&streamed.commit));
        self.rows = self.streamed.iter().map(Streamed::weight).sum();
        if let Reach::Short { xid_max, lsn_max } = self.reach {
            let all_seen = match &heartbeat.visible {
                Some(snapshot) => xid_max < snapshot.xmin,
                None => lsn_max <= heartbeat.lsn,
            };
            if all_seen {
                self.reach = Reach::Whole;
            }
        }
    }

    /// Those of one tenant's table, in commit order.
    pub(crate) fn of(
        &self,
        tenant: &TenantId,
        table: &TableName,
    ) -> impl Iterator<Item = &Streamed> {
        let concerns = move |streamed: &&Streamed| streamed.concerns(tenant, table);
        self.streamed.iter().filter(concerns)
    }

    /// Forgets everything: the stream was broken off, and what follows is a new one. A snapshot
    /// taken after a stream was made contains every commit that the stream does not.
    pub(crate) fn clear(&mut self) {
        let version = self.version + 1;
        *self = Self::new(self.rows_max);
        self.version = version;
    }
}

#[cfg(test)]
mod tests {
    use tidegate_core::TransactionSnapshot;

    use super::*;

    fn streamed(lsn: u64, xid: u64, table: &str) -> Streamed {
        let commit = Commit {
            lsn: Lsn::new(lsn),
            xid: Xid::new(xid),
            committed_at_micros: 0,
        };
        let change = TableChange {
            tenant: TenantId::parse("acme").expect("valid"),
            table: TableName::parse(table).expect("valid"),
            schema: 1,
            rows: Some(Vec::new()),
        };
        let deed = Deed::Change(Arc::new(change));
        Streamed { commit, deed }
    }

    fn heartbeat(lsn: u64, visible: Option<(u64, u64, &[u64])>) -> Heartbeat {
        let xid = |raw: &u64| Xid::new(*raw);
        Heartbeat {
            lsn: Lsn::new(lsn),
            at_micros: 0,
            visible: visible.map(|(xmin, xmax, in_progress)| TransactionSnapshot {
                xmin: Xid::new(xmin),
                xmax: Xid::new(xmax),
                in_progress: in_progress.iter().map(xid).collect(),
            }),
        }
    }

    fn kept(recent: &Recent) -> Vec<u64> {
        let lsn = |streamed: &Streamed| streamed.commit.lsn.get();
        recent.streamed.iter().map(lsn).collect()
    }

    /// A transaction stays until it is visible, however many after it are, and holds none of them.
    #[test]
    fn keeps_what_is_not_visible() {
        let mut recent = Recent::new(100);
        for (lsn, xid) in [(10, 5), (20, 7), (30, 6)] {
            recent.record(streamed(lsn, xid, "orders"));
        }
        recent.advance(&heartbeat(40, Some((5, 8, &[5]))));
        assert_eq!(kept(&recent), [10]);
        assert_eq!(recent.oldest(), Some(Lsn::new(10)));
        recent.advance(&heartbeat(50, Some((8, 8, &[]))));
        assert!(kept(&recent).is_empty());
        recent.record(streamed(60, 9, "orders"));
        recent.record(streamed(61, 10, "orders"));
        recent.advance(&heartbeat(60, None));
        assert_eq!(kept(&recent), [61]);
    }

    /// Past the bound the oldest are forgotten, which is remembered until all of them must be
    /// visible.
    #[test]
    fn forgetting_is_remembered() {
        let mut recent = Recent::new(2);
        for (lsn, xid) in [(10, 9), (20, 7), (30, 8), (40, 6)] {
            recent.record(streamed(lsn, xid, "orders"));
        }
        assert_eq!(kept(&recent), [30, 40]);
        assert_ne!(recent.reach(), Reach::Whole);
        recent.advance(&heartbeat(50, Some((9, 12, &[9]))));
        assert_ne!(recent.reach(), Reach::Whole);
        recent.advance(&heartbeat(60, Some((10, 12, &[10]))));
        assert_eq!(recent.reach(), Reach::Whole);
    }

    /// A table is given its own changes only, and those that concern all tenants.
    #[test]
    fn tables_are_told_apart() {
        let mut recent = Recent::new(100);
        recent.record(streamed(10, 1, "orders"));
        recent.record(streamed(20, 2, "tickets"));
        let tenant = TenantId::parse("acme").expect("valid");
        let table = TableName::parse("tickets").expect("valid");
        assert_eq!(recent.of(&tenant, &table).count(), 1);
        let other = TenantId::parse("other").expect("valid");
        assert_eq!(recent.of(&other, &table).count(), 0);
        let reset = Deed::Reset(table.clone());
        let streamed = streamed(30, 3, "orders");
        recent.record(Streamed {
            deed: reset,
            ..streamed
        });
        assert_eq!(recent.of(&tenant, &table).count(), 2);
        assert_eq!(recent.of(&other, &table).count(), 1);
        let orders = TableName::parse("orders").expect("valid");
        assert_eq!(recent.of(&other, &orders).count(), 0);
    }
}
