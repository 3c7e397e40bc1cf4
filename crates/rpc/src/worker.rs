//! The side that has the database: takes calls, carries them out, answers.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tidegate_core::{Reply, TableSchema};
use tidegate_ports::{
    Backoff, Broker, BrokerEvent, BrokerReader, Database, DatabaseError, Message, PortError,
    Received, Start,
};
use tidegate_protocol::{ErrorCode, Fault, SqlCall, SqlResult, WireError};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::call::{Call, ReplyTo, Taken, take, wire_error};
use crate::config::WorkerConfig;
use crate::metrics::{Outcome, WorkerMetrics};
use crate::owners;

/// Calls that were taken and not answered, for each that may run. Answers to a process that is gone
/// take seconds to fail, and must not keep the database idle.
const TAKEN_PER_RUNNING: usize = 8;
/// How long calls that run may take to end when the worker is told to.
const STOP_PATIENCE: Duration = Duration::from_secs(4);

/// Carries out the calls that it gets from the topic it shares with other workers.
pub struct Worker {
    tools: Arc<Tools>,
    reader: Box<dyn BrokerReader>,
    calls: JoinSet<()>,
    /// Held by each call until it is answered.
    taken: Arc<Semaphore>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("config", &self.tools.config)
            .finish_non_exhaustive()
    }
}

/// What every call needs.
struct Tools {
    config: WorkerConfig,
    broker: Arc<dyn Broker>,
    database: Arc<dyn Database>,
    metrics: WorkerMetrics,
    /// Held by each call while the database works for it.
    running: Semaphore,
}

impl Worker {
    /// Makes the topics where they are missing, and joins the workers.
    ///
    /// # Errors
    /// `Unavailable` when the broker is away; `Rejected` when it refuses.
    pub async fn join(
        config: WorkerConfig,
        broker: Arc<dyn Broker>,
        database: Arc<dyn Database>,
    ) -> Result<Self, PortError> {
        config.topics.ensure(&*broker).await?;
        // What was sent before there were any workers of ours was for other workers.
        let calls = [config.topics.calls.clone()];
        let reader = broker.share(&config.group, &calls, Start::Latest).await?;
        let running_max = config.running_max;
        Ok(Self {
            tools: Arc::new(Tools {
                config,
                broker,
                database,
                metrics: WorkerMetrics::new(),
                running: Semaphore::new(running_max),
            }),
            reader,
            calls: JoinSet::new(),
            taken: Arc::new(Semaphore::new(running_max * TAKEN_PER_RUNNING)),
        })
    }

