//! Shows which runs of entries are a whole replay, that parts join, that bounds hold, and that an
//! answer of another shape is an error and never a panic.

use bytes::Bytes;
use redis::Value;
use tidegate_core::{Epoch, Offset, Position, QueryHash, RoutingKey, TableName, TenantId};
use tidegate_ports::{PortError, Replay, TailEntry};

use super::{Answer, Next, READ_ENTRIES, Reading, append, append_length};
use crate::config::RedisConfig;

fn config() -> RedisConfig {
    RedisConfig::new("redis://127.0.0.1".parse().unwrap())
}

fn at(epoch: u64, offset: u64) -> Position {
    Position {
        epoch: Epoch::from_raw(epoch),
        offset: Offset::new(offset),
    }
}

fn text(text: impl AsRef<[u8]>) -> Value {
    Value::BulkString(text.as_ref().to_vec())
}

fn stored(position: Position) -> Value {
    let fields = Value::Array(vec![text("v"), text("value")]);
    Value::Array(vec![text(position.to_string()), fields])
}

/// The offsets of the answer, or nothing for a gap.
fn read(config: &RedisConfig, after: Position, tail: &[Position]) -> Option<Vec<u64>> {
    let mut reading = Reading::new(config, after);
    loop {
        let from = reading.newest;
        let part = tail
            .iter()
            .filter(|position| match from {
                None => **position >= after,
                Some(newest) => **position > newest,
            })
            .take(READ_ENTRIES);
        match reading.take(Value::Array(part.copied().map(stored).collect())) {
            Ok(Next::Read) => {}
            Ok(Next::Answer(Replay::Gap)) => return None,
            Ok(Next::Answer(Replay::Complete(entries))) => {
                return Some(entries.iter().map(|(p, _)| p.offset.get()).collect());
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn only_a_whole_run_is_an_answer() {
    let check = |after, tail: &[Position], expect: Option<&[u64]>| {
        let got = read(&config(), after, tail);
        assert_eq!(got.as_deref(), expect, "{after} in {tail:?}");
    };
    let run = [at(1, 0), at(1, 1), at(1, 2)];
    check(at(1, 0), &run, Some(&[1, 2]));
    check(at(1, 2), &run, Some(&[]));
    check(at(1, 3), &run, None);
    check(at(1, 0), &run[1..], Some(&[1, 2]));
    check(at(1, 0), &run[2..], None);
    check(at(1, 0), &[], None);
    check(at(1, 0), &[at(1, 0), at(1, 2)], None);
    check(at(1, 0), &[at(1, 0), at(2, 1)], None);
    check(at(1, u64::MAX), &[at(1, u64::MAX), at(2, 0)], None);
}

#[test]
fn parts_join_and_bounds_hold() {
    let tail: Vec<Position> = (0..1_000).map(|offset| at(7, offset)).collect();
    let whole = read(&config(), at(7, 0), &tail).unwrap();
    assert!(whole.iter().copied().eq(1..1_000));
    // A tail that ends with a part is read once more, and found to be at its end.
    let even = &tail[..READ_ENTRIES];
    assert_eq!(
        read(&config(), at(7, 0), even).unwrap().len(),
        READ_ENTRIES - 1
    );

    let mut bounded = config();
    bounded.tail_entries_max = 999;
    assert!(read(&bounded, at(7, 0), &tail).is_some());
    bounded.tail_entries_max = 998;
    assert!(read(&bounded, at(7, 0), &tail).is_none());
    let mut bounded = config();
    bounded.replay_bytes_max = 5 * 998;
    assert!(read(&bounded, at(7, 0), &tail).is_none());
    assert!(read(&bounded, at(7, 1), &tail).is_some());
}

#[test]
fn an_answer_of_another_shape_is_corrupt() {
    let entry = |id: Value, fields: Vec<Value>| Value::Array(vec![id, Value::Array(fields)]);
    let field = || vec![text("v"), text("value")];
    for value in [
        Value::Nil,
        Value::Int(1),
        Value::Array(vec![Value::Nil]),
        Value::Array(vec![Value::Array(vec![])]),
        Value::Array(vec![entry(Value::Int(1), field())]),
        Value::Array(vec![entry(text("1"), field())]),
        Value::Array(vec![entry(text([0xff, 0xfe]), field())]),
        Value::Array(vec![entry(text("1-0"), vec![text("w"), text("value")])]),
        Value::Array(vec![entry(text("1-0"), [field(), field()].concat())]),
        Value::Array(vec![stored(at(1, 0)); READ_ENTRIES + 1]),
    ] {
        let shown = format!("{value:?}");
        let taken = Reading::new(&config(), at(1, 0)).take(value);
        assert!(matches!(taken, Err(PortError::Corrupt { .. })), "{shown}");
    }
}

fn tail_entry(table: &str, bytes: usize) -> TailEntry {
    let hash = "00112233445566778899aabbccddeeff";
    TailEntry {
        key: RoutingKey {
            tenant: TenantId::parse("acme").unwrap(),
            table: TableName::parse(table).unwrap(),
            query: hash.parse::<QueryHash>().unwrap(),
        },
        position: at(3, 4),
        value: Bytes::from(vec![b'x'; bytes]),
    }
}

#[test]
fn the_life_of_each_tail_is_prolonged_after_its_last_entry() {
    let entries = ["a", "b", "a"].map(|table| tail_entry(table, 1));
    let (commands, answers) = append(&config(), &entries);
    assert_eq!(commands.len(), 5);
    let expect = [
        Answer::Entry,
        Answer::Entry,
        Answer::Other,
        Answer::Entry,
        Answer::Other,
    ];
    assert_eq!(answers, expect);
    let packed = commands.get_packed_pipeline();
    let packed = String::from_utf8(packed).unwrap().replace("\r\n", " ");
    let first = "*8 $4 XADD $55 tidegate:tail:00112233445566778899aabbccddeeff:4:acme:a \
                 $6 MAXLEN $1 ~ $4 1024 $3 3-4 $1 v $1 x ";
    assert!(packed.starts_with(first), "{packed}");
    assert!(packed.ends_with("$6 600000 "), "{packed}");
}

#[test]
fn appends_are_cut_by_count_and_by_bytes() {
    let check = |entries: &[TailEntry], expect| assert_eq!(append_length(entries), expect);
    check(&[], 0);
    check(&vec![tail_entry("a", 1); 300], 256);
    check(&vec![tail_entry("a", 500 << 10); 5], 2);
    check(&vec![tail_entry("a", 2 << 20); 2], 1);
}
