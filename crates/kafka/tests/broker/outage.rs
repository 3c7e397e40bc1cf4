//! A broker that goes away and comes back costs time and nothing else.

use std::sync::Arc;
use std::time::Duration;

use tidegate_kafka::ensure_topics;
use tidegate_ports::{Bus, BusEvent, BusReader, PortError, Start, Topic};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::proxy::Proxy;
use crate::{PATIENCE, all, broker, config, connect, number, numbered};

/// A relay publishes numbered batches, each until it is taken. The broker vanishes in the middle of
/// it, several times. The log may repeat what it had, but must not show a number before all lower
/// ones; a plain reader and the owner in a group both see it to its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_are_repeated_through_outages_leave_no_holes() {
    const BATCHES: u64 = 60;
    const BATCH: u64 = 25;
    let proxy = Proxy::start(broker()).await;
    let mut config = config("outage");
    config.brokers = proxy.address.to_string();
    config.publish_timeout = Duration::from_millis(1_500);
    config.request_timeout = Duration::from_secs(5);
    let bus = Arc::new(connect(&config).await);
    let mut tasks = JoinSet::new();
    let plain = bus
        .read(Topic::Changes, &all(&bus), Start::Latest)
        .await
        .unwrap();
    tasks.spawn(see_all(plain, BATCHES * BATCH));
    let topics = [(Topic::Changes, Start::Earliest)];
    let owner = bus.join("owners", &topics).await.unwrap();
    tasks.spawn(see_all(owner, BATCHES * BATCH));

    let (begin, mut begun) = mpsc::channel(1);
    let publisher = Arc::clone(&bus);
    tasks.spawn(async move {
        let mut failures = 0;
        for number in 0..BATCHES {
            begin.send(number).await.expect("somebody listens");
            let first = number * BATCH;
            let records: Vec<_> = (first..first + BATCH).map(|n| numbered(1, n)).collect();
            while let Err(error) = publisher.publish(Topic::Changes, records.clone()).await {
                assert!(error.is_retryable(), "{error}");
                failures += 1;
            }
        }
        println!("{failures} publishes failed and were repeated");
    });
    while let Some(number) = begun.recv().await {
        if number % 20 != 10 {
            continue;
        }
        // This batch, or the next one: the cut falls before, into or after a request.
        proxy.cut();
        let while_away = bus.publish(Topic::Control, vec![numbered(0, number)]).await;
        assert!(
            matches!(while_away, Err(PortError::Unavailable { .. })),
            "{while_away:?}"
        );
        proxy.mend();
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

async fn see_all(mut reader: Box<dyn BusReader>, count: u64) {
    let mut next = 0;
    while next < count {
        match tokio::time::timeout(PATIENCE, reader.poll())
            .await
            .expect("in time")
        {
            Ok(BusEvent::Records(batch)) => {
                for record in batch.records.iter() {
                    let n = number(record);
                    assert!(n <= next, "{n} came before {next}");
                    next = next.max(n + 1);
                }
            }
            Ok(BusEvent::Gained(_) | BusEvent::Lost(_)) => {}
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
}

/// Readers are made while the broker is away: they say so in time, and can be made when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_is_unavailable_while_the_broker_is_away() {
    let proxy = Proxy::start(broker()).await;
    let mut config = config("away");
    // Only what comes after may be cut short.
    ensure_topics(&config).await.unwrap();
    config.brokers = proxy.address.to_string();
    config.request_timeout = Duration::from_secs(3);
    let bus = connect(&config).await;
    proxy.cut();
    let partitions = all(&bus);
    let reading = bus.read(Topic::Diffs, &partitions, Start::Latest);
    let refused = tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("in time");
    assert!(matches!(
        refused.map(|_| ()),
        Err(PortError::Unavailable { .. })
    ));
    proxy.mend();
    let mut reader = loop {
        match bus.read(Topic::Diffs, &all(&bus), Start::Latest).await {
            Ok(reader) => break reader,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    };
    while let Err(error) = bus.publish(Topic::Diffs, vec![numbered(2, 5)]).await {
        assert!(error.is_retryable(), "{error}");
    }
    assert_eq!(number(&crate::batch(&mut *reader).await.records[0]), 5);
}
