//! One lease per key: asked for, renewed and released for all shards together.

use tidegate_core::{TableName, TenantId};
use tidegate_ports::{BusEvent, BusReader, MemoryBus, MemoryBusLimits, Start};

use super::*;
use crate::reading;

fn key() -> RoutingKey {
    RoutingKey {
        tenant: TenantId::parse("acme").expect("valid"),
        table: TableName::parse("orders").expect("valid"),
        query: "00112233445566778899aabbccddeeff".parse().expect("valid"),
    }
}

fn need(shard: usize) -> InterestCommand {
    InterestCommand::NeedPage {
        shard,
        key: key(),
        wanted: Arc::new(Wanted {
            query: QuerySpec::default(),
            name: None,
        }),
    }
}

fn leave(shard: usize) -> InterestCommand {
    InterestCommand::Leave { shard, key: key() }
}

/// What the next records say.
async fn said(reader: &mut dyn BusReader) -> Vec<&'static str> {
    loop {
        if let BusEvent::Records(batch) = reader.poll().await.expect("the bus is up") {
            let decode = |record: &Record| ControlRecord::decode(record.value.clone());
            let words = batch.records.iter().map(|record| match decode(record) {
                Ok(ControlRecord::Lease {
                    want: Want::Page, ..
                }) => "page",
                Ok(ControlRecord::Lease {
                    want: Want::Renew, ..
                }) => "renew",
                Ok(ControlRecord::Release { .. }) => "release",
                Err(error) => panic!("{error}"),
            });
            return words.collect();
        }
    }
}

/// Nothing is asked before diffs are read; then each shard's wish is, the lease is renewed in time,
/// and only the last shard's leave releases it.
#[tokio::test(start_paused = true)]
async fn a_lease_is_for_all_shards() {
    let bus = MemoryBus::new(MemoryBusLimits::default());
    let partitions: Vec<_> = (0..bus.partition_count()).map(Partition::new).collect();
    let reader = bus.read(Topic::Control, &partitions, Start::Earliest).await;
    let mut reader = reader.expect("the bus is up");
    let (commands, mailbox) = mpsc::channel(8);
    let (ask, reading) = reading::channel(bus.partition_count());
    let shutdown = CancellationToken::new();
    let bus: Arc<dyn Bus> = Arc::new(bus);
    let interest = Interest::new(Arc::clone(&bus), 7, ask);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(interest.run(mailbox, shutdown.clone()));

    commands.send(need(0)).await.expect("it runs");
    let early = tokio::time::timeout(TICK * 30, said(&mut *reader)).await;
    assert!(early.is_err(), "the answer would be missed");
    tasks.spawn(reading.run(bus, Vec::new()));
    assert_eq!(said(&mut *reader).await, ["page"]);

    commands.send(need(1)).await.expect("it runs");
    assert_eq!(said(&mut *reader).await, ["page"]);
    let asked_at = Instant::now();
    assert_eq!(said(&mut *reader).await, ["renew"]);
    assert_eq!(said(&mut *reader).await, ["renew"]);
    assert!(asked_at.elapsed() <= TICK * 2 * RENEW_TICKS as u32);

    commands.send(leave(0)).await.expect("it runs");
    assert_eq!(
        said(&mut *reader).await,
        ["renew"],
        "the other shard still listens"
    );
    commands.send(leave(1)).await.expect("it runs");
    assert_eq!(said(&mut *reader).await, ["release"]);
    let idle = tokio::time::timeout(TICK * 60, said(&mut *reader)).await;
    assert!(idle.is_err(), "nothing is renewed any more");

    commands.send(need(0)).await.expect("it runs");
    assert_eq!(said(&mut *reader).await, ["page"]);
    shutdown.cancel();
    assert_eq!(
        said(&mut *reader).await,
        ["release"],
        "a gateway that stops lets go"
    );
}
