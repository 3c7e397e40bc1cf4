//! The change stream: a replication slot, and the task that reads it.
//!
//! The slot is a temporary one, with a name of its own: it goes with its connection, so no log is
//! ever kept for a reader that is gone. Nothing is lost by that, because a new stream begins at the
//! present for its reader anyway, who reads every page again.
//!
//! A slot alone does not begin at the present of *snapshots*: a transaction whose commit record is
//! before the slot's starting point may still be invisible to a snapshot taken now (it waits for a
//! standby, or just for its turn), and then neither has it. So before a stream is given out, all
//! transactions that are older than the slot have to be over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pgwire_replication::client::ReplicationEvent;
use pgwire_replication::{Lsn as WireLsn, PgWireError, ReplicationClient};
use tidegate_core::{Heartbeat, History, Lsn, Transaction, TransactionSnapshot, Xid};
use tidegate_ports::{ChangeBatch, ChangeStream, PortError};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::assemble::{Assembler, Committed, Step};
use crate::beats::Beating;
use crate::catalog::{Catalog, Place, Shaped};
use crate::connect::Alone;
use crate::error::{
    Failure, WHAT, closing, port_error, rejected, replication_error, said, standby,
};
use crate::pgoutput::{Message, Relation};
use crate::session::{run, text_of};
use crate::visible::parse_snapshot;

/// Batches that may wait to be taken. While they wait, further transactions join the next one, so
/// a slow reader gets fewer and larger batches.
const BATCHES_MAX: usize = 2;

/// Rows and transactions after which a batch takes no more, and the server waits.
const BATCH_ROWS: usize = 5_000;
const BATCH_TRANSACTIONS: usize = 5_000;

/// How long the server may say nothing, though heartbeats are written several times a second, or
/// keep-alives at least. A large transaction can keep it busy; past this the connection counts as
/// broken.
const SILENCE_MAX: Duration = Duration::from_secs(90);

/// Between two looks at whether old transactions are over.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// How often the shapes of all streamed tables are looked at.
const SHAPES_INTERVAL: Duration = Duration::from_secs(1);

/// The oldest version whose catalog and stream have all that is needed here.
const OLDEST_VERSION: u32 = 150_000;

/// What a stream is made of.
pub(crate) struct Source {
    /// For what the stream has to ask of the server.
    pub(crate) connection: Arc<Alone>,
    pub(crate) catalog: Arc<Catalog>,
    /// Held until the stream ends.
    pub(crate) _beating: Beating,
    pub(crate) start_timeout: Duration,
    pub(crate) history: History,
    /// Ends the stream when the database is dropped.
    pub(crate) closed: CancellationToken,
}

/// Checks that the server can stream at all.
pub(crate) async fn check_server(client: &Client) -> Result<(), PortError> {
    let sql = "SELECT current_setting('server_version_num'), current_setting('wal_level'), \
               pg_catalog.pg_is_in_recovery()::text, \
               coalesce((SELECT (rolreplication OR rolsuper)::text FROM pg_catalog.pg_roles \
                 WHERE rolname = current_user), 'true'), current_setting('server_encoding')";
    let rows = run(client, sql, &[]).await.map_err(port_error)?;
    let row = rows
        .first()
        .ok_or_else(|| rejected("it says nothing of itself"))?;
    let text = |column| text_of(row, column).unwrap_or_default();
    let version: u32 = text(0).parse().unwrap_or(0);
    let why = if version < OLDEST_VERSION {
        "its version is too old: change capture needs Postgres 15 or newer"
    } else if text(2) == "true" {
        return Err(standby());
    } else if text(1) != "logical" {
        "its wal_level is not logical: set wal_level = logical in postgresql.conf and restart it"
    } else if text(3) == "false" {
        "the role may not replicate: ALTER ROLE … REPLICATION"
    } else if text(4) != "UTF8" {
        "its text is not UTF-8: only databases with ENCODING UTF8 are supported"
    } else {
        return Ok(());
    };
    Err(rejected(why))
}

/// Which history of which server a connection leads to.
///
/// A server that is promoted begins a new timeline, and one that is restored to an earlier moment
/// as well.
pub(crate) async fn history_of(client: &mut ReplicationClient) -> Result<History, PortError> {
    let system = client.identify_system().await;
    let system = system.map_err(replication_error)?;
    let name = format!("{} {}", system.system_id, system.timeline);
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Ok(History::new(hash))
}

/// Whether what is said on this connection can be read by nobody in between.
pub(crate) async fn is_encrypted(client: &Client) -> Result<bool, PortError> {
    let sql =
        "SELECT ssl::text FROM pg_catalog.pg_stat_ssl WHERE pid = pg_catalog.pg_backend_pid()";
    let rows = run(client, sql, &[]).await.map_err(port_error)?;
    Ok(rows.first().and_then(|row| text_of(row, 0)) == Some("true"))
}

