//! Lost connections: what is resumed, what is not, and when it is tried again.

use std::time::Duration;

use serde_json::json;
use tidegate_client::{
    Client, ConnectError, ConnectionState, Options, Payload, Subscribe, Subscription,
};
use tidegate_core::{Lsn, QuerySpec};
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::fake_server::{FakeServer, Peer, added, resumed, snapshot};
use crate::{kind, pks, position};

fn notes() -> Subscribe {
    Subscribe::new("notes", &QuerySpec::default())
}

/// A client with one page of one row, its server, and the page's label.
async fn live() -> (FakeServer, Client, Peer<DuplexStream>, Subscription, String) {
    let (server, client, mut peer) = FakeServer::with_client().await;
    let mut page = client.subscribe(notes()).await.expect("it is open");
    let label = peer.page(&["1"], "1-0").await;
    assert_eq!(kind(page.next().await), "snapshot subscribe");
    (server, client, peer, page, label)
}

/// A connection that breaks within a diff costs nothing: the client asks for what follows the last
/// whole one, and gets exactly that.
#[tokio::test(start_paused = true)]
async fn resumes_after_half_a_diff() {
    let (mut server, _client, mut peer, mut page, label) = live().await;
    peer.send(added(&label, "2", 1, "1-1")).await;
    peer.send_half(&added(&label, "3", 2, "1-2")).await;

    let mut peer = server.accept().await;
    let frame = peer.ack().await;
    assert_eq!(frame["resume"], "1-1");
    assert_eq!(frame["hashId"], label.as_str());
    peer.send(resumed(&label, "1-1")).await;
    peer.send(added(&label, "3", 2, "1-2")).await;

    assert_eq!(kind(page.next().await), "diff 1-1");
    assert_eq!(kind(page.next().await), "resumed 1-1");
    assert_eq!(kind(page.next().await), "diff 1-2");
    assert_eq!(pks(&page), ["1", "2", "3"]);
}

/// A resume that cannot be complete is a page that says so, and it replaces the old one.
#[tokio::test(start_paused = true)]
async fn takes_a_page_when_a_resume_is_refused() {
    let (mut server, client, peer, mut page, label) = live().await;
    client.drop_connection().await;
    drop(peer);
    let mut peer = server.accept().await;
    assert_eq!(peer.ack().await["resume"], "1-0");
    peer.send(snapshot(&label, &["7", "8"], "2-0", "unrecoverable"))
        .await;
    assert_eq!(kind(page.next().await), "snapshot unrecoverable");
    assert_eq!(pks(&page), ["7", "8"]);
    assert_eq!(position(&page), Some("2-0"));
}

/// A server that cannot even read the position is asked for a page instead.
#[tokio::test(start_paused = true)]
async fn starts_over_when_the_position_is_unreadable() {
    let (mut server, client, _peer, mut page, label) = live().await;
    client.drop_connection().await;
    let mut peer = server.accept().await;
    assert_eq!(peer.frame().await["resume"], "1-0");
    peer.send(
        json!({"op": "error", "hashId": label, "code": "bad_position",
        "message": "resume is not a position", "retry": false}),
    )
    .await;
    let frame = peer.ack().await;
    assert_eq!(frame.get("resume"), None);
    peer.send(snapshot(&label, &["5"], "3-0", "subscribe"))
        .await;
    assert_eq!(kind(page.next().await), "snapshot subscribe");
    assert_eq!(pks(&page), ["5"]);
}

/// A frame that cannot be read may have been a diff, so the client resumes from before it.
#[tokio::test(start_paused = true)]
async fn garbage_leads_to_a_resume() {
    let garbage = [
        "null",
        "{",
        "[1]",
        r#"{"op":"diff"}"#,
        r#"{"op":"diff","hashId":"x","cursor":{"position":"1-1"},"changes":[{"kind":"moved","pk":"1"}]}"#,
        r#"{"op":"diff","hashId":"x","cursor":{"position":"1-1"},"changes":[{"kind":"added","pk":"1","pos":-1,"row":{}}]}"#,
        r#"{"op":"snapshot","hashId":"x","cursor":{"position":"1-1"},"rows":[{}],"pks":[]}"#,
        r#"{"op":"snapshot","hashId":"x","cursor":{},"rows":[],"pks":[]}"#,
        r#"{"op":"synced","hashId":"x","lsn":"soon"}"#,
    ];
    let (mut server, _client, mut peer, mut page, label) = live().await;
    for text in garbage {
        peer.send_text(text).await;
        peer = server.accept().await;
        assert_eq!(peer.ack().await["resume"], "1-0", "{text}");
        peer.send(resumed(&label, "1-0")).await;
        assert_eq!(kind(page.next().await), "resumed 1-0", "{text}");
    }
    peer.send_binary(b"not a frame".to_vec()).await;
    server.accept().await;
}

