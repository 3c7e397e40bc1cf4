//! Which pages a row may be on.

use tidegate_core::{Filter, Value};

/// Pages by their filters.
#[derive(Debug, Default)]
pub(crate) struct PredicateIndex {
    rest: Vec<u32>,
}

impl PredicateIndex {
    pub(crate) fn insert(&mut self, slot: u32, _filter: &Filter) {
        self.rest.push(slot);
    }

    pub(crate) fn remove(&mut self, slot: u32, _filter: &Filter) {
        self.rest.retain(|other| *other != slot);
    }

    /// Adds the pages that may have the row, each once and without those of `known`.
    pub(crate) fn candidates(&mut self, _row: &[Value], known: &[u32], out: &mut Vec<u32>) {
        out.extend(self.rest.iter().filter(|slot| !known.contains(slot)));
    }
}
