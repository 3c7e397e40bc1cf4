//! From SQLite's errors to those of the seam.

use std::path::Path;

use rusqlite::ErrorCode;
use tidegate_core::CommandError;
use tidegate_ports::{DatabaseError, PortError};

/// What the seam calls this side.
pub(crate) const WHAT: &str = "the SQLite database";

/// Why a piece of work on a connection failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What was asked is wrong.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// SQLite said no.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The rows asked for are too large together.
    #[error("the rows are larger than {0} bytes")]
    TooLarge(usize),
    /// A row came back that is not the tenant's who asked.
    #[error("a row came back that is another tenant's")]
    Foreign,
    /// The tables changed since the catalog was read: read it again, then try once more.
    #[error("the tables have changed")]
    Stale,
}

impl From<tidegate_core::QueryError> for Failure {
    fn from(error: tidegate_core::QueryError) -> Self {
        Self::Command(error.into())
    }
}

impl From<Failure> for DatabaseError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Command(error) => Self::Command(error),
            Failure::Sqlite(error) => database_error(error),
            Failure::TooLarge(bytes) => Self::Port(PortError::TooLarge {
                what: "rows of one read",
                bytes,
                bytes_max: crate::reads::ROWS_BYTES_MAX,
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
pub(crate) fn port_error(failure: Failure) -> PortError {
    match DatabaseError::from(failure) {
        DatabaseError::Port(error) => error,
        DatabaseError::Command(error) => PortError::Rejected {
            what: WHAT,
            why: error.to_string(),
        },
    }
}

fn database_error(error: rusqlite::Error) -> DatabaseError {
    let rusqlite::Error::SqliteFailure(cause, message) = &error else {
        return DatabaseError::Port(PortError::Rejected {
            what: WHAT,
            why: error.to_string(),
        });
    };
    let text = message.clone().unwrap_or_else(|| cause.to_string());
    match cause.code {
        ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch => {
            CommandError::Constraint(text).into()
        }
        ErrorCode::OperationInterrupted => {
            CommandError::Timeout("the statement took too long and was stopped".to_owned()).into()
        }
        ErrorCode::TooBig => {
            CommandError::BadCommand("a value is larger than SQLite can hold".to_owned()).into()
        }
        ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::DiskFull
        | ErrorCode::SystemIoFailure
        | ErrorCode::OutOfMemory
        | ErrorCode::CannotOpen => DatabaseError::Port(PortError::unavailable(WHAT, error)),
        ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt => {
            DatabaseError::Port(PortError::Corrupt {
                what: WHAT,
                why: text,
            })
        }
        _ => DatabaseError::Port(PortError::Rejected {
            what: WHAT,
            why: text,
        }),
    }
}

/// Why a file could not be opened, in a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The path leads nowhere.
    #[error("cannot open {path}: {why}")]
    Unreachable {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// The file is there, but not a database we can work on.
    #[error("{path} {why}")]
    Unusable {
        /// The file.
        path: String,
        /// Why, to be read after its name.
        why: String,
    },
    /// Another process works on it.
    #[error("{path} is in use: {why}")]
    InUse {
        /// The file.
        path: String,
        /// By whom.
        why: String,
    },
}

impl OpenError {
    pub(crate) fn unusable(path: &Path, why: impl Into<String>) -> Self {
        Self::Unusable {
            path: path.display().to_string(),
            why: why.into(),
        }
    }

    pub(crate) fn unreachable(path: &Path, why: impl std::fmt::Display) -> Self {
        Self::Unreachable {
            path: path.display().to_string(),
            why: why.to_string(),
        }
    }

    pub(crate) fn in_use(path: &Path, why: &str) -> Self {
        Self::InUse {
            path: path.display().to_string(),
            why: why.to_owned(),
        }
    }

    /// From what SQLite said while the file was opened and prepared.
    pub(crate) fn from_failure(path: &Path, failure: &Failure) -> Self {
        let text = failure.to_string();
        let Failure::Sqlite(error) = failure else {
            return Self::unusable(path, format!("cannot be prepared: {text}"));
        };
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::unusable(path, "is not a SQLite database"),
            Some(ErrorCode::DatabaseCorrupt) => Self::unusable(path, format!("is damaged: {text}")),
            Some(ErrorCode::ReadOnly) => Self::unusable(
                path,
                "cannot be written to, and changes are captured in the file",
            ),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self::in_use(path, "another process holds a lock on it")
            }
            _ => Self::unreachable(path, text),
        }
    }
}

/// A thread that could not be started, as an error of the file that needs it.
pub(crate) fn thread_failure(error: &std::io::Error) -> Failure {
    Failure::Command(CommandError::BadCommand(format!(
        "a thread cannot be started: {error}"
    )))
}
