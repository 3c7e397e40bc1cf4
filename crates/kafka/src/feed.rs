//! Messages of chosen partitions, from concrete offsets on.
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

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use tidegate_ports::{Header, Message, PortError, Start};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::bus::Shared;
use crate::client::Context;
use crate::close::Closing;
use crate::config::TopicNames;
use crate::error;
use crate::metrics::{INTERVAL_MILLIS, ReaderMeter};

/// Bytes of one batch, beside its first record: what its reader can work on without a pause that
/// others notice.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Pause before leaders are asked again.
const ASK_PAUSE: Duration = Duration::from_millis(50);

/// A partition of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// The topic's place in the reader's list of names.
    pub(crate) topic: usize,
    pub(crate) partition: u32,
}

/// What a leader has of a partition: the oldest offset, and the one after the newest.
#[derive(Debug, Clone, Copy)]
struct Kept {
    place: Place,
    oldest: i64,
    end: i64,
}

/// A message and where it was.
pub(crate) struct Fetched {
    place: Place,
    pub(crate) offset: i64,
    pub(crate) sent_millis: Option<u64>,
    pub(crate) message: Message,
}

/// Messages of one partition, in order; never none.
pub(crate) struct Run {
    pub(crate) place: Place,
    /// The offset after the last of them.
    pub(crate) end: i64,
    pub(crate) fetched: Vec<Fetched>,
}

/// What was found behind the end of a batch, for the next poll.
enum Ahead {
    Fetched(Fetched),
    Failed(PortError),
}

/// A question to the leaders that is under way. It is kept here and not in a future, so that a poll
/// that is dropped does not ask twice.
pub(crate) type Asking<T> = Option<JoinHandle<Result<T, PortError>>>;

