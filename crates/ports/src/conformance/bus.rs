//! What every bus promises.

use std::collections::BTreeSet;

use bytes::Bytes;
use tidegate_core::Partition;

use crate::bus::{Bus, BusEvent, BusReader, Record, Start, Topic};

fn record(partition: u32, value: &str) -> Record {
    let value = Bytes::copy_from_slice(value.as_bytes());
    Record {
        partition: Partition::new(partition),
        key: Bytes::from_static(b"k"),
        value,
    }
}

async fn values(reader: &mut dyn BusReader, count: usize) -> Vec<(Topic, u32, String)> {
    let mut seen = Vec::new();
    while seen.len() < count {
        if let BusEvent::Records(batch) = reader.poll().await.expect("bus is up") {
            assert!(!batch.records.is_empty(), "a batch is never empty");
            for record in batch.records.iter() {
                assert_eq!(record.partition, batch.partition);
                let value = String::from_utf8(record.value.to_vec()).expect("as published");
                seen.push((batch.topic, batch.partition.get(), value));
            }
        }
    }
    seen
}

async fn gained(reader: &mut dyn BusReader) -> BTreeSet<u32> {
    loop {
        if let BusEvent::Gained(partitions) = reader.poll().await.expect("bus is up") {
            return partitions.into_iter().map(Partition::get).collect();
        }
    }
}

/// Runs the suite against an empty bus of at least two partitions.
///
/// # Panics
/// When a promise is broken.
pub async fn bus_conforms(bus: &dyn Bus) {
    order_and_starts(bus).await;
    assignment(bus).await;
    groups(bus).await;
    let missing = Partition::new(bus.partition_count());
    assert!(
        bus.read(Topic::Diffs, &[missing], Start::Latest)
            .await
            .is_err()
    );
}

/// Records of a partition come in order; `Latest` sees all that follows and nothing before.
async fn order_and_starts(bus: &dyn Bus) {
    let both = [Partition::new(0), Partition::new(1)];
    bus.publish(Topic::Diffs, vec![record(0, "a"), record(1, "x")])
        .await
        .expect("up");
    let mut latest = bus
        .read(Topic::Diffs, &both, Start::Latest)
        .await
        .expect("up");
    let mut earliest = bus
        .read(Topic::Diffs, &both[..1], Start::Earliest)
        .await
        .expect("up");
    bus.publish(
        Topic::Diffs,
        vec![record(0, "b"), record(1, "y"), record(0, "c")],
    )
    .await
    .expect("up");
    let of = |seen: &[(Topic, u32, String)], partition| -> Vec<String> {
        seen.iter()
            .filter(|s| s.1 == partition)
            .map(|s| s.2.clone())
            .collect()
    };
    let seen = values(&mut *latest, 3).await;
    assert_eq!(of(&seen, 0), ["b", "c"]);
    assert_eq!(of(&seen, 1), ["y"]);
    let seen = values(&mut *earliest, 3).await;
    assert_eq!(
        of(&seen, 0),
        ["a", "b", "c"],
        "only its own partition, from the start"
    );
}

/// What a reader reads can be changed: what stays goes on, what is new begins there and then, what
/// is gone is silent.
async fn assignment(bus: &dyn Bus) {
    let [kept, other] = [Partition::new(0), Partition::new(1)];
    let say = async |partition, value| {
        let published = bus.publish(Topic::Diffs, vec![record(partition, value)]);
        published.await.expect("up");
    };
    let mut reader = bus
        .read(Topic::Diffs, &[], Start::Latest)
        .await
        .expect("up");
    say(0, "before").await;
    reader.assign(&[kept]).await.expect("up");
    say(0, "one").await;
    say(1, "not asked for").await;
    reader.assign(&[kept, other]).await.expect("up");
    say(1, "two").await;
    let mut seen = values(&mut *reader, 2).await;
    seen.sort_by_key(|s| s.1);
    let texts: Vec<_> = seen.iter().map(|s| s.2.as_str()).collect();
    assert_eq!(texts, ["one", "two"], "nothing is lost where it stays");
    say(1, "unread, and let go").await;
    reader.assign(&[kept]).await.expect("up");
    say(1, "gone").await;
    say(0, "three").await;
    assert_eq!(values(&mut *reader, 1).await[0].2, "three");
    reader.assign(&[other]).await.expect("up");
    say(0, "gone").await;
    say(1, "four").await;
    assert_eq!(values(&mut *reader, 1).await[0].2, "four");
    let missing = Partition::new(bus.partition_count());
    assert!(reader.assign(&[missing]).await.is_err());
}

/// Members of a group share the partitions, each with one owner, of all topics alike.
async fn groups(bus: &dyn Bus) {
    let topics = [
        (Topic::Changes, Start::Latest),
        (Topic::Control, Start::Earliest),
    ];
    let all: BTreeSet<u32> = (0..bus.partition_count()).collect();
    let mut first = bus.join("g", &topics).await.expect("up");
    assert_eq!(
        gained(&mut *first).await,
        all,
        "a lone member owns everything"
    );
    bus.publish(Topic::Control, vec![record(1, "lease")])
        .await
        .expect("up");
    bus.publish(Topic::Changes, vec![record(1, "change")])
        .await
        .expect("up");
    let seen: BTreeSet<_> = values(&mut *first, 2)
        .await
        .into_iter()
        .map(|s| s.2)
        .collect();
    assert_eq!(
        seen,
        BTreeSet::from(["change".to_owned(), "lease".to_owned()])
    );

    let mut second = bus.join("g", &topics).await.expect("up");
    let lost: BTreeSet<u32> = loop {
        if let BusEvent::Lost(partitions) = first.poll().await.expect("up") {
            break partitions.into_iter().map(Partition::get).collect();
        }
    };
    // The loser is polled as well: a bus may wait for that with what comes next.
    let handed_over = tokio::select! {
        gained = gained(&mut *second) => gained,
        event = first.poll() => panic!("nothing happens to the first: {event:?}"),
    };
    assert_eq!(handed_over, lost, "what one loses the other gains");
    assert!(!lost.is_empty() && lost.len() < all.len());
    drop(first);
    let regained = gained(&mut *second).await;
    assert_eq!(regained.union(&lost).copied().collect::<BTreeSet<_>>(), all);
}
