//! How the tasks of a shard's thread reach it: one at a time, and never across an await.

use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use tidegate_protocol::ClientFrame;
use tokio::sync::{Notify, Semaphore};
use tokio_util::task::TaskTracker;

use super::Shard;
use crate::config::GatewayLimits;
use crate::frame;
use crate::gateway::Shared;
use crate::loader;
use crate::session::{SessionId, Turn};
use crate::ws::{Flow, Message, Opcode};

/// Bytes read from a socket at once.
const SCRATCH_BYTES: usize = 64 << 10;
/// Schemas and tails that a shard reads at a time. More wait.
const READS_MAX: usize = 64;

pub(super) struct Inner {
    shard: RefCell<Shard>,
    scratch: RefCell<Box<[u8]>>,
    pub(super) shared: Arc<Shared>,
    pub(super) tasks: TaskTracker,
    call_permits: Arc<Semaphore>,
    read_permits: Arc<Semaphore>,
    /// Tells the owner loop that sessions wait to be written to, or that the shard is broken.
    pub(super) wake: Notify,
    pub(super) is_broken: Cell<bool>,
}

/// How tasks of the shard's thread reach it.
#[derive(Clone)]
pub(crate) struct ShardHandle {
    pub(super) inner: Rc<Inner>,
}

/// Notes a panic that begins while the shard is held: half-done, it must not go on. A session's own
/// panic, which ends the session here while it unwinds, began before and is none of the shard's.
struct Breaker<'a> {
    inner: &'a Inner,
    was_panicking: bool,
}

impl<'a> Breaker<'a> {
    fn new(inner: &'a Inner) -> Self {
        let was_panicking = std::thread::panicking();
        Self {
            inner,
            was_panicking,
        }
    }
}

impl Drop for Breaker<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.was_panicking {
            self.inner.is_broken.set(true);
            self.inner.wake.notify_one();
        }
    }
}

impl ShardHandle {
    pub(super) fn new(shard: Shard) -> Self {
        let shared = Arc::clone(&shard.shared);
        let call_permits = Arc::new(Semaphore::new(shared.config.limits.shard_calls_max));
        Self {
            inner: Rc::new(Inner {
                shard: RefCell::new(shard),
                scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
                shared,
                tasks: TaskTracker::new(),
                call_permits,
                read_permits: Arc::new(Semaphore::new(READS_MAX)),
                wake: Notify::new(),
                is_broken: Cell::new(false),
            }),
        }
    }

    /// Does something to the shard, then sees to what that implies: writes and jobs.
    pub(crate) fn act<R>(&self, act: impl FnOnce(&mut Shard) -> R) -> R {
        let breaker = Breaker::new(&self.inner);
        let mut shard = self.inner.shard.borrow_mut();
        let result = act(&mut shard);
        let has_more = shard.settle();
        let jobs = std::mem::take(&mut shard.jobs);
        drop(shard);
        for job in jobs {
            let ports = self.inner.shared.ports.clone();
            let task = loader::run(job, ports, self.clone());
            self.inner.tasks.spawn_local(task);
        }
        if has_more {
            self.inner.wake.notify_one();
        }
        drop(breaker);
        result
    }

    /// Sees to what earlier changes implied.
    pub(crate) fn settle(&self) {
        self.act(|_| ());
    }

    /// Looks at the shard or changes a field, with nothing to see to afterwards.
    pub(super) fn quietly<R>(&self, act: impl FnOnce(&mut Shard) -> R) -> R {
        let _breaker = Breaker::new(&self.inner);
        act(&mut self.inner.shard.borrow_mut())
    }

    pub(crate) fn turn(&self, id: SessionId, waker: &Waker) -> Turn {
        self.quietly(|shard| shard.turn(id, waker))
    }

    pub(crate) fn heard(&self, id: SessionId) {
        self.quietly(|shard| {
            let now = shard.now;
            if let Some(session) = shard.session(id) {
                session.heard_at = now;
            }
        });
    }

    pub(crate) fn end_session(&self, id: SessionId) {
        self.quietly(|shard| shard.end_session(id));
    }

    pub(crate) fn scratch(&self) -> RefMut<'_, Box<[u8]>> {
        self.inner.scratch.borrow_mut()
    }

    pub(crate) fn limits(&self) -> GatewayLimits {
        self.inner.shared.config.limits
    }

    /// Bounds reads of schemas and of the cache. They wait without a time-out, as those who asked
    /// do.
    pub(crate) fn read_permits(&self) -> Arc<Semaphore> {
        Arc::clone(&self.inner.read_permits)
    }

    pub(crate) fn call_permits(&self) -> Arc<Semaphore> {
        Arc::clone(&self.inner.call_permits)
    }

    /// Takes a message of a client. It is read here, outside of the shard: a defect in reading it
    /// ends this session only. What it implies is seen to by [`ShardHandle::settle`], once for all
    /// messages that came together.
    pub(crate) fn on_message(&self, id: SessionId, message: Message<'_>) -> Flow {
        match message {
            Message::Text(text) => {
                let parsed = ClientFrame::parse(text);
                self.quietly(|shard| shard.on_frame(id, parsed))
            }
            Message::Binary | Message::Pong => Flow::Continue,
            Message::Ping(payload) => {
                let pong = frame::frame(Opcode::Pong, payload);
                self.quietly(|shard| shard.reply(id, pong))
            }
            Message::Close(code) => self.quietly(|shard| shard.on_close(id, code)),
        }
    }
}
