//! Which keys a shard may listen to, so that it is not woken for those of others.
//!
//! A diff that one client wants concerns one shard, however many there are. Keys fall into a fixed
//! number of places; a shard counts how many of its own are in each, and the reader of the bus
//! looks which places are taken. It may find one taken by another key: then a shard is woken for
//! nothing, as all would be without this.
//!
//! A shard counts a key before it asks anybody for the page, so whatever is published in answer
//! finds the place taken.

use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustc_hash::FxHasher;
use tidegate_ports::Record;

/// Places. With as many keys in a shard, a third of the other keys still find theirs free.
const PLACES: usize = 1 << 15;
const WORD_BITS: usize = 64;

/// The places that a shard's keys have taken, for everybody to look at.
#[derive(Debug)]
pub(crate) struct Listening(Box<[AtomicU64]>);

/// The same, with how often: the shard's own.
#[derive(Debug)]
pub(crate) struct Counted {
    counts: Box<[u32]>,
    shown: Arc<Listening>,
}

impl Listening {
    /// Whether a record may be for the shard. One without a key is for all.
    pub(crate) fn may_want(&self, record: &Record) -> bool {
        record.key.is_empty() || self.is_taken(place(&record.key))
    }

    fn is_taken(&self, place: usize) -> bool {
        let word = self.0[place / WORD_BITS].load(Ordering::SeqCst);
        word >> (place % WORD_BITS) & 1 == 1
    }
}

impl Default for Listening {
    fn default() -> Self {
        Self((0..PLACES / WORD_BITS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Counted {
    pub(crate) fn new(shown: Arc<Listening>) -> Self {
        let counts = vec![0; PLACES].into_boxed_slice();
        Self { counts, shown }
    }

    pub(crate) fn add(&mut self, key: &[u8]) {
        let place = place(key);
        self.counts[place] += 1;
        if self.counts[place] == 1 {
            let bit = 1 << (place % WORD_BITS);
            self.shown.0[place / WORD_BITS].fetch_or(bit, Ordering::SeqCst);
        }
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        let place = place(key);
        self.counts[place] -= 1;
        if self.counts[place] == 0 {
            let bit = 1 << (place % WORD_BITS);
            self.shown.0[place / WORD_BITS].fetch_and(!bit, Ordering::SeqCst);
        }
    }
}

fn place(key: &[u8]) -> usize {
    let mut hasher = FxHasher::default();
    hasher.write(key);
    // Its high bits are the good ones.
    (hasher.finish() >> (u64::BITS - PLACES.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    //! Shows that no key of the shard's own is ever missed, that places come free again, and that
    //! most keys of others are told apart.

    use bytes::Bytes;
    use tidegate_core::Partition;

    use super::*;

    fn record(key: &str) -> Record {
        Record {
            partition: Partition::new(0),
            key: Bytes::from(key.to_owned()),
            value: Bytes::new(),
        }
    }

    #[test]
    fn own_keys_are_wanted_until_the_last_is_gone() {
        let shown = Arc::new(Listening::default());
        let mut counted = Counted::new(Arc::clone(&shown));
        let key = |number: usize| format!("{number:032x}:4:demo:orders");
        let wanted = |numbers: std::ops::Range<usize>| {
            numbers
                .filter(|n| shown.may_want(&record(&key(*n))))
                .count()
        };
        assert_eq!(wanted(0..1_000), 0);
        assert!(shown.may_want(&record("")), "progress is for all");
        (0..1_000).for_each(|number| counted.add(key(number).as_bytes()));
        (0..1_000).for_each(|number| counted.add(key(number).as_bytes()));
        assert_eq!(wanted(0..1_000), 1_000);
        assert!(wanted(1_000..2_000) < 100, "{}", wanted(1_000..2_000));
        (0..1_000).for_each(|number| counted.remove(key(number).as_bytes()));
        assert_eq!(wanted(0..1_000), 1_000);
        (0..1_000).for_each(|number| counted.remove(key(number).as_bytes()));
        assert_eq!(wanted(0..1_000), 0);
    }
}
