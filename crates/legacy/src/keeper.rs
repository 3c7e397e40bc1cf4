//! The task around the pages: it takes what comes, calls the pure part, and carries out what it
//! says.
//!
//! Reading, giving up and looking after claims take their time and run beside it; each brings its
//! result back as an input. Whatever touches the claim of one page is never done twice at a time: a
//! page being given up is not opened, and none is given up while claims are being renewed.

mod publishing;
mod throttle;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::{Life, Partition};
use tidegate_ports::{
    Backoff, BrokerEvent, BrokerReader, BusEvent, BusReader, Keep, PortError, Received, Start,
    Topic, TopicName,
};
use tidegate_protocol::{ControlRecord, ForeignKey};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::closing;
use crate::config::{KeeperConfig, KeeperPorts};
use crate::metrics;
use crate::page::Reading;
use crate::pages::{Effect, NamedQuery, Pages};
use crate::reading::{self, Outcome};
use crate::stream::StreamReader;
use throttle::Throttle;

/// Results that wait for the keeper. Jobs wait when it is busy.
const INPUTS_MAX: usize = 1_024;
/// Pages that are read at a time; more wait for their turn, and their time begins then.
const READS_MAX: usize = 64;
/// Time between two readings of one page, so that a stream in disorder does not become a storm.
const READ_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause after a reading that failed.
const FAILED_PAUSE_MAX: Duration = Duration::from_secs(8);
/// How often claims are renewed: a third of their lease.
const RENEW_TICKS: u32 = 20;
const TICK: Duration = Duration::from_secs(1);
/// How often it is looked whether too many sockets are slow.
const LOOK: Duration = Duration::from_millis(250);
/// Time for giving up all pages at the end. What is not done by then lapses.
const END_TIMEOUT: Duration = Duration::from_secs(3);
/// Partitions of a foreign topic that is missing and has to be made.
const PARTITIONS: u32 = 8;
/// How long a foreign topic that we make keeps its messages.
const KEEP: Keep = Keep::Millis(24 * 3_600_000);

/// What a job brings back.
enum Input {
    Read(Outcome),
    Closed(ForeignKey),
    /// Claims have been looked after; these pages are another gateway's by now.
    Maintained(Vec<ForeignKey>),
}

/// Keeps the pages of one gateway.
pub struct Keeper {
    ports: KeeperPorts,
    config: Arc<KeeperConfig>,
    pages: Pages,
    stream: StreamReader,
    throttle: Throttle,
    /// Where each partition has been read to.
    offsets: HashMap<(TopicName, u32), u64>,
    /// When each page was last read.
    read_at: HashMap<ForeignKey, Instant>,
    effects: Vec<Effect>,
    results: mpsc::Sender<Input>,
    inputs: mpsc::Receiver<Input>,
    jobs: JoinSet<()>,
    /// The newest reading of each page.
    readings: HashMap<ForeignKey, AbortHandle>,
    reads: Arc<Semaphore>,
    is_maintaining: bool,
    /// Pages to be given up once claims are no longer looked after.
    deferred: Vec<Arc<NamedQuery>>,
    ticks: u32,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// What the keeper reads.
struct Readers {
    control: Box<dyn BusReader>,
    stream: Box<dyn BrokerReader>,
}

impl Keeper {
    /// A keeper for one gateway.
    #[must_use]
    pub fn new(config: KeeperConfig, ports: KeeperPorts) -> Self {
        let (results, inputs) = mpsc::channel(INPUTS_MAX);
        // The gateway's number is random, and so is this part of it: no position of another
        // gateway's, or of an earlier life's, is one of ours.
        let life = Life::new((config.gateway_id >> 32) as u32);
        Self {
            pages: Pages::new(life),
            stream: StreamReader::new(config.topics.clone()),
            throttle: Throttle::new(config.slow_sockets_max),
            config: Arc::new(config),
            ports,
            offsets: HashMap::new(),
            read_at: HashMap::new(),
            effects: Vec::new(),
            results,
            inputs,
            jobs: JoinSet::new(),
            readings: HashMap::new(),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            is_maintaining: false,
            deferred: Vec::new(),
            ticks: 0,
        }
    }

