//! Which pages a row may be on, without asking each.
//!
//! Every page is registered under a *cover* of its filter: a set of simple conditions, of which
//! at least one holds whenever the filter does. An equality is found by hash, a range by the
//! interval that holds the value. Of an AND any member's cover will do, and the one that the
//! fewest rows are expected to meet is taken; an OR needs those of all its members. A filter
//! without a cover (`notEquals`, `contains`) puts its page on the list of the rest, which every
//! change looks at.
//!
//! A cover may claim too much, never too little: the filter itself is evaluated afterwards. So
//! ends of ranges are all taken as included, and values that share a hash share a list.

use std::hash::{BuildHasher, RandomState};

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use tidegate_core::{Check, Comparison, Filter, Polarity, Test, TextMatch, Value};

use crate::intervals::{Interval, Intervals};
use crate::sort_key::KeyBytes;

/// Conditions in one cover. A longer list is covered by the range from its first value to its
/// last; a longer OR is not worth its entries.
const CONDITIONS_MAX: usize = 256;

/// Cost of a condition that every row meets.
const COST_OF_ALL: usize = 1_000_000;

/// A guess: a row is in one of so many ranges with two ends.
const RANGES_WITH_TWO_ENDS: usize = 16;

/// A guess: a row is in one of so many ranges with one end.
const RANGES_WITH_ONE_END: usize = 2;

/// A condition of a cover.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    /// The column has a value of this hash.
    Equal { column: usize, hash: u64 },
    /// The column's value is in this interval.
    Within { column: usize, interval: Interval },
}

/// A cover, and how large a share of all rows is expected to meet it.
#[derive(Debug)]
struct Cover {
    conditions: Vec<Condition>,
    cost: usize,
}

#[derive(Debug, Default)]
struct ColumnIndex {
    column: usize,
    equal: FxHashMap<u64, SmallVec<[u32; 4]>>,
    within: Intervals,
}

/// About how many different values filters ask a column to equal: a bit for each hash, so that up
/// to some thousands can be told from few.
#[derive(Debug)]
struct Asked {
    bits: [u64; 64],
    count: usize,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            bits: [0; 64],
            count: 0,
        }
    }
}

impl Asked {
    fn note(&mut self, hash: u64) {
        let word = &mut self.bits[(hash >> 6 & 63) as usize];
        let bit = 1 << (hash & 63);
        self.count += usize::from(*word & bit == 0);
        *word |= bit;
    }
}

/// Pages by the covers of their filters.
#[derive(Debug, Default)]
pub(crate) struct PredicateIndex {
    /// Columns that some cover is about.
    columns: Vec<ColumnIndex>,
    rest: Vec<u32>,
    /// By slot: the conditions that a page is registered under; `None` when it is with the rest.
    registered: Vec<Option<Box<[Condition]>>>,
    /// By slot: the search that came upon it last.
    found_by: Vec<u32>,
    search: u32,
    /// By column. It only grows; as a guide to what tells pages apart the past will do.
    asked: FxHashMap<usize, Box<Asked>>,
    /// Keyed, so that clients cannot choose values that share a hash.
    hasher: RandomState,
}

impl PredicateIndex {
    pub(crate) fn insert(&mut self, slot: u32, filter: &Filter) {
        let at = slot as usize;
        if self.registered.len() <= at {
            self.registered.resize(at + 1, None);
            self.found_by.resize(at + 1, 0);
        }
        self.note_asked(filter);
        self.registered[at] = match self.cover(slot, filter) {
            None => {
                self.rest.push(slot);
                None
            }
            Some(Cover { mut conditions, .. }) => {
                conditions.dedup();
                for condition in &conditions {
                    self.add(slot, condition);
                }
                Some(conditions.into())
            }
        };
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        match self.registered[slot as usize].take() {
            None => remove_one(&mut self.rest, slot),
            Some(conditions) => {
                for condition in &conditions {
                    self.drop(slot, condition);
                }
            }
        }
    }

