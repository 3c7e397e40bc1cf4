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
/// A page shows nothing between a transaction's beginning and its end, so only the last image
/// counts; a row whose key was altered is one that is gone and one that is there. `None` when the
/// change cannot be read: it has no rows, another schema, or rows that are not of this one.
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

#[cfg(test)]
mod tests {
    use tidegate_core::{Column, ColumnType, TableName, TenantId};

    use super::*;

    fn schema() -> TableSchema {
        let column = |name: &str| Column {
            name: name.into(),
            kind: ColumnType::BigInt,
            nullable: false,
        };
        let table = TableName::parse("orders").expect("valid");
        TableSchema::new(table, vec![column("id"), column("n")], vec![0])
    }

    fn change(rows: Vec<RowChange>) -> TableChange {
        TableChange {
            tenant: TenantId::parse("acme").expect("valid"),
            table: TableName::parse("orders").expect("valid"),
            schema: schema().fingerprint(),
            rows: Some(rows),
        }
    }

    fn key(id: i64) -> Box<[Value]> {
        Box::new([Value::Int(id)])
    }

    fn upsert(old: Option<i64>, id: i64, n: i64) -> RowChange {
        RowChange::Upsert {
            old_key: old.map(key),
            row: Row::new(vec![Value::Int(id), Value::Int(n)]),
        }
    }

    /// What is left under each key, in the order of keys.
    fn net(rows: Vec<RowChange>) -> Vec<Option<i64>> {
        let net = net_changes(&schema(), &change(rows)).expect("readable");
        let n = |row: Row| match row[1] {
            Value::Int(n) => n,
            _ => unreachable!("an integer"),
        };
        net.into_iter().map(|change| change.row.map(n)).collect()
    }

    /// Only the last image of a row counts, and keys may be swapped by way of a third.
    #[test]
    fn the_last_image_counts() {
        let delete = |id| RowChange::Delete { key: key(id) };
        assert_eq!(net(vec![upsert(None, 1, 5), upsert(None, 1, 6)]), [Some(6)]);
        assert_eq!(net(vec![upsert(None, 1, 5), delete(1)]), [None]);
        assert_eq!(net(vec![delete(1), upsert(None, 1, 7)]), [Some(7)]);
        let swap = vec![
            upsert(Some(1), 3, 10),
            upsert(Some(2), 1, 20),
            upsert(Some(3), 2, 10),
        ];
        assert_eq!(net(swap), [Some(20), Some(10), None]);
    }

    /// A change that does not follow the schema is not read at all.
    #[test]
    fn foreign_changes_are_not_read() {
        let short = RowChange::Upsert {
            old_key: None,
            row: Row::new(vec![Value::Int(1)]),
        };
        let no_key = RowChange::Delete { key: Box::new([]) };
        let all_rows = TableChange {
            rows: None,
            ..change(Vec::new())
        };
        let redefined = TableChange {
            schema: 1,
            ..change(Vec::new())
        };
        for bad in [
            change(vec![short]),
            change(vec![no_key]),
            all_rows,
            redefined,
        ] {
            assert!(net_changes(&schema(), &bad).is_none(), "{bad:?}");
        }
    }
}
