//! Jobs that wait for something outside: a table's schema, the cache, a procedure. They run beside
//! the shard, on its thread, and bring their results back to it.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tidegate_core::{Command, Position, RoutingKey, TableName, TableSchema, TenantId};
use tidegate_ports::{DatabaseError, PortError, Replay, jittered};
use tidegate_protocol::{
    CorrelationId, DiffContent, ErrorCode, Subscribe, WireError, reply_data, server_frame,
};
use tokio::time::Instant;

use crate::channel::{ListenerPlace, decode_entries};
use crate::config::GatewayPorts;
use crate::frame;
use crate::outbox::SubscriptionId;
use crate::session::{Second, SessionId};
use crate::shard::ShardHandle;

/// How long a schema is believed. A query made with an old one is refused by the page's owner,
/// which makes the schema be read again.
const SCHEMA_SECONDS: Second = 10;
/// Tables whose schema a shard remembers; past it, all are forgotten.
const SCHEMAS_MAX: usize = 4_096;
/// Reads of a schema, about one a second, before the subscriptions that wait for it are told.
const DESCRIBE_ATTEMPTS: u32 = 30;
const DESCRIBE_PAUSE: Duration = Duration::from_secs(1);

/// What a shard has done beside it.
pub(crate) enum Job {
    Describe {
        tenant: TenantId,
        table: TableName,
    },
    Replay {
        channel: u32,
        key: RoutingKey,
        place: ListenerPlace,
        id: SubscriptionId,
        after: Position,
    },
    Fill {
        channel: u32,
        key: RoutingKey,
        after: Position,
    },
    Call(Box<Call>),
}

/// A procedure to be run for a session.
pub(crate) struct Call {
    pub(crate) session: SessionId,
    pub(crate) tenant: TenantId,
    pub(crate) method: String,
    pub(crate) correlation_id: Option<CorrelationId>,
    pub(crate) command: Command,
}

/// A subscribe that waits for its table's schema.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) session: SessionId,
    pub(crate) id: SubscriptionId,
    pub(crate) frame: Box<Subscribe>,
}

enum Known {
    Schema(Arc<TableSchema>, Second),
    /// One read for all who wait.
    Loading(Vec<Waiting>),
}

/// The schemas a shard has read.
#[derive(Default)]
pub(crate) struct Schemas {
    known: HashMap<(TenantId, TableName), Known>,
}

/// How a look-up of a schema went.
pub(crate) enum LookUp {
    Found(Arc<TableSchema>, Waiting),
    /// Queued behind a read; start one if it is the first.
    StartRead,
    Queued,
}

impl Schemas {
    /// Finds a table's schema for a subscribe, or keeps the subscribe until it has been read.
    pub(crate) fn look_up(&mut self, tenant: &TenantId, waiting: Waiting, now: Second) -> LookUp {
        if self.known.len() >= SCHEMAS_MAX {
            self.known
                .retain(|_, known| matches!(known, Known::Loading(_)));
        }
        let key = (tenant.clone(), waiting.frame.table.clone());
        match self.known.get_mut(&key) {
            Some(Known::Schema(schema, read_at)) if now < *read_at + SCHEMA_SECONDS => {
                LookUp::Found(Arc::clone(schema), waiting)
            }
            Some(Known::Loading(queue)) => {
                queue.push(waiting);
                LookUp::Queued
            }
            Some(Known::Schema(..)) | None => {
                self.known.insert(key, Known::Loading(vec![waiting]));
                LookUp::StartRead
            }
        }
    }

    /// Takes what was read; gives those who waited for it.
    pub(crate) fn loaded(
        &mut self,
        key: (TenantId, TableName),
        schema: Option<Arc<TableSchema>>,
        now: Second,
    ) -> Vec<Waiting> {
        let previous = match schema {
            Some(schema) => self.known.insert(key, Known::Schema(schema, now)),
            None => self.known.remove(&key),
        };
        match previous {
            Some(Known::Loading(queue)) => queue,
            Some(Known::Schema(..)) | None => Vec::new(),
        }
    }

    /// The owner of a page disagrees about the table: read it again next time.
    pub(crate) fn forget(&mut self, tenant: &TenantId, table: &TableName) {
        let key = (tenant.clone(), table.clone());
        if matches!(self.known.get(&key), Some(Known::Schema(..))) {
            self.known.remove(&key);
        }
    }
}

