//! What a transaction comes to, row by row.

use tidegate_core::{Row, RowChange, TableChange, TableSchema, Value};

use crate::sort_key::KeyBytes;

/// What one transaction left of one row.
#[derive(Debug, Clone)]
pub(crate) struct NetChange {
    /// The row's identity.
    pub(crate) key: KeyBytes,
    /// The row, unless it is gone.
    pub(crate) row: Option<Row>,
}

impl NetChange {
    pub(crate) fn identity(schema: &TableSchema, row: &Row) -> KeyBytes {
        KeyBytes::of_key(schema.key().iter().map(|at| &row[*at]))
    }
}

/// The last image of each row that a transaction touched, every row once.
///
/// A page shows nothing between a transaction's beginning and its end, so only the last image counts;
/// a row whose key was altered is one that is gone and one that is there. `None` when the change cannot
/// be read: it has no rows, another schema, or rows that are not of this one.
pub(crate) fn net_changes(schema: &TableSchema, change: &TableChange) -> Option<Vec<NetChange>> {
    let rows = change.rows.as_ref()?;
    if change.schema != schema.fingerprint() {
        return None;
    }
    let mut changes = Vec::with_capacity(rows.len());
    let key_length = schema.key().len();
    let gone = |key: &[Value]| {
        (key.len() == key_length).then(|| NetChange {
            key: KeyBytes::of_key(key),
            row: None,
        })
    };
    for row_change in rows {
        match row_change {
            RowChange::Delete { key } => changes.push(gone(key)?),
            RowChange::Upsert { old_key, row } => {
                if row.len() != schema.columns().len() {
                    return None;
                }
                if let Some(old_key) = old_key {
                    changes.push(gone(old_key)?);
                }
                changes.push(NetChange {
                    key: NetChange::identity(schema, row),
                    row: Some(row.clone()),
                });
            }
        }
    }
    if changes.len() > 1 {
        keep_last(&mut changes);
    }
    Some(changes)
}

fn keep_last(changes: &mut Vec<NetChange>) {
    // A stable sort leaves the changes of a row in their order; of each run the last one stays.
    changes.sort_by(|a, b| a.key.cmp(&b.key));
    changes.dedup_by(|later, earlier| {
        let is_same_row = later.key == earlier.key;
        if is_same_row {
            std::mem::swap(later, earlier);
        }
        is_same_row
    });
}
