//! Shows that what the old gateway was recorded to write is understood, that a seed is believed
//! only under its own key, and what a row event looks like.

use serde_json::{Value, json};

use super::*;
use crate::golden;
use crate::query_flatbuffer::decode_query;

fn key(text: &str) -> OldKey {
    OldKey::read(text.as_bytes()).expect("a key")
}

/// The fields of a seed, as far as its reader goes by them.
fn seed(fields: &Value) -> Result<PageSeed, RecordError> {
    PageSeed::read(&key("demo_notes|q1"), fields.to_string().as_bytes())
}

fn fields() -> Value {
    json!({"companyId": "demo", "table": "notes", "hashId": "q1", "cursor": {"lsn": "5"},
        "rows": []})
}

#[test]
fn recorded_seeds_are_understood() {
    let records = golden::records("seed_subscribe_json");
    let seeds: Vec<PageSeed> = records
        .iter()
        .map(|record| PageSeed::read(&key(&record.key), &record.value).expect("recorded"))
        .collect();
    let above: Vec<_> = seeds
        .iter()
        .map(|seed| seed.listens_above.map(Lsn::get))
        .collect();
    assert_eq!(above, [Some(0), Some(9_007_199_254_741_000)]);
    assert!(
        seeds
            .iter()
            .all(|seed| seed.rows.len() == 2 && seed.company == "demo")
    );
    let row = seeds[0].rows[1].get();
    assert!(row.starts_with(r#"{"id":"n02","title":"Gamma 2","n":20,"big":"9007199254740992""#));
}

/// After a first attempt that failed the old gateway writes an object where the rows should be.
#[test]
fn a_recorded_seed_of_a_second_attempt_is_understood() {
    let records = golden::records("seed_subscribe_fb");
    let read = |record: &golden::Recorded| {
        let seed = PageSeed::read(&key(&record.key), &record.value).expect("recorded");
        (record.key.clone(), seed.rows.len())
    };
    let rows: Vec<_> = records.iter().map(read).collect();
    assert!(
        rows.contains(&("demo_notes|qfb".to_owned(), 30)),
        "{rows:?}"
    );
    assert!(
        rows.contains(&("demo_notes|qboth".to_owned(), 2)),
        "{rows:?}"
    );
}

#[test]
fn recorded_queries_are_understood_and_what_is_none_is_not() {
    let records = golden::records("control_subscribe_unsubscribe");
    let specs: Vec<_> = records
        .iter()
        .map(|record| decode_query(&record.value))
        .collect();
    assert_eq!(specs.len(), 2);
    let spec = specs[0].as_ref().expect("recorded");
    assert_eq!((spec.limit, spec.order.len()), (Some(2), 1));
    assert_eq!(specs[0], specs[1]);
    let [first, second, junk] = &golden::records("control_subscribe_fb")[..] else {
        panic!("three were recorded");
    };
    assert!(decode_query(&first.value).is_ok() && decode_query(&second.value).is_ok());
    assert!(decode_query(&junk.value).is_err());
}

#[test]
fn a_seed_is_believed_under_its_own_key_only() {
    assert!(seed(&fields()).is_ok());
    for (field, value) in [("companyId", "other"), ("table", "note"), ("hashId", "q2")] {
        let mut changed = fields();
        changed[field] = value.into();
        assert_eq!(
            seed(&changed).err(),
            Some(RecordError::Invalid("the key")),
            "{field}"
        );
    }
    // The same key, but another tenant's: the tenant that it names is the one that counts.
    let text = fields()
        .to_string()
        .replace("\"demo\"", "\"demo_notes\"")
        .replace("\"notes\"", "\"x\"");
    assert!(PageSeed::read(&key("demo_notes|q1"), text.as_bytes()).is_err());
}

#[test]
fn an_lsn_has_both_forms_or_none() {
    let check = |cursor: Value, above: Option<u64>| {
        let mut changed = fields();
        changed["cursor"] = cursor.clone();
        let read = seed(&changed).expect("a seed").listens_above.map(Lsn::get);
        assert_eq!(read, above, "{cursor}");
    };
    check(json!({"lsn": "97500059720"}), Some(97_500_059_720));
    check(json!({"lsn": "16/B374D848"}), Some(97_500_059_720));
    check(json!({"lsn": 7}), Some(7));
    check(json!({"id": "n1"}), Some(0));
    check(Value::Null, Some(0));
    check(json!({"lsn": "1".repeat(300)}), None);
    check(json!({"lsn": {"high": 1}}), None);
}

/// Whatever the bytes are, reading them ends in a value or an error.
#[test]
fn hostile_seeds_are_errors() {
    for bytes in [
        &b""[..],
        b"null",
        b"[]",
        b"{\"companyId\":1}",
        b"\xff\xfe",
        b"{\"companyId\":\"demo\",\"table\":\"notes\",\"hashId\":\"q1\"}",
        b"{\"companyId\":\"demo\",\"table\":\"notes\",\"hashId\":\"q1\",\"rows\":7}",
    ] {
        assert!(PageSeed::read(&key("demo_notes|q1"), bytes).is_err());
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(PageSeed::read(&key("demo_notes|q1"), deep.as_bytes()).is_err());
    assert!(OldKey::read(b"").is_none());
    assert!(OldKey::read(&[b'x'; 2000]).is_none());
    assert!(OldKey::read(b"\xff").is_none());
}

#[test]
fn a_row_event_is_what_old_clients_know() {
    let (key, label) = (key("demo_notes|q1"), HashId::parse("q1").expect("short"));
    let event = |change: &WireChange, row_bytes_max: usize| {
        let lsn = Lsn::new(97_500_059_730);
        let event = RowEvent {
            key: &key,
            label: &label,
            lsn,
            change,
            row_bytes_max,
        };
        String::from_utf8(event.encode()).expect("text")
    };
    let head = r#"{"routingKey":"demo_notes|q1","hashId":"q1","lsn":"97500059730","kind":"#;
    let (pk, row) = ("n9".to_owned(), r#"{"id":"n9"}"#.to_owned());
    let added = WireChange::Added {
        pk: pk.clone(),
        pos: 3,
        row: row.clone(),
    };
    let rest = r#""added","pk":"n9","pos":3,"needFetch":false,"row":{"id":"n9"}}"#;
    assert_eq!(event(&added, 100), format!("{head}{rest}"));
    let rest = r#""added","pk":"n9","pos":3,"needFetch":true}"#;
    assert_eq!(event(&added, 5), format!("{head}{rest}"));
    let modified = WireChange::Modified {
        pk: pk.clone(),
        from: 3,
        pos: 1,
        row,
    };
    let rest = r#""modified","pk":"n9","pos":1,"from":3,"needFetch":false,"row":{"id":"n9"}}"#;
    assert_eq!(event(&modified, 100), format!("{head}{rest}"));
    let removed = |from| WireChange::Removed {
        pk: pk.clone(),
        from,
    };
    let rest = r#""removed","pk":"n9","from":1,"needFetch":false}"#;
    assert_eq!(event(&removed(1), 100), format!("{head}{rest}"));
    let rest = r#""removed","pk":"n9","needFetch":false}"#;
    assert_eq!(event(&removed(u32::MAX), 100), format!("{head}{rest}"));
}
