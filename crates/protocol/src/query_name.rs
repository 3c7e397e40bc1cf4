//! What clients call their queries, for neighbours that know queries by name and not by content.
//!
//! Our own processor knows a query by its hash and needs none of this. A foreign stream processor
//! keeps pages under `{tenant}_{table}|{hashId}`, and is told the words that the client chose.

use flatbuffers::root_with_opts;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client_frame::HashId;
use crate::error_code::{ErrorCode, WireError};
use crate::generated::sql::sql_schema::StreamingSqlDataFilter;
use crate::json_text::{Kind, given, kind, object, string};
use crate::query_flatbuffer::BUDGETS;

/// Bytes of a query's own `hash`: it is a hash, whatever the client makes it of.
const HASH_BYTES_MAX: usize = 1_024;

/// The version that a query without one has.
const SCHEMA_VERSION: u16 = 1;

/// The names of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryName {
    /// The client's label for the subscription.
    pub label: HashId,
    /// The words in the query itself.
    pub words: QueryWords,
}

/// What a query says about itself. It selects no rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryWords {
    /// Its `hash`; empty where there is none.
    pub hash: Box<str>,
    /// Its `schema_version`.
    pub schema_version: u16,
}

impl Default for QueryWords {
    fn default() -> Self {
        Self {
            hash: Box::default(),
            schema_version: SCHEMA_VERSION,
        }
    }
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    hash: Option<&'a RawValue>,
    #[serde(borrow)]
    schema_version: Option<&'a RawValue>,
}

impl QueryWords {
    /// Makes words of a hash.
    ///
    /// # Errors
    /// `bad_query` when it is too long to be one.
    pub(crate) fn new(hash: &str, schema_version: u16) -> Result<Self, WireError> {
        if hash.len() > HASH_BYTES_MAX {
            let why = format!("the hash of a query has at most {HASH_BYTES_MAX} bytes");
            return Err(WireError::new(ErrorCode::BadQuery, why));
        }
        Ok(Self {
            hash: hash.into(),
            schema_version,
        })
    }

    /// The words of a query in JSON. Whatever is no text or number counts as absent.
    pub(crate) fn of_json(text: &str) -> Result<Self, WireError> {
        let raw: Option<&RawValue> = serde_json::from_str(text).ok();
        let Some(fields) = raw.and_then(object::<Fields<'_>>) else {
            return Ok(Self::default());
        };
        let hash = given(fields.hash).and_then(|raw| match kind(raw) {
            Kind::String => string(raw),
            Kind::Number => Some(raw.get().to_owned()),
            _ => None,
        });
        let version = given(fields.schema_version)
            .and_then(|raw| raw.get().parse().ok())
            .unwrap_or(SCHEMA_VERSION);
        Self::new(&hash.unwrap_or_default(), version)
    }

    /// The words of a query in FlatBuffers.
    pub(crate) fn of_flatbuffer(bytes: &[u8]) -> Result<Self, WireError> {
        match root_with_opts::<StreamingSqlDataFilter<'_>>(&BUDGETS, bytes) {
            Ok(root) => Self::new(root.hash().unwrap_or_default(), root.schema_version()),
            Err(_) => Ok(Self::default()),
        }
    }
}
