//! The gateway: a listener, one reader of the bus, one owner of leases, and a shard per core.
//!
//! Sockets are dealt out in turn by one acceptor. (Listeners of their own for the shards would save
//! a hop per connection, but then a second program could share the port by mistake and get half of
//! the clients.)

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::census::Census;
use crate::config::{GatewayConfig, GatewayPorts};
use crate::error::GatewayError;
use crate::http;
use crate::interest::{self, Interest, InterestCommand};
use crate::listening::Listening;
use crate::reading::{self, Door};
use crate::shard::{self, CountedConnection, ShardInput, ShardInputs};

/// Connections that the kernel keeps until they are accepted: a herd after a restart.
const BACKLOG: i32 = 4_096;
/// New connections and broadcasts that wait for a shard. A connection waits; a broadcast is
/// skipped.
const INPUTS_MAX: usize = 1_024;
/// Rounds that wait for a shard. When one has so many the reader stops polling, and the bus keeps
/// what follows: that is the whole back-pressure from shards to the bus.
const DELIVERIES_MAX: usize = 16;
/// Pause before an accept that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// What all threads of a gateway may read.
pub(crate) struct Shared {
    pub(crate) config: GatewayConfig,
    pub(crate) ports: GatewayPorts,
    pub(crate) census: Arc<Census>,
    pub(crate) interest: mpsc::Sender<InterestCommand>,
    pub(crate) shards: Vec<mpsc::Sender<ShardInput>>,
    /// By shard: which keys it may listen to.
    pub(crate) listening: Vec<Arc<Listening>>,
    started: Instant,
    is_stopping: AtomicBool,
}

impl Shared {
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }
}

/// A gateway whose socket is bound and which does not run yet.
pub struct Gateway {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
    commands: mpsc::Receiver<InterestCommand>,
    mailboxes: Vec<mpsc::Receiver<ShardInput>>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// Makes a gateway and binds its socket. Clients can connect from now on; they are served by
    /// [`Gateway::run`].
    ///
    /// # Errors
    /// `OpenToAll` when anybody could claim to be anyone; `Listen` when the address cannot be had.
    pub fn build(config: GatewayConfig, ports: GatewayPorts) -> Result<Self, GatewayError> {
        if !config.auth.may_listen_on(config.listen) {
            return Err(GatewayError::OpenToAll(config.listen));
        }
        let listen_error = |source| GatewayError::Listen {
            address: config.listen,
            source,
        };
        let listener = bind(config.listen).map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let (interest, commands) = mpsc::channel(interest::MAILBOX_MAX);
        let shard_count = config.shard_count.max(1);
        let (shards, mailboxes) = (0..shard_count).map(|_| mpsc::channel(INPUTS_MAX)).unzip();
        let shared = Arc::new(Shared {
            config,
            ports,
            census: Arc::default(),
            interest,
            shards,
            listening: (0..shard_count).map(|_| Arc::default()).collect(),
            started: Instant::now(),
            is_stopping: AtomicBool::new(false),
        });
        Ok(Self {
            listener,
            address,
            shared,
            commands,
            mailboxes,
        })
    }

    /// The address that was bound.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The body of `/health`, for whoever serves it on another address as well.
    #[must_use]
    pub fn health(&self) -> Arc<dyn Fn() -> String + Send + Sync> {
        let shared = Arc::clone(&self.shared);
        Arc::new(move || http::health(&shared))
    }

    /// How many sessions have something unsent, for whoever feeds this gateway and may pause.
    #[must_use]
    pub fn slow_sockets(&self) -> Arc<dyn Fn() -> usize + Send + Sync> {
        let census = Arc::clone(&self.shared.census);
        Arc::new(move || census.slow_sockets())
    }

    /// Serves until `shutdown`, on threads of its own for the sockets and on the caller's tokio
    /// runtime (with time and I/O) for the rest, then sends all clients away and waits for them,
    /// within bounds.
    ///
    /// # Errors
    /// `Start` when a thread cannot be had; `ShardLost` or `TaskLost` after a defect, when the
    /// process should end.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), GatewayError> {
        let Self {
            listener,
            shared,
            commands,
            mailboxes,
            ..
        } = self;
        // Cancelled also when a shard is lost, so that the others stop as well.
        let stop = shutdown.child_token();
        let _stop_on_drop = stop.clone().drop_guard();
        let mut deliveries = Vec::new();
        let mut finished = Vec::new();
        for (index, inputs) in mailboxes.into_iter().enumerate() {
            let (sender, receiver) = mpsc::channel(DELIVERIES_MAX);
            deliveries.push(Door {
                deliveries: sender,
                listening: Arc::clone(&shared.listening[index]),
            });
            let inputs = ShardInputs {
                inputs,
                deliveries: receiver,
            };
            let shard = shard::start(index, Arc::clone(&shared), inputs, stop.clone());
            finished.push(shard.map_err(GatewayError::Start)?);
        }
        let bus = Arc::clone(&shared.ports.bus);
        let (ask, reading) = reading::channel(bus.partition_count());
        let interest = Interest::new(Arc::clone(&bus), shared.config.gateway_id, ask);
        // The leases are released last, when no shard can ask for any more.
        let released = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(interest.run(commands, released.clone()));
        tasks.spawn(stoppable(stop.clone(), reading.run(bus, deliveries)));
        tasks.spawn(stoppable(
            stop.clone(),
            accept(Arc::clone(&shared), listener),
        ));
        let outcome = wait_for_shards(finished, &mut tasks, &shutdown, &shared).await;
        stop.cancel();
        released.cancel();
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(GatewayError::TaskLost)?;
        }
        outcome
    }
}

/// Runs a task until it is told to stop. What it was doing then is dropped.
async fn stoppable(stop: CancellationToken, task: impl Future<Output = ()>) {
    tokio::select! {
        () = task => {}
        () = stop.cancelled() => {}
    }
}

/// Waits until every shard has drained. A shard or task that ends before it should ends the
/// gateway.
async fn wait_for_shards(
    finished: Vec<oneshot::Receiver<()>>,
    tasks: &mut JoinSet<()>,
    shutdown: &CancellationToken,
    shared: &Shared,
) -> Result<(), GatewayError> {
    let mut shards = JoinSet::new();
    for shard in finished {
        shards.spawn(async move { shard.await.map_err(|_| GatewayError::ShardLost) });
    }
    loop {
        tokio::select! {
            ended = shards.join_next() => match ended {
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(lost))) => return Err(lost),
                Some(Err(error)) => return Err(GatewayError::TaskLost(error)),
                None => return Ok(()),
            },
            Some(ended) = tasks.join_next() => ended.map_err(GatewayError::TaskLost)?,
            () = shutdown.cancelled(), if !shared.is_stopping() => {
                shared.is_stopping.store(true, Ordering::Relaxed);
            }
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Deals out connections to the shards in turn.
async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the listener cannot be used");
            return;
        }
    };
    let limits = shared.config.limits;
    let connections_max = limits.sessions_max + limits.spare_connections_max;
    let mut turn = 0;
    loop {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                // Out of descriptors, mostly: some will come free.
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(RETRY_PAUSE).await;
                continue;
            }
        };
        if !shared.census.admit_connection(connections_max) {
            continue;
        }
        let counted = CountedConnection(Arc::clone(&shared.census));
        let Ok(socket) = socket.into_std() else {
            continue;
        };
        let input = ShardInput::Connection(socket, counted);
        turn = (turn + 1) % shared.shards.len();
        if shared.shards[turn].send(input).await.is_err() {
            return;
        }
    }
}
