//! Opening the file and its connections.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use crate::config::SqliteConfig;
use crate::error::{Failure, OpenError};
use crate::functions::register;

/// Statements kept prepared on each connection.
const STATEMENTS_KEPT: usize = 128;

/// Steps of SQLite's machine between two looks at the clock: well under a millisecond.
const STEPS_PER_LOOK: i32 = 10_000;

/// A connection whose statements are stopped when they take too long.
pub(crate) struct Timed {
    pub(crate) connection: Connection,
    deadline: Deadline,
    timeout: Duration,
}

/// Microseconds after `start`; zero is never.
#[derive(Clone)]
struct Deadline {
    start: Instant,
    micros: Arc<AtomicU64>,
}

impl Timed {
    /// Runs a piece of work under the time-out.
    pub(crate) fn run<T>(&self, work: impl FnOnce(&Connection) -> T) -> T {
        let at = self.deadline.start.elapsed() + self.timeout;
        let micros = u64::try_from(at.as_micros()).unwrap_or(u64::MAX).max(1);
        self.deadline.micros.store(micros, Ordering::Relaxed);
        let result = work(&self.connection);
        self.deadline.micros.store(0, Ordering::Relaxed);
        result
    }
}

/// Whether a connection may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// Opens one connection.
pub(crate) fn connect(config: &SqliteConfig, access: Access) -> Result<Timed, Failure> {
    let flags = match access {
        Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        // The file itself is opened for writing all the same: a reader of a WAL may have to recover
        // it.
        Access::Read => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&config.path, flags)?;
    connection.busy_timeout(config.busy_timeout)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    register(&connection)?;
    // A row larger than this cannot be passed on anyway.
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, 256 << 20)?;
    match access {
        Access::Write => {
            connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")?;
        }
        Access::Read => connection.execute_batch("PRAGMA query_only = ON;")?,
    }
    let deadline = Deadline {
        start: Instant::now(),
        micros: Arc::new(AtomicU64::new(0)),
    };
    let watched = deadline.clone();
    let is_over = move || {
        let micros = watched.micros.load(Ordering::Relaxed);
        micros > 0 && watched.start.elapsed().as_micros() >= u128::from(micros)
    };
    connection.progress_handler(STEPS_PER_LOOK, Some(is_over))?;
    Ok(Timed {
        connection,
        deadline,
        timeout: config.statement_timeout,
    })
}

/// Makes sure that the file is a database we can work on: text in UTF-8, and a write-ahead log, so
/// that readers and the writer do not wait for each other.
pub(crate) fn check_file(config: &SqliteConfig, connection: &Connection) -> Result<(), OpenError> {
    let path = &config.path;
    let failed = |error: rusqlite::Error| OpenError::from_failure(path, &error.into());
    let text = |pragma: &str| -> rusqlite::Result<String> {
        connection.query_row(pragma, [], |row| row.get(0))
    };
    let encoding = text("PRAGMA encoding").map_err(failed)?;
    if encoding != "UTF-8" {
        let why = format!("keeps its text as {encoding}; only UTF-8 is supported");
        return Err(OpenError::unusable(path, why));
    }
    if connection.is_readonly("main").map_err(failed)? {
        let why = "cannot be written to, and changes are captured in the file itself";
        return Err(OpenError::unusable(path, why));
    }
    let mode = text("PRAGMA journal_mode = WAL").map_err(failed)?;
    if mode != "wal" {
        let why = format!("cannot have a write-ahead log (its journal mode stays {mode})");
        return Err(OpenError::unusable(path, why));
    }
    Ok(())
}

/// Held while the file is open: one process of ours at a time.
///
/// Two would trim the log under each other. Other programs may use the file as they like. The lock
/// is on a file beside it: on the database itself, closing any handle would release SQLite's own
/// locks.
#[derive(Debug)]
pub(crate) struct FileLock {
    _file: File,
}

impl FileLock {
    pub(crate) fn take(path: &Path) -> Result<Self, OpenError> {
        let beside = beside(path);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&beside)
            .map_err(|error| OpenError::unreachable(&beside, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => {
                Err(OpenError::in_use(path, "another Tidegate has it open"))
            }
            Err(TryLockError::Error(error)) => Err(OpenError::unreachable(&beside, error)),
        }
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-tidegate");
    name.into()
}
