//! The log that the oracle keeps: every commit of every table, with the table after it.
//!
//! It comes from the server's own text decoder over a replication connection of the oracle's
//! ([`crate::wal`]), so nothing of the product has a part in it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use crate::rows::{COLUMNS, Cell, Row};

/// Commits of one table that are kept. A transaction that is held invisible for seconds, at some
/// thousand commits a second, is still within.
const KEPT: usize = 20_000;

/// What one transaction did to one table, in order.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// A row is there now. A cell that is not told stays as it was.
    Put {
        old: Option<i64>,
        cells: Vec<Option<Cell>>,
    },
    Delete(i64),
    Truncate,
    /// A column was added, and has this value in every row there is.
    AddColumn(Cell),
}

pub(crate) type Rows = Arc<[Arc<Row>]>;

/// The table at some commit.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) lsn: u64,
    pub(crate) rows: Rows,
}

struct Entry {
    xid: u64,
    changes: Vec<Change>,
    state: State,
}

/// A table while changes are applied to it.
#[derive(Clone)]
pub(crate) struct Table {
    rows: BTreeMap<i64, Arc<Row>>,
    columns: usize,
}

impl Table {
    fn of(rows: &Rows) -> Self {
        let columns = rows.first().map_or(COLUMNS.len(), |row| row.cells.len());
        let rows = rows.iter().map(|row| (row.id(), Arc::clone(row)));
        Self {
            rows: rows.collect(),
            columns,
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Put { old, cells } => self.put(*old, cells),
            Change::Delete(id) => {
                self.rows.remove(id).expect("a deleted row was there");
            }
            Change::Truncate => self.rows.clear(),
            Change::AddColumn(cell) => {
                self.columns += 1;
                for row in self.rows.values_mut() {
                    let cells = row.cells.iter().cloned().chain([cell.clone()]);
                    *row = Arc::new(Row::new(cells.collect()));
                }
            }
        }
    }

    fn put(&mut self, old: Option<i64>, cells: &[Option<Cell>]) {
        let Some(Cell::Int(id)) = cells[0] else {
            panic!("a key is always told");
        };
        let before = self.rows.remove(&old.unwrap_or(id));
        let told = |(at, cell): (usize, &Option<Cell>)| {
            let kept = || before.as_ref().expect("an old row was there").cells[at].clone();
            cell.clone().unwrap_or_else(kept)
        };
        let cells = cells.iter().enumerate().map(told).collect();
        self.rows.insert(id, Arc::new(Row::new(cells)));
    }

    fn rows(&self) -> Rows {
        self.rows.values().cloned().collect()
    }
}

struct TableLog {
    entries: VecDeque<Entry>,
    now: Table,
}

struct Logs {
    tables: Vec<TableLog>,
    commits: u64,
    last_xid: u64,
}

/// See the module.
pub(crate) struct History {
    logs: Mutex<Logs>,
    passed: watch::Sender<u64>,
}

/// A transaction as it is decoded.
pub(crate) struct Decoded {
    pub(crate) lsn: u64,
    pub(crate) xid: u32,
    pub(crate) changes: Vec<(usize, Change)>,
}

impl History {
    pub(crate) fn new(tables: usize, last_xid: u64) -> Self {
        let empty = || {
            let now = Table {
                rows: BTreeMap::new(),
                columns: COLUMNS.len(),
            };
            let first = Entry {
                xid: 0,
                changes: Vec::new(),
                state: State {
                    lsn: 0,
                    rows: now.rows(),
                },
            };
            TableLog {
                entries: VecDeque::from([first]),
                now,
            }
        };
        Self {
            logs: Mutex::new(Logs {
                tables: (0..tables).map(|_| empty()).collect(),
                commits: 0,
                last_xid,
            }),
            passed: watch::channel(0).0,
        }
    }

