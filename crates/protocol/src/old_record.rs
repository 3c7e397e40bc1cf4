//! Records that the gateway which Tidegate replaces writes and reads beside its queries: seeds of
//! pages, and events of rows.
//!
//! Its routing key is text, `{tenant}_{table}|{label}`, which cannot be taken apart: a tenant may
//! hold an underscore, a table a bar. What says the parts as well, as a seed does, is believed only
//! if they make that very key.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use tidegate_core::Lsn;

use crate::binary_frame::WireChange;
use crate::client_frame::HashId;
use crate::json_text::{write_int, write_string};
use crate::record_bytes::RecordError;

/// Longest key that is taken: three names of the lengths that we take.
const OLD_KEY_BYTES_MAX: usize = 1_024;

/// A routing key of the old gateway, as it is written.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OldKey(Arc<str>);

impl OldKey {
    /// Takes a record's key. `None` when it is no text, empty, or too long.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let is_long = bytes.len() > OLD_KEY_BYTES_MAX;
        let text = std::str::from_utf8(bytes).ok().filter(|_| !is_long)?;
        (!text.is_empty()).then(|| Self(text.into()))
    }

    /// The key of these parts, each as the old gateway writes it.
    #[must_use]
    pub fn of(company: &str, table: &str, label: &str) -> Self {
        Self(format!("{company}_{table}|{label}").into())
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for OldKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The rows that an old gateway has given to a client.
#[derive(Debug, Clone)]
pub struct PageSeed {
    /// The tenant, as it is written there.
    pub company: String,
    /// The table, as clients name it.
    pub table: String,
    /// The client's label.
    pub label: HashId,
    /// The client gets no diff of this LSN or a lower one. `None` when what is said is no LSN.
    pub listens_above: Option<Lsn>,
    /// The rows: a JSON object each.
    pub rows: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonSeed<'a> {
    company_id: String,
    table: String,
    hash_id: String,
    #[serde(borrow)]
    cursor: Option<JsonCursor<'a>>,
    #[serde(borrow)]
    rows: &'a RawValue,
}

#[derive(Deserialize)]
struct JsonCursor<'a> {
    #[serde(borrow)]
    lsn: Option<&'a RawValue>,
}

/// What the rows of a seed are when the old gateway's first attempt at them failed.
#[derive(Deserialize)]
struct JsonRows {
    rows: Vec<Box<RawValue>>,
}

impl PageSeed {
    /// Reads a record of the topic of seeds.
    ///
    /// # Errors
    /// When it is no seed, or its key is not the key of what it says.
    pub fn read(key: &OldKey, value: &[u8]) -> Result<Self, RecordError> {
        let bad = RecordError::Invalid;
        let text = std::str::from_utf8(value).map_err(|_| bad("the text"))?;
        let seed: JsonSeed<'_> = serde_json::from_str(text).map_err(|_| bad("the seed"))?;
        if OldKey::of(&seed.company_id, &seed.table, &seed.hash_id) != *key {
            return Err(bad("the key"));
        }
        let rows = seed.rows.get();
        let rows = serde_json::from_str(rows)
            .or_else(|_| serde_json::from_str(rows).map(|JsonRows { rows }| rows))
            .map_err(|_| bad("the array of rows"))?;
        Ok(Self {
            company: seed.company_id,
            table: seed.table,
            label: HashId::parse(&seed.hash_id).ok_or(bad("the label"))?,
            listens_above: listens_above(seed.cursor.and_then(|cursor| cursor.lsn)),
            rows,
        })
    }
}

/// A cursor without an LSN is before everything, as one of the old gateway's is.
fn listens_above(lsn: Option<&RawValue>) -> Option<Lsn> {
    let Some(lsn) = lsn else {
        return Some(Lsn::ZERO);
    };
    match lsn.get() {
        "null" => Some(Lsn::ZERO),
        text => text.trim_matches('"').parse().ok(),
    }
}

/// One change of a page as its clients get it, on the topic of row events.
#[derive(Debug, Clone, Copy)]
pub struct RowEvent<'a> {
    /// Whose page.
    pub key: &'a OldKey,
    /// The label, which is in the key as well.
    pub label: &'a HashId,
    /// Its LSN.
    pub lsn: Lsn,
    /// What happens to which row. An index of `u32::MAX` is left out.
    pub change: &'a WireChange,
    /// Rows longer than this are left out, for the client to fetch.
    pub row_bytes_max: usize,
}

impl RowEvent<'_> {
    /// The record's value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160 + self.change.row().map_or(0, str::len));
        out.extend_from_slice(b"{\"routingKey\":");
        write_string(&mut out, self.key.as_str());
        out.extend_from_slice(b",\"hashId\":");
        write_string(&mut out, self.label.as_str());
        out.extend_from_slice(b",\"lsn\":\"");
        write_int(&mut out, self.lsn.get());
        let (kind, from, pos) = match self.change {
            WireChange::Removed { from, .. } => ("removed", Some(*from), None),
            WireChange::Added { pos, .. } => ("added", None, Some(*pos)),
            WireChange::Modified { from, pos, .. } => ("modified", Some(*from), Some(*pos)),
        };
        out.extend_from_slice(b"\",\"kind\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",\"pk\":");
        write_string(&mut out, self.change.pk());
        write_place(&mut out, "pos", pos);
        write_place(&mut out, "from", from);
        match self.change.row() {
            Some(row) if row.len() > self.row_bytes_max => {
                out.extend_from_slice(b",\"needFetch\":true");
            }
            Some(row) => {
                out.extend_from_slice(b",\"needFetch\":false,\"row\":");
                out.extend_from_slice(row.as_bytes());
            }
            None => out.extend_from_slice(b",\"needFetch\":false"),
        }
        out.push(b'}');
        out
    }
}

fn write_place(out: &mut Vec<u8>, name: &str, at: Option<u32>) {
    if let Some(at) = at.filter(|at| *at != u32::MAX) {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        write_int(out, at);
    }
}

#[cfg(test)]
mod tests;
