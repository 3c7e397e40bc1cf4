//! What can go wrong for a user of this client.

use std::io;

/// An answer that says no: a stable code, a sentence, and whether the same may succeed later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct Fault {
    /// The server's stable code, or one of this client's: `disconnected`, `connection_lost`,
    /// `rpc_timeout`, `too_many_calls`, `bad_page`.
    pub code: String,
    /// A sentence for a person.
    pub message: String,
    /// Whether the same may succeed later.
    pub retry: bool,
}

impl Fault {
    pub(crate) fn new(code: &str, message: impl Into<String>, retry: bool) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            retry,
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The options make no sense, for example an address that is none.
    #[error("{0}")]
    BadOptions(String),
    /// Nothing answers there.
    #[error("{address} cannot be reached: {source}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// Something answers, but not as a WebSocket server that takes this client.
    #[error("{address} answers with status {status}{reason}")]
    Refused {
        /// Host and port.
        address: String,
        /// The HTTP status.
        status: u16,
        /// What else it said, or nothing.
        reason: String,
    },
    /// The answer is not one of a WebSocket server.
    #[error("{address} does not speak WebSocket: {reason}")]
    NotWebSocket {
        /// Host and port.
        address: String,
        /// What was wrong.
        reason: String,
    },
}

/// The client is gone: closed, refused, or its runtime has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client is closed")]
pub struct Closed;
