//! The one thread that writes.
//!
//! It takes commands from a bounded queue and puts those that wait together into one SQLite
//! transaction, each in a savepoint and between marks in the log: one flush to the disk serves them
//! all, yet in the change stream each is a transaction of its own. It also keeps triggers and
//! catalog in line with the tables, and trims the log when it has nothing better to do.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use rusqlite::Connection;
use tidegate_core::{Command, Life, Lsn, Reply, Tenancy, TenantId};
use tidegate_ports::{DatabaseError, PortError};
use tokio::sync::{mpsc, oneshot, watch};

use crate::capture::{OP_BEGIN, OP_END};
use crate::catalog::{Catalog, schema_version};
use crate::connect::Timed;
use crate::error::{Failure, port_error};
use crate::install::{install, log_end};
use crate::relay::closing;
use crate::writes::{Writing, Written};

/// Jobs that may wait. More than a busy second's worth; beyond it, callers wait to put theirs in.
const JOBS_MAX: usize = 1_024;

/// Commands in one transaction. Enough that even a slow disk's flush costs a command less than its
/// own work, and done in some 20 ms, so that other programs' writes get their turn.
const GROUP_MAX: usize = 512;

/// Log rows deleted in one transaction, so that a write never waits long for it.
const TRIM_ROWS: u64 = 2_000;

/// Log rows that may be trimmed before it is done although commands wait.
const TRIM_LATEST: u64 = 100_000;

/// What the writer is asked to do.
pub(crate) enum WriterJob {
    Execute(Box<Execute>),
    NextLife(oneshot::Sender<Result<Life, PortError>>),
    /// Reads the catalog again if the schema has changed.
    Refresh(oneshot::Sender<Result<(), Failure>>),
    /// Wakes this relay after commits, in place of any other, and tells it where the log ends.
    Attach(SyncSender<()>, oneshot::Sender<Result<u64, Failure>>),
    /// The log up to here is no longer needed.
    Trim(Lsn),
    Stop,
}

/// A writing command and where its reply goes.
pub(crate) struct Execute {
    tenant: TenantId,
    command: Command,
    reply: oneshot::Sender<Result<Reply, DatabaseError>>,
}

/// The way to the writer.
#[derive(Clone)]
pub(crate) struct WriterHandle(mpsc::Sender<WriterJob>);

impl WriterHandle {
    pub(crate) fn channel() -> (Self, mpsc::Receiver<WriterJob>) {
        let (sender, jobs) = mpsc::channel(JOBS_MAX);
        (Self(sender), jobs)
    }

    pub(crate) async fn execute(
        &self,
        tenant: TenantId,
        command: Command,
    ) -> Result<Reply, DatabaseError> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Execute {
            tenant,
            command,
            reply,
        });
        self.send(WriterJob::Execute(job)).await?;
        answer.await.map_err(|_| closing())?
    }

    pub(crate) async fn next_life(&self) -> Result<Life, PortError> {
        let (reply, answer) = oneshot::channel();
        self.send(WriterJob::NextLife(reply)).await?;
        answer.await.map_err(|_| closing())?
    }

    pub(crate) async fn refresh(&self) -> Result<(), DatabaseError> {
        let (reply, answer) = oneshot::channel();
        self.send(WriterJob::Refresh(reply)).await?;
        Ok(answer.await.map_err(|_| closing())??)
    }

    /// Attaches a relay: the log is kept from the position given back.
    pub(crate) async fn attach(&self, wake: SyncSender<()>) -> Result<u64, PortError> {
        let (reply, answer) = oneshot::channel();
        self.send(WriterJob::Attach(wake, reply)).await?;
        answer.await.map_err(|_| closing())?.map_err(port_error)
    }

    /// For threads without a runtime.
    pub(crate) fn refresh_blocking(&self) -> Result<(), Failure> {
        let (reply, answer) = oneshot::channel();
        // Only a closing database takes no jobs; then the catalog no longer matters.
        if self.0.blocking_send(WriterJob::Refresh(reply)).is_err() {
            return Err(Failure::Stale);
        }
        answer.blocking_recv().unwrap_or(Err(Failure::Stale))
    }

    pub(crate) async fn send(&self, job: WriterJob) -> Result<(), PortError> {
        self.0.send(job).await.map_err(|_| closing())
    }

    /// Puts a job in if there is room.
    pub(crate) fn offer(&self, job: WriterJob) {
        // Said by the caller: the job may be dropped.
        let _ = self.0.try_send(job);
    }

    pub(crate) fn try_stop(&self) -> Result<(), Failure> {
        match self.0.try_send(WriterJob::Stop) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Failure::Stale),
        }
    }

    pub(crate) fn send_blocking(&self, job: WriterJob) {
        // A writer that is gone has stopped already.
        let _ = self.0.blocking_send(job);
    }
}

/// The thread's state.
pub(crate) struct Writer {
    timed: Timed,
    catalog: watch::Sender<Arc<Catalog>>,
    wake: Option<SyncSender<()>>,
    trim_to: u64,
    trimmed: u64,
}

