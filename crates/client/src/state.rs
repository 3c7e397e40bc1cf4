//! What a client knows: its subscriptions, the calls it waits for, and what to send next.
//!
//! A pure state machine. It does no I/O and reads no clock: the owner task of a connection feeds it
//! frames and commands, and sends what it leaves in its outbox. Every rule of resuming is here.

mod entry;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use tidegate_core::Lsn;
use tokio::sync::oneshot;

use crate::error::Fault;
use crate::frame::ServerFrame;
use crate::mailbox::Mailbox;
use crate::rpc::{Payload, RpcReply};
use crate::subscription::Subscribe;
use entry::{Entry, Next};

/// Largest frame the server takes. A larger one would end the connection, and again after every
/// reconnect, so it is refused here.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// Calls that wait for an answer. The server answers each within its own time limit, so more than
/// this are a runaway loop and not a burst.
const CALLS_MAX: usize = 1_024;

/// Frames that wait for the socket. Past this, commands wait in their own bounded queue.
const OUTBOX_FRAMES_MAX: usize = 1_024;

/// What a handle asks of the owner.
pub(crate) enum Command {
    Subscribe {
        subscribe: Subscribe,
        mailbox: Arc<Mailbox>,
        reply: oneshot::Sender<String>,
    },
    Rpc {
        method: String,
        table: Option<String>,
        payload: Payload,
        reply: oneshot::Sender<Result<RpcReply, Fault>>,
    },
    Sync {
        hash_id: String,
        lsn: Lsn,
        /// Gets the count of updates the page had seen when the server said so.
        reply: oneshot::Sender<Result<u64, Fault>>,
    },
    Cut,
    Close,
}

/// Whether there is a socket to send by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Up,
    Down,
}

pub(crate) struct State {
    entries: HashMap<String, Entry>,
    calls: HashMap<String, oneshot::Sender<Result<RpcReply, Fault>>>,
    calls_made: u64,
    outbox: VecDeque<String>,
    link: Link,
}

impl State {
    pub(crate) fn new() -> Self {
        Self {
            entries: HashMap::new(),
            calls: HashMap::new(),
            calls_made: 0,
            outbox: VecDeque::new(),
            link: Link::Down,
        }
    }

    /// Whether commands may come. They wait while frames pile up in front of the socket.
    pub(crate) fn takes_commands(&self) -> bool {
        self.outbox.len() < OUTBOX_FRAMES_MAX
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.outbox.is_empty()
    }

    pub(crate) fn pop_output(&mut self) -> Option<String> {
        self.outbox.pop_front()
    }

    /// How often in a row some subscription was told to come back later; `None` when none waits.
    pub(crate) fn retry_attempt(&self) -> Option<u32> {
        let waiting = self.entries.values().filter_map(Entry::retry_attempt);
        waiting.max()
    }

    /// The socket is there: every subscription goes on from where it stands.
    pub(crate) fn connected(&mut self) {
        self.link = Link::Up;
        self.outbox.clear();
        for entry in self.entries.values_mut() {
            self.outbox.push_back(entry.ask());
        }
    }

    /// The socket is gone. A call that was sent may or may not have been carried out.
    pub(crate) fn disconnected(&mut self) {
        self.link = Link::Down;
        self.outbox.clear();
        for (_, reply) in self.calls.drain() {
            let message = "the connection ended before the answer came";
            // Whoever asked may have given up.
            let _ = reply.send(Err(Fault::new("connection_lost", message, false)));
        }
        for entry in self.entries.values_mut() {
            entry.lost();
        }
    }

    /// There will be no other socket: every subscription ends.
    pub(crate) fn end(&mut self, fault: Option<&Fault>) {
        self.disconnected();
        for (_, entry) in self.entries.drain() {
            entry.end(fault.cloned());
        }
    }

    /// Sends again what was told to come back later.
    pub(crate) fn retry(&mut self) {
        for entry in self.entries.values_mut() {
            if entry.retry_attempt().is_some() && self.link == Link::Up {
                self.outbox.push_back(entry.ask());
            }
        }
    }

    /// Ends the subscriptions whose readers have gone.
    pub(crate) fn sweep(&mut self) {
        let gone = self.entries.extract_if(|_, entry| entry.is_abandoned());
        for (hash_id, entry) in gone {
            if self.link == Link::Up {
                self.outbox.push_back(entry.unsubscribe(&hash_id));
            }
        }
    }

    pub(crate) fn subscribe(&mut self, subscribe: Subscribe, mailbox: Arc<Mailbox>) -> String {
        let hash_id = self.free_label(&subscribe);
        let mut entry = Entry::new(hash_id.clone(), subscribe, mailbox);
        let frame = entry.ask();
        if frame.len() > FRAME_BYTES_MAX {
            let message = "the query is too large for a frame of 1 MiB";
            entry.end(Some(Fault::new("bad_frame", message, false)));
            return hash_id;
        }
        if self.link == Link::Up {
            self.outbox.push_back(frame);
        }
        self.entries.insert(hash_id.clone(), entry);
        hash_id
    }

