//! Recorded traffic, for tests: `tests/golden`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// A recorded file as it is.
pub(crate) fn file(path: &str) -> String {
    std::fs::read_to_string(folder(path)).unwrap()
}

/// Recorded messages whose file name starts so, by name.
pub(crate) fn recordings(prefix: &str) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder("fb")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with(prefix) {
            let text = std::fs::read(path).unwrap();
            found.insert(name, serde_json::from_slice(&text).unwrap());
        }
    }
    assert!(found.len() > 10, "{prefix} finds recordings");
    found
}

/// The bytes of a recorded message, unless nothing was sent.
pub(crate) fn bytes_of(recording: &Value) -> Option<Vec<u8>> {
    recording["hex"].as_str().map(hex_bytes)
}

/// A recorded connection: its events in order.
pub(crate) fn transcript(name: &str) -> Vec<Value> {
    let path = folder("ws").join(format!("transcript_{name}.jsonl"));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The text frames that clients sent.
pub(crate) fn sent(transcript: &[Value]) -> impl Iterator<Item = &str> {
    transcript
        .iter()
        .filter(|event| event["dir"] == "out" && event["kind"] == "text")
        .filter_map(|event| event["text"].as_str())
}

/// A record that the old gateway wrote.
pub(crate) struct Recorded {
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
}

/// The records of one recording of topics, in order.
pub(crate) fn records(name: &str) -> Vec<Recorded> {
    let text = std::fs::read(folder("kafka").join(format!("{name}.json"))).unwrap();
    let recording: Value = serde_json::from_slice(&text).unwrap();
    let records = recording["records"].as_array().unwrap().iter();
    let value = |record: &Value| match &record["value_text"] {
        Value::String(text) => text.clone().into_bytes(),
        _ => hex_bytes(record["value_hex"].as_str().unwrap()),
    };
    records
        .map(|record| Recorded {
            key: record["key"].as_str().unwrap().to_owned(),
            value: value(record),
        })
        .collect()
}

fn hex_bytes(hex: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}
