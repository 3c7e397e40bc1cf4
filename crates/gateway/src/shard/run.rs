//! The thread of a shard: one runtime, one owner loop, and a task per connection.

use std::io;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use tidegate_core::TenantId;
use tidegate_ports::Batch;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, yield_now};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{Shard, ShardHandle};
use crate::census::Census;
use crate::gateway::Shared;
use crate::http;
use crate::session::{self, SessionId};

/// Records applied before they are written out. More of what is due to a socket goes in one call
/// when the bus is ahead of us; the first of them must not wait for too many others.
const ROUND_RECORDS_MAX: usize = 1_024;
const SWEEP: std::time::Duration = std::time::Duration::from_secs(1);
/// Time for a request and its answer, as a multiple of that for its head.
const REQUEST_TIMEOUT_FACTOR: u32 = 3;

/// What the bus reader hands to shards.
#[derive(Debug, Clone)]
pub(crate) enum Delivery {
    Batches(Arc<[Batch]>),
    /// Records were missed.
    Gap,
}

/// What others hand to a shard.
#[derive(Debug)]
pub(crate) enum ShardInput {
    /// A new connection.
    Connection(std::net::TcpStream, CountedConnection),
    /// A frame for all sessions of a tenant. Sent as far as there is room for it.
    Broadcast {
        tenant: TenantId,
        /// Who does not get it: the shard and session it is about.
        except: Option<(usize, SessionId)>,
        frame: Bytes,
    },
}

/// A connection counts for as long as this lives.
#[derive(Debug)]
pub(crate) struct CountedConnection(pub(crate) Arc<Census>);

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.0.end_connection();
    }
}

/// The receiving ends of a shard's mailboxes.
pub(crate) struct ShardInputs {
    pub(crate) inputs: mpsc::Receiver<ShardInput>,
    pub(crate) deliveries: mpsc::Receiver<Delivery>,
}

/// Starts a shard's thread. The receiver resolves when it has drained, and fails when it has
/// panicked.
pub(crate) fn start(
    index: usize,
    shared: Arc<Shared>,
    inputs: ShardInputs,
    shutdown: CancellationToken,
) -> io::Result<oneshot::Receiver<()>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (done, finished) = oneshot::channel();
    thread::Builder::new()
        .name(format!("shard-{index}"))
        .spawn(move || {
            let tasks = LocalSet::new();
            runtime.block_on(tasks.run_until(async {
                let handle = ShardHandle::new(Shard::new(index, shared));
                run(&handle, inputs, shutdown).await;
            }));
            // Nobody listens any more when the gateway was dropped instead of stopped.
            let _ = done.send(());
        })?;
    Ok(finished)
}

/// The owner loop: take one input, apply it, write out what it made.
async fn run(handle: &ShardHandle, mut mailboxes: ShardInputs, shutdown: CancellationToken) {
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut deadline = None;
    loop {
        tokio::select! {
            Some(delivery) = mailboxes.deliveries.recv() => {
                apply_round(handle, delivery, &mut mailboxes.deliveries);
            }
            Some(input) = mailboxes.inputs.recv() => take_input(handle, input),
            _ = sweep.tick() => handle.act(Shard::sweep),
            () = handle.inner.wake.notified() => {}
            () = shutdown.cancelled(), if deadline.is_none() => {
                deadline = Some(Instant::now() + handle.limits().drain_timeout);
                handle.act(Shard::drain);
            }
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => break,
        }
        write_out(handle).await;
        if deadline.is_some() && handle.quietly(|shard| shard.sessions.is_empty()) {
            break;
        }
    }
}

/// Applies a delivery, and others that already wait, so that a socket gets all of them in one call.
fn apply_round(handle: &ShardHandle, first: Delivery, deliveries: &mut mpsc::Receiver<Delivery>) {
    handle.quietly(|shard| {
        let mut record_count = 0;
        let mut next = Some(first);
        while let Some(delivery) = next {
            match delivery {
                Delivery::Batches(batches) => {
                    for batch in batches.iter() {
                        record_count += batch.records.len();
                        shard.apply_batch(batch);
                    }
                }
                Delivery::Gap => shard.doubt_all(),
            }
            next = match record_count < ROUND_RECORDS_MAX {
                true => deliveries.try_recv().ok(),
                false => None,
            };
        }
    });
}

fn take_input(handle: &ShardHandle, input: ShardInput) {
    match input {
        ShardInput::Connection(socket, counted) => {
            let connection = connection(handle.clone(), socket, counted);
            handle.inner.tasks.spawn_local(connection);
        }
        ShardInput::Broadcast {
            tenant,
            except,
            frame,
        } => handle.act(|shard| shard.broadcast(&tenant, except, &frame)),
    }
}

/// Writes to all sessions that have something new, giving other tasks a turn now and then: a loop
/// over ten thousand sockets takes a tenth of a second.
async fn write_out(handle: &ShardHandle) {
    loop {
        assert!(
            !handle.inner.is_broken.get(),
            "a shard must not go on after a panic in it"
        );
        handle.settle();
        if !handle.quietly(|shard| shard.outboxes.has_touched()) {
            break;
        }
        yield_now().await;
    }
    handle.quietly(Shard::record_latencies);
}

/// One connection, from its first request to its end.
async fn connection(handle: ShardHandle, socket: std::net::TcpStream, counted: CountedConnection) {
    let socket = match prepare(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::debug!(%error, "a connection was lost at once");
            return;
        }
    };
    // Boxed, so that what only the handshake needs is not part of this task for the session's life.
    // The time bounds what hyper does not: a client that never reads its answer.
    let limit = handle.limits().head_timeout * REQUEST_TIMEOUT_FACTOR;
    let upgrade = Box::pin(timeout(limit, http::serve(socket, &handle.inner.shared)));
    let Ok(Some(mut upgraded)) = upgrade.await else {
        return;
    };
    let early_bytes = std::mem::take(&mut upgraded.early_bytes);
    let (id, socket) = handle.act(|shard| shard.begin_session(upgraded));
    session::drive(id, socket, early_bytes, handle).await;
    drop(counted);
}

fn prepare(socket: std::net::TcpStream) -> io::Result<TcpStream> {
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    TcpStream::from_std(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Session;

    fn future_bytes<A, B, C, F>(_: fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// What each idle session costs: a task without the handshake in it, and its entry in the
    /// shard.
    #[test]
    fn an_idle_session_is_small() {
        assert!(future_bytes(connection) <= 512);
        assert!(size_of::<Session>() <= 256);
    }
}
