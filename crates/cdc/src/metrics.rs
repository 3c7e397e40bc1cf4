//! What the relay counts.

use metrics::{Counter, Histogram, counter, histogram};

pub(crate) struct Metrics {
    /// Transactions relayed.
    pub(crate) transactions: Counter,
    /// From a commit until the relay has it.
    pub(crate) commit_to_read: Histogram,
    /// From a commit until the bus has it.
    pub(crate) commit_to_bus: Histogram,
    /// Times a new change stream had to be made.
    pub(crate) restarts: Counter,
    /// Times the bus did not take a batch at once.
    pub(crate) publish_retries: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            transactions: counter!("tidegate_cdc_transactions_total"),
            commit_to_read: histogram!("tidegate_cdc_commit_to_read_seconds"),
            commit_to_bus: histogram!("tidegate_cdc_commit_to_bus_seconds"),
            restarts: counter!("tidegate_cdc_stream_restarts_total"),
            publish_retries: counter!("tidegate_cdc_publish_retries_total"),
        }
    }
}
