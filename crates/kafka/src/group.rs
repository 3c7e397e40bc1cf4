//! Sharing the partitions with others.
//!
//! A member reads nothing: it only learns which partition numbers are its own, from the assignment
//! of the topic of changes. Beside it a [`Feed`] reads these numbers of all the topics.
//!
//! The order of things is what makes an owner the only one. Assigned: first the starts are asked of
//! the leaders and the feed is placed, then the group is answered, then the caller hears `Gained`.
//! Revoked: first the feed forgets the partitions, then the group is answered, then the caller
//! hears `Lost`. The group's protocol has a second question after that, whether the rest can be
//! taken on anew; it is answered at the caller's next poll, and only then do others get what was
//! revoked. So librdkafka's callback only writes down what the group wants, and
//! [`BusReader::poll`] does it.
//! Only a member that was silent for too long is not asked.
//!
//! A caller that does not poll for longer than the configuration allows loses its partitions; it
//! hears that at its next poll, and then gains what the group gives it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tidegate_core::Partition;
use tidegate_ports::{BusEvent, BusReader, PortError, Start, Topic};
use tokio::sync::Notify;

use crate::bus::Shared;
use crate::client::Context;
use crate::close::Closing;
use crate::config::Names;
use crate::error;
use crate::feed::{Feed, Place, number};

/// The topic whose assignment decides.
const OWNERSHIP: Topic = Topic::Changes;

/// What the group wants of us, and waits for.
#[derive(Debug, Clone)]
enum Wish {
    Take(Vec<Partition>),
    Give(Vec<Partition>),
}

/// Who answers the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    /// The reader, when it has done what is wished.
    Reader,
    /// The callback itself: the reader is gone.
    Callback,
}

struct Wishes {
    waiting: VecDeque<Wish>,
    answers: Answers,
}

/// The member's ear.
struct MemberContext {
    names: Names,
    // Only the thread that polls the member comes here.
    wishes: Mutex<Wishes>,
    stirred: Notify,
}

impl MemberContext {
    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for MemberContext {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        Context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Context.error(error, reason);
    }
}

impl ConsumerContext for MemberContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        wish: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let elements = list.elements();
        let numbers = elements.iter().map(|element| element.partition());
        let partitions = numbers.filter_map(|n| u32::try_from(n).ok());
        let partitions = partitions.map(Partition::new).collect();
        let wish = match wish {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Wish::Take(partitions),
            _ => Wish::Give(partitions),
        };
        let mut wishes = self.wishes();
        match wishes.answers {
            Answers::Reader => wishes.waiting.push_back(wish),
            Answers::Callback => {
                if let Err(error) = answer(consumer, &self.names, &wish) {
                    tracing::warn!(%error, "a group was not answered");
                }
            }
        }
        self.stirred.notify_one();
    }
}

/// Tells the group that its wish is fulfilled.
fn answer<C: Consumer<MemberContext>>(consumer: &C, names: &Names, wish: &Wish) -> KafkaResult<()> {
    let (Wish::Take(partitions) | Wish::Give(partitions)) = wish;
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for &partition in partitions {
        // The end has to be asked for, so the pause is there before anything is fetched.
        list.add_partition_offset(names.of(OWNERSHIP), number(partition), Offset::End)?;
    }
    match wish {
        Wish::Take(partitions) => {
            consumer.incremental_assign(&list)?;
            match partitions.is_empty() {
                true => Ok(()),
                false => consumer.pause(&list),
            }
        }
        Wish::Give(_) => consumer.incremental_unassign(&list),
    }
}

/// A member of a consumer group. Leaves when it is dropped, which blocks.
struct Member(StreamConsumer<MemberContext>);

impl Member {
    /// The oldest wish that is not fulfilled.
    fn wish(&self) -> Option<Wish> {
        self.0.context().wishes().waiting.front().cloned()
    }

    fn fulfilled(&self, wish: &Wish) -> Result<(), PortError> {
        let context = self.0.context();
        answer(&self.0, &context.names, wish).map_err(error::from_kafka)?;
        context.wishes().waiting.pop_front();
        Ok(())
    }

