//! What gateways tell the owner of a query: that they want its page kept, or no longer.

use bytes::Bytes;
use tidegate_core::{QuerySpec, RoutingKey};

use crate::client_frame::HashId;
use crate::query_json::{parse_query, write_query};
use crate::query_name::{QueryName, QueryWords};
use crate::record_bytes::{Reader, RecordError, Writer};

const VERSION: u8 = 1;

/// A record of the `control` topic.
#[derive(Debug, Clone, PartialEq)]
pub enum ControlRecord {
    /// A gateway wants a page kept for a while longer.
    Lease {
        /// Which gateway: a number that it drew when it started.
        gateway: u64,
        /// Which page.
        key: RoutingKey,
        /// Its query, as the client wrote it.
        query: QuerySpec,
        /// What the client calls it, where a foreign processor keeps the page and knows it by that.
        name: Option<QueryName>,
        /// What else is wanted.
        want: Want,
    },
    /// A gateway has no use for a page any more. It spares the wait until the lease lapses.
    Release {
        /// Which gateway.
        gateway: u64,
        /// Which page.
        key: RoutingKey,
    },
}

/// What a lease asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Want {
    /// That the page be kept. If it is there, nothing is published.
    Renew,
    /// That the page be published, now.
    Page,
}

impl ControlRecord {
    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Writer::new(256);
        out.byte(VERSION);
        match self {
            Self::Lease {
                gateway,
                key,
                query,
                name,
                want,
            } => {
                out.byte(match (name, want) {
                    (None, Want::Renew) => 0,
                    (None, Want::Page) => 1,
                    (Some(_), Want::Renew) => 3,
                    (Some(_), Want::Page) => 4,
                });
                out.int64(*gateway);
                out.text(&key.encode());
                out.text(&write_query(query));
                if let Some(QueryName { label, words }) = name {
                    out.text(label.as_str());
                    out.text(&words.hash);
                    out.int32(u32::from(words.schema_version));
                }
            }
            Self::Release { gateway, key } => {
                out.byte(2);
                out.int64(*gateway);
                out.text(&key.encode());
            }
        }
        out.finish()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// When the bytes are not what [`ControlRecord::encode`] writes.
    pub fn decode(bytes: Bytes) -> Result<Self, RecordError> {
        let mut input = Reader::new(bytes);
        input.version(VERSION)?;
        let kind = input.byte()?;
        let gateway = input.int64()?;
        let key = input.text("the key", RoutingKey::decode)?;
        let (want, is_named) = match kind {
            0 => (Want::Renew, false),
            1 => (Want::Page, false),
            3 => (Want::Renew, true),
            4 => (Want::Page, true),
            2 => {
                input.end()?;
                return Ok(Self::Release { gateway, key });
            }
            _ => return Err(RecordError::Invalid("the kind")),
        };
        let query = input.text("the query", |text| parse_query(text).ok())?;
        let name = match is_named {
            true => Some(read_name(&mut input)?),
            false => None,
        };
        input.end()?;
        Ok(Self::Lease {
            gateway,
            key,
            query,
            name,
            want,
        })
    }
}

fn read_name(input: &mut Reader) -> Result<QueryName, RecordError> {
    let label = input.text("the label", HashId::parse)?;
    let hash = input.text("the hash", |text| Some(text.to_owned()))?;
    let version = u16::try_from(input.int32()?).map_err(|_| RecordError::Invalid("the version"))?;
    let words = QueryWords::new(&hash, version).map_err(|_| RecordError::Invalid("the hash"))?;
    Ok(QueryName { label, words })
}

#[cfg(test)]
mod tests;
