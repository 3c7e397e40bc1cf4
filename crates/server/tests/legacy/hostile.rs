//! Hostile bytes on every topic that is read, and in the cache: they are skipped, and what comes
//! after them arrives.

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidegate_ports::{Broker, Header, Message, SharedDiff};

use crate::worker::topic;
use crate::world::{DIFFS, EVENTS, World, always};

const Q1: &str = "demo_notes|q1";

fn bytes(random: &mut SmallRng) -> Option<Bytes> {
    let length = random.random_range(0..40);
    let bytes = (0..length).map(|_| random.random()).collect::<Vec<u8>>();
    random.random_bool(0.8).then(|| bytes.into())
}

/// Anything but a diff of the page that is watched.
fn junk(random: &mut SmallRng) -> Message {
    let headers = (0..random.random_range(0..3)).map(|_| Header {
        name: ["lsn", "LSN", "__lsn", "other"][random.random_range(0..4)].to_owned(),
        value: bytes(random),
    });
    let headers = headers.collect();
    let event = match random.random_range(0..4) {
        0 => Some(Bytes::from_static(b"{\"routingKey\":5}")),
        1 => Some(Bytes::from(format!(
            "{{\"routingKey\":{}",
            "[".repeat(5_000)
        ))),
        _ => bytes(random),
    };
    Message {
        key: bytes(random),
        value: event,
        headers,
    }
}

#[tokio::test]
async fn hostile_bytes_on_the_stream_stop_nothing() {
    let mut world = World::new(always(100));
    let gateway = world.gateway().await;
    let mut client = gateway.client().await;
    client.live("q1").await;
    let mut random = SmallRng::seed_from_u64(1);
    for lsn in 101..120 {
        for name in [DIFFS, EVENTS, "server.query.control", "server.page.seed"] {
            let messages = (0..50).map(|_| junk(&mut random)).collect();
            world.memory.send(&topic(name), messages).await.unwrap();
        }
        world.diff(Q1, lsn).await;
        assert_eq!(client.binary().await, lsn.to_string().as_bytes());
    }
    // Bytes that are no events, for the page itself.
    for junk in ["not json", "{\"kind\":\"added\"}", "[]", ""] {
        world.emit(EVENTS, Q1, junk.as_bytes(), Some("500")).await;
    }
    world.diff(Q1, 120).await;
    assert_eq!(client.binary().await, b"120");
    client.expect_silence().await;
    gateway.stop().await;
}

/// What others left in the cache is read as far as it makes sense.
#[tokio::test]
async fn hostile_entries_in_the_cache_are_skipped() {
    let mut world = World::new(always(100));
    let good = "{\"lsn\":\"101\",\"b64\":\"MTAx\"}";
    let entries = [
        "",
        "null",
        "{\"lsn\":7}",
        "{\"lsn\":\"x\",\"b64\":\"\"}",
        good,
        "[[[[",
    ];
    let diff = |(at, entry): (usize, &&str)| SharedDiff {
        key: Q1.to_owned(),
        topic: DIFFS.to_owned(),
        partition: 99,
        offset: at as u64,
        entry: (*entry).to_owned(),
    };
    let diffs = entries.iter().enumerate().map(diff).collect();
    world.shared.append(diffs).await.unwrap();
    let gateway = world.gateway().await;
    let mut client = gateway.client().await;
    client.live("q1").await;
    assert_eq!(client.op("diffB64").await["b64"], "MTAx");
    client.expect_silence().await;
    gateway.stop().await;
}
