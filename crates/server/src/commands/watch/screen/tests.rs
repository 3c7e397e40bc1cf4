//! Shows that the picture of a page is the page: its rows in order, marks on what changed and on
//! nothing else, and never more lines or columns than the window has.

use std::time::Duration;

use tidegate_client::{PageRow, TableShape};

use super::{Header, Link, MARK_TIME, Screen, Size, age};
use crate::commands::watch::text::width;

const WINDOW: Size = Size {
    columns: 40,
    rows: 10,
};

fn screen() -> Screen {
    let json = r#"{"name":"t","columns":[
        {"name":"id","type":"bigint"},{"name":"name","type":"text"},{"name":"n","type":"integer"}]}"#;
    let table: TableShape = serde_json::from_str(json).expect("valid");
    Screen::new(&table)
}

fn row(id: u32, name: &str, n: u32) -> PageRow {
    let json = format!(r#"{{"id":"{id}","name":"{name}","n":{n}}}"#);
    PageRow::new(&id.to_string(), &json)
}

fn header(link: Link) -> Header<'static> {
    Header {
        title: "tickets",
        link,
        position: Some("7-12"),
        since_change: Some(Duration::from_secs(3)),
    }
}

/// The picture's lines with marks as `<…>` and other escapes left out.
fn lines(picture: &str) -> Vec<String> {
    let plain = picture
        .replace("\x1b[30;43m", "<")
        .replace("\x1b[0m", ">")
        .replace("\x1b[K\r\n", "\n");
    let mut out = String::new();
    let mut rest = plain.as_str();
    while let Some((before, after)) = rest.split_once('\x1b') {
        out.push_str(before);
        let end = after
            .find(|c: char| c.is_ascii_alphabetic())
            .expect("escapes end");
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    out.lines().map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn a_page_is_a_table() {
    let mut screen = screen();
    screen.show(&[row(10, "Ada", 5), row(9, "日本", 12)], Duration::ZERO);
    let picture = screen.picture(&header(Link::Live), WINDOW, Duration::ZERO);
    let expect = [
        "tickets  ● live>  2 rows  at 7-12  chang…",
        "id  name   n>",
        "10  Ada    5",
        " 9  日本  12",
    ];
    assert_eq!(lines(&picture), expect);
    assert_eq!(
        screen.table(40),
        "id  name   n\n10  Ada    5\n 9  日本  12\n"
    );
    assert!(picture.starts_with("\x1b[H") && picture.ends_with("\x1b[J"));
}

#[test]
fn marks_what_changed_for_a_while() {
    let mut screen = screen();
    screen.show(&[row(1, "a", 1), row(2, "b", 1)], Duration::ZERO);
    let later = Duration::from_secs(5);
    screen.show(&[row(3, "c", 1), row(2, "b", 2), row(1, "a", 1)], later);
    let rows = |now| lines(&screen.picture(&header(Link::Live), WINDOW, now))[2..].to_vec();
    assert_eq!(
        rows(later),
        ["< 3>  <c   >  <1>", " 2  b     <2>", " 1  a     1"]
    );
    assert_eq!(
        rows(later + MARK_TIME),
        [" 3  c     1", " 2  b     2", " 1  a     1"]
    );
}

/// A mark outlives a change of another cell of its row.
#[test]
fn marks_have_their_own_time() {
    let mut screen = screen();
    screen.show(&[row(1, "a", 1)], Duration::ZERO);
    let first = Duration::from_secs(5);
    screen.show(&[row(1, "b", 1)], first);
    let second = first + MARK_TIME / 2;
    screen.show(&[row(1, "b", 2)], second);
    let rows = |now| lines(&screen.picture(&header(Link::Live), WINDOW, now))[2].clone();
    assert_eq!(rows(second), " 1  <b   >  <2>");
    assert_eq!(rows(first + MARK_TIME), " 1  b     <2>");
}

#[test]
fn says_how_the_page_is_fed() {
    let screen = screen();
    let wide = Size {
        columns: 200,
        rows: 10,
    };
    let first =
        |header: &Header<'_>| lines(&screen.picture(header, wide, Duration::ZERO))[0].clone();
    let loading = Header {
        position: None,
        since_change: None,
        ..header(Link::Loading)
    };
    assert_eq!(first(&loading), "tickets  ● loading>  0 rows");
    let lost = header(Link::Lost("reconnecting\x1b[2J".to_owned()));
    let expect = "tickets  ● reconnecting·[2J>  0 rows  at 7-12  changed 3 s ago";
    assert_eq!(first(&lost), expect);
}

/// Whatever the window's size, no line is wider, and there are fewer lines than it has.
#[test]
fn stays_within_the_window() {
    let mut screen = screen();
    let rows: Vec<PageRow> = (0..50).map(|id| row(id, &"日x".repeat(40), id)).collect();
    screen.show(&rows, Duration::ZERO);
    for columns in 3..100 {
        for window_rows in [6, 10, 60] {
            let size = Size {
                columns,
                rows: window_rows,
            };
            let picture = screen.picture(&header(Link::Live), size, Duration::ZERO);
            let lines = lines(&picture.replace("\x1b[0m", ""));
            assert!(
                lines.len() < window_rows,
                "{} lines of {window_rows}",
                lines.len()
            );
            for line in lines {
                assert!(width(&line) <= columns, "{columns}: {line}");
            }
        }
    }
}

/// A window too narrow for all columns shows the first ones, readable, and says that there are
/// more.
#[test]
fn leaves_out_columns_that_do_not_fit() {
    let mut screen = screen();
    screen.show(&[row(1, "a long name", 12)], Duration::ZERO);
    assert_eq!(screen.table(17), "id  name        n\n 1  a long n…  12\n");
    assert_eq!(screen.table(16), "id  name      …\n 1  a long n…\n");
    assert_eq!(screen.table(5), "id …\n 1\n");
}

/// Rows below the window are counted, not shown.
#[test]
fn counts_what_is_below() {
    let mut screen = screen();
    let rows: Vec<PageRow> = (0..9).map(|id| row(id, "x", id)).collect();
    screen.show(&rows, Duration::ZERO);
    let picture = lines(&screen.picture(&header(Link::Live), WINDOW, Duration::ZERO));
    assert_eq!(picture.last().map(String::as_str), Some("… 3 more rows>"));
    assert_eq!(picture.len(), 9);
}

#[test]
fn ages_are_short() {
    let check = |seconds, expect: &str| assert_eq!(age(Duration::from_secs(seconds)), expect);
    check(0, "0 s");
    check(59, "59 s");
    check(60, "1 min");
    check(7_300, "2 h");
}
