//! That recorded frames are read, that odd ones are answered as they always were, and that no text
//! makes the reader panic.

use std::sync::LazyLock;

use proptest::prelude::{any, prop_assert, proptest};
use serde_json::Value;

use super::*;
use crate::arbitrary::{spoil, spoilt};
use crate::golden::{sent, transcript};

fn refused(text: &str) -> FrameError {
    ClientFrame::parse(text).expect_err(text)
}

fn subscribe_of(text: &str) -> Subscribe {
    match ClientFrame::parse(text) {
        Ok(ClientFrame::Subscribe(subscribe)) => *subscribe,
        other => panic!("{text}: {other:?}"),
    }
}

fn call_of(text: &str) -> RpcCall {
    match ClientFrame::parse(text) {
        Ok(ClientFrame::Rpc(call)) => *call,
        other => panic!("{text}: {other:?}"),
    }
}

/// How a frame is answered: the reply's `type`, or its `op` and code.
fn our_answer(text: &str) -> String {
    match ClientFrame::parse(text) {
        Ok(ClientFrame::Ping) => "op pong",
        Ok(ClientFrame::Typed(TypedFrame::Ping)) => "type pong",
        Ok(ClientFrame::Typed(TypedFrame::Echo(_))) => "type echo_response",
        Ok(ClientFrame::Typed(TypedFrame::Broadcast(_))) => "type broadcast_message",
        Ok(ClientFrame::Typed(TypedFrame::GetStatus)) => "type status",
        Ok(ClientFrame::Subscribe(_)) => "op ack",
        Ok(ClientFrame::Rpc(_)) => "op rpcResult",
        Ok(ClientFrame::Unsubscribe { .. } | ClientFrame::Sync { .. }) => "nothing",
        Err(error) if error.reply == ErrorReply::Typed => "type error",
        Err(error) => return format!("op error {}", error.error.code),
    }
    .to_owned()
}

fn recorded_answer(event: &Value) -> String {
    let reply: Value = serde_json::from_str(event["text"].as_str().unwrap()).unwrap();
    match (reply["type"].as_str(), reply["op"].as_str()) {
        (Some(kind), _) => format!("type {kind}"),
        (None, Some("error")) => format!("op error {}", reply["code"].as_str().unwrap()),
        (None, op) => format!("op {}", op.unwrap()),
    }
}

/// Every odd frame of the recording gets the kind of answer that it got then.
#[test]
fn odd_frames_are_answered_as_ever() {
    let events = transcript("connect");
    let mut compared = 0;
    for (at, event) in events.iter().enumerate() {
        let Some(text) = event["text"].as_str().filter(|_| event["dir"] == "out") else {
            continue;
        };
        // The one thing that was refused and now is a query: an object where a text was wanted.
        if text.contains(r#""queryJson": {}"#) {
            assert_eq!(our_answer(text), "op ack");
            continue;
        }
        let mine = |later: &&Value| later["dir"] == "in" && later["client"] == event["client"];
        let reply = events[at..].iter().find(mine).unwrap();
        assert_eq!(our_answer(text), recorded_answer(reply), "{text}");
        compared += 1;
    }
    assert!(compared > 30, "only {compared}");
}

/// The frame that ended the recorded server's process is a bad frame like others.
#[test]
fn null_is_a_bad_frame() {
    let events = transcript("null_frame");
    let text = sent(&events).next().unwrap();
    assert_eq!(text, "null");
    assert_eq!(refused(text).error.code, ErrorCode::BadOp);
    assert_eq!(refused(text).reply, ErrorReply::Session);
}

/// Every frame that recorded clients subscribed, called and left with is read.
#[test]
fn recorded_frames_are_read() {
    let mut read = 0;
    for name in [
        "subscribe_json",
        "subscribe_fb",
        "rpc",
        "rpc_delete",
        "worker_down",
    ] {
        for text in sent(&transcript(name)) {
            let frame = ClientFrame::parse(text);
            if text.contains(r#""qjunk""#) {
                assert_eq!(frame.unwrap_err().error.code, ErrorCode::BadQuery);
                continue;
            }
            assert!(frame.is_ok(), "{name}: {text}: {frame:?}");
            read += 1;
        }
    }
    assert!(read > 60, "only {read}");
}