/// What a confirmed resume may not be: unasked for. Then nothing is known, and a page is asked for.
#[tokio::test(start_paused = true)]
async fn an_unasked_resume_is_a_misfit() {
    let (_server, client, mut peer) = FakeServer::with_client().await;
    let mut page = client.subscribe(notes()).await.unwrap();
    let label = peer.ack().await["hashId"].as_str().unwrap().to_owned();
    peer.send(resumed(&label, "1-0")).await;
    peer.page(&["1"], "1-0").await;
    assert_eq!(kind(page.next().await), "snapshot subscribe");
}

/// 1008 is final: no further try, and everyone who waits is told the server's words.
#[tokio::test(start_paused = true)]
async fn a_refusal_is_final() {
    let (mut server, client, peer, mut page, _label) = live().await;
    peer.close(1008, "token expired").await;
    assert_eq!(kind(page.next().await), "error refused");
    let fault = client.closed().await.unwrap();
    assert!(fault.message.contains("token expired"), "{fault}");
    assert!(client.subscribe(notes()).await.is_err());
    let call = client.rpc("LIST_TABLES", None, Payload::none()).await;
    assert_eq!(call.unwrap_err().code, "disconnected");
    assert!(server.is_given_up().await, "it tried again");
}

/// 1001 brings the client back soon and jittered; 1013 not before five seconds.
#[tokio::test(start_paused = true)]
async fn close_codes_decide_the_wait() {
    let (mut server, _client, peer, _page, label) = live().await;
    let before = Instant::now();
    peer.close(1001, "shutting down").await;
    let mut peer = server.accept().await;
    assert!(
        before.elapsed() <= Duration::from_secs(5),
        "{:?}",
        before.elapsed()
    );
    assert_eq!(peer.ack().await["resume"], "1-0");
    peer.send(resumed(&label, "1-0")).await;

    let before = Instant::now();
    peer.close(1013, "too slow").await;
    let mut peer = server.accept().await;
    assert!(
        before.elapsed() >= Duration::from_secs(5),
        "{:?}",
        before.elapsed()
    );
    assert_eq!(peer.ack().await["resume"], "1-0");
}

/// While the gateway is down the waits grow; when it is up again the page goes on. A refusal at the
/// handshake ends it.
#[tokio::test(start_paused = true)]
async fn handshakes_decide_too() {
    let (mut server, client, peer, mut page, label) = live().await;
    drop(peer);
    let mut waits = Vec::new();
    for _ in 0..6 {
        let before = Instant::now();
        server.answer("502 Bad Gateway").await;
        waits.push(before.elapsed());
    }
    assert!(waits[5] > waits[0] * 4, "{waits:?}");
    let state = client.connection().borrow().clone();
    assert!(
        matches!(state, ConnectionState::Reconnecting { .. }),
        "{state:?}"
    );
    let before = Instant::now();
    server.answer("503 Service Unavailable").await;
    let mut peer = server.accept().await;
    assert!(before.elapsed() >= Duration::from_secs(5));
    peer.ack().await;
    peer.send(resumed(&label, "1-0")).await;
    assert_eq!(kind(page.next().await), "resumed 1-0");
    assert_eq!(*client.connection().borrow(), ConnectionState::Connected);

    drop(peer);
    server.answer("401 Unauthorized").await;
    assert_eq!(kind(page.next().await), "error refused");
}

/// A connection that says nothing is dead; pings keep it alive.
#[tokio::test(start_paused = true)]
async fn silence_is_a_lost_connection() {
    let (mut server, _client, mut peer, _page, _label) = live().await;
    for _ in 0..4 {
        tokio::time::advance(Duration::from_secs(25)).await;
        peer.ping().await;
    }
    let before = Instant::now();
    let mut peer = server.accept().await;
    assert!(before.elapsed() >= Duration::from_secs(60));
    assert_eq!(peer.ack().await["resume"], "1-0");
}

