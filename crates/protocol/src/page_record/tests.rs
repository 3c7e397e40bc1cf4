//! That page records survive their bytes, share them, and that hostile bytes are errors.

use proptest::collection::vec;
use proptest::prelude::{any, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;
use proptest::strategy::Strategy;

use super::*;

fn position() -> impl Strategy<Value = Position> {
    any::<(u64, u64)>().prop_map(|(epoch, offset)| Position {
        epoch: Epoch::from_raw(epoch),
        offset: Offset::new(offset),
    })
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn record() -> impl Strategy<Value = PageRecord> {
    let cause = select(vec![
        PageCause::Opened,
        PageCause::Repeated,
        PageCause::Reset,
    ]);
    let page = (
        position(),
        any::<(u64, i64)>(),
        cause,
        (bytes(), bytes(), bytes()),
        select(vec![PageOrigin::Kept, PageOrigin::Read]),
    )
        .prop_map(
            |(position, (lsn, committed_at_micros), cause, (cursor, rows, pks), origin)| {
                PageRecord::Page(PageContent {
                    position,
                    lsn: Lsn::new(lsn),
                    committed_at_micros,
                    cause,
                    origin,
                    cursor,
                    rows,
                    pks,
                })
            },
        );
    let kind = select(vec![
        DiffKind::Changes,
        DiffKind::Opaque,
        DiffKind::Stored,
        DiffKind::RowEvent,
    ]);
    let diff = (position(), any::<(u64, i64)>(), kind, bytes()).prop_map(
        |(position, (lsn, committed_at_micros), kind, body)| {
            PageRecord::Diff(DiffContent {
                position,
                lsn: Lsn::new(lsn),
                committed_at_micros,
                kind,
                body,
            })
        },
    );
    let refused = (select(ErrorCode::ALL), ".{0,10}")
        .prop_map(|(code, message)| PageRecord::Refused { code, message });
    let progress = any::<(u32, u64)>().prop_map(|(life, lsn)| PageRecord::Progress {
        life: Life::new(life),
        lsn: Lsn::new(lsn),
    });
    prop_oneof![page, diff, refused, progress]
}

proptest! {
    #[test]
    fn records_round_trip(record in record()) {
        prop_assert_eq!(PageRecord::decode(record.encode()), Ok(record));
    }

    #[test]
    fn hostile_bytes_do_not_panic(record in record(), at in any::<usize>(), byte in any::<u8>()) {
        let bytes = record.encode();
        assert!(PageRecord::decode(bytes.slice(..at % bytes.len())).is_err());
        let mut changed = bytes.to_vec();
        let place = at % changed.len();
        changed[place] = byte;
        if let Ok(other) = PageRecord::decode(changed.into()) {
            let _ = other.encode();
        }
    }
}

/// The texts of a decoded record lie in the record's own memory: a gateway copies none of them.
#[test]
fn texts_are_slices() {
    let diff = PageRecord::Diff(DiffContent {
        position: Position::start(Epoch::from_raw(1)).next(),
        lsn: Lsn::new(5),
        committed_at_micros: 6,
        kind: DiffKind::Changes,
        body: Bytes::from_static(b"[{\"kind\":\"removed\"}]"),
    });
    let bytes = diff.encode();
    let Ok(PageRecord::Diff(read)) = PageRecord::decode(bytes.clone()) else {
        panic!("a diff")
    };
    assert!(bytes.as_ptr_range().contains(&read.body.as_ptr()));
}

/// The code of a newer processor does not cost an older gateway the refusal.
#[test]
fn an_unknown_code_is_internal() {
    let refused = PageRecord::Refused {
        code: ErrorCode::BadOp,
        message: "why".to_owned(),
    };
    let mut bytes = refused.encode().to_vec();
    let at = bytes
        .windows(6)
        .position(|window| window == b"bad_op")
        .unwrap();
    bytes[at..at + 6].copy_from_slice(b"new_op");
    let expected = PageRecord::Refused {
        code: ErrorCode::Internal,
        message: "why".to_owned(),
    };
    assert_eq!(PageRecord::decode(bytes.into()), Ok(expected));
}
