//! That keys cannot be confused, that LSNs keep their digits in every form, and that what was
//! recorded of the cache and of the seed topic is read and written byte for byte.

use serde_json::Value;

use super::*;
use crate::golden::file;

fn key(tenant: &str, table: &str, label: &str) -> Option<ForeignKey> {
    ForeignKey::new(
        &TenantId::parse(tenant).unwrap(),
        &TableName::parse(table).unwrap(),
        &HashId::parse(label).unwrap(),
    )
}

/// `a_b` + `c` and `a` + `b_c` would be one key, and so would a bar moved from label to table.
#[test]
fn no_two_pages_have_one_key() {
    assert_eq!(
        key("demo", "notes", "q1").unwrap().as_str(),
        "demo_notes|q1"
    );
    assert!(key("a", "b_c", "x|y").is_some());
    assert_eq!(key("a_b", "c", "q"), None);
    assert_eq!(key("a", "b|c", "q"), None);
}

#[test]
fn lsn_headers_in_every_name_and_form() {
    let check = |headers: &[(&str, Option<&str>)], expect: Option<Option<u64>>| {
        let headers = headers
            .iter()
            .map(|(name, value)| (*name, value.map(str::as_bytes)));
        let read = header_lsn(headers).ok().map(|lsn| lsn.map(Lsn::get));
        assert_eq!(read, expect);
    };
    check(&[], Some(None));
    check(&[("other", Some("5"))], Some(None));
    for name in ["lsn", "LSN", "__lsn"] {
        check(&[(name, Some("97500059720"))], Some(Some(97_500_059_720)));
        check(&[(name, Some("16/B374D848"))], Some(Some(0x16_B374_D848)));
        check(&[(name, Some("abc"))], None);
        check(&[(name, None)], None);
    }
    check(&[("LSN", Some("2")), ("lsn", Some("1"))], Some(Some(1)));
    let highest = u64::MAX.to_string();
    check(&[("lsn", Some(&highest))], Some(Some(u64::MAX)));
}

#[test]
fn row_events_keep_their_digits_and_lose_their_blanks() {
    let event =
        br#" {"routingKey": "demo_notes|q1", "row": {"n": 12345678901234567890, "t": "a b\" c"}} "#;
    let read = ForeignEvent::decode(event).unwrap();
    assert_eq!(read.key, "demo_notes|q1");
    assert_eq!(
        read.json,
        r#"{"routingKey":"demo_notes|q1","row":{"n":12345678901234567890,"t":"a b\" c"}}"#
    );
    let deep = format!(
        "{{\"routingKey\":\"k\",\"x\":{}{}}}",
        "[".repeat(500),
        "]".repeat(500)
    );
    let hostile: [&[u8]; 6] = [
        b"",
        b"not json",
        b"[]",
        b"{\"kind\":1}",
        b"\xff",
        deep.as_bytes(),
    ];
    for bytes in hostile {
        assert!(ForeignEvent::decode(bytes).is_err());
    }
}

/// The seed of a recorded snapshot, byte for byte but for its LSN, which was wrong.
#[test]
fn a_seed_is_what_was_recorded() {
    let recorded: Value = serde_json::from_str(&file("kafka/seed_subscribe_json.json")).unwrap();
    let record = &recorded["records"][0];
    let text = record["value_text"].as_str().unwrap();
    let seed: Value = serde_json::from_str(text).unwrap();
    let rows = &text[text.find("\"rows\":").unwrap() + 7..text.len() - 1];
    let reply = format!("{{\"rows\":{rows},\"cursor\":{{\"id\":\"n02\",\"lsn\":\"0/157E540\"}}}}");
    let page = ForeignPage::decode(reply.as_bytes()).unwrap();
    assert_eq!(page.lsn, Some(Lsn::new(0x157_E540)));
    let written = page.seed(
        &TenantId::parse("demo").unwrap(),
        &TableName::parse("notes").unwrap(),
        &HashId::parse("q1").unwrap(),
    );
    let expect = text.replace("\"lsn\":\"0\"", "\"lsn\":\"22537536\"");
    assert_eq!(written, expect.as_bytes());
    assert_eq!(seed["rows"].as_array().unwrap().len(), 2);
    let stored = page.stored(7);
    assert!(stored.ends_with(br#","cursor":{"id":"n02","lsn":"22537536"},"ts":7}"#));
    for bad in [
        "",
        "null",
        "{}",
        "{\"rows\":1}",
        "{\"rows\":[],\"cursor\":[1]}",
    ] {
        assert!(ForeignPage::decode(bad.as_bytes()).is_err(), "{bad}");
    }
    assert_eq!(ForeignPage::decode(b"[]").unwrap().lsn, None);
}

/// Every entry that was recorded is read; those with an LSN are written the same.
#[test]
fn stored_diffs_are_what_was_recorded() {
    let recorded: Value = serde_json::from_str(&file("redis/diff_many.json")).unwrap();
    let mut count = 0;
    for key in recorded["keys"].as_array().unwrap() {
        for entry in key["value"].as_array().unwrap() {
            let entry = entry.as_str().unwrap();
            match read_stored_diff(entry.as_bytes()) {
                Some((lsn, payload)) => assert_eq!(stored_diff(lsn, &payload), entry),
                None => assert!(entry.contains("\"lsn\":\"0\""), "{entry}"),
            }
            count += 1;
        }
    }
    assert_eq!(count, 14);
    for bad in [
        "",
        "{}",
        "{\"lsn\":\"x\",\"b64\":\"\"}",
        "{\"lsn\":\"1\",\"b64\":\"!\"}",
    ] {
        assert_eq!(read_stored_diff(bad.as_bytes()), None);
    }
}
