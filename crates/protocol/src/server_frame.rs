//! Frames that the server sends, as complete JSON text.
//!
//! Pages and diffs are assembled around text that was encoded elsewhere and is copied as it is.
//! Field order and shape are those that existing clients have always got; additions stand beside
//! them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tidegate_core::{Lsn, Position};

use crate::client_frame::{CorrelationId, HashId};
use crate::error_code::{ErrorCode, Retry, WireError};
use crate::json_text::{write_int, write_string};
use crate::page_record::{DiffContent, PageContent};

/// Highest LSN that a double holds exactly, with all below it: what `version` may say.
const VERSION_MAX: u64 = 1 << 53;

/// Why a client gets a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SnapshotReason {
    /// It subscribed.
    Subscribe,
    /// It resumed, but what it missed is no longer all there.
    Unrecoverable,
    /// It was too slow.
    Overflow,
    /// The page was read anew.
    Epoch,
}

impl SnapshotReason {
    /// Every reason.
    pub const ALL: &[Self] = &[
        Self::Subscribe,
        Self::Unrecoverable,
        Self::Overflow,
        Self::Epoch,
    ];

    /// The text on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Unrecoverable => "unrecoverable",
            Self::Overflow => "overflow",
            Self::Epoch => "epoch",
        }
    }
}

/// Builds an object member by member.
struct Frame(Vec<u8>);

impl Frame {
    fn op(op: &str, capacity: usize) -> Self {
        let mut out = Vec::with_capacity(capacity);
        out.extend_from_slice(b"{\"op\":");
        write_string(&mut out, op);
        Self(out)
    }

    fn typed(kind: &str, capacity: usize) -> Self {
        let mut out = Vec::with_capacity(capacity);
        out.extend_from_slice(b"{\"type\":");
        write_string(&mut out, kind);
        Self(out)
    }

