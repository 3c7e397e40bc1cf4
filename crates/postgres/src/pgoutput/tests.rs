//! Messages as Postgres 15 sends them are understood, and no bytes whatever make the reader panic
//! or take more memory than they have themselves.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;

/// Puts a message together.
#[derive(Default)]
struct Sample(Vec<u8>);

impl Sample {
    fn new(tag: u8) -> Self {
        Self(vec![tag])
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u16(self, number: u16) -> Self {
        self.raw(&number.to_be_bytes())
    }

    fn u32(self, number: u32) -> Self {
        self.raw(&number.to_be_bytes())
    }

    fn u64(self, number: u64) -> Self {
        self.raw(&number.to_be_bytes())
    }

    fn name(self, text: &str) -> Self {
        self.raw(text.as_bytes()).raw(&[0])
    }

    fn text(self, text: &str) -> Self {
        let length = u32::try_from(text.len()).expect("short");
        self.raw(b"t").u32(length).raw(text.as_bytes())
    }
}

fn cell(text: &str) -> Cell {
    Cell::Text(Bytes::copy_from_slice(text.as_bytes()))
}

/// Each kind of message with what it means.
#[expect(clippy::too_many_lines, reason = "a table")]
fn samples() -> Vec<(Vec<u8>, Message)> {
    let relation = Sample::new(b'R')
        .u32(16_385)
        .name("public")
        .name("orders")
        .raw(b"d")
        .u16(2)
        .raw(&[1])
        .name("id")
        .u32(23)
        .u32(u32::MAX)
        .raw(&[0])
        .name("näme")
        .u32(25)
        .u32(u32::MAX);
    let column = |in_key, name: &str, type_oid| RelationColumn {
        in_key,
        name: name.to_owned(),
        type_oid,
        modifier: -1,
    };
    let row = vec![cell("1"), Cell::Null];
    vec![
        (
            Sample::new(b'B').u64(9).u64(5).u32(700).0,
            Message::Begin {
                xid: 700,
                committed_at: 5,
            },
        ),
        (
            Sample::new(b'C').raw(&[0]).u64(9).u64(10).u64(5).0,
            Message::Commit {
                end_lsn: 10,
                committed_at: 5,
            },
        ),
        (
            relation.0,
            Message::Relation(Relation {
                oid: 16_385,
                schema: "public".to_owned(),
                name: "orders".to_owned(),
                identity: b'd',
                columns: vec![column(true, "id", 23), column(false, "näme", 25)],
            }),
        ),
        (
            Sample::new(b'I')
                .u32(7)
                .raw(b"N")
                .u16(2)
                .text("1")
                .raw(b"n")
                .0,
            Message::Insert {
                relation: 7,
                new: row.clone(),
            },
        ),
        (
            Sample::new(b'U')
                .u32(7)
                .raw(b"N")
                .u16(2)
                .text("1")
                .raw(b"u")
                .0,
            Message::Update {
                relation: 7,
                old: None,
                new: vec![cell("1"), Cell::Unchanged],
            },
        ),
        (
            Sample::new(b'U')
                .u32(7)
                .raw(b"K")
                .u16(2)
                .text("2")
                .raw(b"n")
                .raw(b"N")
                .u16(2)
                .text("1")
                .raw(b"n")
                .0,
            Message::Update {
                relation: 7,
                old: Some(OldTuple::Key(vec![cell("2"), Cell::Null])),
                new: row.clone(),
            },
        ),
        (
            Sample::new(b'D')
                .u32(7)
                .raw(b"O")
                .u16(2)
                .text("1")
                .raw(b"n")
                .0,
            Message::Delete {
                relation: 7,
                old: OldTuple::Full(row),
            },
        ),
        (
            Sample::new(b'T').u32(2).raw(&[1]).u32(7).u32(8).0,
            Message::Truncate {
                relations: vec![7, 8],
            },
        ),
        (
            Sample::new(b'M')
                .raw(&[1])
                .u64(3)
                .name("tidegate")
                .u32(3)
                .raw(b"5:5")
                .u64(0)
                .0[..]
                .to_vec(),
            Message::Ignored,
        ),
        (
            Sample::new(b'Y').u32(1).name("a").name("b").0,
            Message::Ignored,
        ),
        (Sample::new(b'O').u64(1).name("origin").0, Message::Ignored),
    ]
}

/// Every kind of message.
#[test]
fn reads_each_kind() {
    for (bytes, expected) in samples() {
        let tag = bytes[0];
        let decoded = Message::decode(Bytes::from(bytes));
        if tag == b'M' {
            // With bytes behind its end, which no message may have.
            assert!(decoded.is_err());
        } else {
            assert_eq!(decoded, Ok(expected));
        }
    }
    let said = Sample::new(b'M')
        .raw(&[1])
        .u64(3)
        .name("tidegate")
        .u32(3)
        .raw(b"5:5");
    assert_eq!(
        Message::decode(Bytes::from(said.0)),
        Ok(Message::Said {
            in_transaction: true,
            prefix: "tidegate".to_owned(),
            content: Bytes::from_static(b"5:5"),
        })
    );
}

/// Cut off anywhere, a message is an error (or one of those whose content is not looked at).
#[test]
fn cut_messages_are_errors() {
    for (bytes, _) in samples() {
        for length in 0..bytes.len() {
            let decoded = Message::decode(Bytes::copy_from_slice(&bytes[..length]));
            let is_skipped = matches!(decoded, Ok(Message::Ignored | Message::Said { .. }));
            assert!(decoded.is_err() || is_skipped, "{bytes:?} up to {length}");
        }
    }
}

/// A million mutations and as many bytes at random: an answer each time, of no more cells than
/// bytes.
#[test]
fn any_bytes_are_answered() {
    let samples = samples();
    let mut dice = SmallRng::seed_from_u64(7);
    for round in 0..400_000_u32 {
        let mut bytes = match round % 4 {
            0 => (0..dice.random_range(0..64))
                .map(|_| dice.random())
                .collect(),
            _ => samples[dice.random_range(0..samples.len())].0.clone(),
        };
        for _ in 0..dice.random_range(0..4) {
            if !bytes.is_empty() {
                let at = dice.random_range(0..bytes.len());
                bytes[at] = match dice.random_range(0..3) {
                    0 => 0xff,
                    1 => 0,
                    _ => dice.random(),
                };
            }
        }
        let length = bytes.len();
        if let Ok(Message::Insert { new, .. }) = Message::decode(Bytes::from(bytes)) {
            assert!(new.len() <= length);
        }
    }
}
