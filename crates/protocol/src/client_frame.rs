//! Frames that clients send.
//!
//! A frame becomes a typed value here or a refusal that says what to answer and to whom. Nothing of
//! a client's text is read twice after this, and no text can exhaust the stack: nesting is measured
//! before anything recurses.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use tidegate_core::{Command, Lsn, Position, QuerySpec, TableName};

use crate::command_json::parse_command;
use crate::error_code::{ErrorCode, WireError};
use crate::json_text::{DEPTH_MAX, Kind, depth, given, kind, string};
use crate::query_flatbuffer::decode_query;
use crate::query_json::parse_query;
use crate::query_name::QueryWords;

/// Bytes of a `hashId`, a `correlationId` or a method's name: room for any hash or UUID, and so
/// small that repeating it in every frame costs little.
const LABEL_BYTES_MAX: usize = 256;

/// What a frame that is not JSON is answered with, on the typed channel.
pub const INVALID_JSON: &str = "Invalid JSON message";

/// A client's own label for a subscription: 1 to 256 bytes. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HashId(Arc<str>);

impl HashId {
    /// Takes a label. `None` when it is empty or too long.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (1..=LABEL_BYTES_MAX)
            .contains(&text.len())
            .then(|| Self(text.into()))
    }

    /// The label as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HashId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HashId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A client's own label for a call: a JSON string, kept and given back as it was written.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CorrelationId(Box<str>);

impl CorrelationId {
    /// The label as JSON.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a client wants its diffs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// Text frames.
    #[default]
    Json,
    /// FlatBuffers in binary frames.
    Binary,
}

/// What becomes of a subscription that falls too far behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SlowPolicy {
    /// It gets a fresh page.
    #[default]
    Reset,
    /// Its connection is closed.
    Close,
}

/// A frame of a client.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientFrame {
    /// Wants a live page.
    Subscribe(Box<Subscribe>),
    /// Wants it no longer.
    Unsubscribe {
        /// The table it named.
        table: TableName,
        /// Which subscription.
        hash_id: HashId,
    },
    /// Wants to be told when a subscription has passed a commit.
    Sync {
        /// Which subscription.
        hash_id: HashId,
        /// Which commit.
        lsn: Lsn,
    },
    /// Calls a procedure.
    Rpc(Box<RpcCall>),
    /// Asks for `{op:"pong"}`.
    Ping,
    /// Speaks on the typed channel.
    Typed(TypedFrame),
}

/// A subscribe.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscribe {
    /// Of which table.
    pub table: TableName,
    /// The client's label.
    pub hash_id: HashId,
    /// The query.
    pub query: QuerySpec,
    /// What it calls itself.
    pub words: QueryWords,
    /// The last position it has seen.
    pub resume: Option<Position>,
    /// The last LSN it has seen, as old clients say it.
    pub resume_from_version: Option<Lsn>,
    /// How it wants its diffs.
    pub format: Format,
    /// What to do when it is slow.
    pub slow: SlowPolicy,
}

/// A call of a procedure.
#[derive(Debug, Clone, PartialEq)]
pub struct RpcCall {
    /// The procedure's name as written, which the reply repeats.
    pub method: String,
    /// The tenant it names, which must be its own.
    pub company_id: Option<String>,
    /// Its label for the call.
    pub correlation_id: Option<CorrelationId>,
    /// What to do, or why it cannot be read: the error of an `rpcResult`.
    pub command: Result<Command, WireError>,
}

/// A frame of the typed channel. Data is JSON as it was written; absent data is not null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypedFrame {
    /// Asks for `pong`.
    Ping,
    /// Wants its data back.
    Echo(Option<Box<str>>),
    /// Wants its data sent to all of its tenant.
    Broadcast(Option<Box<str>>),
    /// Asks for `status`.
    GetStatus,
}

/// A frame that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct FrameError {
    /// Why.
    pub error: WireError,
    /// Whom the answer is for.
    pub reply: ErrorReply,
}

/// Where the answer to a refused frame goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorReply {
    /// An error frame of the typed channel: the text was no JSON.
    Typed,
    /// An error frame that names nothing.
    Session,
    /// An error frame that names, and so ends, this subscription.
    Subscription(HashId),
    /// An error frame that names this call.
    Call(CorrelationId),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    #[serde(borrow)]
    op: Option<&'a RawValue>,
    #[serde(borrow)]
    r#type: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    table: Option<&'a RawValue>,
    #[serde(borrow)]
    hash_id: Option<&'a RawValue>,
    #[serde(borrow)]
    query_json: Option<&'a RawValue>,
    #[serde(borrow)]
    query: Option<&'a RawValue>,
    #[serde(borrow)]
    query_fb_b64: Option<&'a RawValue>,
    #[serde(borrow)]
    resume: Option<&'a RawValue>,
    #[serde(borrow)]
    resume_from_version: Option<&'a RawValue>,
    #[serde(borrow)]
    format: Option<&'a RawValue>,
    #[serde(borrow)]
    slow: Option<&'a RawValue>,
    #[serde(borrow)]
    lsn: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    company_id: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    correlation_id: Option<&'a RawValue>,
}

