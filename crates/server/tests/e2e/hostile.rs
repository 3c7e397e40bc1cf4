//! Hostile input: whatever a socket sends, the server answers with a code or closes, keeps its
//! memory within bounds, and goes on serving everybody else.

use std::io::{Read, Write};
use std::net::TcpStream;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value as Json, json};

use crate::harness::{Folder, Served, Socket};

const MEBIBYTE: usize = 1 << 20;

/// A server over a small table of the tenant `demo`.
fn serve() -> Served {
    let folder = Folder::new();
    let file = folder.path().join("shop.db");
    let database = rusqlite::Connection::open(&file).expect("the folder is writable");
    let tables =
        "CREATE TABLE demo_orders (id INTEGER PRIMARY KEY, note TEXT, n INTEGER, doc JSON);
        INSERT INTO demo_orders VALUES (1, 'one', 1, '{}'), (2, 'two', 2, NULL);
        CREATE TABLE demo_keyless (a TEXT);
        CREATE VIEW demo_seen AS SELECT * FROM demo_orders;
        CREATE TABLE other_orders (id INTEGER PRIMARY KEY, secret TEXT);
        INSERT INTO other_orders VALUES (1, 'top-secret')";
    database.execute_batch(tables).expect("the file is new");
    drop(database);
    Served::start_in(
        folder,
        &["--database", &format!("sqlite:{}", file.display())],
    )
}

