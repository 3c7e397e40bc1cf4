//! What gateways and stream processors of the first generation tell each other, and keep in the
//! cache, beside FlatBuffers: keys, headers and JSON.
//!
//! All of it was there before us and is taken as it is. Two things are kept better than they were:
//! an LSN never goes through a double, and both text forms of it are read.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tidegate_core::{Lsn, TableName, TenantId};

use crate::client_frame::HashId;
use crate::error_code::{ErrorCode, WireError};
use crate::json_text::{
    DEPTH_MAX, Kind, depth, given, kind, object, string, write_int, write_string,
};
use crate::row_json::is_reserved;

/// The key of a page on every topic and in the cache: `{tenant}_{table}|{hashId}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ForeignKey(Arc<str>);

impl ForeignKey {
    /// Makes a key of its parts. `None` when the text could be read as another's: a tenant with an
    /// underscore, a table with a bar.
    #[must_use]
    pub fn new(tenant: &TenantId, table: &TableName, label: &HashId) -> Option<Self> {
        let is_ambiguous = tenant.as_str().contains('_') || table.as_str().contains('|');
        (!is_ambiguous).then(|| Self(format!("{tenant}_{table}|{label}").into()))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for ForeignKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ForeignKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ForeignKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// The names under which a record's header holds its LSN; the first that is there counts.
const LSN_HEADERS: [&str; 3] = ["lsn", "LSN", "__lsn"];

/// The LSN in the headers of a record; `None` when they name none.
///
/// # Errors
/// When there is a header of such a name, and no LSN in it.
pub fn header_lsn<'a>(
    headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + Clone,
) -> Result<Option<Lsn>, WireError> {
    let found = LSN_HEADERS.iter().find_map(|wanted| {
        let mut headers = headers.clone();
        headers.find(|(name, _)| name == wanted)
    });
    let Some((_, value)) = found else {
        return Ok(None);
    };
    let text = std::str::from_utf8(value.unwrap_or_default());
    let lsn = text.ok().and_then(|text| text.trim().parse().ok());
    lsn.map(Some)
        .ok_or_else(|| WireError::new(ErrorCode::BadLsn, "a header's LSN cannot be read"))
}

/// A row event: where it goes, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignEvent {
    /// The key that it names itself. The record's key does not count.
    pub key: String,
    /// The event as it was written, but for blanks between its tokens.
    pub json: Bytes,
}

impl ForeignEvent {
    /// Reads an event.
    ///
    /// # Errors
    /// When it is no JSON object with a `routingKey`.
    pub fn decode(value: &[u8]) -> Result<Self, WireError> {
        #[derive(Deserialize)]
        struct Fields<'a> {
            #[serde(borrow, rename = "routingKey")]
            routing_key: Option<&'a RawValue>,
        }
        let bad = |why: &str| WireError::new(ErrorCode::BadFrame, why);
        let text = std::str::from_utf8(value).map_err(|_| bad("the event is not UTF-8"))?;
        if depth(text) > DEPTH_MAX {
            return Err(bad("the event nests too deep"));
        }
        let raw: &RawValue =
            serde_json::from_str(text).map_err(|_| bad("the event is not JSON"))?;
        let fields: Fields<'_> = object(raw).ok_or_else(|| bad("the event is no object"))?;
        let key = given(fields.routing_key).and_then(string);
        let key = key.ok_or_else(|| bad("the event has no routingKey"))?;
        let json = without_blanks(raw.get());
        Ok(Self { key, json })
    }
}

/// JSON without the blanks between its tokens.
fn without_blanks(json: &str) -> Bytes {
    let mut out = Vec::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
        } else if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            continue;
        } else {
            in_string = byte == b'"';
        }
        out.push(byte);
    }
    out.into()
}

/// The first page of a query, as a worker answered GET_DATA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignPage {
    /// An array of rows.
    pub rows: Bytes,
    /// The order keys of the last row: members of an object, without its braces.
    pub cursor: Bytes,
    /// The commit up to which the rows are, if the worker told it.
    pub lsn: Option<Lsn>,
}