/// A field that counts as there even when it is null.
fn present<'de: 'a, 'a, D>(from: D) -> Result<Option<&'a RawValue>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    <&'a RawValue>::deserialize(from).map(Some)
}

impl ClientFrame {
    /// Reads a text frame.
    ///
    /// # Errors
    /// What to answer, and where: see [`FrameError`].
    pub fn parse(text: &str) -> Result<Self, FrameError> {
        let raw: &RawValue = serde_json::from_str(text).map_err(|_| FrameError {
            error: WireError::new(ErrorCode::BadFrame, INVALID_JSON),
            reply: ErrorReply::Typed,
        })?;
        if depth(text) > DEPTH_MAX {
            let why = format!("a frame nests at most {DEPTH_MAX} deep");
            return Err(session_error(ErrorCode::BadFrame, why));
        }
        if kind(raw) != Kind::Object {
            return Err(unknown_message());
        }
        let fields: Fields<'_> = serde_json::from_str(raw.get())
            .map_err(|error| session_error(ErrorCode::BadFrame, error.to_string()))?;
        if let Some(typed) = typed_frame(&fields) {
            return Ok(Self::Typed(typed));
        }
        match fields.op.and_then(string).as_deref() {
            Some("ping") => Ok(Self::Ping),
            Some("subscribe") => subscribe(&fields).map(|frame| Self::Subscribe(Box::new(frame))),
            Some("unsubscribe") => unsubscribe(&fields),
            Some("sync") => sync(&fields),
            Some("rpc") => rpc(&fields).map(|call| Self::Rpc(Box::new(call))),
            _ => Err(unknown_message()),
        }
    }
}

fn session_error(code: ErrorCode, message: impl Into<String>) -> FrameError {
    FrameError {
        error: WireError::new(code, message),
        reply: ErrorReply::Session,
    }
}

fn unknown_message() -> FrameError {
    session_error(ErrorCode::BadOp, "unknown message")
}

/// A known word in `type` wins over `op`; an unknown one says nothing.
fn typed_frame(fields: &Fields<'_>) -> Option<TypedFrame> {
    let data = || fields.data.map(|raw| raw.get().into());
    match string(fields.r#type?)?.as_str() {
        "ping" => Some(TypedFrame::Ping),
        "echo" => Some(TypedFrame::Echo(data())),
        "broadcast" => Some(TypedFrame::Broadcast(data())),
        "get_status" => Some(TypedFrame::GetStatus),
        _ => None,
    }
}

fn hash_id(fields: &Fields<'_>, op: &str) -> Result<HashId, FrameError> {
    let text = fields
        .hash_id
        .and_then(string)
        .ok_or_else(|| session_error(ErrorCode::BadOp, format!("{op} needs hashId, a text")))?;
    HashId::parse(&text).ok_or_else(|| {
        let why = format!("hashId is a text of 1 to {LABEL_BYTES_MAX} bytes");
        session_error(ErrorCode::BadOp, why)
    })
}

fn table(fields: &Fields<'_>, op: &str) -> Result<TableName, WireError> {
    let text = fields
        .table
        .and_then(string)
        .filter(|text| !text.is_empty())
        .ok_or_else(|| WireError::new(ErrorCode::BadOp, format!("{op} needs table, a text")))?;
    TableName::parse(&text)
        .map_err(|error| WireError::new(ErrorCode::UnknownTable, error.to_string()))
}

fn subscribe(fields: &Fields<'_>) -> Result<Subscribe, FrameError> {
    let hash_id = hash_id(fields, "subscribe")?;
    let rest = || -> Result<Subscribe, WireError> {
        let table = table(fields, "subscribe")?;
        let (query, words) = query(fields)?;
        Ok(Subscribe {
            table,
            hash_id: hash_id.clone(),
            query,
            words,
            resume: resume(fields)?,
            resume_from_version: resume_from_version(fields)?,
            format: choice(
                fields.format,
                "format",
                &[("json", Format::Json), ("binary", Format::Binary)],
            )?,
            slow: choice(
                fields.slow,
                "slow",
                &[("reset", SlowPolicy::Reset), ("close", SlowPolicy::Close)],
            )?,
        })
    };
    rest().map_err(|error| FrameError {
        error,
        reply: ErrorReply::Subscription(hash_id.clone()),
    })
}

/// The query in the one form that is given. An empty text counts as none, as it always has.
fn query(fields: &Fields<'_>) -> Result<(QuerySpec, QueryWords), WireError> {
    let bad = |message: &str| WireError::new(ErrorCode::BadOp, message);
    let nonempty = |raw: Option<&RawValue>| match given(raw) {
        Some(raw) if kind(raw) == Kind::String => string(raw).filter(|text| !text.is_empty()),
        Some(raw) => Some(raw.get().to_owned()),
        None => None,
    };
    let forms = (
        nonempty(fields.query_json).or_else(|| nonempty(fields.query)),
        nonempty(fields.query_fb_b64),
    );
    match forms {
        (Some(json), _) => Ok((parse_query_text(&json)?, QueryWords::of_json(&json)?)),
        (None, Some(base64)) => {
            let bytes = STANDARD
                .decode(base64.trim())
                .map_err(|_| WireError::new(ErrorCode::BadQuery, "queryFbB64 is not base64"))?;
            Ok((decode_query(&bytes)?, QueryWords::of_flatbuffer(&bytes)?))
        }
        (None, None) => Err(bad("subscribe needs queryJson, query or queryFbB64")),
    }
}

