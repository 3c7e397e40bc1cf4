//! What the processor counts.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::effects::Counts;

pub(crate) struct Metrics {
    /// From a commit until its changes are read here.
    pub(crate) commit_to_read: Histogram,
    /// From a commit until the bus has a diff of it.
    pub(crate) commit_to_bus: Histogram,
    /// Diffs published.
    pub(crate) diffs: Counter,
    /// Whole pages published.
    pub(crate) pages: Counter,
    /// Pages that began a new epoch because what was published before was in doubt.
    pub(crate) resets: Counter,
    /// Pages that could not be opened or kept.
    pub(crate) refusals: Counter,
    /// Reads of rows by SQL that succeeded.
    pub(crate) seeds: Counter,
    /// Reads of rows by SQL that failed.
    pub(crate) seed_failures: Counter,
    /// Reads of rows that wait for their turn.
    pub(crate) seeds_waiting: Gauge,
    /// Pages kept.
    pub(crate) pages_open: Gauge,
    /// Records of the bus that made no sense.
    pub(crate) bad_records: Counter,
    /// Times the reader fell behind the bus's retention.
    pub(crate) gaps: Counter,
    /// Entries that the cache refused as not being the newest.
    pub(crate) cache_refusals: Counter,
    /// Appends to the cache that failed.
    pub(crate) cache_failures: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            commit_to_read: histogram!("tidegate_processor_commit_to_read_seconds"),
            commit_to_bus: histogram!("tidegate_processor_commit_to_bus_seconds"),
            diffs: counter!("tidegate_processor_diffs_total"),
            pages: counter!("tidegate_processor_pages_total"),
            resets: counter!("tidegate_processor_resets_total"),
            refusals: counter!("tidegate_processor_refusals_total"),
            seeds: counter!("tidegate_processor_seeds_total"),
            seed_failures: counter!("tidegate_processor_seed_failures_total"),
            seeds_waiting: gauge!("tidegate_processor_seeds_waiting"),
            pages_open: gauge!("tidegate_processor_pages_open"),
            bad_records: counter!("tidegate_processor_bad_records_total"),
            gaps: counter!("tidegate_processor_gaps_total"),
            cache_refusals: counter!("tidegate_processor_cache_refusals_total"),
            cache_failures: counter!("tidegate_processor_cache_failures_total"),
        }
    }

    pub(crate) fn count(&self, counts: Counts) {
        self.diffs.increment(counts.diffs);
        self.pages.increment(counts.pages);
        self.resets.increment(counts.resets);
        self.refusals.increment(counts.refusals);
    }
}
