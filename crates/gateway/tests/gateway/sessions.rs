//! What a session may ask besides pages: procedures, `sync`, the typed channel; what it must not
//! reach; and how it ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::SinkExt;
use serde_json::json;
use tidegate_core::Command;
use tidegate_gateway::{Auth, GatewayError, JwtAlgorithm, JwtConfig};
use tidegate_ports::MemoryBusLimits;
use tidegate_protocol::PageCause;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::world::{Client, PATIENCE, World, at, config, diff, page, request, sized_diff};

/// A procedure's result comes back under its label, a write's with its commit.
#[tokio::test]
async fn procedures_answer_under_their_label() {
    let world = World::new().await;
    let mut client = world.connect().await;
    let call =
        json!({"op": "rpc", "method": "TABLE_EXISTS", "table": "orders", "correlationId": "c1"});
    client.send(call).await;
    let result = client.expect("rpcResult").await;
    let expect = json!({"op": "rpcResult", "method": "TABLE_EXISTS", "correlationId": "c1",
                        "ok": true, "data": true});
    assert_eq!(result, expect);
    let write = json!({"op": "rpc", "method": "DELETE_ROW", "table": "orders",
                       "payload": {"primaryId": "1"}, "companyId": "acme"});
    client.send(write).await;
    let result = client.expect("rpcResult").await;
    assert_eq!(
        (&result["ok"], &result["lsn"]),
        (&json!(true), &json!("77"))
    );
    client
        .send(json!({"op": "rpc", "method": "NO_SUCH", "table": "orders"}))
        .await;
    let result = client.expect("rpcResult").await;
    assert_eq!(
        (&result["ok"], &result["code"]),
        (&json!(false), &json!("bad_command"))
    );
    world.stop().await;
}

/// A procedure that takes too long is given up, and others of the session go on meanwhile; more
/// than a session may run at a time are refused.
#[tokio::test]
async fn procedures_are_bounded() {
    let mut config = config();
    config.limits.call_timeout = Duration::from_millis(300);
    config.limits.session_calls_max = 2;
    let world = World::with(config, MemoryBusLimits::default()).await;
    let mut client = world.connect().await;
    for id in ["s1", "s2", "s3"] {
        let call =
            json!({"op": "rpc", "method": "TABLE_EXISTS", "table": "slow", "correlationId": id});
        client.send(call).await;
    }
    let refused = client.expect("rpcResult").await;
    assert_eq!(
        (&refused["correlationId"], &refused["code"]),
        (&json!("s3"), &json!("overloaded"))
    );
    for _ in 0..2 {
        let late = client.expect("rpcResult").await;
        assert_eq!(
            (&late["error"], &late["code"]),
            (&json!("rpc timeout"), &json!("timeout"))
        );
    }
    client
        .send(json!({"op": "rpc", "method": "TABLE_EXISTS", "table": "orders"}))
        .await;
    assert_eq!(
        client.expect("rpcResult").await["ok"],
        json!(true),
        "the places are free again"
    );
    world.stop().await;
}

/// The tenant of everything is the principal's. (In the old gateway `companyId` reached another
/// tenant's data, and broadcasts, joins and leaves went to everyone.)
#[tokio::test]
async fn defect_9_nothing_crosses_tenants() {
    let mut world = World::new().await;
    let mut acme = world.connect().await;
    let mut other = Client::connect(world.address, "globex", "bob").await;
    let foreign = json!({"op": "rpc", "method": "TABLE_EXISTS", "table": "orders",
                         "companyId": "globex", "correlationId": "f"});
    acme.send(foreign).await;
    let refused = acme.expect("rpcResult").await;
    assert_eq!(
        (&refused["ok"], &refused["code"]),
        (&json!(false), &json!("forbidden"))
    );
    assert!(
        world.calls.lock().unwrap().is_empty(),
        "it did not reach the database"
    );

    acme.send(json!({"op": "rpc", "method": "TABLE_EXISTS", "table": "orders"}))
        .await;
    acme.expect("rpcResult").await;
    let calls = world.calls.lock().unwrap().clone();
    assert!(matches!(&calls[..], [(tenant, Command::TableExists(_))] if tenant.as_str() == "acme"));

    // The same query of two tenants is two pages.
    acme.subscribe("q", json!({})).await;
    acme.expect("ack").await;
    let acme_key = world.next_wish().await;
    other.subscribe("q", json!({})).await;
    other.expect("ack").await;
    let other_key = world.next_wish().await;
    assert_eq!(
        (acme_key.tenant.as_str(), other_key.tenant.as_str()),
        ("acme", "globex")
    );
    world
        .publish(&acme_key, &[page(at(1, 0), PageCause::Opened)])
        .await;
    acme.expect("snapshot").await;

    acme.send(json!({"type": "broadcast", "data": "secret"}))
        .await;
    assert_eq!(acme.next().await["type"], "broadcast_message");
    drop(acme);
    let next = Client::connect(world.address, "acme", "eve").await;
    drop(next);
    other.send(json!({"type": "ping"})).await;
    assert_eq!(
        other.next().await["type"],
        "pong",
        "no join, leave, broadcast or page came"
    );
    world.stop().await;
}

