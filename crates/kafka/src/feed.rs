//! Records of chosen partitions, from concrete offsets on.
//!
//! The consumer below belongs to no group: it is told what to read and from where, and where it is
//! stands here. So "after the newest record" is a number that the leader gave before the caller
//! goes on, and nothing published afterwards can be missed.
//!
//! A partition whose offset the broker does not have any more stops being fetched
//! (`auto.offset.reset=error`), and librdkafka says so without saying which one it was. Then the
//! leaders are asked what they have of all partitions; each that is outside starts over with the
//! oldest record, and is told to the caller as [`PortError::Gone`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use futures_util::FutureExt;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};
use tidegate_core::Partition;
use tidegate_ports::{Batch, BusOffset, PortError, Record, Start, Topic};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::bus::Shared;
use crate::client::Context;
use crate::close::Closing;
use crate::config::Names;
use crate::error;
use crate::producer::bytes;

/// Bytes of one batch, beside its first record: what its reader can work on without a pause that
/// others notice.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Pause before leaders are asked again.
const ASK_PAUSE: Duration = Duration::from_millis(50);

/// A partition of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) topic: Topic,
    pub(crate) partition: Partition,
}

/// What a leader has of a partition: the oldest offset, and the one after the newest.
#[derive(Debug, Clone, Copy)]
struct Kept {
    place: Place,
    oldest: i64,
    end: i64,
}

/// A record and where it was.
struct Fetched {
    place: Place,
    offset: i64,
    record: Record,
}

/// What was found behind the end of a batch, for the next poll.
enum Ahead {
    Fetched(Fetched),
    Failed(PortError),
}

/// A question to the leaders that is under way. It is kept here and not in a future, so that a poll
/// that is dropped does not ask twice.
type Asking<T> = Option<JoinHandle<Result<T, PortError>>>;

/// A reader's consumer and its places.
pub(crate) struct Feed {
    consumer: Arc<Closing<StreamConsumer<Context>>>,
    shared: Arc<Shared>,
    /// The offset that each place expects next.
    next: HashMap<Place, i64>,
    ahead: Option<Ahead>,
    locating: Asking<Vec<(Place, i64)>>,
    /// Whether some partition may have stopped.
    is_suspect: bool,
    checking: Asking<Vec<Kept>>,
    /// Places that started over and were not told yet.
    gone: usize,
}

impl Feed {
    pub(crate) fn new(shared: Arc<Shared>) -> Result<Self, PortError> {
        let consumer = shared
            .config
            .consumer(None)
            .create_with_context(Context)
            .map_err(error::from_kafka)?;
        Ok(Self {
            consumer: Arc::new(Closing::new(consumer, &shared.closer)),
            shared,
            next: HashMap::new(),
            ahead: None,
            locating: None,
            is_suspect: false,
            checking: None,
            gone: 0,
        })
    }

