//! One transaction as records: a part for each tenant's table it touched, in the partition that
//! owns the table; what concerns a table of all tenants goes to every partition.

use tidegate_core::{Partition, RowChange, TableChange, Transaction};
use tidegate_ports::Record;
use tidegate_protocol::{ChangeRecord, Part};

use crate::record;

/// Row changes in one record. A larger part of a transaction becomes several records, of which only
/// the last says that the part is whole.
const RECORD_ROWS_MAX: usize = 1_000;

/// The records of transactions, each partition's in commit order, with a heartbeat for every
/// partition last, if there is one.
pub(crate) fn records(
    transactions: Vec<Transaction>,
    heartbeat: Option<ChangeRecord>,
    partition_count: u32,
) -> Vec<Record> {
    let mut records = Vec::with_capacity(transactions.len() + partition_count as usize);
    for transaction in transactions {
        split(transaction, partition_count, &mut records);
    }
    if let Some(heartbeat) = heartbeat {
        records.extend(heartbeats(&heartbeat, partition_count));
    }
    records
}

/// A heartbeat for every partition.
pub(crate) fn heartbeats(heartbeat: &ChangeRecord, partition_count: u32) -> Vec<Record> {
    let record = |partition| record(partition, heartbeat);
    partitions(partition_count).map(record).collect()
}

/// Tells every partition that commits may be missing before what follows.
pub(crate) fn gap(partition_count: u32) -> Vec<Record> {
    partitions(partition_count)
        .map(|partition| record(partition, &ChangeRecord::Gap))
        .collect()
}

fn partitions(count: u32) -> impl Iterator<Item = Partition> {
    (0..count).map(Partition::new)
}

fn split(transaction: Transaction, partition_count: u32, records: &mut Vec<Record>) {
    let commit = transaction.commit;
    // Any partition may own some tenant's pages of such a table.
    for reset in transaction.resets {
        let reset = ChangeRecord::Reset { commit, reset };
        records.extend(partitions(partition_count).map(|partition| record(partition, &reset)));
    }
    for change in transaction.tables {
        let partition = Partition::of(&change.tenant, &change.table, partition_count);
        for (change, part) in parts(change) {
            records.push(record(
                partition,
                &ChangeRecord::Changes {
                    commit,
                    change,
                    part,
                },
            ));
        }
    }
}

/// Cuts a table's changes into pieces of bounded size.
fn parts(change: TableChange) -> Vec<(TableChange, Part)> {
    let TableChange {
        tenant,
        table,
        schema,
        rows,
    } = change;
    let of = |rows: Option<Vec<RowChange>>| TableChange {
        tenant: tenant.clone(),
        table: table.clone(),
        schema,
        rows,
    };
    let Some(mut rest) = rows else {
        return vec![(of(None), Part::Last)];
    };
    let mut parts = Vec::with_capacity(rest.len() / RECORD_ROWS_MAX + 1);
    while rest.len() > RECORD_ROWS_MAX {
        let tail = rest.split_off(RECORD_ROWS_MAX);
        parts.push((of(Some(rest)), Part::More));
        rest = tail;
    }
    parts.push((of(Some(rest)), Part::Last));
    parts
}

#[cfg(test)]
mod tests {
    use tidegate_core::{
        Commit, Heartbeat, History, Lsn, Row, TableName, TableReset, TenantId, Value, Xid,
    };

    use super::*;

    const HISTORY: History = History::new(3);

    fn change(table: &str, rows: i64) -> TableChange {
        let upsert = |id| RowChange::Upsert {
            old_key: None,
            row: Row::new(vec![Value::Int(id)]),
        };
        TableChange {
            tenant: TenantId::parse("demo").expect("valid"),
            table: TableName::parse(table).expect("valid"),
            schema: 1,
            rows: Some((0..rows).map(upsert).collect()),
        }
    }

    fn records_of(
        tables: Vec<TableChange>,
        resets: Vec<TableReset>,
        partition_count: u32,
    ) -> Vec<Record> {
        let commit = Commit {
            lsn: Lsn::new(7),
            xid: Xid::default(),
            committed_at_micros: 0,
        };
        let heartbeat = Heartbeat {
            lsn: Lsn::new(9),
            at_micros: 0,
            visible: None,
        };
        let heartbeat = ChangeRecord::Heartbeat(heartbeat, HISTORY);
        let transaction = Transaction {
            commit,
            tables,
            resets,
        };
        records(vec![transaction], Some(heartbeat), partition_count)
    }

    fn decode(record: &Record) -> ChangeRecord {
        ChangeRecord::decode(record.value.clone()).expect("just encoded")
    }

    /// Each table's part lands with its owner, and every partition hears how far the stream has
    /// come, after all else.
    #[test]
    fn parts_go_to_their_owners() {
        let records = records_of(
            vec![change("orders", 1), change("tickets", 2)],
            Vec::new(),
            16,
        );
        let (parts, heartbeats) = records.split_at(2);
        for part in parts {
            let ChangeRecord::Changes {
                change,
                part: Part::Last,
                ..
            } = decode(part)
            else {
                panic!("a whole part");
            };
            assert_eq!(
                part.partition,
                Partition::of(&change.tenant, &change.table, 16)
            );
        }
        let told: Vec<_> = heartbeats
            .iter()
            .map(|record| record.partition.get())
            .collect();
        assert_eq!(told, (0..16).collect::<Vec<_>>());
        assert!(
            heartbeats
                .iter()
                .all(|r| matches!(decode(r), ChangeRecord::Heartbeat(_, HISTORY)))
        );
    }

    /// What concerns all tenants goes to every partition, before the heartbeat.
    #[test]
    fn resets_go_everywhere() {
        let table = TableName::parse("shared").expect("valid");
        let reset = TableReset { table, schema: 7 };
        let mut told = Vec::new();
        for record in records_of(vec![change("orders", 1)], vec![reset.clone()], 4) {
            match decode(&record) {
                ChangeRecord::Reset { commit, reset: is } if is == reset => {
                    assert_eq!(commit.lsn, Lsn::new(7));
                    told.push(record.partition.get());
                }
                ChangeRecord::Heartbeat(..) => assert_eq!(told.len(), 4),
                _ => {}
            }
        }
        assert_eq!(told, [0, 1, 2, 3]);
    }

    /// A large part is cut, nothing is lost, and only its end says that it is whole.
    #[test]
    fn large_parts_are_cut() {
        let records = records_of(vec![change("orders", 2_500)], Vec::new(), 1);
        let parts: Vec<_> = records.iter().map(decode).collect();
        let sizes: Vec<_> = parts
            .iter()
            .filter_map(|part| match part {
                ChangeRecord::Changes { change, part, .. } => {
                    Some((change.rows.as_ref().map_or(0, Vec::len), *part))
                }
                ChangeRecord::Heartbeat(..) | ChangeRecord::Gap | ChangeRecord::Reset { .. } => {
                    None
                }
            })
            .collect();
        assert_eq!(
            sizes,
            [(1_000, Part::More), (1_000, Part::More), (500, Part::Last)]
        );
    }
}
