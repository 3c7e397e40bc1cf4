//! What a partition wants done, and how it is said on the bus.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_core::{Offset, Partition, Query, RoutingKey, TableName, TenantId};
use tidegate_ports::{Record, TailEntry};
use tidegate_protocol::{DiffContent, ErrorCode, PageCause, PageContent, PageRecord};
use tidegate_view::SeedRequest;

/// Something to find out from the database. The answer comes back to the partition.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    /// What a table looks like.
    Describe { tenant: TenantId, table: TableName },
    /// The rows of a page.
    Seed {
        tenant: TenantId,
        query: Arc<Query>,
        request: SeedRequest,
    },
}

impl Ask {
    pub(crate) fn tenant(&self) -> &TenantId {
        match self {
            Self::Describe { tenant, .. } | Self::Seed { tenant, .. } => tenant,
        }
    }
}

/// What is to be done, in order, after some inputs.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// To be published on `diffs`.
    pub(crate) records: Vec<Record>,
    /// To be appended to the hot cache.
    pub(crate) tails: Vec<TailEntry>,
    /// To be asked of the database.
    pub(crate) asks: Vec<(Partition, Ask)>,
    /// When the commits of the diffs among them were made, for the metrics.
    pub(crate) committed: Vec<i64>,
    /// Partitions that want a new life, before all else.
    pub(crate) reborn: Vec<Partition>,
    /// What the records are, for the metrics.
    pub(crate) counts: Counts,
}

/// How many records of each kind there are.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) diffs: u64,
    pub(crate) pages: u64,
    pub(crate) resets: u64,
    pub(crate) refusals: u64,
}

impl Effects {
    /// A whole page. Where an epoch starts, its tail starts as well, with an empty entry: so a
    /// cursor at offset 0 can be told from one that the cache knows nothing of.
    pub(crate) fn page(&mut self, partition: Partition, key: &RoutingKey, page: PageContent) {
        if page.position.offset == Offset::ZERO {
            let (key, position) = (key.clone(), page.position);
            self.tails.push(TailEntry {
                key,
                position,
                value: Bytes::new(),
            });
        }
        self.counts.pages += 1;
        self.counts.resets += u64::from(page.cause == PageCause::Reset);
        self.publish(partition, key, &PageRecord::Page(page));
    }

    /// A diff, which is also kept in the page's tail.
    pub(crate) fn diff(&mut self, partition: Partition, key: &RoutingKey, diff: DiffContent) {
        self.counts.diffs += 1;
        self.committed.push(diff.committed_at_micros);
        let position = diff.position;
        let value = self.publish(partition, key, &PageRecord::Diff(diff));
        self.tails.push(TailEntry {
            key: key.clone(),
            position,
            value,
        });
    }

    /// The page cannot be had.
    pub(crate) fn refuse(
        &mut self,
        partition: Partition,
        key: &RoutingKey,
        code: ErrorCode,
        message: String,
    ) {
        self.counts.refusals += 1;
        self.publish(partition, key, &PageRecord::Refused { code, message });
    }

    /// How far the whole partition is.
    pub(crate) fn progress(&mut self, partition: Partition, progress: &PageRecord) {
        let value = progress.encode();
        self.records.push(Record {
            partition,
            key: Bytes::new(),
            value,
        });
    }

    fn publish(&mut self, partition: Partition, key: &RoutingKey, record: &PageRecord) -> Bytes {
        let value = record.encode();
        let key = Bytes::from(key.encode());
        self.records.push(Record {
            partition,
            key,
            value: value.clone(),
        });
        value
    }
}
