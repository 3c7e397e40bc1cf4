//! The broker inside one process: topics by name in memory, with the contract a real one has.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::broker::{Broker, BrokerEvent, BrokerReader, Keep, Link, Message, Received, TopicName};
use crate::bus::{BusOffset, Start};
use crate::error::PortError;

const WHAT: &str = "broker";

/// Bounds of a [`MemoryBroker`].
#[derive(Debug, Clone, Copy)]
pub struct MemoryBrokerLimits {
    /// Topics at once; one more is refused.
    pub topics_max: usize,
    /// Partitions of one topic.
    pub partitions_max: u32,
    /// Bytes that one partition keeps; the oldest messages go first. A reader that is this far
    /// behind is told that it lost some.
    pub partition_bytes_max: usize,
    /// Bytes of one message: above any page a client may ask for.
    pub message_bytes_max: usize,
    /// Messages handed to a reader at once: enough to amortize a wake-up, few enough to give
    /// others a turn.
    pub batch_messages_max: usize,
}

impl Default for MemoryBrokerLimits {
    fn default() -> Self {
        Self {
            topics_max: 1_024,
            partitions_max: 1_024,
            partition_bytes_max: 32 << 20,
            message_bytes_max: 16 << 20,
            batch_messages_max: 256,
        }
    }
}

struct Stored {
    message: Message,
    since: Instant,
    sent_millis: u64,
}

/// One partition of one topic.
#[derive(Default)]
struct Log {
    /// By offset. Not dense where only the last of each key is kept.
    kept: BTreeMap<u64, Stored>,
    /// What is before is gone, other than by a later message of the same key.
    start: u64,
    end: u64,
    bytes: usize,
    /// Where each key was last, if that counts in this topic.
    last: HashMap<Bytes, u64>,
}

impl Log {
    fn append(&mut self, stored: Stored, keep: Keep, bytes_max: usize) {
        let offset = self.end;
        self.end += 1;
        if let (Keep::LastOfKey, Some(key)) = (keep, &stored.message.key)
            && let Some(older) = self.last.insert(key.clone(), offset)
        {
            self.take(older);
        }
        self.bytes += size(&stored.message);
        self.kept.insert(offset, stored);
        self.trim(keep, bytes_max);
    }

    fn take(&mut self, offset: u64) -> Option<Stored> {
        let stored = self.kept.remove(&offset)?;
        self.bytes -= size(&stored.message);
        Some(stored)
    }

    fn trim(&mut self, keep: Keep, bytes_max: usize) {
        while let Some((&offset, oldest)) = self.kept.first_key_value() {
            let is_old = match keep {
                Keep::Millis(millis) => oldest.since.elapsed() > Duration::from_millis(millis),
                Keep::LastOfKey => false,
            };
            let is_too_much = self.bytes > bytes_max && self.kept.len() > 1;
            if !is_old && !is_too_much {
                return;
            }
            if let Some(Message { key: Some(key), .. }) = self.take(offset).map(|one| one.message) {
                self.last.remove(&key);
            }
            self.start = offset + 1;
        }
    }
}

fn size(message: &Message) -> usize {
    let header = |header: &crate::broker::Header| {
        header.name.len() + header.value.as_ref().map_or(0, Bytes::len)
    };
    let headers: usize = message.headers.iter().map(header).sum();
    let length = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
    length(&message.key) + length(&message.value) + headers + size_of::<Stored>()
}

struct Topic {
    keep: Keep,
    logs: Vec<Log>,
    /// Which partition the next message without a key goes to.
    turn: usize,
}

impl Topic {
    fn partition(&mut self, key: Option<&Bytes>) -> usize {
        let number = match key {
            Some(key) => {
                let mut hasher = DefaultHasher::new();
                key.hash(&mut hasher);
                hasher.finish() as usize
            }
            None => {
                self.turn = self.turn.wrapping_add(1);
                self.turn
            }
        };
        number % self.logs.len()
    }
}

type Place = (TopicName, u32);

/// Those who share topics. Member `i` of `n` is to have the partitions `p % n == i` of a topic, and
/// has one as soon as whoever had it before has let go.
#[derive(Default)]
struct Group {
    members: Vec<(u64, Vec<TopicName>)>,
    owners: HashMap<Place, u64>,
    /// What is dealt with: where the next owner begins.
    settled: HashMap<Place, u64>,
}

impl Group {
    fn is_meant_for(&self, (topic, partition): &Place, member: u64) -> bool {
        let those = self.members.iter();
        let those: Vec<u64> = those
            .filter(|(_, topics)| topics.contains(topic))
            .map(|(id, _)| *id)
            .collect();
        let at = *partition as usize % those.len().max(1);
        those.get(at) == Some(&member)
    }
}

#[derive(Default)]
struct State {
    topics: BTreeMap<TopicName, Topic>,
    groups: HashMap<String, Group>,
    next_member: u64,
}

