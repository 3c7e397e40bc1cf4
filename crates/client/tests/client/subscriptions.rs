//! Subscriptions on one connection: pages, diffs, labels, slow readers, servers that make no sense.

use bytes::Bytes;
use serde_json::json;
use tidegate_client::{Format, Payload, QueryBuilder, Slow, Subscribe, Update};
use tidegate_core::{Literal, Lsn, Operator, QuerySpec, Sort};
use tidegate_protocol::{DiffContent, DiffKind, HashId, binary_diff};

use crate::fake_server::{FakeServer, added, row, snapshot};
use crate::{kind, pks, position};

fn notes() -> Subscribe {
    Subscribe::new("notes", &QuerySpec::default())
}

/// The subscribe frame holds what was asked for, and nothing that is the server's default.
#[tokio::test(start_paused = true)]
async fn asks_for_what_was_asked() {
    let (_server, client, mut peer) = FakeServer::with_client().await;
    let query = QueryBuilder::table("tickets")
        .filter("status", Operator::Equals, Literal::Text("open".into()))
        .order("created_at", Sort::DescDefault)
        .limit(20);
    let _plain = client.subscribe(query.clone()).await.unwrap();
    let frame = peer.frame().await;
    assert_eq!(frame["op"], "subscribe");
    assert_eq!(frame["table"], "tickets");
    let filter = &frame["query"]["wrapper"]["filters"][0];
    assert_eq!(filter["field_name"], "status");
    assert_eq!(filter["value"], json!({"StringValue": {"value": "open"}}));
    let order = json!([{"field": "created_at", "sort": "DESC_DEFAULT"}]);
    assert_eq!(frame["query"]["order"], order);
    assert_eq!(frame["query"]["limit"], 20);
    for absent in ["resume", "format", "slow"] {
        assert_eq!(frame.get(absent), None, "{absent}");
    }

    let full = Subscribe::from(query)
        .format(Format::Binary)
        .slow(Slow::Close);
    let _full = client.subscribe(full).await.unwrap();
    let frame = peer.frame().await;
    assert_eq!(frame["format"], "binary");
    assert_eq!(frame["slow"], "close");
}