/// What was subscribed while there was no connection is asked for when there is one; what was
/// dropped meanwhile is not.
#[tokio::test(start_paused = true)]
async fn subscriptions_wait_for_the_connection() {
    let (mut server, client, peer, page, _label) = live().await;
    let mut connection = client.connection();
    assert!(
        !connection.has_changed().unwrap(),
        "the first connection is no news"
    );
    drop(peer);
    let down = |state: &ConnectionState| matches!(state, ConnectionState::Reconnecting { .. });
    connection.wait_for(down).await.unwrap();
    drop(page);
    let other = Subscribe::new("tickets", &QuerySpec::default());
    let mut other = client.subscribe(other).await.unwrap();
    let call = client
        .rpc("LIST_TABLES", None, Payload::none())
        .await
        .unwrap_err();
    assert_eq!((call.code.as_str(), call.retry), ("disconnected", true));

    let mut peer = server.accept().await;
    let label = peer.page(&["4"], "4-0").await;
    assert_eq!(label, other.hash_id());
    assert_eq!(pks_after_ready(&mut other).await, ["4"]);
}

async fn pks_after_ready(page: &mut Subscription) -> Vec<&str> {
    page.ready().await.expect("a page comes");
    pks(page)
}

/// A question about a commit outlives the connection it was asked on.
#[tokio::test(start_paused = true)]
async fn a_sync_is_asked_again_after_a_reconnect() {
    let (mut server, _client, mut peer, mut page, label) = live().await;
    let serve = async {
        let expect = json!({"op": "sync", "hashId": label, "lsn": "9"});
        assert_eq!(peer.frame().await, expect);
        drop(peer);
        let mut peer = server.accept().await;
        peer.ack().await;
        assert_eq!(peer.frame().await, expect);
        peer.send(resumed(&label, "1-0")).await;
        peer.send(added(&label, "2", 1, "1-1")).await;
        peer.send(json!({"op": "synced", "hashId": label, "lsn": "9"}))
            .await;
        peer
    };
    let (synced, _peer) = tokio::join!(page.sync(Lsn::new(9)), serve);
    synced.unwrap();
    assert_eq!(pks(&page), ["1", "2"]);
}

/// The first connection either stands or says in words why not.
#[tokio::test(start_paused = true)]
async fn the_first_connection_is_reported() {
    let (mut server, options) = FakeServer::new();
    let (refused, ()) = tokio::join!(
        Client::connect(options.clone()),
        server.answer("403 Forbidden")
    );
    let refused = refused.err().unwrap();
    assert!(
        matches!(refused, ConnectError::Refused { status: 403, .. }),
        "{refused}"
    );
    drop(server);
    let down = Client::connect(options.clone()).await.err().unwrap();
    assert!(matches!(down, ConnectError::Unreachable { .. }), "{down}");
    for url in ["", "nonsense", "http://h", "wss://h", "ws://"] {
        let bad = Client::connect(Options {
            url: url.to_owned(),
            ..options.clone()
        });
        let bad = bad.await.err().unwrap();
        assert!(matches!(bad, ConnectError::BadOptions(_)), "{url}: {bad}");
    }
    let bad = Client::connect(Options {
        token: Some("line\nbreak".to_owned()),
        ..options
    });
    assert!(matches!(
        bad.await.err().unwrap(),
        ConnectError::BadOptions(_)
    ));
}

/// The same over a real socket: connect, follow, be cut, resume.
#[tokio::test]
async fn resumes_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut options = Options::new(&format!("ws://{address}/"));
    options.tenant = Some("demo".to_owned());
    let accept = || async {
        let (stream, _) = listener.accept().await.unwrap();
        Peer::shake(stream).await
    };
    let (client, mut peer) = tokio::join!(Client::connect(options), accept());
    let client = client.unwrap();
    let mut page = client.subscribe(notes()).await.unwrap();
    let label = peer.page(&["1"], "1-0").await;
    page.ready().await.unwrap();
    client.drop_connection().await;
    let mut peer = accept().await;
    assert_eq!(peer.ack().await["resume"], "1-0");
    peer.send(resumed(&label, "1-0")).await;
    peer.send(added(&label, "2", 1, "1-1")).await;
    assert_eq!(kind(page.next().await), "resumed 1-0");
    assert_eq!(kind(page.next().await), "diff 1-1");
    assert_eq!(pks(&page), ["1", "2"]);
}
