//! Reads the log after its position and sends what it says, transaction by transaction.
//!
//! One thread with a connection of its own. Own commits wake it; commits of other processes show in
//! `PRAGMA data_version`, which costs a few microseconds and is asked every few milliseconds. Each
//! look is one read transaction, so it sees whole commits only; it stops at the end of a
//! transaction once it has enough, and no transaction is kept open while a batch waits to be taken.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tidegate_core::{
    CommandError, Heartbeat, Lsn, OwnChange, Owner, RowChange, TableSchema, TenantId,
};
use tidegate_ports::{ChangeBatch, PortError};
use tokio::sync::{mpsc, watch};

use crate::capture::{OP_BEGIN, OP_DELETE, OP_END, OP_RESET, OP_UPSERT};
use crate::catalog::{Catalog, Source, schema_version};
use crate::cell::{Place, read, read_key, read_row, stored_bytes};
use crate::connect::Timed;
use crate::error::{Failure, WHAT, port_error};
use crate::install::log_end;
use crate::units::{Entry, Units};
use crate::writer::{WriterHandle, WriterJob};

/// Rows after which a batch is sent, at the next end of a transaction.
const BATCH_ROWS: usize = 2_000;

/// How long the stream may be silent.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(200);

/// Times that the catalog is read again for one look before the look fails.
const REFRESHES_MAX: usize = 5;

/// The thread's state.
pub(crate) struct Relay {
    pub(crate) timed: Timed,
    pub(crate) position: u64,
    pub(crate) catalog: watch::Receiver<Arc<Catalog>>,
    pub(crate) writer: WriterHandle,
    pub(crate) wake: Receiver<()>,
    pub(crate) poll_interval: Duration,
    pub(crate) batches: mpsc::Sender<Result<ChangeBatch, PortError>>,
    pub(crate) acknowledged: watch::Receiver<Lsn>,
}

impl Relay {
    /// Runs until the stream is dropped, the database closes, or something fails.
    pub(crate) fn run(mut self) {
        let mut seen_version = None;
        let mut sent_at: Option<Instant> = None;
        loop {
            match self.wake.recv_timeout(self.poll_interval) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.batches.is_closed() {
                return;
            }
            self.pass_acknowledgement();
            let due = sent_at.is_none_or(|at| at.elapsed() >= HEARTBEAT_INTERVAL);
            match self.step(&mut seen_version, due) {
                Ok(ControlFlow::Continue(false)) => {}
                Ok(ControlFlow::Continue(true)) => sent_at = Some(Instant::now()),
                Ok(ControlFlow::Break(())) => return,
                Err(failure) => {
                    // The other side may be gone already; then nobody is left to tell.
                    let _ = self.batches.blocking_send(Err(port_error(failure)));
                    return;
                }
            }
        }
    }

    /// Looks until the end of the log is reached, when there is news or a heartbeat is due. Says
    /// whether it sent anything.
    fn step(
        &mut self,
        seen_version: &mut Option<i64>,
        due: bool,
    ) -> Result<ControlFlow<(), bool>, Failure> {
        let version: i64 = data_version(&self.timed.connection)?;
        if *seen_version == Some(version) && !due {
            return Ok(ControlFlow::Continue(false));
        }
        // Asked before the look: what commits in between is looked for once too often, not too
        // rarely.
        *seen_version = Some(version);
        let mut sent = false;
        loop {
            let look = self.look_afresh()?;
            let nothing_new = look.batch.transactions.is_empty();
            if nothing_new && !due && look.position == self.position {
                return Ok(ControlFlow::Continue(sent));
            }
            self.position = look.position;
            if self.batches.blocking_send(Ok(look.batch)).is_err() {
                return Ok(ControlFlow::Break(()));
            }
            sent = true;
            if look.at_end {
                return Ok(ControlFlow::Continue(true));
            }
        }
    }

    /// A look with a catalog that knows every source in it.
    fn look_afresh(&mut self) -> Result<Look, Failure> {
        for _ in 0..REFRESHES_MAX {
            let catalog = Arc::clone(&self.catalog.borrow());
            match in_transaction(&self.timed.connection, |connection| {
                look(connection, &catalog, self.position)
            }) {
                Err(Failure::Stale) => self.writer.refresh_blocking()?,
                other => return other,
            }
        }
        Err(Failure::Stale)
    }

    fn pass_acknowledgement(&mut self) {
        if self.acknowledged.has_changed().unwrap_or(false) {
            let lsn = *self.acknowledged.borrow_and_update();
            // A full queue means writes are waiting; trimming can wait longer.
            self.writer.offer(WriterJob::Trim(lsn));
        }
    }
}

/// What one look found.
struct Look {
    batch: ChangeBatch,
    position: u64,
    /// Whether it reached the end of the log.
    at_end: bool,
}

/// Runs a piece of work in one read transaction.
pub(crate) fn in_transaction<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    connection.execute_batch("BEGIN")?;
    let result = work(connection);
    // A read transaction has nothing to lose, and an interrupted one may be over already.
    let _ = connection.execute_batch("ROLLBACK");
    result
}

