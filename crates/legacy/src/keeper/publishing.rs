//! To the gateway: pages and diffs on the bus that it shares with the keeper, and their tails.

use bytes::Bytes;
use tidegate_core::RoutingKey;
use tidegate_ports::{PortError, Record, TailEntry, Topic};
use tidegate_protocol::{ErrorCode, PageRecord};

use crate::config::KeeperPorts;

/// Publishes records in their order. The tails come first: a gateway that misses a diff on the bus
/// looks for it there.
pub(super) async fn publish(ports: &KeeperPorts, records: Vec<(RoutingKey, PageRecord)>) {
    if records.is_empty() {
        return;
    }
    let partition_count = ports.bus.partition_count();
    let mut tails = Vec::new();
    let mut encoded = Vec::with_capacity(records.len());
    for (route, record) in records {
        let value = record.encode();
        if let PageRecord::Diff(diff) = &record {
            tails.push(TailEntry {
                key: route.clone(),
                position: diff.position,
                value: value.clone(),
            });
        }
        encoded.push(Record {
            partition: route.partition(partition_count),
            key: Bytes::from(route.encode()),
            value,
        });
    }
    if let Err(error) = ports.cache.append(tails).await {
        // It costs resumes only.
        tracing::warn!(%error, "tails could not be kept");
    }
    match ports.bus.publish(Topic::Diffs, encoded.clone()).await {
        Ok(()) => {}
        Err(PortError::TooLarge { .. }) => one_by_one(ports, encoded).await,
        // A hole shows in the positions, and ends in a fresh page.
        Err(error) => tracing::error!(%error, "diffs could not be published to the gateway"),
    }
}

/// One of the records is too large. Its page cannot be served.
async fn one_by_one(ports: &KeeperPorts, records: Vec<Record>) {
    for record in records {
        let refused = PageRecord::Refused {
            code: ErrorCode::SnapshotFailed,
            message: "the page or a diff of it is too large".to_owned(),
        };
        let instead = Record {
            value: refused.encode(),
            ..record.clone()
        };
        let published = match ports.bus.publish(Topic::Diffs, vec![record]).await {
            Err(PortError::TooLarge { .. }) => ports.bus.publish(Topic::Diffs, vec![instead]).await,
            published => published,
        };
        if let Err(error) = published {
            tracing::error!(%error, "a diff could not be published to the gateway");
        }
    }
}
