//! Who waits for which answer, and the task that reads answers.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_ports::{
    Backoff, Broker, BrokerEvent, BrokerReader, PortError, Received, Start, TopicName,
};
use tidegate_protocol::{SqlAnswer, SqlResponse, WireError};
use tokio::sync::oneshot;

use crate::config::{ReplyTopic, ensure_reply_topic};
use crate::metrics::ClientMetrics;

type Answer = Result<SqlAnswer, WireError>;

/// The calls that wait. Bounded by who enters them.
pub(crate) struct Waiting {
    // Held to insert or remove one entry.
    calls: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
    waiting_max: usize,
    pub(crate) metrics: ClientMetrics,
}

impl Waiting {
    pub(crate) fn new(waiting_max: usize) -> Arc<Self> {
        Arc::new(Self {
            calls: Mutex::default(),
            waiting_max,
            metrics: ClientMetrics::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Answer>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a call; nothing when there are too many.
    pub(crate) fn enter(self: &Arc<Self>, correlation_id: &str) -> Option<Entry> {
        let (answer, answered) = oneshot::channel();
        {
            let mut calls = self.lock();
            if calls.len() >= self.waiting_max {
                return None;
            }
            calls.insert(correlation_id.to_owned(), answer);
        }
        self.metrics.waiting.increment(1.0);
        Some(Entry {
            waiting: Arc::clone(self),
            correlation_id: correlation_id.to_owned(),
            answered,
        })
    }

    fn answer(&self, response: SqlResponse) {
        match self.lock().remove(&response.correlation_id) {
            // Who no longer waits has left, or is just leaving.
            Some(call) => drop(call.send(response.result)),
            None => self.metrics.strays.increment(1),
        }
    }

    fn take(&self, messages: &[Received]) {
        for received in messages {
            let bytes = received.message.value.as_deref().unwrap_or(&[]);
            match SqlResponse::decode(bytes) {
                Ok(response) => self.answer(response),
                Err(error) => {
                    self.metrics.strays.increment(1);
                    tracing::debug!(%error, "an answer makes no sense");
                }
            }
        }
    }
}

/// A call's place among those that wait; it leaves when this is dropped.
pub(crate) struct Entry {
    waiting: Arc<Waiting>,
    correlation_id: String,
    pub(crate) answered: oneshot::Receiver<Answer>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.correlation_id);
        self.waiting.metrics.waiting.decrement(1.0);
    }
}

/// Reads answers for ever. A topic that was taken for an orphan's is made again.
pub(crate) async fn read(
    broker: Arc<dyn Broker>,
    topic: ReplyTopic,
    waiting: Arc<Waiting>,
    mut reader: Box<dyn BrokerReader>,
) -> Infallible {
    let mut backoff = Backoff::default();
    loop {
        match reader.poll().await {
            Ok(BrokerEvent::Messages(messages)) => {
                backoff.reset();
                waiting.take(&messages);
            }
            Ok(BrokerEvent::Gained(_) | BrokerEvent::Lost(_)) => {}
            // Their callers have given up long ago.
            Err(PortError::Gone { .. }) => tracing::warn!("answers were dropped unread"),
            Err(error) => {
                tracing::warn!(%error, "answers cannot be read, trying again");
                backoff.wait().await;
                match follow_again(&*broker, topic.name()).await {
                    Ok(Some(new)) => reader = new,
                    Ok(None) => {}
                    Err(error) => tracing::debug!(%error, "the reply topic was not asked for"),
                }
            }
        }
    }
}

/// A new reader when the topic is gone.
async fn follow_again(
    broker: &dyn Broker,
    topic: &TopicName,
) -> Result<Option<Box<dyn BrokerReader>>, PortError> {
    if broker.topics().await?.contains(topic) {
        return Ok(None);
    }
    tracing::warn!(%topic, "the reply topic was removed, making it again");
    ensure_reply_topic(broker, topic).await?;
    let reader = broker
        .follow(std::slice::from_ref(topic), Start::Earliest)
        .await?;
    Ok(Some(reader))
}
