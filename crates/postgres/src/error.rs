//! From Postgres's errors to those of the seam.

use deadpool_postgres::{PoolError, TimeoutType};
use pgwire_replication::PgWireError;
use tidegate_core::{CommandError, QueryError};
use tidegate_ports::{DatabaseError, PortError};
use tokio_postgres::error::{DbError, SqlState};

/// What the seam calls this side.
pub(crate) const WHAT: &str = "the Postgres database";

/// Why a piece of work on a connection failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What was asked is wrong.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// Trouble that is known by its name already.
    #[error(transparent)]
    Port(#[from] PortError),
    /// Postgres said no, or nothing.
    #[error(transparent)]
    Postgres(#[from] tokio_postgres::Error),
    /// No connection could be had.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The rows asked for are too large together.
    #[error("the rows are larger than {0} bytes")]
    TooLarge(usize),
    /// A row came back that is not the tenant's who asked.
    #[error("a row came back that is another tenant's")]
    Foreign,
    /// The table is no longer what it was when it was looked up: look it up again.
    #[error("the table has changed")]
    Stale,
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        Self::Command(error.into())
    }
}

impl From<Failure> for DatabaseError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Command(error) => Self::Command(error),
            Failure::Port(error) => Self::Port(error),
            Failure::Postgres(error) => database_error(error),
            Failure::Pool(PoolError::Backend(error)) => database_error(error),
            Failure::Pool(PoolError::Timeout(TimeoutType::Wait)) => {
                let text = "no connection to the database became free in time";
                CommandError::Timeout(text.to_owned()).into()
            }
            Failure::Pool(error) => Self::Port(PortError::unavailable(WHAT, error)),
            Failure::TooLarge(bytes) => Self::Port(PortError::TooLarge {
                what: "rows of one read",
                bytes,
                bytes_max: crate::session::ROWS_BYTES_MAX,
            }),
            Failure::Foreign => {
                tracing::error!("a row came back that is not the tenant's who asked");
                Self::Port(PortError::Corrupt {
                    what: WHAT,
                    why: failure.to_string(),
                })
            }
            Failure::Stale => Self::Port(PortError::Unavailable {
                what: WHAT,
                source: None,
            }),
        }
    }
}

/// The port's error for work that no command asked for.
pub(crate) fn port_error(failure: impl Into<Failure>) -> PortError {
    match DatabaseError::from(failure.into()) {
        DatabaseError::Port(error) => error,
        DatabaseError::Command(error @ CommandError::Timeout(_)) => {
            PortError::unavailable(WHAT, error)
        }
        DatabaseError::Command(error) => rejected(error.to_string()),
    }
}

pub(crate) fn rejected(why: impl Into<String>) -> PortError {
    PortError::Rejected {
        what: WHAT,
        why: why.into(),
    }
}

fn database_error(error: tokio_postgres::Error) -> DatabaseError {
    let Some(cause) = error.as_db_error() else {
        // Everything else is the connection.
        let refused = crate::tls::refusal(&error);
        let port = refused.unwrap_or_else(|| PortError::unavailable(WHAT, error));
        return DatabaseError::Port(port);
    };
    let text = cause.message().to_owned();
    match &cause.code().code()[..2] {
        "23" => return CommandError::Constraint(constraint_text(cause)).into(),
        "22" => return CommandError::from(QueryError::BadValue(text)).into(),
        // A limit of the server: an index row, the depth of an expression.
        "54" => return CommandError::BadCommand(text).into(),
        "08" | "40" | "53" | "55" | "58" | "57" if *cause.code() != SqlState::QUERY_CANCELED => {
            return DatabaseError::Port(PortError::unavailable(WHAT, error));
        }
        _ => {}
    }
    match *cause.code() {
        SqlState::QUERY_CANCELED => {
            CommandError::Timeout("the statement took too long and was stopped".to_owned()).into()
        }
        // The words of whoever wrote the trigger.
        SqlState::RAISE_EXCEPTION => CommandError::Constraint(text).into(),
        SqlState::UNDEFINED_TABLE => CommandError::UnknownTable(text).into(),
        // Of the role of this connection, which is nothing a client can change.
        SqlState::INSUFFICIENT_PRIVILEGE => CommandError::UnsupportedTable(text).into(),
        SqlState::UNDEFINED_COLUMN | SqlState::DATATYPE_MISMATCH => {
            CommandError::TableChanged(text).into()
        }
        SqlState::GENERATED_ALWAYS | SqlState::FEATURE_NOT_SUPPORTED => {
            CommandError::BadCommand(text).into()
        }
        SqlState::READ_ONLY_SQL_TRANSACTION => {
            tracing::debug!(text, "a standby was asked to write");
            DatabaseError::Port(standby())
        }
        _ => DatabaseError::Port(rejected(text)),
    }
}

