//! Sharing the partitions of the bus with others.
//!
//! A [`Member`] learns which partition numbers are our own, from the assignment of the topic of
//! changes. Beside it a [`Feed`] reads these numbers of all the topics.
//!
//! The order of things is what makes an owner the only one. Assigned: first the starts are asked of
//! the leaders and the feed is placed, then the group is answered, then the caller hears `Gained`.
//! Revoked: first the feed forgets the partitions, then the group is answered, then the caller
//! hears `Lost`. The group's protocol has a second question after that, whether the rest can be
//! taken on anew; it is answered at the caller's next poll, and only then do others get what was
//! revoked. Only a member that was silent for too long is not asked.
//!
//! A caller that does not poll for longer than the configuration allows loses its partitions; it
//! hears that at its next poll, and then gains what the group gives it.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use tidegate_core::Partition;
use tidegate_ports::{BusEvent, BusReader, PortError, Start, Topic};

use crate::bus::{BUS_WORDS, Shared, records};
use crate::close::Closing;
use crate::config::index;
use crate::feed::{Feed, Place};
use crate::member::{Member, Wish};

/// The topic whose assignment decides.
const OWNERSHIP: Topic = Topic::Changes;

/// A reader whose partitions a group decides.
pub(crate) struct GroupReader {
    member: Closing<Member>,
    feed: Feed,
    topics: Vec<(Topic, Start)>,
    /// What the caller was told it has.
    held: BTreeSet<u32>,
}

impl GroupReader {
    pub(crate) fn join(
        shared: Arc<Shared>,
        group: &str,
        topics: Vec<(Topic, Start)>,
    ) -> Result<Self, PortError> {
        let group = format!("{}{group}", shared.config.topic_prefix);
        let ownership = shared.names.of(OWNERSHIP).to_owned();
        let member = Member::join(&shared, &group, Arc::new([ownership]))?;
        let names = shared.names.list();
        Ok(Self {
            member: Closing::new(member, &shared.closer),
            feed: Feed::new(shared, names, &BUS_WORDS)?,
            topics,
            held: BTreeSet::new(),
        })
    }

    /// Does what the group wishes. Cancellation-safe: the wish stays until it is fulfilled.
    async fn fulfil(&mut self, wish: Wish) -> Result<Option<BusEvent>, PortError> {
        let (Wish::Give(places) | Wish::Take(places)) = &wish;
        let numbers: Vec<u32> = places.iter().map(|place| place.partition).collect();
        let partitions = |numbers: Vec<u32>| numbers.into_iter().map(Partition::new).collect();
        match &wish {
            Wish::Give(_) => {
                self.feed
                    .unassign(|place| numbers.contains(&place.partition))?;
                self.member.fulfilled(&wish)?;
                let mut lost = numbers;
                lost.retain(|partition| self.held.remove(partition));
                Ok((!lost.is_empty()).then(|| BusEvent::Lost(partitions(lost))))
            }
            Wish::Take(_) => {
                let wanted = self.topics.iter().flat_map(|&(topic, start)| {
                    let topic = index(topic);
                    let place = move |&partition: &u32| (Place { topic, partition }, start);
                    numbers.iter().map(place)
                });
                let wanted: Vec<_> = wanted.collect();
                let offsets = self.feed.locate(&wanted).await?;
                // A fulfilment that failed half way is done again from here.
                self.feed
                    .unassign(|place| numbers.contains(&place.partition))?;
                self.feed.assign(&offsets)?;
                self.member.fulfilled(&wish)?;
                self.held.extend(&numbers);
                let gained = numbers;
                Ok((!gained.is_empty()).then(|| BusEvent::Gained(partitions(gained))))
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
                run = self.feed.next() => return run.map(records),
            }
        }
    }
}
