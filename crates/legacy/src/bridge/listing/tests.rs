//! Shows that what is said leads to the page: whoever replays it literally, whoever goes by keys
//! from there, and whoever is there already.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::bridge::client::Held;

fn list(keys: &[(u8, u8)]) -> Vec<Entry> {
    let mut seen = BTreeSet::new();
    let entry = |(key, text): &(u8, u8)| Entry {
        pk: key.to_string().into(),
        row: format!("{{\"k\":{key},\"t\":{text}}}").into(),
    };
    keys.iter()
        .filter(|(key, _)| seen.insert(*key))
        .map(entry)
        .collect()
}

fn lists() -> impl Strategy<Value = Vec<Entry>> {
    vec((0_u8..12, 0_u8..2), 0..10).prop_map(|keys| list(&keys))
}

/// Indexes as they are, keys held against them.
fn replay_literally(rows: &[Entry], changes: &[WireChange]) -> Vec<Entry> {
    let mut rows = rows.to_vec();
    for change in changes {
        if let WireChange::Removed { from, .. } | WireChange::Modified { from, .. } = change {
            assert_eq!(*rows.remove(*from as usize).pk, *change.pk());
        }
        if let WireChange::Added { pos, .. } | WireChange::Modified { pos, .. } = change {
            let entry = Entry {
                pk: change.pk().into(),
                row: change.row().expect("put in").into(),
            };
            rows.insert(*pos as usize, entry);
        }
    }
    rows
}

fn by_keys(rows: &[Entry], changes: &[WireChange]) -> Vec<Entry> {
    let mut held = Held::new(rows.to_vec());
    changes.iter().for_each(|change| held.take(change));
    held.rows
}

proptest! {
    #[test]
    fn the_net_leads_there(before in lists(), after in lists()) {
        let changes = net(&before, &after);
        prop_assert_eq!(&replay_literally(&before, &changes), &after);
        prop_assert_eq!(&by_keys(&before, &changes), &after);
        prop_assert_eq!(&by_keys(&after, &changes), &after);
        prop_assert_eq!(changes.is_empty(), before == after);
    }

    #[test]
    fn a_restatement_leads_from_anywhere(
        held in lists(), other in lists(), after in lists()
    ) {
        let keys = held.iter().chain(&other).map(|row| Arc::clone(&row.pk)).collect();
        let changes = restate(&keys, &after);
        prop_assert_eq!(&by_keys(&held, &changes), &after);
        prop_assert_eq!(&by_keys(&other, &changes), &after);
        prop_assert_eq!(&by_keys(&after, &changes), &after);
        prop_assert_eq!(&by_keys(&[], &changes), &after);
    }
}

/// Few changes for a small difference: a row that moves is taken out and put in, nothing else.
#[test]
fn a_move_is_two_changes() {
    let (before, after) = (
        list(&[(1, 0), (2, 0), (3, 0), (4, 0)]),
        list(&[(2, 0), (3, 0), (4, 0), (1, 0)]),
    );
    let changes = net(&before, &after);
    assert_eq!(changes.len(), 2, "{changes:?}");
}

/// A worker that spells a row otherwise has not said anything else.
#[test]
fn spelling_is_no_difference() {
    assert!(says_the_same(
        r#"{"a":1,"b":"é"}"#,
        r#"{ "b": "\u00e9", "a": 1 }"#
    ));
    assert!(!says_the_same(r#"{"a":1}"#, r#"{"a":"1"}"#));
    assert!(!says_the_same("{", "["));
}