    /// Pages that every change looks at.
    pub(crate) fn rest_count(&self) -> usize {
        self.rest.len()
    }

    /// Adds the pages that may have the row, each once and without those of `known`.
    pub(crate) fn candidates(&mut self, row: &[Value], known: &[u32], out: &mut Vec<u32>) {
        self.begin_search();
        let (found_by, search) = (&mut self.found_by, self.search);
        for slot in known {
            found_by[*slot as usize] = search;
        }
        let mut find = |slot: u32| {
            let last = &mut found_by[slot as usize];
            if *last != search {
                *last = search;
                out.push(slot);
            }
        };
        for index in &self.columns {
            let value = row.get(index.column).unwrap_or(&Value::Null);
            let key = KeyBytes::of_value(value);
            if !index.equal.is_empty() {
                let slots = index.equal.get(&self.hasher.hash_one(&key));
                slots.into_iter().flatten().copied().for_each(&mut find);
            }
            if !value.is_null() {
                index.within.holding(&key, &mut find);
            }
        }
        self.rest.iter().copied().for_each(&mut find);
    }

    /// When the count of searches has gone round, an old mark could be taken for a new one.
    fn begin_search(&mut self) {
        self.search = self.search.wrapping_add(1);
        if self.search == 0 {
            self.found_by.fill(0);
            self.search = 1;
        }
    }

    fn note_asked(&mut self, filter: &Filter) {
        match filter {
            Filter::All(members) | Filter::Any(members) => {
                members.iter().for_each(|member| self.note_asked(member));
            }
            Filter::Test(Test { column, check }) => {
                let values = match check {
                    Check::Compare(Comparison::Equal, value) => std::slice::from_ref(value),
                    Check::InList(values, Polarity::Inside) => values,
                    Check::IsNull
                    | Check::IsNotNull
                    | Check::Compare(..)
                    | Check::Between { .. }
                    | Check::InList(_, Polarity::Outside)
                    | Check::Text(..)
                    | Check::Folded(..)
                    | Check::Pattern(..)
                    | Check::Array(_)
                    | Check::Json(_)
                    | Check::Range(..) => return,
                };
                let asked = self.asked.entry(*column).or_default();
                for value in values.iter().take(CONDITIONS_MAX) {
                    asked.note(self.hasher.hash_one(KeyBytes::of_value(value)));
                }
            }
        }
    }

    fn cover(&self, slot: u32, filter: &Filter) -> Option<Cover> {
        match filter {
            Filter::Test(test) => self.cover_of_test(slot, test),
            Filter::All(members) => members
                .iter()
                .filter_map(|member| self.cover(slot, member))
                .min_by_key(|cover| cover.cost),
            Filter::Any(members) => {
                let mut union = Cover {
                    conditions: Vec::new(),
                    cost: 0,
                };
                for member in members {
                    let cover = self.cover(slot, member)?;
                    union.conditions.extend(cover.conditions);
                    union.cost += cover.cost;
                    if union.conditions.len() > CONDITIONS_MAX {
                        return None;
                    }
                }
                Some(union)
            }
        }
    }

