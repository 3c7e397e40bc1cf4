//! What is measured.

use metrics::{counter, gauge};

use crate::page::Skipped;
use crate::stream::Unreadable;

/// A message of the foreign stream that says nothing.
pub(crate) fn count_unreadable(why: Unreadable) {
    counter!("tidegate_legacy_messages_unreadable_total", "what" => why.as_str()).increment(1);
}

/// Messages of the foreign stream.
pub(crate) fn count_messages(count: usize) {
    counter!("tidegate_legacy_messages_total").increment(count as u64);
}

/// A diff that goes to nobody.
pub(crate) fn count_skipped(why: Skipped) {
    counter!("tidegate_legacy_diffs_skipped_total", "why" => why.as_str()).increment(1);
}

/// A page that begins anew.
pub(crate) fn count_reset(why: &'static str) {
    counter!("tidegate_legacy_resets_total", "why" => why).increment(1);
}

/// A page that was read, or was not.
pub(crate) fn count_read(outcome: &'static str) {
    counter!("tidegate_legacy_page_reads_total", "outcome" => outcome).increment(1);
}

/// Something of the shared cache that failed.
pub(crate) fn count_cache_failure(what: &'static str) {
    counter!("tidegate_legacy_cache_failures_total", "what" => what).increment(1);
}

/// Pages that are kept.
pub(crate) fn report_pages(count: usize) {
    gauge!("tidegate_legacy_pages").set(count as f64);
}

/// Whether the stream is not read because of slow sockets.
pub(crate) fn report_paused(is_paused: bool) {
    gauge!("tidegate_legacy_paused").set(f64::from(u8::from(is_paused)));
}

/// Seconds for which it was not.
pub(crate) fn count_paused(seconds: f64) {
    // A counter takes whole numbers.
    counter!("tidegate_legacy_paused_milliseconds_total").increment((seconds * 1e3) as u64);
}
