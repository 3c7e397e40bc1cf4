//! One authenticated connection: what the shard knows of it, and the task that drives its socket.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tidegate_protocol::HashId;
use tokio::net::TcpStream;

use crate::auth::Principal;
use crate::channel::ListenerPlace;
use crate::outbox::SubscriptionId;
use crate::outboxes::SessionIndex;
use crate::shard::ShardHandle;
use crate::ws::{Flow, Message, Reader};

/// Reads of one socket before others get a turn.
const READS_PER_TURN: usize = 4;

/// A session beyond any doubt: its place, and a number that is never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SessionId {
    pub(crate) index: SessionIndex,
    pub(crate) serial: u64,
}

/// Seconds since the shard began. Coarse on purpose: one sweep a second looks after all sessions.
pub(crate) type Second = u32;

/// Where a subscription is on its way to a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The table is being looked up.
    Describing,
    Listening {
        channel: u32,
        place: ListenerPlace,
    },
}

/// A subscription, as its session holds it.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) label: HashId,
    pub(crate) id: SubscriptionId,
    pub(crate) place: Place,
}

/// Whether a session is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionPhase {
    Open,
    /// A close frame is queued or sent. What the client says no longer counts; at this second the
    /// connection goes, whatever the client does.
    Closing {
        until: Second,
    },
    /// The connection is lost or done with; the session's task is about to find out.
    Ended,
}

/// What the shard knows of a session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) serial: u64,
    pub(crate) principal: Principal,
    pub(crate) socket: Rc<TcpStream>,
    pub(crate) phase: SessionPhase,
    /// Wakes the session's task: there is something to write, or the session has ended.
    pub(crate) waker: Option<Waker>,
    pub(crate) heard_at: Second,
    pub(crate) pinged_at: Second,
    pub(crate) expires_at: Second,
    /// Its place among the sessions of its tenant.
    pub(crate) tenant_slot: usize,
    /// Ordered by label.
    pub(crate) subscriptions: Vec<Held>,
    pub(crate) next_subscription: u32,
    pub(crate) calls_running: usize,
    pub(crate) syncs_waiting: usize,
    pub(crate) is_slow: bool,
}

impl Session {
    pub(crate) fn find(&self, label: &HashId) -> Result<usize, usize> {
        self.subscriptions
            .binary_search_by(|held| held.label.cmp(label))
    }

    pub(crate) fn by_id(&self, id: SubscriptionId) -> Option<&Held> {
        self.subscriptions.iter().find(|held| held.id == id)
    }

    pub(crate) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// What a session's task is to do about its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Wait for the client, or to be woken.
    Listen,
    /// Wait for room in the socket as well.
    Write,
    /// The session is over.
    End,
}

/// Drives a session's socket until the session ends. Shards write to sockets themselves; this
/// reads, and writes only what a socket did not take at once.
pub(crate) async fn drive(
    id: SessionId,
    socket: Rc<TcpStream>,
    early_bytes: Bytes,
    shard: ShardHandle,
) {
    // Ends the session in the shard also when this task panics or is dropped.
    let guard = EndGuard { id, shard };
    let mut reader = Reader::default();
    // Consumed here: it is a slice of the handshake's buffer and would keep all of that.
    feed(&guard.shard, id, &mut reader, &mut Vec::from(early_bytes));
    poll_fn(|cx| poll(cx, id, &socket, &mut reader, &guard.shard)).await;
}

struct EndGuard {
    id: SessionId,
    shard: ShardHandle,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.shard.end_session(self.id);
    }
}

fn poll(
    cx: &mut Context<'_>,
    id: SessionId,
    socket: &TcpStream,
    reader: &mut Reader,
    shard: &ShardHandle,
) -> Poll<()> {
    match poll_read(cx, id, socket, reader, shard) {
        ReadTurn::Waiting => {}
        ReadTurn::More => cx.waker().wake_by_ref(),
        ReadTurn::Gone => return Poll::Ready(()),
    }
    loop {
        match shard.turn(id, cx.waker()) {
            Turn::Listen => return Poll::Pending,
            Turn::End => return Poll::Ready(()),
            Turn::Write => match socket.poll_write_ready(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => shard.act(|shard| shard.flush(id.index)),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
            },
        }
    }
}

enum ReadTurn {
    Waiting,
    More,
    Gone,
}

fn poll_read(
    cx: &mut Context<'_>,
    id: SessionId,
    socket: &TcpStream,
    reader: &mut Reader,
    shard: &ShardHandle,
) -> ReadTurn {
    for _ in 0..READS_PER_TURN {
        match socket.poll_read_ready(cx) {
            Poll::Pending => return ReadTurn::Waiting,
            Poll::Ready(Err(_)) => return ReadTurn::Gone,
            Poll::Ready(Ok(())) => {}
        }
        let mut scratch = shard.scratch();
        match socket.try_read(&mut scratch) {
            Ok(0) => return ReadTurn::Gone,
            Ok(length) => feed(shard, id, reader, &mut scratch[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return ReadTurn::Gone,
        }
    }
    ReadTurn::More
}

/// Hands what the client sent to the shard, message by message.
fn feed(shard: &ShardHandle, id: SessionId, reader: &mut Reader, bytes: &mut [u8]) {
    shard.heard(id);
    let mut on_message = |message: Message<'_>| shard.on_message(id, message);
    match reader.read(bytes, &mut on_message) {
        Ok(Flow::Continue) => shard.settle(),
        // The rest of the bytes, and all that follows, is for nobody.
        Ok(Flow::Stop) => {
            *reader = Reader::default();
            shard.settle();
        }
        Err(violation) => {
            *reader = Reader::default();
            shard.act(|shard| {
                shard.close(id, violation.close_code(), &violation.to_string());
            });
        }
    }
}
