//! Heartbeats: messages in the log that say who is visible.
//!
//! Each is a small transaction of its own, whose message is the snapshot it was written under. It
//! does three things: a stream learns that it has come so far although nothing else was committed,
//! it learns which of the transactions it has seen are visible by now, and the log is flushed,
//! without which the last commits of a `synchronous_commit = off` would wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::assemble::PREFIX;
use crate::connect::{Alone, Server};

/// Between two heartbeats that were asked for. Many snapshots share one.
const SPACING: Duration = Duration::from_millis(2);

/// How long to wait after a failure.
const RETRY: Duration = Duration::from_millis(500);

/// Writes heartbeats: when asked, and regularly while a stream is open.
#[derive(Debug)]
pub(crate) struct Beats {
    asked: Arc<Notify>,
    streams: watch::Sender<usize>,
    /// Ends when dropped.
    _task: JoinSet<()>,
}

/// Held by a stream; heartbeats are regular until it is dropped.
#[derive(Debug)]
pub(crate) struct Beating(watch::Sender<usize>);

impl Drop for Beating {
    fn drop(&mut self) {
        self.0.send_modify(|streams| *streams -= 1);
    }
}

impl Beats {
    /// Must be called in a runtime. Connects when the first one is asked for.
    pub(crate) fn start(server: Server, interval: Duration) -> Self {
        let asked = Arc::new(Notify::new());
        let (streams, watched) = watch::channel(0);
        let mut task = JoinSet::new();
        task.spawn(run(server, interval, Arc::clone(&asked), watched));
        Self {
            asked,
            streams,
            _task: task,
        }
    }

    /// Asks for one soon, so that streams pass what was just read or written.
    pub(crate) fn soon(&self) {
        self.asked.notify_one();
    }

    pub(crate) fn regularly(&self) -> Beating {
        self.streams.send_modify(|streams| *streams += 1);
        self.soon();
        Beating(self.streams.clone())
    }
}

async fn run(
    server: Server,
    interval: Duration,
    asked: Arc<Notify>,
    mut streams: watch::Receiver<usize>,
) {
    let mut client: Option<Alone> = None;
    loop {
        let is_streaming = *streams.borrow_and_update() > 0;
        tokio::select! {
            () = asked.notified() => {}
            () = tokio::time::sleep(interval), if is_streaming => {}
            changed = streams.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        }
        match beat(&server, &mut client).await {
            Ok(()) => tokio::time::sleep(SPACING).await,
            Err(error) => {
                // A stream that needs them fails by itself when the server is gone.
                tracing::debug!(error = %error, "no heartbeat");
                client = None;
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn beat(
    server: &Server,
    client: &mut Option<Alone>,
) -> Result<(), tidegate_ports::PortError> {
    let client = match client {
        Some(client) => client,
        None => client.insert(server.connect_alone().await?),
    };
    let sql = format!(
        "SELECT pg_catalog.pg_logical_emit_message(true, '{PREFIX}', \
         pg_catalog.pg_current_snapshot()::text)"
    );
    client
        .client
        .batch_execute(&sql)
        .await
        .map_err(crate::error::port_error)
}