/// The typed channel, frame by frame, within one tenant.
#[tokio::test]
async fn the_typed_channel() {
    let world = World::new().await;
    let mut ann = Client::connect(world.address, "acme", "ann").await;
    let mut bob = Client::connect(world.address, "acme", "bob").await;
    let joined = ann.next().await;
    assert_eq!(
        (&joined["type"], &joined["data"]["userId"]),
        (&json!("user_joined"), &json!("bob"))
    );
    assert_eq!(joined["timestamp"], json!(1_700_000_000_000_i64));
    bob.send(json!({"type": "echo", "data": {"n": 1}})).await;
    let echo = bob.next().await;
    assert_eq!(
        (&echo["type"], &echo["data"]),
        (&json!("echo_response"), &json!({"n": 1}))
    );
    bob.send(json!({"type": "get_status"})).await;
    let status = bob.next().await;
    assert_eq!(
        (&status["type"], &status["data"]["connectedClients"]),
        (&json!("status"), &json!(2))
    );
    bob.send(json!({"type": "broadcast", "data": "hi"})).await;
    for client in [&mut ann, &mut bob] {
        let message = client.next().await;
        assert_eq!(message["type"], "broadcast_message");
        assert_eq!(message["data"], json!({"from": "bob", "message": "hi"}));
    }
    drop(bob);
    let left = ann.next().await;
    assert_eq!(
        (&left["type"], &left["data"]["userId"]),
        (&json!("user_left"), &json!("bob"))
    );
    world.stop().await;
}

/// In a crowd, comings and goings are not announced: that would be its square in frames.
#[tokio::test]
async fn large_crowds_come_quietly() {
    let mut config = config();
    config.limits.announced_sessions_max = 2;
    let world = World::with(config, MemoryBusLimits::default()).await;
    let mut first = world.connect().await;
    let _second = world.connect().await;
    assert_eq!(first.next().await["type"], "user_joined");
    let _third = world.connect().await;
    first.send(json!({"type": "ping"})).await;
    assert_eq!(first.next().await["type"], "pong");
    world.stop().await;
}

/// `sync` is answered when the owner's progress, or a diff itself, has passed the commit, and
/// behind the diffs that it vouches for.
#[tokio::test]
async fn sync_waits_for_the_commit() {
    let mut world = World::new().await;
    let (mut client, key) = world.live("a").await;
    client
        .send(json!({"op": "sync", "hashId": "a", "lsn": "150"}))
        .await;
    client.expect_silence().await;
    world.publish(&key, &[diff(at(1, 1))]).await;
    world.progress(&key, 1, 149).await;
    client.expect("diff").await;
    client.expect_silence().await;
    world.publish(&key, &[diff(at(1, 2))]).await;
    world.progress(&key, 1, 150).await;
    client.expect("diff").await;
    let synced = client.expect("synced").await;
    assert_eq!(
        (&synced["hashId"], &synced["lsn"]),
        (&json!("a"), &json!("150"))
    );

    client
        .send(json!({"op": "sync", "hashId": "a", "lsn": "149"}))
        .await;
    client.expect("synced").await;
    // Another owner's progress says nothing about a page of the old one.
    client
        .send(json!({"op": "sync", "hashId": "a", "lsn": "151"}))
        .await;
    world.progress(&key, 2, 900).await;
    client.expect_silence().await;
    world.stop().await;
}

