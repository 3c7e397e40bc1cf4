//! The in-memory versions pass the suites of their seams, and keep their bounds.

use bytes::Bytes;
use tidegate_core::Partition;
use tidegate_ports::conformance::{
    broker_conforms, bus_conforms, cache_conforms, shared_pages_conform,
};
use tidegate_ports::{
    Broker, BrokerEvent, BrokerReader, Bus, BusEvent, Keep, MemoryBroker, MemoryBrokerLimits,
    MemoryBus, MemoryBusLimits, MemoryCache, MemoryCacheLimits, MemorySharedPages, Message,
    PortError, Record, SharedPagesLimits, Start, Topic, TopicName,
};

#[tokio::test]
async fn memory_bus_conforms() {
    bus_conforms(&MemoryBus::new(MemoryBusLimits::default())).await;
}

#[tokio::test]
async fn memory_broker_conforms() {
    let broker = MemoryBroker::new(MemoryBrokerLimits::default());
    broker_conforms(&broker, "test.").await;
}

#[tokio::test]
async fn memory_cache_conforms() {
    cache_conforms(&MemoryCache::new(MemoryCacheLimits::default())).await;
}

/// A reader that falls behind retention is told, and goes on with what is kept.
#[tokio::test]
async fn falling_behind_is_visible() {
    let limits = MemoryBusLimits {
        partition_bytes_max: 1_000,
        ..MemoryBusLimits::default()
    };
    let bus = MemoryBus::new(limits);
    let partition = Partition::new(0);
    let mut reader = bus
        .read(Topic::Diffs, &[partition], Start::Latest)
        .await
        .expect("up");
    for number in 0..100_u8 {
        let value = Bytes::copy_from_slice(&[number; 50]);
        let record = Record {
            partition,
            key: Bytes::new(),
            value,
        };
        bus.publish(Topic::Diffs, vec![record]).await.expect("up");
    }
    assert!(matches!(reader.poll().await, Err(PortError::Gone { .. })));
    let Ok(BusEvent::Records(batch)) = reader.poll().await else {
        panic!("goes on")
    };
    assert_eq!(batch.records.last().expect("not empty").value[0], 99);
}

/// A record over the bound is refused, and nothing of its batch is published.
#[tokio::test]
async fn oversize_is_refused() {
    let limits = MemoryBusLimits {
        record_bytes_max: 1_000,
        ..MemoryBusLimits::default()
    };
    let bus = MemoryBus::new(limits);
    let value = Bytes::from(vec![0; 2_000]);
    let record = Record {
        partition: Partition::new(0),
        key: Bytes::new(),
        value,
    };
    let refused = bus.publish(Topic::Diffs, vec![record]).await;
    assert!(matches!(refused, Err(PortError::TooLarge { .. })));
}

fn said(key: &str, value: Option<&'static str>) -> Message {
    Message {
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: value.map(|value| Bytes::from_static(value.as_bytes())),
        headers: Vec::new(),
    }
}

async fn next(reader: &mut dyn BrokerReader) -> Vec<(Option<Bytes>, Option<Bytes>)> {
    match reader.poll().await.expect("up") {
        BrokerEvent::Messages(messages) => {
            let both = |one: tidegate_ports::Received| (one.message.key, one.message.value);
            messages.into_iter().map(both).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// A topic that keeps the last of each key shows that and no more; one that keeps by time forgets
/// what is old, and tells whoever had not read it.
#[tokio::test(start_paused = true)]
async fn topics_keep_what_they_were_made_to_keep() {
    let broker = MemoryBroker::new(MemoryBrokerLimits::default());
    let topic = TopicName::parse("last-of-key").expect("a name");
    broker.create(&topic, 1, Keep::LastOfKey).await.expect("up");
    let sent = vec![
        said("a", Some("1")),
        said("b", Some("2")),
        said("a", Some("3")),
        said("b", None),
    ];
    broker.send(&topic, sent).await.expect("up");
    let names = [topic];
    let mut reader = broker.follow(&names, Start::Earliest).await.expect("up");
    let (a, b) = (Some(Bytes::from("a")), Some(Bytes::from("b")));
    let expected = [(a, Some(Bytes::from("3"))), (b, None)];
    assert_eq!(next(&mut *reader).await, expected);

    let topic = TopicName::parse("by-time").expect("a name");
    broker
        .create(&topic, 1, Keep::Millis(1_000))
        .await
        .expect("up");
    broker
        .send(&topic, vec![said("a", Some("1"))])
        .await
        .expect("up");
    let names = [topic.clone()];
    let mut reader = broker.follow(&names, Start::Earliest).await.expect("up");
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    broker
        .send(&topic, vec![said("a", Some("2"))])
        .await
        .expect("up");
    assert!(matches!(reader.poll().await, Err(PortError::Gone { .. })));
    let expected = [(Some(Bytes::from("a")), Some(Bytes::from("2")))];
    assert_eq!(next(&mut *reader).await, expected);
}

#[tokio::test(start_paused = true)]
async fn memory_shared_pages_conform() {
    let limits = SharedPagesLimits {
        diffs_max: 5,
        ..SharedPagesLimits::default()
    };
    let lsn_of = |entry: &[u8]| {
        std::str::from_utf8(entry)
            .ok()?
            .split('"')
            .nth(3)?
            .parse()
            .ok()
    };
    shared_pages_conform(&MemorySharedPages::new(limits, lsn_of), limits.lease).await;
}
