//! From two pages to the steps that lead a client from one to the other.
//!
//! The client replays the steps literally on its array of rows, so every index means the array as
//! it is at that step. Removals come first, by descending index. Then the new page is gone
//! through from its top; each row that is new or changed is put right behind its predecessor,
//! which is in place by then. Rows that are yet to move may stand in between for a while; each is
//! taken out when its turn comes.

use std::cmp::Reverse;

use tidegate_core::{PageChange, Row, Value};

/// Where a row of the new page was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nowhere.
    New,
    /// At this index, with the same values.
    Kept(u32),
    /// At this index, with other values.
    Changed(u32),
}

impl Origin {
    /// Its index before, if it was there.
    pub(crate) const fn index(self) -> Option<u32> {
        match self {
            Self::New => None,
            Self::Kept(at) | Self::Changed(at) => Some(at),
        }
    }
}

/// A row that is no longer on the page.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) from: u32,
    pub(crate) key: Box<[Value]>,
}

/// Stands in the running array for a row that is in place.
const PLACED: u32 = u32::MAX;

/// The steps from a page of `length` rows to the page whose rows came from `origins`.
///
/// Every old index is in exactly one of `gone` and `origins`, and kept rows are in their old
/// order: a row's place depends on its values alone.
pub(crate) fn steps<'a>(
    length: u32,
    mut gone: Vec<Gone>,
    origins: &[Origin],
    row_at: impl Fn(usize) -> &'a Row,
) -> Vec<PageChange> {
    let is_kept = |origin: &Origin| matches!(origin, Origin::Kept(_));
    if gone.is_empty() && origins.iter().all(is_kept) {
        return Vec::new();
    }
    let mut running: Vec<u32> = (0..length).collect();
    let mut changes = Vec::with_capacity(gone.len() + 1);
    gone.sort_unstable_by_key(|gone| Reverse(gone.from));
    for Gone { from, key } in gone {
        running.remove(from as usize);
        changes.push(PageChange::Removed { key, from });
    }
    // Index right behind the last row in place.
    let mut next = 0;
    for (index, origin) in origins.iter().enumerate() {
        match origin {
            Origin::Kept(old) => next = find(&running, next, *old) + 1,
            Origin::New => {
                running.insert(next, PLACED);
                let row = row_at(index).clone();
                let pos = next as u32;
                changes.push(PageChange::Added { row, pos });
                next += 1;
            }
            Origin::Changed(old) => {
                let from = find(&running, 0, *old);
                running.remove(from);
                // It stood among the rows in place, waiting for this.
                if from < next {
                    next -= 1;
                }
                running.insert(next, PLACED);
                changes.push(PageChange::Modified {
                    row: row_at(index).clone(),
                    from: from as u32,
                    pos: next as u32,
                });
                next += 1;
            }
        }
    }
    changes
}

fn find(running: &[u32], start: usize, old: u32) -> usize {
    let at = running[start..].iter().position(|entry| *entry == old);
    start + at.expect("a row that was not removed is in the running array")
}

/// Whether two rows look the same to a client. Not equality: `1.5` and `1.50` are equal but are
/// shown differently, and NaN is shown like any other NaN but is not equal to it.
pub(crate) fn is_same(a: &Row, b: &Row) -> bool {
    a.is_same(b) || (a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| is_same_value(a, b)))
}

fn is_same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => {
            a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
        }
        (Value::Numeric(a), Value::Numeric(b)) => a.as_str() == b.as_str(),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests;
