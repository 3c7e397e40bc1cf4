//! The one table of what clients are told when something is refused or fails.
//!
//! The text of a code is for programs and never changes; the sentence beside it is for people and
//! may. PROTOCOL prints the table, and a test keeps the two equal.

use std::fmt;

use tidegate_core::{CommandError, QueryError};

/// Whose doing an error is: decides between a client's log and a page to the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The client must change something.
    Client,
    /// The server, or something behind it, is in trouble.
    Server,
}

/// Whether the same frame may succeed when it is sent again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It may.
    Later,
    /// It will be refused again.
    Never,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $fault:ident, $retry:ident;)*) => {
        /// A stable code of the wire.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$doc])* $variant),* }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The text on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// Whose doing it is.
            #[must_use]
            pub const fn fault(self) -> Fault {
                match self { $(Self::$variant => Fault::$fault),* }
            }

            /// Whether trying again can help.
            #[must_use]
            pub const fn retry(self) -> Retry {
                match self { $(Self::$variant => Retry::$retry),* }
            }
        }
    };
}

codes! {
    /// No such operation, or its fields are missing or of the wrong kind.
    BadOp = "bad_op", Client, Never;
    /// The frame as a whole cannot be taken: it nests too deep, or names a field twice.
    BadFrame = "bad_frame", Client, Never;
    /// The query cannot be read.
    BadQuery = "bad_query", Client, Never;
    /// The tenant has no such table.
    UnknownTable = "unknown_table", Client, Never;
    /// The table is there, but not for this.
    UnsupportedTable = "unsupported_table", Client, Never;
    /// The table was redefined meanwhile, and the query must be made anew.
    TableChanged = "table_changed", Server, Later;
    /// The table has no such column.
    UnknownColumn = "unknown_column", Client, Never;
    /// The operator is unknown, not supported, or not for this type.
    UnsupportedOperator = "unsupported_operator", Client, Never;
    /// The query can be read, but not be kept live.
    NotLive = "not_live", Client, Never;
    /// A value is missing, of the wrong kind, or out of range.
    BadValue = "bad_value", Client, Never;
    /// The filter's shape is wrong.
    BadFilter = "bad_filter", Client, Never;
    /// The order cannot be had.
    BadOrder = "bad_order", Client, Never;
    /// The keyset cursor does not fit the order.
    BadCursor = "bad_cursor", Client, Never;
    /// The limit is out of range.
    BadLimit = "bad_limit", Client, Never;
    /// `resume` is not a position.
    BadPosition = "bad_position", Client, Never;
    /// The session has no subscription of this `hashId`.
    UnknownSubscription = "unknown_subscription", Client, Never;
    /// `lsn` is not an LSN.
    BadLsn = "bad_lsn", Client, Never;
    /// The subscription did not pass the commit in time.
    SyncTimeout = "sync_timeout", Server, Later;
    /// The principal may not do this.
    Forbidden = "forbidden", Client, Never;
    /// Who asks is not known, or no longer.
    Unauthorized = "unauthorized", Client, Never;
    /// The session or tenant has as many subscriptions as it may.
    TooManySubscriptions = "too_many_subscriptions", Client, Never;
    /// The procedure is unknown, or its payload makes no sense.
    BadCommand = "bad_command", Client, Never;
    /// A constraint of the database says no.
    Constraint = "constraint", Client, Never;
    /// The database holds a value that its column's type does not allow.
    UnreadableValue = "unreadable_value", Server, Never;
    /// It took too long and was given up.
    Timeout = "timeout", Server, Later;
    /// Something behind the gateway cannot be reached.
    Unavailable = "unavailable", Server, Later;
    /// There is too much to do at the moment.
    Overloaded = "overloaded", Server, Later;
    /// The page could not be read.
    SnapshotFailed = "snapshot_failed", Server, Later;
    /// The client was too slow.
    Overflow = "overflow", Client, Later;
    /// The label already stands for another query.
    HashConflict = "hash_conflict", Client, Never;
    /// A defect of ours.
    Internal = "internal", Server, Never;
}

impl ErrorCode {
    /// Whether an error frame of this code and a `hashId` ends the subscription. It does, unless
    /// only a
    /// `sync` failed.
    #[must_use]
    pub const fn ends_subscription(self) -> bool {
        !matches!(
            self,
            Self::BadLsn | Self::SyncTimeout | Self::UnknownSubscription
        )
    }

