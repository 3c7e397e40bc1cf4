//! Which pages may be read from SQL next.
//!
//! Opens come in storms: after a restart every page of every tenant wants its rows at once. The
//! database sees a bounded number of reads at a time, and tenants take turns, so that one with ten
//! thousand pages does not starve one with ten. What a tenant has waiting is read together, as far
//! as one turn may reach, because reads that share a snapshot are cheaper.

use std::collections::{HashMap, VecDeque};

use tidegate_core::TenantId;

/// Waiting reads, by tenant.
pub(crate) struct SeedQueue<T> {
    waiting: HashMap<TenantId, VecDeque<T>>,
    /// Tenants with something waiting, whose turn is next first.
    turns: VecDeque<TenantId>,
    waiting_count: usize,
    bounds: Bounds,
    running: usize,
}

/// What a database is asked at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Turns under way.
    pub(crate) turns_max: usize,
    /// Reads of one turn. Whoever comes next waits for that many.
    pub(crate) reads_max: usize,
}

impl<T> SeedQueue<T> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            waiting: HashMap::new(),
            turns: VecDeque::new(),
            waiting_count: 0,
            bounds,
            running: 0,
        }
    }

    pub(crate) fn push(&mut self, tenant: &TenantId, seed: T) {
        let queue = self.waiting.entry(tenant.clone()).or_default();
        if queue.is_empty() {
            self.turns.push_back(tenant.clone());
        }
        queue.push_back(seed);
        self.waiting_count += 1;
    }

    /// The reads of the next turn, if one more may be under way.
    pub(crate) fn start(&mut self) -> Option<Vec<T>> {
        let free = self.bounds.turns_max - self.running;
        if free == 0 {
            return None;
        }
        let tenant = self.turns.pop_front()?;
        let queue = self
            .waiting
            .get_mut(&tenant)
            .expect("a tenant with a turn waits");
        // Side by side as far as may be: together is for what would wait otherwise.
        let count = self.waiting_count.div_ceil(free);
        let count = count.min(self.bounds.reads_max).min(queue.len());
        let seeds: Vec<T> = queue.drain(..count).collect();
        self.waiting_count -= count;
        if queue.is_empty() {
            self.waiting.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        self.running += 1;
        Some(seeds)
    }

    /// A started turn has ended.
    pub(crate) fn finish(&mut self) {
        self.running -= 1;
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).expect("valid")
    }

    fn queue(turns_max: usize, reads_max: usize) -> SeedQueue<String> {
        SeedQueue::new(Bounds {
            turns_max,
            reads_max,
        })
    }

    fn push(queue: &mut SeedQueue<String>, name: &str, seeds: std::ops::Range<usize>) {
        for seed in seeds {
            queue.push(&tenant(name), format!("{name}{seed}"));
        }
    }

    /// A tenant with many pages waits its turn behind one with few, and no more run than may.
    #[test]
    fn tenants_take_turns() {
        let mut queue = queue(3, 1);
        push(&mut queue, "a", 0..3);
        push(&mut queue, "b", 0..1);
        let started: Vec<_> = std::iter::from_fn(|| queue.start()).flatten().collect();
        assert_eq!(started, ["a0", "b0", "a1"]);
        assert_eq!(queue.start(), None);
        queue.finish();
        assert_eq!(queue.start(), Some(vec!["a2".to_owned()]));
        assert_eq!(queue.waiting(), 0);
    }

    /// Few reads run side by side; of many, one turn takes several, but no more than it may, and
    /// none of another tenant.
    #[test]
    fn what_would_wait_goes_together() {
        let mut few = queue(4, 16);
        push(&mut few, "a", 0..6);
        let sizes: Vec<_> = std::iter::from_fn(|| few.start())
            .map(|turn| turn.len())
            .collect();
        assert_eq!(sizes, [2, 2, 1, 1]);
        let mut many = queue(2, 16);
        push(&mut many, "a", 0..100);
        push(&mut many, "b", 0..3);
        let turns: Vec<_> = std::iter::from_fn(|| many.start()).collect();
        assert_eq!(turns[0].len(), 16);
        assert_eq!(turns[1], ["b0", "b1", "b2"]);
    }

    /// A herd of ten thousand opens of one tenant: whenever another comes, it is the next or next
    /// but one to start, and everything is started once.
    #[test]
    fn a_herd_delays_another_tenant_by_its_turn_only() {
        let mut queue = queue(4, 16);
        push(&mut queue, "herd", 0..10_000);
        let mut under_way: VecDeque<_> = std::iter::from_fn(|| queue.start()).collect();
        let mut herd_started: usize = under_way.iter().map(Vec::len).sum();
        for open in 0..500 {
            push(&mut queue, "calm", open..open + 1);
            let mut turns_before = 0;
            loop {
                under_way.pop_front().expect("as many as may are under way");
                queue.finish();
                let started = queue.start().expect("something waits");
                under_way.push_back(started.clone());
                if started[0].starts_with("calm") {
                    assert_eq!(started, [format!("calm{open}")]);
                    break;
                }
                herd_started += started.len();
                turns_before += 1;
            }
            assert!(
                turns_before <= 1,
                "{turns_before} turns of the herd came before"
            );
        }
        while let Some(turn) = under_way.pop_front() {
            drop(turn);
            queue.finish();
            if let Some(started) = queue.start() {
                herd_started += started.len();
                under_way.push_back(started);
            }
        }
        assert_eq!((herd_started, queue.waiting()), (10_000, 0));
    }
}
