//! What the database committed, and what that did to a page.

use crate::fence::{TransactionSnapshot, Xid};
use crate::ids::{TableName, TenantId};
use crate::position::Lsn;
use crate::value::{Row, Value};

/// The identity of one committed transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Its place in commit order.
    pub lsn: Lsn,
    /// Its top-level transaction id; zero where the database has none.
    pub xid: Xid,
    /// When it committed, by the database's clock, in microseconds since 1970. Measures lag only.
    pub committed_at_micros: i64,
}

/// One row change, as seen from one (tenant, table).
#[derive(Debug, Clone, PartialEq)]
pub enum RowChange {
    /// The row exists now and looks like this.
    Upsert {
        /// The primary key it had before, when this change altered the key.
        old_key: Option<Box<[Value]>>,
        /// The whole row, columns in the order of the table's schema.
        row: Row,
    },
    /// The row is gone.
    Delete {
        /// Its primary key, in key order.
        key: Box<[Value]>,
    },
}

/// All that one transaction did to one table of one tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct TableChange {
    /// Whose rows.
    pub tenant: TenantId,
    /// Which table.
    pub table: TableName,
    /// Fingerprint of the schema that the rows follow: [`crate::TableSchema::fingerprint`].
    pub schema: u64,
    /// The changes in order, or `None` when pages of this table must be read again: the table was
    /// truncated or redefined, holds a value that its type does not allow, or changed too much at
    /// once.
    pub rows: Option<Vec<RowChange>>,
}

/// A table that all tenants share, of which it cannot be told whose rows a transaction changed: it
/// was emptied or redefined, or the database did not say. Every tenant's pages of it must be read
/// again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableReset {
    /// Which table.
    pub table: TableName,
    /// Fingerprint of the schema that the table has, or zero when that is unknown.
    pub schema: u64,
}

/// One committed transaction, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Transaction {
    /// Which one.
    pub commit: Commit,
    /// What it did, one entry for each table and tenant it touched.
    pub tables: Vec<TableChange>,
    /// Tables of all tenants that must be read again; none of these is among `tables`.
    pub resets: Vec<TableReset>,
}

/// Tells how far the stream has come when nothing was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Every commit up to here has been sent.
    pub lsn: Lsn,
    /// The database clock, in microseconds since 1970.
    pub at_micros: i64,
    /// Who was visible at that moment, where the database can say (Postgres).
    pub visible: Option<TransactionSnapshot>,
}

/// One step of a page's mutation, to be replayed literally on the client's array of rows.
///
/// Indexes refer to the array as it is at that step. Removals come first, by descending index.
#[derive(Debug, Clone, PartialEq)]
pub enum PageChange {
    /// Deletes index `from`.
    Removed {
        /// Primary key of the row, in key order.
        key: Box<[Value]>,
        /// Its index.
        from: u32,
    },
    /// Inserts `row` at `pos`.
    Added {
        /// The whole row.
        row: Row,
        /// Its index.
        pos: u32,
    },
    /// Takes index `from` out and puts `row` in at `pos`.
    Modified {
        /// The whole row.
        row: Row,
        /// Its index before.
        from: u32,
        /// Its index after.
        pos: u32,
    },
}
