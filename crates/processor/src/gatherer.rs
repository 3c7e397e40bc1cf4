//! Puts the parts of a large transaction's change of one table together again.
//!
//! Diffs are made of whole transactions only. A part that grows too large is not kept: the pages of
//! the table are read again instead.

use std::collections::HashMap;

use tidegate_core::{Lsn, RowChange, TableChange, TableName, TenantId};
use tidegate_protocol::Part;

/// Row changes of one transaction and table that are kept until they are whole.
const ROWS_MAX: usize = 50_000;

/// Parts that have come so far, by table.
#[derive(Debug, Default)]
pub(crate) struct Gatherer {
    parts: HashMap<(TenantId, TableName), Gathered>,
}

#[derive(Debug)]
struct Gathered {
    lsn: Lsn,
    /// `None` once there were too many.
    rows: Option<Vec<RowChange>>,
}

impl Gatherer {
    /// Takes a part. Gives the change when it is whole.
    pub(crate) fn take(
        &mut self,
        lsn: Lsn,
        mut change: TableChange,
        part: Part,
    ) -> Option<TableChange> {
        let key = (change.tenant.clone(), change.table.clone());
        let before = self.parts.remove(&key);
        // What is left over from a publish that was broken off is of no use: it is done again.
        if let Some(before) = before.filter(|before| before.lsn == lsn) {
            change.rows = before
                .rows
                .zip(change.rows)
                .filter(|(before, more)| before.len() + more.len() <= ROWS_MAX)
                .map(|(mut before, more)| {
                    before.extend(more);
                    before
                });
        }
        match part {
            Part::Last => Some(change),
            Part::More => {
                let rows = change.rows;
                self.parts.insert(key, Gathered { lsn, rows });
                None
            }
        }
    }

    /// Forgets all parts.
    pub(crate) fn clear(&mut self) {
        self.parts.clear();
    }
}

#[cfg(test)]
mod tests {
    use tidegate_core::{Row, Value};

    use super::*;

    fn change(first: i64, count: i64) -> TableChange {
        let upsert = |id| RowChange::Upsert {
            old_key: None,
            row: Row::new(vec![Value::Int(id)]),
        };
        TableChange {
            tenant: TenantId::parse("demo").expect("valid"),
            table: TableName::parse("orders").expect("valid"),
            schema: 1,
            rows: Some((first..first + count).map(upsert).collect()),
        }
    }

    fn row_count(change: Option<TableChange>) -> Option<Option<usize>> {
        change.map(|change| change.rows.map(|rows| rows.len()))
    }

    /// Parts add up in order; what a broken publish left is dropped.
    #[test]
    fn parts_add_up() {
        let mut gatherer = Gatherer::default();
        assert_eq!(gatherer.take(Lsn::new(1), change(0, 5), Part::More), None);
        assert_eq!(gatherer.take(Lsn::new(2), change(0, 3), Part::More), None);
        let whole = gatherer.take(Lsn::new(2), change(3, 2), Part::Last);
        assert_eq!(whole, Some(change(0, 5)));
        let alone = gatherer.take(Lsn::new(3), change(7, 1), Part::Last);
        assert_eq!(alone, Some(change(7, 1)));
    }

    /// Past the bound nothing is kept, and the whole says that it must be read again.
    #[test]
    fn too_many_rows_are_not_kept() {
        let mut gatherer = Gatherer::default();
        let half = ROWS_MAX as i64 / 2;
        let lsn = Lsn::new(1);
        assert_eq!(gatherer.take(lsn, change(0, half), Part::More), None);
        assert_eq!(gatherer.take(lsn, change(0, half + 1), Part::More), None);
        assert_eq!(gatherer.take(lsn, change(0, 1), Part::More), None);
        let whole = gatherer.take(lsn, change(0, 1), Part::Last);
        assert_eq!(row_count(whole), Some(None));
    }
}