    /// Asks the leaders where these starts are; again for a while, as they may just be changing.
    /// Cancellation-safe, if called with the same again.
    pub(crate) async fn locate(
        &mut self,
        wanted: &[(Place, Start)],
    ) -> Result<Vec<(Place, i64)>, PortError> {
        let deadline = Instant::now() + self.shared.config.request_timeout;
        loop {
            let (consumer, shared) = (&self.consumer, &self.shared);
            let asking = self.locating.get_or_insert_with(|| {
                let (consumer, shared) = (Arc::clone(consumer), Arc::clone(shared));
                let wanted = wanted.to_vec();
                tokio::task::spawn_blocking(move || offsets(&consumer, &shared, &wanted))
            });
            let answer = asking.await;
            self.locating = None;
            match answer.map_err(error::unavailable)? {
                Err(error) if error.is_retryable() && Instant::now() < deadline => {
                    tracing::debug!(%error, "asking the leaders again");
                    sleep(ASK_PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    /// Reads these as well, from these offsets on.
    pub(crate) fn assign(&mut self, offsets: &[(Place, i64)]) -> Result<(), PortError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let list = positions(&self.shared.names, offsets)?;
        self.consumer
            .incremental_assign(&list)
            .map_err(error::from_kafka)?;
        self.next.extend(offsets.iter().copied());
        Ok(())
    }

    /// Reads these no more: nothing of them is returned from now on.
    pub(crate) fn unassign(&mut self, is_lost: impl Fn(Place) -> bool) -> Result<(), PortError> {
        let is_held = |ahead: &Ahead| match ahead {
            Ahead::Fetched(fetched) => !is_lost(fetched.place),
            Ahead::Failed(_) => true,
        };
        self.ahead = self.ahead.take().filter(is_held);
        let lost: Vec<_> = self.next.extract_if(|place, _| is_lost(*place)).collect();
        self.stop(&lost)
    }

    fn stop(&self, places: &[(Place, i64)]) -> Result<(), PortError> {
        if places.is_empty() {
            return Ok(());
        }
        let list = positions(&self.shared.names, places)?;
        self.consumer
            .incremental_unassign(&list)
            .map_err(error::from_kafka)
    }

    /// Waits for the next batch. Cancellation-safe.
    pub(crate) async fn next(&mut self) -> Result<Batch, PortError> {
        loop {
            if self.gone > 0 {
                self.gone -= 1;
                return Err(PortError::Gone { what: error::WHAT });
            }
            if self.is_suspect {
                self.restart_stopped().await?;
                continue;
            }
            if let Some(ahead) = self.ahead.take() {
                match ahead {
                    Ahead::Fetched(first) => return Ok(self.batch(first)),
                    Ahead::Failed(error) => return Err(error),
                }
            }
            let received = self.consumer.recv().await;
            let received = received.map(|message| fetched(&message, &self.shared.names));
            self.take(received);
        }
    }

    /// Puts what was received where the next step looks for it, if it is of any interest.
    fn take(&mut self, received: Result<Option<Fetched>, KafkaError>) {
        match received {
            Ok(fetched) => {
                let expected = fetched.filter(|fetched| self.is_expected(fetched));
                self.ahead = expected.map(Ahead::Fetched);
            }
            Err(error) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::AutoOffsetReset) => self.is_suspect = true,
                Some(code) if error::is_passing(code) => {
                    tracing::debug!(%error, "kafka has trouble");
                }
                _ => self.ahead = Some(Ahead::Failed(error::unavailable(error))),
            },
        }
    }

    /// Whether a record is the next of its place; moves the place past it.
    fn is_expected(&mut self, fetched: &Fetched) -> bool {
        match self.next.get_mut(&fetched.place) {
            Some(next) if *next <= fetched.offset => {
                *next = fetched.offset + 1;
                true
            }
            // Fetched for an earlier assignment.
            Some(_) | None => false,
        }
    }

    /// Adds what has already arrived of the same partition.
    fn batch(&mut self, first: Fetched) -> Batch {
        let place = first.place;
        let mut end = first.offset + 1;
        let mut records = vec![first.record];
        let mut bytes_left = BATCH_BYTES_MAX;
        while records.len() < self.shared.config.batch_records_max {
            let Some(received) = self.consumer.recv().now_or_never() else {
                break;
            };
            let received = received.map(|message| fetched(&message, &self.shared.names));
            self.take(received);
            match self.ahead.take() {
                Some(Ahead::Fetched(more))
                    if more.place == place && bytes(&more.record) <= bytes_left =>
                {
                    bytes_left -= bytes(&more.record);
                    end = more.offset + 1;
                    records.push(more.record);
                }
                Some(ahead) => {
                    self.ahead = Some(ahead);
                    break;
                }
                None if self.is_suspect => break,
                None => {}
            }
        }
        Batch {
            topic: place.topic,
            partition: place.partition,
            next: BusOffset(end.unsigned_abs()),
            records: records.into(),
        }
    }

    /// Finds the partitions that stopped, and lets them start over. Cancellation-safe.
    async fn restart_stopped(&mut self) -> Result<(), PortError> {
        let (consumer, shared, next) = (&self.consumer, &self.shared, &self.next);
        let asking = self.checking.get_or_insert_with(|| {
            let (consumer, shared) = (Arc::clone(consumer), Arc::clone(shared));
            let places = next.keys().copied().collect::<Vec<_>>();
            tokio::task::spawn_blocking(move || kept(&consumer, &shared, &places))
        });
        let answer = asking.await;
        self.checking = None;
        let kept = answer.map_err(error::unavailable)??;
        let mut restart = Vec::new();
        for Kept { place, oldest, end } in kept {
            match self.next.get(&place) {
                // Fell behind, or the topic was made anew.
                Some(next) if *next < oldest || *next > end => restart.push((place, oldest)),
                Some(_) | None => {}
            }
        }
        self.gone = restart.len();
        if restart.is_empty() {
            // All are where they should be: the word was about a place that has started over in the
            // meantime, or is gone. Should one have stopped nevertheless, it goes on from where it
            // is.
            restart = self
                .next
                .iter()
                .map(|(place, next)| (*place, *next))
                .collect();
        }
        self.stop(&restart)?;
        self.assign(&restart)?;
        self.is_suspect = false;
        Ok(())
    }
}

/// Copies a message into one allocation of its own: librdkafka's is one for a whole fetch, and
/// would be kept by whoever keeps one record.
fn fetched(message: &BorrowedMessage<'_>, names: &Names) -> Option<Fetched> {
    let topic = names.topic(message.topic())?;
    let partition = Partition::new(u32::try_from(message.partition()).ok()?);
    let (key, value) = (
        message.key().unwrap_or(&[]),
        message.payload().unwrap_or(&[]),
    );
    let mut both = BytesMut::with_capacity(key.len() + value.len());
    both.put_slice(key);
    both.put_slice(value);
    let mut value = both.freeze();
    let key = value.split_to(key.len());
    Some(Fetched {
        place: Place { topic, partition },
        offset: message.offset(),
        record: Record {
            partition,
            key,
            value,
        },
    })
}

fn positions(names: &Names, offsets: &[(Place, i64)]) -> Result<TopicPartitionList, PortError> {
    list(names, offsets, Offset::Offset)
}

fn list<T: Copy>(
    names: &Names,
    places: &[(Place, T)],
    offset: impl Fn(T) -> Offset,
) -> Result<TopicPartitionList, PortError> {
    let mut list = TopicPartitionList::with_capacity(places.len());
    for &(place, of) in places {
        let partition = number(place.partition);
        list.add_partition_offset(names.of(place.topic), partition, offset(of))
            .map_err(error::from_kafka)?;
    }
    Ok(list)
}

/// A partition in librdkafka's words.
pub(crate) fn number(partition: Partition) -> i32 {
    i32::try_from(partition.get()).expect("checked against the count, which fits")
}

/// Asks the leaders where the starts are. Blocks.
fn offsets(
    consumer: &StreamConsumer<Context>,
    shared: &Shared,
    wanted: &[(Place, Start)],
) -> Result<Vec<(Place, i64)>, PortError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    // In a question by time, these two stand for the ends.
    let question = list(&shared.names, wanted, |start| match start {
        Start::Earliest => Offset::Beginning,
        Start::Latest => Offset::End,
    })?;
    let answer = consumer
        .offsets_for_times(question, shared.config.request_timeout)
        .map_err(error::from_kafka)?;
    let mut offsets = Vec::with_capacity(wanted.len());
    for element in answer.elements() {
        element.error().map_err(error::from_kafka)?;
        let topic = shared.names.topic(element.topic());
        let partition = u32::try_from(element.partition()).map(Partition::new);
        let (Some(topic), Ok(partition), Offset::Offset(offset)) =
            (topic, partition, element.offset())
        else {
            let what = KafkaError::OffsetFetch(RDKafkaErrorCode::InvalidArgument);
            return Err(error::unavailable(what));
        };
        offsets.push((Place { topic, partition }, offset));
    }
    Ok(offsets)
}

/// Asks the leaders what they have. Blocks.
fn kept(
    consumer: &StreamConsumer<Context>,
    shared: &Shared,
    places: &[Place],
) -> Result<Vec<Kept>, PortError> {
    let ask = |start| {
        let wanted: Vec<_> = places.iter().map(|place| (*place, start)).collect();
        offsets(consumer, shared, &wanted)
    };
    let oldest = ask(Start::Earliest)?;
    let ends: HashMap<Place, i64> = ask(Start::Latest)?.into_iter().collect();
    let kept = oldest.into_iter().filter_map(|(place, oldest)| {
        let end = *ends.get(&place)?;
        Some(Kept { place, oldest, end })
    });
    Ok(kept.collect())
}