fn look(connection: &Connection, catalog: &Catalog, position: u64) -> Result<Look, Failure> {
    if schema_version(connection)? != catalog.version {
        return Err(Failure::Stale);
    }
    let end = log_end(connection)?;
    let now_micros = clock(connection)?;
    let mut units = Units::new(position, now_micros);
    let mut at_end = true;
    if end > position {
        let mut statement =
            connection.prepare_cached("SELECT * FROM _tidegate_log WHERE id > ?1 ORDER BY id")?;
        let mut rows = statement.query([position])?;
        while let Some(row) = rows.next()? {
            let id: u64 = row.get(0)?;
            units.take(id, entry(catalog, row)?);
            if units.closed_rows().is_some_and(|rows| rows >= BATCH_ROWS) {
                at_end = id >= end;
                break;
            }
        }
    }
    let (transactions, complete) = units.finish();
    let position = if at_end { end.max(complete) } else { complete };
    let heartbeat = Heartbeat {
        lsn: Lsn::new(position),
        at_micros: now_micros,
        visible: None,
    };
    Ok(Look {
        batch: ChangeBatch {
            transactions,
            heartbeat,
        },
        position,
        at_end,
    })
}

/// Columns of a log row before those of the table.
const LOG_COLUMNS: usize = 3;

fn entry(catalog: &Catalog, row: &rusqlite::Row<'_>) -> Result<Entry, Failure> {
    let op: i64 = row.get(2)?;
    match op {
        OP_BEGIN => return Ok(Entry::Begin),
        OP_END => return Ok(Entry::End(micros_of_julian_day(row.get(LOG_COLUMNS)?))),
        _ => {}
    }
    let number: i64 = row.get(1)?;
    // Installed after our catalog was read.
    let source = catalog.sources.get(&number).ok_or(Failure::Stale)?;
    if !catalog.live.contains(&number) {
        // The table has another shape by now, and this row may have been written by the triggers of
        // the old shape after the change: then a dropped column stands in it as its name (SQLite
        // takes a quoted name that means nothing for a string). The pages are read again in any
        // case.
        return Ok(Entry::Reset(Arc::clone(source)));
    }
    let (owner_at, read): (_, fn(&TableSchema, &rusqlite::Row<'_>) -> _) = match op {
        OP_UPSERT => (source.stored.columns().len(), read_upsert),
        OP_DELETE => (source.stored.key().len(), read_delete),
        OP_RESET => return Ok(Entry::Reset(Arc::clone(source))),
        other => {
            tracing::error!(
                op = other,
                "the log holds an unknown mark; pages are read again"
            );
            return Ok(Entry::Reset(Arc::clone(source)));
        }
    };
    let Some(tenant) = tenant_at(source, row, LOG_COLUMNS + owner_at - 1)? else {
        return Ok(Entry::Nothing);
    };
    let change = read(&source.schema, row).map_err(|error| {
        tracing::debug!(error = %error, "a change cannot be read; pages are read again");
    });
    let width = source.stored.columns().len();
    let own = OwnChange {
        tenant,
        change: change.ok(),
        bytes: stored_bytes(row, LOG_COLUMNS..LOG_COLUMNS + width)?,
    };
    Ok(Entry::Change(Arc::clone(source), own))
}

fn read_upsert(schema: &TableSchema, row: &rusqlite::Row<'_>) -> Result<RowChange, CommandError> {
    let row = read_row(schema, row, LOG_COLUMNS)?;
    Ok(RowChange::Upsert { old_key: None, row })
}

fn read_delete(schema: &TableSchema, row: &rusqlite::Row<'_>) -> Result<RowChange, CommandError> {
    let key = read_key(schema, row, LOG_COLUMNS)?;
    Ok(RowChange::Delete { key })
}

/// Whose a logged row or key is, which stands last in it. A value that its type does not allow is
/// nobody's, as SQL finds it for nobody.
fn tenant_at(
    source: &Source,
    row: &rusqlite::Row<'_>,
    at: usize,
) -> Result<Option<TenantId>, Failure> {
    match (&source.owner, source.stored.columns().last()) {
        (Owner::Tenant(tenant), _) => Ok(Some(tenant.clone())),
        (Owner::EachRow, None) => Ok(None),
        (Owner::EachRow, Some(column)) => {
            let value = read(&column.kind, Place::Plain, row.get_ref(at)?);
            Ok(value.ok().as_ref().and_then(TenantId::of_value))
        }
    }
}

fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    let mut statement = connection.prepare_cached("PRAGMA data_version")?;
    statement.query_row([], |row| row.get(0))
}

/// SQLite's clock in microseconds since 1970; it counts milliseconds.
pub(crate) fn clock(connection: &Connection) -> rusqlite::Result<i64> {
    let mut statement = connection.prepare_cached("SELECT julianday('now')")?;
    statement.query_row([], |row| Ok(micros_of_julian_day(row.get(0)?)))
}

fn micros_of_julian_day(days: f64) -> i64 {
    // A Julian day has about 50 microseconds of precision; whole milliseconds survive the way back.
    const UNIX_EPOCH_DAYS: f64 = 2_440_587.5;
    ((days - UNIX_EPOCH_DAYS) * 86_400_000.0).round() as i64 * 1_000
}

/// The error of a database that is closing.
pub(crate) fn closing() -> PortError {
    PortError::Gone { what: WHAT }
}
