//! A shard is a thread: it owns its sessions outright, sockets and all, and its own view of the
//! channels they listen to. Nothing on the way of a diff is locked or crosses a thread.
//!
//! `Shard` is the state and all that happens to it, synchronously. `ShardHandle` is how the tasks
//! of the thread reach it: one at a time, never across an await.

mod commands;
mod delivery;
mod handle;
mod run;
mod sweep;
mod syncs;
mod typed;

use std::collections::{HashMap, VecDeque};
use std::io::IoSlice;
use std::net::Shutdown;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use slab::Slab;
use socket2::SockRef;
use tidegate_core::{Life, Lsn, TenantId};
use tidegate_protocol::CloseCode;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::channel::Effect;
use crate::config::GatewayLimits;
use crate::frame;
use crate::gateway::Shared;
use crate::http::Upgraded;
use crate::interest::InterestCommand;
use crate::listening::Counted;
use crate::loader::{Job, Schemas};
use crate::metrics::{self, GatewayMetrics, ShardMetrics};
use crate::outbox::{Owner, SLICES_MAX};
use crate::outboxes::{Outboxes, SessionIndex};
use crate::session::{Second, Session, SessionId, SessionPhase, Turn};
use crate::ws::{Flow, Opcode, close_payload};

use delivery::ChannelEntry;
pub(crate) use handle::ShardHandle;
pub(crate) use run::{CountedConnection, Delivery, ShardInput, ShardInputs, start};
use syncs::SyncWait;

/// Sockets written to before other tasks of the thread get a turn. A write costs about ten
/// microseconds.
const WRITES_PER_TURN: usize = 256;

/// All that a shard knows.
pub(crate) struct Shard {
    index: usize,
    shared: Arc<Shared>,
    metrics: ShardMetrics,
    /// In one shard only, which reports for all.
    gateway_metrics: Option<GatewayMetrics>,
    started: Instant,
    now: Second,
    is_draining: bool,

    sessions: Slab<Session>,
    next_serial: u64,
    outboxes: Outboxes,
    by_tenant: HashMap<TenantId, Slab<SessionIndex>>,

    channels: Slab<ChannelEntry>,
    by_key: HashMap<Box<[u8]>, u32>,
    /// The same keys, as the bus reader sees them.
    listening: Counted,
    history_bytes: usize,
    subscription_count: usize,
    /// How far the owner of each partition is, and which owner that is.
    progress: Vec<Option<(Life, Lsn)>>,
    syncs: Vec<SyncWait>,
    schemas: Schemas,

    /// What is to be done outside once the shard is let go of.
    effects: Vec<Effect>,
    jobs: Vec<Job>,
    outgoing: VecDeque<InterestCommand>,
    interest: mpsc::Sender<InterestCommand>,
    /// When the diffs of the running round were committed.
    committed: Vec<i64>,
}

impl Shard {
    fn new(index: usize, shared: Arc<Shared>) -> Self {
        let partition_count = shared.ports.bus.partition_count() as usize;
        Self {
            index,
            metrics: ShardMetrics::new(index),
            gateway_metrics: (index == 0).then(GatewayMetrics::new),
            started: Instant::now(),
            now: 0,
            is_draining: false,
            sessions: Slab::new(),
            next_serial: 0,
            outboxes: Outboxes::new(shared.config.limits.outbox),
            by_tenant: HashMap::new(),
            channels: Slab::new(),
            by_key: HashMap::new(),
            listening: Counted::new(Arc::clone(&shared.listening[index])),
            history_bytes: 0,
            subscription_count: 0,
            progress: vec![None; partition_count],
            syncs: Vec::new(),
            schemas: Schemas::default(),
            effects: Vec::new(),
            jobs: Vec::new(),
            outgoing: VecDeque::new(),
            interest: shared.interest.clone(),
            committed: Vec::new(),
            shared,
        }
    }

    fn limits(&self) -> &GatewayLimits {
        &self.shared.config.limits
    }

    fn now_millis(&self) -> i64 {
        (self.shared.config.clock_micros)() / 1_000
    }