    fn name(&mut self, name: &str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn text(mut self, name: &str, text: &str) -> Self {
        self.name(name);
        write_string(&mut self.0, text);
        self
    }

    fn raw(mut self, name: &str, json: &[u8]) -> Self {
        self.name(name);
        self.0.extend_from_slice(json);
        self
    }

    fn hash_id(mut self, hash_id: &HashId) -> Self {
        self.name("hashId");
        write_string(&mut self.0, hash_id.as_str());
        self
    }

    fn version(mut self, lsn: Lsn) -> Self {
        if lsn.get() <= VERSION_MAX {
            self.name("version");
            write_int(&mut self.0, lsn.get());
        }
        self
    }

    /// `order` holds members of an object, without braces; may be empty.
    fn cursor(mut self, order: &[u8], lsn: Lsn, position: Position) -> Self {
        self.name("cursor");
        self.0.push(b'{');
        self.0.extend_from_slice(order);
        if !order.is_empty() {
            self.0.push(b',');
        }
        let rest = format!("\"lsn\":\"{lsn}\",\"position\":\"{position}\"}}");
        self.0.extend_from_slice(rest.as_bytes());
        self
    }

    fn close(mut self) -> Bytes {
        self.0.push(b'}');
        self.0.into()
    }

    fn stamped(mut self, now_millis: i64) -> Bytes {
        self.name("timestamp");
        write_int(&mut self.0, now_millis);
        self.close()
    }
}

/// `{op:"ack"}`: the query is accepted.
#[must_use]
pub fn ack(hash_id: &HashId) -> Bytes {
    Frame::op("ack", 64).hash_id(hash_id).close()
}

/// `{op:"snapshot"}`: replaces the client's page.
#[must_use]
pub fn snapshot(hash_id: &HashId, page: &PageContent, reason: SnapshotReason) -> Bytes {
    let capacity = 256 + page.cursor.len() + page.rows.len() + page.pks.len();
    Frame::op("snapshot", capacity)
        .hash_id(hash_id)
        .version(page.lsn)
        .cursor(&page.cursor, page.lsn, page.position)
        .raw("rows", &page.rows)
        .raw("pks", &page.pks)
        .text("reason", reason.as_str())
        .close()
}

/// `{op:"snapshot"}` of a page beside a foreign stream. Its diffs say no position, so neither does
/// the page: a client could not go on from it.
#[must_use]
pub fn foreign_snapshot(hash_id: &HashId, page: &PageContent, reason: SnapshotReason) -> Bytes {
    let mut frame = Frame::op("snapshot", 192 + page.cursor.len() + page.rows.len())
        .hash_id(hash_id)
        .version(page.lsn);
    frame.name("cursor");
    frame.0.push(b'{');
    frame.0.extend_from_slice(&page.cursor);
    if !page.cursor.is_empty() {
        frame.0.push(b',');
    }
    let lsn = format!("\"lsn\":\"{}\"}}", page.lsn);
    frame.0.extend_from_slice(lsn.as_bytes());
    frame
        .raw("rows", &page.rows)
        .text("reason", reason.as_str())
        .close()
}

/// `{op:"rangeIndex"}`: the primary keys of a page, in order. `pks` is a JSON array.
#[must_use]
pub fn range_index(hash_id: &HashId, pks: &[u8]) -> Bytes {
    Frame::op("rangeIndex", 64 + pks.len())
        .hash_id(hash_id)
        .raw("pks", pks)
        .close()
}

/// `{op:"diffB64"}`: a foreign diff that did not come straight off the stream.
#[must_use]
pub fn diff_b64(hash_id: &HashId, payload: &[u8]) -> Bytes {
    Frame::op("diffB64", 96 + payload.len() * 4 / 3)
        .hash_id(hash_id)
        .text("b64", &STANDARD.encode(payload))
        .close()
}

/// `{op:"rowEvent"}`: `event` is JSON. An event without an LSN is of version 0.
#[must_use]
pub fn row_event(hash_id: &HashId, event: &[u8], lsn: Lsn) -> Bytes {
    Frame::op("rowEvent", 96 + event.len())
        .hash_id(hash_id)
        .raw("event", event)
        .version(lsn)
        .close()
}

/// `{op:"error", code:"overflow"}`: what old clients are told in front of the page that replaces
/// theirs. It names no subscription, as none ends.
#[must_use]
pub fn overflow() -> Bytes {
    error(
        ErrorCode::Overflow,
        "reset-to-snapshot",
        ErrorSubject::Session,
    )
}

/// `{op:"resumed"}`: exactly the diffs after `position` follow.
#[must_use]
pub fn resumed(hash_id: &HashId, lsn: Lsn, position: Position) -> Bytes {
    Frame::op("resumed", 160)
        .hash_id(hash_id)
        .cursor(b"", lsn, position)
        .close()
}

/// `{op:"diff"}`: one net change of the page.
#[must_use]
pub fn diff(hash_id: &HashId, diff: &DiffContent) -> Bytes {
    Frame::op("diff", 192 + diff.body.len())
        .hash_id(hash_id)
        .version(diff.lsn)
        .cursor(b"", diff.lsn, diff.position)
        .raw("changes", &diff.body)
        .close()
}

/// What an error frame answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorSubject<'a> {
    /// The connection, or a frame that named nothing.
    Session,
    /// A subscription. The frame ends it, unless the code says that only a `sync` failed.
    Subscription(&'a HashId),
    /// A call.
    Call(&'a CorrelationId),
}

/// `{op:"error"}`.
#[must_use]
pub fn error(code: ErrorCode, message: &str, subject: ErrorSubject<'_>) -> Bytes {
    let frame = Frame::op("error", 160 + message.len())
        .text("code", code.as_str())
        .text("message", message)
        .raw("retry", retry_json(code));
    match subject {
        ErrorSubject::Session => frame,
        ErrorSubject::Subscription(hash_id) => frame.hash_id(hash_id),
        ErrorSubject::Call(id) => frame.raw("correlationId", id.json().as_bytes()),
    }
    .close()
}

fn retry_json(code: ErrorCode) -> &'static [u8] {
    match code.retry() {
        Retry::Later => b"true",
        Retry::Never => b"false",
    }
}

/// `{op:"synced"}`: the subscription has passed the commit.
#[must_use]
pub fn synced(hash_id: &HashId, lsn: Lsn) -> Bytes {
    Frame::op("synced", 96)
        .hash_id(hash_id)
        .text("lsn", &lsn.to_string())
        .close()
}

/// `{op:"pong"}`.
#[must_use]
pub fn pong() -> Bytes {
    Bytes::from_static(b"{\"op\":\"pong\"}")
}

/// `{op:"rpcResult"}` of a call that worked. `data` is JSON; `lsn` is where a write committed.
#[must_use]
pub fn rpc_result(
    method: &str,
    correlation_id: Option<&CorrelationId>,
    data: &[u8],
    lsn: Option<Lsn>,
) -> Bytes {
    let mut frame = rpc_head(method, correlation_id, 160 + data.len())
        .raw("ok", b"true")
        .raw("data", data);
    if let Some(lsn) = lsn {
        frame = frame.text("lsn", &lsn.to_string());
    }
    frame.close()
}

/// `{op:"rpcResult"}` of a call that did not.
#[must_use]
pub fn rpc_error(method: &str, correlation_id: Option<&CorrelationId>, error: &WireError) -> Bytes {
    rpc_head(method, correlation_id, 200 + error.message.len())
        .raw("ok", b"false")
        .text("error", &error.message)
        .text("code", error.code.as_str())
        .raw("retry", retry_json(error.code))
        .close()
}

fn rpc_head(method: &str, correlation_id: Option<&CorrelationId>, capacity: usize) -> Frame {
    let frame = Frame::op("rpcResult", capacity).text("method", method);
    match correlation_id {
        Some(id) => frame.raw("correlationId", id.json().as_bytes()),
        None => frame,
    }
}

/// Frames of the typed channel. Each carries the time: milliseconds since 1970.
pub mod typed {
    use bytes::Bytes;