/// A standby can serve nothing, but it may be on its way to be the primary, as in every failover.
pub(crate) fn standby() -> PortError {
    said("it is a standby: connect to the primary, or promote it".to_owned())
}

/// Whether a statement does not fit its table any more: it was written for what was remembered of
/// it.
pub(crate) fn is_redefined(error: &tokio_postgres::Error) -> bool {
    let redefined = [
        SqlState::UNDEFINED_TABLE,
        SqlState::UNDEFINED_COLUMN,
        SqlState::UNDEFINED_FUNCTION,
        SqlState::DATATYPE_MISMATCH,
        SqlState::CANNOT_COERCE,
        SqlState::WRONG_OBJECT_TYPE,
    ];
    error.code().is_some_and(|code| redefined.contains(code))
}

/// [`Failure::Stale`] for a statement that does not fit its table any more.
pub(crate) fn stale_if_redefined(failure: Failure) -> Failure {
    match failure {
        Failure::Postgres(error) if is_redefined(&error) => Failure::Stale,
        other => other,
    }
}

/// The failure of a command that reads: where Postgres has no such operator for a type, it is the
/// client that asked for too much, if the table is what it was.
pub(crate) fn unsupported_or_stale(failure: Failure) -> Failure {
    match &failure {
        Failure::Postgres(error) if error.code() == Some(&SqlState::UNDEFINED_FUNCTION) => {
            let text = error.as_db_error().map_or("", DbError::message).to_owned();
            QueryError::UnsupportedOperator(text).into()
        }
        _ => stale_if_redefined(failure),
    }
}

/// The message, and the detail that says which values are at fault. An exclusion's detail shows the
/// values of the other row too, which may be another tenant's.
fn constraint_text(cause: &DbError) -> String {
    let detail = cause.detail();
    match detail.filter(|_| *cause.code() != SqlState::EXCLUSION_VIOLATION) {
        Some(detail) => format!("{}: {detail}", cause.message()),
        None => cause.message().to_owned(),
    }
}

/// The error of a replication connection. Its words are the server's; a password is not among them.
pub(crate) fn replication_error(error: PgWireError) -> PortError {
    match &error {
        PgWireError::Auth(text) => rejected(format!("the replication connection: {text}")),
        PgWireError::Tls(text) if is_refusal(text) => crate::tls::refused(text),
        PgWireError::Server(text) => match (advice(REFUSED, text), advice(FULL, text)) {
            (Some(advice), _) => rejected(format!("{text}: {advice}")),
            (None, Some(advice)) => said(format!("{text}: {advice}")),
            (None, None) => PortError::unavailable(WHAT, error),
        },
        _ => PortError::unavailable(WHAT, error),
    }
}

/// Whether the library's words on TLS are of what another try would not change.
fn is_refusal(text: &str) -> bool {
    let words = ["certificate", "not support TLS", "TLS config error"];
    words.iter().any(|word| text.contains(word))
}

/// Trouble that may pass, in words for whoever looks after the server.
pub(crate) fn said(why: String) -> PortError {
    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Said(String);
    PortError::unavailable(WHAT, Said(why))
}

/// What the server says when it is not set up for us, and what to do.
const REFUSED: &[(&str, &str)] = &[
    (
        "wal_level",
        "set wal_level = logical in postgresql.conf and restart the server",
    ),
    (
        "must be superuser or replication role",
        "give the role the REPLICATION attribute (ALTER ROLE … REPLICATION)",
    ),
    (
        "permission denied to",
        "give the role the REPLICATION attribute (ALTER ROLE … REPLICATION)",
    ),
    ("pg_hba.conf", "allow the role's connection in pg_hba.conf"),
];

/// What it says when others have all there is of something, which they may give back.
const FULL: &[(&str, &str)] = &[
    (
        "all replication slots are in use",
        "raise max_replication_slots, or drop a slot that nobody reads (pg_replication_slots)",
    ),
    (
        "max_wal_senders",
        "raise max_wal_senders, or end a replication that nobody needs (pg_stat_replication)",
    ),
];

fn advice(known: &[(&str, &'static str)], text: &str) -> Option<&'static str> {
    let found = known.iter().find(|(part, _)| text.contains(part));
    found.map(|(_, advice)| *advice)
}

/// The error of a database that is closing.
pub(crate) fn closing() -> PortError {
    PortError::Gone { what: WHAT }
}