/// A page comes, then diffs; at each update the page is what the server meant, byte for byte.
#[tokio::test(start_paused = true)]
async fn follows_a_page() {
    let (_server, client, mut peer) = FakeServer::with_client().await;
    let mut page = client.subscribe(notes()).await.unwrap();
    assert_eq!(position(&page), None);
    let label = peer.ack().await["hashId"].as_str().unwrap().to_owned();
    assert_eq!(label, page.hash_id());
    let text = format!(
        r#"{{"op":"snapshot","hashId":"{label}","cursor":{{"lsn":"18446744073709551615","position":"9-0"}},
        "rows":[{{"id":"1", "n":1.0}}],"pks":["1"],"reason":"subscribe"}}"#
    );
    peer.send_text(&text).await;
    peer.send(
        json!({"op": "diff", "hashId": label, "cursor": {"lsn": "7", "position": "9-1"},
        "changes": [{"kind": "removed", "pk": "1", "from": 0},
            {"kind": "added", "pk": "[1,\"a\"]", "pos": 0, "row": {"b": [1]}}]}),
    )
    .await;

    assert_eq!(kind(page.next().await), "snapshot subscribe");
    assert_eq!(page.rows().collect::<Vec<_>>(), [r#"{"id":"1", "n":1.0}"#]);
    assert_eq!(page.page().lsn(), Some(Lsn::new(u64::MAX)));
    assert_eq!(position(&page), Some("9-0"));
    assert_eq!(kind(page.next().await), "diff 9-1");
    assert_eq!(page.rows().collect::<Vec<_>>(), [r#"{"b":[1]}"#]);
    assert_eq!(pks(&page), ["[1,\"a\"]"]);
    assert!(page.try_next().is_none());
}

/// A binary subscription follows the same way, and the two formats may mix on one connection.
#[tokio::test(start_paused = true)]
async fn follows_in_binary() {
    let (_server, client, mut peer) = FakeServer::with_client().await;
    let mut page = client
        .subscribe(notes().format(Format::Binary))
        .await
        .unwrap();
    let label = peer.page(&["1"], "1-0").await;
    let changes = r#"[{"kind":"removed","pk":"1","from":0},{"kind":"added","pk":"2","pos":0,"row":{"n": 1}}]"#;
    let diff = DiffContent {
        lsn: Lsn::new(9),
        committed_at_micros: 0,
        position: "1-1".parse().unwrap(),
        kind: DiffKind::Changes,
        body: Bytes::from_static(changes.as_bytes()),
    };
    let frame = binary_diff(&HashId::parse(&label).unwrap(), &diff).unwrap();
    peer.send_binary(frame.to_vec()).await;
    peer.send(added(&label, "3", 1, "1-2")).await;
    assert_eq!(kind(page.next().await), "snapshot subscribe");
    assert_eq!(kind(page.next().await), "diff 1-1");
    assert_eq!(page.rows().collect::<Vec<_>>(), [r#"{"n": 1}"#]);
    assert_eq!(page.page().lsn(), Some(Lsn::new(9)));
    assert_eq!(kind(page.next().await), "diff 1-2");
    assert_eq!(pks(&page), ["2", "3"]);
}

/// Frames this client has no use for are passed over, and the connection stays.
#[tokio::test(start_paused = true)]
async fn passes_over_what_it_does_not_know() {
    let (_server, client, mut peer) = FakeServer::with_client().await;
    peer.send(json!({"type": "welcome", "data": {"connectionId": "x"}, "timestamp": 1}))
        .await;
    peer.send(json!({"op": "rangeIndex", "hashId": "q", "pks": 7, "rows": "none"}))
        .await;
    peer.send(json!({"op": "error", "code": "bad_op", "message": "?", "retry": false}))
        .await;
    peer.send(json!({"op": "ack", "hashId": "nobody"})).await;
    peer.send(snapshot("nobody", &["1"], "1-0", "subscribe"))
        .await;
    peer.send(added("nobody", "2", 7, "1-1")).await;
    peer.ping().await;
    let mut page = client.subscribe(notes()).await.unwrap();
    peer.page(&["1"], "1-0").await;
    page.ready().await.unwrap();
    assert_eq!(pks(&page), ["1"]);
}

/// Two subscriptions to one query get labels of their own, so neither replaces the other; dropping
/// one ends that one alone, and its label is free again.
#[tokio::test(start_paused = true)]
async fn labels_are_unique_and_freed() {
    let (_server, client, mut peer) = FakeServer::with_client().await;
    let first = client.subscribe(notes()).await.unwrap();
    let mut second = client.subscribe(notes()).await.unwrap();
    let first_label = peer.page(&["1"], "1-0").await;
    let second_label = peer.page(&["1"], "1-0").await;
    assert_ne!(first_label, second_label);

    drop(first);
    let gone = peer.frame().await;
    let expect = json!({"op": "unsubscribe", "table": "notes", "hashId": first_label});
    assert_eq!(gone, expect);
    peer.send(added(&first_label, "2", 1, "1-1")).await;
    peer.send(added(&second_label, "2", 1, "1-1")).await;
    assert_eq!(kind(second.next().await), "snapshot subscribe");
    assert_eq!(kind(second.next().await), "diff 1-1");

    let _third = client.subscribe(notes()).await.unwrap();
    assert_eq!(peer.frame().await["hashId"], first_label.as_str());
}

/// A diff that does not fit is never shown: the page is asked for anew, without the position, and
/// what is still on its way from before is passed over.
#[tokio::test(start_paused = true)]
async fn a_misfit_is_answered_by_a_new_page() {
    let (_server, client, mut peer) = FakeServer::with_client().await;
    let mut page = client.subscribe(notes()).await.unwrap();
    let label = peer.page(&["1"], "1-0").await;
    peer.send(added(&label, "2", 5, "1-1")).await;
    peer.send(added(&label, "3", 1, "1-2")).await;
    let again = peer.ack().await;
    assert_eq!(again["hashId"], label.as_str());
    assert_eq!(again.get("resume"), None);
    peer.send(snapshot(&label, &["1", "2", "3"], "1-2", "subscribe"))
        .await;
    peer.send(added(&label, "4", 3, "1-3")).await;

    assert_eq!(kind(page.next().await), "snapshot subscribe");
    assert_eq!(pks(&page), ["1"], "the reader never sees the misfit");
    assert_eq!(kind(page.next().await), "snapshot subscribe");
    assert_eq!(pks(&page), ["1", "2", "3"]);
    assert_eq!(kind(page.next().await), "diff 1-3");
    assert_eq!(position(&page), Some("1-3"));
}

/// A server whose diffs never fit is given up after a few pages, in words.
#[tokio::test(start_paused = true)]
async fn endless_misfits_end_the_subscription() {
    let (_server, client, mut peer) = FakeServer::with_client().await;
    let mut page = client.subscribe(notes()).await.unwrap();
    for _ in 0..5 {
        let label = peer.page(&["1"], "1-0").await;
        peer.send(added(&label, "1", 0, "1-1")).await;
        assert_eq!(kind(page.next().await), "snapshot subscribe");
    }
    assert_eq!(kind(page.next().await), "error bad_page");
    assert_eq!(kind(page.next().await), "end");
    assert_eq!(page.sync(Lsn::new(1)).await.unwrap_err().code, "bad_page");
}

/// An error with the label ends the subscription; its sentence reaches the reader.
#[tokio::test(start_paused = true)]
async fn a_refusal_reaches_the_reader() {
    let (_server, client, mut peer) = FakeServer::with_client().await;
    let mut page = client.subscribe(notes()).await.unwrap();
    let label = peer.frame().await["hashId"].clone();
    let message = "the tenant has no table notes";
    peer.send(
        json!({"op": "error", "hashId": label, "code": "unknown_table",
        "message": message, "retry": false}),
    )
    .await;
    let fault = page.ready().await.unwrap_err();
    assert_eq!(
        (fault.code.as_str(), fault.message.as_str()),
        ("unknown_table", message)
    );
    assert_eq!(kind(page.next().await), "end");
}

/// "Later" is not the reader's trouble: the client asks again, and only a server that always says
/// "later" is heard.
#[tokio::test(start_paused = true)]
async fn later_means_asking_again() {
    let (_server, client, mut peer) = FakeServer::with_client().await;
    let mut page = client.subscribe(notes()).await.unwrap();
    let later = |label: &str| {
        json!({"op": "error", "hashId": label, "code": "overloaded",
            "message": "too much", "retry": true})
    };
    let first = peer.frame().await["hashId"].as_str().unwrap().to_owned();
    peer.send(later(&first)).await;
    let before = tokio::time::Instant::now();
    peer.page(&["1"], "1-0").await;
    assert!(before.elapsed().as_millis() >= 100, "it did not wait");
    assert_eq!(kind(page.next().await), "snapshot subscribe");

    peer.send(later(&first)).await;
    for _ in 0..9 {
        assert_eq!(peer.frame().await["resume"], "1-0");
        peer.send(later(&first)).await;
    }
    assert_eq!(peer.frame().await["resume"], "1-0");
    peer.send(later(&first)).await;
    assert_eq!(kind(page.next().await), "error overloaded");
}

/// A reader that does not read blocks nobody: its updates become one page, and others go on.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_one_page() {
    let (server, mut options) = FakeServer::new();
    options.updates_max = 4;
    let (_server, client, mut peer) = FakeServer::connect(server, options).await;
    let mut slow = client.subscribe(notes()).await.unwrap();
    let slow_label = peer.page(&[], "1-0").await;
    for at in 0..100 {
        let frame = added(&slow_label, &at.to_string(), at, &format!("1-{}", at + 1));
        peer.send(frame).await;
    }
    let mut quick = client.subscribe(notes()).await.unwrap();
    peer.page(&["9"], "2-0").await;
    quick.ready().await.unwrap();

    assert_eq!(kind(slow.next().await), "snapshot reader");
    while position(&slow) != Some("1-100") {
        assert!(kind(slow.next().await).starts_with("diff "));
    }
    assert_eq!(slow.page().rows().len(), 100);
    let expect: Vec<String> = (0..100)
        .map(|at| row(&at.to_string()).to_string())
        .collect();
    assert_eq!(slow.rows().collect::<Vec<_>>(), expect);
}

/// A query that no server would take is refused before it can end the connection.
#[tokio::test(start_paused = true)]
async fn refuses_a_query_beyond_the_frame_limit() {
    let (_server, client, _peer) = FakeServer::with_client().await;
    let long = format!("\"{}\"", "x".repeat(1 << 20));
    let mut page = client
        .subscribe(Subscribe::from_json("notes", &long).unwrap())
        .await
        .unwrap();
    assert_eq!(kind(page.next().await), "error bad_frame");
    let call = client
        .rpc("ADD_SINGLE", None, Payload::parse(&long).unwrap())
        .await;
    assert_eq!(call.unwrap_err().code, "bad_frame");
}

/// Closing ends the subscriptions without an error, and says goodbye to the server.
#[tokio::test(start_paused = true)]
async fn closing_ends_everything() {
    let (_server, client, mut peer) = FakeServer::with_client().await;
    let mut page = client.subscribe(notes()).await.unwrap();
    peer.page(&["1"], "1-0").await;
    assert_eq!(kind(page.next().await), "snapshot subscribe");
    let ((), left) = tokio::join!(client.close(), peer.is_left());
    assert!(left);
    assert_eq!(kind(page.next().await), "end");
    assert!(client.subscribe(notes()).await.is_err());
    assert_eq!(client.closed().await, None);
    assert!(!matches!(page.try_next(), Some(Update::Error(_))));
}

/// The last handle takes the connection with it.
#[tokio::test(start_paused = true)]
async fn dropping_everything_ends_the_connection() {
    let (_server, client, mut peer) = FakeServer::with_client().await;
    let page = client.subscribe(notes()).await.unwrap();
    peer.page(&["1"], "1-0").await;
    drop(client);
    peer.send(added(page.hash_id(), "2", 1, "1-1")).await;
    drop(page);
    assert!(peer.is_left().await);
}
