//! [`SqliteDatabase`]: the seam's methods, handed to the threads that carry them out.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use tidegate_core::{Command, Life, Reply, TableName, TableSchema, Tenancy, TenantId};
use tidegate_ports::{ChangeStream, Database, DatabaseError, PortError, Snapshot, SnapshotRequest};
use tokio::sync::watch;

use crate::catalog::Catalog;
use crate::config::SqliteConfig;
use crate::connect::{Access, FileLock, check_file, connect};
use crate::error::{Failure, OpenError, port_error, thread_failure};
use crate::install::{prepare, remove};
use crate::readers::Readers;
use crate::reads::{Reading, Sorted, sorted};
use crate::relay::{Relay, closing};
use crate::writer::{Writer, WriterHandle, WriterJob, in_write_transaction};

/// Batches of the change stream that may wait to be taken.
const BATCHES_MAX: usize = 16;

/// Times that a read is tried while the tables keep changing under it.
const TRIES_MAX: usize = 5;

/// A SQLite file as a database of live queries.
///
/// Dropping it waits for the statements that are under way, then closes the file.
pub struct SqliteDatabase {
    config: SqliteConfig,
    writer: WriterHandle,
    /// Taken when dropped, which ends the reading threads.
    readers: Option<Readers>,
    catalog: watch::Receiver<Arc<Catalog>>,
    threads: Vec<JoinHandle<()>>,
    _lock: FileLock,
}

impl SqliteDatabase {
    /// Opens a file, or makes it, and installs change capture on its tables. Blocks on the disk.
    ///
    /// # Errors
    /// A sentence for each reason: see [`OpenError`].
    pub fn open(config: SqliteConfig) -> Result<Self, OpenError> {
        let path = config.path.clone();
        if config.tenancy == Tenancy::Schema {
            let why = "has no schemas, so tenants cannot have one each: that takes Postgres";
            return Err(OpenError::unusable(&path, why));
        }
        let lock = FileLock::take(&path)?;
        let failed = |failure: Failure| OpenError::from_failure(&path, &failure);
        let timed = connect(&config, Access::Write).map_err(failed)?;
        check_file(&config, &timed.connection)?;
        in_write_transaction(&timed, |timed| prepare(&timed.connection)).map_err(failed)?;
        let (writer, catalog) = Writer::new(timed, config.tenancy.clone()).map_err(failed)?;
        let (readers, mut threads) = Readers::start(&config, catalog.clone()).map_err(failed)?;
        let (handle, jobs) = WriterHandle::channel();
        let thread = thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || writer.run(jobs))
            .map_err(|error| failed(thread_failure(&error)))?;
        threads.push(thread);
        Ok(Self {
            config,
            writer: handle,
            readers: Some(readers),
            catalog,
            threads,
            _lock: lock,
        })
    }

    /// Takes everything of ours out of a file again: triggers, log and all. Without this, other
    /// programs go on filling the log while the file is not open here (opening it empties the log).
    ///
    /// The counter of lives goes too, so a cache or bus that outlives this must be emptied with it.
    ///
    /// # Errors
    /// As [`SqliteDatabase::open`].
    pub fn remove_capture(config: &SqliteConfig) -> Result<(), OpenError> {
        let path = &config.path;
        let _lock = FileLock::take(path)?;
        let failed = |failure: Failure| OpenError::from_failure(path, &failure);
        let timed = connect(config, Access::Write).map_err(failed)?;
        in_write_transaction(&timed, |timed| remove(&timed.connection)).map_err(failed)
    }

    /// Reads, with a catalog that is as new as the read itself.
    async fn read<T: Send + 'static>(
        &self,
        work: impl Fn(&Reading<'_>) -> Result<T, Failure> + Clone + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let readers = self.readers.as_ref().ok_or_else(closing)?;
        for _ in 0..TRIES_MAX {
            match readers.read(work.clone()).await? {
                Err(Failure::Stale) => self.writer.refresh().await?,
                other => return Ok(other?),
            }
        }
        Err(Failure::Stale.into())
    }
}

impl Drop for SqliteDatabase {
    fn drop(&mut self) {
        self.readers = None;
        self.writer.stop();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already; closing goes on.
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl Database for SqliteDatabase {
    async fn describe(
        &self,
        tenant: &TenantId,
        table: &TableName,
    ) -> Result<Arc<TableSchema>, DatabaseError> {
        let (tenant, name) = (tenant.clone(), table.clone());
        self.read(move |reading| {
            let table = reading.table(&tenant, &name)?;
            table.watchable()?;
            Ok(Arc::clone(&table.schema))
        })
        .await
    }

    async fn snapshot(&self, request: SnapshotRequest) -> Result<Snapshot, DatabaseError> {
        self.read(move |reading| reading.snapshot(&request)).await
    }

    async fn execute(&self, tenant: &TenantId, command: Command) -> Result<Reply, DatabaseError> {
        let tenant = tenant.clone();
        match sorted(command) {
            Sorted::Read(read) => {
                let read = Arc::new(read);
                self.read(move |reading| reading.execute(&tenant, &read))
                    .await
            }
            Sorted::Write(write) => self.writer.execute(tenant, write).await,
        }
    }

    async fn next_life(&self) -> Result<Life, PortError> {
        self.writer.next_life().await
    }

    /// A new stream ends the one before.
    async fn changes(&self) -> Result<ChangeStream, PortError> {
        // One place is enough: a relay that was woken looks for everything there is.
        let (wake, woken) = sync_channel(1);
        let config = self.config.clone();
        let timed = connect(&config, Access::Read).map_err(port_error)?;
        let position = self.writer.attach(wake).await?;
        let (batches, acknowledged, stream) = ChangeStream::channel(BATCHES_MAX);
        let relay = Relay {
            timed,
            position,
            catalog: self.catalog.clone(),
            writer: self.writer.clone(),
            wake: woken,
            poll_interval: config.poll_interval,
            batches,
            acknowledged,
        };
        // Not joined: it may be waiting for a stream that nobody reads, and ends when that is
        // dropped.
        thread::Builder::new()
            .name("sqlite-relay".to_owned())
            .spawn(move || relay.run())
            .map_err(|error| port_error(thread_failure(&error)))?;
        Ok(stream)
    }
}

impl WriterHandle {
    /// Tells the writer to stop without waiting for room: a full queue is one it must not wait
    /// behind.
    fn stop(&self) {
        let writer = self.clone();
        // The queue may be full, and this may run on a runtime's thread, where blocking is not
        // allowed.
        if writer.try_stop().is_err() {
            let _ = thread::spawn(move || writer.send_blocking(WriterJob::Stop)).join();
        }
    }
}
