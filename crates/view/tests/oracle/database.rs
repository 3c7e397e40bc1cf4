//! A database in which, as in Postgres, a commit is two events: the commit record, which fixes a
//! transaction's place in the stream, and later its becoming visible to new snapshots.
//!
//! Rows are locked from the first to the second. A heartbeat likewise takes its snapshot first
//! and its place in the stream later. In the `Prefix` kind both are one event, as in SQLite.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::{IteratorRandom, SliceRandom};
use tidegate_core::{
    Commit, Fence, Heartbeat, Lsn, Row, RowChange, TableChange, TableSchema, TenantId,
    TransactionSnapshot, Xid,
};

use crate::generate;
use crate::model::{Table, key_text};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Prefix,
    Visible,
}

/// What transactions do, mostly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// Rows come, change and go alike.
    Balanced,
    /// Rows go, as from a queue that is worked off.
    Drain,
}

impl Load {
    /// Keys that rows may have: few, so that rows come back under a key that was deleted.
    fn keys(self) -> i64 {
        match self {
            Self::Balanced => generate::KEYS,
            Self::Drain => generate::KEYS * 4,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Event {
    Changes(Commit, TableChange),
    Heartbeat(Heartbeat),
}

#[derive(Debug)]
struct Running {
    xid: Xid,
    change: TableChange,
    locks: Vec<String>,
    is_committed: bool,
}

#[derive(Debug)]
pub(crate) struct Database {
    kind: Kind,
    load: Load,
    pub(crate) schema: Arc<TableSchema>,
    pub(crate) tenant: TenantId,
    lsn: u64,
    next_xid: u64,
    running: Vec<Running>,
    /// What the commit records say, visible or not.
    recorded: Table,
    log: Vec<(Commit, TableChange)>,
    pub(crate) stream: VecDeque<Event>,
    heartbeat: Option<TransactionSnapshot>,
}

/// A read that has taken its snapshot but not yet its horizon.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    snapshot: TransactionSnapshot,
    prefix: Lsn,
}

impl Database {
    pub(crate) fn new(kind: Kind, load: Load, rng: &mut SmallRng) -> Self {
        Self {
            kind,
            load,
            schema: generate::schema(rng),
            tenant: TenantId::parse("acme").expect("valid"),
            lsn: 10,
            next_xid: 100,
            running: Vec::new(),
            recorded: Table::default(),
            log: Vec::new(),
            stream: VecDeque::new(),
            heartbeat: None,
        }
    }

    /// Commits a row for most keys at once.
    pub(crate) fn fill(&mut self, rng: &mut SmallRng) {
        let rows = (0..self.load.keys() * 3 / 4)
            .map(|id| RowChange::Upsert {
                old_key: None,
                row: generate::row(&self.schema, id, rng),
            })
            .collect();
        self.running.push(Running {
            xid: Xid::new(self.next_xid),
            change: self.table_change(Some(rows)),
            locks: (0..self.load.keys()).map(|id| self.key(id)).collect(),
            is_committed: false,
        });
        self.next_xid += 1;
        self.commit(0, rng);
    }

    fn next_lsn(&mut self, rng: &mut SmallRng) -> Lsn {
        self.lsn += match self.kind {
            Kind::Prefix => 1,
            Kind::Visible => rng.random_range(1..4),
        };
        Lsn::new(self.lsn)
    }

    pub(crate) fn insert_lsn(&self) -> Lsn {
        Lsn::new(self.lsn)
    }

    /// Starts a transaction that changes rows nobody else has locked.
    pub(crate) fn begin(&mut self, row_max: usize, rng: &mut SmallRng) {
        let mut ids: Vec<i64> = (0..self.load.keys()).collect();
        ids.shuffle(rng);
        let mut rows = Vec::new();
        let mut locks = Vec::new();
        let count = rng.random_range(1..=row_max);
        let mut scratch = self.recorded.clone();
        for id in ids.into_iter().cycle().take(count) {
            let target = rng.random_range(0..self.load.keys());
            let wanted = [id, target].map(|id| self.key(id));
            let taken = |key: &String| self.running.iter().any(|other| other.locks.contains(key));
            let is_new = !scratch.rows.contains_key(&wanted[0]);
            let is_unwanted = is_new && self.load == Load::Drain && rng.random_ratio(9, 10);
            if is_unwanted || wanted.iter().any(taken) {
                continue;
            }
            let change = self.row_change(&scratch, id, target, rng);
            let part = self.table_change(Some(vec![change.clone()]));
            scratch.apply(&self.schema, &part);
            rows.push(change);
            locks.extend(wanted);
        }
        let xid = Xid::new(self.next_xid);
        self.next_xid += 1;
        let change = self.table_change(Some(rows));
        self.running.push(Running {
            xid,
            change,
            locks,
            is_committed: false,
        });
        if self.kind == Kind::Prefix {
            self.commit(self.running.len() - 1, rng);
        }
    }

    fn key(&self, id: i64) -> String {
        let values = generate::key_values(id);
        let key: Vec<_> = self
            .schema
            .key()
            .iter()
            .map(|at| values[*at].clone())
            .collect();
        key_text(&key)
    }

    fn table_change(&self, rows: Option<Vec<RowChange>>) -> TableChange {
        TableChange {
            tenant: self.tenant.clone(),
            table: self.schema.table().clone(),
            schema: self.schema.fingerprint(),
            rows,
        }
    }

    fn row_change(&self, table: &Table, id: i64, target: i64, rng: &mut SmallRng) -> RowChange {
        let Some(old) = table.rows.get(&self.key(id)) else {
            let row = generate::row(&self.schema, id, rng);
            return RowChange::Upsert { old_key: None, row };
        };
        if self.load == Load::Drain && rng.random_ratio(2, 3) {
            let key = self.schema.key_of(old);
            return RowChange::Delete { key };
        }
        let is_free = !table.rows.contains_key(&self.key(target));
        match rng.random_range(0..8) {
            0 | 1 => RowChange::Delete {
                key: self.schema.key_of(old),
            },
            2 if is_free => {
                let mut values = generate::altered(&self.schema, old, rng).to_vec();
                values[..2].clone_from_slice(&generate::key_values(target));
                RowChange::Upsert {
                    old_key: Some(self.schema.key_of(old)),
                    row: Row::new(values),
                }
            }
            _ => RowChange::Upsert {
                old_key: None,
                row: generate::altered(&self.schema, old, rng),
            },
        }
    }

    /// Takes a step of some running transaction: its commit record, its end, or a rollback.
    pub(crate) fn step(&mut self, rng: &mut SmallRng) {
        let Some(at) = (0..self.running.len()).choose(rng) else {
            return;
        };
        let is_rolled_back = rng.random_ratio(1, 10);
        if self.running[at].is_committed || is_rolled_back {
            self.running.remove(at);
        } else {
            self.commit(at, rng);
        }
    }

    fn commit(&mut self, at: usize, rng: &mut SmallRng) {
        let lsn = self.next_lsn(rng);
        let running = &mut self.running[at];
        running.is_committed = true;
        let commit = Commit {
            lsn,
            xid: running.xid,
            committed_at_micros: 0,
        };
        let change = running.change.clone();
        if self.kind == Kind::Prefix {
            self.running.remove(at);
        }
        self.recorded.apply(&self.schema, &change);
        self.stream
            .push_back(Event::Changes(commit, change.clone()));
        self.log.push((commit, change));
    }

    /// Empties the table, unless rows are locked, and fills it anew.
    pub(crate) fn truncate(&mut self, rng: &mut SmallRng) {
        if !self.running.is_empty() {
            return;
        }
        let xid = Xid::new(self.next_xid);
        self.next_xid += 1;
        let change = self.table_change(None);
        // Its lock is on every row, so nobody else may begin before it is visible.
        self.running.push(Running {
            xid,
            change,
            locks: (0..self.load.keys()).map(|id| self.key(id)).collect(),
            is_committed: false,
        });
        self.commit(self.running.len() - 1, rng);
        self.step(rng);
        self.fill(rng);
    }

    fn snapshot(&self) -> TransactionSnapshot {
        let in_progress: BTreeSet<Xid> = self.running.iter().map(|running| running.xid).collect();
        let xmax = Xid::new(self.next_xid);
        TransactionSnapshot {
            xmin: in_progress.first().copied().unwrap_or(xmax),
            xmax,
            in_progress: in_progress.into_iter().collect(),
        }
    }

    /// First takes the snapshot of a heartbeat, then, called again, its place in the stream.
    pub(crate) fn heartbeat(&mut self, rng: &mut SmallRng) {
        match self.heartbeat.take() {
            None if self.kind == Kind::Visible => self.heartbeat = Some(self.snapshot()),
            visible => {
                let lsn = match self.kind {
                    Kind::Prefix => self.insert_lsn(),
                    Kind::Visible => self.next_lsn(rng),
                };
                self.stream.push_back(Event::Heartbeat(Heartbeat {
                    lsn,
                    at_micros: 0,
                    visible,
                }));
            }
        }
    }

    pub(crate) fn open(&self) -> Read {
        Read {
            snapshot: self.snapshot(),
            prefix: self.insert_lsn(),
        }
    }

    /// What the read is fenced by; the horizon is read now.
    pub(crate) fn fence(&self, read: &Read) -> Fence {
        match self.kind {
            Kind::Prefix => Fence::Prefix(read.prefix),
            Kind::Visible => Fence::Visible {
                snapshot: read.snapshot.clone(),
                horizon: self.insert_lsn(),
            },
        }
    }

    /// The table as the read sees it.
    pub(crate) fn table(&self, read: &Read) -> Table {
        let mut table = Table::default();
        for (commit, change) in &self.log {
            let is_seen = match self.kind {
                Kind::Prefix => commit.lsn <= read.prefix,
                Kind::Visible => read.snapshot.sees(commit.xid),
            };
            if is_seen {
                table.apply(&self.schema, change);
            }
        }
        table
    }

    /// Ends all that is running and tells the stream.
    pub(crate) fn settle(&mut self, rng: &mut SmallRng) {
        while !self.running.is_empty() {
            self.step(rng);
        }
        for _ in 0..4 {
            self.heartbeat(rng);
        }
    }
}
