//! Which page may be read from SQL next.
//!
//! Opens come in storms: after a restart every page of every tenant wants its rows at once. The
//! database sees a bounded number of reads at a time, and tenants take turns, so that one with ten
//! thousand pages does not starve one with ten.

use std::collections::{HashMap, VecDeque};

use tidegate_core::TenantId;

/// Waiting reads, by tenant.
pub(crate) struct SeedQueue<T> {
    waiting: HashMap<TenantId, VecDeque<T>>,
    /// Tenants with something waiting, whose turn is next first.
    turns: VecDeque<TenantId>,
    running: usize,
    running_max: usize,
}

impl<T> SeedQueue<T> {
    pub(crate) fn new(running_max: usize) -> Self {
        Self {
            waiting: HashMap::new(),
            turns: VecDeque::new(),
            running: 0,
            running_max,
        }
    }

    pub(crate) fn push(&mut self, tenant: &TenantId, seed: T) {
        let queue = self.waiting.entry(tenant.clone()).or_default();
        if queue.is_empty() {
            self.turns.push_back(tenant.clone());
        }
        queue.push_back(seed);
    }

    /// The next read to start, if one more may run.
    pub(crate) fn start(&mut self) -> Option<T> {
        if self.running == self.running_max {
            return None;
        }
        let tenant = self.turns.pop_front()?;
        let queue = self
            .waiting
            .get_mut(&tenant)
            .expect("a tenant with a turn waits");
        let seed = queue
            .pop_front()
            .expect("a tenant with a turn has something waiting");
        if queue.is_empty() {
            self.waiting.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        self.running += 1;
        Some(seed)
    }

    /// A started read has ended.
    pub(crate) fn finish(&mut self) {
        self.running -= 1;
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tenant with many pages waits its turn behind one with few, and no more run than may.
    #[test]
    fn tenants_take_turns() {
        let tenant = |name| TenantId::parse(name).expect("valid");
        let mut queue = SeedQueue::new(3);
        for seed in ["a1", "a2", "a3"] {
            queue.push(&tenant("a"), seed);
        }
        queue.push(&tenant("b"), "b1");
        let started: Vec<_> = std::iter::from_fn(|| queue.start()).collect();
        assert_eq!(started, ["a1", "b1", "a2"]);
        assert_eq!(queue.start(), None);
        queue.finish();
        assert_eq!(queue.start(), Some("a3"));
        assert_eq!(queue.waiting(), 0);
    }
}