    /// Keeps pages until it is told to stop, then gives them up. `ready` is told once the stream is
    /// followed.
    ///
    /// # Errors
    /// When the broker refuses for a reason that waiting will not mend.
    pub async fn run(
        mut self,
        ready: impl FnOnce() + Send,
        shutdown: CancellationToken,
    ) -> Result<(), PortError> {
        let readers = shutdown.run_until_cancelled(self.open()).await;
        let Some(readers) = readers.transpose()? else {
            return Ok(());
        };
        ready();
        let kept = shutdown.run_until_cancelled(self.keep(readers)).await;
        if let Some(Err(error)) = kept {
            return Err(error);
        }
        self.end().await;
        Ok(())
    }

    /// Follows the stream first: whatever a page is read for, its diffs are not missed.
    async fn open(&self) -> Result<Readers, PortError> {
        let mut backoff = Backoff::default();
        let stream = loop {
            match self.follow().await {
                Ok(stream) => break stream,
                Err(error) if error.is_retryable() => {
                    tracing::warn!(%error, "the foreign stream cannot be followed yet");
                    backoff.wait().await;
                }
                Err(error) => return Err(error),
            }
        };
        let bus = &self.ports.bus;
        let partitions: Vec<_> = (0..bus.partition_count()).map(Partition::new).collect();
        let control = bus
            .read(Topic::Control, &partitions, Start::Earliest)
            .await?;
        Ok(Readers { control, stream })
    }

    async fn follow(&self) -> Result<Box<dyn BrokerReader>, PortError> {
        let topics = &self.config.topics;
        let followed = topics.followed();
        let known = self.ports.broker.topics().await?;
        for topic in followed.iter().chain([&topics.seed, &topics.control]) {
            if !known.contains(topic) {
                let keep = match *topic == topics.control {
                    true => Keep::LastOfKey,
                    false => KEEP,
                };
                self.ports.broker.create(topic, PARTITIONS, keep).await?;
            }
        }
        self.ports.broker.follow(&followed, Start::Latest).await
    }

