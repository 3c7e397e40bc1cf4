//! From log rows to whole transactions.
//!
//! Pure: the relay feeds it the rows of one look at the log, in order. Transactions of our own
//! writer stand between marks. What other processes committed has no marks; all of it that stands
//! together in one look is one unit, which is a valid history too: a reader of the file at that
//! moment saw it all at once.

use std::sync::Arc;

use tidegate_core::{Commit, Lsn, RowChange, TableChange, Transaction, Xid};

use crate::catalog::Source;

/// Changes of one table in one transaction. Beyond it, reading the pages again costs less than the
/// changes, and their memory has a bound.
pub(crate) const CHANGES_MAX: usize = 10_000;

/// Bytes of all changes in one transaction, roughly. Beyond it none of its changes is kept.
const BYTES_MAX: usize = 64 << 20;

/// What a log row says.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A transaction of our own writer starts.
    Begin,
    /// It ended at this time.
    End(i64),
    /// A change of a table, of roughly so many bytes.
    Change(Arc<Source>, RowChange, usize),
    /// Pages of a table must be read again.
    Reset(Arc<Source>),
}

/// Collects log rows and gives whole transactions.
pub(crate) struct Units {
    /// The time of transactions that have none of their own.
    now_micros: i64,
    /// Whether the open unit stands between marks.
    marked: bool,
    /// Position of the last row of the open unit.
    last: u64,
    bytes: usize,
    tables: Vec<TableChange>,
    done: Vec<Transaction>,
    done_rows: usize,
    /// Everything up to here is in `done`.
    complete: u64,
}

impl Units {
    pub(crate) fn new(position: u64, now_micros: i64) -> Self {
        Self {
            now_micros,
            marked: false,
            last: position,
            bytes: 0,
            tables: Vec::new(),
            done: Vec::new(),
            done_rows: 0,
            complete: position,
        }
    }

    /// Takes the log row at `id`.
    pub(crate) fn take(&mut self, id: u64, entry: Entry) {
        match entry {
            Entry::Begin => {
                self.close(self.now_micros);
                self.marked = true;
                self.last = id;
            }
            Entry::End(at_micros) => {
                self.last = id;
                self.marked = false;
                self.close(at_micros);
            }
            Entry::Change(source, change, bytes) => {
                self.last = id;
                self.change(&source, change, bytes);
            }
            Entry::Reset(source) => {
                self.last = id;
                self.table(&source).rows = None;
            }
        }
    }

    /// Whether the last row taken closed a transaction, and how many rows the closed ones have.
    pub(crate) fn closed_rows(&self) -> Option<usize> {
        (self.complete == self.last).then_some(self.done_rows)
    }

    /// The end of the log: what is open is whole, since a look sees whole commits only. Gives the
    /// transactions and the position after them.
    pub(crate) fn finish(mut self) -> (Vec<Transaction>, u64) {
        self.close(self.now_micros);
        (self.done, self.complete)
    }

    fn close(&mut self, at_micros: i64) {
        let tables = std::mem::take(&mut self.tables);
        self.bytes = 0;
        self.complete = self.last;
        if tables.is_empty() {
            return;
        }
        let rows = tables
            .iter()
            .map(|table| table.rows.as_ref().map_or(1, Vec::len));
        self.done_rows += rows.sum::<usize>();
        let commit = Commit {
            lsn: Lsn::new(self.last),
            xid: Xid::default(),
            committed_at_micros: at_micros,
        };
        self.done.push(Transaction {
            commit,
            tables,
            resets: Vec::new(),
        });
    }

    fn change(&mut self, source: &Source, change: RowChange, bytes: usize) {
        self.bytes += bytes;
        let within = self.bytes <= BYTES_MAX;
        let table = self.table(source);
        let full = match &mut table.rows {
            Some(rows) if within && rows.len() < CHANGES_MAX => {
                rows.push(change);
                false
            }
            Some(_) => true,
            None => false,
        };
        if full && within {
            table.rows = None;
        } else if full {
            self.tables.iter_mut().for_each(|table| table.rows = None);
        }
    }

    /// The entry of a table, whose rows all follow one schema: after a change of it within the
    /// transaction, none is kept.
    fn table(&mut self, source: &Source) -> &mut TableChange {
        let (tenant, name) = (&source.tenant, source.schema.table());
        let fingerprint = source.schema.fingerprint();
        let found = self
            .tables
            .iter()
            .position(|table| table.tenant == *tenant && table.table == *name);
        let at = found.unwrap_or_else(|| {
            self.tables.push(TableChange {
                tenant: tenant.clone(),
                table: name.clone(),
                schema: fingerprint,
                rows: Some(Vec::new()),
            });
            self.tables.len() - 1
        });
        let table = &mut self.tables[at];
        if table.schema != fingerprint {
            table.schema = fingerprint;
            table.rows = None;
        }
        table
    }
}
