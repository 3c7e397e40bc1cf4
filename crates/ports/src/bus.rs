//! The bus: ordered, partitioned logs that carry changes, leases and diffs between the parts.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tidegate_core::Partition;

use crate::error::PortError;

/// A log of the bus. All have the same number of partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Changes of the database: relay to processor.
    Changes,
    /// Leases on queries: gateway to processor.
    Control,
    /// Pages and their diffs: processor to gateway.
    Diffs,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 3] = [Self::Changes, Self::Control, Self::Diffs];

    /// Its name on a broker.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Changes => "tidegate.changes",
            Self::Control => "tidegate.control",
            Self::Diffs => "tidegate.diffs",
        }
    }
}

/// A place in one partition of one topic. It means nothing outside the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BusOffset(pub u64);

/// One record. Key and value are opaque here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it goes. Chosen by the publisher, with the one partitioner of `core`.
    pub partition: Partition,
    /// What it is about: the encoding of a routing key, or empty for the whole partition.
    pub key: Bytes,
    /// What it says.
    pub value: Bytes,
}

/// A run of records of one partition, in order. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Which topic.
    pub topic: Topic,
    /// Which partition.
    pub partition: Partition,
    /// Offset of the record after the last one here.
    pub next: BusOffset,
    /// The records; never empty.
    pub records: Arc<[Record]>,
}

/// Where a reader starts in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record still kept.
    Earliest,
    /// After the newest record at the moment the reader is made (or gains the partition).
    Latest,
}

/// What a reader gets.
#[derive(Debug, Clone)]
pub enum BusEvent {
    /// These partitions are this reader's now. Groups only; comes before any record of theirs.
    Gained(Vec<Partition>),
    /// These are no longer. No record of theirs comes after this. A bus may give them to another
    /// only when this reader is polled again, and so has acted on it.
    Lost(Vec<Partition>),
    /// Records.
    Records(Batch),
}

/// An ordered, partitioned log.
///
/// - *Order*: records of one topic and partition are read in the order in which they were
///   published. Nothing is said across partitions or topics.
/// - *Delivery*: at least once. A reader may see a record again after a failure or a change of
///   ownership, so what records say must be harmless when repeated.
/// - *Backpressure*: not polling is the backpressure. A reader never slows a publisher; one that
///   falls behind retention gets [`PortError::Gone`] and must start over.
/// - *Retention* is bounded; each implementation says by what.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Partitions of each topic.
    fn partition_count(&self) -> u32;

    /// Appends records, in order within each partition. When it returns, they are as durable as the
    /// bus makes them. On an error any prefix may have been appended.
    ///
    /// # Errors
    /// `Unavailable` to be retried; `TooLarge` when a record is over the bus's bound.
    async fn publish(&self, topic: Topic, records: Vec<Record>) -> Result<(), PortError>;

    /// Reads these partitions of a topic, none at first if there are none here, all by itself. It
    /// is positioned when this returns: with [`Start::Latest`], whatever is published afterwards is
    /// seen.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected` when a partition does not exist.
    async fn read(
        &self,
        topic: Topic,
        partitions: &[Partition],
        start: Start,
    ) -> Result<Box<dyn AssignedReader>, PortError>;

    /// Joins a group whose members share the partitions, each with one owner at a time; an owner
    /// has the same partitions of all the topics. Dropping the reader leaves the group.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn join(
        &self,
        group: &str,
        topics: &[(Topic, Start)],
    ) -> Result<Box<dyn BusReader>, PortError>;
}

/// A reader's place in a bus.
#[async_trait]
pub trait BusReader: Send {
    /// Waits for the next event. Cancellation-safe: an event that was not returned comes again.
    ///
    /// # Errors
    /// `Gone` when the reader fell behind retention (it stays usable, positioned at the oldest
    /// record kept); `Unavailable` to be polled again.
    async fn poll(&mut self) -> Result<BusEvent, PortError>;
}

/// A reader outside of any group: its caller says which partitions it reads.
#[async_trait]
pub trait AssignedReader: BusReader {
    /// Reads exactly these partitions from now on. Those it has go on where they are; each that is
    /// new begins where the reader was made to start, and is positioned when this returns. Nothing
    /// of the others is returned any more. To be awaited to its end.
    ///
    /// # Errors
    /// `Unavailable`, when the new ones may be missing: to be said again. `Rejected` when a
    /// partition does not exist.
    async fn assign(&mut self, partitions: &[Partition]) -> Result<(), PortError>;
}