    async fn keep(&mut self, mut readers: Readers) -> Result<(), PortError> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                polled = readers.control.poll() => self.on_control(polled),
                polled = readers.stream.poll(), if !self.throttle.is_paused() => {
                    self.on_stream(polled).await?;
                }
                // The keeper holds a sender itself, so there is always a next.
                Some(input) = self.inputs.recv() => self.on_input(input),
                Some(joined) = self.jobs.join_next() => check(joined),
                _ = ticks.tick() => self.tick(),
                _ = looks.tick() => self.look(),
            }
            self.carry_out().await;
        }
    }

    fn on_control(&mut self, polled: Result<BusEvent, PortError>) {
        let batch = match polled {
            Ok(BusEvent::Records(batch)) => batch,
            Ok(BusEvent::Gained(_) | BusEvent::Lost(_)) => return,
            Err(error) => {
                // Leases are renewed, and wishes repeated.
                tracing::warn!(%error, "leases were missed");
                return;
            }
        };
        for record in batch.records.iter() {
            match ControlRecord::decode(record.value.clone()) {
                Ok(control) => self.pages.on_control(control, &mut self.effects),
                Err(error) => tracing::error!(%error, "a lease cannot be read"),
            }
        }
    }

    async fn on_stream(&mut self, polled: Result<BrokerEvent, PortError>) -> Result<(), PortError> {
        match polled {
            Ok(BrokerEvent::Messages(messages)) => {
                metrics::count_messages(messages.len());
                for message in &messages {
                    self.on_message(message);
                }
            }
            Ok(BrokerEvent::Gained(_) | BrokerEvent::Lost(_)) => {}
            Err(PortError::Gone { .. }) => {
                tracing::warn!("messages of the foreign stream were missed");
                self.offsets.clear();
                self.pages.doubt_all(&mut self.effects);
            }
            Err(error) if error.is_retryable() => {
                tracing::debug!(%error, "the foreign stream could not be read");
                sleep(LOOK).await;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn on_message(&mut self, received: &Received) {
        let place = (received.topic.clone(), received.partition);
        let offset = received.offset.0;
        // A broker may hand out a message again.
        match self.offsets.get_mut(&place) {
            Some(reached) if *reached >= offset => return,
            Some(reached) => *reached = offset,
            None => {
                self.offsets.insert(place, offset);
            }
        }
        if let Some((key, incoming)) = self.stream.read(received) {
            self.pages.on_incoming(&key, incoming, &mut self.effects);
        }
    }

    fn on_input(&mut self, input: Input) {
        let effects = &mut self.effects;
        match input {
            Input::Read(Outcome {
                query,
                number,
                result,
            }) => self.pages.on_read(&query.key, number, result, effects),
            Input::Closed(key) => {
                self.read_at.remove(&key);
                self.readings.remove(&key);
                self.pages.on_closed(&key, effects);
            }
            Input::Maintained(taken) => {
                self.is_maintaining = false;
                for key in taken {
                    self.pages.on_conflict(&key, effects);
                }
                for query in std::mem::take(&mut self.deferred) {
                    self.close(query);
                }
            }
        }
    }

    fn tick(&mut self) {
        self.pages.tick(&mut self.effects);
        self.ticks += 1;
        if self.ticks >= RENEW_TICKS && !self.is_maintaining {
            self.ticks = 0;
            self.maintain();
        }
    }

    fn look(&mut self) {
        let slow = (self.config.slow_sockets)();
        let now = Instant::now();
        self.throttle.look(slow, now);
    }

    /// Carries out what the pages said.
    async fn carry_out(&mut self) {
        let mut records = Vec::new();
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Publish(route, record) => records.push((route, record)),
                Effect::Read {
                    number,
                    query,
                    reading,
                } => self.read(number, query, reading),
                Effect::Close(query) if self.is_maintaining => self.deferred.push(query),
                Effect::Close(query) => self.close(query),
            }
        }
        publishing::publish(&self.ports, records).await;
    }

    fn read(&mut self, number: u64, query: Arc<NamedQuery>, reading: Reading) {
        let now = Instant::now();
        let last = self.read_at.insert(query.key.clone(), now);
        let since_last = last.map_or(READ_PAUSE, |last| now - last);
        let failed_pause = match reading.failures {
            0 => Duration::ZERO,
            failures => (READ_PAUSE * 2_u32.pow(failures.min(10))).min(FAILED_PAUSE_MAX),
        };
        let pause = READ_PAUSE.saturating_sub(since_last).max(failed_pause);
        let (ports, config) = (self.ports.clone(), Arc::clone(&self.config));
        let (reads, results) = (Arc::clone(&self.reads), self.results.clone());
        let key = query.key.clone();
        let reading = self.jobs.spawn(async move {
            sleep(pause).await;
            // Closed never.
            let permit = reads.acquire_owned().await;
            let result = reading::read(&query, reading, &ports, &config).await;
            drop(permit);
            let page = result.as_ref().ok().map(|read| read.page.clone());
            let outcome = Outcome {
                query: Arc::clone(&query),
                number,
                result,
            };
            // Nobody waits for it when the keeper has ended.
            let _ = results.send(Input::Read(outcome)).await;
            if let Some(page) = page {
                reading::share(&query, &page, &ports, &config).await;
            }
        });
        self.readings.insert(key, reading);
    }

    fn close(&mut self, query: Arc<NamedQuery>) {
        // It must not claim or announce what is about to be given up. What it has sent already
        // stands before what comes now.
        if let Some(reading) = self.readings.remove(&query.key) {
            reading.abort();
        }
        let (ports, config) = (self.ports.clone(), Arc::clone(&self.config));
        let results = self.results.clone();
        self.jobs.spawn(async move {
            closing::close(&query, &ports, &config).await;
            let _ = results.send(Input::Closed(query.key.clone())).await;
        });
    }

    fn maintain(&mut self) {
        self.is_maintaining = true;
        let queries: Vec<_> = self.pages.queries().cloned().collect();
        let (ports, config) = (self.ports.clone(), Arc::clone(&self.config));
        let results = self.results.clone();
        self.jobs.spawn(async move {
            let taken = closing::maintain(&queries, &ports, &config).await;
            let _ = results.send(Input::Maintained(taken)).await;
        });
    }

    /// Gives up what is still kept.
    async fn end(mut self) {
        let queries: Vec<_> = self.pages.queries().cloned().collect();
        // Whatever is being read is for nobody, and must not claim anything any more.
        self.jobs.shutdown().await;
        for query in queries.into_iter().chain(self.deferred.split_off(0)) {
            let (ports, config) = (self.ports.clone(), Arc::clone(&self.config));
            self.jobs
                .spawn(async move { closing::close(&query, &ports, &config).await });
        }
        let all = async { while self.jobs.join_next().await.is_some() {} };
        if timeout(END_TIMEOUT, all).await.is_err() {
            tracing::info!("some pages were not given up; their claims will lapse");
        }
    }
}

/// A job that panics ends the keeper: its page would wait for ever.
fn check(joined: Result<(), JoinError>) {
    if let Err(error) = joined
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}
