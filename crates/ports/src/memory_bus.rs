//! The bus inside one process: bounded logs in memory, with the contract a broker has.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use tidegate_core::Partition;
use tokio::sync::Notify;

use crate::bus::{
    AssignedReader, Batch, Bus, BusEvent, BusOffset, BusReader, Record, Start, Topic,
};
use crate::error::PortError;

/// Bounds of a [`MemoryBus`].
#[derive(Debug, Clone, Copy)]
pub struct MemoryBusLimits {
    /// Partitions of each topic.
    pub partition_count: u32,
    /// Bytes of keys and values that one partition keeps; the oldest go first. A reader that is
    /// this far behind starts over, which costs it a fresh page of everything.
    pub partition_bytes_max: usize,
    /// Bytes of one record: above any page a client may ask for.
    pub record_bytes_max: usize,
    /// Records handed to a reader at once: enough to amortize a wake-up, few enough to give others
    /// a turn.
    pub batch_records_max: usize,
}

impl Default for MemoryBusLimits {
    fn default() -> Self {
        Self {
            partition_count: 8,
            partition_bytes_max: 32 << 20,
            record_bytes_max: 16 << 20,
            batch_records_max: 256,
        }
    }
}

/// One partition of one topic.
#[derive(Default)]
struct Log {
    records: VecDeque<Record>,
    /// Offset of the first record kept.
    base: u64,
    bytes: usize,
}

impl Log {
    fn end(&self) -> u64 {
        self.base + self.records.len() as u64
    }

    fn append(&mut self, record: Record, bytes_max: usize) {
        self.bytes += size(&record);
        self.records.push_back(record);
        while self.bytes > bytes_max && self.records.len() > 1 {
            let oldest = self.records.pop_front().expect("there is more than one");
            self.bytes -= size(&oldest);
            self.base += 1;
        }
    }
}

fn size(record: &Record) -> usize {
    record.key.len() + record.value.len() + size_of::<Record>()
}

/// The members of one group, in order of joining. Member `i` of `n` owns the partitions `p % n ==
/// i`.
#[derive(Default)]
struct Group {
    members: Vec<u64>,
    generation: u64,
}

#[derive(Default)]
struct State {
    logs: HashMap<(Topic, Partition), Log>,
    groups: HashMap<String, Group>,
    next_member: u64,
}

/// A [`Bus`] in memory. Clones are the same bus.
#[derive(Clone)]
pub struct MemoryBus {
    limits: MemoryBusLimits,
    // One lock for all logs: it is held for a few pushes or clones of reference-counted bytes,
    // never across an await.
    state: Arc<Mutex<State>>,
    published: Arc<Published>,
}

/// Tells readers that there may be something for them. By topic, so that nobody is woken by what he
/// does not read.
#[derive(Default)]
struct Published([Notify; Topic::ALL.len()]);

impl Published {
    fn of(&self, topic: Topic) -> &Notify {
        let [changes, control, diffs] = &self.0;
        match topic {
            Topic::Changes => changes,
            Topic::Control => control,
            Topic::Diffs => diffs,
        }
    }

    /// A group has changed, whatever it reads.
    fn all(&self) {
        self.0.iter().for_each(Notify::notify_waiters);
    }
}

impl MemoryBus {
    /// An empty bus.
    #[must_use]
    pub fn new(limits: MemoryBusLimits) -> Self {
        Self {
            limits,
            state: Arc::default(),
            published: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }

    fn partitions(&self) -> impl Iterator<Item = Partition> {
        (0..self.limits.partition_count).map(Partition::new)
    }

    fn all_exist(&self, partitions: &[Partition]) -> Result<(), PortError> {
        let count = self.limits.partition_count;
        match partitions.iter().find(|p| p.get() >= count) {
            None => Ok(()),
            Some(bad) => {
                let why = format!("there is no partition {}", bad.get());
                Err(PortError::Rejected { what: "bus", why })
            }
        }
    }
}

#[async_trait]
impl Bus for MemoryBus {
    fn partition_count(&self) -> u32 {
        self.limits.partition_count
    }

    async fn publish(&self, topic: Topic, records: Vec<Record>) -> Result<(), PortError> {
        for record in &records {
            let (bytes, bytes_max) = (size(record), self.limits.record_bytes_max);
            if bytes > bytes_max {
                return Err(PortError::TooLarge {
                    what: "bus record",
                    bytes,
                    bytes_max,
                });
            }
        }
        {
            let mut state = self.lock();
            for record in records {
                let log = state.logs.entry((topic, record.partition)).or_default();
                log.append(record, self.limits.partition_bytes_max);
            }
        }
        self.published.of(topic).notify_waiters();
        Ok(())
    }

    async fn read(
        &self,
        topic: Topic,
        partitions: &[Partition],
        start: Start,
    ) -> Result<Box<dyn AssignedReader>, PortError> {
        self.all_exist(partitions)?;
        let mut reader = MemoryReader::new(self.clone(), vec![(topic, start)], None);
        reader.place(&self.lock(), partitions);
        Ok(Box::new(reader))
    }

