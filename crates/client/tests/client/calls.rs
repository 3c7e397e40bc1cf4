//! Calls, their answers, and reading one's own writes.

use serde_json::json;
use tidegate_client::{Payload, Subscribe};
use tidegate_core::{Lsn, QuerySpec};

use crate::fake_server::{FakeServer, added};
use crate::{kind, pks};

fn notes() -> Subscribe {
    Subscribe::new("notes", &QuerySpec::default())
}

/// Calls go out as they were made and each gets its own answer, in whatever order those come.
#[tokio::test(start_paused = true)]
async fn calls_get_their_own_answers() {
    let (_server, client, mut peer) = FakeServer::with_client().await;
    let exact = Payload::parse(r#" {"row":{"n":12345678901234567890.10}} "#).unwrap();
    let add = client.rpc("ADD_SINGLE", Some("notes"), exact);
    let list = client.rpc("LIST_TABLES", None, Payload::none());
    let serve = async {
        let first = peer.frame().await;
        let second = peer.frame().await;
        assert_eq!(second["method"], "LIST_TABLES");
        assert_eq!((second.get("table"), second.get("payload")), (None, None));
        assert_eq!(
            (&first["op"], &first["table"]),
            (&json!("rpc"), &json!("notes"))
        );
        peer.send(json!({"op": "rpcResult", "method": "LIST_TABLES",
            "correlationId": second["correlationId"], "ok": true, "data": []}))
            .await;
        let id = &first["correlationId"];
        peer.send_text(&format!(
            r#"{{"op":"rpcResult","method":"ADD_SINGLE","correlationId":{id},"ok":true,"data":[{{"n": 1.0}}],"lsn":"77"}}"#
        ))
        .await;
    };
    let (added, listed, ()) = tokio::join!(add, list, serve);
    let added = added.unwrap();
    assert_eq!(added.data, r#"[{"n": 1.0}]"#);
    assert_eq!(added.lsn, Some(Lsn::new(77)));
    let listed = listed.unwrap();
    assert_eq!((listed.data.as_str(), listed.lsn), ("[]", None));
    assert_eq!(listed.read::<Vec<u8>>().unwrap(), Vec::<u8>::new());
}

/// No number of a payload goes through a double.
#[tokio::test(start_paused = true)]
async fn payloads_go_out_as_written() {
    let text = r#"{"row":{"n":12345678901234567890.10}}"#;
    assert_eq!(Payload::parse(text).unwrap().as_str(), Some(text));
    assert!(Payload::parse("{").is_err());
    assert_eq!(Payload::from(json!({"a": 1})).as_str(), Some(r#"{"a":1}"#));
}

/// Both forms of a failure arrive as code, sentence and whether to retry.
#[tokio::test(start_paused = true)]
async fn failures_have_codes() {
    let (_server, client, mut peer) = FakeServer::with_client().await;
    for (op, retry) in [("rpcResult", false), ("error", true)] {
        let serve = async {
            let id = peer.frame().await["correlationId"].clone();
            peer.send(
                json!({"op": op, "method": "GET_DATA", "correlationId": id, "ok": false,
                "error": "no such table", "message": "no such table", "code": "unknown_table",
                "retry": retry}),
            )
            .await;
        };
        let (failed, ()) = tokio::join!(client.rpc("GET_DATA", Some("x"), Payload::none()), serve);
        let fault = failed.unwrap_err();
        assert_eq!((fault.code.as_str(), fault.retry), ("unknown_table", retry));
        assert_eq!(fault.message, "no such table");
    }
}

/// A call whose connection ends is answered: nobody knows whether it was carried out.
#[tokio::test(start_paused = true)]
async fn a_lost_connection_answers_calls() {
    let (mut server, client, mut peer) = FakeServer::with_client().await;
    let serve = async {
        peer.frame().await;
        drop(peer);
        server.accept().await
    };
    let call = client.rpc("DELETE_ROW", Some("notes"), json!({"primaryId": "1"}));
    let (lost, _peer) = tokio::join!(call, serve);
    let fault = lost.unwrap_err();
    assert_eq!(
        (fault.code.as_str(), fault.retry),
        ("connection_lost", false)
    );
}

/// A call that is never answered ends all the same.
#[tokio::test(start_paused = true)]
async fn an_unanswered_call_times_out() {
    let (_server, client, _peer) = FakeServer::with_client().await;
    let call = client.rpc("GET_DATA", Some("notes"), Payload::none()).await;
    assert_eq!(call.unwrap_err().code, "rpc_timeout");
}

/// After a sync the page holds the commit, even when the question came before the page did; the
/// updates on the way are not lost to who wants to see them.
#[tokio::test(start_paused = true)]
async fn a_sync_reads_up_to_the_commit() {
    let (_server, client, mut peer) = FakeServer::with_client().await;
    let mut page = client.subscribe(notes()).await.unwrap();
    let serve = async {
        let label = peer.page(&["1"], "1-0").await;
        let expect = json!({"op": "sync", "hashId": label, "lsn": "6"});
        assert_eq!(peer.frame().await, expect);
        peer.send(added(&label, "2", 1, "1-1")).await;
        peer.send(json!({"op": "synced", "hashId": label, "lsn": "6"}))
            .await;
        peer.send(added(&label, "3", 2, "1-2")).await;
        label
    };
    let (synced, label) = tokio::join!(page.sync(Lsn::new(6)), serve);
    synced.unwrap();
    assert_eq!(pks(&page), ["1", "2"], "up to the commit and no further");

    let serve = async {
        peer.frame().await;
        peer.send(added(&label, "4", 3, "1-3")).await;
        peer.send(json!({"op": "synced", "hashId": label, "lsn": "8"}))
            .await;
    };
    let (point, ()) = tokio::join!(page.sync_point(Lsn::new(8)), serve);
    let point = point.unwrap();
    let mut seen = Vec::new();
    while !page.has_passed(point) {
        seen.push(kind(page.next().await));
    }
    assert_eq!(seen, ["diff 1-2", "diff 1-3"]);
}

/// A sync that fails does not end the subscription, and the ones asked after it still count.
#[tokio::test(start_paused = true)]
async fn a_failed_sync_is_only_that() {
    let (_server, client, mut peer) = FakeServer::with_client().await;
    let mut page = client.subscribe(notes()).await.unwrap();
    let label = peer.page(&["1"], "1-0").await;
    page.ready().await.unwrap();
    let serve = async {
        peer.frame().await;
        peer.frame().await;
        peer.send(
            json!({"op": "error", "hashId": label, "code": "sync_timeout",
            "message": "not in time", "retry": true}),
        )
        .await;
        peer.send(added(&label, "2", 1, "1-1")).await;
        peer.send(json!({"op": "synced", "hashId": label, "lsn": "8"}))
            .await;
    };
    let (first, second, ()) = tokio::join!(
        page.sync_point(Lsn::new(9)),
        page.sync_point(Lsn::new(8)),
        serve
    );
    assert_eq!(first.unwrap_err().code, "sync_timeout");
    second.unwrap();
    assert_eq!(kind(page.next().await), "diff 1-1");
}
