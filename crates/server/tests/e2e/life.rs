//! Shows the life of the server: what it says when it is up, what it answers over HTTP, how it
//! leaves, and with which code it refuses to start.

use std::net::TcpListener;

use crate::harness::{Folder, OPEN_TICKETS, Served, ask, get, run};

#[test]
fn it_says_where_it_is_and_answers_over_http() {
    let served = Served::start(&[]);
    let ready = format!("tidegate is ready: http://{}", served.address());
    assert!(served.greeting.contains(&ready), "{}", served.greeting);
    let health = served.get("/health");
    assert_eq!(health.status, 200);
    for part in ["\"status\":\"healthy\"", "\"sessions\":0", "\"uptime\":"] {
        assert!(health.body.contains(part), "{}", health.body);
    }
    let ready = served.get("/ready");
    assert_eq!(ready.status, 200, "{}", ready.body);
    for part in ["bus", "cache", "database", "relay", "processor", "gateway"] {
        assert!(
            ready.body.contains(&format!("\"{part}\":true")),
            "{}",
            ready.body
        );
    }
    let metrics = served.get("/metrics");
    assert_eq!(metrics.status, 200);
    assert!(metrics.body.contains("tidegate_"), "{}", metrics.body);
    let console = served.get("/");
    assert_eq!(console.status, 200);
    assert!(
        console.has_header("x-content-type-options: nosniff"),
        "{}",
        console.head
    );
    assert!(
        console
            .head
            .to_lowercase()
            .contains("content-security-policy: default-src 'self'")
    );
    assert_eq!(served.get("/style.css").status, 200);
}

#[test]
fn after_sigterm_clients_are_sent_away_and_the_code_is_zero() {
    let mut served = Served::start(&[]);
    let mut socket = served.connect("acme", "ada");
    socket.text_with("\"welcome\"");
    served.signal("TERM");
    assert_eq!(socket.close_code(), 1001);
    assert_eq!(served.wait().code(), Some(0), "{}", served.log());
}

#[test]
fn a_port_in_use_is_a_sentence_and_code_69() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let folder = Folder::new();
    let output = run(folder.path(), &["serve", "--listen", &address]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{stderr}");
    let last = stderr.lines().last().unwrap_or_default();
    let sentence = format!("tidegate: cannot listen on {address}: ");
    assert!(last.starts_with(&sentence), "{stderr}");
}

#[test]
fn a_data_folder_that_cannot_be_made_is_code_73() {
    let folder = Folder::new();
    std::fs::write(folder.path().join("file"), "in the way").expect("writable");
    let output = run(folder.path(), &["serve", "--data", "file/data"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(73), "{stderr}");
    assert!(stderr.contains("file/data"), "{stderr}");
}

#[test]
fn a_file_that_is_no_database_is_code_65() {
    let folder = Folder::new();
    let text = "this is only text, and long enough to be read as a page ".repeat(100);
    std::fs::write(folder.path().join("shop.db"), text).expect("writable");
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--database",
        "sqlite:shop.db",
    ];
    let output = run(folder.path(), &arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(65), "{stderr}");
    assert!(stderr.contains("shop.db"), "{stderr}");
}

/// Machines ask on an address of their own, which serves neither the console nor WebSockets.
#[test]
fn the_admin_address_serves_machines_only() {
    let admin = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = admin.local_addr().expect("it is bound");
    drop(admin);
    let served = Served::start(&["--admin", &address.to_string()]);
    assert_eq!(get(address, "/health").status, 200);
    assert_eq!(get(address, "/ready").status, 200);
    assert_eq!(get(address, "/metrics").status, 200);
    assert_eq!(get(address, "/").status, 404);
    assert_eq!(served.get("/metrics").status, 404, "not for clients then");
}

/// Whatever the server measures, an operator can look up what it means.
#[test]
fn every_metric_is_in_the_document() {
    let served = Served::start(&["--demo", "--demo-orders", "0"]);
    let mut socket = served.connect("demo", "ada");
    socket.send(OPEN_TICKETS);
    socket.text_with("\"op\":\"diff\"");
    let metrics = served.get("/metrics").body;
    let document = include_str!("../../../../docs/OPERATIONS.md");
    let names = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    let mut count = 0;
    for name in names.filter_map(|line| line.split(' ').next()) {
        assert!(document.contains(&format!("`{name}`")), "document {name}");
        count += 1;
    }
    assert!(count > 10, "{metrics}");
}

/// With tokens asked for, nobody gets in without one, and everybody may ask how the server is.
#[test]
fn without_a_token_nobody_gets_in() {
    let folder = Folder::new();
    let secret = "a secret of more than thirty-two bytes";
    std::fs::write(folder.path().join("key"), secret).expect("writable");
    let served = Served::start_in(folder, &["--auth=jwt", "--jwt-key-file=key"]);
    let answer = ask(
        served.address(),
        "GET /?tenant=demo HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    );
    assert_eq!(answer.status, 401, "{}", answer.body);
    assert_eq!(served.get("/health").status, 200);
}

/// Ctrl-C is as good as a service manager's signal.
#[test]
fn sigint_ends_it_too() {
    let mut served = Served::start(&[]);
    served.signal("INT");
    assert_eq!(served.wait().code(), Some(0), "{}", served.log());
}

/// Two servers on one file would trim the log under each other.
#[test]
fn a_file_that_is_open_is_code_69() {
    let served = Served::start(&[]);
    let output = run(served.folder(), &["serve", "--listen", "127.0.0.1:0"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{stderr}");
    assert!(stderr.contains("another Tidegate"), "{stderr}");
}

/// What a service manager reads from standard error is JSON when asked for, and nothing else.
#[test]
fn the_log_can_be_json() {
    let mut served = Served::start(&["--log-format", "json"]);
    served.signal("TERM");
    served.wait();
    let log = served.log();
    let is_object = |line: &str| line.starts_with('{') && line.ends_with('}');
    assert!(!log.is_empty() && log.lines().all(is_object), "{log}");
}

/// Who does not want to wait for the clients asks a second time.
#[test]
fn a_second_signal_ends_it_at_once() {
    let mut served = Served::start(&["--drain-seconds", "3600"]);
    let mut socket = served.connect("acme", "ada");
    socket.text_with("\"welcome\"");
    served.signal("TERM");
    // The drain has begun, and lasts: this client never answers the close.
    assert_eq!(socket.close_code(), 1001);
    served.signal("TERM");
    assert_eq!(served.wait().code(), Some(1), "{}", served.log());
}