/// The server still does its work for somebody new.
fn is_well(served: &Served) {
    let mut socket = served.connect("demo", "well");
    socket.send(r#"{"op":"subscribe","table":"orders","hashId":"well","query":{}}"#);
    assert!(socket.text_with("\"snapshot\"").contains("\"two\""));
    assert!(served.get("/health").body.contains("\"healthy\""));
}

fn answer(socket: &mut Socket, frame: &str) -> Json {
    socket.send(frame);
    let reply = socket.text_with("\"op\"");
    serde_json::from_str(&reply).expect("every frame is JSON")
}

fn subscribe(query: &Json) -> String {
    json!({ "op": "subscribe", "table": "orders", "hashId": "q", "query": query }).to_string()
}

fn filter(column: &str, operator: &str, value: &Json) -> String {
    let test = json!({ "field_name": column, "filter_type": operator, "value": value });
    subscribe(&json!({ "wrapper": { "filter_wrapper_type": "and", "filters": [test] } }))
}

/// A frame and the code that answers it.
type Case = (String, &'static str);

fn text(text: &str) -> Json {
    json!({ "StringValue": { "value": text } })
}

fn number(number: f64) -> Json {
    json!({ "NumberValue": { "value": number } })
}

/// A subscribe to a table, with some members more.
fn subscribe_to(table: &str, more: &Json) -> String {
    let mut frame = json!({ "op": "subscribe", "table": table, "hashId": "q" });
    let more = more.as_object().expect("members").clone();
    frame.as_object_mut().expect("members").extend(more);
    frame.to_string()
}

fn bad_frames() -> Vec<Case> {
    let query = json!({ "query": {} });
    let long = json!({ "query": {}, "hashId": "x".repeat(1_000) });
    vec![
        ("null".to_owned(), "bad_op"),
        ("[1]".to_owned(), "bad_op"),
        ("\"x\"".to_owned(), "bad_op"),
        (r#"{"op":"explode"}"#.to_owned(), "bad_op"),
        (r#"{"op":7}"#.to_owned(), "bad_op"),
        (subscribe_to("orders", &json!({})), "bad_op"),
        (subscribe_to("orders", &long), "bad_op"),
        (
            subscribe_to("orders", &json!({ "queryJson": "{" })),
            "bad_query",
        ),
        (
            subscribe_to("orders", &json!({ "queryFbB64": "AAAA" })),
            "bad_query",
        ),
        (subscribe_to("nothing", &query), "unknown_table"),
        (subscribe_to("keyless", &query), "unsupported_table"),
        (subscribe_to("seen", &query), "unsupported_table"),
        (
            subscribe_to("orders", &json!({ "query": {}, "resume": "?" })),
            "bad_position",
        ),
        (
            r#"{"op":"sync","hashId":"nobody","lsn":"1"}"#.to_owned(),
            "unknown_subscription",
        ),
        (
            r#"{"op":"sync","hashId":"nobody","lsn":"soon"}"#.to_owned(),
            "bad_lsn",
        ),
    ]
}

fn bad_queries() -> Vec<Case> {
    let empty_or = json!({ "wrapper": { "filter_wrapper_type": "or", "filters": [] } });
    let by_document = json!({ "order": [{ "field": "doc", "sort": "ASC_DEFAULT" }] });
    let off_order = json!({ "cursor": [{ "field": "note", "value": text("a") }] });
    vec![
        (filter("nope", "equals", &number(1.0)), "unknown_column"),
        (filter("ID", "equals", &number(1.0)), "unknown_column"),
        (filter("note", "regex", &text("(a)\\1")), "not_live"),
        (filter("n", "regex", &text("a")), "unsupported_operator"),
        (
            filter("note", "sounds_like", &text("a")),
            "unsupported_operator",
        ),
        (filter("n", "contains", &text("a")), "unsupported_operator"),
        (filter("n", "equals", &text("one")), "bad_value"),
        (filter("n", "equals", &number(1.5)), "bad_value"),
        (
            filter("n", "equals", &json!({ "NullValue": {} })),
            "bad_value",
        ),
        (
            filter("n", "equals", &json!({ "Mystery": {} })),
            "bad_value",
        ),
        (subscribe(&empty_or), "bad_filter"),
        (subscribe(&by_document), "bad_order"),
        (subscribe(&off_order), "bad_cursor"),
        (subscribe(&json!({ "limit": 0 })), "bad_limit"),
        (subscribe(&json!({ "limit": 1_001 })), "bad_limit"),
    ]
}

/// Each kind of bad request has its own stable code, and a sentence; the session goes on.
#[test]
fn each_bad_request_has_its_code() {
    let served = serve();
    let mut socket = served.connect("demo", "bad");
    for (frame, code) in bad_frames().into_iter().chain(bad_queries()) {
        let reply = answer(&mut socket, &frame);
        assert_eq!(
            (&reply["op"], &reply["code"]),
            (&json!("error"), &json!(code)),
            "{frame} {reply}"
        );
        assert!(reply["retry"].is_boolean(), "{reply}");
        let message = reply["message"].as_str().expect("a sentence");
        assert!(message.len() > 10, "{reply}");
    }
    socket.send("not json");
    assert!(
        socket
            .text_with("Invalid JSON message")
            .contains("\"type\":\"error\"")
    );
    is_well(&served);
}

fn bad_calls() -> Vec<(Json, &'static str)> {
    let call = |method: &str, table: &str, payload: Json| json!({ "method": method, "table": table, "payload": payload });
    let add = |row: Json| call("ADD_SINGLE", "orders", json!({ "row": row }));
    let other = json!({ "method": "GET_DATA", "table": "orders", "companyId": "other" });
    vec![
        (json!({ "method": "DROP_EVERYTHING" }), "bad_command"),
        (other, "forbidden"),
        (call("GET_DATA", "nothing", json!({})), "unknown_table"),
        (
            call("GET_DATA", "orders", json!({ "limit": 0 })),
            "bad_limit",
        ),
        (add(json!({ "id": 1 })), "constraint"),
        (add(json!({ "nope": 1 })), "unknown_column"),
        (add(json!(7)), "bad_command"),
        (add(json!({ "n": "x" })), "bad_value"),
    ]
}

/// Bad procedure calls fail with a code, by their correlation id.
#[test]
fn each_bad_call_has_its_code() {
    let served = serve();
    let mut socket = served.connect("demo", "bad");
    for (mut call, code) in bad_calls() {
        call["op"] = json!("rpc");
        call["correlationId"] = json!("c-1");
        let reply = answer(&mut socket, &call.to_string());
        assert_eq!(reply["ok"], json!(false), "{call} {reply}");
        assert_eq!(
            (&reply["code"], &reply["correlationId"]),
            (&json!(code), &json!("c-1")),
            "{call} {reply}"
        );
        assert!(
            reply["error"].as_str().is_some_and(|text| text.len() > 10),
            "{reply}"
        );
    }
    is_well(&served);
}

/// Strings made to break out of SQL, JSON, keys or logs are just names that do not exist.
#[test]
fn injections_are_only_names() {
    let served = serve();
    let mut socket = served.connect("demo", "injector");
    let names = [
        "orders\"; DROP TABLE demo_orders; --",
        "orders' OR '1'='1",
        "orders/*",
        "../other_orders",
        "other_orders",
        "_tidegate_log",
        "sqlite_master",
        "\u{0}",
        "orders\n",
        "%00",
        "🦀\u{202e}",
    ];
    for name in names {
        let table = json!({ "op": "subscribe", "table": name, "hashId": name, "query": {} });
        let reply = answer(&mut socket, &table.to_string());
        assert_eq!(reply["op"], json!("error"), "{name:?} {reply}");
        let column = filter(name, "equals", &json!({ "StringValue": { "value": name } }));
        assert_eq!(
            answer(&mut socket, &column)["op"],
            json!("error"),
            "{name:?}"
        );
        for method in ["GET_DATA", "TABLE_EXISTS", "GET_SINGLE"] {
            let payload = json!({ "primaryKeyColumn": name, "primaryId": name });
            let call = json!({ "op": "rpc", "method": method, "table": name, "payload": payload });
            let reply = answer(&mut socket, &call.to_string());
            let is_no = reply["ok"] == json!(false) || reply["data"] == json!(false);
            assert!(is_no, "{method} {name:?} {reply}");
        }
        let value = json!({ "op": "rpc", "method": "ADD_SINGLE", "table": "orders",
            "payload": { "row": { "note": name } } });
        let reply = answer(&mut socket, &value.to_string());
        assert_eq!(
            reply["data"][0]["note"],
            json!(name),
            "a value is kept as it is: {reply}"
        );
        let column = json!({ "op": "rpc", "method": "UPDATE_SINGLE", "table": "orders",
            "payload": { "primaryId": "1", "updates": { name: 1 } } });
        assert_eq!(
            answer(&mut socket, &column.to_string())["ok"],
            json!(false),
            "{name:?}"
        );
    }
    is_well(&served);
}

/// JSON ten thousand levels deep is refused, wherever it stands, and no stack is exhausted.
#[test]
fn deep_json_is_refused() {
    let served = serve();
    let mut socket = served.connect("demo", "deep");
    let deep = |open: &str, close: &str| open.repeat(10_000) + &close.repeat(10_000);
    let wrapper = r#"{"filter_wrapper_type":"and","filters":["#;
    for query in [deep("[", "]"), deep(r#"{"a":"#, "}"), deep(wrapper, "]}")] {
        socket.send(&format!(
            r#"{{"op":"subscribe","table":"orders","hashId":"d","query":{query}}}"#
        ));
        assert!(socket.text_with("error").contains("error"));
        socket.send(&query);
        assert!(socket.text_with("error").contains("error"));
        let row = format!(
            r#"{{"op":"rpc","method":"ADD_SINGLE","table":"orders","payload":{{"row":{query}}}}}"#
        );
        socket.send(&row);
        assert!(socket.text_with("error").contains("error"));
    }
    is_well(&served);
}

/// Deterministic damage to FlatBuffers queries: each is answered, none harms.
#[test]
fn damaged_flatbuffers_are_answered() {
    let served = serve();
    let mut random = StdRng::seed_from_u64(7);
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../protocol/tests/golden/fb");
    let mut buffers = Vec::new();
    for entry in std::fs::read_dir(golden)
        .expect("the recordings are there")
        .flatten()
    {
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with("streaming_filter_wrap")
        {
            let text = std::fs::read_to_string(entry.path()).expect("it is readable");
            let vector: Json = serde_json::from_str(&text).expect("it is JSON");
            buffers.extend(vector["hex"].as_str().map(unhex));
        }
    }
    assert!(buffers.len() > 3);
    let mut socket = served.connect("demo", "damage");
    for round in 0..1_500 {
        let mut bytes = buffers[round % buffers.len()].clone();
        for _ in 0..random.random_range(0..4) {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
        bytes.truncate(random.random_range(bytes.len() / 2..=bytes.len()));
        let base64 = base64(&bytes);
        socket.send(
            &json!({ "op": "subscribe", "table": "orders", "hashId": "f", "queryFbB64": base64 })
                .to_string(),
        );
        let reply = socket.text_with("\"hashId\":\"f\"");
        assert!(
            reply.contains("\"ack\"") || reply.contains("\"error\""),
            "{reply}"
        );
        socket.send(r#"{"op":"unsubscribe","table":"orders","hashId":"f"}"#);
        socket.send(r#"{"op":"ping"}"#);
        socket.text_with("pong");
    }
    is_well(&served);
}

/// Random bytes, before and after the upgrade, end in a closed socket and nothing else.
#[test]
fn random_bytes_harm_nobody() {
    let served = serve();
    let mut random = StdRng::seed_from_u64(11);
    for round in 0..150 {
        let mut stream = TcpStream::connect(served.address()).expect("it listens");
        if round % 3 != 0 {
            upgrade(&mut stream);
        }
        let mut bytes = vec![0; random.random_range(1..4_096)];
        random.fill(&mut bytes[..]);
        // The server may have closed already: that is its right.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let mut socket = served.connect("demo", "random");
    for _ in 0..500 {
        let length = random.random_range(0..60);
        let text: String = (0..length)
            .map(|_| random.random_range(' '..'\u{2fff}'))
            .collect();
        socket.send(&text);
    }
    socket.send(r#"{"op":"ping"}"#);
    socket.text_with("\"pong\"");
    is_well(&served);
}

/// A frame over the limit ends the connection with 1009; one made of many small fragments is read.
#[test]
fn sizes_and_fragments() {
    let served = serve();
    let mut socket = served.connect("demo", "large");
    socket.send(&"x".repeat(MEBIBYTE + 1));
    assert_eq!(socket.close_code(), 1009);

    let mut stream = TcpStream::connect(served.address()).expect("it listens");
    upgrade(&mut stream);
    let text = br#"{"op":"ping"}"#;
    for (at, byte) in text.iter().enumerate() {
        let opcode = u8::from(at == 0);
        let end = if at + 1 == text.len() { 0x80 } else { 0 };
        stream
            .write_all(&[opcode | end, 0x81, 0, 0, 0, 0, *byte])
            .expect("it reads");
    }
    let mut seen = Vec::new();
    let mut buffer = [0; 4_096];
    while !String::from_utf8_lossy(&seen).contains("pong") {
        let length = stream.read(&mut buffer).expect("it answers");
        assert!(length > 0, "closed instead of answering");
        seen.extend_from_slice(&buffer[..length]);
    }
    is_well(&served);
}

/// Sockets that subscribe and never read cost bounded memory, and cost readers nothing.
#[test]
fn sockets_that_never_read_are_bounded() {
    const SLEEPERS: usize = 30;
    /// More than the outbox of each sleeper and its kernel buffers hold; enough to fill the bus.
    const BYTES: usize = 36 * MEBIBYTE;
    let served = serve();
    let follow = r#"{"op":"subscribe","table":"orders","hashId":"s","query":{"limit":50}}"#;
    let mut reader = served.connect("demo", "reader");
    reader.send(follow);
    reader.text_with("\"snapshot\"");
    let mut writer = served.connect("demo", "writer");
    // What the bus and the tails keep is there before it is measured.
    write_much(&mut writer, &mut reader, BYTES);
    let mut sleepers = Vec::new();
    for number in 0..SLEEPERS {
        let mut socket = served.connect("demo", &format!("sleeper{number}"));
        socket.send(follow);
        sleepers.push(socket);
    }
    let before = resident_bytes(&served);
    write_much(&mut writer, &mut reader, BYTES);
    let grown = resident_bytes(&served).saturating_sub(before);
    let allowed = SLEEPERS * 3 * MEBIBYTE / 2 + 40 * MEBIBYTE;
    assert!(
        grown < allowed,
        "{grown} bytes more for {SLEEPERS} sockets that do not read"
    );
    is_well(&served);
}

/// Changes one row until this many bytes have gone to each subscriber, and reads them all.
fn write_much(writer: &mut Socket, reader: &mut Socket, bytes: usize) {
    let note = "n".repeat(20_000);
    for round in 0..bytes / note.len() {
        let note = format!("{note}{round}");
        let payload = json!({ "primaryId": "1", "updates": { "note": note } });
        let update = json!({ "op": "rpc", "method": "UPDATE_SINGLE", "table": "orders",
            "correlationId": "w", "payload": payload });
        writer.send(&update.to_string());
        writer.text_with("rpcResult");
        reader.text_with(&note);
    }
}

/// Nothing that one tenant does reaches another: rows, procedures, broadcasts, joins.
#[test]
fn tenants_do_not_meet() {
    let served = serve();
    let mut other = served.connect("other", "spy");
    other.send(r#"{"op":"subscribe","table":"orders","hashId":"o","query":{}}"#);
    assert!(other.text_with("\"snapshot\"").contains("top-secret"));
    let mut demo = served.connect("demo", "user");
    demo.send(r#"{"op":"subscribe","table":"orders","hashId":"o","query":{}}"#);
    let page = demo.text_with("\"snapshot\"");
    assert!(page.contains("\"two\"") && !page.contains("top-secret"));
    demo.send(r#"{"type":"broadcast","data":"hello-from-demo"}"#);
    demo.text_with("hello-from-demo");
    let add = |secret: &str| {
        json!({ "op": "rpc", "method": "ADD_SINGLE", "table": "orders", "correlationId": secret,
            "payload": { "row": { "note": secret } } })
        .to_string()
    };
    demo.send(&add("for-demo-only"));
    demo.text_with("\"diff\"");
    other.send(r#"{"type":"broadcast","data":"the-end"}"#);
    let seen = other.texts_until("the-end");
    assert!(!seen.iter().any(|text| text.contains("demo")), "{seen:?}");
    for socket in ["a_b", "demo_x", "../demo", ""] {
        let refused = TcpStream::connect(served.address()).and_then(|mut stream| {
            let path = format!("GET /?tenant={socket} HTTP/1.1\r\n");
            stream.write_all(path.as_bytes())?;
            stream.write_all(UPGRADE.as_bytes())?;
            let mut head = [0; 12];
            stream.read_exact(&mut head)?;
            Ok(String::from_utf8_lossy(&head).into_owned())
        });
        let status = refused.expect("it answers");
        assert!(
            socket.is_empty() || !status.contains("101"),
            "{socket:?} {status}"
        );
    }
}

const UPGRADE: &str = "host: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn upgrade(stream: &mut TcpStream) {
    stream.write_all(b"GET / HTTP/1.1\r\n").expect("it reads");
    stream.write_all(UPGRADE.as_bytes()).expect("it reads");
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("it upgrades");
        seen.push(byte[0]);
    }
    assert!(seen.starts_with(b"HTTP/1.1 101"));
}

fn resident_bytes(served: &Served) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", served.id()));
    let status = status.expect("the server runs");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("Linux says so");
    let kibibytes = line
        .split_whitespace()
        .nth(1)
        .and_then(|text| text.parse::<usize>().ok());
    kibibytes.expect("a number") * 1_024
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        let word = word << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = (word >> (18 - 6 * place)) & 63;
            let is_padding = place > chunk.len();
            text.push(if is_padding {
                '='
            } else {
                char::from(ALPHABET[digit as usize])
            });
        }
    }
    text
}
