//! Shows that a page does to its rows what the contract says, and gives itself up when a diff does
//! not fit.

use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;

fn row(pk: &str, json: &str) -> PageRow {
    PageRow::new(pk, json)
}

fn page(pks: &[&str]) -> LivePage {
    let mut page = LivePage::default();
    page.replace(&PageSnapshot {
        rows: pks.iter().map(|pk| row(pk, "{}")).collect(),
        position: PagePosition::new("7-0"),
        lsn: Some(Lsn::new(10)),
        reason: SnapshotReason::Subscribe,
    });
    page
}

fn diff(changes: Vec<PageChange>) -> PageDiff {
    PageDiff {
        changes,
        position: PagePosition::new("7-1"),
        lsn: Some(Lsn::new(11)),
    }
}

fn removed(pk: &str, from: usize) -> PageChange {
    PageChange::Removed {
        pk: pk.into(),
        from,
    }
}

fn added(pk: &str, pos: usize) -> PageChange {
    PageChange::Added {
        pos,
        row: row(pk, "{\"new\":1}"),
    }
}

fn modified(pk: &str, from: usize, pos: usize) -> PageChange {
    PageChange::Modified {
        from,
        pos,
        row: row(pk, "{\"new\":2}"),
    }
}

fn check(start: &[&str], changes: Vec<PageChange>, expect: Result<&[&str], PageError>) {
    let mut page = page(start);
    let outcome = page.apply(&diff(changes));
    match expect {
        Ok(pks) => {
            assert_eq!(outcome, Ok(()));
            let found: Vec<&str> = page.rows().iter().map(|row| &*row.pk).collect();
            assert_eq!(found, pks);
            assert_eq!(page.position().map(PagePosition::as_str), Some("7-1"));
            assert_eq!(page.lsn(), Some(Lsn::new(11)));
        }
        Err(error) => {
            assert_eq!(outcome, Err(error));
            assert_eq!(
                page,
                LivePage::default(),
                "a refused page is given up whole"
            );
        }
    }
}

/// Each kind of change does to the rows what the contract says, in the order given.
#[test]
fn replays_literally() {
    check(&["a", "b", "c"], vec![removed("b", 1)], Ok(&["a", "c"]));
    check(&["a", "b"], vec![added("c", 2)], Ok(&["a", "b", "c"]));
    check(&[], vec![added("a", 0)], Ok(&["a"]));
    check(
        &["a", "b", "c"],
        vec![modified("a", 0, 2)],
        Ok(&["b", "c", "a"]),
    );
    check(
        &["a", "b", "c"],
        vec![modified("c", 2, 0)],
        Ok(&["c", "a", "b"]),
    );
    check(&["a", "b"], vec![modified("b", 1, 1)], Ok(&["a", "b"]));
    check(
        &["a", "b", "c", "d"],
        vec![
            removed("d", 3),
            removed("a", 0),
            added("e", 1),
            modified("c", 2, 0),
        ],
        Ok(&["c", "b", "e"]),
    );
    check(&["a"], vec![removed("a", 0), added("a", 0)], Ok(&["a"]));
}

/// A change in place replaces the row's JSON.
#[test]
fn takes_the_new_json() {
    let mut page = page(&["a", "b"]);
    page.apply(&diff(vec![modified("b", 1, 1), added("c", 0)]))
        .unwrap();
    let rows: Vec<&str> = page.rows().iter().map(|row| &*row.json).collect();
    assert_eq!(rows, ["{\"new\":1}", "{}", "{\"new\":2}"]);
}

/// Every way a diff can disagree with the rows is an error, and none leaves a half-changed page.
#[test]
fn refuses_what_does_not_fit() {
    let out = |index, row_count| Err(PageError::OutOfRange { index, row_count });
    let wrong = |index, expected: &str, found: &str| {
        Err(PageError::WrongRow {
            index,
            expected: expected.into(),
            found: found.into(),
        })
    };
    check(&["a"], vec![removed("a", 1)], out(1, 1));
    check(&[], vec![removed("a", 0)], out(0, 0));
    check(&["a"], vec![added("b", 2)], out(2, 1));
    check(&["a", "b"], vec![modified("a", 0, 2)], out(2, 1));
    check(
        &["a"],
        vec![modified("a", usize::MAX, usize::MAX)],
        out(usize::MAX, 1),
    );
    check(&["a", "b"], vec![removed("b", 0)], wrong(0, "b", "a"));
    check(&["a", "b"], vec![modified("b", 0, 0)], wrong(0, "b", "a"));
    check(&["a", "b"], vec![modified("b", 0, 1)], wrong(0, "b", "a"));
    check(
        &["a"],
        vec![added("a", 0)],
        Err(PageError::Duplicate("a".into())),
    );
    check(&["a"], vec![removed("a", 0), removed("a", 0)], out(0, 0));
}

