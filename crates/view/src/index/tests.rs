//! The index never misses a page, and does not bring up many that it need not.

use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidegate_core::Inclusion;

use super::*;
use crate::predicate::matches;

fn int(rng: &mut SmallRng) -> Value {
    Value::Int(rng.random_range(0..12))
}

fn text(rng: &mut SmallRng) -> Value {
    Value::text(["", "a", "ab", "abc", "b", "ba"][rng.random_range(0..6)])
}

/// Columns 0 and 1 are integers, column 2 is text.
fn test(rng: &mut SmallRng) -> Filter {
    let column = rng.random_range(0..3);
    let mut value = || match column {
        2 => text(rng),
        _ => int(rng),
    };
    let (a, b) = (value(), value());
    let polarity = match rng.random_ratio(3, 4) {
        true => Polarity::Inside,
        false => Polarity::Outside,
    };
    let comparisons = [
        Comparison::Equal,
        Comparison::NotEqual,
        Comparison::Less,
        Comparison::LessOrEqual,
        Comparison::Greater,
        Comparison::GreaterOrEqual,
    ];
    let check = match rng.random_range(0..9) {
        0 => Check::IsNull,
        1 => Check::IsNotNull,
        2 => Check::InList(Vec::new(), polarity),
        3 => {
            let mut list = vec![a, b];
            list.sort_by(|a, b| a.compare(b).expect("one kind"));
            list.dedup();
            Check::InList(list, polarity)
        }
        4 => Check::Between {
            low: (a, Inclusion::Excluded),
            high: (b, Inclusion::Included),
            polarity,
        },
        5 if column == 2 => {
            let prefix: Arc<str> = a.to_text().expect("no NULL").into();
            Check::Text(TextMatch::StartsWith, prefix)
        }
        _ => Check::Compare(comparisons[rng.random_range(0..6)], a),
    };
    Filter::Test(Test { column, check })
}

fn filter(depth: u32, rng: &mut SmallRng) -> Filter {
    if depth == 0 || rng.random_ratio(1, 3) {
        return test(rng);
    }
    let count = rng.random_range(0..4);
    let members = (0..count).map(|_| filter(depth - 1, rng)).collect();
    match rng.random() {
        true => Filter::All(members),
        false => Filter::Any(members),
    }
}

fn row(rng: &mut SmallRng) -> Vec<Value> {
    let mut row = vec![int(rng), int(rng), text(rng)];
    if rng.random_ratio(1, 4) {
        row[rng.random_range(0..3)] = Value::Null;
    }
    row
}

/// Every page whose filter a row satisfies is among the candidates, once, whatever was registered
/// and removed before; pages that are known to hold the row are not.
#[test]
fn finds_all_that_match() {
    let mut rng = SmallRng::seed_from_u64(3);
    let mut index = PredicateIndex::default();
    let mut pages: Vec<Option<Filter>> = vec![None; 60];
    let (mut considered, mut brought_up) = (0, 0);
    for _ in 0..6_000 {
        let slot = rng.random_range(0..pages.len());
        match pages[slot].take() {
            Some(_) => index.remove(slot as u32),
            None => {
                let filter = filter(2, &mut rng);
                index.insert(slot as u32, &filter);
                pages[slot] = Some(filter);
            }
        }
        let row = row(&mut rng);
        let known = [rng.random_range(0..10), 20];
        let known: Vec<u32> = known
            .into_iter()
            .filter(|slot| pages[*slot as usize].is_some())
            .collect();
        let mut found = Vec::new();
        index.candidates(&row, &known, &mut found);
        found.sort_unstable();
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "each once");
        for (slot, filter) in (0..).zip(&pages) {
            let is_due = filter.as_ref().is_some_and(|filter| matches(filter, &row))
                && !known.contains(&slot);
            assert!(!is_due || found.contains(&slot), "{filter:?} {row:?}");
            considered += usize::from(filter.is_some());
        }
        brought_up += found.len();
    }
    assert!(brought_up * 2 < considered, "{brought_up} of {considered}");
}

/// When all are removed nothing is left, not even an empty column.
#[test]
fn leaves_nothing_behind() {
    let mut rng = SmallRng::seed_from_u64(4);
    let mut index = PredicateIndex::default();
    for slot in 0..500 {
        index.insert(slot, &filter(3, &mut rng));
    }
    for slot in 0..500 {
        index.remove(slot);
    }
    assert!(index.columns.is_empty() && index.rest.is_empty());
}

/// Of two equalities the one is taken that tells pages apart, so that a common one does not
/// gather all.
#[test]
fn takes_the_equality_that_tells_apart() {
    let mut index = PredicateIndex::default();
    let equal = |column, value| {
        let check = Check::Compare(Comparison::Equal, Value::Int(value));
        Filter::Test(Test { column, check })
    };
    for slot in 0..1_000 {
        let filter = Filter::All(vec![equal(0, 1), equal(1, i64::from(slot))]);
        index.insert(slot, &filter);
    }
    let mut found = Vec::new();
    let row = [Value::Int(1), Value::Int(77), Value::Null];
    index.candidates(&row, &[], &mut found);
    assert!(found.contains(&77) && found.len() < 5, "{}", found.len());
}

/// Marks of an earlier round of the search counter are not taken for new ones.
#[test]
fn counter_may_go_round() {
    let mut index = PredicateIndex::default();
    index.insert(0, &Filter::everything());
    let find = |index: &mut PredicateIndex| {
        let mut found = Vec::new();
        index.candidates(&[], &[], &mut found);
        found
    };
    assert_eq!(find(&mut index), [0]);
    index.search = u32::MAX;
    assert_eq!(find(&mut index), [0]);
}