/// A [`Broker`] in memory. Clones are the same broker.
///
/// What it keeps is bounded by the age that a topic was made with, and by bytes: of a topic that
/// keeps the last of each key, the keys that were silent for longest are forgotten then.
#[derive(Clone)]
pub struct MemoryBroker {
    limits: MemoryBrokerLimits,
    // One lock for all topics: it is held for a few pushes or clones of reference-counted bytes,
    // never across an await.
    state: Arc<Mutex<State>>,
    stirred: Arc<Notify>,
    link: Arc<watch::Sender<Link>>,
}

impl MemoryBroker {
    /// A broker without topics.
    #[must_use]
    pub fn new(limits: MemoryBrokerLimits) -> Self {
        Self {
            limits,
            state: Arc::default(),
            stirred: Arc::default(),
            link: Arc::new(watch::Sender::new(Link::Up)),
        }
    }

    /// Says of the link what is wanted, for tests of what follows from it.
    pub fn set_link(&self, link: Link) {
        self.link.send_replace(link);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }

    fn reader(
        &self,
        topics: &[TopicName],
        start: Start,
        membership: Option<Membership>,
    ) -> MemoryReader {
        MemoryReader {
            broker: self.clone(),
            topics: topics.to_vec(),
            start,
            membership,
            next: BTreeMap::new(),
            turn: 0,
        }
    }
}

fn rejected(why: String) -> PortError {
    PortError::Rejected { what: WHAT, why }
}

