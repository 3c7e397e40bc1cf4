//! Shared pages inside one process: for a gateway that has no cache server, and for tests.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tidegate_core::Lsn;
use tokio::time::Instant;

use crate::error::PortError;
use crate::shared_pages::{Claimed, Left, PageClaim, SharedDiff, SharedPages};

/// Bounds of [`MemorySharedPages`].
#[derive(Debug, Clone, Copy)]
pub struct SharedPagesLimits {
    /// How long a claim holds.
    pub lease: Duration,
    /// Entries of one list.
    pub diffs_max: usize,
    /// How long a list and a page are kept after their newest entry; `None` is for ever.
    pub retention: Option<Duration>,
}

impl Default for SharedPagesLimits {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(60),
            diffs_max: 5_000,
            retention: Some(Duration::from_secs(600)),
        }
    }
}

#[derive(Default)]
struct Claims {
    query: String,
    until: BTreeMap<u64, Instant>,
}

impl Claims {
    fn forget_lapsed(&mut self, now: Instant) {
        self.until.retain(|_, until| *until > now);
    }
}

struct Kept<T> {
    content: T,
    since: Instant,
}

#[derive(Default)]
struct State {
    claims: HashMap<String, Claims>,
    diffs: HashMap<String, Kept<VecDeque<String>>>,
    pages: HashMap<String, Kept<(Lsn, Bytes)>>,
    ranges: HashMap<String, Vec<String>>,
    /// The newest offset kept of each partition.
    marks: HashMap<(String, u32), u64>,
}

/// [`SharedPages`] in memory.
pub struct MemorySharedPages {
    limits: SharedPagesLimits,
    lsn_of: fn(&[u8]) -> Option<Lsn>,
    state: Mutex<State>,
}

impl std::fmt::Debug for MemorySharedPages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemorySharedPages")
    }
}

impl MemorySharedPages {
    /// Nothing is claimed or kept. `lsn_of` reads the LSN in an entry.
    #[must_use]
    pub fn new(limits: SharedPagesLimits, lsn_of: fn(&[u8]) -> Option<Lsn>) -> Self {
        Self {
            limits,
            lsn_of,
            state: Mutex::default(),
        }
    }

    /// The page that is kept of a key.
    #[must_use]
    pub fn page(&self, key: &str) -> Option<Bytes> {
        let state = self.lock();
        let kept = state.pages.get(key)?;
        self.is_fresh(kept).then(|| kept.content.1.clone())
    }

    /// Writes the primary keys of a page, as a stream processor does.
    pub fn set_range(&self, key: &str, pks: Vec<String>) {
        self.lock().ranges.insert(key.to_owned(), pks);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }

    fn is_fresh<T>(&self, kept: &Kept<T>) -> bool {
        let retention = self.limits.retention;
        retention.is_none_or(|retention| kept.since.elapsed() < retention)
    }
}

#[async_trait]
impl SharedPages for MemorySharedPages {
    async fn claim(&self, gateway: u64, claims: Vec<PageClaim>) -> Result<Vec<Claimed>, PortError> {
        let now = Instant::now();
        let mut state = self.lock();
        let claim = |PageClaim { key, query }| {
            let known = state.claims.entry(key).or_default();
            known.forget_lapsed(now);
            let others = known.until.keys().any(|other| *other != gateway);
            if others && known.query != query {
                return Claimed::Conflict;
            }
            known.query = query;
            match known.until.insert(gateway, now + self.limits.lease) {
                Some(_) => Claimed::Renewed,
                None => Claimed::Granted,
            }
        };
        Ok(claims.into_iter().map(claim).collect())
    }

    async fn leave(&self, gateway: u64, key: &str) -> Result<Left, PortError> {
        let now = Instant::now();
        let mut state = self.lock();
        let Some(known) = state.claims.get_mut(key) else {
            return Ok(Left::Last);
        };
        known.until.remove(&gateway);
        known.forget_lapsed(now);
        if known.until.is_empty() {
            state.claims.remove(key);
            return Ok(Left::Last);
        }
        Ok(Left::Others)
    }

    async fn take_lapsed(&self, count_max: usize) -> Result<Vec<String>, PortError> {
        let now = Instant::now();
        let mut state = self.lock();
        let is_lapsed = |claims: &Claims| claims.until.values().all(|until| *until <= now);
        let lapsed = state.claims.iter().filter(|(_, claims)| is_lapsed(claims));
        let lapsed: Vec<String> = lapsed.take(count_max).map(|(key, _)| key.clone()).collect();
        for key in &lapsed {
            state.claims.remove(key);
        }
        Ok(lapsed)
    }

    async fn append(&self, diffs: Vec<SharedDiff>) -> Result<(), PortError> {
        let now = Instant::now();
        let mut state = self.lock();
        for diff in diffs {
            let mark = state.marks.entry((diff.topic, diff.partition));
            match mark {
                std::collections::hash_map::Entry::Occupied(mut mark) => {
                    if *mark.get() >= diff.offset {
                        continue;
                    }
                    mark.insert(diff.offset);
                }
                std::collections::hash_map::Entry::Vacant(mark) => {
                    mark.insert(diff.offset);
                }
            }
            let empty = || Kept {
                content: VecDeque::new(),
                since: now,
            };
            let list = state.diffs.entry(diff.key).or_insert_with(empty);
            if !self.is_fresh(list) {
                list.content.clear();
            }
            list.since = now;
            list.content.push_back(diff.entry);
            if list.content.len() > self.limits.diffs_max {
                list.content.pop_front();
            }
        }
        Ok(())
    }

    async fn diffs(&self, key: &str) -> Result<Vec<Bytes>, PortError> {
        let state = self.lock();
        let list = state.diffs.get(key).filter(|list| self.is_fresh(list));
        let bytes = |entry: &String| Bytes::from(entry.clone());
        Ok(list.map_or_else(Vec::new, |list| list.content.iter().map(bytes).collect()))
    }

    async fn store(&self, key: &str, lsn: Lsn, page: Bytes) -> Result<(), PortError> {
        let since = Instant::now();
        let mut state = self.lock();
        let known = state.pages.get(key);
        if known.is_some_and(|kept| self.is_fresh(kept) && kept.content.0 > lsn) {
            return Ok(());
        }
        let content = (lsn, page);
        state.pages.insert(key.to_owned(), Kept { content, since });
        if let Some(list) = state.diffs.get_mut(key) {
            let is_in = |entry: &String| (self.lsn_of)(entry.as_bytes()).is_none_or(|at| at <= lsn);
            while list.content.front().is_some_and(is_in) {
                list.content.pop_front();
            }
        }
        Ok(())
    }

    async fn range(&self, key: &str) -> Result<Vec<String>, PortError> {
        Ok(self.lock().ranges.get(key).cloned().unwrap_or_default())
    }
}
