//! What is counted of calls, on both sides.

use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge, histogram};

/// How a call went, as far as a metric tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    /// The caller must change something.
    Refused,
    /// We, or something behind us.
    Failed,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Of a worker.
pub(crate) struct WorkerMetrics {
    pub(crate) running: Gauge,
    pub(crate) expired: Counter,
    pub(crate) junk: Counter,
    pub(crate) unanswered: Counter,
    pub(crate) topics_removed: Counter,
}

impl WorkerMetrics {
    pub(crate) fn new() -> Self {
        Self {
            running: gauge!("tidegate_worker_calls_running"),
            expired: counter!("tidegate_worker_calls_expired_total"),
            junk: counter!("tidegate_worker_junk_total"),
            unanswered: counter!("tidegate_worker_calls_unanswered_total"),
            topics_removed: counter!("tidegate_worker_topics_removed_total"),
        }
    }

    pub(crate) fn done(method: &'static str, outcome: Outcome, took: Duration) {
        let outcome = outcome.as_str();
        let labels = [("method", method), ("outcome", outcome)];
        counter!("tidegate_worker_calls_total", &labels).increment(1);
        histogram!("tidegate_worker_call_seconds", "method" => method).record(took);
    }
}

/// Of who asks workers.
pub(crate) struct ClientMetrics {
    pub(crate) waiting: Gauge,
    pub(crate) timeouts: Counter,
    pub(crate) strays: Counter,
}

impl ClientMetrics {
    pub(crate) fn new() -> Self {
        Self {
            waiting: gauge!("tidegate_rpc_calls_waiting"),
            timeouts: counter!("tidegate_rpc_timeouts_total"),
            strays: counter!("tidegate_rpc_stray_replies_total"),
        }
    }
}
