//! Publishing, so that what is in the log of a failed publish is always its beginning.
//!
//! An idempotent producer keeps the order of a partition and drops its own repetitions. What it
//! does not give is the end of a failure: librdkafka lets records expire one by one, and sends
//! those that did not. A relay that then publishes its batch again would have shown later commits
//! before earlier ones. So nothing expires by itself here. A publish that fails, or that sees no
//! acknowledgement for a while, withdraws the whole producer: its queue is emptied, everybody who
//! waits on it gets `Unavailable`, and the next publish has a new one. Records on their way to the
//! broker at that moment may still be appended, in order and without the withdrawn ones between.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _, PurgeConfig};
use tidegate_ports::{PortError, Record};
use tokio::time::{Instant, sleep, timeout};

use crate::client::Context;
use crate::close::{Closer, Closing};
use crate::config::KafkaConfig;
use crate::error;
use crate::metrics::ProducerMeter;

/// Pause when the queue is full of other publishes' records.
const FULL_PAUSE: Duration = Duration::from_millis(1);

/// One client of librdkafka.
struct Client {
    producer: Closing<FutureProducer<Context>>,
    /// Held while a record is handed over, so that none slips in behind an emptied queue, where it
    /// would be sent without those before it.
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    InUse,
    Withdrawn,
}

/// The producer of the moment.
pub(crate) struct Producer {
    config: Arc<KafkaConfig>,
    closer: Closer,
    // Held for a clone or a swap, never across an await.
    current: Mutex<Arc<Client>>,
}

/// Why records were not all appended.
enum Failure {
    /// No progress for too long.
    Silence,
    /// librdkafka or a broker said no, to a record of so many bytes.
    Error(KafkaError, usize),
}

impl Producer {
    pub(crate) fn new(config: Arc<KafkaConfig>, closer: Closer) -> Result<Self, PortError> {
        let current = Mutex::new(Client::new(&config, &closer)?);
        Ok(Self {
            config,
            closer,
            current,
        })
    }

    /// Appends records in order; returns when all are acknowledged.
    pub(crate) async fn publish(&self, topic: &str, records: &[Record]) -> Result<(), PortError> {
        let producer = self.current();
        let Err(failure) = self.send(&producer, topic, records).await else {
            return Ok(());
        };
        self.withdraw(producer).await;
        Err(match failure {
            Failure::Silence => error::unavailable(KafkaError::MessageProduction(
                RDKafkaErrorCode::MessageTimedOut,
            )),
            Failure::Error(error, bytes) => refusal(error, topic, bytes),
        })
    }

    async fn send(
        &self,
        producer: &Client,
        topic: &str,
        records: &[Record],
    ) -> Result<(), Failure> {
        let mut sent = VecDeque::with_capacity(records.len());
        for record in records {
            let mut full_since = None;
            loop {
                match producer.hand_over(topic, record) {
                    Ok(delivery) => {
                        sent.push_back((delivery, bytes(record)));
                        break;
                    }
                    Err(error) if is_full(&error) => {
                        // Our own oldest record makes room, or somebody else's.
                        if let Some((delivery, bytes)) = sent.pop_front() {
                            self.acknowledged(delivery, bytes).await?;
                        } else {
                            let since = *full_since.get_or_insert_with(Instant::now);
                            if since.elapsed() > self.config.publish_timeout {
                                return Err(Failure::Silence);
                            }
                            sleep(FULL_PAUSE).await;
                        }
                    }
                    Err(error) => return Err(Failure::Error(error, bytes(record))),
                }
            }
        }
        for (delivery, bytes) in sent {
            self.acknowledged(delivery, bytes).await?;
        }
        Ok(())
    }

    async fn acknowledged(&self, delivery: DeliveryFuture, bytes: usize) -> Result<(), Failure> {
        match timeout(self.config.publish_timeout, delivery).await {
            Err(_) => Err(Failure::Silence),
            Ok(Ok(Ok(_))) => Ok(()),
            Ok(Ok(Err((error, _)))) => Err(Failure::Error(error, bytes)),
            Ok(Err(_)) => Err(Failure::Error(KafkaError::Canceled, bytes)),
        }
    }

    fn current(&self) -> Arc<Client> {
        Arc::clone(&lock(&self.current))
    }

    /// Takes a client out of use. When this returns, nothing waits in it any more.
    async fn withdraw(&self, client: Arc<Client>) {
        if Arc::ptr_eq(&self.current(), &client) {
            match Client::new(&self.config, &self.closer) {
                Ok(new) => {
                    let mut current = lock(&self.current);
                    // Else another publish was faster.
                    if Arc::ptr_eq(&current, &client) {
                        *current = new;
                    }
                }
                // Every publish then fails, and tries this again.
                Err(error) => tracing::warn!(%error, "no new producer"),
            }
        }
        let purge = move || {
            *lock(&client.state) = State::Withdrawn;
            let all = PurgeConfig::default().queue().inflight();
            client.producer.purge(all);
        };
        if let Err(error) = tokio::task::spawn_blocking(purge).await {
            tracing::warn!(%error, "a producer was not emptied");
        }
    }

    /// Waits for what is under way, within the publish time-out.
    pub(crate) async fn flush(&self) {
        let producer = self.current();
        let wait = self.config.publish_timeout;
        let flush = move || producer.producer.flush(wait);
        let flushed = tokio::task::spawn_blocking(flush).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::info!("some records were not acknowledged before the end");
        }
    }
}

impl Client {
    fn new(config: &KafkaConfig, closer: &Closer) -> Result<Arc<Self>, PortError> {
        let producer = config
            .gapless_producer()
            .create_with_context(Context::Producer(ProducerMeter::new()))
            .map_err(error::from_kafka)?;
        Ok(Arc::new(Self {
            producer: Closing::new(producer, closer),
            state: Mutex::new(State::InUse),
        }))
    }

    fn hand_over(&self, topic: &str, record: &Record) -> Result<DeliveryFuture, KafkaError> {
        let state = lock(&self.state);
        match *state {
            State::InUse => {
                let sent = self.producer.send_result(outgoing(topic, record));
                sent.map_err(|(error, _)| error)
            }
            State::Withdrawn => Err(KafkaError::Canceled),
        }
    }
}

/// Nothing that these locks guard can be half done, so a panic of a holder leaves nothing to fear.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn outgoing<'a>(topic: &'a str, record: &'a Record) -> FutureRecord<'a, [u8], [u8]> {
    let partition = i32::try_from(record.partition.get()).expect("checked against the count");
    FutureRecord::to(topic)
        .partition(partition)
        .key(&record.key[..])
        .payload(&record.value[..])
}

/// The error of a record that was not appended. The bus has checked sizes before, so a broker that
/// finds a record too large has another bound than at the start.
fn refusal(error: KafkaError, topic: &str, bytes: usize) -> PortError {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge) => {
            error::rejected(format!(
                "the topic {topic} does not take a record of {bytes} bytes: its \
                 max.message.bytes is lower than it was when this process began"
            ))
        }
        _ => error::from_kafka(error),
    }
}

pub(crate) fn bytes(record: &Record) -> usize {
    record.key.len() + record.value.len()
}

fn is_full(error: &KafkaError) -> bool {
    matches!(
        error,
        KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)
    )
}
