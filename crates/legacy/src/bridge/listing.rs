//! The rows of a page in order, and what changes one such list into another.
//!
//! A client behind an old gateway may hold something else than its neighbours: each was given its
//! rows by SQL, at a moment of its own, and a diff goes to all of them. So what is said here is
//! right for whoever replays it literally from `before`, and also for whoever holds `after` already
//! and goes by primary keys: takes a row out if it is there, then puts it in at `pos`. Removals
//! come first, insertions by rising position: then every `pos` is a final one, and to hear all of
//! it again changes nothing.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;
use tidegate_protocol::WireChange;

/// One row of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) pk: Arc<str>,
    /// A JSON object.
    pub(super) row: Arc<str>,
}

/// The index of a row that may not be there, or nobody knows where: past every page, so that
/// whoever goes by it deletes nothing.
pub(super) const NOWHERE: u32 = u32::MAX;

/// What leads from one list to another, and nothing when they say the same.
pub(super) fn net(before: &[Entry], after: &[Entry]) -> Vec<WireChange> {
    let places: HashMap<&str, usize> = (0..).zip(after).map(|(at, row)| (&*row.pk, at)).collect();
    let goals: Vec<Option<usize>> = before
        .iter()
        .map(|row| places.get(&*row.pk).copied())
        .collect();
    let stays = longest_rise(&goals);
    let mut stayed: HashMap<usize, &Entry> = HashMap::new();
    let mut changes = Vec::new();
    for (from, row) in before.iter().enumerate().rev() {
        match goals[from].filter(|_| stays[from]) {
            Some(goal) => {
                stayed.insert(goal, row);
            }
            None => changes.push(WireChange::Removed {
                pk: row.pk.to_string(),
                from: index(from),
            }),
        }
    }
    for (pos, row) in after.iter().enumerate() {
        match stayed.get(&pos) {
            Some(held) if says_the_same(&held.row, &row.row) => {}
            Some(_) => changes.push(put(row, pos, Some(pos))),
            None => changes.push(put(row, pos, None)),
        }
    }
    changes
}

/// Says a whole list to somebody who holds any of these rows, in any order.
pub(super) fn restate(held: &BTreeSet<Arc<str>>, after: &[Entry]) -> Vec<WireChange> {
    let staying: BTreeSet<&str> = after.iter().map(|row| &*row.pk).collect();
    let gone = held.iter().filter(|pk| !staying.contains(&***pk));
    let removed = gone.map(|pk| WireChange::Removed {
        pk: pk.to_string(),
        from: NOWHERE,
    });
    let placed = after.iter().enumerate().map(|(pos, row)| {
        let from = held.contains(&row.pk).then_some(pos);
        put(row, pos, from)
    });
    removed.chain(placed).collect()
}

fn put(row: &Entry, pos: usize, from: Option<usize>) -> WireChange {
    let (pk, pos, row) = (row.pk.to_string(), index(pos), row.row.to_string());
    match from {
        Some(from) => WireChange::Modified {
            pk,
            from: index(from),
            pos,
            row,
        },
        None => WireChange::Added { pk, pos, row },
    }
}

fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(NOWHERE)
}

/// Whether two rows are one: what SQL workers write need not have our spelling.
pub(super) fn says_the_same(left: &str, right: &str) -> bool {
    let value = |text: &str| serde_json::from_str::<Value>(text).ok();
    left == right || value(left).is_some_and(|left| Some(left) == value(right))
}

/// Which members of a sequence are in one longest rising part of it; those without a number are
/// not.
fn longest_rise(numbers: &[Option<usize>]) -> Vec<bool> {
    // The member that ends the best rise of each length, and who came before each member.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; numbers.len()];
    for (at, number) in numbers.iter().enumerate() {
        let Some(number) = *number else { continue };
        let length = ends.partition_point(|end| numbers[*end].is_some_and(|end| end < number));
        before[at] = length.checked_sub(1).map(|shorter| ends[shorter]);
        match ends.get_mut(length) {
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let mut stays = vec![false; numbers.len()];
    let mut next = ends.last().copied();
    while let Some(at) = next {
        stays[at] = true;
        next = before[at];
    }
    stays
}

#[cfg(test)]
mod tests;
