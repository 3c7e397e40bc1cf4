//! That leases survive their bytes with the query in them, and that hostile bytes are errors.

use proptest::prelude::{any, prop_assert_eq, proptest};
use proptest::sample::select;
use proptest::strategy::Strategy;

use super::*;
use crate::arbitrary::query;

fn key() -> RoutingKey {
    RoutingKey::decode("0123456789abcdef0123456789abcdef:4:demo:no|tes").unwrap()
}

fn record() -> impl Strategy<Value = ControlRecord> {
    let want = select(vec![Want::Renew, Want::Page]);
    let name = (".{1,9}", ".{0,9}", any::<u16>()).prop_map(|(label, hash, version)| QueryName {
        label: HashId::parse(&label).unwrap(),
        words: QueryWords::new(&hash, version).unwrap(),
    });
    let name = proptest::option::of(name);
    let parts = (any::<u64>(), query(), name, proptest::option::of(want));
    parts.prop_map(|(gateway, query, name, want)| {
        let key = key();
        match want {
            Some(want) => ControlRecord::Lease {
                gateway,
                key,
                query,
                name,
                want,
            },
            None => ControlRecord::Release { gateway, key },
        }
    })
}

proptest! {
    #[test]
    fn records_round_trip(record in record()) {
        prop_assert_eq!(ControlRecord::decode(record.encode()), Ok(record));
    }

    #[test]
    fn hostile_bytes_do_not_panic(record in record(), at in any::<usize>(), byte in any::<u8>()) {
        let bytes = record.encode();
        assert!(ControlRecord::decode(bytes.slice(..at % bytes.len())).is_err());
        let mut changed = bytes.to_vec();
        let place = at % changed.len();
        changed[place] = byte;
        if let Ok(other) = ControlRecord::decode(changed.into()) {
            let _ = other.encode();
        }
    }
}