    /// A label that no other subscription of this session has. It is made from the query, because
    /// there are servers that know a query by its label alone.
    fn free_label(&self, subscribe: &Subscribe) -> String {
        let label = format!("{:016x}", subscribe.fingerprint());
        let numbered = (2_u64..).map(|count| format!("{label}-{count}"));
        std::iter::once(label.clone())
            .chain(numbered)
            .find(|label| !self.entries.contains_key(label))
            .expect("there are more numbers than subscriptions")
    }

    pub(crate) fn call(
        &mut self,
        (method, table, payload): (&str, Option<&str>, &Payload),
        reply: oneshot::Sender<Result<RpcReply, Fault>>,
    ) {
        self.calls_made += 1;
        let correlation_id = format!("c{}", self.calls_made);
        let frame = write(&RpcFrame {
            op: "rpc",
            method,
            table,
            payload: payload.raw(),
            correlation_id: &correlation_id,
        });
        if self.calls.len() >= CALLS_MAX {
            self.calls.retain(|_, reply| !reply.is_closed());
        }
        let refusal = match self.link {
            Link::Down => Some(("disconnected", "there is no connection at the moment", true)),
            Link::Up if frame.len() > FRAME_BYTES_MAX => Some((
                "bad_frame",
                "the call is too large for a frame of 1 MiB",
                false,
            )),
            Link::Up if self.calls.len() >= CALLS_MAX => {
                Some(("too_many_calls", "1,024 calls wait for their answers", true))
            }
            Link::Up => None,
        };
        if let Some((code, message, retry)) = refusal {
            // Whoever asked may have given up.
            let _ = reply.send(Err(Fault::new(code, message, retry)));
            return;
        }
        self.outbox.push_back(frame);
        self.calls.insert(correlation_id, reply);
    }

    pub(crate) fn sync(
        &mut self,
        hash_id: &str,
        lsn: Lsn,
        reply: oneshot::Sender<Result<u64, Fault>>,
    ) {
        let Some(entry) = self.entries.get_mut(hash_id) else {
            let fault = Fault::new("unknown_subscription", "the subscription has ended", false);
            // Whoever asked may have given up.
            let _ = reply.send(Err(fault));
            return;
        };
        self.outbox.extend(entry.sync(lsn, reply));
    }

    /// Takes a frame of the server.
    pub(crate) fn frame(&mut self, frame: ServerFrame) {
        match frame {
            ServerFrame::Ack { hash_id } => {
                if let Some(entry) = self.entries.get_mut(&hash_id) {
                    self.outbox.extend(entry.accepted());
                }
            }
            ServerFrame::Snapshot { hash_id, snapshot } => {
                self.act(&hash_id, |entry| entry.snapshot(snapshot));
            }
            ServerFrame::Resumed {
                hash_id,
                position,
                lsn,
            } => self.act(&hash_id, |entry| entry.resumed(position, lsn)),
            ServerFrame::Diff { hash_id, diff } => self.act(&hash_id, |entry| entry.diff(diff)),
            ServerFrame::Synced { hash_id, lsn } => self.act(&hash_id, |entry| entry.synced(lsn)),
            ServerFrame::RpcResult {
                correlation_id,
                outcome,
            } => self.answer(&correlation_id, outcome),
            ServerFrame::Error {
                hash_id: Some(hash_id),
                fault,
                ..
            } => self.act(&hash_id, |entry| entry.failed(fault)),
            ServerFrame::Error {
                correlation_id: Some(correlation_id),
                fault,
                ..
            } => self.answer(&correlation_id, Err(fault)),
            ServerFrame::Error { fault, .. } => {
                tracing::debug!(code = fault.code, message = fault.message, "server error");
            }
            ServerFrame::Other => {}
        }
    }

    fn act(&mut self, hash_id: &str, step: impl FnOnce(&mut Entry) -> Next) {
        // A frame of a subscription that has just been given up is no surprise.
        let Some(entry) = self.entries.get_mut(hash_id) else {
            return;
        };
        match step(entry) {
            Next::GoOn => {}
            Next::AskAgain => self.outbox.push_back(entry.ask()),
            Next::End(fault) => {
                if let Some(entry) = self.entries.remove(hash_id) {
                    entry.end(Some(fault));
                }
            }
        }
    }

    fn answer(&mut self, correlation_id: &str, outcome: Result<RpcReply, Fault>) {
        if let Some(reply) = self.calls.remove(correlation_id) {
            // Whoever asked may have given up.
            let _ = reply.send(outcome);
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RpcFrame<'a> {
    op: &'static str,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
    correlation_id: &'a str,
}

fn write(frame: &impl Serialize) -> String {
    serde_json::to_string(frame).expect("a frame is text, numbers and JSON that was read before")
}

#[cfg(test)]
mod tests;
