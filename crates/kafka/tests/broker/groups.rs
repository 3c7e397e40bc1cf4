//! Members of a group share the partitions, each with one owner, through joins, leaves and stalls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::Partition;
use tidegate_kafka::KafkaBus;
use tidegate_ports::{Bus, BusEvent, BusReader, Start, Topic};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::{PATIENCE, config, connect, number, numbered, publish};

const TOPICS: [(Topic, Start); 2] = [
    (Topic::Changes, Start::Latest),
    (Topic::Control, Start::Earliest),
];

/// What a member did, as the others may see it.
enum Did {
    Hold(BTreeSet<u32>),
    See(Topic, u32, u64),
}

/// Members that run, and what is known of them.
struct Members {
    bus: Arc<KafkaBus>,
    tasks: JoinSet<()>,
    running: BTreeMap<usize, AbortHandle>,
    did: mpsc::Receiver<(usize, Did)>,
    say: mpsc::Sender<(usize, Did)>,
    held: BTreeMap<usize, BTreeSet<u32>>,
    seen: Vec<(usize, Topic, u32, u64)>,
}

impl Members {
    fn new(bus: Arc<KafkaBus>) -> Self {
        let (say, did) = mpsc::channel(1_000);
        Self {
            bus,
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
            did,
            say,
            held: BTreeMap::new(),
            seen: Vec::new(),
        }
    }

    async fn start(&mut self, id: usize) {
        let joined = self.bus.join("owners", &TOPICS).await;
        let reader = joined.expect("the broker is up");
        let task = self.tasks.spawn(run(id, reader, self.say.clone()));
        self.running.insert(id, task);
        self.held.insert(id, BTreeSet::new());
    }

    fn stop(&mut self, id: usize) {
        self.running.remove(&id).expect("it runs").abort();
        self.held.remove(&id);
    }

    async fn step(&mut self) {
        let did = tokio::select! {
            did = self.did.recv() => did.expect("we hold a sender"),
            // One that was stopped, unless it failed.
            Some(ended) = self.tasks.join_next() => match ended {
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Ok(()) | Err(_) => return,
            },
            () = tokio::time::sleep(PATIENCE) => panic!("nothing happens: {:?}", self.held),
        };
        match did {
            (id, Did::Hold(partitions)) => {
                if let Some(held) = self.held.get_mut(&id) {
                    *held = partitions;
                }
            }
            (id, Did::See(topic, partition, n)) => self.seen.push((id, topic, partition, n)),
        }
    }

    /// Waits until the partitions are shared out, evenly and each once.
    async fn settle(&mut self) {
        let count = self.bus.partition_count() as usize;
        let even = count / self.held.len()..=count.div_ceil(self.held.len());
        loop {
            let all: Vec<u32> = self.held.values().flatten().copied().collect();
            let distinct: BTreeSet<u32> = all.iter().copied().collect();
            let is_even = self.held.values().all(|held| even.contains(&held.len()));
            if is_even && all.len() == count && distinct.len() == count {
                return;
            }
            self.step().await;
        }
    }

    /// Publishes to all partitions of both topics, and finds each record at its one owner.
    async fn check_owners(&mut self, n: u64) {
        let count = self.bus.partition_count();
        for topic in [Topic::Control, Topic::Changes] {
            let records = (0..count).map(|partition| numbered(partition, n));
            publish(&self.bus, topic, records.collect()).await;
        }
        let of_now = |seen: &[(usize, Topic, u32, u64)]| -> Vec<_> {
            seen.iter().filter(|one| one.3 == n).copied().collect()
        };
        while of_now(&self.seen).len() < 2 * count as usize {
            self.step().await;
        }
        for (id, topic, partition, _) in of_now(&self.seen) {
            assert!(
                self.held[&id].contains(&partition),
                "{topic:?} {partition} at {id}"
            );
        }
    }
}