fn missing(topic: &TopicName) -> PortError {
    rejected(format!("there is no topic {topic}"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a message tells when it was sent, and nothing here is decided by that"
)]
fn millis_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

#[async_trait]
impl Broker for MemoryBroker {
    async fn send(&self, topic: &TopicName, messages: Vec<Message>) -> Result<(), PortError> {
        let bytes_max = self.limits.message_bytes_max;
        if let Some(bytes) = messages.iter().map(size).find(|bytes| *bytes > bytes_max) {
            return Err(PortError::TooLarge {
                what: "message",
                bytes,
                bytes_max,
            });
        }
        {
            let mut state = self.lock();
            let target = state.topics.get_mut(topic).ok_or_else(|| missing(topic))?;
            for message in messages {
                let partition = target.partition(message.key.as_ref());
                let stored = Stored {
                    message,
                    since: Instant::now(),
                    sent_millis: millis_now(),
                };
                let keep = target.keep;
                target.logs[partition].append(stored, keep, self.limits.partition_bytes_max);
            }
        }
        self.stirred.notify_waiters();
        Ok(())
    }

    async fn follow(
        &self,
        topics: &[TopicName],
        start: Start,
    ) -> Result<Box<dyn BrokerReader>, PortError> {
        let mut reader = self.reader(topics, start, None);
        let state = self.lock();
        for name in topics {
            let topic = state.topics.get(name).ok_or_else(|| missing(name))?;
            for (partition, log) in (0..).zip(&topic.logs) {
                let place = (name.clone(), partition);
                reader.next.insert(place, begin(log, start));
            }
        }
        drop(state);
        Ok(Box::new(reader))
    }

    async fn share(
        &self,
        group: &str,
        topics: &[TopicName],
        start: Start,
    ) -> Result<Box<dyn BrokerReader>, PortError> {
        let mut state = self.lock();
        if let Some(name) = topics.iter().find(|name| !state.topics.contains_key(name)) {
            return Err(missing(name));
        }
        let member = state.next_member;
        state.next_member += 1;
        let entry = state.groups.entry(group.to_owned()).or_default();
        entry.members.push((member, topics.to_vec()));
        drop(state);
        self.stirred.notify_waiters();
        let membership = Membership {
            group: group.to_owned(),
            member,
        };
        Ok(Box::new(self.reader(topics, start, Some(membership))))
    }

    async fn create(
        &self,
        topic: &TopicName,
        partitions: u32,
        keep: Keep,
    ) -> Result<(), PortError> {
        if !(1..=self.limits.partitions_max).contains(&partitions) {
            return Err(rejected(format!(
                "{partitions} partitions are not possible"
            )));
        }
        let mut state = self.lock();
        if state.topics.contains_key(topic) {
            return Ok(());
        }
        if state.topics.len() >= self.limits.topics_max {
            let why = format!("there are {} topics already", state.topics.len());
            return Err(rejected(why));
        }
        let logs = (0..partitions).map(|_| Log::default()).collect();
        let turn = 0;
        state
            .topics
            .insert(topic.clone(), Topic { keep, logs, turn });
        drop(state);
        self.stirred.notify_waiters();
        Ok(())
    }

    async fn remove(&self, topic: &TopicName) -> Result<(), PortError> {
        let mut state = self.lock();
        state.topics.remove(topic);
        for group in state.groups.values_mut() {
            group.settled.retain(|(name, _), _| name != topic);
        }
        drop(state);
        self.stirred.notify_waiters();
        Ok(())
    }

    async fn topics(&self) -> Result<Vec<TopicName>, PortError> {
        Ok(self.lock().topics.keys().cloned().collect())
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }
}

fn begin(log: &Log, start: Start) -> u64 {
    match start {
        Start::Earliest => log.start,
        Start::Latest => log.end,
    }
}

struct Membership {
    group: String,
    member: u64,
}

struct MemoryReader {
    broker: MemoryBroker,
    topics: Vec<TopicName>,
    start: Start,
    membership: Option<Membership>,
    /// The offset that comes next in each place that this reader has.
    next: BTreeMap<Place, u64>,
    /// Where the next search for messages starts, so that no partition starves another.
    turn: usize,
}

impl MemoryReader {
    /// Says that what was handed over is dealt with. A place is this member's until it lets go.
    fn settle_handed(&self, state: &mut State) {
        let Some(membership) = &self.membership else {
            return;
        };
        if let Some(group) = state.groups.get_mut(&membership.group) {
            let places = self.next.iter();
            group
                .settled
                .extend(places.map(|(place, next)| (place.clone(), *next)));
        }
    }

    /// First lets go of what is another's to have, then, at the next call, takes what is free.
    fn rebalance(&mut self, state: &mut State) -> Option<BrokerEvent> {
        let Membership { group, member } = self.membership.as_ref()?;
        let State { topics, groups, .. } = state;
        let group = groups.get_mut(group)?;
        let exists = |(name, partition): &Place| {
            let topic = topics.get(name);
            topic.is_some_and(|topic| (*partition as usize) < topic.logs.len())
        };
        let is_lost = |place: &Place| !exists(place) || !group.is_meant_for(place, *member);
        let lost: Vec<Place> = self.next.keys().filter(|p| is_lost(p)).cloned().collect();
        if !lost.is_empty() {
            for place in &lost {
                self.next.remove(place);
                group.owners.remove(place);
            }
            return Some(BrokerEvent::Lost(lost));
        }
        let wanted: BTreeSet<Place> = self
            .topics
            .iter()
            .cloned()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .flat_map(|name| {
                let count = topics.get(&name).map_or(0, |topic| topic.logs.len());
                (0..)
                    .take(count)
                    .map(move |partition| (name.clone(), partition))
            })
            .collect();
        let mut gained = Vec::new();
        for place in wanted {
            if group.owners.contains_key(&place) || !group.is_meant_for(&place, *member) {
                continue;
            }
            let log = &topics[&place.0].logs[place.1 as usize];
            let next = group.settled.entry(place.clone());
            let next = *next.or_insert_with(|| begin(log, self.start));
            group.owners.insert(place.clone(), *member);
            self.next.insert(place.clone(), next);
            gained.push(place);
        }
        (!gained.is_empty()).then_some(BrokerEvent::Gained(gained))
    }

    fn take(&mut self, state: &mut State) -> Result<Option<Vec<Received>>, PortError> {
        let limits = self.broker.limits;
        let places: Vec<Place> = self.next.keys().cloned().collect();
        for step in 0..places.len() {
            let at = (self.turn + step) % places.len();
            let (name, partition) = &places[at];
            let topic = state.topics.get_mut(name).ok_or(PortError::Unavailable {
                what: WHAT,
                source: None,
            })?;
            let keep = topic.keep;
            let log = &mut topic.logs[*partition as usize];
            log.trim(keep, limits.partition_bytes_max);
            let next = self.next.get_mut(&places[at]).expect("listed just now");
            // Fell behind, or the topic was made anew.
            if *next < log.start || *next > log.end {
                *next = log.start;
                return Err(PortError::Gone { what: WHAT });
            }
            let received: Vec<Received> = log
                .kept
                .range(*next..)
                .take(limits.batch_messages_max)
                .map(|(offset, stored)| Received {
                    topic: name.clone(),
                    partition: *partition,
                    offset: BusOffset(*offset),
                    sent_millis: Some(stored.sent_millis),
                    message: stored.message.clone(),
                })
                .collect();
            if let Some(last) = received.last() {
                *next = last.offset.0 + 1;
                self.turn = at + 1;
                return Ok(Some(received));
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl BrokerReader for MemoryReader {
    async fn poll(&mut self) -> Result<BrokerEvent, PortError> {
        let stirred = Arc::clone(&self.broker.stirred);
        loop {
            // Registered before the logs are looked at: a message sent in between wakes us.
            let mut wake = std::pin::pin!(stirred.notified());
            wake.as_mut().enable();
            {
                let broker = self.broker.clone();
                let mut state = broker.lock();
                self.settle_handed(&mut state);
                if let Some(event) = self.rebalance(&mut state) {
                    drop(state);
                    stirred.notify_waiters();
                    return Ok(event);
                }
                if let Some(messages) = self.take(&mut state)? {
                    return Ok(BrokerEvent::Messages(messages));
                }
            }
            wake.await;
        }
    }

    async fn settle(&mut self) -> Result<(), PortError> {
        let broker = self.broker.clone();
        self.settle_handed(&mut broker.lock());
        Ok(())
    }
}

impl Drop for MemoryReader {
    fn drop(&mut self) {
        let Some(Membership { group, member }) = &self.membership else {
            return;
        };
        let mut state = self.broker.lock();
        if let Some(group) = state.groups.get_mut(group) {
            group.members.retain(|(id, _)| id != member);
            group.owners.retain(|_, owner| owner != member);
        }
        drop(state);
        self.broker.stirred.notify_waiters();
    }
}