impl ForeignPage {
    /// Reads the `data` of an answer: `{rows, cursor}`, or the rows alone.
    ///
    /// # Errors
    /// When it is neither.
    pub fn decode(data: &[u8]) -> Result<Self, WireError> {
        #[derive(Deserialize)]
        struct Fields<'a> {
            #[serde(borrow)]
            rows: &'a RawValue,
            #[serde(borrow)]
            cursor: Option<&'a RawValue>,
        }
        let bad = || WireError::new(ErrorCode::SnapshotFailed, "the worker's answer is no page");
        let raw: &RawValue = serde_json::from_slice(data).map_err(|_| bad())?;
        if kind(raw) == Kind::Array {
            return Ok(Self {
                rows: Bytes::copy_from_slice(raw.get().as_bytes()),
                cursor: Bytes::new(),
                lsn: None,
            });
        }
        let fields: Fields<'_> = object(raw).ok_or_else(bad)?;
        if kind(fields.rows) != Kind::Array {
            return Err(bad());
        }
        let mut page = Self {
            rows: Bytes::copy_from_slice(fields.rows.get().as_bytes()),
            cursor: Bytes::new(),
            lsn: None,
        };
        if let Some(cursor) = given(fields.cursor) {
            let members: Members = serde_json::from_str(cursor.get()).map_err(|_| bad())?;
            let mut order = Vec::with_capacity(cursor.get().len());
            for (name, value) in &members.0 {
                if name == "lsn" {
                    page.lsn = string(value).and_then(|text| text.parse().ok());
                } else if !is_reserved(name) {
                    if !order.is_empty() {
                        order.push(b',');
                    }
                    write_string(&mut order, name);
                    order.push(b':');
                    order.extend_from_slice(value.get().as_bytes());
                }
            }
            page.cursor = order.into();
        }
        Ok(page)
    }

    /// What a stream processor is told of the page: a record of `server.page.seed`.
    #[must_use]
    pub fn seed(&self, tenant: &TenantId, table: &TableName, label: &HashId) -> Bytes {
        let mut out = Vec::with_capacity(160 + self.rows.len() + self.cursor.len());
        out.extend_from_slice(b"{\"companyId\":");
        write_string(&mut out, tenant.as_str());
        out.extend_from_slice(b",\"table\":");
        write_string(&mut out, table.as_str());
        out.extend_from_slice(b",\"hashId\":");
        write_string(&mut out, label.as_str());
        out.extend_from_slice(b",\"cursor\":");
        self.write_cursor(&mut out);
        out.extend_from_slice(b",\"rows\":");
        out.extend_from_slice(&self.rows);
        out.push(b'}');
        out.into()
    }

    /// The page as the cache keeps it under `snap:`.
    #[must_use]
    pub fn stored(&self, now_millis: i64) -> Bytes {
        let mut out = Vec::with_capacity(96 + self.rows.len() + self.cursor.len());
        out.extend_from_slice(b"{\"rows\":");
        out.extend_from_slice(&self.rows);
        out.extend_from_slice(b",\"cursor\":");
        self.write_cursor(&mut out);
        out.extend_from_slice(b",\"ts\":");
        write_int(&mut out, now_millis);
        out.push(b'}');
        out.into()
    }

    fn write_cursor(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        out.extend_from_slice(&self.cursor);
        if !self.cursor.is_empty() {
            out.push(b',');
        }
        let lsn = self.lsn.unwrap_or(Lsn::ZERO);
        out.extend_from_slice(format!("\"lsn\":\"{lsn}\"}}").as_bytes());
    }
}

/// The members of an object, in their order.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Visitor)
    }
}

/// A diff as the cache keeps it in a list under `diff:`.
#[must_use]
pub fn stored_diff(lsn: Lsn, payload: &[u8]) -> String {
    format!(
        "{{\"lsn\":\"{lsn}\",\"b64\":\"{}\"}}",
        STANDARD.encode(payload)
    )
}

/// Reads what [`stored_diff`], or a gateway before us, wrote. `None` when it makes no sense, or
/// names no commit.
#[must_use]
pub fn read_stored_diff(entry: &[u8]) -> Option<(Lsn, Bytes)> {
    #[derive(Deserialize)]
    struct Entry<'a> {
        lsn: &'a str,
        #[serde(borrow)]
        b64: std::borrow::Cow<'a, str>,
    }
    let entry: Entry<'_> = serde_json::from_slice(entry).ok()?;
    let lsn: Lsn = entry.lsn.parse().ok()?;
    let payload = STANDARD.decode(entry.b64.as_bytes()).ok()?;
    (lsn > Lsn::ZERO).then(|| (lsn, payload.into()))
}

#[cfg(test)]
mod tests;
