//! The side that has no database: asks workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tidegate_core::{
    Command, CommandError, Life, Outcome, Reply, TableName, TableSchema, TenantId,
};
use tidegate_ports::{
    Broker, ChangeStream, Database, DatabaseError, Header, Link, Message, PortError, Snapshot,
    SnapshotRequest, Start,
};
use tidegate_protocol::{
    ErrorCode, SqlAnswer, SqlCall, SqlRequest, TIMEOUT_HEADER, WireError, write_millis,
};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::{ClientConfig, ReplyTopic, ensure_reply_topic};
use crate::owners::{keep_saying, word};
use crate::replies::{Waiting, read};

const WHAT: &str = "the workers";

/// A [`Database`] that asks workers.
///
/// Calls that wait when the broker is lost fail at once; whether a write among them was carried out
/// is then not known. Snapshots, changes and lives are not to be had.
pub struct WorkerDatabase {
    config: ClientConfig,
    broker: Arc<dyn Broker>,
    waiting: Arc<Waiting>,
    /// Makes correlation ids.
    next_call: AtomicU64,
    /// Ends the heartbeat.
    closing: CancellationToken,
    /// The reader of answers and the heartbeat; they end with this.
    _tasks: JoinSet<()>,
}

impl std::fmt::Debug for WorkerDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerDatabase")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl WorkerDatabase {
    /// Makes the topics where they are missing, and listens for answers.
    ///
    /// # Errors
    /// `Unavailable` when the broker is away; `Rejected` when it refuses.
    pub async fn connect(config: ClientConfig, broker: Arc<dyn Broker>) -> Result<Self, PortError> {
        config.topics.ensure(&*broker).await?;
        let owners = &config.topics.owners;
        let reply_topic = config.replies.name();
        let mut tasks = JoinSet::new();
        let closing = CancellationToken::new();
        if let ReplyTopic::Own { name, heartbeat } = &config.replies {
            // Before it is there: nobody is left who would not know whose it is.
            broker
                .send(owners, vec![word(name, Some(*heartbeat))])
                .await?;
            let (owners, name) = (owners.clone(), name.clone());
            let saying = keep_saying(Arc::clone(&broker), owners, name, *heartbeat);
            let closing = closing.clone();
            tasks.spawn(async move {
                if let Some(never) = closing.run_until_cancelled(saying).await {
                    match never {}
                }
            });
        }
        ensure_reply_topic(&*broker, reply_topic).await?;
        let reader = broker
            .follow(std::slice::from_ref(reply_topic), Start::Latest)
            .await?;
        let waiting = Waiting::new(config.waiting_max);
        let reading = read(
            Arc::clone(&broker),
            config.replies.clone(),
            Arc::clone(&waiting),
            reader,
        );
        tasks.spawn(async { match reading.await {} });
        Ok(Self {
            config,
            broker,
            waiting,
            next_call: AtomicU64::new(1),
            closing,
            _tasks: tasks,
        })
    }

    /// Removes the reply topic, if it is ours, within `patience`.
    pub async fn close(&self, patience: Duration) {
        let ReplyTopic::Own { name, .. } = &self.config.replies else {
            return;
        };
        // A last heartbeat must not come after our last word.
        self.closing.cancel();
        let end = async {
            self.broker.remove(name).await?;
            let owners = &self.config.topics.owners;
            self.broker.send(owners, vec![word(name, None)]).await
        };
        match timeout(patience, end).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::info!(%error, "workers will remove the reply topic"),
            Err(_) => tracing::info!("workers will remove the reply topic"),
        }
    }

    async fn call(&self, tenant: &TenantId, call: SqlCall) -> Result<SqlAnswer, DatabaseError> {
        let mut link = self.broker.link();
        if *link.borrow_and_update() == Link::Down {
            return Err(lost());
        }
        let number = self.next_call.fetch_add(1, Ordering::Relaxed);
        let reply_topic = self.config.replies.name();
        // Others may read the same topic, so the id has to be ours alone.
        let correlation_id = format!("{reply_topic}.{number}");
        let request = SqlRequest {
            correlation_id: correlation_id.clone(),
            reply_topic: reply_topic.to_string(),
            company_id: tenant.to_string(),
            call,
        };
        let bytes = request.encode().map_err(refused)?;
        let Some(mut entry) = self.waiting.enter(&correlation_id) else {
            let why = "too many calls wait for workers";
            return Err(refused(WireError::new(ErrorCode::Overloaded, why)));
        };
        let message = Message {
            key: Some(correlation_id.into()),
            value: Some(bytes.into()),
            headers: vec![Header {
                name: TIMEOUT_HEADER.to_owned(),
                value: Some(Bytes::from(write_millis(self.config.timeout))),
            }],
        };
        let asking = async {
            self.broker
                .send(&self.config.topics.calls, vec![message])
                .await?;
            match (&mut entry.answered).await {
                Ok(answer) => answer.map_err(refused),
                // The sender stays with the entry.
                Err(_) => Err(lost()),
            }
        };
        tokio::select! {
            answered = timeout(self.config.timeout, asking) => answered.unwrap_or_else(|_| {
                self.waiting.metrics.timeouts.increment(1);
                Err(CommandError::Timeout("rpc timeout".to_owned()).into())
            }),
            _ = link.wait_for(|link| *link == Link::Down) => Err(lost()),
        }
    }
}

