//! Pages and diffs reach clients whole and in order, or with a reason why not.

use serde_json::json;
use tidegate_ports::MemoryBusLimits;
use tidegate_protocol::{ControlRecord, ErrorCode, PageCause, read_binary_diff};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::world::{Client, World, at, at_life, config, diff, page, position, refused, sized_diff};

/// The whole path: a subscribe asks the owner for the page, the page and each later diff arrive
/// once.
#[tokio::test]
async fn a_subscription_gets_its_page_and_then_its_diffs() {
    let mut world = World::new().await;
    let mut client = world.connect().await;
    client.subscribe("mine", json!({})).await;
    assert_eq!(client.expect("ack").await["hashId"], "mine");
    let key = world.next_wish().await;
    assert_eq!(key.tenant.as_str(), "acme");

    let records = [
        page(at(1, 0), PageCause::Opened),
        diff(at(1, 1)),
        diff(at(1, 2)),
    ];
    world.publish(&key, &records).await;
    let snapshot = client.expect("snapshot").await;
    assert_eq!(
        (&snapshot["reason"], &snapshot["hashId"]),
        (&json!("subscribe"), &json!("mine"))
    );
    assert_eq!(position(&snapshot), at(1, 0));
    for offset in 1..=2 {
        assert_eq!(position(&client.expect("diff").await), at(1, offset));
    }
    client.expect_silence().await;
    world.stop().await;
}

/// A second listener is served from what the shard holds: page and diffs, and nobody is asked.
#[tokio::test]
async fn a_newcomer_is_served_from_memory() {
    let mut world = World::new().await;
    let (mut first, key) = world.live("a").await;
    world.publish(&key, &[diff(at(1, 1))]).await;
    first.expect("diff").await;

    let mut second = world.connect().await;
    second.subscribe("b", json!({})).await;
    second.expect("ack").await;
    assert_eq!(position(&second.expect("snapshot").await), at(1, 0));
    assert_eq!(position(&second.expect("diff").await), at(1, 1));
    world.publish(&key, &[diff(at(1, 2))]).await;
    assert_eq!(position(&first.expect("diff").await), at(1, 2));
    assert_eq!(position(&second.expect("diff").await), at(1, 2));
    world.stop().await;
}

/// Diffs that are repeated by the bus, or of an epoch that is over, reach nobody.
#[tokio::test]
async fn repetitions_are_dropped() {
    let mut world = World::new().await;
    let (mut client, key) = world.live("a").await;
    let records = [
        diff(at(1, 1)),
        diff(at(1, 1)),
        page(at(1, 0), PageCause::Opened),
        diff(at(0, 7)),
        page(at(0, 3), PageCause::Repeated),
        diff(at(1, 2)),
    ];
    world.publish(&key, &records).await;
    assert_eq!(position(&client.expect("diff").await), at(1, 1));
    assert_eq!(position(&client.expect("diff").await), at(1, 2));
    client.expect_silence().await;
    world.stop().await;
}

/// A page that is read anew replaces what everybody has, and says so.
#[tokio::test]
async fn a_new_epoch_resets_listeners() {
    let mut world = World::new().await;
    let (mut client, key) = world.live("a").await;
    world
        .publish(&key, &[page(at(2, 0), PageCause::Reset), diff(at(2, 1))])
        .await;
    let snapshot = client.expect("snapshot").await;
    assert_eq!(
        (position(&snapshot), &snapshot["reason"]),
        (at(2, 0), &json!("epoch"))
    );
    assert_eq!(position(&client.expect("diff").await), at(2, 1));
    world.stop().await;
}

/// A hole is filled from the cache, and the client never knows.
#[tokio::test]
async fn a_hole_is_filled_from_the_cache() {
    let mut world = World::new().await;
    let (mut client, key) = world.live("a").await;
    let cached: Vec<_> = (1..=4).map(|offset| diff(at(1, offset))).collect();
    world.keep(&key, &cached).await;
    world
        .publish(&key, &[diff(at(1, 1)), diff(at(1, 4)), diff(at(1, 5))])
        .await;
    for offset in 1..=5 {
        assert_eq!(position(&client.expect("diff").await), at(1, offset));
    }
    world.stop().await;
}