/// A `sync` that cannot be answered fails without ending its subscription.
#[tokio::test]
async fn sync_fails_alone() {
    let mut config = config();
    config.limits.sync_timeout = Duration::from_secs(1);
    config.limits.session_syncs_max = 1;
    let mut world = World::with(config, MemoryBusLimits::default()).await;
    let (mut client, key) = world.live("a").await;
    client
        .send(json!({"op": "sync", "hashId": "nobody", "lsn": "1"}))
        .await;
    assert_eq!(client.expect("error").await["code"], "unknown_subscription");
    client
        .send(json!({"op": "sync", "hashId": "a", "lsn": "x"}))
        .await;
    assert_eq!(client.expect("error").await["code"], "bad_lsn");
    client
        .send(json!({"op": "sync", "hashId": "a", "lsn": "999"}))
        .await;
    client
        .send(json!({"op": "sync", "hashId": "a", "lsn": "998"}))
        .await;
    for _ in 0..2 {
        let error = client.expect("error").await;
        assert_eq!(
            (&error["code"], &error["hashId"]),
            (&json!("sync_timeout"), &json!("a"))
        );
    }
    world.publish(&key, &[diff(at(1, 1))]).await;
    client.expect("diff").await;
    world.stop().await;
}

/// Frames that are wrong are answered and do no harm: the session, the process and the
/// subscriptions that they do not name go on. (A text frame `null` ended the old gateway.)
#[tokio::test]
async fn defect_14_hostile_frames_are_answered() {
    let mut world = World::new().await;
    let (mut client, key) = world.live("a").await;
    let deep = "[".repeat(50_000);
    let nested = format!(
        "{{\"op\":\"subscribe\",\"x\":{}{}}}",
        "[".repeat(5_000),
        "]".repeat(5_000)
    );
    let frames = [
        "null",
        "true",
        "0",
        "[]",
        "\"x\"",
        "{}",
        "{\"op\":null}",
        "{\"op\":\"fly\"}",
        "{\"op\":\"subscribe\"}",
        "{\"op\":\"rpc\"}",
        "{\"op\":\"sync\"}",
        "{\"op\":{}}",
        &nested,
    ];
    for text in frames {
        client.send_text(text).await;
        assert!(client.expect("error").await["code"].is_string(), "{text}");
    }
    for text in ["", "{", "nonsense", &deep] {
        client.send_text(text).await;
        let error = client.next().await;
        assert_eq!(error["data"]["message"], "Invalid JSON message");
    }
    client
        .socket
        .send(Message::binary(vec![0xff; 100]))
        .await
        .unwrap();
    world.publish(&key, &[diff(at(1, 1))]).await;
    client.expect("diff").await;
    world.stop().await;
}

/// Subscribes that are wrong end with a code that says what, and leave the label free.
#[tokio::test]
async fn wrong_subscribes_are_refused() {
    let mut config = config();
    config.limits.session_subscriptions_max = 1;
    let mut world = World::with(config, MemoryBusLimits::default()).await;
    let mut client = world.connect().await;
    let cases = [
        (json!({"table": "nowhere"}), "unknown_table"),
        (json!({"query": {"limit": 0}}), "bad_limit"),
        (json!({"query": {"limit": 1001}}), "bad_limit"),
        (
            json!({"query": {"order": [{"field": "nothing"}]}}),
            "unknown_column",
        ),
    ];
    for (extra, code) in cases {
        client.subscribe("a", extra).await;
        let error = client.expect("error").await;
        assert_eq!(
            (&error["code"], &error["hashId"]),
            (&json!(code), &json!("a"))
        );
    }
    client.subscribe("a", json!({})).await;
    client.expect("ack").await;
    let key = world.next_wish().await;
    client.subscribe("b", json!({})).await;
    assert_eq!(
        client.expect("error").await["code"],
        "too_many_subscriptions"
    );
    world
        .publish(&key, &[page(at(1, 0), PageCause::Opened)])
        .await;
    client.expect("snapshot").await;
    world.stop().await;
}