    fn cover_of_test(&self, slot: u32, Test { column, check }: &Test) -> Option<Cover> {
        let column = *column;
        let key = KeyBytes::of_value;
        let within = |low, high| self.within(column, Interval { low, high, slot });
        match check {
            Check::IsNull => Some(self.equal(column, [&Value::Null])),
            Check::Compare(Comparison::Equal, value) => Some(self.equal(column, [value])),
            Check::InList(values, Polarity::Inside) => match &values[..] {
                [low, .., high] if values.len() > CONDITIONS_MAX => {
                    Some(within(key(low), key(high)))
                }
                few => Some(self.equal(column, few)),
            },
            Check::Compare(Comparison::Less | Comparison::LessOrEqual, value) => {
                Some(within(KeyBytes::lowest(), key(value)))
            }
            Check::Compare(Comparison::Greater | Comparison::GreaterOrEqual, value) => {
                Some(within(key(value), KeyBytes::highest()))
            }
            Check::Between {
                low,
                high,
                polarity: Polarity::Inside,
            } => Some(within(key(&low.0), key(&high.0))),
            Check::Text(TextMatch::StartsWith, prefix) => {
                let (low, high) = KeyBytes::of_prefix(prefix);
                Some(within(low, high))
            }
            Check::IsNotNull
            | Check::Compare(Comparison::NotEqual, _)
            | Check::InList(_, Polarity::Outside)
            | Check::Between {
                polarity: Polarity::Outside,
                ..
            }
            | Check::Text(TextMatch::EndsWith, _)
            | Check::Text(TextMatch::Contains | TextMatch::NotContains, _)
            | Check::Folded(..)
            | Check::Pattern(..)
            | Check::Array(_)
            | Check::Json(_)
            | Check::Range(..) => None,
        }
    }

    /// A row equals one of the values that filters ask for, so the column they ask most values of
    /// is the one that tells rows apart. Between columns that do so alike, pages are spread
    /// evenly.
    fn equal<'a>(&self, column: usize, values: impl IntoIterator<Item = &'a Value>) -> Cover {
        let index = self.columns.iter().find(|index| index.column == column);
        let asked = self
            .asked
            .get(&column)
            .map_or(1, |asked| asked.count.max(1));
        let mut cost = 0;
        let condition = |value: &Value| {
            let hash = self.hasher.hash_one(KeyBytes::of_value(value));
            let slots = index.and_then(|index| index.equal.get(&hash));
            cost += COST_OF_ALL / asked + slots.map_or(0, |slots| slots.len());
            Condition::Equal { column, hash }
        };
        let conditions = values.into_iter().map(condition).collect();
        Cover { conditions, cost }
    }

    fn within(&self, column: usize, interval: Interval) -> Cover {
        let is_open = interval.low == KeyBytes::lowest() || interval.high == KeyBytes::highest();
        let ranges = match is_open {
            true => RANGES_WITH_ONE_END,
            false => RANGES_WITH_TWO_ENDS,
        };
        let conditions = vec![Condition::Within { column, interval }];
        let cost = COST_OF_ALL / ranges;
        Cover { conditions, cost }
    }

    fn add(&mut self, slot: u32, condition: &Condition) {
        match condition {
            Condition::Equal { column, hash } => {
                let slots = self.column_mut(*column).equal.entry(*hash).or_default();
                // A list may have two values of one hash.
                if slots.last() != Some(&slot) {
                    slots.push(slot);
                }
            }
            Condition::Within { column, interval } => {
                self.column_mut(*column).within.insert(interval.clone());
            }
        }
    }

    fn drop(&mut self, slot: u32, condition: &Condition) {
        match condition {
            Condition::Equal { column, hash } => {
                let equal = &mut self.column_mut(*column).equal;
                if let Some(slots) = equal.get_mut(hash) {
                    if let Some(at) = slots.iter().position(|other| *other == slot) {
                        slots.swap_remove(at);
                    }
                    if slots.is_empty() {
                        equal.remove(hash);
                    }
                }
            }
            Condition::Within { column, interval } => {
                self.column_mut(*column).within.remove(interval);
            }
        }
        self.columns
            .retain(|index| !index.equal.is_empty() || index.within.len() > 0);
    }

    fn column_mut(&mut self, column: usize) -> &mut ColumnIndex {
        let at = self
            .columns
            .iter()
            .position(|index| index.column == column)
            .unwrap_or_else(|| {
                self.columns.push(ColumnIndex {
                    column,
                    ..ColumnIndex::default()
                });
                self.columns.len() - 1
            });
        &mut self.columns[at]
    }
}

fn remove_one(slots: &mut Vec<u32>, slot: u32) {
    if let Some(at) = slots.iter().position(|other| *other == slot) {
        slots.swap_remove(at);
    }
}

#[cfg(test)]
mod tests;