    async fn join(
        &self,
        group: &str,
        topics: &[(Topic, Start)],
    ) -> Result<Box<dyn BusReader>, PortError> {
        let mut state = self.lock();
        let member = state.next_member;
        state.next_member += 1;
        let entry = state.groups.entry(group.to_owned()).or_default();
        entry.members.push(member);
        entry.generation += 1;
        drop(state);
        self.published.all();
        let membership = Membership {
            group: group.to_owned(),
            member,
            generation: 0,
        };
        Ok(Box::new(MemoryReader::new(
            self.clone(),
            topics.to_vec(),
            Some(membership),
        )))
    }
}

struct Membership {
    group: String,
    member: u64,
    /// The generation this reader has acted on.
    generation: u64,
}

struct MemoryReader {
    bus: MemoryBus,
    topics: Vec<(Topic, Start)>,
    membership: Option<Membership>,
    places: Vec<Place>,
    /// Where the next search for records starts, so that no partition starves another.
    turn: usize,
}

struct Place {
    topic: Topic,
    partition: Partition,
    next: u64,
}

impl MemoryReader {
    fn new(bus: MemoryBus, topics: Vec<(Topic, Start)>, membership: Option<Membership>) -> Self {
        Self {
            bus,
            topics,
            membership,
            places: Vec::new(),
            turn: 0,
        }
    }

    fn place(&mut self, state: &State, partitions: &[Partition]) {
        for &(topic, start) in &self.topics {
            for &partition in partitions {
                let log = state.logs.get(&(topic, partition));
                let next = log.map_or(0, |log| match start {
                    Start::Earliest => log.base,
                    Start::Latest => log.end(),
                });
                self.places.push(Place {
                    topic,
                    partition,
                    next,
                });
            }
        }
    }

    /// Acts on a change of the group: first what is lost, then, at the next call, what is gained.
    fn rebalance(&mut self) -> Option<BusEvent> {
        let bus = self.bus.clone();
        let state = bus.lock();
        let membership = self.membership.as_mut()?;
        let group = state.groups.get(&membership.group)?;
        if group.generation == membership.generation {
            return None;
        }
        let rank = group
            .members
            .iter()
            .position(|member| *member == membership.member)?;
        let owns = |p: Partition| p.get() as usize % group.members.len() == rank;
        let mut lost: Vec<_> = self
            .places
            .iter()
            .map(|place| place.partition)
            .filter(|p| !owns(*p))
            .collect();
        lost.sort_unstable();
        lost.dedup();
        if !lost.is_empty() {
            self.places.retain(|place| owns(place.partition));
            return Some(BusEvent::Lost(lost));
        }
        membership.generation = group.generation;
        let held = |p: Partition| self.places.iter().any(|place| place.partition == p);
        let gained: Vec<_> = bus.partitions().filter(|p| owns(*p) && !held(*p)).collect();
        self.place(&state, &gained);
        (!gained.is_empty()).then_some(BusEvent::Gained(gained))
    }

    fn take(&mut self) -> Result<Option<Batch>, PortError> {
        let state = self.bus.lock();
        let batch_max = self.bus.limits.batch_records_max;
        for step in 0..self.places.len() {
            let at = (self.turn + step) % self.places.len();
            let place = &mut self.places[at];
            let Some(log) = state.logs.get(&(place.topic, place.partition)) else {
                continue;
            };
            if place.next < log.base {
                place.next = log.base;
                return Err(PortError::Gone { what: "bus" });
            }
            let skip = (place.next - log.base) as usize;
            let records: Arc<[Record]> = log
                .records
                .iter()
                .skip(skip)
                .take(batch_max)
                .cloned()
                .collect();
            if !records.is_empty() {
                place.next += records.len() as u64;
                self.turn = at + 1;
                let (topic, partition) = (place.topic, place.partition);
                let next = BusOffset(place.next);
                return Ok(Some(Batch {
                    topic,
                    partition,
                    next,
                    records,
                }));
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl BusReader for MemoryReader {
    async fn poll(&mut self) -> Result<BusEvent, PortError> {
        let published = Arc::clone(&self.bus.published);
        loop {
            // Registered before the logs are looked at: a record published in between wakes us.
            let mut changes = pin!(published.of(Topic::Changes).notified());
            let mut control = pin!(published.of(Topic::Control).notified());
            let mut diffs = pin!(published.of(Topic::Diffs).notified());
            for wake in [&mut changes, &mut control, &mut diffs] {
                wake.as_mut().enable();
            }
            if let Some(event) = self.rebalance() {
                return Ok(event);
            }
            if let Some(batch) = self.take()? {
                return Ok(BusEvent::Records(batch));
            }
            let reads = |topic| self.topics.iter().any(|(read, _)| *read == topic);
            tokio::select! {
                () = changes, if reads(Topic::Changes) => {}
                () = control, if reads(Topic::Control) => {}
                () = diffs, if reads(Topic::Diffs) => {}
                else => std::future::pending().await,
            }
        }
    }
}

#[async_trait]
impl AssignedReader for MemoryReader {
    async fn assign(&mut self, partitions: &[Partition]) -> Result<(), PortError> {
        self.bus.all_exist(partitions)?;
        self.places
            .retain(|place| partitions.contains(&place.partition));
        let held: Vec<_> = self.places.iter().map(|place| place.partition).collect();
        let new = partitions.iter().filter(|p| !held.contains(p));
        let new: BTreeSet<_> = new.copied().collect();
        let bus = self.bus.clone();
        self.place(&bus.lock(), &Vec::from_iter(new));
        Ok(())
    }
}

impl Drop for MemoryReader {
    fn drop(&mut self) {
        let Some(membership) = &self.membership else {
            return;
        };
        let mut state = self.bus.lock();
        if let Some(group) = state.groups.get_mut(&membership.group) {
            group.members.retain(|member| *member != membership.member);
            group.generation += 1;
        }
        drop(state);
        self.bus.published.all();
    }
}