    use super::Frame;
    use crate::json_text::{write_int, write_string};

    /// `welcome`, to who connects.
    #[must_use]
    pub fn welcome(connection_id: &str, connected_clients: usize, now_millis: i64) -> Bytes {
        let mut data = Vec::with_capacity(96);
        data.extend_from_slice(b"{\"connectionId\":");
        write_string(&mut data, connection_id);
        data.extend_from_slice(b",\"connectedClients\":");
        write_int(&mut data, connected_clients);
        data.push(b'}');
        Frame::typed("welcome", 192)
            .raw("data", &data)
            .stamped(now_millis)
    }

    /// `user_joined`, to the others of the tenant.
    #[must_use]
    pub fn user_joined(user_id: &str, connection_id: &str, now_millis: i64) -> Bytes {
        presence("user_joined", user_id, connection_id, now_millis)
    }

    /// `user_left`, to the others of the tenant.
    #[must_use]
    pub fn user_left(user_id: &str, connection_id: &str, now_millis: i64) -> Bytes {
        presence("user_left", user_id, connection_id, now_millis)
    }

    fn presence(kind: &str, user_id: &str, connection_id: &str, now_millis: i64) -> Bytes {
        let mut data = Vec::with_capacity(128);
        data.extend_from_slice(b"{\"userId\":");
        write_string(&mut data, user_id);
        data.extend_from_slice(b",\"connectionId\":");
        write_string(&mut data, connection_id);
        data.push(b'}');
        Frame::typed(kind, 224)
            .raw("data", &data)
            .stamped(now_millis)
    }

    /// `broadcast_message`, to all of the tenant. `message` is JSON; without one the field is
    /// absent.
    #[must_use]
    pub fn broadcast_message(from: &str, message: Option<&str>, now_millis: i64) -> Bytes {
        let length = message.map_or(0, str::len);
        let mut data = Vec::with_capacity(64 + from.len() + length);
        data.extend_from_slice(b"{\"from\":");
        write_string(&mut data, from);
        if let Some(message) = message {
            data.extend_from_slice(b",\"message\":");
            data.extend_from_slice(message.as_bytes());
        }
        data.push(b'}');
        Frame::typed("broadcast_message", 96 + data.len())
            .raw("data", &data)
            .stamped(now_millis)
    }

    /// `pong`.
    #[must_use]
    pub fn pong(now_millis: i64) -> Bytes {
        Frame::typed("pong", 64).stamped(now_millis)
    }

    /// `echo_response`. `data` is JSON; without one the field is absent.
    #[must_use]
    pub fn echo_response(data: Option<&str>, now_millis: i64) -> Bytes {
        let frame = Frame::typed("echo_response", 96 + data.map_or(0, str::len));
        match data {
            Some(data) => frame.raw("data", data.as_bytes()),
            None => frame,
        }
        .stamped(now_millis)
    }

    /// `status`: the tenant's connections and sessions, and how long the gateway runs.
    #[must_use]
    pub fn status(
        connected_clients: usize,
        sessions: usize,
        uptime_seconds: f64,
        now_millis: i64,
    ) -> Bytes {
        let mut data = Vec::with_capacity(96);
        data.extend_from_slice(b"{\"connectedClients\":");
        write_int(&mut data, connected_clients);
        data.extend_from_slice(b",\"sessions\":");
        write_int(&mut data, sessions);
        data.extend_from_slice(b",\"uptime\":");
        write_int(&mut data, uptime_seconds);
        data.push(b'}');
        Frame::typed("status", 192)
            .raw("data", &data)
            .stamped(now_millis)
    }

    /// `error`: a frame that is not JSON.
    #[must_use]
    pub fn error(message: &str, now_millis: i64) -> Bytes {
        let mut data = Vec::with_capacity(32 + message.len());
        data.extend_from_slice(b"{\"message\":");
        write_string(&mut data, message);
        data.push(b'}');
        Frame::typed("error", 96 + data.len())
            .raw("data", &data)
            .stamped(now_millis)
    }
}

#[cfg(test)]
mod tests;