    fn logs(&self) -> MutexGuard<'_, Logs> {
        self.logs.lock().expect("nobody panics with it")
    }

    /// Takes the next transaction of the log.
    pub(crate) fn take(&self, decoded: Decoded) {
        let mut logs = self.logs();
        let xid = widened(decoded.xid, logs.last_xid);
        logs.last_xid = xid;
        let mut by_table: BTreeMap<usize, Vec<Change>> = BTreeMap::new();
        for (table, change) in decoded.changes {
            by_table.entry(table).or_default().push(change);
        }
        logs.commits += u64::from(!by_table.is_empty());
        for (table, changes) in by_table {
            let log = &mut logs.tables[table];
            changes.iter().for_each(|change| log.now.apply(change));
            let state = State {
                lsn: decoded.lsn,
                rows: log.now.rows(),
            };
            log.entries.push_back(Entry {
                xid,
                changes,
                state,
            });
            if log.entries.len() > KEPT {
                log.entries.pop_front();
            }
        }
        drop(logs);
        self.passed.send_replace(decoded.lsn);
    }

    /// Waits until every commit up to here is known.
    pub(crate) async fn wait(&self, lsn: u64) {
        let mut passed = self.passed.subscribe();
        let waited = passed.wait_for(|passed| *passed >= lsn).await;
        waited.expect("the log goes on");
    }

    pub(crate) fn passed(&self) -> u64 {
        *self.passed.borrow()
    }

    pub(crate) fn commits(&self) -> u64 {
        self.logs().commits
    }

    pub(crate) fn last_xid(&self) -> u64 {
        self.logs().last_xid
    }

    /// A table at a position.
    pub(crate) fn at(&self, table: usize, lsn: u64) -> State {
        let logs = self.logs();
        let entries = &logs.tables[table].entries;
        let count = entries.partition_point(|entry| entry.state.lsn <= lsn);
        let at = count.checked_sub(1).expect("it is kept for long enough");
        entries[at].state.clone()
    }

    /// A table at every commit after one position, up to another.
    pub(crate) fn between(&self, table: usize, after: u64, to: u64) -> Vec<State> {
        let logs = self.logs();
        let entries = &logs.tables[table].entries;
        let is_whole = entries
            .front()
            .is_some_and(|first| first.state.lsn <= after);
        assert!(is_whole, "it is kept for long enough");
        let start = entries.partition_point(|entry| entry.state.lsn <= after);
        let states = entries.range(start..).map(|entry| &entry.state);
        states
            .take_while(|state| state.lsn <= to)
            .cloned()
            .collect()
    }

    /// What the commits of a table up to a position make of it that a rule says are seen.
    pub(crate) fn seen(&self, table: usize, to: u64, sees: &dyn Fn(u64, u64) -> bool) -> Rows {
        let logs = self.logs();
        let entries = &logs.tables[table].entries;
        let is_seen = |entry: &&Entry| entry.state.lsn == 0 || sees(entry.xid, entry.state.lsn);
        let end = entries.partition_point(|entry| entry.state.lsn <= to);
        let prefix = entries.range(..end).take_while(is_seen).count();
        let base = prefix.checked_sub(1).expect("it is kept for long enough");
        let mut rest = entries.range(prefix..end).filter(is_seen).peekable();
        if rest.peek().is_none() {
            return Arc::clone(&entries[base].state.rows);
        }
        let mut table = Table::of(&entries[base].state.rows);
        for entry in rest {
            entry
                .changes
                .iter()
                .for_each(|change| table.apply_if_possible(change));
        }
        table.rows()
    }

    /// Whether any commit of a table after a position is seen, which none may be.
    pub(crate) fn sees_beyond(&self, table: usize, after: u64, sees: &dyn Fn(u64) -> bool) -> bool {
        let logs = self.logs();
        let entries = &logs.tables[table].entries;
        let start = entries.partition_point(|entry| entry.state.lsn <= after);
        entries.range(start..).any(|entry| sees(entry.xid))
    }
}

impl Table {
    /// A rule that is wrong leaves out what later changes stand on.
    fn apply_if_possible(&mut self, change: &Change) {
        match change {
            Change::Delete(id) if !self.rows.contains_key(id) => {}
            Change::Put { old, cells } => {
                let id = match (old, &cells[0]) {
                    (Some(id), _) | (None, Some(Cell::Int(id))) => *id,
                    _ => panic!("a key is always told"),
                };
                if self.rows.contains_key(&id) || cells.iter().all(Option::is_some) {
                    self.apply(change);
                }
            }
            _ => self.apply(change),
        }
    }
}

/// The 64-bit id whose lower half this is, and which is nearest to one that is known.
fn widened(xid: u32, near: u64) -> u64 {
    let half = 1_i64 << 31;
    let ahead = i64::from(xid.wrapping_sub(near as u32));
    let ahead = if ahead >= half {
        ahead - 2 * half
    } else {
        ahead
    };
    near.checked_add_signed(ahead).expect("ids are positive")
}
