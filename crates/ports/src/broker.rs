//! The broker: topics known by name, for what does not travel in the bus's own three logs.
//!
//! Requests to SQL workers and their replies go here, and the topics that programs which are not
//! Tidegate read and write. How many partitions such a topic has is its maker's business; a message
//! finds its partition by its key.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::bus::{BusOffset, Start};
use crate::error::PortError;

/// The name of a topic: 1 to 249 letters, digits, dots, dashes and underscores, as Kafka allows.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

/// Longest name of a topic, in bytes: Kafka's own bound.
const TOPIC_NAME_BYTES_MAX: usize = 249;

impl TopicName {
    /// Reads a name; `None` when it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let is_name = (1..=TOPIC_NAME_BYTES_MAX).contains(&text.len())
            && text.bytes().all(is_allowed)
            && !matches!(text, "." | "..");
        is_name.then(|| Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A named value beside a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name. Names may repeat.
    pub name: String,
    /// Its value; a header may be without one.
    pub value: Option<Bytes>,
}

/// A message. Everything in it is opaque here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Chooses the partition, so messages of one key stay in order. Without one any partition will
    /// do.
    pub key: Option<Bytes>,
    /// What it says. A key without a value is a tombstone: what was said of the key no longer
    /// holds.
    pub value: Option<Bytes>,
    /// Beside it.
    pub headers: Vec<Header>,
}

/// A message and where it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// In which topic.
    pub topic: TopicName,
    /// In which of its partitions.
    pub partition: u32,
    /// Where in the partition. Offsets rise; they need not be dense.
    pub offset: BusOffset,
    /// When it was sent, in milliseconds since 1970 by the sender's clock or the broker's;
    /// nothing when nobody said. It may be wrong by as much as clocks are.
    pub sent_millis: Option<u64>,
    /// What stood there.
    pub message: Message,
}

/// What a reader of a broker gets.
#[derive(Debug, Clone)]
pub enum BrokerEvent {
    /// These partitions are this reader's now. Groups only; comes before any message of theirs.
    Gained(Vec<(TopicName, u32)>),
    /// These are no longer. No message of theirs comes after this.
    Lost(Vec<(TopicName, u32)>),
    /// Messages; those of one partition in order. Never empty.
    Messages(Vec<Received>),
}

/// Whether the broker can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It answers.
    Up,
    /// It does not; calls will fail, or wait.
    Down,
}

/// How long a topic keeps what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// So many milliseconds; a broker may look seldom, and keep more for a while.
    Millis(u64),
    /// The last message of each key. Older ones go some time later.
    LastOfKey,
}

/// Topics by name.
///
/// - *Order*: messages of one key are read in the order in which they were sent by one sender.
/// - *Delivery*: at least once to a reader by itself. In a group each message goes to one member;
///   when a member dies, what it had been handed since its last poll goes to another. To poll again
///   says that what came before is dealt with; it may be handed to another nevertheless, when the
///   member dies just then or was silent for too long. [`BrokerReader::settle`] rules that out.
/// - *Backpressure*: not polling is the backpressure. A group may take the partitions of a member
///   that does not poll for a minute.
/// - *Retention* is bounded; each implementation says by what.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Appends messages, in order within each key. When it returns they are as durable as the
    /// broker makes them. On an error any part may have been appended.
    ///
    /// # Errors
    /// `Unavailable` to be retried; `TooLarge`; `Rejected` when there is no such topic or no right
    /// to write to it.
    async fn send(&self, topic: &TopicName, messages: Vec<Message>) -> Result<(), PortError>;

    /// Reads every partition that the topics have now, all by itself. It is positioned when this
    /// returns: with [`Start::Latest`], whatever is sent afterwards is seen.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected` when a topic does not exist.
    async fn follow(
        &self,
        topics: &[TopicName],
        start: Start,
    ) -> Result<Box<dyn BrokerReader>, PortError>;

    /// Joins a group whose members share the partitions of the topics. A partition goes on where
    /// the group has been before, or begins at `start` when it is gained the first time. Dropping
    /// the reader leaves the group.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected`.
    async fn share(
        &self,
        group: &str,
        topics: &[TopicName],
        start: Start,
    ) -> Result<Box<dyn BrokerReader>, PortError>;

    /// Makes a topic that is missing. One that exists is left as it is.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected` when it may not be made.
    async fn create(&self, topic: &TopicName, partitions: u32, keep: Keep)
    -> Result<(), PortError>;

    /// Removes a topic and everything in it. One that is missing is no error.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected` when it may not be removed.
    async fn remove(&self, topic: &TopicName) -> Result<(), PortError>;

    /// The names of all topics there are.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn topics(&self) -> Result<Vec<TopicName>, PortError>;

    /// Whether the broker can be reached, as far as is known: a loss is noticed within seconds.
    fn link(&self) -> watch::Receiver<Link>;
}

/// A reader's place in a broker.
#[async_trait]
pub trait BrokerReader: Send {
    /// Waits for the next event. Cancellation-safe: what was not returned comes again.
    ///
    /// # Errors
    /// `Gone` when the reader fell behind what is kept (it stays usable, positioned at the oldest
    /// message kept); `Unavailable` to be polled again, also some time after a topic was removed.
    async fn poll(&mut self) -> Result<BrokerEvent, PortError>;

    /// Says that all that was handed over is dealt with. When it returns, none of it is ever handed
    /// to another member of the group, so what must not happen twice may be begun. Of no meaning
    /// to a reader by itself.
    ///
    /// # Errors
    /// `Unavailable` when that is not sure: another member may have got it, or will.
    async fn settle(&mut self) -> Result<(), PortError>;
}