/// A hole that the cache cannot fill ends in a fresh page with a reason: never a silent part.
#[tokio::test]
async fn a_hole_that_stays_ends_in_a_reset() {
    let mut world = World::new().await;
    let (mut client, key) = world.live("a").await;
    world.publish(&key, &[diff(at(1, 1)), diff(at(1, 4))]).await;
    client.expect("diff").await;
    assert_eq!(world.next_wish().await, key);
    world
        .publish(&key, &[page(at(1, 4), PageCause::Repeated), diff(at(1, 5))])
        .await;
    let snapshot = client.expect("snapshot").await;
    assert_eq!(
        (position(&snapshot), &snapshot["reason"]),
        (at(1, 4), &json!("unrecoverable"))
    );
    assert_eq!(position(&client.expect("diff").await), at(1, 5));
    world.stop().await;
}

/// When records were lost unnoticed the owner is asked; a page at the position that everybody has
/// means that nothing was missed, and nobody is disturbed.
#[tokio::test]
async fn a_gap_in_the_bus_is_checked_with_the_owner() {
    let limits = MemoryBusLimits {
        partition_bytes_max: 40_000,
        ..MemoryBusLimits::default()
    };
    let mut world = World::with(config(), limits).await;
    let (mut client, key) = world.live("a").await;
    // All at once, so that the reader cannot keep up: the first of them are gone when it looks.
    let burst: Vec<_> = (1..=100)
        .map(|offset| sized_diff(at(1, offset), 1_000))
        .collect();
    world.publish(&key, &burst).await;
    assert_eq!(world.next_wish().await, key, "the owner is asked at once");
    world
        .publish(&key, &[page(at(1, 100), PageCause::Repeated)])
        .await;
    let snapshot = client.expect("snapshot").await;
    assert_eq!(
        (position(&snapshot), &snapshot["reason"]),
        (at(1, 100), &json!("unrecoverable"))
    );
    client.expect_silence().await;
    world.stop().await;
}

/// A new owner of the partition is told of every page that is wanted; its page resets the
/// listeners.
#[tokio::test]
async fn a_new_owner_is_asked_for_the_page() {
    let mut world = World::new().await;
    let (mut client, key) = world.live("a").await;
    world.progress(&key, 1, 200).await;
    client.expect_silence().await;
    world.progress(&key, 2, 200).await;
    assert_eq!(world.next_wish().await, key);
    world
        .publish(&key, &[page(at_life(2, 1, 0), PageCause::Opened)])
        .await;
    let snapshot = client.expect("snapshot").await;
    assert_eq!(
        (position(&snapshot), &snapshot["reason"]),
        (at_life(2, 1, 0), &json!("epoch"))
    );
    world.stop().await;
}

/// The owner's refusal ends the subscription with its code; the label is free again, and a new
/// subscribe asks anew.
#[tokio::test]
async fn a_refused_page_ends_its_subscriptions() {
    let mut world = World::new().await;
    let (mut client, key) = world.live("a").await;
    world
        .publish(
            &key,
            &[refused(ErrorCode::UnsupportedTable, "it was dropped")],
        )
        .await;
    let error = client.expect("error").await;
    assert_eq!(
        (&error["code"], &error["hashId"]),
        (&json!("unsupported_table"), &json!("a"))
    );
    world.publish(&key, &[diff(at(1, 1))]).await;
    client.expect_silence().await;
    assert!(matches!(
        world.next_control().await,
        ControlRecord::Release { .. }
    ));
    client.subscribe("a", json!({})).await;
    client.expect("ack").await;
    assert_eq!(world.next_wish().await, key);
    world.stop().await;
}

