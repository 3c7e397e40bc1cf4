//! The in-memory versions pass the suites of their seams, and keep their bounds.

use bytes::Bytes;
use tidegate_core::Partition;
use tidegate_ports::conformance::{bus_conforms, cache_conforms};
use tidegate_ports::{
    Bus, BusEvent, MemoryBus, MemoryBusLimits, MemoryCache, MemoryCacheLimits, PortError, Record,
    Start, Topic,
};

#[tokio::test]
async fn memory_bus_conforms() {
    bus_conforms(&MemoryBus::new(MemoryBusLimits::default())).await;
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
