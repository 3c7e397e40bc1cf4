//! The three readers of a bridge as one: queries with what is remembered, seeds, and our diffs.
//!
//! Two orders are kept here that no single topic gives. Seeds are read when the queries that were
//! written before have been read, so that nobody is given pages of last week's queries in passing.
//! And partitions that are gained are handed on only when a mark of ours, written to the topic of
//! memories after the gain, has come back: then all that the last owner remembered is known. Until
//! then no seed is read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_core::{Partition, RoutingKey};
use tidegate_ports::{
    AssignedReader, Batch, Broker, BrokerEvent, BrokerReader, BusEvent, Message, PortError,
    Received, Start, Topic, TopicName,
};
use tidegate_protocol::PageRecord;
use tokio::time::{Instant, sleep, timeout};

use super::state::{State, Times};
use super::{BridgeConfig, BridgePorts, until_done};

/// Silence after which the queries are taken to be read up to the present.
const QUIET: Duration = Duration::from_millis(500);
/// The longest that a start waits for that silence: a busy topic is never silent.
const QUIET_WAIT: Duration = Duration::from_secs(10);
/// Pause before a reader that is unavailable is polled again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// What was read.
pub(super) enum Taken {
    /// Something that old gateways or bridges wrote.
    Message(Received),
    /// Something that our processor wrote.
    Batch(Batch),
    /// Some of that was missed.
    Gap,
    /// These partitions were gained: [`Intake::mark`] is to be called for them.
    Gaining(Vec<u32>),
    /// All that was remembered of these has been read.
    Gained(Vec<u32>),
    /// These are another's.
    Lost(Vec<u32>),
    /// A topic could not be read.
    Failed(PortError),
}

/// Partitions that wait for a mark to come back.
struct Gaining {
    partitions: Vec<u32>,
    /// What the mark says; nothing before it is written.
    mark: Option<u64>,
}

/// See the module.
pub(super) struct Intake {
    broker: Arc<dyn Broker>,
    memory: TopicName,
    mark_key: Bytes,
    marks: u64,
    known: Box<dyn BrokerReader>,
    seeds: Box<dyn BrokerReader>,
    diffs: Box<dyn AssignedReader>,
    gaining: Option<Gaining>,
    /// Read, and to be handed on before anything else is.
    backlog: VecDeque<Taken>,
}

impl Intake {
    /// Opens the readers, and hands the queries and memories that there are to `on_known`.
    pub(super) async fn open(
        config: &BridgeConfig,
        ports: &BridgePorts,
        mut on_known: impl FnMut(Received),
    ) -> Result<Self, PortError> {
        let BridgePorts { bus, broker, .. } = ports;
        let topics = [config.topics.queries.clone(), config.memory.clone()];
        let mut known = until_done(|| broker.follow(&topics, Start::Earliest)).await?;
        let until = Instant::now() + QUIET_WAIT;
        while Instant::now() < until
            && let Ok(event) = timeout(QUIET, known.poll()).await
        {
            match event {
                Ok(BrokerEvent::Messages(messages)) => messages.into_iter().for_each(&mut on_known),
                Ok(BrokerEvent::Gained(_) | BrokerEvent::Lost(_)) => {}
                Err(error) => missed(&error).await,
            }
        }
        let count = bus.partition_count();
        let partitions: Vec<_> = (0..count).map(Partition::new).collect();
        let diffs = until_done(|| bus.read(Topic::Diffs, &partitions, Start::Latest)).await?;
        let topics = [config.topics.seeds.clone()];
        let share = || broker.share(&config.group, &topics, Start::Earliest);
        Ok(Self {
            broker: Arc::clone(broker),
            memory: config.memory.clone(),
            mark_key: format!("mark of bridge {:016x}", config.gateway_id).into(),
            marks: 0,
            known,
            seeds: until_done(share).await?,
            diffs,
            gaining: None,
            backlog: VecDeque::new(),
        })
    }

    /// Waits for the next thing. Cancellation-safe: what was not returned comes again.
    pub(super) async fn next(&mut self) -> Taken {
        loop {
            if let Some(taken) = self.backlog.pop_front() {
                return taken;
            }
            // Each branch is a poll, which is cancellation-safe; what follows does not wait.
            let failed = tokio::select! {
                event = self.known.poll() => event.map(|event| self.on_known(event)).err(),
                event = self.seeds.poll(), if self.gaining.is_none() => {
                    event.map(|event| self.on_seeds(event)).err()
                }
                event = self.diffs.poll() => match event {
                    Ok(BusEvent::Records(batch)) => return Taken::Batch(batch),
                    Ok(BusEvent::Gained(_) | BusEvent::Lost(_)) => None,
                    Err(PortError::Gone { .. }) => return Taken::Gap,
                    Err(error) => Some(error),
                },
            };
            if let Some(error) = failed {
                return Taken::Failed(error);
            }
        }
    }