/// Runs a job and brings its result back.
pub(crate) async fn run(job: Job, ports: GatewayPorts, shard: ShardHandle) {
    match job {
        Job::Describe { tenant, table } => {
            let described = describe(&ports, &shard, &tenant, &table).await;
            shard.act(|shard| shard.on_described((tenant, table), described));
        }
        Job::Replay {
            channel,
            key,
            place,
            id,
            after,
        } => {
            let entries = replay(&ports, &shard, &key, after).await;
            shard.act(|shard| shard.on_replay((channel, &key), (place, id), after, entries));
        }
        Job::Fill {
            channel,
            key,
            after,
        } => {
            let entries = replay(&ports, &shard, &key, after).await;
            shard.act(|shard| shard.on_fill((channel, &key), after, entries));
        }
        Job::Call(call) => run_call(*call, &ports, &shard).await,
    }
}

/// Reads a schema. Trouble that will pass makes the page wait, not fail.
async fn describe(
    ports: &GatewayPorts,
    shard: &ShardHandle,
    tenant: &TenantId,
    table: &TableName,
) -> Result<Arc<TableSchema>, WireError> {
    let mut attempt = 1;
    loop {
        // Closed never: the shard outlives its jobs.
        let permit = shard.read_permits().acquire_owned().await;
        let described = ports.database.describe(tenant, table).await;
        drop(permit);
        match described {
            Ok(schema) => return Ok(schema),
            Err(DatabaseError::Port(error))
                if error.is_retryable() && attempt < DESCRIBE_ATTEMPTS =>
            {
                tracing::debug!(%error, attempt, "a table could not be described yet");
                attempt += 1;
                tokio::time::sleep(jittered(DESCRIBE_PAUSE)).await;
            }
            Err(error) => return Err(database_error(error)),
        }
    }
}

/// What the cache has after a position; `None` when it cannot help, for whatever reason.
async fn replay(
    ports: &GatewayPorts,
    shard: &ShardHandle,
    key: &RoutingKey,
    after: Position,
) -> Option<Vec<DiffContent>> {
    // Closed never, as above.
    let _permit = shard.read_permits().acquire_owned().await;
    match ports.cache.replay(key, after).await {
        Ok(Replay::Complete(entries)) => decode_entries(entries),
        Ok(Replay::Gap) => None,
        Err(error) => {
            tracing::warn!(%error, "the cache could not be read; clients get fresh pages");
            None
        }
    }
}

/// Runs a procedure within its time, waiting for its turn included.
async fn run_call(call: Call, ports: &GatewayPorts, shard: &ShardHandle) {
    let limits = shard.limits();
    let deadline = Instant::now() + limits.call_timeout;
    let work = async {
        // Closed never: the shard outlives its jobs.
        let _permit = shard.call_permits().acquire_owned().await;
        ports.database.execute(&call.tenant, call.command).await
    };
    // A defect behind the seam must not leave the client without an answer.
    let work = AssertUnwindSafe(work).catch_unwind();
    let result = tokio::time::timeout_at(deadline, work).await;
    let (method, id) = (call.method.as_str(), call.correlation_id.as_ref());
    let payload = match result {
        Ok(Ok(Ok(reply))) => server_frame::rpc_result(method, id, &reply_data(&reply), reply.lsn),
        Ok(Ok(Err(error))) => server_frame::rpc_error(method, id, &database_error(error)),
        Ok(Err(_panic)) => {
            tracing::error!(method, "a procedure panicked");
            let error = WireError::new(ErrorCode::Internal, "the procedure failed");
            server_frame::rpc_error(method, id, &error)
        }
        Err(_) => {
            let error = WireError::new(ErrorCode::Timeout, "rpc timeout");
            server_frame::rpc_error(method, id, &error)
        }
    };
    let frame = frame::text(&payload);
    shard.act(|shard| shard.on_call_done(call.session, frame));
}

/// What a client is told of a failure. Drivers' words stay in the log.
fn database_error(error: DatabaseError) -> WireError {
    match error {
        DatabaseError::Command(error) => error.into(),
        DatabaseError::Port(error) => {
            let (code, message) = match &error {
                PortError::Unavailable { .. } | PortError::Taken { .. } => {
                    (ErrorCode::Unavailable, "the database cannot be reached")
                }
                PortError::TooLarge { .. } => (ErrorCode::BadCommand, "the answer is too large"),
                PortError::Rejected { .. } | PortError::Gone { .. } | PortError::Corrupt { .. } => {
                    (ErrorCode::Internal, "the database refused")
                }
            };
            match &error {
                // Each client hears of it, and `/ready` says it.
                PortError::Unavailable { .. } | PortError::Taken { .. } => {
                    tracing::debug!(error = %error.with_causes(), "a request failed");
                }
                PortError::TooLarge { .. }
                | PortError::Rejected { .. }
                | PortError::Gone { .. }
                | PortError::Corrupt { .. } => {
                    tracing::warn!(%error, "the database failed a request");
                }
            }
            WireError::new(code, message)
        }
    }
}
