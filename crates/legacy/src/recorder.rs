//! Keeps the diffs of the foreign stream in the shared cache, each once.
//!
//! Gateways share this work in a group: a diff is handed to one of them. When one dies, what it had
//! been handed goes to another, and the cache itself tells what it has already. A cache that is
//! away stops the reading until it is back, so that nothing is left out; what the broker forgets
//! meanwhile is.

use std::sync::Arc;

use tidegate_core::Lsn;
use tidegate_ports::{
    Backoff, Broker, BrokerEvent, BrokerReader, PortError, Received, SharedDiff, SharedPages,
    Start, TopicName,
};
use tidegate_protocol::{header_lsn, stored_diff};
use tokio_util::sync::CancellationToken;

use crate::metrics;

/// Keeps diffs until it is told to stop.
pub struct Recorder {
    /// Where they come from.
    pub broker: Arc<dyn Broker>,
    /// Where they go.
    pub shared: Arc<dyn SharedPages>,
    /// The group that shares the work.
    pub group: String,
    /// The topics of diffs.
    pub topics: Vec<TopicName>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder")
            .field("group", &self.group)
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}

impl Recorder {
    /// Keeps diffs.
    ///
    /// # Errors
    /// When the broker refuses for a reason that waiting will not mend.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), PortError> {
        if self.topics.is_empty() {
            shutdown.cancelled().await;
            return Ok(());
        }
        match shutdown.run_until_cancelled(self.keep_diffs()).await {
            None => Ok(()),
            Some(result) => result,
        }
    }

    async fn keep_diffs(&self) -> Result<(), PortError> {
        let mut backoff = Backoff::default();
        let mut reader = self.join(&mut backoff).await?;
        loop {
            match reader.poll().await {
                Ok(BrokerEvent::Messages(messages)) => {
                    backoff.reset();
                    self.keep(messages, &mut backoff).await;
                }
                Ok(BrokerEvent::Gained(_) | BrokerEvent::Lost(_)) => {}
                Err(PortError::Gone { .. }) => {
                    metrics::count_cache_failure("behind");
                    tracing::warn!("diffs were missed that the cache should keep");
                }
                Err(error) if error.is_retryable() => {
                    tracing::debug!(%error, "diffs for the cache could not be read");
                    backoff.wait().await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn join(&self, backoff: &mut Backoff) -> Result<Box<dyn BrokerReader>, PortError> {
        loop {
            let joined = self.broker.share(&self.group, &self.topics, Start::Latest);
            match joined.await {
                Ok(reader) => return Ok(reader),
                Err(error) if error.is_retryable() => {
                    tracing::warn!(%error, "the group that keeps diffs could not be joined");
                    backoff.wait().await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Keeps diffs, however long it takes. Not polling meanwhile is what holds back the broker.
    async fn keep(&self, messages: Vec<Received>, backoff: &mut Backoff) {
        let diffs: Vec<_> = messages.into_iter().filter_map(kept).collect();
        if diffs.is_empty() {
            return;
        }
        loop {
            match self.shared.append(diffs.clone()).await {
                Ok(()) => return,
                Err(error) if error.is_retryable() => {
                    metrics::count_cache_failure("append");
                    tracing::debug!(%error, "diffs could not be kept yet");
                    backoff.wait().await;
                }
                Err(error) => {
                    metrics::count_cache_failure("append");
                    tracing::warn!(%error, "diffs could not be kept");
                    return;
                }
            }
        }
    }
}

/// What of a message is kept. Without a commit it could never be told whether a page holds it.
fn kept(received: Received) -> Option<SharedDiff> {
    let message = received.message;
    let key = String::from_utf8(message.key?.to_vec()).ok()?;
    let headers = message.headers.iter();
    let headers = headers.map(|header| (header.name.as_str(), header.value.as_deref()));
    let lsn = header_lsn(headers).ok()??;
    (lsn > Lsn::ZERO && !key.is_empty()).then_some(())?;
    Some(SharedDiff {
        key,
        topic: received.topic.as_str().to_owned(),
        partition: received.partition,
        offset: received.offset.0,
        entry: stored_diff(lsn, &message.value?),
    })
}
