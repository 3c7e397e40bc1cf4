//! That frames have the shape that recorded clients know, and that every text in them is JSON.

use serde_json::{Value, json};
use tidegate_core::{Epoch, Offset};

use super::*;
use crate::client_frame::ClientFrame;
use crate::golden::transcript;
use crate::page_record::{DiffKind, PageCause, PageOrigin};

fn label(text: &str) -> HashId {
    HashId::parse(text).unwrap()
}

fn place(epoch: u64, offset: u64) -> Position {
    Position {
        epoch: Epoch::from_raw(epoch),
        offset: Offset::new(offset),
    }
}

fn page(cursor: &'static str, lsn: u64) -> PageContent {
    PageContent {
        position: place(8, 0),
        lsn: Lsn::new(lsn),
        committed_at_micros: 0,
        cause: PageCause::Opened,
        origin: PageOrigin::Kept,
        cursor: Bytes::from_static(cursor.as_bytes()),
        rows: Bytes::from_static(b"[{\"id\":\"n02\"}]"),
        pks: Bytes::from_static(b"[\"n02\"]"),
    }
}

fn correlation(json: &str) -> CorrelationId {
    let text = format!(r#"{{"op":"rpc","method":"X","correlationId":{json}}}"#);
    match ClientFrame::parse(&text) {
        Ok(ClientFrame::Rpc(call)) => call.correlation_id.unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Frames of the pages, byte for byte.
#[test]
fn page_frames() {
    let q1 = label("q1");
    assert_eq!(ack(&q1), r#"{"op":"ack","hashId":"q1"}"#);
    assert_eq!(
        snapshot(&q1, &page("\"id\":\"n02\"", 5), SnapshotReason::Subscribe),
        concat!(
            r#"{"op":"snapshot","hashId":"q1","version":5,"cursor":{"id":"n02","lsn":"5","position":"8-0"},"#,
            r#""rows":[{"id":"n02"}],"pks":["n02"],"reason":"subscribe"}"#
        )
    );
    assert_eq!(
        resumed(&q1, Lsn::new(5), place(8, 2)),
        r#"{"op":"resumed","hashId":"q1","cursor":{"lsn":"5","position":"8-2"}}"#
    );
    let content = DiffContent {
        position: place(8, 3),
        lsn: Lsn::new(6),
        committed_at_micros: 0,
        kind: DiffKind::Changes,
        body: Bytes::from_static(b"[]"),
    };
    assert_eq!(
        diff(&label("a\"b"), &content),
        r#"{"op":"diff","hashId":"a\"b","version":6,"cursor":{"lsn":"6","position":"8-3"},"changes":[]}"#
    );
    assert_eq!(
        synced(&q1, Lsn::new(6)),
        r#"{"op":"synced","hashId":"q1","lsn":"6"}"#
    );
}

/// `version` is exact or absent.
#[test]
fn version_is_exact() {
    let version = |lsn| {
        let frame = snapshot(&label("q"), &page("", lsn), SnapshotReason::Epoch);
        let frame: Value = serde_json::from_slice(&frame).unwrap();
        frame.get("version").and_then(Value::as_u64)
    };
    assert_eq!(version(1 << 53), Some(1 << 53));
    assert_eq!(version((1 << 53) + 1), None);
}

/// An error names what it answers.
#[test]
fn errors_name_their_subject() {
    let q1 = label("q1");
    assert_eq!(
        error(ErrorCode::BadOp, "unknown message", ErrorSubject::Session),
        r#"{"op":"error","code":"bad_op","message":"unknown message","retry":false}"#
    );
    assert_eq!(
        error(
            ErrorCode::SyncTimeout,
            "late",
            ErrorSubject::Subscription(&q1)
        ),
        r#"{"op":"error","code":"sync_timeout","message":"late","retry":true,"hashId":"q1"}"#
    );
    assert_eq!(
        error(
            ErrorCode::BadOp,
            "no \"method\"",
            ErrorSubject::Call(&correlation("\"c\\u0031\""))
        ),
        r#"{"op":"error","code":"bad_op","message":"no \"method\"","retry":false,"correlationId":"c\u0031"}"#
    );
}

/// Results of calls, with the label given back as it came.
#[test]
fn results() {
    let c1 = correlation("\"c\\u0031\"");
    assert_eq!(
        rpc_result("DELETE_ROW", Some(&c1), b"true", Some(Lsn::new(7))),
        r#"{"op":"rpcResult","method":"DELETE_ROW","correlationId":"c\u0031","ok":true,"data":true,"lsn":"7"}"#
    );
    assert_eq!(
        rpc_result("GET_DATA", None, b"[]", None),
        r#"{"op":"rpcResult","method":"GET_DATA","ok":true,"data":[]}"#
    );
    let late = WireError::new(ErrorCode::Timeout, "rpc timeout");
    assert_eq!(
        rpc_error("GET_DATA", Some(&c1), &late),
        r#"{"op":"rpcResult","method":"GET_DATA","correlationId":"c\u0031","ok":false,"error":"rpc timeout","code":"timeout","retry":true}"#
    );
}

/// Every frame of the typed channel that a recorded client got is made again, byte for byte.
#[test]
fn typed_frames_are_as_recorded() {
    let mut made = 0;
    for event in transcript("connect") {
        let Some(text) = event["text"].as_str().filter(|_| event["dir"] == "in") else {
            continue;
        };
        let frame: Value = serde_json::from_str(text).unwrap();
        let (data, now) = (&frame["data"], frame["timestamp"].as_i64());
        let field = |name: &str| data[name].as_str().unwrap().to_owned();
        let number = |name: &str| usize::try_from(data[name].as_u64().unwrap()).unwrap();
        let raw = |value: Option<&Value>| value.map(ToString::to_string);
        let again = match (frame["type"].as_str(), now) {
            (Some("welcome"), Some(now)) => {
                typed::welcome(&field("connectionId"), number("connectedClients"), now)
            }
            (Some("user_joined"), Some(now)) => {
                typed::user_joined(&field("userId"), &field("connectionId"), now)
            }
            (Some("user_left"), Some(now)) => {
                typed::user_left(&field("userId"), &field("connectionId"), now)
            }
            (Some("pong"), Some(now)) => typed::pong(now),
            (Some("echo_response"), Some(now)) => {
                typed::echo_response(raw(frame.get("data")).as_deref(), now)
            }
            (Some("broadcast_message"), Some(now)) => {
                let message = raw(data.get("message"));
                typed::broadcast_message(&field("from"), message.as_deref(), now)
            }
            (Some("status"), Some(now)) => {
                let uptime = data["uptime"].as_f64().unwrap();
                typed::status(number("connectedClients"), number("sessions"), uptime, now)
            }
            (Some("error"), Some(now)) => typed::error(&field("message"), now),
            (None, None) if frame["op"] == "pong" => pong(),
            (None, None) if frame["op"] == "error" => continue,
            other => panic!("{other:?}: {text}"),
        };
        assert_eq!(again, text);
        made += 1;
    }
    assert!(made > 20, "only {made}");
}

/// Recorded fields of `ack` and `snapshot` are all there, under their names and of their kinds.
#[test]
fn page_frames_have_the_recorded_fields() {
    let mut compared = 0;
    for event in transcript("subscribe_json") {
        let Some(text) = event["text"].as_str().filter(|_| event["dir"] == "in") else {
            continue;
        };
        let recorded: Value = serde_json::from_str(text).unwrap();
        let ours = match recorded["op"].as_str() {
            Some("ack") => ack(&label("q1")),
            Some("snapshot") => snapshot(
                &label("q1"),
                &page("\"id\":\"n02\"", 5),
                SnapshotReason::Subscribe,
            ),
            _ => continue,
        };
        let ours: Value = serde_json::from_slice(&ours).unwrap();
        for (name, value) in recorded.as_object().unwrap() {
            let kind = |value: &Value| std::mem::discriminant(value);
            assert_eq!(kind(&ours[name]), kind(value), "{name}");
        }
        for name in recorded["cursor"].as_object().into_iter().flatten() {
            assert!(ours["cursor"][name.0].is_string(), "{}", name.0);
        }
        compared += 1;
    }
    assert_eq!(compared, 4);
}

/// Names that a client chose cannot break out of their place.
#[test]
fn texts_are_escaped() {
    let nasty = "\",\"op\":\"x\u{0}";
    let frame: Value = serde_json::from_slice(&typed::user_joined(nasty, nasty, 1)).unwrap();
    assert_eq!(
        frame["data"],
        json!({"userId": nasty, "connectionId": nasty})
    );
    let frame: Value = serde_json::from_slice(&ack(&label(nasty))).unwrap();
    assert_eq!(frame, json!({"op": "ack", "hashId": nasty}));
}