impl Writer {
    /// A writer over a prepared file, and the catalog it keeps current.
    pub(crate) fn new(
        timed: Timed,
        tenancy: Tenancy,
    ) -> Result<(Self, watch::Receiver<Arc<Catalog>>), Failure> {
        let (catalog, receiver) = watch::channel(Arc::new(Catalog::empty(tenancy)));
        let mut writer = Self {
            timed,
            catalog,
            wake: None,
            trim_to: 0,
            trimmed: 0,
        };
        writer.refresh()?;
        // Nobody reads what was logged before: a stream starts at the end.
        let connection = &writer.timed.connection;
        connection.execute_batch("DELETE FROM _tidegate_log; DELETE FROM _tidegate_conflict")?;
        writer.trimmed = log_end(connection)?;
        Ok((writer, receiver))
    }

    /// Works until it is told to stop, or nobody is left to tell it.
    pub(crate) fn run(mut self, mut jobs: mpsc::Receiver<WriterJob>) {
        let mut next = None;
        loop {
            let job = match next.take() {
                Some(job) => job,
                None => match jobs.try_recv() {
                    Ok(job) => job,
                    Err(mpsc::error::TryRecvError::Disconnected) => return,
                    Err(mpsc::error::TryRecvError::Empty) if self.trim(TRIM_ROWS) => continue,
                    Err(mpsc::error::TryRecvError::Empty) => match jobs.blocking_recv() {
                        Some(job) => job,
                        None => return,
                    },
                },
            };
            match job {
                WriterJob::Execute(first) => {
                    let mut group = vec![*first];
                    while group.len() < GROUP_MAX {
                        match jobs.try_recv() {
                            Ok(WriterJob::Execute(more)) => group.push(*more),
                            Ok(other) => {
                                next = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.execute_group(group);
                    self.trim(TRIM_LATEST);
                }
                WriterJob::NextLife(reply) => {
                    // A caller that no longer waits has lost a number, which is no loss.
                    let _ = reply.send(self.next_life().map_err(port_error));
                }
                WriterJob::Refresh(reply) => {
                    // The caller may have given up.
                    let _ = reply.send(self.refresh());
                }
                WriterJob::Attach(wake, reply) => {
                    // The relay that was woken until now sees its channel close, and ends.
                    self.wake = Some(wake);
                    self.trim_to = self.trimmed;
                    let end = log_end(&self.timed.connection);
                    // The caller may have given up.
                    let _ = reply.send(end.map_err(Failure::from));
                }
                WriterJob::Trim(lsn) => self.trim_to = self.trim_to.max(lsn.get()),
                WriterJob::Stop => return,
            }
        }
    }

    /// Runs commands in one transaction, and answers them.
    fn execute_group(&mut self, mut group: Vec<Execute>) {
        // What was given up before it began is not begun.
        group.retain(|job| !job.reply.is_closed());
        if group.is_empty() {
            return;
        }
        let mut results = Vec::with_capacity(group.len());
        self.attempt_parts(&group, &mut results);
        self.wake_relay();
        for (job, result) in group.into_iter().zip(results) {
            // A caller that gave up does not undo what was done.
            let _ = job.reply.send(result.map_err(DatabaseError::from));
        }
    }

    /// Runs commands in one transaction, or each half in its own when that fails, so that the one
    /// at fault fails alone in the end. Halving keeps a client who sends many of those from making
    /// everybody else's commands flush one by one.
    fn attempt_parts(&mut self, group: &[Execute], results: &mut Vec<Result<Reply, Failure>>) {
        match self.attempt(group) {
            Ok(done) => results.extend(done),
            Err(failure) if group.len() == 1 => results.push(Err(failure)),
            Err(_) => {
                let (first, second) = group.split_at(group.len() / 2);
                self.attempt_parts(first, results);
                self.attempt_parts(second, results);
            }
        }
    }

    fn wake_relay(&mut self) {
        use std::sync::mpsc::TrySendError;
        let gone = |wake: &SyncSender<()>| {
            matches!(wake.try_send(()), Err(TrySendError::Disconnected(())))
        };
        if self.wake.as_ref().is_some_and(gone) {
            self.wake = None;
        }
    }

    /// One transaction with all the commands. An error means that nothing of it happened.
    fn attempt(&mut self, group: &[Execute]) -> Result<Vec<Result<Reply, Failure>>, Failure> {
        let before = Arc::clone(&self.catalog.borrow());
        let (results, catalog) = in_write_transaction(&self.timed, |timed| {
            let mut catalog = current(&timed.connection, before)?;
            let mut results = Vec::with_capacity(group.len());
            for job in group {
                let result = timed.run(|connection| one(connection, &mut catalog, job));
                // Some errors end the whole transaction, not only the statement.
                if timed.connection.is_autocommit() {
                    return Err(result.err().unwrap_or(Failure::Stale));
                }
                results.push(result);
            }
            Ok((results, catalog))
        })?;
        self.catalog.send_replace(catalog);
        Ok(results)
    }

    fn refresh(&mut self) -> Result<(), Failure> {
        let before = Arc::clone(&self.catalog.borrow());
        let catalog =
            in_write_transaction(&self.timed, |timed| current(&timed.connection, before))?;
        self.catalog.send_replace(catalog);
        self.wake_relay();
        Ok(())
    }

    fn next_life(&mut self) -> Result<Life, Failure> {
        let life: u32 = in_write_transaction(&self.timed, |timed| {
            Ok(timed.connection.query_row(
                "INSERT INTO _tidegate_meta(name, value) VALUES ('life', 1) \
                 ON CONFLICT(name) DO UPDATE SET value = value + 1 RETURNING value",
                [],
                |row| row.get(0),
            )?)
        })?;
        Ok(Life::new(life))
    }

    /// Deletes a small run of old log rows, if there are at least so many. Says whether it did.
    fn trim(&mut self, rows_min: u64) -> bool {
        if self.wake.is_none() {
            // Without a relay nobody needs any of it.
            self.trim_to = log_end(&self.timed.connection).unwrap_or(self.trim_to);
        }
        if self.trim_to.saturating_sub(self.trimmed) < rows_min {
            return false;
        }
        let to = self.trim_to.min(self.trimmed + TRIM_ROWS);
        let trimmed = in_write_transaction(&self.timed, |timed| {
            let connection = &timed.connection;
            connection
                .prepare_cached("DELETE FROM _tidegate_log WHERE id <= ?1")?
                .execute([to])?;
            connection
                .prepare_cached("DELETE FROM _tidegate_conflict")?
                .execute([])?;
            Ok(())
        });
        match trimmed {
            Ok(()) => self.trimmed = to,
            Err(error) => {
                tracing::debug!(error = %error, "the log is not trimmed now");
                return false;
            }
        }
        true
    }
}

/// Runs a piece of work in a write transaction; an error rolls it back.
pub(crate) fn in_write_transaction<T>(
    timed: &Timed,
    work: impl FnOnce(&Timed) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let connection = &timed.connection;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let result = work(timed).and_then(|value| {
        connection.execute_batch("COMMIT")?;
        Ok(value)
    });
    if !connection.is_autocommit() {
        // What failed is reported; if even this fails, the next BEGIN says so.
        let _ = connection.execute_batch("ROLLBACK");
    }
    result
}

/// The catalog as of the current transaction.
fn current(connection: &Connection, catalog: Arc<Catalog>) -> Result<Arc<Catalog>, Failure> {
    if schema_version(connection)? == catalog.version {
        return Ok(catalog);
    }
    marked(connection, |connection| {
        let installed = install(connection, &catalog)?;
        Ok((Arc::new(installed.catalog), installed.changed))
    })
    .map(|(catalog, _)| catalog)
}

/// One command in a savepoint, between marks.
fn one(
    connection: &Connection,
    catalog: &mut Arc<Catalog>,
    job: &Execute,
) -> Result<Reply, Failure> {
    let tables = Arc::clone(catalog);
    let ((outcome, changed_tables), lsn) = marked(connection, |connection| {
        let writing = Writing {
            connection,
            catalog: &tables,
        };
        Ok(match writing.execute(&job.tenant, &job.command)? {
            Written::Changed(outcome) => ((outcome, None), true),
            Written::Nothing(outcome) => ((outcome, None), false),
            Written::Tables(outcome) => {
                let installed = install(connection, &tables)?;
                ((outcome, Some(installed.catalog)), true)
            }
        })
    })?;
    if let Some(changed) = changed_tables {
        *catalog = Arc::new(changed);
    }
    Ok(Reply { outcome, lsn })
}

/// Runs a piece of work in a savepoint, between the marks of a transaction. Gives the position of
/// the closing mark when the work says that it changed something; else nothing stays.
fn marked<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<(T, bool), Failure>,
) -> Result<(T, Option<Lsn>), Failure> {
    connection
        .prepare_cached("SAVEPOINT command")?
        .execute([])?;
    let result = mark(connection, OP_BEGIN).and_then(|_| {
        let (value, changed) = work(connection)?;
        let lsn = match changed {
            true => Some(Lsn::new(mark(connection, OP_END)?)),
            false => None,
        };
        Ok((value, lsn))
    });
    let keeps = matches!(&result, Ok((_, Some(_))));
    if !connection.is_autocommit() {
        if !keeps {
            connection.execute_batch("ROLLBACK TO command")?;
        }
        connection.prepare_cached("RELEASE command")?.execute([])?;
    }
    result
}

fn mark(connection: &Connection, op: i64) -> Result<u64, Failure> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO _tidegate_log(source, op, c0) VALUES (0, ?1, julianday('now'))",
    )?;
    let id = insert.insert([op])?;
    Ok(u64::try_from(id).expect("the log counts upwards from one"))
}
