//! Intervals of keys, and which of them hold a point.
//!
//! A treap ordered by lower end, in which every node knows the highest upper end below it: a
//! search for a point skips each subtree that ends before the point, and each that begins after
//! it. Registering, removing and finding take logarithmic time, and a finding one step more for
//! each interval found.

use std::cmp::Ordering;

use crate::sort_key::KeyBytes;

/// No node.
const NONE: u32 = u32::MAX;

/// A closed interval that belongs to a page's slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) low: KeyBytes,
    pub(crate) high: KeyBytes,
    pub(crate) slot: u32,
}

impl Interval {
    fn order(&self, other: &Self) -> Ordering {
        self.low
            .cmp(&other.low)
            .then(self.slot.cmp(&other.slot))
            .then_with(|| self.high.cmp(&other.high))
    }
}

#[derive(Debug)]
struct Node {
    interval: Interval,
    /// The node at or below this one whose interval ends last.
    ends_last: u32,
    left: u32,
    right: u32,
    priority: u32,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Intervals {
    nodes: Vec<Node>,
    free: Vec<u32>,
    root: u32,
    /// Makes priorities. They only have to be unrelated to the order of the intervals.
    sequence: u32,
}

impl Default for Intervals {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            free: Vec::new(),
            root: NONE,
            sequence: 1,
        }
    }
}

impl Intervals {
    pub(crate) fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    pub(crate) fn insert(&mut self, interval: Interval) {
        let priority = self.next_priority();
        let node = Node {
            interval,
            ends_last: NONE,
            left: NONE,
            right: NONE,
            priority,
        };
        let at = match self.free.pop() {
            Some(at) => {
                self.nodes[at as usize] = node;
                at
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        };
        self.nodes[at as usize].ends_last = at;
        self.root = self.insert_below(self.root, at);
    }

    /// Removes one; an unknown one is ignored.
    pub(crate) fn remove(&mut self, interval: &Interval) {
        self.root = self.remove_below(self.root, interval);
    }

    /// Calls `found` with the slot of each interval that holds the point.
    pub(crate) fn holding(&self, point: &KeyBytes, found: &mut impl FnMut(u32)) {
        self.visit(self.root, point, found);
    }

    fn visit(&self, at: u32, point: &KeyBytes, found: &mut impl FnMut(u32)) {
        if at == NONE {
            return;
        }
        let node = &self.nodes[at as usize];
        if self.nodes[node.ends_last as usize].interval.high < *point {
            return;
        }
        self.visit(node.left, point, found);
        if node.interval.low <= *point {
            if node.interval.high >= *point {
                found(node.interval.slot);
            }
            self.visit(node.right, point, found);
        }
    }

    /// Xorshift: never zero, and without a period that an order of arrival could follow.
    fn next_priority(&mut self) -> u32 {
        let mut x = self.sequence;
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.sequence = x;
        x
    }

    /// The root of the subtree with the new node in it.
    fn insert_below(&mut self, root: u32, new: u32) -> u32 {
        if root == NONE {
            return new;
        }
        if self.nodes[new as usize].priority > self.nodes[root as usize].priority {
            let (left, right) = self.split(root, new);
            self.nodes[new as usize].left = left;
            self.nodes[new as usize].right = right;
            self.refresh(new);
            return new;
        }
        let is_left = self.is_before(new, root);
        if is_left {
            let left = self.nodes[root as usize].left;
            self.nodes[root as usize].left = self.insert_below(left, new);
        } else {
            let right = self.nodes[root as usize].right;
            self.nodes[root as usize].right = self.insert_below(right, new);
        }
        self.refresh(root);
        root
    }

    /// Splits a subtree into what is before a node and what is not.
    fn split(&mut self, root: u32, pivot: u32) -> (u32, u32) {
        if root == NONE {
            return (NONE, NONE);
        }
        if self.is_before(root, pivot) {
            let (middle, right) = self.split(self.nodes[root as usize].right, pivot);
            self.nodes[root as usize].right = middle;
            self.refresh(root);
            (root, right)
        } else {
            let (left, middle) = self.split(self.nodes[root as usize].left, pivot);
            self.nodes[root as usize].left = middle;
            self.refresh(root);
            (left, root)
        }
    }

    fn remove_below(&mut self, root: u32, interval: &Interval) -> u32 {
        if root == NONE {
            return NONE;
        }
        let Node { left, right, .. } = self.nodes[root as usize];
        match interval.order(&self.nodes[root as usize].interval) {
            Ordering::Equal => {
                self.free.push(root);
                return self.merge(left, right);
            }
            Ordering::Less => {
                self.nodes[root as usize].left = self.remove_below(left, interval);
            }
            Ordering::Greater => {
                self.nodes[root as usize].right = self.remove_below(right, interval);
            }
        }
        self.refresh(root);
        root
    }

    /// Joins two subtrees, the first of which is before the second.
    fn merge(&mut self, left: u32, right: u32) -> u32 {
        if left == NONE {
            return right;
        }
        if right == NONE {
            return left;
        }
        if self.nodes[left as usize].priority > self.nodes[right as usize].priority {
            let middle = self.nodes[left as usize].right;
            self.nodes[left as usize].right = self.merge(middle, right);
            self.refresh(left);
            left
        } else {
            let middle = self.nodes[right as usize].left;
            self.nodes[right as usize].left = self.merge(left, middle);
            self.refresh(right);
            right
        }
    }

    fn is_before(&self, a: u32, b: u32) -> bool {
        let interval = |at: u32| &self.nodes[at as usize].interval;
        interval(a).order(interval(b)).is_lt()
    }

    /// Finds again which interval below a node ends last.
    fn refresh(&mut self, at: u32) {
        let Node { left, right, .. } = self.nodes[at as usize];
        let mut last = at;
        for child in [left, right] {
            if child == NONE {
                continue;
            }
            let candidate = self.nodes[child as usize].ends_last;
            let high = |at: u32| &self.nodes[at as usize].interval.high;
            if high(candidate) > high(last) {
                last = candidate;
            }
        }
        self.nodes[at as usize].ends_last = last;
    }
}

#[cfg(test)]
mod tests;