    /// Works until it is told to stop, then ends what it has begun.
    ///
    /// # Errors
    /// When the broker refuses for a reason that waiting will not mend.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), PortError> {
        let tools = Arc::clone(&self.tools);
        let keeping = owners::remove_orphans(
            Arc::clone(&tools.broker),
            tools.config.topics.owners.clone(),
            tools.metrics.topics_removed.clone(),
        );
        let worked = tokio::select! {
            worked = self.work(&stop) => worked,
            never = keeping => match never {},
        };
        let rest = async { while self.calls.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_PATIENCE, rest).await.is_err() {
            tracing::warn!("some calls did not end in time");
        }
        // What was begun must not be begun by another.
        if let Err(error) = self.reader.settle().await {
            tracing::debug!(%error, "calls that only read may be carried out again");
        }
        worked
    }

    async fn work(&mut self, stop: &CancellationToken) -> Result<(), PortError> {
        let mut backoff = Backoff::default();
        loop {
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(ended) = self.calls.join_next() => {
                    ended.expect("a call catches the panics of what it calls");
                    continue;
                }
                event = self.reader.poll() => event,
            };
            match event {
                Ok(BrokerEvent::Messages(messages)) => {
                    backoff.reset();
                    self.begin(&messages).await;
                }
                Ok(BrokerEvent::Gained(places)) => {
                    backoff.reset();
                    tracing::info!(partitions = places.len(), "calls gained");
                }
                Ok(BrokerEvent::Lost(places)) => {
                    tracing::info!(partitions = places.len(), "calls lost");
                }
                // Too old for anybody to wait for.
                Err(PortError::Gone { .. }) => tracing::warn!("calls were dropped unread"),
                Err(error) if error.is_retryable() => {
                    tracing::warn!(%error, "calls cannot be read, trying again");
                    backoff.wait().await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Begins what has come, as far as there is room. Waiting here is the backpressure.
    async fn begin(&mut self, messages: &[Received]) {
        let mut writes = Vec::new();
        for received in messages {
            match take(&self.tools.config, received) {
                Taken::Call(call) if call.is_write() => writes.push(call),
                Taken::Call(call) => self.spawn(|tools| run(tools, call)).await,
                Taken::Refused(to, error) => self.spawn(|tools| refuse(tools, to, error)).await,
                Taken::Expired => self.tools.metrics.expired.increment(1),
                Taken::Junk(error) => {
                    self.tools.metrics.junk.increment(1);
                    let (partition, offset) = (received.partition, received.offset.0);
                    tracing::warn!(%error, partition, offset, "a message is no call");
                }
            }
        }
        if writes.is_empty() {
            return;
        }
        // At most once: from here on no other worker gets them, whatever becomes of us.
        if let Err(error) = self.reader.settle().await {
            tracing::warn!(%error, calls = writes.len(), "writes were not begun");
            let why = "the worker lost its broker, and did not begin this";
            for call in writes {
                let error = WireError::new(ErrorCode::Unavailable, why);
                self.spawn(|tools| refuse(tools, call.reply_to, error))
                    .await;
            }
            return;
        }
        for call in writes {
            self.spawn(|tools| run(tools, call)).await;
        }
    }

    async fn spawn<Work>(&mut self, work: impl FnOnce(Arc<Tools>) -> Work)
    where
        Work: Future<Output = ()> + Send + 'static,
    {
        let permit = Arc::clone(&self.taken).acquire_owned().await;
        let permit = permit.expect("never closed");
        let work = work(Arc::clone(&self.tools));
        self.calls.spawn(async move {
            work.await;
            drop(permit);
        });
        // Those that ended need not wait for the next event.
        while self.calls.try_join_next().is_some() {}
    }
}

/// What a call gave.
enum Done {
    Reply(Reply),
    Schema(Arc<TableSchema>),
}

/// Carries out a call and answers it.
async fn run(tools: Arc<Tools>, call: Box<Call>) {
    let permit = tools.running.acquire().await.expect("never closed");
    let began = Instant::now();
    if began >= call.deadline {
        tools.metrics.expired.increment(1);
        return;
    }
    tools.metrics.running.increment(1.0);
    let method = call.method();
    let Call {
        tenant,
        what,
        reply_to,
        ..
    } = *call;
    let work = async {
        match what {
            SqlCall::Run(command) => {
                let reply = tools.database.execute(&tenant, command).await?;
                Ok::<_, DatabaseError>(Done::Reply(reply))
            }
            SqlCall::Describe(table) => {
                let schema = tools.database.describe(&tenant, &table).await?;
                Ok(Done::Schema(schema))
            }
        }
    };
    // A defect behind the seam must not leave the caller without an answer.
    let result = match AssertUnwindSafe(work).catch_unwind().await {
        Ok(result) => result.map_err(wire_error),
        Err(_panic) => {
            tracing::error!(method, "a procedure panicked");
            Err(WireError::new(ErrorCode::Internal, "the procedure failed"))
        }
    };
    drop(permit);
    tools.metrics.running.decrement(1.0);
    let outcome = match &result {
        Ok(_) => Outcome::Ok,
        Err(error) => match error.code.fault() {
            Fault::Client => Outcome::Refused,
            Fault::Server => Outcome::Failed,
        },
    };
    WorkerMetrics::done(method, outcome, began.elapsed());
    let message = reply_to.message(match &result {
        Ok(Done::Reply(reply)) => SqlResult::Reply(reply),
        Ok(Done::Schema(schema)) => SqlResult::Schema(schema),
        Err(error) => SqlResult::Error(error),
    });
    answer(&tools, &reply_to, message).await;
}

async fn refuse(tools: Arc<Tools>, reply_to: ReplyTo, error: WireError) {
    tracing::debug!(%error, "a call was refused");
    let message = reply_to.message(SqlResult::Error(&error));
    answer(&tools, &reply_to, message).await;
}

async fn answer(tools: &Tools, reply_to: &ReplyTo, message: Message) {
    let bytes = message.value.as_ref().map_or(0, bytes::Bytes::len);
    let Err(error) = tools.broker.send(&reply_to.topic, vec![message]).await else {
        return;
    };
    let is_size = match &error {
        PortError::TooLarge { .. } => true,
        // A topic takes less than the broker, or is gone. Whichever: an error is short.
        PortError::Rejected { .. } => bytes > SHORT_ANSWER,
        PortError::Unavailable { .. }
        | PortError::Taken { .. }
        | PortError::Gone { .. }
        | PortError::Corrupt { .. } => false,
    };
    if is_size {
        let too_large = WireError::new(ErrorCode::BadCommand, "the answer is too large");
        let message = reply_to.message(SqlResult::Error(&too_large));
        if tools
            .broker
            .send(&reply_to.topic, vec![message])
            .await
            .is_ok()
        {
            return;
        }
    }
    tools.metrics.unanswered.increment(1);
    tracing::debug!(%error, topic = %reply_to.topic, "an answer could not be sent");
}

/// Bytes that every topic takes.
const SHORT_ANSWER: usize = 16 << 10;