/// All three forms of a query are the same query; of two, the JSON counts.
#[test]
fn query_forms() {
    let spec = QuerySpec {
        limit: Some(2),
        ..QuerySpec::default()
    };
    let bytes = crate::query_flatbuffer::encode_query(&spec, "q1").unwrap();
    let base64 = STANDARD.encode(bytes);
    for form in [
        r#""queryJson":"{\"limit\":2}""#.to_owned(),
        r#""queryJson":{"limit":2}"#.to_owned(),
        r#""query":{"limit":2}"#.to_owned(),
        format!(r#""queryFbB64":"{base64}""#),
        r#""queryJson":"{\"limit\":2}","queryFbB64":"!""#.to_owned(),
    ] {
        let text = format!(r#"{{"op":"subscribe","table":"notes","hashId":"q1",{form}}}"#);
        let subscribe = subscribe_of(&text);
        assert_eq!(subscribe.query, spec, "{text}");
        assert_eq!(
            (subscribe.format, subscribe.slow),
            (Format::Json, SlowPolicy::Reset)
        );
        assert_eq!(
            (subscribe.resume, subscribe.resume_from_version),
            (None, None)
        );
    }
}

/// The options of a subscribe are read exactly; an unknown word is an error that lists the known
/// ones.
#[test]
fn subscribe_options() {
    let frame = |rest: &str| {
        format!(r#"{{"op":"subscribe","table":"notes","hashId":"q1","query":{{}},{rest}}}"#)
    };
    let text = frame(
        r#""resume":"8589934592-7","resumeFromVersion":9007199254740993,"format":"binary","slow":"close""#,
    );
    let subscribe = subscribe_of(&text);
    assert_eq!(subscribe.resume, "8589934592-7".parse().ok());
    assert_eq!(
        subscribe.resume_from_version,
        Some(Lsn::new(9_007_199_254_740_993))
    );
    assert_eq!(
        (subscribe.format, subscribe.slow),
        (Format::Binary, SlowPolicy::Close)
    );
    for (rest, code) in [
        (r#""resume":"7""#, ErrorCode::BadPosition),
        (r#""resume":7"#, ErrorCode::BadPosition),
        (r#""format":"xml""#, ErrorCode::BadOp),
        (r#""slow":true"#, ErrorCode::BadOp),
        (r#""resumeFromVersion":1e3"#, ErrorCode::BadOp),
    ] {
        let error = refused(&frame(rest));
        assert_eq!(error.error.code, code, "{rest}");
        assert_eq!(
            error.reply,
            ErrorReply::Subscription(HashId::parse("q1").unwrap())
        );
    }
    assert!(
        refused(&frame(r#""format":"xml""#))
            .error
            .message
            .contains("\"binary\"")
    );
}

/// A refusal names the subscription it ends, and the query's own code.
#[test]
fn refused_queries() {
    for (query, code) in [
        (r#""queryJson":"{not json""#, ErrorCode::BadQuery),
        (r#""queryFbB64":"***""#, ErrorCode::BadQuery),
        (r#""queryFbB64":"AAAA""#, ErrorCode::BadQuery),
        (r#""query":{"limit":-1}"#, ErrorCode::BadLimit),
        (
            r#""query":{"order":[{"field":"n","sort":"RANDOM"}]}"#,
            ErrorCode::BadOrder,
        ),
    ] {
        let text = format!(r#"{{"op":"subscribe","table":"notes","hashId":"q1",{query}}}"#);
        let error = refused(&text);
        assert_eq!(error.error.code, code, "{query}");
        assert_eq!(
            error.reply,
            ErrorReply::Subscription(HashId::parse("q1").unwrap())
        );
    }
    let text = r#"{"op":"subscribe","table":"a\nb","hashId":"q1","query":{}}"#;
    assert_eq!(refused(text).error.code, ErrorCode::UnknownTable);
}

/// `sync` takes both text forms of an LSN, and a number.
#[test]
fn sync_frames() {
    for (lsn, value) in [
        ("\"97500059720\"", 97_500_059_720),
        ("\"16/B374D848\"", 97_500_059_720),
        ("5", 5),
    ] {
        let text = format!(r#"{{"op":"sync","hashId":"q1","lsn":{lsn}}}"#);
        let expected = ClientFrame::Sync {
            hash_id: HashId::parse("q1").unwrap(),
            lsn: Lsn::new(value),
        };
        assert_eq!(ClientFrame::parse(&text), Ok(expected));
    }
    for lsn in ["\"x\"", "-1", "null", "{}"] {
        let error = refused(&format!(r#"{{"op":"sync","hashId":"q1","lsn":{lsn}}}"#));
        assert_eq!(error.error.code, ErrorCode::BadLsn);
        assert_eq!(
            error.reply,
            ErrorReply::Subscription(HashId::parse("q1").unwrap())
        );
    }
}

/// A call keeps its label as it was written; a call that cannot be read still has one to answer to.
#[test]
fn calls() {
    let call = call_of(
        r#"{"op":"rpc","method":"TABLE_EXISTS","table":"notes","companyId":"demo","correlationId":"é\u00e9\n"}"#,
    );
    assert_eq!(call.correlation_id.unwrap().json(), r#""é\u00e9\n""#);
    assert_eq!(call.company_id.as_deref(), Some("demo"));
    assert_eq!(
        call.command,
        Ok(Command::TableExists(TableName::parse("notes").unwrap()))
    );

    let call = call_of(r#"{"op":"rpc","method":"get_data","table":"notes"}"#);
    let error = call.command.unwrap_err();
    assert_eq!(
        (call.method.as_str(), call.correlation_id),
        ("get_data", None)
    );
    assert_eq!(error.code, ErrorCode::BadCommand);
    assert_eq!(error.message, "Unknown RPC method: get_data");

    let error = refused(r#"{"op":"rpc","correlationId":"c1"}"#);
    assert_eq!(error.error.code, ErrorCode::BadOp);
    assert!(matches!(error.reply, ErrorReply::Call(id) if id.json() == "\"c1\""));
}

/// Echoed data is what was sent, byte for byte; absent data is not null.
#[test]
fn typed_data_is_raw() {
    let echo = |data: Option<&str>| Ok(ClientFrame::Typed(TypedFrame::Echo(data.map(Into::into))));
    let parse = ClientFrame::parse;
    assert_eq!(
        parse(r#"{"type":"echo","data":12345678901234567890}"#),
        echo(Some("12345678901234567890"))
    );
    assert_eq!(
        parse(r#"{"type":"echo","data": null }"#),
        echo(Some("null"))
    );
    assert_eq!(parse(r#"{"type":"echo"}"#), echo(None));
}

/// Labels are bounded, and a frame says each thing once.
#[test]
fn bounds() {
    let long = "x".repeat(257);
    let error = refused(&format!(
        r#"{{"op":"unsubscribe","table":"t","hashId":"{long}"}}"#
    ));
    assert_eq!(error.error.code, ErrorCode::BadOp);
    let error = refused(&format!(
        r#"{{"op":"rpc","method":"GET_DATA","correlationId":"{long}"}}"#
    ));
    assert_eq!(error.reply, ErrorReply::Session);
    assert_eq!(
        refused(&format!(r#"{{"op":"rpc","method":"{long}"}}"#))
            .error
            .code,
        ErrorCode::BadOp
    );
    let twice = r#"{"op":"ping","op":"ping"}"#;
    assert_eq!(refused(twice).error.code, ErrorCode::BadFrame);
}

/// Ten thousand brackets, wherever they stand, are an answer and not the end of the stack.
#[test]
fn deep_json_is_refused() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for text in [
        deep.clone(),
        format!(r#"{{"type":"echo","data":{deep}}}"#),
        format!(r#"{{"op":"subscribe","table":"t","hashId":"q","query":{deep}}}"#),
        format!(
            r#"{{"op":"rpc","method":"ADD_SINGLE","table":"t","payload":{{"row":{{"a":{deep}}}}}}}"#
        ),
    ] {
        assert_eq!(refused(&text).error.code, ErrorCode::BadFrame);
    }
    let quoted = format!(r#"{{"op":"subscribe","table":"t","hashId":"q","queryJson":"{deep}"}}"#);
    assert_eq!(refused(&quoted).error.code, ErrorCode::BadFilter);
    let text = format!(
        r#"{{"op":"rpc","method":"ADD_SINGLE","table":"t","payload":{{"row":"{{\"a\":{deep}}}"}}}}"#
    );
    assert_eq!(
        call_of(&text).command.unwrap_err().code,
        ErrorCode::BadCommand
    );
    assert_eq!(refused(&"[".repeat(1_000_000)).reply, ErrorReply::Typed);
}

/// Frames to spoil, read once for all cases.
static CALLS: LazyLock<Vec<String>> =
    LazyLock::new(|| sent(&transcript("rpc")).map(str::to_owned).collect());

proptest! {
    /// Recorded frames with a piece cut out or put in: an answer every time.
    #[test]
    fn mutated_frames_do_not_panic(pick in any::<usize>(), spoil in spoil()) {
        let _ = ClientFrame::parse(&spoilt(&CALLS[pick % CALLS.len()], spoil));
    }

    #[test]
    fn any_text_is_answered(text in ".{0,40}") {
        if let Err(error) = ClientFrame::parse(&text) {
            prop_assert!(!error.error.message.is_empty());
        }
    }
}