fn lost() -> DatabaseError {
    DatabaseError::Port(PortError::Unavailable {
        what: WHAT,
        source: None,
    })
}

/// A worker's refusal as a database's.
fn refused(error: WireError) -> DatabaseError {
    match error.code {
        ErrorCode::Unavailable => lost(),
        ErrorCode::Timeout => CommandError::Timeout(error.message).into(),
        ErrorCode::UnknownTable => CommandError::UnknownTable(error.message).into(),
        ErrorCode::UnsupportedTable => CommandError::UnsupportedTable(error.message).into(),
        ErrorCode::TableChanged => CommandError::TableChanged(error.message).into(),
        code => CommandError::Worker {
            code: code.as_str().to_owned(),
            message: error.message,
        }
        .into(),
    }
}

fn not_here(what: &str) -> PortError {
    PortError::Rejected {
        what: WHAT,
        why: format!("{what} are not to be had from workers: the database itself is needed"),
    }
}

fn senseless() -> DatabaseError {
    let why = "a worker answered something else than it was asked for";
    refused(WireError::new(ErrorCode::Internal, why))
}

#[async_trait]
impl Database for WorkerDatabase {
    async fn describe(
        &self,
        tenant: &TenantId,
        table: &TableName,
    ) -> Result<Arc<TableSchema>, DatabaseError> {
        match self.call(tenant, SqlCall::Describe(table.clone())).await {
            Ok(SqlAnswer::Schema(schema)) => Ok(schema),
            Ok(SqlAnswer::Data { .. }) => Err(senseless()),
            // No worker is there now. One may come, so that who asked should ask again.
            Err(DatabaseError::Command(CommandError::Timeout(_))) => Err(lost()),
            Err(error) => Err(error),
        }
    }

    async fn snapshot(&self, _request: SnapshotRequest) -> Result<Snapshot, DatabaseError> {
        Err(not_here("snapshots").into())
    }

    async fn execute(&self, tenant: &TenantId, command: Command) -> Result<Reply, DatabaseError> {
        match self.call(tenant, SqlCall::Run(command)).await? {
            SqlAnswer::Data { json, lsn } => Ok(Reply {
                outcome: Outcome::Json(json),
                lsn,
            }),
            SqlAnswer::Schema(_) => Err(senseless()),
        }
    }

    async fn next_life(&self) -> Result<Life, PortError> {
        Err(not_here("lives"))
    }

    async fn changes(&self) -> Result<ChangeStream, PortError> {
        Err(not_here("changes"))
    }
}