    /// Waits until there may be a wish. Cancellation-safe.
    async fn stirred(&self) -> Result<(), PortError> {
        loop {
            let error = tokio::select! {
                () = self.0.context().stirred.notified() => return Ok(()),
                received = self.0.recv() => match received {
                    // Fetched before the pause.
                    Ok(_) => continue,
                    Err(error) => error,
                },
            };
            match error.rdkafka_error_code() {
                Some(code) if error::is_passing(code) => {
                    tracing::debug!(%error, "a group has trouble");
                }
                _ => return Err(error::from_kafka(error)),
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let waiting = {
            let mut wishes = self.0.context().wishes();
            wishes.answers = Answers::Callback;
            std::mem::take(&mut wishes.waiting)
        };
        // librdkafka does not close before all its questions are answered.
        for wish in waiting {
            if let Err(error) = answer(&self.0, &self.0.context().names, &wish) {
                tracing::warn!(%error, "a group was not answered");
            }
        }
    }
}

/// A reader whose partitions a group decides.
pub(crate) struct GroupReader {
    member: Closing<Member>,
    feed: Feed,
    topics: Vec<(Topic, Start)>,
    /// What the caller was told it has.
    held: BTreeSet<Partition>,
}

impl GroupReader {
    pub(crate) fn join(
        shared: Arc<Shared>,
        group: &str,
        topics: Vec<(Topic, Start)>,
    ) -> Result<Self, PortError> {
        let context = MemberContext {
            names: shared.names.clone(),
            wishes: Mutex::new(Wishes {
                waiting: VecDeque::new(),
                answers: Answers::Reader,
            }),
            stirred: Notify::new(),
        };
        let config = shared.config.consumer(Some(group));
        let consumer: StreamConsumer<MemberContext> = config
            .create_with_context(context)
            .map_err(error::from_kafka)?;
        let member = Closing::new(Member(consumer), &shared.closer);
        member
            .0
            .subscribe(&[shared.names.of(OWNERSHIP)])
            .map_err(error::from_kafka)?;
        Ok(Self {
            member,
            feed: Feed::new(shared)?,
            topics,
            held: BTreeSet::new(),
        })
    }

    /// Does what the group wishes. Cancellation-safe: the wish stays until it is fulfilled.
    async fn fulfil(&mut self, wish: Wish) -> Result<Option<BusEvent>, PortError> {
        match &wish {
            Wish::Give(partitions) => {
                self.feed
                    .unassign(|place| partitions.contains(&place.partition))?;
                self.member.fulfilled(&wish)?;
                let mut lost = partitions.clone();
                lost.retain(|partition| self.held.remove(partition));
                Ok((!lost.is_empty()).then_some(BusEvent::Lost(lost)))
            }
            Wish::Take(partitions) => {
                let wanted = self.topics.iter().flat_map(|&(topic, start)| {
                    let place = move |&partition: &Partition| (Place { topic, partition }, start);
                    partitions.iter().map(place)
                });
                let wanted: Vec<_> = wanted.collect();
                let offsets = self.feed.locate(&wanted).await?;
                // A fulfilment that failed half way is done again from here.
                self.feed
                    .unassign(|place| partitions.contains(&place.partition))?;
                self.feed.assign(&offsets)?;
                self.member.fulfilled(&wish)?;
                self.held.extend(partitions);
                let gained = partitions.clone();
                Ok((!gained.is_empty()).then_some(BusEvent::Gained(gained)))
            }
        }
    }
}

#[async_trait]
impl BusReader for GroupReader {
    async fn poll(&mut self) -> Result<BusEvent, PortError> {
        loop {
            if let Some(wish) = self.member.wish() {
                match self.fulfil(wish).await? {
                    Some(event) => return Ok(event),
                    None => continue,
                }
            }
            tokio::select! {
                // A partition that is to be given away yields no more records.
                biased;
                stirred = self.member.stirred() => stirred?,
                batch = self.feed.next() => return batch.map(BusEvent::Records),
            }
        }
    }
}
