//! What the relay counts.

use metrics::{Counter, counter};

pub(crate) struct Metrics {
    /// Transactions relayed.
    pub(crate) transactions: Counter,
    /// Times a new change stream had to be made.
    pub(crate) restarts: Counter,
    /// Times the bus did not take a batch at once.
    pub(crate) publish_retries: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            transactions: counter!("tidegate_cdc_transactions_total"),
            restarts: counter!("tidegate_cdc_stream_restarts_total"),
            publish_retries: counter!("tidegate_cdc_publish_retries_total"),
        }
    }
}
