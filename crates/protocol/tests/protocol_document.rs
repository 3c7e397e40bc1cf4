//! That docs/PROTOCOL.md is true: each client frame in it is read, each server frame is what the
//! server writes, byte for byte, and its tables are those of the code.
//!
//! A fenced block says what it holds: `json client`, `json server`, `json query`, or `json refused
//! CODE`.

#![expect(clippy::unwrap_used, reason = "a test")]

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tidegate_core::{Lsn, Position};
use tidegate_protocol::server_frame::{self, ErrorSubject, SnapshotReason, typed};
use tidegate_protocol::{
    ClientFrame, CloseCode, CorrelationId, DiffContent, DiffKind, ErrorCode, Fault, HashId, Method,
    PageCause, PageContent, PageOrigin, Retry, WireError, parse_query, write_query,
};

fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/PROTOCOL.md");
    std::fs::read_to_string(path).unwrap()
}

/// The JSON texts of all blocks of a kind, with what else the blocks say, blanks between tokens
/// removed.
fn blocks(kind: &str) -> Vec<(String, String)> {
    let document = document();
    let mut found = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        let Some(rest) = line.strip_prefix(&format!("```json {kind}")) else {
            continue;
        };
        let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let body = body.join("\n");
        for frame in serde_json::Deserializer::from_str(&body).into_iter::<Box<RawValue>>() {
            let frame = frame.unwrap_or_else(|error| panic!("{error}: {body}"));
            found.push((rest.trim().to_owned(), compact(frame.get())));
        }
    }
    assert!(!found.is_empty(), "blocks of kind {kind}");
    found
}

fn compact(json: &str) -> String {
    let (mut out, mut in_string, mut escaped) = (String::new(), false, false);
    for c in json.chars() {
        if in_string || !c.is_whitespace() {
            out.push(c);
        }
        if escaped {
            escaped = false;
        } else if c == '"' {
            in_string = !in_string;
        } else {
            escaped = in_string && c == '\\';
        }
    }
    out
}

#[test]
fn client_frames_are_read() {
    for (_, text) in blocks("client") {
        let frame = ClientFrame::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        if let ClientFrame::Rpc(call) = frame {
            assert!(call.command.is_ok(), "{text}: {call:?}");
        }
    }
}

#[test]
fn refused_frames_are_refused() {
    for (code, text) in blocks("refused") {
        let error = ClientFrame::parse(&text).expect_err(&text).error;
        assert_eq!(error.code.as_str(), code, "{text}");
    }
}

#[test]
fn queries_are_read_and_written() {
    for (_, text) in blocks("query") {
        let spec = parse_query(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(parse_query(&write_query(&spec)), Ok(spec));
    }
}

#[test]
fn server_frames_are_written_so() {
    for (_, text) in blocks("server") {
        let fields: Fields<'_> = serde_json::from_str(&text).unwrap();
        let again = match (fields.op, fields.kind) {
            (Some(op), None) => page_frame(op, &fields),
            (None, Some(kind)) => typed_frame(kind, &fields),
            other => panic!("{other:?}: {text}"),
        };
        assert_eq!(std::str::from_utf8(&again), Ok(text.as_str()));
    }
}

/// What is in a server frame, with the texts that the server copies as they are.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    op: Option<&'a str>,
    #[serde(rename = "type")]
    kind: Option<&'a str>,
    hash_id: Option<&'a str>,
    #[serde(borrow)]
    cursor: Option<&'a RawValue>,
    #[serde(borrow)]
    rows: Option<&'a RawValue>,
    #[serde(borrow)]
    pks: Option<&'a RawValue>,
    #[serde(borrow)]
    changes: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    reason: Option<&'a str>,
    lsn: Option<&'a str>,
    code: Option<&'a str>,
    message: Option<String>,
    error: Option<String>,
    method: Option<&'a str>,
    #[serde(borrow)]
    correlation_id: Option<&'a RawValue>,
    timestamp: Option<i64>,
}

impl Fields<'_> {
    fn hash_id(&self) -> HashId {
        HashId::parse(self.hash_id.unwrap()).unwrap()
    }

    fn lsn(&self) -> Lsn {
        self.lsn.unwrap().parse().unwrap()
    }

    /// Order keys, without braces; commit; position.
    fn cursor(&self) -> (String, Lsn, Position) {
        let text = self.cursor.unwrap().get();
        let order = text[1..text.find("\"lsn\"").unwrap()].trim_end_matches(',');
        let parsed: Value = serde_json::from_str(text).unwrap();
        let field = |name: &str| parsed[name].as_str().unwrap().to_owned();
        (
            order.to_owned(),
            field("lsn").parse().unwrap(),
            field("position").parse().unwrap(),
        )
    }

    fn code(&self) -> ErrorCode {
        ErrorCode::from_text(self.code.unwrap()).unwrap()
    }

    fn correlation_id(&self) -> Option<CorrelationId> {
        let id = self.correlation_id?.get();
        let text = format!("{{\"op\":\"rpc\",\"method\":\"X\",\"correlationId\":{id}}}");
        match ClientFrame::parse(&text) {
            Ok(ClientFrame::Rpc(call)) => call.correlation_id,
            other => panic!("{other:?}"),
        }
    }
}

fn raw(text: Option<&RawValue>) -> bytes::Bytes {
    text.unwrap().get().to_owned().into()
}