/// Without a page there is nothing a diff could fit, not even an empty one.
#[test]
fn needs_a_page_first() {
    assert_eq!(
        LivePage::default().apply(&diff(Vec::new())),
        Err(PageError::NoPage)
    );
    assert_eq!(
        LivePage::default().to_snapshot(SnapshotReason::Reader),
        None
    );
}

/// A diff of no known commit leaves the last known one standing.
#[test]
fn keeps_the_last_known_commit() {
    let mut page = page(&[]);
    let unknown = PageDiff {
        lsn: None,
        ..diff(Vec::new())
    };
    page.apply(&unknown).unwrap();
    assert_eq!(page.lsn(), Some(Lsn::new(10)));
}

/// A change as the generator means it: numbers that are brought into range or left wild.
#[derive(Debug, Clone)]
enum Step {
    Remove(usize),
    Add(usize, u8),
    Modify(usize, usize),
    Wild(usize, usize, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let index = 0..12_usize;
    prop_oneof![
        4 => index.clone().prop_map(Step::Remove),
        6 => (index.clone(), 0..40_u8).prop_map(|(at, key)| Step::Add(at, key)),
        5 => (index.clone(), index.clone()).prop_map(|(from, to)| Step::Modify(from, to)),
        1 => (index.clone(), index, 0..40_u8).prop_map(|(from, to, key)| Step::Wild(from, to, key)),
    ]
}

/// What an array in a browser would do with the same change; `None` when the change makes no sense.
fn model(rows: &mut Vec<PageRow>, change: &PageChange) -> Option<()> {
    let (from, into) = match change {
        PageChange::Removed { pk, from } => (Some((*from, pk.clone())), None),
        PageChange::Added { pos, row } => (None, Some((*pos, row.clone()))),
        PageChange::Modified { from, pos, row } => {
            (Some((*from, row.pk.clone())), Some((*pos, row.clone())))
        }
    };
    if let Some((from, pk)) = from {
        let at = rows.iter().position(|row| row.pk == pk)?;
        (at == from).then_some(())?;
        rows.remove(from);
    }
    if let Some((pos, row)) = into {
        let absent = rows.iter().all(|other| other.pk != row.pk);
        (absent && pos <= rows.len()).then_some(())?;
        let tail = rows.split_off(pos);
        rows.push(row);
        rows.extend(tail);
    }
    Some(())
}

/// Turns a step into a change of these rows: a sensible one, unless it is a wild one.
fn change_of(step: &Step, rows: &[PageRow]) -> Option<PageChange> {
    let known = |at: usize| (!rows.is_empty()).then(|| at % rows.len());
    let fresh = |key: u8| row(&key.to_string(), "{}");
    Some(match step {
        Step::Remove(at) => {
            let from = known(*at)?;
            let pk = rows[from].pk.clone();
            PageChange::Removed { pk, from }
        }
        Step::Add(at, key) => PageChange::Added {
            pos: at % (rows.len() + 1),
            row: fresh(*key),
        },
        Step::Modify(from, to) => {
            let (from, pos) = (known(*from)?, known(*to)?);
            let row = row(&rows[from].pk, "{\"changed\":true}");
            PageChange::Modified { from, pos, row }
        }
        Step::Wild(from, pos, key) => PageChange::Modified {
            from: *from,
            pos: *pos,
            row: fresh(*key),
        },
    })
}

fn diffs() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let short = proptest::collection::vec(step(), 0..5);
    prop_oneof![Just(Vec::new()), proptest::collection::vec(short, 0..20)]
}

proptest! {
    /// A page is at every moment what plain array operations make of the same changes; where those
    /// make no sense, the page is refused and given up, and never is a key in it twice.
    #[test]
    fn equals_a_plain_array(steps in diffs()) {
        let mut page = page(&["1", "2", "3"]);
        let mut rows = page.rows().to_vec();
        for diff_steps in steps {
            let mut sound = true;
            let mut changes = Vec::new();
            for step in &diff_steps {
                let Some(change) = change_of(step, &rows) else { continue };
                sound = sound && model(&mut rows, &change).is_some();
                changes.push(change);
                if !sound {
                    break;
                }
            }
            let applied = page.apply(&diff(changes));
            prop_assert_eq!(applied.is_ok(), sound);
            if !sound {
                prop_assert_eq!(page, LivePage::default());
                return Ok(());
            }
            prop_assert_eq!(page.rows(), &*rows);
            let mut keys: Vec<_> = rows.iter().map(|row| row.pk.clone()).collect();
            keys.sort();
            keys.dedup();
            prop_assert!(keys.len() == rows.len());
        }
    }
}