    /// The session, if it is still the one that is meant.
    fn session(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions
            .get_mut(id.index.0 as usize)
            .filter(|session| session.serial == id.serial)
    }

    /// The session, if it still listens to what it is told.
    fn open_session(&mut self, id: SessionId) -> Option<&mut Session> {
        self.session(id)
            .filter(|session| session.phase == SessionPhase::Open)
    }

    fn begin_session(&mut self, upgraded: Upgraded) -> (SessionId, Rc<TcpStream>) {
        let socket = Rc::new(upgraded.socket);
        let expires_at = self.second_of(upgraded.principal.expires_at);
        let serial = self.next_serial;
        self.next_serial += 1;
        let tenant = upgraded.principal.tenant.clone();
        let key = self.sessions.insert(Session {
            serial,
            principal: upgraded.principal,
            socket: Rc::clone(&socket),
            phase: SessionPhase::Open,
            waker: None,
            heard_at: self.now,
            pinged_at: self.now,
            expires_at,
            tenant_slot: 0,
            subscriptions: Vec::new(),
            next_subscription: 0,
            calls_running: 0,
            syncs_waiting: 0,
            is_slow: false,
        });
        let index = SessionIndex(key as u32);
        let id = SessionId { index, serial };
        self.outboxes.reset(index);
        self.sessions[key].tenant_slot = self.by_tenant.entry(tenant).or_default().insert(index);
        self.welcome(id);
        if self.is_draining {
            self.close(id, CloseCode::ShuttingDown, "the server is shutting down");
        }
        (id, socket)
    }

    /// The second of this shard's life at which a token expires.
    fn second_of(&self, expires_at: Option<u64>) -> Second {
        let Some(expires_at) = expires_at else {
            return Second::MAX;
        };
        let now = (self.shared.config.clock_micros)().max(0) as u64 / 1_000_000;
        let left = expires_at.saturating_sub(now);
        self.now
            .saturating_add(Second::try_from(left).unwrap_or(Second::MAX))
    }

    fn end_session(&mut self, id: SessionId) {
        if self.session(id).is_none() {
            return;
        }
        self.leave_all(id.index);
        let session = self.sessions.remove(id.index.0 as usize);
        if session.is_slow {
            self.shared.census.end_slow();
        }
        if let Some(indexes) = self.by_tenant.get_mut(&session.principal.tenant) {
            indexes.remove(session.tenant_slot);
            if indexes.is_empty() {
                self.by_tenant.remove(&session.principal.tenant);
            }
        }
        // What it had unsent must not be held until the place is used again.
        self.outboxes.reset(id.index);
        self.farewell(id, &session.principal);
    }

    /// Closes a session: a last frame, and no more of anything.
    pub(crate) fn close(&mut self, id: SessionId, code: CloseCode, reason: &str) {
        self.close_with(id, Some(code.number()), reason);
        if code == CloseCode::TryLater {
            tracing::debug!(reason, "a session was closed");
        }
    }

    fn close_with(&mut self, id: SessionId, code: Option<u16>, reason: &str) {
        if self.open_session(id).is_none() {
            return;
        }
        metrics::count_close(code.unwrap_or(1005));
        self.leave_all(id.index);
        let seconds = self.limits().drain_timeout.as_secs() as Second + 1;
        let until = self.now.saturating_add(seconds);
        if code == Some(CloseCode::TryLater.number()) {
            self.outboxes.outbox(id.index).clear();
        }
        let payload = code
            .map(|code| close_payload(code, reason))
            .unwrap_or_default();
        let frame = frame::frame(Opcode::Close, &payload);
        self.outboxes.push_after(id.index, frame, Owner::Session);
        if let Some(session) = self.session(id) {
            session.phase = SessionPhase::Closing { until };
        }
    }

