//! Shows the demo as its visitors get it: tables are there at once, the page of open tickets moves,
//! and a crash loses nothing.

use crate::harness::{OPEN_TICKETS, Served, Socket};

fn count(socket: &mut Socket, table: &str) -> String {
    socket.send(&format!(
        r#"{{"op":"rpc","method":"RUN_AGGREGATION","table":"{table}","payload":{{}},"correlationId":"{table}"}}"#
    ));
    socket.text_with(&format!("\"correlationId\":\"{table}\""))
}

#[test]
fn the_page_of_open_tickets_is_full_and_moves() {
    let served = Served::start(&["--demo", "--demo-orders", "500"]);
    let mut socket = served.connect("demo", "ada");
    socket.send(OPEN_TICKETS);
    let page = socket.text_with("\"op\":\"snapshot\"");
    assert_eq!(page.matches("\"subject\":").count(), 20, "{page}");
    for _ in 0..3 {
        socket.text_with("\"op\":\"diff\"");
    }
    let answer = count(&mut socket, "orders");
    assert!(answer.contains("\"count\":50"), "{answer}");
}

/// A visitor opens a ticket by saying what is wrong and for whom, in one of the numbers that the
/// demo's writer would have used; the writer goes on behind it.
#[test]
fn a_visitor_opens_a_ticket_in_two_words() {
    let served = Served::start(&["--demo", "--demo-orders", "500"]);
    let mut socket = served.connect("demo", "ada");
    socket.send(OPEN_TICKETS);
    socket.text_with("\"op\":\"snapshot\"");
    socket.send(
        r#"{"op":"rpc","method":"ADD_SINGLE","table":"tickets","correlationId":"new",
            "payload":{"row":{"subject":"The kettle sings","customer":"Ada"}}}"#,
    );
    let ours = socket.text_with("The kettle sings");
    let (_, rest) = ours.split_once("\"id\":").expect("the row is whole");
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let id: u64 = digits.parse().expect("the database numbers tickets");
    assert!(ours.contains("\"status\":\"open\""), "{ours}");
    socket.text_with(&format!("\"pk\":\"{}\"", id + 1));
}

/// The rows are made once: after `kill -9` the demo goes on with those it has.
#[test]
fn it_goes_on_after_a_crash() {
    let served = Served::start(&["--demo", "--demo-orders", "500", "--demo-pace", "still"]);
    let mut socket = served.connect("demo", "ada");
    let before = count(&mut socket, "tickets");
    assert!(before.contains("\"count\":2000"), "{before}");
    let served = served.crash_and_restart();
    let mut socket = served.connect("demo", "ada");
    assert_eq!(count(&mut socket, "tickets"), before);
    let log = served.log();
    assert_eq!(log.matches("demo table filled").count(), 3, "{log}");
}

/// A first start that was cut off left fewer rows than there should be; the next one adds the rest.
#[test]
fn what_a_first_start_did_not_finish_is_finished() {
    let served = Served::start(&["--demo", "--demo-orders", "500", "--demo-pace", "still"]);
    let mut socket = served.connect("demo", "ada");
    let whole = count(&mut socket, "orders");
    for id in ["499", "500"] {
        socket.send(&format!(
            r#"{{"op":"rpc","method":"DELETE_ROW","table":"orders","payload":{{"primaryId":"{id}"}},
                "correlationId":"delete {id}"}}"#
        ));
        socket.text_with(&format!("\"correlationId\":\"delete {id}\""));
    }
    assert_ne!(count(&mut socket, "orders"), whole);
    let served = served.crash_and_restart();
    let mut socket = served.connect("demo", "ada");
    assert_eq!(count(&mut socket, "orders"), whole);
}

/// A query may say nothing at all: then it is the first fifty rows by primary key.
#[test]
fn a_query_without_a_limit_has_the_usual_one() {
    let served = Served::start(&["--demo", "--demo-orders", "0"]);
    let mut socket = served.connect("demo", "ada");
    socket.send(r#"{"op":"subscribe","table":"tickets","hashId":"any","query":{}}"#);
    let page = socket.text_with("\"hashId\":\"any\",");
    assert!(page.contains("\"op\":\"snapshot\""), "{page}");
    assert_eq!(page.matches("\"subject\":").count(), 50, "{page}");
}
