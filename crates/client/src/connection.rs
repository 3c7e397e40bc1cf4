//! The owner of a client's connection: one task that reads, writes, reconnects and resumes.
//!
//! It only carries bytes between the socket and [`State`], and decides when to try again. Reading
//! never waits for a reader of a subscription, nor for the socket to take what is to be sent.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::SplitSink;
use futures_util::{Sink, SinkExt, StreamExt};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::backoff::{self, Ending};
use crate::dial::{Options, Socket, dial, text};
use crate::error::{ConnectError, Fault};
use crate::frame;
use crate::state::{Command, State};

/// The server pings every 25 s. A connection that says nothing for two pings is dead.
const SILENCE_TIME_MAX: Duration = Duration::from_secs(60);

/// A connection that lived this long was a good one: the next wait is the shortest again.
const GOOD_TIME_MIN: Duration = Duration::from_secs(10);

/// How long the last frames may take to leave.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(1);

/// How a client stands to its gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionState {
    /// Connected.
    Connected,
    /// Not connected; it will be tried again.
    Reconnecting {
        /// Tries so far.
        attempt: u32,
        /// Why the last connection ended, or the last try failed.
        reason: String,
    },
    /// Closed for good: asked to, or refused.
    Closed {
        /// Why, if not asked to.
        fault: Option<Fault>,
    },
}

/// How a connection ended.
enum End {
    /// The handle said so.
    Asked,
    Because(Ending, String),
}

pub(crate) struct Connection {
    options: Options,
    state: State,
    commands: mpsc::Receiver<Command>,
    abandoned: Arc<Notify>,
    status: watch::Sender<ConnectionState>,
    rng: StdRng,
}

impl Connection {
    pub(crate) fn new(
        options: Options,
        commands: mpsc::Receiver<Command>,
        abandoned: Arc<Notify>,
        status: watch::Sender<ConnectionState>,
    ) -> Self {
        let rng = match options.seed {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => StdRng::from_os_rng(),
        };
        Self {
            options,
            state: State::new(),
            commands,
            abandoned,
            status,
            rng,
        }
    }

    /// Runs until the client is closed or refused.
    pub(crate) async fn run(mut self, first: Socket) {
        let mut socket = first;
        let mut attempt = 0;
        let fault = loop {
            let since = Instant::now();
            self.state.connected();
            // The first time it is no news.
            self.status.send_if_modified(|status| {
                let old = std::mem::replace(status, ConnectionState::Connected);
                old != ConnectionState::Connected
            });
            let end = self.converse(socket).await;
            self.state.disconnected();
            if since.elapsed() >= GOOD_TIME_MIN {
                attempt = 0;
            }
            match self.reconnect(end, &mut attempt).await {
                Ok(next) => socket = next,
                Err(fault) => break fault,
            }
        };
        self.state.end(fault.as_ref());
        self.status.send_replace(ConnectionState::Closed { fault });
    }

    /// Tries until there is a connection, or none will be: then it says why, if nobody asked for
    /// it.
    async fn reconnect(&mut self, end: End, attempt: &mut u32) -> Result<Socket, Option<Fault>> {
        let mut last = end;
        loop {
            let (ending, reason) = match last {
                End::Asked => return Err(None),
                End::Because(ending, reason) => (ending, reason),
            };
            let Some(wait) = backoff::wait(ending, *attempt, &mut self.rng) else {
                return Err(Some(Fault::new("refused", reason, false)));
            };
            tracing::debug!(reason, ?wait, attempt, "connection lost");
            *attempt = attempt.saturating_add(1);
            self.status.send_replace(ConnectionState::Reconnecting {
                attempt: *attempt,
                reason,
            });
            let options = self.options.clone();
            let mut next = pin!(async {
                sleep(wait).await;
                dial(&options).await
            });
            last = loop {
                tokio::select! {
                    dialed = &mut next => match dialed {
                        Ok(socket) => return Ok(socket),
                        Err(error) => break failed_dial(&error),
                    },
                    command = self.commands.recv() => {
                        if let Some(end) = self.obey(command) {
                            match end {
                                End::Asked => return Err(None),
                                // There is no connection to cut.
                                End::Because(..) => {}
                            }
                        }
                    }
                    () = self.abandoned.notified() => self.state.sweep(),
                }
            };
        }
    }