async fn run(id: usize, mut reader: Box<dyn BusReader>, say: mpsc::Sender<(usize, Did)>) {
    let mut held = BTreeSet::new();
    let number_of = |partitions: Vec<Partition>| partitions.into_iter().map(Partition::get);
    loop {
        let events = match reader.poll().await.expect("the broker is up") {
            BusEvent::Gained(partitions) => {
                for partition in number_of(partitions) {
                    assert!(held.insert(partition), "gained twice");
                }
                vec![Did::Hold(held.clone())]
            }
            BusEvent::Lost(partitions) => {
                for partition in number_of(partitions) {
                    assert!(held.remove(&partition), "lost without having it");
                }
                vec![Did::Hold(held.clone())]
            }
            BusEvent::Records(batch) => {
                let partition = batch.partition.get();
                assert!(held.contains(&partition), "a record of somebody else's");
                let see = |record| Did::See(batch.topic, partition, number(record));
                batch.records.iter().map(see).collect()
            }
        };
        for event in events {
            if say.send((id, event)).await.is_err() {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_join_and_leave_and_each_partition_has_one_owner() {
    let mut config = config("members");
    config.partition_count = 8;
    let bus = Arc::new(connect(&config).await);
    let mut members = Members::new(Arc::clone(&bus));
    members.start(1).await;
    members.settle().await;
    members.check_owners(1).await;
    members.start(2).await;
    members.settle().await;
    members.check_owners(2).await;
    let two = members.held[&2].clone();
    members.start(3).await;
    members.settle().await;
    members.check_owners(3).await;
    assert!(
        members.held[&2].is_subset(&two),
        "who has enough keeps of it what it can"
    );
    members.stop(1);
    members.settle().await;
    members.check_owners(4).await;
    members.stop(3);
    members.settle().await;
    members.check_owners(5).await;
    // The last one has read every lease that is kept, since it starts with the oldest.
    for partition in 0..8 {
        for n in 1..=5 {
            let lease = (2, Topic::Control, partition, n);
            assert!(members.seen.contains(&lease), "{lease:?} is missing");
        }
    }
}

/// A member that hangs loses its partitions to the others, and hears of it when it wakes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_does_not_poll_is_replaced() {
    let mut config = config("hang");
    // The least that brokers take as it is.
    config.session_timeout = Duration::from_secs(6);
    config.poll_interval_max = Duration::from_secs(6);
    let bus = connect(&config).await;
    let all: BTreeSet<Partition> = crate::all(&bus).into_iter().collect();
    let mut hanging = bus.join("owners", &TOPICS).await.unwrap();
    let BusEvent::Gained(gained) = hanging.poll().await.unwrap() else {
        panic!("the first event of a member is its partitions")
    };
    assert_eq!(gained.into_iter().collect::<BTreeSet<_>>(), all);

    let mut other = bus.join("owners", &TOPICS).await.unwrap();
    let mut taken = BTreeSet::new();
    while taken != all {
        let event = tokio::time::timeout(PATIENCE, other.poll()).await;
        if let BusEvent::Gained(gained) = event.expect("in time").unwrap() {
            taken.extend(gained);
        }
    }
    // First it hears what it lost, all of it, be it at once or in parts.
    let mut lost = BTreeSet::new();
    while lost != all {
        match hanging.poll().await.unwrap() {
            BusEvent::Lost(more) => lost.extend(more),
            other => panic!("{other:?}"),
        }
    }
}

/// A member may be dropped at any moment: with a wish of the group not yet fulfilled, or before it
/// has any partition. It must not stand in the others' way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_are_dropped_at_any_moment_leave_at_once() {
    let bus = connect(&config("drop")).await;
    drop(bus.join("owners", &TOPICS).await.unwrap());
    let mut first = bus.join("owners", &TOPICS).await.unwrap();
    assert!(matches!(first.poll().await.unwrap(), BusEvent::Gained(_)));
    let mut second = bus.join("owners", &TOPICS).await.unwrap();
    // The first is asked to give some away, and never polled again.
    while tokio::time::timeout(Duration::from_millis(300), second.poll())
        .await
        .is_ok()
    {}
    drop(first);
    let mut taken = BTreeSet::new();
    while taken.len() < bus.partition_count() as usize {
        let event = tokio::time::timeout(PATIENCE, second.poll()).await;
        if let BusEvent::Gained(gained) = event.expect("in time").unwrap() {
            taken.extend(gained);
        }
    }
    drop(second);
    tokio::time::timeout(PATIENCE, bus.close(PATIENCE))
        .await
        .expect("closes");
}
