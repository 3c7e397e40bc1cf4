//! The threads that read.
//!
//! Each has a connection of its own and takes work from one bounded queue. A write-ahead log lets
//! them all read while the writer writes.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::{mpsc, oneshot, watch};

use crate::catalog::Catalog;
use crate::config::SqliteConfig;
use crate::connect::{Access, Timed, connect};
use crate::error::Failure;
use crate::reads::{Reading, reading};
use crate::relay::closing;
use tidegate_ports::DatabaseError;

/// Reads that may wait; beyond it, callers wait to put theirs in.
const JOBS_MAX: usize = 1_024;

type Job = Box<dyn FnOnce(&Timed) + Send>;
type Queue = Arc<Mutex<mpsc::Receiver<Job>>>;

/// The way to the reading threads. They end when it is dropped.
pub(crate) struct Readers {
    jobs: mpsc::Sender<Job>,
    catalog: watch::Receiver<Arc<Catalog>>,
}

impl Readers {
    /// Starts the threads.
    pub(crate) fn start(
        config: &SqliteConfig,
        catalog: watch::Receiver<Arc<Catalog>>,
    ) -> Result<(Self, Vec<thread::JoinHandle<()>>), Failure> {
        let (sender, jobs) = mpsc::channel::<Job>(JOBS_MAX);
        let jobs = Arc::new(Mutex::new(jobs));
        let mut threads = Vec::new();
        for number in 0..config.readers.max(1) {
            let timed = connect(config, Access::Read)?;
            let jobs = Arc::clone(&jobs);
            let name = format!("sqlite-reader-{number}");
            let thread = thread::Builder::new()
                .name(name)
                .spawn(move || work(&timed, &jobs))
                .map_err(|error| crate::error::thread_failure(&error))?;
            threads.push(thread);
        }
        let readers = Self {
            jobs: sender,
            catalog,
        };
        Ok((readers, threads))
    }

    /// Runs a piece of work in a read transaction of one of the threads.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reading<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<Result<T, Failure>, DatabaseError> {
        let (reply, answer) = oneshot::channel();
        let catalog = Arc::clone(&self.catalog.borrow());
        let job: Job = Box::new(move |timed| {
            // Nobody waits any more: under load this makes room for those who do.
            if reply.is_closed() {
                return;
            }
            let result = timed.run(|connection| reading(connection, &catalog, work));
            // The caller may have given up.
            let _ = reply.send(result);
        });
        self.jobs.send(job).await.map_err(|_| closing())?;
        Ok(answer.await.map_err(|_| closing())?)
    }
}

fn work(timed: &Timed, jobs: &Queue) {
    loop {
        // The lock is held while waiting: one thread waits for the next job, the others for their
        // turn.
        let job = jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .blocking_recv();
        match job {
            Some(job) => job(timed),
            None => return,
        }
    }
}
