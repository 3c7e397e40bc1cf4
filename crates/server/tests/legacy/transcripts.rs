//! Recorded connections with the old gateway, played again with ours: frame for frame the same, but
//! for ids and times, and for the improvements that are listed here with their reasons.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tidegate_core::{Command, FilterSpec, Operator};
use tidegate_ports::SharedPages;
use tidegate_protocol::{SqlCall, SqlRequest};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::worker::{Answer, Script};
use crate::world::{PATIENCE, Running, World};

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// How a line of a recording differs from what we send.
enum Change {
    /// The frame does not come.
    Gone,
    /// Another frame comes.
    Instead(Value),
    /// These frames come besides, after this line.
    Then(Vec<Value>),
}

/// Where we differ, by the line of the recording, and why. The same list is in docs/PROTOCOL.md.
type Improvements = Vec<(usize, Change, &'static str)>;

const TENANT: &str = "what happens on the typed channel stays in the tenant";
const FILTERED: &str = "a query is never read without its filter, and rows is always an array";
const REFUSED: &str = "a query that cannot be read is refused";

fn recording(name: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/tests/golden/ws");
    let text = std::fs::read_to_string(folder.join(format!("transcript_{name}.jsonl"))).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

/// Order of the recording, but that each client is there before others hear of it.
fn order(events: &[Value]) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::new();
    for (at, event) in events.iter().enumerate() {
        let mut place = order.len();
        if event["dir"] == "open" {
            let is_word = |at: &usize| {
                let text = events[*at]["text"].as_str();
                events[*at]["dir"] == "in" && text.is_some_and(|text| text.contains("user_joined"))
            };
            while place > 0 && is_word(&order[place - 1]) {
                place -= 1;
            }
        }
        order.insert(place, at);
    }
    order
}

/// What does not count: ids and times, and what stands beside old fields in ours.
fn plain(mut frame: Value) -> Value {
    let Some(fields) = frame.as_object_mut() else {
        return frame;
    };
    fields.remove("timestamp");
    if let Some(data) = fields.get_mut("data").and_then(Value::as_object_mut) {
        data.remove("connectionId");
        data.remove("uptime");
    }
    if fields.get("op") == Some(&json!("snapshot")) {
        // The old one said its own last LSN, or zero; ours are the worker's.
        fields.remove("version");
        fields.remove("reason");
        if let Some(cursor) = fields.get_mut("cursor").and_then(Value::as_object_mut) {
            cursor.remove("lsn");
        }
    }
    if fields.get("op") == Some(&json!("error")) {
        // Our errors name what they are about and whether to try again.
        fields.remove("retry");
        fields.remove("hashId");
        if fields.get("code") == Some(&json!("bad_op")) {
            // The sentence says which field is wrong.
            fields.remove("message");
        }
    }
    frame
}

struct Player {
    gateway: Running,
    sockets: HashMap<String, Socket>,
}

impl Player {
    async fn open(&mut self, event: &Value) {
        let path = event["path"].as_str().unwrap();
        let address = self.gateway.address;
        let request = format!("ws://{address}{path}").into_client_request();
        let mut request = request.unwrap();
        for (name, value) in event["headers"].as_object().unwrap() {
            let name: tokio_tungstenite::tungstenite::http::HeaderName = name.parse().unwrap();
            let value = value.as_str().unwrap().parse().unwrap();
            request.headers_mut().insert(name, value);
        }
        let (socket, _) = connect_async(request).await.unwrap();
        self.sockets.insert(client(event), socket);
    }

    async fn send(&mut self, event: &Value) {
        let frame = match event["kind"].as_str() {
            Some("text") => Frame::text(event["text"].as_str().unwrap()),
            _ => Frame::binary(STANDARD.decode(event["b64"].as_str().unwrap()).unwrap()),
        };
        self.sockets
            .get_mut(&client(event))
            .unwrap()
            .send(frame)
            .await
            .unwrap();
    }

    async fn expect(&mut self, client: &str, expected: &Value, line: usize) {
        let socket = self.sockets.get_mut(client).unwrap();
        loop {
            let next = tokio::time::timeout(PATIENCE, socket.next()).await;
            let next = next.unwrap_or_else(|_| panic!("line {line}: nothing for {expected}"));
            let got = match next.unwrap().unwrap() {
                Frame::Text(text) => plain(serde_json::from_str(&text).unwrap()),
                Frame::Binary(bytes) => json!({ "b64": STANDARD.encode(&bytes) }),
                Frame::Ping(_) | Frame::Pong(_) => continue,
                other => panic!("line {line}: {other:?}"),
            };
            assert_eq!(got, *expected, "line {line} of the recording");
            return;
        }
    }
}

fn client(event: &Value) -> String {
    event["client"].as_str().unwrap().to_owned()
}

fn expected(event: &Value) -> Value {
    match event["kind"].as_str() {
        Some("text") => plain(serde_json::from_str(event["text"].as_str().unwrap()).unwrap()),
        _ => json!({ "b64": event["b64"] }),
    }
}

async fn play(world: World, name: &str, improvements: Improvements) {
    let mut world = world;
    let gateway = world.gateway().await;
    play_with(&world, gateway, name, improvements).await;
}

async fn play_with(world: &World, gateway: Running, name: &str, improvements: Improvements) {
    let events = recording(name);
    let mut improvements: HashMap<usize, Change> = improvements
        .into_iter()
        .map(|(line, change, _why)| (line, change))
        .collect();
    let mut player = Player {
        gateway,
        sockets: HashMap::new(),
    };
    for at in order(&events) {
        let (event, line) = (&events[at], at + 1);
        match event["dir"].as_str().unwrap() {
            "open" => player.open(event).await,
            "out" => {
                player.send(event).await;
                if let Some(Change::Then(frames)) = improvements.remove(&line) {
                    for frame in frames {
                        player.expect(&client(event), &frame, line).await;
                    }
                }
            }
            "in" => {
                let client = client(event);
                let (frame, then) = match improvements.remove(&line) {
                    None => (Some(expected(event)), Vec::new()),
                    Some(Change::Gone) => (None, Vec::new()),
                    Some(Change::Instead(frame)) => (Some(frame), Vec::new()),
                    Some(Change::Then(frames)) => (Some(expected(event)), frames),
                };
                for frame in frame.iter().chain(&then) {
                    player.expect(&client, frame, line).await;
                }
            }
            "kafka" => {
                produce(world, event).await;
                if let Some(Change::Then(frames)) = improvements.remove(&line) {
                    for frame in frames {
                        player.expect("a", &frame, line).await;
                    }
                }
            }
            "close" => {
                // And nothing that was not recorded.
                let ping = json!({"client": event["client"], "kind": "text",
                                  "text": "{\"op\":\"ping\"}"});
                player.send(&ping).await;
                let pong = json!({"op": "pong"});
                player.expect(&client(event), &pong, line).await;
                player
                    .sockets
                    .get_mut(&client(event))
                    .unwrap()
                    .close(None)
                    .await
                    .unwrap();
            }
            "closed" => {
                player.sockets.remove(&client(event));
            }
            other => panic!("{other}"),
        }
    }
    assert!(improvements.is_empty(), "every improvement was met");
    player.gateway.stop().await;
}

async fn produce(world: &World, event: &Value) {
    let value = STANDARD
        .decode(event["value_b64"].as_str().unwrap())
        .unwrap();
    let (topic, key) = (
        event["topic"].as_str().unwrap(),
        event["key"].as_str().unwrap(),
    );
    let header = event["headers"].get(0);
    let header = header.map(|header| (header[0].as_str().unwrap(), header[1].as_str().unwrap()));
    world.emit_with(topic, key, &value, header).await;
}

/// The two rows that the recorded query gives, as the first snapshot has them.
fn rows() -> Vec<String> {
    let events = recording("subscribe_json");
    let texts = events.iter().filter_map(|event| event["text"].as_str());
    let snapshot = texts
        .clone()
        .find(|text| text.starts_with(r#"{"op":"snapshot""#));
    let snapshot: Value = serde_json::from_str(snapshot.unwrap()).unwrap();
    let rows = snapshot["rows"].as_array().unwrap();
    rows.iter().map(ToString::to_string).collect()
}

fn snapshot(label: &str) -> Value {
    let rows: Vec<Value> = rows()
        .iter()
        .map(|row| serde_json::from_str(row).unwrap())
        .collect();
    json!({"op": "snapshot", "hashId": label, "cursor": {"id": "n02"}, "rows": rows})
}

/// An old worker behind the recorded tables, whose database is this far.
fn old_worker(lsn: u64) -> Script {
    Arc::new(move |request: &SqlRequest| {
        let SqlCall::Run(Command::GetData(table, selection)) = &request.call else {
            return Answer::Bool(true);
        };
        if table.as_str() != "notes" {
            let why = "relation \"demo_nothing_here\" does not exist";
            return Answer::Failure(2, why.to_owned());
        }
        if tests(selection.query.filter.as_ref(), Operator::LessThan) {
            return Answer::Failure(2, "unsupported filterType: lessThan".to_owned());
        }
        Answer::Page {
            rows: rows(),
            cursor: vec![
                ("id".to_owned(), "n02".to_owned()),
                (
                    "lsn".to_owned(),
                    format!("{:X}/{:X}", lsn >> 32, lsn as u32),
                ),
            ],
        }
    })
}

fn tests(filter: Option<&FilterSpec>, wanted: Operator) -> bool {
    match filter {
        None => false,
        Some(FilterSpec::Test { operator, .. }) => *operator == wanted,
        Some(FilterSpec::Group(_, members)) => {
            members.iter().any(|member| tests(Some(member), wanted))
        }
    }
}

/// The database was far behind the numbers that were made up for the recordings.
const RECORDED_LSN: u64 = 0x157_E540;

fn ack(label: &str) -> Value {
    json!({"op": "ack", "hashId": label})
}

#[tokio::test]
async fn connect() {
    let status = json!({"type": "status", "data": {"connectedClients": 2, "sessions": 2}});
    let welcome = json!({"type": "welcome", "data": {"connectedClients": 1}});
    let queries = vec![ack("q1"), snapshot("q1")];
    let improvements = vec![
        (6, Change::Gone, TENANT),
        (7, Change::Gone, TENANT),
        (9, Change::Instead(welcome), TENANT),
        (23, Change::Instead(status), TENANT),
        (26, Change::Gone, TENANT),
        (30, Change::Gone, TENANT),
        (63, Change::Gone, "queryJson is taken as an object, too"),
        (
            62,
            Change::Then(queries),
            "queryJson is taken as an object, too",
        ),
        (80, Change::Gone, TENANT),
        (81, Change::Gone, TENANT),
    ];
    play(
        World::new(old_worker(RECORDED_LSN)),
        "connect",
        improvements,
    )
    .await;
}

/// Defect 14: a text frame `null` ended the process. It is an unknown message.
#[tokio::test]
async fn defect_14_null_is_an_unknown_message() {
    let welcome = json!({"type": "welcome", "data": {"connectedClients": 1}});
    let unknown = json!({"op": "error", "code": "bad_op"});
    let improvements = vec![
        (2, Change::Instead(welcome), "the count is of the day"),
        (3, Change::Then(vec![unknown]), "the process goes on"),
    ];
    play(
        World::new(old_worker(RECORDED_LSN)),
        "null_frame",
        improvements,
    )
    .await;
}

#[tokio::test]
async fn subscribe_json() {
    let diff = |text: &str| json!({ "b64": STANDARD.encode(text) });
    let stored_diff =
        |text: &str| json!({"op": "diffB64", "hashId": "q1", "b64": STANDARD.encode(text)});
    let stored = [
        "header LSN",
        "header __lsn",
        "",
        "past 2^53",
        "past 2^53 + 1",
        "after unsubscribe",
    ];
    let improvements = vec![
        (
            11,
            Change::Then(vec![snapshot("q1")]),
            "a diff below the newest that was never seen: the stream is out of order",
        ),
        (
            12,
            Change::Then(vec![diff("no header")]),
            "a diff without an LSN goes to those who are there",
        ),
        (
            18,
            Change::Then(vec![diff("lsn not a number")]),
            "an LSN that is none is as if it were not there",
        ),
        (
            30,
            Change::Then(stored.map(stored_diff).to_vec()),
            "the diffs after the page's own LSN follow it",
        ),
    ];
    // Beyond all that is emitted before it is read again, as a real database is.
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let (first, later) = (old_worker(RECORDED_LSN), old_worker(9_007_199_254_741_000));
    let between = old_worker(97_500_059_721);
    let script: Script =
        Arc::new(
            move |request| match calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                0 => first(request),
                1 => between(request),
                _ => later(request),
            },
        );
    play(World::new(script), "subscribe_json", improvements).await;
}

#[tokio::test]
async fn subscribe_fb() {
    let refused =
        json!({"op": "error", "code": "bad_query", "message": "queryFbB64 is not base64"});
    let improvements = vec![
        (5, Change::Instead(snapshot("qfb")), FILTERED),
        (10, Change::Instead(refused), REFUSED),
        (11, Change::Gone, REFUSED),
    ];
    play(
        World::new(old_worker(RECORDED_LSN)),
        "subscribe_fb",
        improvements,
    )
    .await;
}

#[tokio::test]
async fn row_events() {
    let event = |fields: Value| json!({"op": "rowEvent", "hashId": "q1", "event": fields});
    let row = json!({"id": "n99", "title": "é", "big": "9007199254740993"});
    let past = json!({"routingKey": "demo_notes|q1", "hashId": "q1", "lsn": "9007199254740993",
                      "kind": "added", "pk": "n99", "pos": 3, "row": row});
    let long: Value = serde_json::from_str(
        r#"{"routingKey":"demo_notes|q1","kind":"added","pk":"p","row":{"n":12345678901234567890,"x":1.50}}"#,
    )
    .unwrap();
    let exact = "a version above 2^53 would not be exact, and numbers keep their digits";
    let welcome = json!({"type": "welcome", "data": {"connectedClients": 1}});
    let improvements = vec![
        (3, Change::Gone, TENANT),
        (5, Change::Instead(welcome), TENANT),
        (23, Change::Instead(event(past)), exact),
        (25, Change::Instead(event(long)), exact),
        (29, Change::Gone, TENANT),
    ];
    play(
        World::new(old_worker(RECORDED_LSN)),
        "row_events",
        improvements,
    )
    .await;
}

#[tokio::test]
async fn range_index() {
    let world = World::new(old_worker(RECORDED_LSN));
    let pks = ["n01", "n02", "é"].map(str::to_owned).to_vec();
    world.kept.set_range("demo_notes|qr", pks);
    play(world, "range_index", Vec::new()).await;
}

#[tokio::test]
async fn resume() {
    // A database is never behind what its stream has said.
    let world = World::new(old_worker(97_500_059_720));
    let improvements = vec![
        (
            11,
            Change::Then(vec![
                json!({"b64": STANDARD.encode("below the resume point: skipped")}),
            ]),
            "a version that was never seen silences nothing",
        ),
        (
            17,
            Change::Then(vec![
                json!({"op": "diffB64", "hashId": "q1",
                       "b64": STANDARD.encode("below the resume point: skipped")}),
                json!({"op": "diffB64", "hashId": "q1", "b64": STANDARD.encode("above it")}),
            ]),
            "the diffs after the page's own LSN follow it",
        ),
    ];
    play(world, "resume", improvements).await;
}

/// Defect 16: the cache was replayed only in the first moments after a restart, and whole. Now what
/// is after the page is, whenever a page is opened.
#[tokio::test]
async fn defect_16_the_cache_is_replayed_after_the_page() {
    let mut world = World::new(old_worker(RECORDED_LSN));
    let first = world.gateway().await;
    for (lsn, text) in [
        (RECORDED_LSN, "older than the page"),
        (97_500_059_720, "seen before"),
        (97_500_060_000, "below the resume point: skipped"),
        (97_500_100_000, "above it"),
    ] {
        let lsn = lsn.to_string();
        world
            .emit(
                crate::world::DIFFS,
                "demo_notes|q1",
                text.as_bytes(),
                Some(&lsn),
            )
            .await;
    }
    while world.kept.diffs("demo_notes|q1").await.unwrap().len() < 4 {
        tokio::task::yield_now().await;
    }
    first.stop().await;
    let gateway = world.gateway().await;
    play_with(&world, gateway, "replay_after_restart", Vec::new()).await;
}

#[tokio::test]
async fn subscribe_failures() {
    let failed =
        |message: &str| json!({"op": "error", "code": "snapshot_failed", "message": message});
    let refused =
        |code: &str, message: &str| json!({"op": "error", "code": code, "message": message});
    let not_json = "the query is not JSON: key must be a string at line 1 column 2";
    let why = "relation \"demo_nothing_here\" does not exist";
    let own = "the worker's own word for the query that was asked";
    let improvements = vec![
        (5, Change::Instead(failed(why)), own),
        (
            8,
            Change::Instead(failed("unsupported filterType: lessThan")),
            FILTERED,
        ),
        (
            11,
            Change::Instead(snapshot("f3_inList")),
            "every operator reaches the worker",
        ),
        (13, Change::Instead(refused("bad_query", not_json)), REFUSED),
        (14, Change::Gone, REFUSED),
        (
            17,
            Change::Instead(snapshot("f5_no_limit")),
            "no limit is 50, not 0",
        ),
    ];
    play(
        World::new(old_worker(RECORDED_LSN)),
        "subscribe_failures",
        improvements,
    )
    .await;
}

/// With the worker away a call and a page are given up after the same times as ever. (Shortened
/// here: ten seconds and twenty.)
#[tokio::test]
async fn worker_down() {
    let mut world = World::new(Arc::new(|_| Answer::Silence));
    world.patience = Duration::from_millis(200);
    let welcome = json!({"type": "welcome", "data": {"connectedClients": 1}});
    let failed = json!({"op": "rpcResult", "method": "TABLE_EXISTS", "correlationId": "t1",
                        "ok": false, "error": "rpc timeout", "code": "timeout", "retry": true});
    let improvements = vec![
        (2, Change::Instead(welcome), "the count is of the day"),
        (
            4,
            Change::Instead(failed),
            "failed calls say a code and whether to try again",
        ),
    ];
    play(world, "worker_down", improvements).await;
}