/// After a reconnect the missing diffs follow, from memory or from the cache; on another gateway,
/// too.
#[tokio::test]
async fn a_resume_gets_exactly_what_was_missed() {
    let mut world = World::new().await;
    let (mut live, key) = world.live("a").await;
    let diffs: Vec<_> = (1..=3).map(|offset| diff(at(1, offset))).collect();
    world.publish(&key, &diffs).await;
    for _ in 1..=3 {
        live.expect("diff").await;
    }
    let mut warm = world.connect().await;
    warm.subscribe("w", json!({"resume": at(1, 1).to_string()}))
        .await;
    warm.expect("ack").await;
    assert_eq!(position(&warm.expect("resumed").await), at(1, 1));
    assert_eq!(position(&warm.expect("diff").await), at(1, 2));
    assert_eq!(position(&warm.expect("diff").await), at(1, 3));
    warm.expect_silence().await;

    // Another gateway, which was faster, has sent it a diff that this one has not seen yet.
    world.keep(&key, &diffs).await;
    world.keep(&key, &[diff(at(1, 4)), diff(at(1, 5))]).await;
    let mut ahead = world.connect().await;
    ahead
        .subscribe("x", json!({"resume": at(1, 4).to_string()}))
        .await;
    ahead.expect("ack").await;
    assert_eq!(position(&ahead.expect("resumed").await), at(1, 4));
    assert_eq!(position(&ahead.expect("diff").await), at(1, 5));
    let rest: Vec<_> = (4..=6).map(|offset| diff(at(1, offset))).collect();
    world.publish(&key, &rest).await;
    assert_eq!(
        position(&ahead.expect("diff").await),
        at(1, 6),
        "nothing comes twice"
    );
    world.stop().await;
}

/// A resume on a gateway that knows nothing of the page: the owner is asked where it is, and the
/// cache for the rest.
#[tokio::test]
async fn a_cold_resume_goes_through_the_cache() {
    let mut world = World::new().await;
    let mut client = world.connect().await;
    client
        .subscribe("a", json!({"resume": at(1, 1).to_string()}))
        .await;
    client.expect("ack").await;
    let key = world.next_wish().await;
    let diffs: Vec<_> = (1..=3).map(|offset| diff(at(1, offset))).collect();
    world.keep(&key, &diffs).await;
    world
        .publish(&key, &[page(at(1, 3), PageCause::Repeated), diff(at(1, 4))])
        .await;
    assert_eq!(position(&client.expect("resumed").await), at(1, 1));
    for offset in 2..=4 {
        assert_eq!(position(&client.expect("diff").await), at(1, offset));
    }
    world.stop().await;
}

/// A position that cannot be continued gets a page that says why; positions are not believed.
#[tokio::test]
async fn a_resume_that_fails_says_why() {
    let mut world = World::new().await;
    let (_live, key) = world.live("a").await;
    let farthest = format!("{}-{}", at(1, 0).epoch.get(), u64::MAX);
    let cases = [
        (at(0, 9).to_string(), "epoch"),
        (at(9, 1).to_string(), "epoch"),
        (at(1, 5).to_string(), "unrecoverable"),
        (farthest, "unrecoverable"),
        (format!("{}-0", u64::MAX), "epoch"),
    ];
    for (resume, reason) in cases {
        let mut client = world.connect().await;
        client.subscribe("r", json!({"resume": resume})).await;
        client.expect("ack").await;
        let snapshot = client.expect("snapshot").await;
        assert_eq!(
            (position(&snapshot), &snapshot["reason"]),
            (at(1, 0), &json!(reason)),
            "{resume}"
        );
    }
    let mut client = world.connect().await;
    client.subscribe("r", json!({"resume": "nonsense"})).await;
    assert_eq!(client.expect("error").await["code"], "bad_position");
    drop(key);
    world.stop().await;
}

/// `resumeFromVersion` is honoured where the tail proves that it is complete, and only there. (The
/// old gateway skipped diffs when the number was above the true one.)
#[tokio::test]
async fn a_version_is_taken_only_with_proof() {
    let mut world = World::new().await;
    let (mut live, key) = world.live("a").await;
    world.publish(&key, &[diff(at(1, 1)), diff(at(1, 2))]).await;
    live.expect("diff").await;
    live.expect("diff").await;
    let mut client = world.connect().await;
    client
        .subscribe("v", json!({"resumeFromVersion": 101}))
        .await;
    client.expect("ack").await;
    assert_eq!(position(&client.expect("resumed").await), at(1, 1));
    assert_eq!(position(&client.expect("diff").await), at(1, 2));
    for unproved in [1, 99, 103, u64::MAX] {
        let mut client = world.connect().await;
        client
            .subscribe("v", json!({"resumeFromVersion": unproved}))
            .await;
        client.expect("ack").await;
        assert_eq!(
            client.expect("snapshot").await["reason"],
            "unrecoverable",
            "{unproved}"
        );
    }
    world.stop().await;
}