    /// The code of a text.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why something a client sent was refused, or failed: a code and one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WireError {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
}

impl WireError {
    /// An error of this code and sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

impl From<&QueryError> for ErrorCode {
    fn from(error: &QueryError) -> Self {
        match error {
            QueryError::UnknownColumn { .. } => Self::UnknownColumn,
            QueryError::UnsupportedOperator(_) => Self::UnsupportedOperator,
            QueryError::NotLive(_) => Self::NotLive,
            QueryError::BadValue(_) => Self::BadValue,
            QueryError::BadFilter(_) => Self::BadFilter,
            QueryError::BadOrder(_) => Self::BadOrder,
            QueryError::BadCursor(_) => Self::BadCursor,
            QueryError::BadLimit(_) => Self::BadLimit,
            QueryError::NoKey(_) => Self::UnsupportedTable,
        }
    }
}

impl From<&CommandError> for ErrorCode {
    fn from(error: &CommandError) -> Self {
        match error {
            CommandError::UnknownTable(_) => Self::UnknownTable,
            CommandError::UnsupportedTable(_) => Self::UnsupportedTable,
            CommandError::TableChanged(_) => Self::TableChanged,
            CommandError::Query(query) => query.into(),
            CommandError::BadCommand(_) => Self::BadCommand,
            CommandError::Constraint(_) => Self::Constraint,
            CommandError::UnreadableValue(_) => Self::UnreadableValue,
            CommandError::Timeout(_) => Self::Timeout,
            CommandError::Worker { code, .. } => Self::from_text(code).unwrap_or(Self::Internal),
        }
    }
}

impl From<QueryError> for WireError {
    fn from(error: QueryError) -> Self {
        Self::new(ErrorCode::from(&error), error.to_string())
    }
}

impl From<CommandError> for WireError {
    fn from(error: CommandError) -> Self {
        Self::new(ErrorCode::from(&error), error.to_string())
    }
}

/// Why the server closes a connection: WebSocket close codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// The server stops. Reconnect after a random moment, with the last positions.
    ShuttingDown,
    /// A frame broke the rules of WebSocket.
    BadWebSocket,
    /// A text frame was not UTF-8.
    NotUtf8,
    /// Refused, or no longer authorized. Reconnecting the same way is of no use.
    Refused,
    /// A frame was too large.
    TooLarge,
    /// A defect of ours ended the session. Reconnect later, with the last positions.
    Internal,
    /// Overloaded, or this client is too slow. Reconnect later, with the last positions.
    TryLater,
}

impl CloseCode {
    /// Every code the server uses.
    pub const ALL: &[Self] = &[
        Self::ShuttingDown,
        Self::BadWebSocket,
        Self::NotUtf8,
        Self::Refused,
        Self::TooLarge,
        Self::Internal,
        Self::TryLater,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::ShuttingDown => 1001,
            Self::BadWebSocket => 1002,
            Self::NotUtf8 => 1007,
            Self::Refused => 1008,
            Self::TooLarge => 1009,
            Self::Internal => 1011,
            Self::TryLater => 1013,
        }
    }

    /// The code of a number.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.number() == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes are told apart by their texts, and read back from them.
    #[test]
    fn texts_are_unique() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_text(code.as_str()), Some(*code));
        }
        assert_eq!(ErrorCode::from_text("Bad_Op"), None);
    }

    /// A refusal of a query keeps its sentence, also when it comes out of a command.
    #[test]
    fn refusals_keep_their_sentence() {
        let query = QueryError::BadLimit("limit is 1 to 9".to_owned());
        let command = CommandError::Query(query.clone());
        let expected = WireError::new(ErrorCode::BadLimit, "limit is 1 to 9");
        assert_eq!(WireError::from(query), expected);
        assert_eq!(WireError::from(command), expected);
    }

    /// A failed `sync` leaves its subscription alone; whatever else names one ends it.
    #[test]
    fn a_failed_sync_ends_nothing() {
        let ending = ErrorCode::ALL
            .iter()
            .filter(|code| !code.ends_subscription());
        let expected = [
            ErrorCode::UnknownSubscription,
            ErrorCode::BadLsn,
            ErrorCode::SyncTimeout,
        ];
        assert!(ending.eq(&expected));
    }

    /// Close codes survive their numbers.
    #[test]
    fn close_codes_round_trip() {
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from_number(code.number()), Some(*code));
        }
        assert_eq!(CloseCode::from_number(1000), None);
    }
}
