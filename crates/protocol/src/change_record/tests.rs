//! That change records survive their bytes, and that no bytes whatever make the reader panic or
//! believe a count that is not there.

use proptest::prelude::{any, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;
use proptest::strategy::Strategy;

use super::*;
use crate::arbitrary::{commit, heartbeat, table_change};

fn record() -> impl Strategy<Value = ChangeRecord> {
    let part = select(vec![Part::More, Part::Last]);
    prop_oneof![
        3 => (commit(), table_change(), part).prop_map(|(commit, change, part)| {
            ChangeRecord::Changes { commit, change, part }
        }),
        1 => (heartbeat(), any::<u64>()).prop_map(|(heartbeat, raw)| {
            ChangeRecord::Heartbeat(heartbeat, History::new(raw))
        }),
        1 => (commit(), table_change()).prop_map(|(commit, change)| {
            let (table, schema) = (change.table, change.schema);
            ChangeRecord::Reset { commit, reset: TableReset { table, schema } }
        }),
    ]
}

proptest! {
    #[test]
    fn records_round_trip(record in record()) {
        prop_assert_eq!(ChangeRecord::decode(record.encode()), Ok(record));
    }

    /// A cut record is an error at every length; one changed byte is an error or another record.
    #[test]
    fn hostile_bytes_do_not_panic(record in record(), at in any::<usize>(), byte in any::<u8>()) {
        let bytes = record.encode();
        let cut = bytes.slice(..at % bytes.len());
        assert!(ChangeRecord::decode(cut).is_err());
        let mut changed = bytes.to_vec();
        let place = at % changed.len();
        changed[place] = byte;
        if let Ok(other) = ChangeRecord::decode(changed.into()) {
            let _ = other.encode();
        }
    }

    #[test]
    fn any_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let mut bytes = bytes;
        if let Some(version) = bytes.first_mut() {
            *version = VERSION;
        }
        let _ = ChangeRecord::decode(bytes.into());
    }
}

/// A NaN keeps its place: the round trip above leaves it out because it does not equal itself.
#[test]
fn nan_survives() {
    let change = TableChange {
        tenant: TenantId::parse("t").unwrap(),
        table: TableName::parse("x").unwrap(),
        schema: 7,
        rows: Some(vec![RowChange::Delete {
            key: [Value::Float(f64::NAN)].into(),
        }]),
    };
    let record = ChangeRecord::Changes {
        commit: Commit {
            lsn: Lsn::new(1),
            xid: Xid::default(),
            committed_at_micros: 0,
        },
        change,
        part: Part::Last,
    };
    let text = format!("{record:?}");
    assert_eq!(
        format!("{:?}", ChangeRecord::decode(record.encode()).unwrap()),
        text
    );
}

/// A count of four thousand million members costs an error, not memory.
#[test]
fn counts_are_not_believed() {
    let change = TableChange {
        tenant: TenantId::parse("t").unwrap(),
        table: TableName::parse("x").unwrap(),
        schema: 0,
        rows: Some(Vec::new()),
    };
    let record = ChangeRecord::Changes {
        commit: Commit {
            lsn: Lsn::ZERO,
            xid: Xid::default(),
            committed_at_micros: 0,
        },
        change,
        part: Part::Last,
    };
    let mut bytes = record.encode().to_vec();
    let count = bytes.len() - 4;
    bytes[count..].fill(0xff);
    assert_eq!(ChangeRecord::decode(bytes.into()), Err(RecordError::Short));
}

/// A newer version is named, not guessed at; bytes that are left over are an error.
#[test]
fn versions_and_ends_are_checked() {
    let heartbeat = Heartbeat {
        lsn: Lsn::new(9),
        at_micros: -1,
        visible: None,
    };
    let record = ChangeRecord::Heartbeat(heartbeat, History::ONLY);
    let mut bytes = record.encode().to_vec();
    bytes.push(0);
    assert_eq!(
        ChangeRecord::decode(bytes.clone().into()),
        Err(RecordError::Trailing(1))
    );
    bytes[0] = 2;
    assert_eq!(
        ChangeRecord::decode(bytes.into()),
        Err(RecordError::Version(2))
    );
}
