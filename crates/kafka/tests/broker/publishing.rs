//! What is too large is refused, and what a failed publish leaves in the log is its beginning.

use bytes::Bytes;
use rdkafka::admin::{AdminOptions, AlterConfig, ResourceSpecifier};
use tidegate_core::Partition;
use tidegate_ports::{Bus, PortError, Record, Start, Topic};

use crate::{admin, all, batch, config, connect, number, publish, record};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_the_bound_is_carried_and_a_larger_one_refused() {
    let mut config = config("large");
    config.record_bytes_max = 2 << 20;
    let bus = connect(&config).await;
    let mut reader = bus
        .read(Topic::Diffs, &all(&bus), Start::Latest)
        .await
        .unwrap();
    let over = record(0, vec![7; 2 << 20]);
    let refused = bus
        .publish(Topic::Diffs, vec![record(0, "not sent either"), over])
        .await;
    let Err(PortError::TooLarge {
        bytes, bytes_max, ..
    }) = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!((bytes, bytes_max), ((2 << 20) + 3, 2 << 20));
    let largest = record(0, vec![7; (2 << 20) - 3]);
    publish(&bus, Topic::Diffs, vec![largest.clone()]).await;
    assert_eq!(batch(&mut *reader).await.records[0], largest);
}

/// Four publishes of four times what the queue holds: they wait for room, and each keeps its order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_makes_publishes_wait() {
    const COUNT: usize = 400;
    let mut config = config("full");
    config.record_bytes_max = 100 << 10;
    config.queue_bytes_max = 1 << 20;
    let bus = connect(&config).await;
    let mut reader = bus
        .read(Topic::Diffs, &all(&bus), Start::Latest)
        .await
        .unwrap();
    let records = |partition| -> Vec<_> {
        let number = |n| format!("{n:010000}");
        (0..COUNT).map(|n| record(partition, number(n))).collect()
    };
    let publish = |partition| publish(&bus, Topic::Diffs, records(partition));
    tokio::join!(publish(0), publish(1), publish(2), publish(3));
    let mut next = [0; 4];
    while next != [COUNT as u64; 4] {
        for record in batch(&mut *reader).await.records.iter() {
            let next = &mut next[record.partition.get() as usize];
            assert_eq!(number(record), *next);
            *next += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_key_and_an_empty_value_are_carried() {
    let bus = connect(&config("empty")).await;
    let mut reader = bus
        .read(Topic::Control, &all(&bus), Start::Latest)
        .await
        .unwrap();
    let empty = Record {
        partition: Partition::new(3),
        key: Bytes::new(),
        value: Bytes::new(),
    };
    publish(&bus, Topic::Control, vec![empty.clone()]).await;
    assert_eq!(batch(&mut *reader).await.records[..], [empty]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_does_not_exist_is_refused() {
    let bus = connect(&config("partition")).await;
    let refused = bus.publish(Topic::Diffs, vec![record(4, "x")]).await;
    assert!(
        matches!(refused, Err(PortError::Rejected { .. })),
        "{refused:?}"
    );
}

/// The broker refuses a record in the middle. Nothing after it may be in the log, or a relay that
/// repeats the batch would show later commits before earlier ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_behind_a_record_that_the_broker_refused_is_appended() {
    let mut config = config("refused");
    // One request for each, so that the next ones are under way when one is refused.
    config.properties = vec![("batch.num.messages".to_owned(), "1".to_owned())];
    let bus = connect(&config).await;
    let mut reader = bus
        .read(Topic::Changes, &all(&bus)[..1], Start::Latest)
        .await
        .unwrap();
    let topic = format!("{}changes", config.topic_prefix);
    let smaller =
        AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("max.message.bytes", "9000");
    for altered in admin()
        .alter_configs([&smaller], &AdminOptions::new())
        .await
        .unwrap()
    {
        altered.unwrap();
    }
    // The broker takes a moment to act on it.
    let large = |partition| record(partition, vec![b'x'; 20_000]);
    while bus.publish(Topic::Changes, vec![large(1)]).await.is_ok() {}
    let mut records: Vec<_> = (0..20).map(|n| record(0, format!("{n:04}"))).collect();
    records[10] = large(0);
    let refused = bus.publish(Topic::Changes, records).await;
    let Err(PortError::Rejected { why, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert!(why.contains("max.message.bytes"), "{why}");

    publish(&bus, Topic::Changes, vec![record(0, "end")]).await;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|value| value != "end") {
        for record in batch(&mut *reader).await.records.iter() {
            seen.push(String::from_utf8(record.value.to_vec()).unwrap());
        }
    }
    seen.pop();
    let beginning: Vec<_> = (0..seen.len()).map(|n| format!("{n:04}")).collect();
    assert!(seen.len() <= 10 && seen == beginning, "{seen:?}");
}
