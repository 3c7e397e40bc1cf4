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
fn samples() -> Vec<(Vec<u8>, Message)> {
    let mut samples = rows();
    samples.push((
        Sample::new(b'B').u64(9).u64(5).u32(700).0,
        Message::Begin {
            xid: 700,
            committed_at: 5,
        },
    ));
    samples.push((
        Sample::new(b'C').raw(&[0]).u64(9).u64(10).u64(5).0,
        Message::Commit {
            end_lsn: 10,
            committed_at: 5,
        },
    ));
    samples.push(relation());
    let two = Sample::new(b'T').u32(2).raw(&[1]).u32(7).u32(8).0;
    let relations = vec![7, 8];
    samples.push((two, Message::Truncate { relations }));
    let said = Sample::new(b'M').raw(&[1]).u64(3).name("tidegate");
    samples.push((
        said.u32(3).raw(b"5:5").0,
        Message::Said {
            in_transaction: true,
            prefix: "tidegate".to_owned(),
            content: Bytes::from_static(b"5:5"),
        },
    ));
    let named = Sample::new(b'Y').u32(1).name("a").name("b").0;
    samples.push((named, Message::Ignored));
    let origin = Sample::new(b'O').u64(1).name("origin").0;
    samples.push((origin, Message::Ignored));
    samples
}

fn relation() -> (Vec<u8>, Message) {
    let head = Sample::new(b'R').u32(16_385).name("public").name("orders");
    let key = head.raw(b"d").u16(2).raw(&[1]).name("id").u32(23);
    let all = key.u32(u32::MAX).raw(&[0]).name("näme").u32(25);
    let column = |in_key, name: &str, type_oid| RelationColumn {
        in_key,
        name: name.to_owned(),
        type_oid,
        modifier: -1,
    };
    let relation = Relation {
        oid: 16_385,
        schema: "public".to_owned(),
        name: "orders".to_owned(),
        identity: b'd',
        columns: vec![column(true, "id", 23), column(false, "näme", 25)],
    };
    (all.u32(u32::MAX).0, Message::Relation(relation))
}

fn rows() -> Vec<(Vec<u8>, Message)> {
    let of = |tag| Sample::new(tag).u32(7);
    let one = |sample: Sample, kind: &[u8]| sample.raw(kind).u16(2).text("1").raw(b"n");
    let row = vec![cell("1"), Cell::Null];
    let update = |old, new| Message::Update {
        relation: 7,
        old,
        new,
    };
    let unchanged = of(b'U').raw(b"N").u16(2).text("1").raw(b"u").0;
    let old_key = of(b'U').raw(b"K").u16(2).text("2").raw(b"n");
    let key = OldTuple::Key(vec![cell("2"), Cell::Null]);
    vec![
        (
            one(of(b'I'), b"N").0,
            Message::Insert {
                relation: 7,
                new: row.clone(),
            },
        ),
        (unchanged, update(None, vec![cell("1"), Cell::Unchanged])),
        (one(old_key, b"N").0, update(Some(key), row.clone())),
        (
            one(of(b'D'), b"O").0,
            Message::Delete {
                relation: 7,
                old: OldTuple::Full(row),
            },
        ),
    ]
}

/// Every kind of message, and none with bytes behind its end.
#[test]
fn reads_each_kind() {
    for (mut bytes, expected) in samples() {
        let decoded = Message::decode(Bytes::copy_from_slice(&bytes));
        assert_eq!(decoded.as_ref(), Ok(&expected));
        bytes.push(0);
        let longer = Message::decode(Bytes::from(bytes));
        assert!(longer.is_err() || expected == Message::Ignored);
    }
}

/// Cut off anywhere, a message is an error (or one of those whose content is not looked at).
#[test]
fn cut_messages_are_errors() {
    for (bytes, _) in samples() {
        for length in 0..bytes.len() {
            let decoded = Message::decode(Bytes::copy_from_slice(&bytes[..length]));
            let is_skipped = matches!(decoded, Ok(Message::Ignored));
            assert!(decoded.is_err() || is_skipped, "{bytes:?} up to {length}");
        }
    }
}

/// Many mutations and as many bytes at random: an answer each time, of no more cells than
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
