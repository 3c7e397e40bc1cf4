//! What is read, and when it is said to be.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tidegate_ports::{BusEvent, BusReader, MemoryBus, MemoryBusLimits, Record};

use super::*;
use crate::listening::Counted;

fn partitions(numbers: &[u32]) -> BTreeSet<Partition> {
    numbers.iter().copied().map(Partition::new).collect()
}

/// A bus reader that answers only when it is told to, and keeps what it was told.
struct Slow {
    go: mpsc::Receiver<Result<(), PortError>>,
    assigned: mpsc::Sender<Vec<Partition>>,
}

#[async_trait]
impl BusReader for Slow {
    async fn poll(&mut self) -> Result<BusEvent, PortError> {
        std::future::pending().await
    }
}

#[async_trait]
impl AssignedReader for Slow {
    async fn assign(&mut self, partitions: &[Partition]) -> Result<(), PortError> {
        self.assigned.send(partitions.to_vec()).await.expect("kept");
        self.go.recv().await.expect("told")
    }
}

/// A partition is read when the reader has taken it on, as of the last change that was asked for:
/// one that was let go and asked for again meanwhile does not count, as records may have been
/// missed in between.
#[tokio::test]
async fn only_what_was_asked_for_last_is_read() {
    let (mut ask, mut reading) = channel(4);
    let (tell, go) = mpsc::channel(4);
    let (assigned, mut told) = mpsc::channel(4);
    let mut reader = Slow { go, assigned };
    let one = Partition::new(1);

    ask.need(one);
    assert!(!ask.is_read(one));
    let unavailable = PortError::Unavailable {
        what: "bus",
        source: None,
    };
    tell.try_send(Err(unavailable)).expect("fits");
    tell.try_send(Ok(())).expect("fits");
    reading.take_on(&mut reader).await;
    ask.taken_on().await;
    assert!(ask.is_read(one));
    assert_eq!(told.recv().await.expect("told"), [one]);
    assert_eq!(told.recv().await.expect("told"), [one], "tried again");

    // Asked for while the reader works on the change before.
    ask.need(Partition::new(2));
    tell.try_send(Ok(())).expect("fits");
    reading.take_on(&mut reader).await;
    ask.need(Partition::new(3));
    let early = tokio::time::timeout(Duration::from_millis(1), ask.taken_on()).await;
    assert!(early.is_err(), "the last change is not reached");
    assert!(ask.is_read(one) && !ask.is_read(Partition::new(2)));
    tell.try_send(Ok(())).expect("fits");
    reading.take_on(&mut reader).await;
    ask.taken_on().await;
    assert!(ask.is_read(Partition::new(2)) && ask.is_read(Partition::new(3)));
}

/// A partition goes when no lease was in it for a while, and not before; it counts as unread from
/// then on.
#[test]
fn partitions_without_leases_go() {
    let (mut ask, reading) = channel(4);
    ask.need(Partition::new(1));
    ask.need(Partition::new(2));
    ask.read = partitions(&[1, 2]);
    for _ in 1..LINGER_SECONDS {
        ask.second(&partitions(&[1]));
    }
    ask.need(Partition::new(2));
    for _ in 1..LINGER_SECONDS {
        ask.second(&partitions(&[1]));
    }
    assert!(ask.is_read(Partition::new(2)), "it was needed in between");
    ask.second(&partitions(&[1]));
    assert!(!ask.is_read(Partition::new(2)));
    assert_eq!(reading.asked.borrow().partitions, partitions(&[1]));
}

/// The shards get the records of the partitions that were asked for, and of no others.
#[tokio::test]
async fn only_needed_partitions_are_delivered() {
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::new(MemoryBusLimits::default()));
    let (mut ask, reading) = channel(bus.partition_count());
    let (shard, mut deliveries) = mpsc::channel(8);
    let mut tasks = tokio::task::JoinSet::new();
    let door = Door {
        deliveries: shard,
        listening: Arc::default(),
    };
    tasks.spawn(reading.run(Arc::clone(&bus), vec![door]));
    ask.need(Partition::new(3));
    ask.taken_on().await;
    let record = |partition| Record {
        partition: Partition::new(partition),
        key: Bytes::new(),
        value: Bytes::from_static(b"x"),
    };
    let all = (0..bus.partition_count()).map(record).collect();
    bus.publish(Topic::Diffs, all).await.expect("up");
    bus.publish(Topic::Diffs, vec![record(3)])
        .await
        .expect("up");
    let mut seen = 0;
    while seen < 2 {
        let Some(Delivery::Batches(batches)) = deliveries.recv().await else {
            panic!("records are delivered");
        };
        for batch in batches.iter() {
            assert_eq!(batch.partition, Partition::new(3));
            seen += batch.records.len();
        }
    }
}

/// A shard is not woken for a key that it does not listen to, but for one that it does, and for
/// what has no key.
#[tokio::test]
async fn only_shards_that_listen_are_woken() {
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::new(MemoryBusLimits::default()));
    let (mut ask, reading) = channel(bus.partition_count());
    let mut tasks = tokio::task::JoinSet::new();
    let (mut doors, mut mailboxes) = (Vec::new(), Vec::new());
    for key in ["own", "another"] {
        let listening = Arc::default();
        let mut counted = Counted::new(Arc::clone(&listening));
        counted.add(key.as_bytes());
        let (deliveries, mailbox) = mpsc::channel(8);
        doors.push(Door {
            deliveries,
            listening,
        });
        mailboxes.push(mailbox);
    }
    tasks.spawn(reading.run(Arc::clone(&bus), doors));
    ask.need(Partition::new(0));
    ask.taken_on().await;
    for key in ["another", "own", ""] {
        let record = Record {
            partition: Partition::new(0),
            key: Bytes::from_static(key.as_bytes()),
            value: Bytes::new(),
        };
        bus.publish(Topic::Diffs, vec![record]).await.expect("up");
        // One round each, as the reader waits for the last of the mailboxes it is for.
        let mut received = Vec::new();
        for (mailbox, own) in mailboxes.iter_mut().zip(["own", "another"]) {
            if key.is_empty() || key == own {
                let Some(Delivery::Batches(batches)) = mailbox.recv().await else {
                    panic!("records are delivered");
                };
                received.extend(batches.iter().flat_map(|batch| batch.records.to_vec()));
            }
        }
        assert!(received.iter().all(|record| record.key == key), "{key:?}");
    }
    assert!(
        mailboxes
            .iter_mut()
            .all(|mailbox| mailbox.try_recv().is_err())
    );
}