/// A query that came as JSON inside of JSON may nest anew, so it is measured anew.
pub(crate) fn parse_query_text(json: &str) -> Result<QuerySpec, WireError> {
    if depth(json) > DEPTH_MAX {
        let why = format!("a query nests at most {DEPTH_MAX} deep");
        return Err(WireError::new(ErrorCode::BadFilter, why));
    }
    parse_query(json)
}

fn resume(fields: &Fields<'_>) -> Result<Option<Position>, WireError> {
    let Some(raw) = given(fields.resume) else {
        return Ok(None);
    };
    string(raw)
        .and_then(|text| text.parse().ok())
        .map(Some)
        .ok_or_else(|| {
            let why = "resume is the position of a cursor, as the server gave it";
            WireError::new(ErrorCode::BadPosition, why)
        })
}

fn resume_from_version(fields: &Fields<'_>) -> Result<Option<Lsn>, WireError> {
    let Some(raw) = fields.resume_from_version else {
        return Ok(None);
    };
    raw.get()
        .parse()
        .map(|lsn| Some(Lsn::new(lsn)))
        .map_err(|_| {
            let why = "resumeFromVersion is a whole number, zero or more";
            WireError::new(ErrorCode::BadOp, why)
        })
}

fn choice<T: Copy + Default>(
    raw: Option<&RawValue>,
    name: &str,
    choices: &[(&str, T)],
) -> Result<T, WireError> {
    let Some(raw) = given(raw) else {
        return Ok(T::default());
    };
    let text = string(raw);
    let found = choices
        .iter()
        .find(|(name, _)| Some(*name) == text.as_deref());
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = choices
            .iter()
            .map(|(name, _)| format!("{name:?}"))
            .collect();
        WireError::new(
            ErrorCode::BadOp,
            format!("{name} is {}", names.join(" or ")),
        )
    })
}

fn unsubscribe(fields: &Fields<'_>) -> Result<ClientFrame, FrameError> {
    let hash_id = hash_id(fields, "unsubscribe")?;
    // Named only, so the error does not name the subscription: it would end it.
    let table = table(fields, "unsubscribe").map_err(|error| FrameError {
        error,
        reply: ErrorReply::Session,
    })?;
    Ok(ClientFrame::Unsubscribe { table, hash_id })
}

fn sync(fields: &Fields<'_>) -> Result<ClientFrame, FrameError> {
    let hash_id = hash_id(fields, "sync")?;
    let lsn = fields.lsn.and_then(|raw| match kind(raw) {
        Kind::String => string(raw)?.parse().ok(),
        Kind::Number => raw.get().parse().ok(),
        _ => None,
    });
    let lsn = lsn.ok_or_else(|| FrameError {
        error: WireError::new(ErrorCode::BadLsn, "sync needs lsn, a decimal text"),
        reply: ErrorReply::Subscription(hash_id.clone()),
    })?;
    Ok(ClientFrame::Sync { hash_id, lsn })
}

fn rpc(fields: &Fields<'_>) -> Result<RpcCall, FrameError> {
    let correlation_id = correlation_id(fields)?;
    let refuse = |message: String| FrameError {
        error: WireError::new(ErrorCode::BadOp, message),
        reply: correlation_id
            .clone()
            .map_or(ErrorReply::Session, ErrorReply::Call),
    };
    let text_or_absent = |raw: Option<&RawValue>, name: &str| match raw {
        None => Ok(None),
        Some(raw) => string(raw)
            .map(Some)
            .ok_or_else(|| refuse(format!("{name} is a text"))),
    };
    let method = fields
        .method
        .and_then(string)
        .filter(|method| (1..=LABEL_BYTES_MAX).contains(&method.len()))
        .ok_or_else(|| refuse("rpc needs method, a text".to_owned()))?;
    let table = text_or_absent(fields.table, "table")?;
    let company_id = text_or_absent(fields.company_id, "companyId")?;
    let command = parse_command(&method, table.as_deref(), fields.payload);
    Ok(RpcCall {
        method,
        company_id: company_id.filter(|id| !id.is_empty()),
        correlation_id,
        command,
    })
}

fn correlation_id(fields: &Fields<'_>) -> Result<Option<CorrelationId>, FrameError> {
    let Some(raw) = fields.correlation_id else {
        return Ok(None);
    };
    if string(raw).is_none() || raw.get().len() > LABEL_BYTES_MAX {
        let why = format!("correlationId is a text of at most {LABEL_BYTES_MAX} bytes");
        return Err(session_error(ErrorCode::BadOp, why));
    }
    Ok(Some(CorrelationId(raw.get().into())))
}

#[cfg(test)]
mod tests;