/// Makes a slot, waits until it begins at the present of snapshots, and starts to read it.
pub(crate) async fn start(
    source: Source,
    mut ended: Ended,
    slot: &str,
    tasks: &TaskTracker,
) -> Result<ChangeStream, PortError> {
    let start_timeout = source.start_timeout;
    let started = tokio::time::timeout(start_timeout, async {
        let create = format!(
            "CREATE_REPLICATION_SLOT \"{slot}\" TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT"
        );
        let replication = &mut ended.0;
        replication
            .simple_query(&create)
            .await
            .map_err(replication_error)?;
        let visible = wait_for_older(&source.connection.client).await?;
        replication.start().await.map_err(replication_error)?;
        replication
            .wait_started()
            .await
            .map_err(replication_error)?;
        Ok(visible)
    });
    let visible = match started.await {
        Ok(visible) => visible?,
        Err(_) => return Err(held_up(&source.connection.client).await),
    };
    let shapes = source.catalog.shapes(&source.connection.client).await;
    let (batches, acknowledged, stream) = ChangeStream::channel(BATCHES_MAX);
    let stream = stream.of_history(source.history);
    let reader = Reader {
        source,
        replication: ended,
        assembler: Assembler::new(visible.xmax),
        visible,
        acknowledged,
        shapes: shapes.map_err(port_error)?,
        look: JoinSet::new(),
        pending: Pending::default(),
    };
    // Ends when the stream is dropped.
    tasks.spawn(reader.run(batches));
    Ok(stream)
}

/// A stream begins when all transactions are over that were open before. Says which one is not.
async fn held_up(client: &Client) -> PortError {
    let oldest = "SELECT coalesce( \
         (SELECT 'transaction ' || pg_catalog.quote_literal(gid) || ' is prepared since ' \
          || prepared::timestamptz(0) || ': COMMIT PREPARED or ROLLBACK PREPARED it, in database ' \
          || database FROM pg_catalog.pg_prepared_xacts ORDER BY prepared LIMIT 1), \
         (SELECT 'session ' || pid || ' (' || application_name || ') is in a transaction since ' \
          || xact_start::timestamptz(0) || ': let it end, or pg_terminate_backend(' || pid || ')' \
          FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL \
          AND pid <> pg_catalog.pg_backend_pid() ORDER BY xact_start LIMIT 1), \
         'a transaction is open')";
    let rows = run(client, oldest, &[]).await.unwrap_or_default();
    let who = rows.first().and_then(|row| text_of(row, 0));
    let who = who.unwrap_or("a transaction is open");
    said(format!("a stream of changes cannot start yet: {who}"))
}