    /// Writes the mark that partitions wait for.
    pub(super) async fn mark(&mut self) -> Result<(), PortError> {
        self.marks += 1;
        if let Some(gaining) = &mut self.gaining {
            gaining.mark = Some(self.marks);
        }
        self.write_mark(Some(self.marks.to_string().into())).await
    }

    /// Takes the mark away once it has come back. Not before: the topic keeps only the last record
    /// of a key, and may do so at once.
    pub(super) async fn unmark(&mut self) -> Result<(), PortError> {
        self.write_mark(None).await
    }

    async fn write_mark(&mut self, value: Option<Bytes>) -> Result<(), PortError> {
        let mark = Message {
            key: Some(self.mark_key.clone()),
            value,
            headers: Vec::new(),
        };
        until_done(|| self.broker.send(&self.memory, vec![mark.clone()])).await
    }

    fn on_known(&mut self, event: BrokerEvent) {
        let BrokerEvent::Messages(messages) = event else {
            return;
        };
        for received in messages {
            if received.message.key.as_ref() == Some(&self.mark_key) {
                self.on_mark(received.message.value.as_deref());
            } else {
                self.backlog.push_back(Taken::Message(received));
            }
        }
    }

    fn on_mark(&mut self, value: Option<&[u8]>) {
        let said = value
            .and_then(|value| std::str::from_utf8(value).ok())
            .and_then(|text| text.parse().ok());
        let is_awaited = |gaining: &mut Gaining| said.is_some() && gaining.mark == said;
        if let Some(gaining) = self.gaining.take_if(is_awaited) {
            self.backlog.push_back(Taken::Gained(gaining.partitions));
        }
    }

    fn on_seeds(&mut self, event: BrokerEvent) {
        let numbers = |places: Vec<(TopicName, u32)>| places.into_iter().map(|(_, n)| n).collect();
        match event {
            BrokerEvent::Messages(messages) => {
                self.backlog
                    .extend(messages.into_iter().map(Taken::Message));
            }
            BrokerEvent::Gained(places) => {
                let partitions: Vec<u32> = numbers(places);
                self.gaining = Some(Gaining {
                    partitions: partitions.clone(),
                    mark: None,
                });
                self.backlog.push_back(Taken::Gaining(partitions));
            }
            BrokerEvent::Lost(places) => self.backlog.push_back(Taken::Lost(numbers(places))),
        }
    }
}

/// A reader had nothing to give: waits, if that may help.
pub(super) async fn missed(error: &PortError) {
    if let PortError::Gone { .. } = error {
        tracing::warn!(%error, "records of old gateways were missed");
        return;
    }
    tracing::warn!(%error, "a topic could not be read");
    sleep(RETRY_PAUSE).await;
}

/// Hands a message to the state.
pub(super) fn on_message(state: &mut State, config: &BridgeConfig, received: &Received, now: u64) {
    let Received {
        topic,
        partition,
        sent_millis,
        message,
        ..
    } = received;
    let sent = sent_millis.unwrap_or(now).min(now);
    let key = message.key.as_deref().unwrap_or_default();
    if *topic == config.topics.queries {
        state.on_control(key, message.value.clone(), sent);
    } else if *topic == config.topics.seeds {
        let value = message.value.as_deref().unwrap_or_default();
        state.on_seed(*partition, key, value, Times { sent, now });
    } else if *topic == config.memory && !is_mark(key) {
        state.on_memory(key, message.value.as_deref());
    }
}

/// Whether a key of our own topic is a bridge's mark. No old key is: they hold a bar.
fn is_mark(key: &[u8]) -> bool {
    !key.contains(&b'|')
}

/// Hands a batch of our diffs to the state. Pages that nobody here follows are not decoded.
pub(super) fn on_batch(state: &mut State, batch: &Batch, now: u64) {
    for record in batch.records.iter() {
        if record.key.is_empty() {
            if let Ok(PageRecord::Progress { life, .. }) = PageRecord::decode(record.value.clone())
            {
                state.on_progress(batch.partition, life, now);
            }
            continue;
        }
        let key = std::str::from_utf8(&record.key).ok();
        let Some(key) = key.and_then(RoutingKey::decode) else {
            continue;
        };
        if !state.follows(&key) {
            continue;
        }
        match PageRecord::decode(record.value.clone()) {
            Ok(page) => state.on_record(&key, page, now),
            Err(error) => state.on_bad_page(&error),
        }
    }
}
