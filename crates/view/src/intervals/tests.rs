//! Intervals against a plain list of them.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidegate_core::Value;

use super::*;

fn interval(low: i64, high: i64, slot: u32) -> Interval {
    let key = |value| KeyBytes::of_value(&Value::Int(value));
    let (low, high) = (key(low), key(high));
    Interval { low, high, slot }
}

fn found(intervals: &Intervals, point: &KeyBytes) -> Vec<u32> {
    let mut slots = Vec::new();
    intervals.holding(point, &mut |slot| slots.push(slot));
    slots.sort_unstable();
    slots
}

/// Under random registrations and removals, also of equal and of backward intervals, exactly the
/// intervals that hold a point are found.
#[test]
fn finds_what_a_scan_finds() {
    let mut rng = SmallRng::seed_from_u64(7);
    let mut intervals = Intervals::default();
    let mut list: Vec<Interval> = Vec::new();
    for _ in 0..3_000 {
        if list.is_empty() || rng.random_ratio(3, 5) {
            let low = rng.random_range(0..40);
            let high = low + rng.random_range(-2..20);
            let new = interval(low, high, rng.random_range(0..50));
            if !list.contains(&new) {
                intervals.insert(new.clone());
                list.push(new);
            }
        } else {
            let old = list.swap_remove(rng.random_range(0..list.len()));
            intervals.remove(&old);
            intervals.remove(&old);
        }
        assert_eq!(intervals.len(), list.len());
        let point = KeyBytes::of_value(&Value::Int(rng.random_range(-2..60)));
        let mut expected: Vec<u32> = list
            .iter()
            .filter(|interval| interval.low <= point && interval.high >= point)
            .map(|interval| interval.slot)
            .collect();
        expected.sort_unstable();
        assert_eq!(found(&intervals, &point), expected);
    }
}

/// The tree stays shallow when intervals arrive in order, as those of a ticket counter do.
#[test]
fn stays_shallow() {
    let mut intervals = Intervals::default();
    for at in 0..20_000 {
        intervals.insert(interval(at, at + 1, at as u32));
    }
    let depth = depth(&intervals, intervals.root);
    assert!(depth < 60, "{depth} levels for 20,000 intervals");
}

fn depth(intervals: &Intervals, at: u32) -> usize {
    if at == NONE {
        return 0;
    }
    let node = &intervals.nodes[at as usize];
    1 + depth(intervals, node.left).max(depth(intervals, node.right))
}
