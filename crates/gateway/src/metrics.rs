//! Names of the gateway's metrics, and handles to them.
//!
//! Handles are made once per shard: looking a metric up by name costs more than counting does.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use tidegate_protocol::server_frame::SnapshotReason;

use crate::census::Census;

pub(crate) const CONNECTIONS: &str = "tidegate_gateway_connections";
pub(crate) const SESSIONS: &str = "tidegate_gateway_sessions";
pub(crate) const SUBSCRIPTIONS: &str = "tidegate_gateway_subscriptions";
pub(crate) const CHANNELS: &str = "tidegate_gateway_channels";
pub(crate) const HISTORY_BYTES: &str = "tidegate_gateway_history_bytes";
pub(crate) const SLOW_SOCKETS: &str = "tidegate_gateway_slow_sockets";
/// From the commit in the database until a shard has the diff.
pub(crate) const COMMIT_TO_READ_SECONDS: &str = "tidegate_gateway_commit_to_read_seconds";
/// From the commit in the database to the frame's write. The headline figure.
pub(crate) const COMMIT_TO_SOCKET_SECONDS: &str = "tidegate_gateway_commit_to_socket_seconds";
pub(crate) const PARTITIONS: &str = "tidegate_gateway_partitions";
pub(crate) const RECORDS_TOTAL: &str = "tidegate_gateway_records_total";
pub(crate) const RECORDS_REFUSED_TOTAL: &str = "tidegate_gateway_records_refused_total";
pub(crate) const FRAMES_TOTAL: &str = "tidegate_gateway_frames_total";
pub(crate) const FRAMES_SKIPPED_TOTAL: &str = "tidegate_gateway_frames_skipped_total";
pub(crate) const WRITES_TOTAL: &str = "tidegate_gateway_writes_total";
pub(crate) const WRITTEN_BYTES_TOTAL: &str = "tidegate_gateway_written_bytes_total";
pub(crate) const RESETS_TOTAL: &str = "tidegate_gateway_resets_total";
pub(crate) const CLOSES_TOTAL: &str = "tidegate_gateway_closes_total";
pub(crate) const REFUSALS_TOTAL: &str = "tidegate_gateway_refusals_total";
pub(crate) const CALLS_TOTAL: &str = "tidegate_gateway_calls_total";
pub(crate) const BUS_GAPS_TOTAL: &str = "tidegate_gateway_bus_gaps_total";

/// Handles of what is counted over all shards.
pub(crate) struct GatewayMetrics {
    connections: Gauge,
    sessions: Gauge,
    slow_sockets: Gauge,
}

impl GatewayMetrics {
    pub(crate) fn new() -> Self {
        Self {
            connections: gauge!(CONNECTIONS),
            sessions: gauge!(SESSIONS),
            slow_sockets: gauge!(SLOW_SOCKETS),
        }
    }

    pub(crate) fn report(&self, census: &Census) {
        self.connections.set(census.connections() as f64);
        self.sessions.set(census.sessions() as f64);
        self.slow_sockets.set(census.slow_sockets() as f64);
    }
}

/// Handles of one shard.
pub(crate) struct ShardMetrics {
    pub(crate) subscriptions: Gauge,
    pub(crate) channels: Gauge,
    pub(crate) history_bytes: Gauge,
    pub(crate) commit_to_read: Histogram,
    pub(crate) commit_to_socket: Histogram,
    pub(crate) records: Counter,
    pub(crate) records_refused: Counter,
    pub(crate) frames: Counter,
    pub(crate) frames_skipped: Counter,
    pub(crate) writes: Counter,
    pub(crate) written_bytes: Counter,
    pub(crate) calls: Counter,
    resets: [Counter; SnapshotReason::ALL.len()],
}

impl ShardMetrics {
    pub(crate) fn new(shard: usize) -> Self {
        let shard = shard.to_string();
        let reset = |reason: SnapshotReason| counter!(RESETS_TOTAL, "reason" => reason.as_str());
        Self {
            subscriptions: gauge!(SUBSCRIPTIONS, "shard" => shard.clone()),
            channels: gauge!(CHANNELS, "shard" => shard.clone()),
            history_bytes: gauge!(HISTORY_BYTES, "shard" => shard),
            commit_to_read: histogram!(COMMIT_TO_READ_SECONDS),
            commit_to_socket: histogram!(COMMIT_TO_SOCKET_SECONDS),
            records: counter!(RECORDS_TOTAL),
            records_refused: counter!(RECORDS_REFUSED_TOTAL),
            frames: counter!(FRAMES_TOTAL),
            frames_skipped: counter!(FRAMES_SKIPPED_TOTAL),
            writes: counter!(WRITES_TOTAL),
            written_bytes: counter!(WRITTEN_BYTES_TOTAL),
            calls: counter!(CALLS_TOTAL),
            resets: SnapshotReason::ALL
                .iter()
                .map(|known| reset(*known))
                .collect::<Vec<_>>()
                .try_into()
                .unwrap_or_else(|_| unreachable!("one counter per reason")),
        }
    }

    pub(crate) fn reset(&self, reason: SnapshotReason) {
        let index = SnapshotReason::ALL
            .iter()
            .position(|known| *known == reason);
        if let Some(index) = index {
            self.resets[index].increment(1);
        }
    }
}

/// Counts a close by its code.
pub(crate) fn count_close(code: u16) {
    counter!(CLOSES_TOTAL, "code" => code.to_string()).increment(1);
}

/// Counts something that was refused, by its stable code.
pub(crate) fn count_refusal(code: tidegate_protocol::ErrorCode) {
    counter!(REFUSALS_TOTAL, "code" => code.as_str()).increment(1);
}