/// A client that asks for the binary format gets its diffs in it.
#[tokio::test]
async fn diffs_may_be_binary() {
    let mut world = World::new().await;
    let mut client = world.connect().await;
    client.subscribe("b", json!({"format": "binary"})).await;
    client.expect("ack").await;
    let key = world.next_wish().await;
    world
        .publish(&key, &[page(at(1, 0), PageCause::Opened), diff(at(1, 1))])
        .await;
    client.expect("snapshot").await;
    match client.raw().await {
        Some(Ok(Message::Binary(bytes))) => {
            let diff = read_binary_diff(&bytes).unwrap();
            assert_eq!(diff.position, at(1, 1));
        }
        other => panic!("instead of a binary frame: {other:?}"),
    }
    world.stop().await;
}

/// Unsubscribing leaves the page to the others, and the last one's leave lets go of it after a
/// while. (The old gateway never cleared a query, or cleared it for everyone.)
#[tokio::test]
async fn defect_6_a_page_lives_until_its_last_listener_has_left() {
    let mut config = config();
    config.limits.linger = std::time::Duration::ZERO;
    let mut world = World::with(config, MemoryBusLimits::default()).await;
    let (mut first, key) = world.live("a").await;
    let mut second = world.connect().await;
    second.subscribe("b", json!({})).await;
    second.expect("ack").await;
    second.expect("snapshot").await;
    second
        .send(json!({"op": "unsubscribe", "table": "orders", "hashId": "b"}))
        .await;
    second.expect_silence().await;
    world.publish(&key, &[diff(at(1, 1))]).await;
    first.expect("diff").await;
    second.expect_silence().await;
    drop(first);
    match world.next_control().await {
        ControlRecord::Release { key: released, .. } => assert_eq!(released, key),
        other => panic!("instead of a release: {other:?}"),
    }
    world.stop().await;
}

/// A client that reads nothing costs bounded memory and others nothing; when it reads again it
/// finds a fresh page with the reason, and goes on from there. (The old gateway emptied the queue
/// and went on sending diffs into a page that no longer fitted.)
#[tokio::test]
async fn defect_8_a_slow_client_is_reset_in_order() {
    let mut config = config();
    config.limits.outbox.bytes_max = 100_000;
    config.limits.outbox.bytes_low = 10_000;
    let mut world = World::with(config, MemoryBusLimits::default()).await;
    let (mut slow, key) = world.live("slow").await;
    let mut fast = world.connect().await;
    fast.subscribe("fast", json!({})).await;
    fast.expect("ack").await;
    fast.expect("snapshot").await;
    // More than the socket's buffers and the outbox hold together.
    let last = 400;
    for offset in 1..=last {
        world
            .publish(&key, &[sized_diff(at(1, offset), 40_000)])
            .await;
        assert_eq!(position(&fast.expect("diff").await), at(1, offset));
    }
    // The slow one reads now. Its diffs stop somewhere, a fresh page follows, and then what comes
    // after.
    let mut reached = 0;
    let snapshot = loop {
        let frame = tokio::select! {
            frame = slow.op() => frame,
            // The shard has long dropped the page, so the owner is asked when there is room again.
            _ = world.next_wish() => {
                world.publish(&key, &[page(at(1, last), PageCause::Repeated)]).await;
                continue;
            }
        };
        if frame["op"] == "snapshot" {
            break frame;
        }
        reached += 1;
        assert_eq!(position(&frame), at(1, reached), "in order until the reset");
    };
    assert!(reached < last, "the client fell behind");
    assert_eq!(
        (position(&snapshot), &snapshot["reason"]),
        (at(1, last), &json!("overflow"))
    );
    world.publish(&key, &[diff(at(1, last + 1))]).await;
    assert_eq!(position(&slow.expect("diff").await), at(1, last + 1));
    world.stop().await;
}

