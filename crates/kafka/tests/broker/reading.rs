//! Readers see each partition in order, miss nothing, and say when something is gone.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::admin::AdminOptions;
use rdkafka::{Offset, TopicPartitionList};
use tidegate_core::Partition;
use tidegate_ports::{Bus, BusEvent, BusOffset, PortError, Start, Topic};
use tokio::task::JoinSet;

use crate::{PATIENCE, admin, all, batch, config, connect, number, numbered, publish, record};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_partition_comes_in_order_in_batches_of_its_own() {
    const COUNT: u64 = 2_000;
    let mut config = config("order");
    config.batch_records_max = 16;
    let bus = connect(&config).await;
    let partitions = all(&bus);
    let mut reader = bus
        .read(Topic::Diffs, &partitions, Start::Earliest)
        .await
        .unwrap();
    for first in (0..COUNT).step_by(100) {
        let records = (first..first + 100).map(|n| numbered((n % 4) as u32, n));
        publish(&bus, Topic::Diffs, records.collect()).await;
    }
    let mut expected = HashMap::from([(0, 0), (1, 1), (2, 2), (3, 3)]);
    let mut offsets: HashMap<Partition, u64> = HashMap::new();
    let mut seen = 0;
    while seen < COUNT {
        let batch = batch(&mut *reader).await;
        assert_eq!(batch.topic, Topic::Diffs);
        assert!((1..=16).contains(&batch.records.len()));
        let offset = offsets.entry(batch.partition).or_default();
        *offset += batch.records.len() as u64;
        assert_eq!(batch.next, BusOffset(*offset));
        for record in batch.records.iter() {
            assert_eq!(record.partition, batch.partition);
            assert_eq!(&record.key[..], b"key");
            let next = expected.get_mut(&record.partition.get()).unwrap();
            assert_eq!(number(record), *next);
            *next += 4;
        }
        seen += batch.records.len() as u64;
    }
}

/// Most polls here are dropped before they are done, with and without an event ready.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn polls_that_are_dropped_lose_nothing() {
    const COUNT: u64 = 400;
    let bus = Arc::new(connect(&config("cancel")).await);
    let mut reader = bus
        .read(Topic::Changes, &all(&bus), Start::Latest)
        .await
        .unwrap();
    let publisher = Arc::clone(&bus);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        for n in 0..COUNT {
            publish(
                &publisher,
                Topic::Changes,
                vec![numbered(1, n), numbered(2, n)],
            )
            .await;
        }
    });
    let mut next = HashMap::from([(1, 0), (2, 0)]);
    while next.values().sum::<u64>() < 2 * COUNT {
        let polled = tokio::time::timeout(Duration::from_micros(200), reader.poll()).await;
        let Ok(event) = polled else { continue };
        let BusEvent::Records(batch) = event.unwrap() else {
            panic!("a reader outside of groups gains and loses nothing")
        };
        for record in batch.records.iter() {
            let next = next.get_mut(&record.partition.get()).unwrap();
            assert_eq!(number(record), *next);
            *next += 1;
        }
    }
    tasks.join_next().await.unwrap().unwrap();
}

/// Two hundred readers start while somebody publishes. None sees what was acknowledged before it
/// was asked for, and none misses what was begun after it was there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latest_is_where_the_log_ends_when_read_returns() {
    const READERS: usize = 200;
    let bus = Arc::new(connect(&config("latest")).await);
    let (begun, acknowledged) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let is_done = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    tasks.spawn({
        let (bus, begun) = (Arc::clone(&bus), Arc::clone(&begun));
        let (acknowledged, is_done) = (Arc::clone(&acknowledged), Arc::clone(&is_done));
        async move {
            for n in 1.. {
                begun.store(n, Ordering::SeqCst);
                publish(&bus, Topic::Diffs, vec![numbered(0, n)]).await;
                acknowledged.store(n, Ordering::SeqCst);
                if is_done.load(Ordering::SeqCst) {
                    break;
                }
            }
        }
    });
    for _ in 0..READERS {
        let before = acknowledged.load(Ordering::SeqCst);
        let mut reader = bus
            .read(Topic::Diffs, &all(&bus)[..2], Start::Latest)
            .await
            .unwrap();
        let after = begun.load(Ordering::SeqCst);
        let mut expected = None;
        // A few more than the one that may have been under way.
        while expected.is_none_or(|expected| expected < after + 4) {
            for record in batch(&mut *reader).await.records.iter() {
                let n = number(record);
                match expected {
                    None => assert!(
                        n > before && n <= after + 1,
                        "{before} < {n} <= {after} + 1"
                    ),
                    Some(expected) => assert_eq!(n, expected),
                }
                expected = Some(n + 1);
            }
        }
    }
    is_done.store(true, Ordering::SeqCst);
    tasks.join_next().await.unwrap().unwrap();
    bus.close(PATIENCE).await;
}

/// The log's heads are cut off under a slow reader, as retention does it, in two of its partitions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_behind_retention_is_told_once_and_starts_over_with_the_oldest() {
    const COUNT: u64 = 800;
    const KEPT: u64 = 790;
    let mut config = config("gone");
    config.reader_bytes_max = 64 << 10;
    let bus = connect(&config).await;
    let filler = |n: u64| format!("{n:020000}");
    for first in (0..COUNT).step_by(40) {
        let both = (first..first + 40).flat_map(|n| [record(0, filler(n)), record(1, filler(n))]);
        publish(&bus, Topic::Changes, both.collect()).await;
    }
    publish(&bus, Topic::Changes, vec![numbered(2, 0)]).await;
    let mut reader = bus
        .read(Topic::Changes, &all(&bus), Start::Earliest)
        .await
        .unwrap();
    batch(&mut *reader).await;

    let topic = format!("{}changes", config.topic_prefix);
    cut_heads(&topic, 0..2, KEPT).await;

    let mut gone = 0;
    let mut next: HashMap<u32, u64> = HashMap::new();
    // Both partitions to their ends.
    while [0, 1]
        .iter()
        .any(|partition| next.get(partition) != Some(&COUNT))
    {
        match tokio::time::timeout(PATIENCE, reader.poll())
            .await
            .expect("in time")
        {
            Ok(BusEvent::Records(batch)) => {
                for record in batch.records.iter() {
                    let n = number(record);
                    if let Some(expected) = next.insert(record.partition.get(), n + 1) {
                        assert!(n == expected || n == KEPT, "{n} after {expected}");
                    }
                }
            }
            Err(PortError::Gone { .. }) => gone += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(gone, 2, "once for each partition");
    // It goes on as a reader does, and says nothing more of it.
    let more = vec![numbered(0, COUNT), numbered(3, 1)];
    publish(&bus, Topic::Changes, more).await;
    let mut left = 2;
    while left > 0 {
        match reader.poll().await.expect("nothing more is gone") {
            // What was there of the others may come late.
            BusEvent::Records(batch) if batch.partition.get() == 2 => {}
            BusEvent::Records(batch) => left -= batch.records.len(),
            other => panic!("{other:?}"),
        }
    }
}

/// Removes all before an offset, as retention would.
async fn cut_heads(topic: &str, partitions: Range<i32>, kept: u64) {
    let kept = Offset::Offset(kept.try_into().expect("a small number"));
    let mut heads = TopicPartitionList::new();
    for partition in partitions {
        heads
            .add_partition_offset(topic, partition, kept)
            .expect("a right offset");
    }
    let cut = admin().delete_records(&heads, &AdminOptions::new()).await;
    for element in cut.expect("the broker is up").elements() {
        element.error().expect("the partition is there");
    }
}
