//! The hot cache inside one process.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use tidegate_core::{Position, RoutingKey};

use crate::cache::{Appended, HotCache, Replay, TailEntry};
use crate::error::PortError;

/// Bounds of a [`MemoryCache`].
#[derive(Debug, Clone, Copy)]
pub struct MemoryCacheLimits {
    /// Entries of one tail: past this many missed diffs a fresh page is cheaper for the client.
    pub tail_entries_max: usize,
    /// Bytes of all tails together; the tails written longest ago go first.
    pub bytes_max: usize,
}

impl Default for MemoryCacheLimits {
    fn default() -> Self {
        Self {
            tail_entries_max: 1_024,
            bytes_max: 128 << 20,
        }
    }
}

#[derive(Default)]
struct Tail {
    entries: VecDeque<(Position, Bytes)>,
    /// When it was last written, in appends.
    written: u64,
}

#[derive(Default)]
struct State {
    tails: HashMap<RoutingKey, Tail>,
    /// Keys in the order of writing; an older mention of a key that was written again is skipped.
    by_age: VecDeque<(u64, RoutingKey)>,
    appends: u64,
    bytes: usize,
}

/// A [`HotCache`] in memory.
pub struct MemoryCache {
    limits: MemoryCacheLimits,
    state: Mutex<State>,
}

/// What an entry costs beside its value.
const ENTRY_BYTES: usize = 64;

impl MemoryCache {
    /// An empty cache.
    #[must_use]
    pub fn new(limits: MemoryCacheLimits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }
}

impl State {
    /// Appends one entry, or says that its position is not above the newest.
    fn append(&mut self, entry: TailEntry, limits: MemoryCacheLimits) -> Result<(), ()> {
        let tail = self.tails.entry(entry.key.clone()).or_default();
        let newest = tail.entries.back().map(|(position, _)| *position);
        if newest.is_some_and(|newest| entry.position <= newest) {
            return Err(());
        }
        if newest.is_some_and(|newest| !entry.position.follows(newest)) {
            // What came before can no longer be part of a whole run.
            self.bytes -= tail
                .entries
                .drain(..)
                .map(|(_, value)| value.len() + ENTRY_BYTES)
                .sum::<usize>();
        }
        self.bytes += entry.value.len() + ENTRY_BYTES;
        tail.entries.push_back((entry.position, entry.value));
        if tail.entries.len() > limits.tail_entries_max {
            let (_, value) = tail.entries.pop_front().expect("there is more than one");
            self.bytes -= value.len() + ENTRY_BYTES;
        }
        self.appends += 1;
        tail.written = self.appends;
        self.by_age.push_back((self.appends, entry.key));
        Ok(())
    }

    fn evict(&mut self, bytes_max: usize) {
        while let Some((written, key)) = self.by_age.front() {
            let current = self
                .tails
                .get(key)
                .is_some_and(|tail| tail.written == *written);
            if current && self.bytes <= bytes_max {
                return;
            }
            let (_, key) = self.by_age.pop_front().expect("just seen");
            if current {
                let tail = self.tails.remove(&key).expect("just seen");
                let bytes: usize = tail
                    .entries
                    .iter()
                    .map(|(_, v)| v.len() + ENTRY_BYTES)
                    .sum();
                self.bytes -= bytes;
            }
        }
    }
}

#[async_trait]
impl HotCache for MemoryCache {
    async fn append(&self, entries: Vec<TailEntry>) -> Result<Appended, PortError> {
        let mut state = self.lock();
        let mut appended = Appended::default();
        for entry in entries {
            appended.refused += usize::from(state.append(entry, self.limits).is_err());
        }
        state.evict(self.limits.bytes_max);
        Ok(appended)
    }

    async fn replay(&self, key: &RoutingKey, after: Position) -> Result<Replay, PortError> {
        let state = self.lock();
        let Some(tail) = state.tails.get(key) else {
            return Ok(Replay::Gap);
        };
        // A tail is dense and of one epoch, so knowing the position itself, or starting right
        // behind it, is enough.
        let at = tail
            .entries
            .partition_point(|(position, _)| *position <= after);
        let whole = match at.checked_sub(1).map(|before| tail.entries[before].0) {
            Some(before) => before == after,
            None => tail
                .entries
                .front()
                .is_some_and(|(first, _)| first.follows(after)),
        };
        match whole {
            true => Ok(Replay::Complete(
                tail.entries.iter().skip(at).cloned().collect(),
            )),
            false => Ok(Replay::Gap),
        }
    }
}
