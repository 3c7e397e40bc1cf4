//! From log rows to whole transactions.
//!
//! Pure: the relay feeds it the rows of one look at the log, in order. Transactions of our own
//! writer stand between marks. What other processes committed has no marks; all of it that stands
//! together in one look is one unit, which is a valid history too: a reader of the file at that
//! moment saw it all at once.

use std::sync::Arc;

use tidegate_core::{Commit, Lsn, OwnChange, Transaction, TransactionBuilder, Xid};

use crate::catalog::Source;

/// What a log row says.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A transaction of our own writer starts.
    Begin,
    /// It ended at this time.
    End(i64),
    /// A change of a table.
    Change(Arc<Source>, OwnChange),
    /// Nobody's row changed.
    Nothing,
    /// Pages of a table must be read again, whose ever they are.
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
    changes: TransactionBuilder,
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
            changes: TransactionBuilder::default(),
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
            Entry::Change(source, change) => {
                self.last = id;
                self.changes.push(&source.owner, &source.schema, change);
            }
            Entry::Nothing => self.last = id,
            Entry::Reset(source) => {
                self.last = id;
                let schema = &source.schema;
                let (table, fingerprint) = (schema.table(), schema.fingerprint());
                self.changes.reset(&source.owner, table, fingerprint);
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
        let changes = std::mem::take(&mut self.changes);
        self.complete = self.last;
        let commit = Commit {
            lsn: Lsn::new(self.last),
            xid: Xid::default(),
            committed_at_micros: at_micros,
        };
        let weight = changes.weight().max(1);
        if let Some(transaction) = changes.finish(commit) {
            self.done_rows += weight;
            self.done.push(transaction);
        }
    }
}
