//! Which name stands for which query, and for how long.

use tidegate_core::{QueryHash, TableName, TenantId};
use tidegate_protocol::{HashId, QueryWords};

use super::*;

fn route(label: &str, query: &str) -> RoutingKey {
    RoutingKey {
        tenant: TenantId::parse("demo").unwrap(),
        table: TableName::parse("notes").unwrap(),
        query: QueryHash::of_labelled(label, query),
    }
}

fn lease(label: &str, query: &str) -> ControlRecord {
    ControlRecord::Lease {
        gateway: 1,
        key: route(label, query),
        query: QuerySpec::default(),
        name: Some(QueryName {
            label: HashId::parse(label).unwrap(),
            words: QueryWords::default(),
        }),
        want: Want::Page,
    }
}

fn release(label: &str, query: &str) -> ControlRecord {
    ControlRecord::Release {
        gateway: 1,
        key: route(label, query),
    }
}

struct Bench {
    pages: Pages,
    effects: Vec<Effect>,
}

impl Bench {
    fn new() -> Self {
        Self {
            pages: Pages::new(Life::new(1)),
            effects: Vec::new(),
        }
    }

    fn control(&mut self, record: ControlRecord) -> Vec<String> {
        self.pages.on_control(record, &mut self.effects);
        self.said()
    }

    fn closed(&mut self, key: &str) -> Vec<String> {
        let key = self.pages.closing.get_key_value(key).unwrap().0.clone();
        self.pages.on_closed(&key, &mut self.effects);
        self.said()
    }

    fn tick(&mut self) -> Vec<String> {
        self.pages.tick(&mut self.effects);
        self.said()
    }

    fn said(&mut self) -> Vec<String> {
        let short = |effect| match effect {
            Effect::Publish(_, PageRecord::Refused { code, .. }) => code.as_str().to_owned(),
            Effect::Publish(..) => "publish".to_owned(),
            Effect::Read { query, .. } => format!("read {}", query.key),
            Effect::Close(query) => format!("close {}", query.key),
        };
        self.effects.drain(..).map(short).collect()
    }
}

/// Defect 10: two queries under one label got one page, that of the last.
#[test]
fn defect_10_a_second_query_under_a_label_is_refused() {
    let mut bench = Bench::new();
    assert_eq!(bench.control(lease("q1", "a")), ["read demo_notes|q1"]);
    assert_eq!(bench.control(lease("q1", "a")), [""; 0], "it is being read");
    assert_eq!(bench.control(lease("q1", "b")), [""; 0], "for a moment");
    for _ in 1..TAKEN_TICKS {
        assert_eq!(bench.tick(), [""; 0]);
    }
    assert_eq!(bench.tick(), ["hash_conflict"]);
    assert_eq!(bench.control(lease("q2", "b")), ["read demo_notes|q2"]);
}

/// A client that changes the query under its label gets the new one as soon as the old one has
/// gone.
#[test]
fn a_label_is_free_once_its_page_is_given_up() {
    let mut bench = Bench::new();
    bench.control(lease("q1", "a"));
    bench.control(lease("q1", "b"));
    assert_eq!(bench.control(release("q1", "a")), ["close demo_notes|q1"]);
    assert_eq!(bench.control(lease("q1", "a")), [""; 0]);
    for _ in 0..2 * TAKEN_TICKS {
        assert_eq!(bench.tick(), [""; 0], "it will be free");
    }
    assert_eq!(bench.control(release("q1", "a")), [""; 0]);
    assert_eq!(bench.closed("demo_notes|q1"), ["read demo_notes|q1"]);
    assert_eq!(bench.control(release("q1", "b")), ["close demo_notes|q1"]);
    assert_eq!(bench.closed("demo_notes|q1"), [""; 0]);
}

/// What was read for an earlier page of the name is not taken for the present one's.
#[test]
fn a_late_reading_is_nobodys() {
    let mut bench = Bench::new();
    bench.control(lease("q1", "a"));
    bench.control(release("q1", "a"));
    bench.closed("demo_notes|q1");
    bench.control(lease("q1", "a"));
    let key = bench.pages.entries.keys().next().unwrap().clone();
    let failure = || {
        Err(ReadFailure {
            error: WireError::new(ErrorCode::SnapshotFailed, "no"),
            will_pass: false,
        })
    };
    bench.pages.on_read(&key, 1, failure(), &mut bench.effects);
    assert_eq!(bench.said(), [""; 0]);
    bench.pages.on_read(&key, 2, failure(), &mut bench.effects);
    assert_eq!(bench.said(), ["snapshot_failed", "close demo_notes|q1"]);
}