    /// Carries frames both ways until the connection ends.
    async fn converse(&mut self, socket: Socket) -> End {
        let (mut sink, mut stream) = socket.split();
        let mut unflushed = Unflushed::No;
        let mut silence = pin!(sleep(SILENCE_TIME_MAX));
        let mut retry: Option<Pin<Box<Sleep>>> = None;
        let end = loop {
            self.arm_retry(&mut retry);
            let can_send = self.state.has_output() || unflushed == Unflushed::Yes;
            tokio::select! {
                message = stream.next() => {
                    silence.as_mut().reset(Instant::now() + SILENCE_TIME_MAX);
                    if let Some(end) = self.take(message) {
                        break end;
                    }
                }
                sent = send(&mut sink, &mut self.state, &mut unflushed), if can_send => {
                    if let Err(error) = sent {
                        break End::Because(Ending::Lost, error.to_string());
                    }
                }
                command = self.commands.recv(), if self.state.takes_commands() => {
                    if let Some(end) = self.obey(command) {
                        break end;
                    }
                }
                () = self.abandoned.notified() => self.state.sweep(),
                () = async { retry.as_mut().expect("armed").await }, if retry.is_some() => {
                    retry = None;
                    self.state.retry();
                }
                () = &mut silence => {
                    let reason = "nothing was heard for 60 s".to_owned();
                    break End::Because(Ending::Lost, reason);
                }
            }
        };
        if let End::Asked | End::Because(Ending::GoingAway | Ending::Overloaded, _) = end {
            // A courtesy: the connection ends either way, and the result changes nothing.
            let _ = timeout(FAREWELL_TIME_MAX, sink.close()).await;
        }
        end
    }

    /// Sets the timer for subscriptions that were told to come back later.
    fn arm_retry(&mut self, retry: &mut Option<Pin<Box<Sleep>>>) {
        if retry.is_some() {
            return;
        }
        if let Some(attempt) = self.state.retry_attempt() {
            let wait = backoff::wait(Ending::Lost, attempt, &mut self.rng);
            let at = Instant::now() + wait.expect("only a refusal is final");
            *retry = Some(Box::pin(sleep_until(at)));
        }
    }

    fn obey(&mut self, command: Option<Command>) -> Option<End> {
        match command {
            Some(Command::Subscribe {
                subscribe,
                mailbox,
                reply,
            }) => {
                let hash_id = self.state.subscribe(subscribe, mailbox);
                // Whoever asked may have given up; the sweep ends it then.
                let _ = reply.send(hash_id);
                None
            }
            Some(Command::Rpc {
                method,
                table,
                payload,
                reply,
            }) => {
                let call = (method.as_str(), table.as_deref(), &payload);
                self.state.call(call, reply);
                None
            }
            Some(Command::Sync {
                hash_id,
                lsn,
                reply,
            }) => {
                self.state.sync(&hash_id, lsn, reply);
                None
            }
            Some(Command::Cut) => Some(End::Because(Ending::Lost, "cut on purpose".to_owned())),
            Some(Command::Close) | None => Some(End::Asked),
        }
    }

    fn take(&mut self, message: Option<Result<Message, Error>>) -> Option<End> {
        let read = match message {
            Some(Ok(Message::Text(text))) => frame::read_text(&text),
            Some(Ok(Message::Binary(bytes))) => frame::read_binary(&bytes),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => return None,
            Some(Ok(Message::Close(close))) => {
                let (code, reason) = close.map_or((1005, String::new()), |close| {
                    (u16::from(close.code), close.reason.to_string())
                });
                let reason = format!("closed by the server with {code}: {reason}");
                return Some(End::Because(Ending::from_close_code(code), reason));
            }
            Some(Err(error)) => return Some(End::Because(Ending::Lost, error.to_string())),
            None => {
                return Some(End::Because(
                    Ending::Lost,
                    "the connection ended".to_owned(),
                ));
            }
        };
        match read {
            Ok(frame) => {
                self.state.frame(frame);
                None
            }
            // It may have been a diff. A new connection resumes from before it.
            Err(error) => {
                tracing::warn!(error = %error, "unreadable frame");
                Some(End::Because(
                    Ending::Lost,
                    format!("unreadable frame: {error}"),
                ))
            }
        }
    }
}

fn failed_dial(error: &ConnectError) -> End {
    let ending = match error {
        ConnectError::Refused { status, .. } => Ending::from_http_status(*status),
        ConnectError::BadOptions(_) => Ending::Refused,
        ConnectError::Unreachable { .. } | ConnectError::NotWebSocket { .. } => Ending::Lost,
    };
    End::Because(ending, error.to_string())
}

/// Whether frames were given to the socket and not yet pushed out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unflushed {
    Yes,
    No,
}

/// Sends what waits. It may be given up at any await: a frame is taken only once the socket is
/// ready for it, and `unflushed` remembers what is left to do.
async fn send(
    sink: &mut SplitSink<Socket, Message>,
    state: &mut State,
    unflushed: &mut Unflushed,
) -> Result<(), Error> {
    while state.has_output() {
        poll_fn(|cx| Pin::new(&mut *sink).poll_ready(cx)).await?;
        if let Some(frame) = state.pop_output() {
            *unflushed = Unflushed::Yes;
            Pin::new(&mut *sink).start_send(text(frame))?;
        }
    }
    sink.flush().await?;
    *unflushed = Unflushed::No;
    Ok(())
}