/// A reader's consumer and its places.
pub(crate) struct Feed {
    consumer: Arc<Closing<StreamConsumer<Context>>>,
    shared: Arc<Shared>,
    names: TopicNames,
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
    /// A reader of nothing yet, that knows these topics; metrics call them by these words.
    pub(crate) fn new(
        shared: Arc<Shared>,
        names: TopicNames,
        words: &[&'static str],
    ) -> Result<Self, PortError> {
        let meter = ReaderMeter::new(Arc::clone(&names), words);
        // librdkafka wants a group's name even of a consumer without a group.
        let nobody = format!("{}reader", shared.config.topic_prefix);
        let consumer = shared
            .config
            .consumer(&nobody)
            .set("statistics.interval.ms", INTERVAL_MILLIS)
            // Whoever reads a topic that was removed hears of it after so long, by default 30 s.
            .set("topic.metadata.propagation.max.ms", "3000")
            .create_with_context(Context::Reader(meter))
            .map_err(error::from_kafka)?;
        Ok(Self {
            consumer: Arc::new(Closing::new(consumer, &shared.closer)),
            shared,
            names,
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
            let leaders = self.leaders();
            let asking = self.locating.get_or_insert_with(|| {
                let wanted = wanted.to_vec();
                tokio::task::spawn_blocking(move || leaders.offsets(&wanted))
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
        let list = positions(&self.names, offsets)?;
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
        let list = positions(&self.names, places)?;
        self.consumer
            .incremental_unassign(&list)
            .map_err(error::from_kafka)
    }

    /// Waits for the next messages. Cancellation-safe.
    pub(crate) async fn next(&mut self) -> Result<Run, PortError> {
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
                    Ahead::Fetched(first) => return Ok(self.run(first)),
                    Ahead::Failed(error) => return Err(error),
                }
            }
            let received = self.consumer.recv().await;
            let received = received.map(|message| fetched(&message, &self.names));
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
    fn run(&mut self, first: Fetched) -> Run {
        let mut run = Run {
            place: first.place,
            end: first.offset + 1,
            fetched: vec![first],
        };
        let mut bytes_left = BATCH_BYTES_MAX;
        while run.fetched.len() < self.shared.config.batch_records_max {
            let Some(received) = self.consumer.recv().now_or_never() else {
                break;
            };
            let received = received.map(|message| fetched(&message, &self.names));
            self.take(received);
            match self.ahead.take() {
                Some(Ahead::Fetched(more))
                    if more.place == run.place && bytes(&more.message) <= bytes_left =>
                {
                    bytes_left -= bytes(&more.message);
                    run.end = more.offset + 1;
                    run.fetched.push(more);
                }
                Some(ahead) => {
                    self.ahead = Some(ahead);
                    break;
                }
                None if self.is_suspect => break,
                None => {}
            }
        }
        run
    }

    /// Whom to ask where things are.
    pub(crate) fn leaders(&self) -> Leaders {
        Leaders {
            consumer: Arc::clone(&self.consumer),
            shared: Arc::clone(&self.shared),
            names: Arc::clone(&self.names),
        }
    }

    /// Finds the partitions that stopped, and lets them start over. Cancellation-safe.
    async fn restart_stopped(&mut self) -> Result<(), PortError> {
        let (leaders, next) = (self.leaders(), &self.next);
        let asking = self.checking.get_or_insert_with(|| {
            let places = next.keys().copied().collect::<Vec<_>>();
            tokio::task::spawn_blocking(move || leaders.kept(&places))
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
/// would be kept by whoever keeps one message.
fn fetched(message: &BorrowedMessage<'_>, names: &[String]) -> Option<Fetched> {
    let topic = names.iter().position(|name| name == message.topic())?;
    let partition = u32::try_from(message.partition()).ok()?;
    let (key, value) = (message.key(), message.payload());
    let length = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
    let mut both = BytesMut::with_capacity(length(key) + length(value));
    both.put_slice(key.unwrap_or(&[]));
    both.put_slice(value.unwrap_or(&[]));
    let mut both = both.freeze();
    let key = key.map(|key| both.split_to(key.len()));
    let sent = message.timestamp().to_millis();
    Some(Fetched {
        place: Place { topic, partition },
        offset: message.offset(),
        sent_millis: sent.and_then(|millis| u64::try_from(millis).ok()),
        message: Message {
            key,
            value: value.map(|_| both),
            headers: headers(message),
        },
    })
}

fn headers(message: &BorrowedMessage<'_>) -> Vec<Header> {
    let Some(headers) = message.headers() else {
        return Vec::new();
    };
    let header = |header: rdkafka::message::Header<'_, &[u8]>| Header {
        name: header.key.to_owned(),
        value: header.value.map(Bytes::copy_from_slice),
    };
    headers.iter().map(header).collect()
}

/// Bytes of a message as bounds count them.
pub(crate) fn bytes(message: &Message) -> usize {
    let length = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
    let header = |header: &Header| header.name.len() + length(&header.value);
    let headers: usize = message.headers.iter().map(header).sum();
    length(&message.key) + length(&message.value) + headers
}

pub(crate) fn positions(
    names: &[String],
    offsets: &[(Place, i64)],
) -> Result<TopicPartitionList, PortError> {
    list(names, offsets, Offset::Offset)
}

pub(crate) fn list<T: Copy>(
    names: &[String],
    places: &[(Place, T)],
    offset: impl Fn(T) -> Offset,
) -> Result<TopicPartitionList, PortError> {
    let mut list = TopicPartitionList::with_capacity(places.len());
    for &(place, of) in places {
        let partition = number(place.partition);
        list.add_partition_offset(&names[place.topic], partition, offset(of))
            .map_err(error::from_kafka)?;
    }
    Ok(list)
}

/// A partition in librdkafka's words.
pub(crate) fn number(partition: u32) -> i32 {
    i32::try_from(partition).expect("it came from a count that fits")
}

/// The brokers that know where partitions begin and end. Asking blocks.
pub(crate) struct Leaders {
    consumer: Arc<Closing<StreamConsumer<Context>>>,
    shared: Arc<Shared>,
    names: TopicNames,
}

impl Leaders {
    /// Asks where the starts are.
    pub(crate) fn offsets(
        &self,
        wanted: &[(Place, Start)],
    ) -> Result<Vec<(Place, i64)>, PortError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        // In a question by time, these two stand for the ends.
        let question = list(&self.names, wanted, |start| match start {
            Start::Earliest => Offset::Beginning,
            Start::Latest => Offset::End,
        })?;
        let answer = self
            .consumer
            .offsets_for_times(question, self.shared.config.request_timeout)
            .map_err(error::from_kafka)?;
        let mut offsets = Vec::with_capacity(wanted.len());
        for element in answer.elements() {
            element.error().map_err(error::from_kafka)?;
            let place = place(&self.names, element.topic(), element.partition());
            let (Some(place), Offset::Offset(offset)) = (place, element.offset()) else {
                let what = KafkaError::OffsetFetch(RDKafkaErrorCode::InvalidArgument);
                return Err(error::unavailable(what));
            };
            offsets.push((place, offset));
        }
        Ok(offsets)
    }

    /// Asks what is there.
    fn kept(&self, places: &[Place]) -> Result<Vec<Kept>, PortError> {
        let ask = |start| {
            let wanted: Vec<_> = places.iter().map(|place| (*place, start)).collect();
            self.offsets(&wanted)
        };
        let oldest = ask(Start::Earliest)?;
        let ends: HashMap<Place, i64> = ask(Start::Latest)?.into_iter().collect();
        let kept = oldest.into_iter().filter_map(|(place, oldest)| {
            let end = *ends.get(&place)?;
            Some(Kept { place, oldest, end })
        });
        Ok(kept.collect())
    }
}

pub(crate) fn place(names: &[String], topic: &str, partition: i32) -> Option<Place> {
    Some(Place {
        topic: names.iter().position(|name| name == topic)?,
        partition: u32::try_from(partition).ok()?,
    })
}
