//! [`PostgresDatabase`]: the seam's methods.

use std::sync::Arc;

use async_trait::async_trait;
use deadpool_postgres::{Object, Pool};
use futures_util::future::join_all;
use pgwire_replication::ReplicationClient;
use tidegate_core::{Command, Life, Reply, TableName, TableSchema, TenantId};
use tidegate_ports::{ChangeStream, Database, DatabaseError, PortError, Snapshot, SnapshotRequest};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::beats::Beats;
use crate::catalog::Catalog;
use crate::config::PostgresConfig;
use crate::connect::Server;
use crate::error::{Failure, WHAT, port_error, rejected, replication_error};
use crate::life::{OWN_SCHEMA, next_life};
use crate::prepared::Prepared;
use crate::publication::{ensure_publication, publish};
use crate::reads::{Reading, Sorted, sorted};
use crate::stream::{Ended, Source, check_server, history_of, is_encrypted, start};
use crate::table::Published;
use crate::tls::PostgresTls;
use crate::turn::{look, take};
use crate::writes::Writing;

/// Longest name of a slot, without the number that is added.
const SLOT_PREFIX_MAX: usize = 40;

/// A Postgres database of live queries.
///
/// Made without a connection: each call says for itself whether the server can be reached.
pub struct PostgresDatabase {
    config: PostgresConfig,
    server: Server,
    pool: Pool,
    prepared: Prepared,
    catalog: Arc<Catalog>,
    beats: Beats,
    /// Streams, and writes that are under way. A write ends by itself also when this is dropped.
    tasks: TaskTracker,
    closed: CancellationToken,
}

impl PostgresDatabase {
    /// A database at an address. Must be called in a runtime.
    ///
    /// # Errors
    /// `Rejected` when the configuration makes no sense.
    pub fn new(config: PostgresConfig) -> Result<Self, PortError> {
        if config.schema == OWN_SCHEMA {
            return Err(rejected(format!(
                "schema {OWN_SCHEMA} is the gateway's own"
            )));
        }
        let prefix = config.slot_prefix.as_str();
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if prefix.is_empty() || prefix.len() > SLOT_PREFIX_MAX || !prefix.bytes().all(plain) {
            return Err(rejected(format!(
                "slot names start with 1 to {SLOT_PREFIX_MAX} of a-z, 0-9 and _"
            )));
        }
        let server = Server::parse(&config.address, &config.tls)?;
        let pool = server.pool(&config)?;
        let catalog = Arc::new(Catalog::new(
            config.tenancy.clone(),
            config.schema.clone(),
            config.publication.clone(),
        ));
        let beats = Beats::start(server.clone(), config.heartbeat_interval);
        Ok(Self {
            config,
            server,
            prepared: Prepared::new(pool.clone()),
            pool,
            catalog,
            beats,
            tasks: TaskTracker::new(),
            closed: CancellationToken::new(),
        })
    }

    /// Whether the server can be reached and is set up for change capture: version, `wal_level`,
    /// privileges, publication.
    ///
    /// # Errors
    /// `Unavailable`; `Rejected` with what to do.
    pub async fn check(&self) -> Result<(), PortError> {
        let client = self.pool.get().await.map_err(port_error)?;
        check_server(&client).await?;
        if self.config.tls == PostgresTls::Prefer && !is_encrypted(&client).await? {
            tracing::warn!("connections to Postgres are not encrypted: the server has no TLS");
        }
        ensure_publication(&client, &self.config.publication).await
    }

