//! What a bridge counts.

use metrics::{Counter, Gauge, counter, gauge};

use super::state::Oddity;

pub(super) struct Metrics {
    /// Old routing keys served.
    pub(super) keys: Gauge,
    /// Pages of ours followed for them.
    pub(super) pages: Gauge,
    /// Records written for old gateways to the topic of page diffs.
    pub(super) diffs: Counter,
    /// The same of row events.
    pub(super) events: Counter,
    /// Rows too long for a page diff.
    pub(super) long_rows: Counter,
    /// Times that records could not be written, and were tried again.
    pub(super) retries: Counter,
    /// Records that the broker will not take, and that were left out.
    pub(super) unsendable: Counter,
}

impl Metrics {
    pub(super) fn new() -> Self {
        Self {
            keys: gauge!("tidegate_bridge_keys"),
            pages: gauge!("tidegate_bridge_pages"),
            diffs: counter!("tidegate_bridge_diffs_total"),
            events: counter!("tidegate_bridge_row_events_total"),
            long_rows: counter!("tidegate_bridge_long_rows_total"),
            retries: counter!("tidegate_bridge_send_retries_total"),
            unsendable: counter!("tidegate_bridge_unsendable_records_total"),
        }
    }
}

pub(super) fn count(oddity: Oddity) {
    counter!("tidegate_bridge_oddities_total", "kind" => name(oddity)).increment(1);
}

pub(super) fn name(oddity: Oddity) -> &'static str {
    match oddity {
        Oddity::BadControl => "bad_control",
        Oddity::BadSeed => "bad_seed",
        Oddity::BadMemory => "bad_memory",
        Oddity::BadPage => "bad_page",
        Oddity::BadQuery => "bad_query",
        Oddity::Evicted => "evicted",
        Oddity::Expired => "expired",
    }
}