/// A client that would rather be closed than reset is closed with 1013.
#[tokio::test]
async fn a_slow_client_may_ask_to_be_closed() {
    let mut config = config();
    config.limits.outbox.bytes_max = 100_000;
    config.limits.drain_timeout = std::time::Duration::from_secs(5);
    let mut world = World::with(config, MemoryBusLimits::default()).await;
    let (mut fast, key) = world.live("fast").await;
    let mut slow = world.connect().await;
    slow.subscribe("slow", json!({"slow": "close"})).await;
    slow.expect("ack").await;
    slow.expect("snapshot").await;
    for offset in 1..=200 {
        world
            .publish(&key, &[sized_diff(at(1, offset), 40_000)])
            .await;
        fast.expect("diff").await;
    }
    assert_eq!(slow.close_code().await, CloseCode::Again);
    drop((fast, slow));
    world.stop().await;
}

/// Fan-out visits the listeners of a key only: sessions without interest in it are not touched.
/// (The old gateway walked over every session for every record.)
#[tokio::test]
async fn defect_7_only_listeners_of_the_key_are_served() {
    let mut world = World::new().await;
    let (mut listener, key) = world.live("a").await;
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push(world.connect().await);
    }
    world.publish(&key, &[diff(at(1, 1))]).await;
    listener.expect("diff").await;
    for other in &mut others {
        other.expect_silence().await;
    }
    world.stop().await;
}

/// Two queries under one label are two pages, and one query under two labels is one page: the
/// server names queries. (In the old gateway the last to subscribe decided what both got.)
#[tokio::test]
async fn defect_10_labels_do_not_name_pages() {
    let mut world = World::new().await;
    let (mut ten, key_of_ten) = world.live("same").await;
    let mut five = world.connect().await;
    five.subscribe("same", json!({"query": {"limit": 5}})).await;
    five.expect("ack").await;
    let key_of_five = world.next_wish().await;
    assert_ne!(key_of_five, key_of_ten);
    world
        .publish(&key_of_five, &[page(at(7, 0), PageCause::Opened)])
        .await;
    assert_eq!(position(&five.expect("snapshot").await), at(7, 0));
    ten.expect_silence().await;
    five.subscribe("other", json!({})).await;
    five.expect("ack").await;
    assert_eq!(
        position(&five.expect("snapshot").await),
        at(1, 0),
        "shared with the first"
    );
    world.stop().await;
}

/// A page that cannot be had yet makes its subscribers wait; it comes when the owner is back,
/// without another subscribe. (The old gateway's subscription buffered for ever and sent nothing.)
#[tokio::test]
async fn defect_15_a_late_page_still_arrives() {
    let mut world = World::new().await;
    let mut client = world.connect().await;
    client.subscribe("a", json!({})).await;
    client.expect("ack").await;
    let key = world.next_wish().await;
    client.expect_silence().await;
    // Nobody answers; the wish is repeated.
    assert_eq!(world.next_wish().await, key);
    world
        .publish(&key, &[page(at(1, 0), PageCause::Opened), diff(at(1, 1))])
        .await;
    client.expect("snapshot").await;
    client.expect("diff").await;
    world.stop().await;
}

/// A subscribe under a label in use replaces what was there.
#[tokio::test]
async fn a_label_in_use_is_replaced() {
    let mut world = World::new().await;
    let (mut client, old_key) = world.live("a").await;
    client.subscribe("a", json!({"query": {"limit": 5}})).await;
    client.expect("ack").await;
    let new_key = world.next_wish().await;
    world.publish(&old_key, &[diff(at(1, 1))]).await;
    world
        .publish(&new_key, &[page(at(3, 0), PageCause::Opened)])
        .await;
    assert_eq!(position(&client.expect("snapshot").await), at(3, 0));
    client.expect_silence().await;
    world.stop().await;
}

/// All shards serve a key at once, each to its own sockets.
#[tokio::test]
async fn every_shard_serves_a_key() {
    let mut config = config();
    config.shard_count = 3;
    let mut world = World::with(config, MemoryBusLimits::default()).await;
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..6 {
        let mut client = world.connect().await;
        client.subscribe("a", json!({})).await;
        client.expect("ack").await;
        clients.push(client);
    }
    let mut key = world.next_wish().await;
    for _ in 1..3 {
        key = world.next_wish().await;
    }
    world
        .publish(&key, &[page(at(1, 0), PageCause::Opened), diff(at(1, 1))])
        .await;
    for client in &mut clients {
        client.expect("snapshot").await;
        client.expect("diff").await;
    }
    world.stop().await;
}
