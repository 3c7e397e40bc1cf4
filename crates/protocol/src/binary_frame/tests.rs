//! That a binary frame says what the JSON frame says, and that hostile bytes are errors.

use proptest::prelude::{any, proptest};
use tidegate_core::{Epoch, Offset};

use super::*;
use crate::page_record::DiffKind;

const CHANGES: &str = concat!(
    r#"[{"kind":"removed","pk":"z","from":4},"#,
    r#"{"kind":"added","pk":"a\"é","pos":0,"row":{"id":"a\"é","n":12345678901234567890}},"#,
    r#"{"kind":"modified","pk":"b","from":3,"pos":1,"row":{ "id":"b"}}]"#
);

fn content(changes: &'static str) -> DiffContent {
    DiffContent {
        position: Position {
            epoch: Epoch::from_raw(u64::MAX),
            offset: Offset::new(7),
        },
        lsn: Lsn::new(u64::MAX),
        committed_at_micros: 0,
        kind: DiffKind::Changes,
        body: Bytes::from_static(changes.as_bytes()),
    }
}

fn frame() -> Bytes {
    binary_diff(&HashId::parse("q1").unwrap(), &content(CHANGES)).unwrap()
}

#[test]
fn diffs_round_trip() {
    let diff = read_binary_diff(&frame()).unwrap();
    assert_eq!(diff.hash_id.as_str(), "q1");
    assert_eq!(
        (diff.lsn, diff.position),
        (content("").lsn, content("").position)
    );
    let expected = [
        WireChange::Removed {
            pk: "z".into(),
            from: 4,
        },
        WireChange::Added {
            pk: "a\"é".into(),
            pos: 0,
            row: r#"{"id":"a\"é","n":12345678901234567890}"#.into(),
        },
        WireChange::Modified {
            pk: "b".into(),
            from: 3,
            pos: 1,
            row: r#"{ "id":"b"}"#.into(),
        },
    ];
    assert_eq!(diff.changes, expected);
}

/// Changes that no processor writes cost an error.
#[test]
fn refuses_other_changes() {
    for bad in [
        "",
        "{}",
        r#"[{"kind":"moved","pk":"a"}]"#,
        r#"[{"kind":"removed"}]"#,
        r#"[{"kind":"removed","pk":"a","from":-1}]"#,
    ] {
        let result = binary_diff(&HashId::parse("q1").unwrap(), &content(bad));
        assert_eq!(result, Err(BinaryFrameError::BadChanges), "{bad}");
    }
}

proptest! {
    #[test]
    fn hostile_bytes_do_not_panic(at in any::<usize>(), byte in any::<u8>()) {
        let bytes = frame();
        let mut changed = bytes.to_vec();
        let place = at % changed.len();
        // Cut in the padding at its end, a buffer is still whole.
        let _ = read_binary_diff(&changed[..place]);
        changed[place] = byte;
        let _ = read_binary_diff(&changed);
    }
}