/// A message over 1 MiB, or text that is not UTF-8, ends the connection with the code for it.
#[tokio::test]
async fn frames_over_the_bound_end_the_connection() {
    let world = World::new().await;
    let mut client = world.connect().await;
    let echo = |length: usize| {
        format!(
            "{{\"type\":\"echo\",\"data\":\"{}\"}}",
            "x".repeat(length - 25)
        )
    };
    client.send_text(&echo(1 << 20)).await;
    assert_eq!(client.next().await["type"], "echo_response");
    client.send_text(&echo((1 << 20) + 1)).await;
    assert_eq!(client.close_code().await, CloseCode::Size);

    let mut raw = raw_upgrade(&world).await;
    raw.write_all(&[0x81, 0x82, 0, 0, 0, 0, 0xff, 0xff])
        .await
        .unwrap();
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, raw.read_to_end(&mut bytes));
    read.await.expect("the gateway closes").unwrap();
    let close = bytes
        .windows(4)
        .any(|window| window[0] == 0x88 && window[2..] == 1007_u16.to_be_bytes());
    assert!(close, "{bytes:?}");
    world.stop().await;
}

/// An upgrade by hand, for frames that no client library sends.
async fn raw_upgrade(world: &World) -> TcpStream {
    let mut raw = TcpStream::connect(world.address).await.unwrap();
    let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    raw.write_all(request.as_bytes()).await.unwrap();
    raw
}

/// What a client sends right behind its request, before it has the answer, is not lost.
#[tokio::test]
async fn frames_sent_with_the_request_are_read() {
    let world = World::new().await;
    let mut raw = raw_upgrade(&world).await;
    raw.write_all(&[0x89, 0x81, 0, 0, 0, 0, b'!'])
        .await
        .unwrap();
    let mut bytes = Vec::new();
    let pong = [0x8a, 0x01, b'!'];
    while !bytes.windows(3).any(|window| window == pong) {
        let read = tokio::time::timeout(PATIENCE, raw.read_buf(&mut bytes)).await;
        assert_ne!(read.expect("an answer").unwrap(), 0);
    }
    world.stop().await;
}

/// A client's close is answered with its own code, and the connection ends.
#[tokio::test]
async fn a_close_is_answered() {
    let world = World::new().await;
    let mut raw = raw_upgrade(&world).await;
    raw.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x0f, 0xa0])
        .await
        .unwrap();
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, raw.read_to_end(&mut bytes));
    read.await.expect("the gateway closes").unwrap();
    assert!(bytes.ends_with(&[0x88, 0x02, 0x0f, 0xa0]), "{bytes:?}");
    world.stop().await;
}

/// A client that takes no answers to what it keeps asking is closed: what is queued for it is
/// bounded.
#[tokio::test]
async fn answers_nobody_takes_end_the_session() {
    let mut config = config();
    config.limits.outbox.session_bytes_max = 100_000;
    let world = World::with(config, MemoryBusLimits::default()).await;
    let mut client = world.connect().await;
    let echo = json!({"type": "echo", "data": "x".repeat(100_000)}).to_string();
    let (mut sink, stream) = futures_util::StreamExt::split(client.socket);
    // Sending fails once the gateway has closed: that is what is waited for.
    while sink.send(Message::text(&*echo)).await.is_ok() {
        if world.health().await["sessions"] == json!(0) {
            break;
        }
    }
    drop((sink, stream));
    client = world.connect().await;
    client.expect_silence().await;
    world.stop().await;
}

/// A slow socket that goes is not counted any more. (In the old gateway it stayed.)
#[tokio::test]
async fn defect_8_slow_sockets_are_uncounted() {
    let mut world = World::new().await;
    let (client, key) = world.live("a").await;
    for offset in 1..=400 {
        world
            .publish(&key, &[sized_diff(at(1, offset), 40_000)])
            .await;
    }
    world.until("slowSockets", 1).await;
    drop(client);
    world.until("slowSockets", 0).await;
    let health = world.health().await;
    assert_eq!(
        (&health["status"], &health["sessions"]),
        (&json!("healthy"), &json!(0))
    );
    world.stop().await;
}

