//! What gateways tell the owner of a query: that they want its page kept, or no longer.

use bytes::Bytes;
use tidegate_core::{QuerySpec, RoutingKey};

use crate::query_json::{parse_query, write_query};
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
                want,
            } => {
                out.byte(match want {
                    Want::Renew => 0,
                    Want::Page => 1,
                });
                out.int64(*gateway);
                out.text(&key.encode());
                out.text(&write_query(query));
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
        let want = match kind {
            0 => Want::Renew,
            1 => Want::Page,
            2 => {
                input.end()?;
                return Ok(Self::Release { gateway, key });
            }
            _ => return Err(RecordError::Invalid("the kind")),
        };
        let query = input.text("the query", |text| parse_query(text).ok())?;
        input.end()?;
        Ok(Self::Lease {
            gateway,
            key,
            query,
            want,
        })
    }
}

#[cfg(test)]
mod tests;