/// Waits until every transaction is over that began before now; gives who is visible then.
async fn wait_for_older(client: &Client) -> Result<TransactionSnapshot, PortError> {
    let one = async |sql: &str| {
        let rows = run(client, sql, &[]).await.map_err(port_error)?;
        let text = rows.first().and_then(|row| text_of(row, 0));
        let text = text.map(str::to_owned);
        text.ok_or_else(|| rejected("it does not say which transactions there are"))
    };
    let unknown = || rejected("it names transactions in words that are not known");
    let newer = one("SELECT pg_catalog.pg_current_xact_id()::text").await?;
    let newer = Xid::new(newer.parse().map_err(|_| unknown())?);
    loop {
        let text = one("SELECT pg_catalog.pg_current_snapshot()::text").await?;
        let visible = parse_snapshot(&text).ok_or_else(unknown)?;
        if visible.xmin > newer {
            return Ok(visible);
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// A replication client whose task ends with it, whatever it is doing.
pub(crate) struct Ended(pub(crate) ReplicationClient);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The task's state.
struct Reader {
    source: Source,
    replication: Ended,
    assembler: Assembler,
    acknowledged: watch::Receiver<Lsn>,
    /// Who was visible when it was last said. Each batch says it, also one without a message of
    /// ours: a batch that said nothing would mean that all it brings is visible.
    visible: TransactionSnapshot,
    /// Of all streamed tables, when they were last looked at.
    shapes: HashMap<u32, Shaped>,
    /// The look that is under way; the stream does not wait for it.
    look: JoinSet<Result<HashMap<u32, Shaped>, Failure>>,
    pending: Pending,
}

/// The batch that is being filled.
#[derive(Default)]
struct Pending {
    transactions: Vec<Transaction>,
    rows: usize,
    end: Option<(Lsn, i64)>,
}

impl Pending {
    fn take(&mut self, committed: Committed) {
        self.rows += committed.rows;
        self.transactions.extend(committed.transaction);
        self.end = Some((committed.lsn, committed.at_micros));
    }

    fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.transactions.len() >= BATCH_TRANSACTIONS
    }

    /// The batch, if there is anything to tell.
    fn batch(&mut self, visible: &TransactionSnapshot) -> Option<ChangeBatch> {
        let (lsn, at_micros) = self.end?;
        let filled = std::mem::take(self);
        Some(ChangeBatch {
            transactions: filled.transactions,
            heartbeat: Heartbeat {
                lsn,
                at_micros,
                visible: Some(visible.clone()),
            },
        })
    }
}

impl Reader {
    async fn run(mut self, batches: mpsc::Sender<Result<ChangeBatch, PortError>>) {
        if let Err(error) = self.read(&batches).await {
            // The other side may be gone already; then nobody is left to tell.
            let _ = batches.send(Err(error)).await;
        }
    }

    async fn read(
        &mut self,
        batches: &mpsc::Sender<Result<ChangeBatch, PortError>>,
    ) -> Result<(), PortError> {
        let silence = tokio::time::sleep(SILENCE_MAX);
        tokio::pin!(silence);
        let mut looks = tokio::time::interval(SHAPES_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let has_batch = self.pending.end.is_some();
            let may_read = !self.pending.is_full();
            tokio::select! {
                biased;
                () = batches.closed() => return Ok(()),
                () = self.source.closed.cancelled() => return Err(closing()),
                permit = batches.reserve(), if has_batch => {
                    let batch = self.pending.batch(&self.visible);
                    let (Ok(permit), Some(batch)) = (permit, batch) else {
                        return Ok(());
                    };
                    permit.send(Ok(batch));
                }
                event = self.replication.0.recv(), if may_read => {
                    silence.as_mut().reset(Instant::now() + SILENCE_MAX);
                    match event.map_err(replication_error)? {
                        Some(event) => self.take(event).await?,
                        None => return Err(broken()),
                    }
                }
                changed = self.acknowledged.changed() => match changed {
                    Ok(()) => {
                        let lsn = *self.acknowledged.borrow_and_update();
                        self.replication.0.update_applied_lsn(WireLsn(lsn.get()));
                    }
                    Err(_) => return Ok(()),
                },
                _ = looks.tick(), if self.look.is_empty() => self.look_at_shapes(),
                Some(shapes) = self.look.join_next() => {
                    let shapes = shapes.map_err(|error| PortError::unavailable(WHAT, error))?;
                    self.compare_shapes(shapes.map_err(port_error)?);
                    for relation in self.assembler.disagreeing() {
                        self.look_up(relation).await?;
                    }
                }
                () = &mut silence, if may_read => return Err(broken()),
            }
        }
    }

    async fn take(&mut self, event: ReplicationEvent) -> Result<(), PortError> {
        let Some(message) = message(event)? else {
            return Ok(());
        };
        let step = self.assembler.take(message).map_err(|why| corrupt(&why))?;
        match step {
            Step::Nothing => {}
            Step::Committed(mut committed) => {
                if let Some(visible) = committed.visible.take() {
                    self.visible = visible;
                }
                self.pending.take(committed);
            }
            Step::LookUp(relation) => self.look_up(relation).await?,
        }
        Ok(())
    }

    /// A table may be redefined, rewritten, given a partition or dropped without a change of any
    /// row. So all are looked at once in a while.
    fn look_at_shapes(&mut self) {
        let catalog = Arc::clone(&self.source.catalog);
        let connection = Arc::clone(&self.source.connection);
        self.look
            .spawn(async move { catalog.shapes(&connection.client).await });
    }

    /// Whatever became of a table, its pages are read again.
    fn compare_shapes(&mut self, shapes: HashMap<u32, Shaped>) {
        let before = std::mem::replace(&mut self.shapes, shapes);
        for (oid, shaped) in before {
            if self.shapes.get(&oid) == Some(&shaped) {
                continue;
            }
            if let Some((owner, table)) = self.source.catalog.owner(&shaped.place) {
                self.assembler.reset_next(owner, table);
            }
        }
    }

    async fn look_up(&mut self, relation: Relation) -> Result<(), PortError> {
        let catalog = &self.source.catalog;
        let place = Place {
            schema: relation.schema.clone(),
            name: relation.name.clone(),
        };
        let table = match catalog.owner(&place) {
            Some(_) => {
                let client = &self.source.connection.client;
                let found = catalog.look_up(client, &place).await;
                found.map_err(port_error)?
            }
            None => None,
        };
        self.assembler.relation(relation, table);
        Ok(())
    }
}

/// The library has read some messages already, and leaves the rest to us.
fn message(event: ReplicationEvent) -> Result<Option<Message>, PortError> {
    Ok(Some(match event {
        ReplicationEvent::Begin {
            xid,
            commit_time_micros,
            ..
        } => Message::Begin {
            xid,
            committed_at: commit_time_micros,
        },
        ReplicationEvent::Commit {
            end_lsn,
            commit_time_micros,
            ..
        } => Message::Commit {
            end_lsn: end_lsn.0,
            committed_at: commit_time_micros,
        },
        ReplicationEvent::Message {
            transactional,
            prefix,
            content,
            ..
        } => Message::Said {
            in_transaction: transactional,
            prefix,
            content,
        },
        ReplicationEvent::XLogData { data, .. } => {
            Message::decode(data).map_err(|error| corrupt(&error.to_string()))?
        }
        ReplicationEvent::KeepAlive { .. } => return Ok(None),
        _ => return Ok(None),
    }))
}

fn corrupt(why: &str) -> PortError {
    PortError::Corrupt {
        what: "the replication stream",
        why: why.to_owned(),
    }
}

fn broken() -> PortError {
    let text = "the replication connection ended or fell silent";
    PortError::unavailable(WHAT, PgWireError::Task(text.to_owned()))
}