    /// Whether the server can be reached.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn ping(&self) -> Result<(), PortError> {
        let client = self.pool.get().await.map_err(port_error)?;
        client.batch_execute("SELECT").await.map_err(port_error)
    }

    /// What whoever looks after the server should know, beside that it can be used: which tables
    /// that tenants share cannot be watched, and why.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn remarks(&self) -> Result<Vec<String>, PortError> {
        let Some(column) = self.config.tenancy.column() else {
            return Ok(Vec::new());
        };
        let client = self.pool.get().await.map_err(port_error)?;
        let schema = &self.config.schema;
        match self.catalog.shared(&client).await.map_err(port_error)? {
            (0, _) => Ok(vec![format!(
                "no table of schema {schema} has a column {column}, so tenants have none"
            )]),
            (_, refusals) => Ok(refusals),
        }
    }

    async fn client(&self) -> Result<Object, Failure> {
        Ok(self.pool.get().await?)
    }

    fn reading<'a>(&'a self, client: &'a Object) -> Reading<'a> {
        Reading {
            client,
            prepared: &self.prepared,
            catalog: &self.catalog,
        }
    }

    async fn described(
        &self,
        tenant: &TenantId,
        name: &TableName,
    ) -> Result<Arc<TableSchema>, Failure> {
        let client = self.client().await?;
        let mut table = self.catalog.fresh(&client, tenant, name).await?;
        if let Some(why) = &table.refusal {
            let why = why.clone();
            return Err(tidegate_core::CommandError::UnsupportedTable(why).into());
        }
        if table.published != Published::Yes {
            publish(&self.catalog, &client, &table).await?;
            table = self.catalog.fresh(&client, tenant, name).await?;
        }
        Ok(Arc::clone(&table.schema))
    }
}

impl Drop for PostgresDatabase {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

#[async_trait]
impl Database for PostgresDatabase {
    async fn describe(
        &self,
        tenant: &TenantId,
        table: &TableName,
    ) -> Result<Arc<TableSchema>, DatabaseError> {
        Ok(self.described(tenant, table).await?)
    }

    async fn snapshot(&self, request: SnapshotRequest) -> Result<Snapshot, DatabaseError> {
        let client = self.client().await?;
        let snapshot = self.reading(&client).snapshot(&request).await?;
        self.beats.soon();
        Ok(snapshot)
    }

    async fn snapshots(
        &self,
        requests: Vec<SnapshotRequest>,
    ) -> Vec<Result<Snapshot, DatabaseError>> {
        let client = match self.client().await {
            Ok(client) => client,
            Err(failure) => {
                let error = DatabaseError::from(failure);
                return requests.iter().map(|_| Err(error.clone())).collect();
            }
        };
        let reading = self.reading(&client);
        // All are sent before the first is answered, so that neither side waits for the other.
        let read = async |request| Ok(reading.snapshot(request).await?);
        let snapshots = join_all(requests.iter().map(read)).await;
        self.beats.soon();
        snapshots
    }

    async fn execute(&self, tenant: &TenantId, command: Command) -> Result<Reply, DatabaseError> {
        let client = self.client().await?;
        match sorted(command) {
            Sorted::Read(read) => {
                let outcome = self.reading(&client).execute(tenant, &read).await?;
                Ok(Reply { outcome, lsn: None })
            }
            Sorted::Write(write) => {
                let (catalog, tenant) = (Arc::clone(&self.catalog), tenant.clone());
                let writing = Writing { client, catalog };
                // In a task, so that it ends well also when the caller gives up.
                let work = async move { writing.execute(&tenant, &write).await };
                let task = self.tasks.spawn(work);
                let reply = task
                    .await
                    .map_err(|error| PortError::unavailable(WHAT, error))??;
                if reply.lsn.is_some() {
                    self.beats.soon();
                }
                Ok(reply)
            }
        }
    }

    async fn next_life(&self) -> Result<Life, PortError> {
        let client = self.client().await.map_err(port_error)?;
        next_life(&client).await.map_err(port_error)
    }

    async fn changes(&self) -> Result<ChangeStream, PortError> {
        self.check().await?;
        let client = self.pool.get().await.map_err(port_error)?;
        look(&client, &self.config.streams).await?;
        drop(client);
        let slot = format!("{}_{:016x}", self.config.slot_prefix, rand::random::<u64>());
        let replication = self.server.replication(&slot, &self.config.publication);
        let client = ReplicationClient::connect_gated(replication).await;
        let mut client = Ended(client.map_err(replication_error)?);
        take(&mut client.0, &self.config.streams).await?;
        let history = history_of(&mut client.0).await?;
        let source = Source {
            connection: Arc::new(self.server.connect_alone().await?),
            catalog: Arc::clone(&self.catalog),
            _beating: self.beats.regularly(),
            start_timeout: self.config.start_timeout,
            history,
            closed: self.closed.clone(),
        };
        start(source, client, &slot, &self.tasks).await
    }
}
