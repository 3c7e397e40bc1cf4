//! The handle of a client: subscribe, call, close.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::connection::{Connection, ConnectionState};
use crate::dial::{Options, dial};
use crate::error::{Closed, ConnectError, Fault};
use crate::mailbox::Mailbox;
use crate::rpc::{Payload, RpcReply};
use crate::state::Command;
use crate::subscription::{Subscribe, Subscription};

/// Commands that wait for the owner. Those who ask wait beyond it, for commands may wait.
const COMMANDS_MAX: usize = 64;

/// The server answers a call within 10 s by default, be it that it took too long.
const CALL_TIME_MAX: Duration = Duration::from_secs(30);

/// What all handles of one connection share. The last one that goes ends the connection.
pub(crate) struct Shared {
    commands: mpsc::Sender<Command>,
    pub(crate) abandoned: Arc<Notify>,
    status: watch::Receiver<ConnectionState>,
    updates_max: usize,
    /// Held to be dropped: that ends the owner task.
    _owner: JoinSet<()>,
}

impl Shared {
    pub(crate) async fn send(&self, command: Command) -> Result<(), Closed> {
        self.commands.send(command).await.map_err(|_| Closed)
    }
}

/// A connection to a gateway that heals itself. Cheap to clone; it ends with its last handle.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

impl Client {
    /// Connects. Once there was a connection, it is made again whenever it is lost, until the
    /// client is closed or the gateway refuses it.
    ///
    /// # Errors
    /// When the first connection cannot be had.
    pub async fn connect(options: Options) -> Result<Self, ConnectError> {
        let socket = dial(&options).await?;
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let abandoned = Arc::new(Notify::new());
        let (status, watched) = watch::channel(ConnectionState::Connected);
        let updates_max = options.updates_max;
        let connection = Connection::new(options, received, abandoned.clone(), status);
        let mut owner = JoinSet::new();
        owner.spawn(connection.run(socket));
        Ok(Self {
            shared: Arc::new(Shared {
                commands,
                abandoned,
                status: watched,
                updates_max,
                _owner: owner,
            }),
        })
    }

    /// Subscribes. This does not wait for the server: the first update is the page, or the error.
    ///
    /// # Errors
    /// When the client is closed.
    pub async fn subscribe(&self, subscribe: impl Into<Subscribe>) -> Result<Subscription, Closed> {
        let subscribe = subscribe.into();
        let mailbox = Arc::new(Mailbox::new(self.shared.updates_max));
        // Made first: if this call is given up midway, its drop ends what was begun.
        let mut subscription = Subscription::new(self.shared.clone(), mailbox.clone());
        let (reply, answer) = oneshot::channel();
        let asked = self.shared.send(Command::Subscribe {
            subscribe,
            mailbox,
            reply,
        });
        asked.await?;
        subscription.set_hash_id(answer.await.map_err(|_| Closed)?);
        Ok(subscription)
    }

    /// Calls a procedure.
    ///
    /// # Errors
    /// With the server's code, or one of this client's: `disconnected` (it was not sent),
    /// `connection_lost` or `rpc_timeout` (whether it was carried out is not known).
    pub async fn rpc(
        &self,
        method: &str,
        table: Option<&str>,
        payload: impl Into<Payload>,
    ) -> Result<RpcReply, Fault> {
        let (reply, answer) = oneshot::channel();
        let asked = self.shared.send(Command::Rpc {
            method: method.to_owned(),
            table: table.map(str::to_owned),
            payload: payload.into(),
            reply,
        });
        let closed = || Fault::new("disconnected", "the client is closed", false);
        asked.await.map_err(|_| closed())?;
        match timeout(CALL_TIME_MAX, answer).await {
            Ok(answered) => answered.unwrap_or_else(|_| Err(closed())),
            Err(_) => {
                let message = "no answer came in time";
                Err(Fault::new("rpc_timeout", message, false))
            }
        }
    }

    /// How the connection stands, to look at or to wait for what it becomes.
    #[must_use]
    pub fn connection(&self) -> watch::Receiver<ConnectionState> {
        let mut status = self.shared.status.clone();
        status.mark_unchanged();
        status
    }

    /// Says goodbye and ends all subscriptions; returns when that is done.
    pub async fn close(&self) {
        // A client that is closed already needs no telling.
        let _ = self.shared.send(Command::Close).await;
        self.closed().await;
    }

    /// Waits until the client is closed for good; why, if it was not asked to.
    pub async fn closed(&self) -> Option<Fault> {
        let mut status = self.connection();
        let is_closed = |state: &ConnectionState| matches!(state, ConnectionState::Closed { .. });
        match status.wait_for(is_closed).await.as_deref() {
            Ok(ConnectionState::Closed { fault }) => fault.clone(),
            Ok(_) | Err(_) => None,
        }
    }

    /// Cuts the connection without a word, as a network would. The client reconnects and resumes.
    ///
    /// For tests and chaos drills: this is how one sees what a lost connection does.
    pub async fn drop_connection(&self) {
        // A closed client has no connection to cut.
        let _ = self.shared.send(Command::Cut).await;
    }
}