    /// Writes what a session has unsent, as far as its socket takes it.
    pub(crate) fn flush(&mut self, index: SessionIndex) {
        let mut recovered = false;
        loop {
            let Some(session) = self.sessions.get_mut(index.0 as usize) else {
                return;
            };
            if session.phase == SessionPhase::Ended {
                return;
            }
            if !write(&session.socket, &mut self.outboxes, index) {
                session.phase = SessionPhase::Ended;
                session.wake();
                return;
            }
            // Once only: who falls behind again in the same turn waits for the next.
            if recovered || !self.recover_lagging(index) {
                break;
            }
            recovered = true;
        }
        let is_slow = !self.outboxes.outbox(index).is_empty();
        let session = &mut self.sessions[index.0 as usize];
        let was_slow = std::mem::replace(&mut session.is_slow, is_slow);
        match (was_slow, is_slow) {
            (false, true) => self.shared.census.begin_slow(),
            (true, false) => self.shared.census.end_slow(),
            (false, false) | (true, true) => {}
        }
        // The task of one that was slow before waits for its socket already.
        let is_closing = matches!(session.phase, SessionPhase::Closing { .. });
        if is_closing || (is_slow && !was_slow) {
            session.wake();
        }
    }

    /// Writes to some of the sessions that have something new, and takes up what pushing to them
    /// implied. Says whether there are more.
    fn settle(&mut self) -> bool {
        // All of them are touched as well.
        self.outboxes.take_pressed();
        for _ in 0..WRITES_PER_TURN {
            let Some(index) = self.outboxes.next_touched() else {
                break;
            };
            self.flush(index);
        }
        self.close_overrun();
        self.wait_for_unsaid();
        self.send_interest();
        self.outboxes.has_touched()
    }

    fn close_overrun(&mut self) {
        for index in self.outboxes.take_overrun() {
            if let Some(session) = self.sessions.get(index.0 as usize) {
                let serial = session.serial;
                let id = SessionId { index, serial };
                self.close(id, CloseCode::TryLater, "the client is too slow");
            }
        }
    }

    /// Tells a session's task what to do about its socket.
    fn turn(&mut self, id: SessionId, waker: &Waker) -> Turn {
        let has_unsent = !match self.session(id) {
            None => return Turn::End,
            Some(_) => self.outboxes.outbox(id.index).is_empty(),
        };
        let Some(session) = self.session(id) else {
            return Turn::End;
        };
        if session.phase == SessionPhase::Ended {
            return Turn::End;
        }
        if !session
            .waker
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            session.waker = Some(waker.clone());
        }
        if has_unsent {
            return Turn::Write;
        }
        if matches!(session.phase, SessionPhase::Closing { .. }) {
            // Our side is done. The client closes its own; cutting it off now could lose it the
            // close frame. A failure means that it is gone already.
            let _ = SockRef::from(&*session.socket).shutdown(Shutdown::Write);
        }
        Turn::Listen
    }

    /// Queues a frame of the session's own.
    fn reply(&mut self, id: SessionId, frame: Bytes) -> Flow {
        if self.open_session(id).is_none() {
            return Flow::Stop;
        }
        self.outboxes.push(id.index, frame, Owner::Session);
        Flow::Continue
    }

    /// The client closes, or answers our close.
    fn on_close(&mut self, id: SessionId, code: Option<u16>) -> Flow {
        let Some(session) = self.session(id) else {
            return Flow::Stop;
        };
        match session.phase {
            SessionPhase::Open => self.close_with(id, code, ""),
            SessionPhase::Closing { .. } => {
                session.phase = SessionPhase::Ended;
                session.wake();
            }
            SessionPhase::Ended => {}
        }
        Flow::Stop
    }
}

/// Writes until the outbox is empty or the socket is full. `false` when the connection is lost.
fn write(socket: &TcpStream, outboxes: &mut Outboxes, index: SessionIndex) -> bool {
    let mut outbox = outboxes.outbox(index);
    while !outbox.is_empty() {
        let written = match outbox.only() {
            Some(frame) => socket.try_write(frame),
            None => {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let count = outbox.slices(&mut slices);
                socket.try_write_vectored(&slices[..count])
            }
        };
        match written {
            Ok(0) => return false,
            Ok(taken) => {
                outbox.advance(taken);
                outboxes.count_write(taken);
                outbox = outboxes.outbox(index);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
    }
    true
}