/// When the gateway stops, everybody is told to come back elsewhere, and whoever does not listen is
/// not waited for.
#[tokio::test]
async fn a_stop_sends_everybody_away() {
    let mut world = World::new().await;
    let (mut client, _key) = world.live("a").await;
    let _deaf = world.connect().await;
    world.shutdown.cancel();
    assert_eq!(client.close_code().await, CloseCode::Away);
    let stopped = tokio::time::timeout(PATIENCE, &mut world.running).await;
    stopped.expect("it stops").unwrap().unwrap();
    assert!(matches!(
        world.next_control().await,
        tidegate_protocol::ControlRecord::Release { .. }
    ));
    assert!(
        TcpStream::connect(world.address).await.is_err(),
        "nobody listens any more"
    );
}

/// A client that says nothing for too long is taken for lost; one that answers pings is not.
#[tokio::test]
async fn silent_clients_are_let_go() {
    let mut config = config();
    config.limits.ping_interval = Duration::from_secs(1);
    config.limits.idle_timeout = Duration::from_secs(3);
    let world = World::with(config, MemoryBusLimits::default()).await;
    let mut silent = raw_upgrade(&world).await;
    let mut client = world.connect().await;
    let mut bytes = Vec::new();
    let gone = silent.read_to_end(&mut bytes);
    tokio::pin!(gone);
    // Reading is what makes the client library answer pings.
    loop {
        tokio::select! {
            _ = &mut gone => break,
            message = client.raw() => assert!(matches!(message, Some(Ok(_)))),
        }
    }
    client.expect_silence().await;
    world.stop().await;
}

/// A token's end is the session's end, with the code that says not to come back with it.
#[tokio::test]
async fn a_session_ends_with_its_token() {
    const END: u64 = 4_000_000_000;
    let secret = [7; 32];
    let mut config = config();
    config.auth = Auth::Jwt(JwtConfig::new(JwtAlgorithm::Hs256, &secret).unwrap());
    // Two seconds before the end, for ever: the session's own clock runs on.
    config.clock_micros = || (END as i64 - 2) * 1_000_000;
    let world = World::with(config, MemoryBusLimits::default()).await;
    let claims = json!({"tenant": "acme", "sub": "ann", "exp": END});
    let key = jsonwebtoken::EncodingKey::from_secret(&secret);
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
    let mut request = request(world.address, "globex", "bob");
    let offered = format!("tidegate, bearer.{token}");
    request
        .headers_mut()
        .insert("sec-websocket-protocol", offered.parse().unwrap());
    let socket = TcpStream::connect(world.address).await.unwrap();
    let (socket, response) = client_async(request, socket).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "tidegate");
    let mut client = Client { socket };
    assert_eq!(client.next().await["type"], "welcome");
    assert_eq!(client.close_code().await, CloseCode::Policy);
    world.stop().await;
}

/// A defect behind a seam, or in a page that was injected, costs whoever met it, and nobody else.
#[tokio::test]
async fn defects_of_others_are_contained() {
    let mut config = config();
    config.http = std::sync::Arc::new(|_| panic!("as asked"));
    let world = World::with(config, MemoryBusLimits::default()).await;
    let mut client = world.connect().await;
    let mut request = TcpStream::connect(world.address).await.unwrap();
    request
        .write_all(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    // It is cut off, in whatever way.
    let _ = request.read_to_end(&mut Vec::new()).await;
    client
        .send(json!({"op": "rpc", "method": "TABLE_EXISTS", "table": "broken"}))
        .await;
    assert_eq!(client.expect("rpcResult").await["code"], "internal");
    client.expect_silence().await;
    world.stop().await;
}

/// A defect within a shard ends the gateway: half-done, a shard must not go on.
#[tokio::test]
async fn a_broken_shard_ends_the_gateway() {
    static IS_BROKEN: AtomicBool = AtomicBool::new(false);
    let mut config = config();
    config.clock_micros = || {
        assert!(!IS_BROKEN.load(Ordering::Relaxed), "as asked");
        0
    };
    let world = World::with(config, MemoryBusLimits::default()).await;
    let mut client = world.connect().await;
    client.expect_silence().await;
    IS_BROKEN.store(true, Ordering::Relaxed);
    client.send(json!({"type": "ping"})).await;
    let ended = tokio::time::timeout(PATIENCE, world.running).await;
    let outcome = ended.expect("it ends").unwrap();
    assert!(
        matches!(outcome, Err(GatewayError::ShardLost)),
        "{outcome:?}"
    );
}
