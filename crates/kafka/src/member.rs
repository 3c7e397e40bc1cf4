//! A member of a consumer group, as far as the group is concerned: which partitions it has, and
//! what is committed of them. It reads nothing.
//!
//! librdkafka's callback only writes down what the group wants, and waits for an answer; the reader
//! that has the member does it within its own poll, and then answers. So nobody else gets a
//! partition before its reader has acted on the loss.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tidegate_ports::PortError;
use tokio::sync::Notify;

use crate::bus::Shared;
use crate::client::{log, log_error};
use crate::config::TopicNames;
use crate::error;
use crate::feed::{Place, list, place, positions};

/// What the group wants of us, and waits for.
#[derive(Debug, Clone)]
pub(crate) enum Wish {
    Take(Vec<Place>),
    Give(Vec<Place>),
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
    names: TopicNames,
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
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
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
        let place = |one: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            place(&self.names, one.topic(), one.partition())
        };
        let places = elements.iter().filter_map(place).collect();
        let wish = match wish {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Wish::Take(places),
            _ => Wish::Give(places),
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

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            // What it says comes again with the next one, or is another member's.
            tracing::debug!(%error, "a group did not take a commit");
        }
    }
}

/// Tells the group that its wish is fulfilled.
fn answer<C>(consumer: &C, names: &[String], wish: &Wish) -> KafkaResult<()>
where
    C: Consumer<MemberContext>,
{
    let (Wish::Take(places) | Wish::Give(places)) = wish;
    let mut list = TopicPartitionList::with_capacity(places.len());
    for place in places {
        let partition = crate::feed::number(place.partition);
        // The end has to be asked for, so the pause is there before anything is fetched.
        list.add_partition_offset(&names[place.topic], partition, Offset::End)?;
    }
    match wish {
        Wish::Take(places) => {
            consumer.incremental_assign(&list)?;
            match places.is_empty() {
                true => Ok(()),
                false => consumer.pause(&list),
            }
        }
        Wish::Give(_) => consumer.incremental_unassign(&list),
    }
}

/// A member of a consumer group. Leaves when it is dropped, which blocks.
pub(crate) struct Member(StreamConsumer<MemberContext>);

impl Member {
    /// Joins the group that shares the partitions of these topics.
    pub(crate) fn join(shared: &Shared, group: &str, names: TopicNames) -> Result<Self, PortError> {
        let topics: Vec<&str> = names.iter().map(String::as_str).collect();
        let context = MemberContext {
            names: names.clone(),
            wishes: Mutex::new(Wishes {
                waiting: VecDeque::new(),
                answers: Answers::Reader,
            }),
            stirred: Notify::new(),
        };
        let config = shared.config.consumer(group);
        let consumer: StreamConsumer<MemberContext> = config
            .create_with_context(context)
            .map_err(error::from_kafka)?;
        consumer.subscribe(&topics).map_err(error::from_kafka)?;
        Ok(Self(consumer))
    }

    /// The oldest wish that is not fulfilled.
    pub(crate) fn wish(&self) -> Option<Wish> {
        self.0.context().wishes().waiting.front().cloned()
    }

    pub(crate) fn fulfilled(&self, wish: &Wish) -> Result<(), PortError> {
        let context = self.0.context();
        answer(&self.0, &context.names, wish).map_err(error::from_kafka)?;
        context.wishes().waiting.pop_front();
        Ok(())
    }

    /// Waits until there may be a wish. Cancellation-safe.
    pub(crate) async fn stirred(&self) -> Result<(), PortError> {
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

    /// Where the group has been, of those places where it has been at all. Blocks.
    pub(crate) fn committed(
        &self,
        shared: &Shared,
        places: &[Place],
    ) -> Result<Vec<(Place, i64)>, PortError> {
        let names = &self.0.context().names;
        let places: Vec<_> = places.iter().map(|place| (*place, ())).collect();
        let question = list(names, &places, |()| Offset::Invalid)?;
        let answer = self
            .0
            .committed_offsets(question, shared.config.request_timeout)
            .map_err(error::from_kafka)?;
        let mut committed = Vec::new();
        for element in answer.elements() {
            element.error().map_err(error::from_kafka)?;
            let place = place(names, element.topic(), element.partition());
            if let (Some(place), Offset::Offset(offset)) = (place, element.offset()) {
                committed.push((place, offset));
            }
        }
        Ok(committed)
    }

    /// Commits, and does not wait for it.
    pub(crate) fn commit_soon(&self, offsets: &[(Place, i64)]) -> Result<(), PortError> {
        self.commit(offsets, CommitMode::Async)
            .map_err(error::from_kafka)
    }

    /// Commits while the partitions are ours. Blocks until the group says that it has it.
    pub(crate) fn commit_now(&self, offsets: &[(Place, i64)]) -> Result<(), PortError> {
        // Having lost them, we could still be heard by a group without members.
        if self.0.assignment_lost() {
            let lost = KafkaError::ConsumerCommit(RDKafkaErrorCode::AssignmentLost);
            return Err(error::unavailable(lost));
        }
        // Whatever the reason: not sure now is not never.
        self.commit(offsets, CommitMode::Sync)
            .map_err(error::unavailable)
    }

    fn commit(&self, offsets: &[(Place, i64)], mode: CommitMode) -> KafkaResult<()> {
        if offsets.is_empty() {
            return Ok(());
        }
        let list = positions(&self.0.context().names, offsets);
        let list =
            list.map_err(|_| KafkaError::ConsumerCommit(RDKafkaErrorCode::InvalidArgument))?;
        self.0.commit(&list, mode)
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