fn page_frame(op: &str, fields: &Fields<'_>) -> bytes::Bytes {
    match op {
        "pong" => server_frame::pong(),
        "ack" => server_frame::ack(&fields.hash_id()),
        "snapshot" => {
            let (cursor, lsn, position) = fields.cursor();
            let content = PageContent {
                position,
                lsn,
                committed_at_micros: 0,
                cause: PageCause::Opened,
                origin: PageOrigin::Kept,
                cursor: cursor.into(),
                rows: raw(fields.rows),
                pks: raw(fields.pks),
            };
            let reasons = SnapshotReason::ALL.iter();
            let reason = reasons.copied().find(|r| Some(r.as_str()) == fields.reason);
            server_frame::snapshot(&fields.hash_id(), &content, reason.unwrap())
        }
        "resumed" => {
            let (_, lsn, position) = fields.cursor();
            server_frame::resumed(&fields.hash_id(), lsn, position)
        }
        "diff" => {
            let (_, lsn, position) = fields.cursor();
            let content = DiffContent {
                position,
                lsn,
                committed_at_micros: 0,
                kind: DiffKind::Changes,
                body: raw(fields.changes),
            };
            server_frame::diff(&fields.hash_id(), &content)
        }
        "synced" => server_frame::synced(&fields.hash_id(), fields.lsn()),
        "error" => {
            let hash_id = fields.hash_id.map(|_| fields.hash_id());
            let subject = match &hash_id {
                Some(hash_id) => ErrorSubject::Subscription(hash_id),
                None => ErrorSubject::Session,
            };
            server_frame::error(fields.code(), fields.message.as_deref().unwrap(), subject)
        }
        "rpcResult" => rpc_frame(fields),
        other => panic!("{other}"),
    }
}

fn rpc_frame(fields: &Fields<'_>) -> bytes::Bytes {
    let (method, id) = (fields.method.unwrap(), fields.correlation_id());
    match &fields.error {
        Some(message) => {
            let error = WireError::new(fields.code(), message);
            server_frame::rpc_error(method, id.as_ref(), &error)
        }
        None => {
            let lsn = fields.lsn.map(|_| fields.lsn());
            server_frame::rpc_result(method, id.as_ref(), &raw(fields.data), lsn)
        }
    }
}

fn typed_frame(kind: &str, fields: &Fields<'_>) -> bytes::Bytes {
    let now = fields.timestamp.unwrap();
    let data: Value = fields.data.map_or(Value::Null, |data| {
        serde_json::from_str(data.get()).unwrap()
    });
    let text = |name: &str| data[name].as_str().unwrap();
    let count = |name: &str| usize::try_from(data[name].as_u64().unwrap()).unwrap();
    match kind {
        "welcome" => typed::welcome(text("connectionId"), count("connectedClients"), now),
        "user_joined" => typed::user_joined(text("userId"), text("connectionId"), now),
        "user_left" => typed::user_left(text("userId"), text("connectionId"), now),
        "pong" => typed::pong(now),
        "echo_response" => typed::echo_response(fields.data.map(RawValue::get), now),
        "broadcast_message" => {
            let message = data["message"].to_string();
            typed::broadcast_message(text("from"), Some(&message), now)
        }
        "status" => {
            let uptime = data["uptime"].as_f64().unwrap();
            typed::status(count("connectedClients"), count("sessions"), uptime, now)
        }
        "error" => typed::error(text("message"), now),
        other => panic!("{other}"),
    }
}

/// The rows of the table under this head, as cells.
fn table(head: &str) -> Vec<Vec<String>> {
    let document = document();
    let mut lines = document.lines().skip_while(|line| *line != head).skip(2);
    let rows = lines.by_ref().take_while(|line| line.starts_with('|'));
    let cells = |line: &str| {
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().replace('`', "")).collect()
    };
    rows.map(cells).collect()
}

#[test]
fn error_table_is_the_codes() {
    let rows = table("| code | whose | retry | meaning |");
    let written: Vec<_> = rows.iter().map(|row| row[..3].to_vec()).collect();
    let codes = ErrorCode::ALL.iter().map(|code| {
        let whose = match code.fault() {
            Fault::Client => "client",
            Fault::Server => "server",
        };
        let retry = match code.retry() {
            Retry::Later => "yes",
            Retry::Never => "no",
        };
        vec![code.as_str().to_owned(), whose.to_owned(), retry.to_owned()]
    });
    assert_eq!(written, codes.collect::<Vec<_>>());
}

#[test]
fn close_table_is_the_codes() {
    let rows = table("| code | meaning | what to do |");
    let written: Vec<u16> = rows.iter().map(|row| row[0].parse().unwrap()).collect();
    let codes: Vec<u16> = CloseCode::ALL.iter().map(|code| code.number()).collect();
    assert_eq!(written, codes);
}

#[test]
fn method_table_is_the_methods() {
    let rows = table("| method | payload | `data` |");
    let written: Vec<_> = rows.iter().map(|row| row[0].as_str()).collect();
    let methods: Vec<_> = Method::ALL.iter().map(|method| method.as_str()).collect();
    assert_eq!(written, methods);
}

/// Every kind of frame and every reason has its place in the document.
#[test]
fn nothing_is_left_out() {
    let document = document();
    let reasons = SnapshotReason::ALL.iter().map(|reason| reason.as_str());
    for word in reasons.chain(["snapshot", "resumed", "diff", "synced", "rpcResult", "ack"]) {
        assert!(document.contains(&format!("\"{word}\"")), "{word}");
    }
}
