//! The owner's loop: takes one input at a time, and carries out what the partition decides.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::{CommandError, Life, Partition, TableName, TableSchema, TenantId};
use tidegate_ports::{
    Backoff, Batch, Bus, BusEvent, BusReader, Database, DatabaseError, HotCache, PortError,
    Snapshot, SnapshotRequest, Start, Topic, jittered,
};
use tidegate_protocol::{ChangeRecord, ControlRecord};
use tidegate_view::SeedRequest;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::effects::{Ask, Effects};
use crate::metrics::Metrics;
use crate::partition::PartitionOwner;
use crate::seed_queue::{Bounds, SeedQueue};

/// The group whose members share the partitions.
const GROUP: &str = "tidegate-processor";

/// Events of the bus, and records to be published, past which no more is taken first: what was
/// decided must not wait for too much else.
const ROUND_EVENTS_MAX: usize = 64;
const ROUND_RECORDS_MAX: usize = 1_024;

/// How often lapsed leases are looked for.
const SWEEP: Duration = Duration::from_secs(5);

/// Settings of a processor.
#[derive(Debug, Clone)]
pub struct Config {
    /// Connections that read rows at the same time: enough to keep a database busy, few enough to
    /// leave it to others.
    pub seeds_running_max: usize,
    /// Pages that one of them reads at once, under one snapshot.
    pub seeds_together_max: usize,
    /// What pages may take up.
    pub limits: tidegate_view::Limits,
    /// Microseconds since the start of 1970: ages of commits are measured with it. It decides
    /// nothing.
    pub clock_micros: fn() -> i64,
}

impl Config {
    /// The defaults, by a clock.
    #[must_use]
    pub fn new(clock_micros: fn() -> i64) -> Self {
        Self {
            seeds_running_max: 4,
            seeds_together_max: 16,
            limits: tidegate_view::Limits::default(),
            clock_micros,
        }
    }
}

/// The seams a processor stands on.
#[derive(Clone)]
pub struct Ports {
    /// Changes and leases come from here; diffs go there.
    pub bus: Arc<dyn Bus>,
    /// Where tails are kept.
    pub cache: Arc<dyn HotCache>,
    /// Where rows are read.
    pub database: Arc<dyn Database>,
}

/// A member of the group that shares the partitions.
pub struct Processor {
    owner: Owner,
    reader: Box<dyn BusReader>,
}

impl Processor {
    /// Joins the group. Whatever is published from here on is seen.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn join(config: Config, ports: Ports) -> Result<Self, PortError> {
        let topics = [
            (Topic::Changes, Start::Latest),
            (Topic::Control, Start::Earliest),
        ];
        let reader = ports.bus.join(GROUP, &topics).await?;
        let owner = Owner {
            partitions: HashMap::new(),
            seeds: SeedQueue::new(Bounds {
                turns_max: config.seeds_running_max,
                reads_max: config.seeds_together_max,
            }),
            running: JoinSet::new(),
            life: None,
            poll_backoff: Backoff::default(),
            database_is_away: false,
            metrics: Metrics::new(),
            config,
            ports,
        };
        Ok(Self { owner, reader })
    }

    /// Owns partitions until it is told to stop.
    ///
    /// # Errors
    /// When the bus refuses for a reason that waiting will not mend.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), PortError> {
        tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            result = self.owner.run(self.reader) => result,
        }
    }
}

/// Joins the group and owns partitions until it is told to stop. One call is one member of the
/// group.
///
/// # Errors
/// When the bus refuses for a reason that waiting will not mend.
pub async fn run(
    config: Config,
    ports: Ports,
    shutdown: CancellationToken,
) -> Result<(), PortError> {
    Processor::join(config, ports).await?.run(shutdown).await
}

/// Before a database that had trouble is asked the same again.
const ASK_PAUSE: Duration = Duration::from_millis(400);

/// An answer of the database, for a partition.
enum Answer {
    Described(TenantId, TableName, Result<Arc<TableSchema>, CommandError>),
    Seeded(SeedRequest, Result<Snapshot, CommandError>),
    /// The database had trouble; the same is asked again.
    Again(Ask, PortError),
}

struct Owner {
    config: Config,
    ports: Ports,
    partitions: HashMap<Partition, PartitionOwner>,
    seeds: SeedQueue<(Partition, Ask)>,
    running: JoinSet<Vec<(Partition, Answer)>>,
    /// The last life that was given to a partition here.
    life: Option<Life>,
    /// Grows while the bus cannot be polled.
    poll_backoff: Backoff,
    /// Whether its last answer was that it cannot be asked.
    database_is_away: bool,
    metrics: Metrics,
}

impl Owner {
    async fn run(&mut self, mut reader: Box<dyn BusReader>) -> Result<(), PortError> {
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut effects = Effects::default();
            // Each branch is cancellation-safe: a poll that is dropped gives its event again.
            tokio::select! {
                event = reader.poll() => self.take_all(event, &mut reader, &mut effects).await?,
                Some(answers) = self.running.join_next() => {
                    self.seeds.finish();
                    for (partition, answer) in answers.expect("a read does not panic") {
                        self.answered(partition, answer, &mut effects);
                    }
                }
                _ = sweep.tick() => self.sweep(),
            }
            self.carry_out(effects).await?;
        }
    }

    /// Takes an event and what else is there already, so that what follows from it is published in
    /// one go: each publish waits for the bus.
    async fn take_all(
        &mut self,
        first: Result<BusEvent, PortError>,
        reader: &mut Box<dyn BusReader>,
        effects: &mut Effects,
    ) -> Result<(), PortError> {
        let mut event = first;
        for _ in 0..ROUND_EVENTS_MAX {
            // After a poll that follows the word of a loss, others may own what is lost: what was
            // decided before has to be published by then.
            let is_last = !matches!(event, Ok(BusEvent::Records(_)));
            self.take(event, effects).await?;
            if is_last || effects.records.len() >= ROUND_RECORDS_MAX {
                break;
            }
            event = tokio::select! {
                biased;
                event = reader.poll() => event,
                () = std::future::ready(()) => break,
            };
        }
        Ok(())
    }

    async fn take(
        &mut self,
        event: Result<BusEvent, PortError>,
        effects: &mut Effects,
    ) -> Result<(), PortError> {
        if event.is_ok() {
            self.poll_backoff.reset();
        }
        match event {
            Ok(BusEvent::Gained(partitions)) => self.gain(partitions, effects).await,
            Ok(BusEvent::Lost(partitions)) => {
                for partition in &partitions {
                    self.partitions.remove(partition);
                }
                tracing::info!(partitions = partitions.len(), "partitions lost");
                Ok(())
            }
            Ok(BusEvent::Records(batch)) => {
                self.records(&batch, effects);
                Ok(())
            }
            Err(PortError::Gone { .. }) => {
                self.metrics.gaps.increment(1);
                tracing::warn!("fell behind the bus, reading every page again");
                self.partitions
                    .values_mut()
                    .for_each(|owner| owner.gap(effects));
                Ok(())
            }
            Err(error) if error.is_retryable() => {
                tracing::warn!(error = %error.with_causes(), "bus unavailable, polling again");
                self.poll_backoff.wait().await;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// A new owner is a new life: whatever an earlier one still sends has lower epochs.
    async fn gain(
        &mut self,
        partitions: Vec<Partition>,
        effects: &mut Effects,
    ) -> Result<(), PortError> {
        let life = self.next_life().await?;
        tracing::info!(
            partitions = partitions.len(),
            life = life.get(),
            "partitions gained"
        );
        for partition in partitions {
            let owner = PartitionOwner::new(partition, life, self.config.limits);
            owner.announce(effects);
            self.partitions.insert(partition, owner);
        }
        Ok(())
    }

    /// A life above all that this process had. The database counts them, but it may have become
    /// another one, or an earlier state of itself.
    async fn next_life(&mut self) -> Result<Life, PortError> {
        let mut backoff = Backoff::default();
        loop {
            match self.ports.database.next_life().await {
                Ok(life) if self.life.is_none_or(|last| last < life) => {
                    self.life = Some(life);
                    return Ok(life);
                }
                Ok(_) => {}
                Err(error) if error.is_retryable() => {
                    let error = error.with_causes();
                    tracing::warn!(%error, "no new life from the database, trying again");
                    backoff.wait().await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives partitions the new lives they want.
    async fn bring_to_life(&mut self, effects: &mut Effects) -> Result<(), PortError> {
        for partition in std::mem::take(&mut effects.reborn) {
            let life = self.next_life().await?;
            if let Some(owner) = self.partitions.get_mut(&partition) {
                owner.reborn(life, effects);
            }
        }
        Ok(())
    }

    fn records(&mut self, batch: &Batch, effects: &mut Effects) {
        let Some(owner) = self.partitions.get_mut(&batch.partition) else {
            return;
        };
        let now = Instant::now();
        let ages = Ages::now(&self.config);
        for record in batch.records.iter() {
            let value = record.value.clone();
            let taken = match batch.topic {
                Topic::Changes => ChangeRecord::decode(value).map(|record| {
                    if let ChangeRecord::Changes { commit, .. } = &record {
                        ages.record(commit.committed_at_micros, &self.metrics.commit_to_read);
                    }
                    owner.change(record, effects);
                }),
                Topic::Control => {
                    ControlRecord::decode(value).map(|record| owner.control(record, now, effects))
                }
                Topic::Diffs => Ok(()),
            };
            if let Err(error) = taken {
                self.metrics.bad_records.increment(1);
                tracing::warn!(topic = batch.topic.name(), error = %error, "record makes no sense");
                // A change that cannot be read may have touched any page.
                if batch.topic == Topic::Changes {
                    owner.gap(effects);
                }
            }
        }
    }

    fn answered(&mut self, partition: Partition, answer: Answer, effects: &mut Effects) {
        let Some(owner) = self.partitions.get_mut(&partition) else {
            return;
        };
        if !matches!(answer, Answer::Again(..))
            && std::mem::replace(&mut self.database_is_away, false)
        {
            tracing::info!("the database answers again");
        }
        match answer {
            Answer::Described(tenant, table, answer) => {
                owner.described(tenant, table, answer, effects);
            }
            Answer::Seeded(request, answer) => {
                let outcome = match answer {
                    Ok(_) => &self.metrics.seeds,
                    Err(_) => &self.metrics.seed_failures,
                };
                outcome.increment(1);
                owner.seeded(request, answer, effects);
            }
            Answer::Again(ask, error) => {
                self.metrics.seed_failures.increment(1);
                // Eight at a time are asked, again and again.
                if !std::mem::replace(&mut self.database_is_away, true) {
                    tracing::warn!(error = %error.with_causes(), "database unavailable, asking again");
                }
                let tenant = ask.tenant().clone();
                self.seeds.push(&tenant, (partition, ask));
            }
        }
    }

    fn sweep(&mut self) {
        let now = Instant::now();
        self.partitions
            .values_mut()
            .for_each(|owner| owner.sweep(now));
        let pages: usize = self
            .partitions
            .values()
            .map(PartitionOwner::page_count)
            .sum();
        self.metrics.pages_open.set(pages as f64);
    }

    async fn carry_out(&mut self, mut effects: Effects) -> Result<(), PortError> {
        self.bring_to_life(&mut effects).await?;
        let Effects {
            records,
            tails,
            asks,
            committed,
            counts,
            reborn: _,
        } = effects;
        self.metrics.count(counts);
        for (partition, ask) in asks {
            let tenant = ask.tenant().clone();
            self.seeds.push(&tenant, (partition, ask));
        }
        while let Some(asks) = self.seeds.start() {
            let database = Arc::clone(&self.ports.database);
            self.running
                .spawn(async move { find_out_all(&*database, asks).await });
        }
        self.metrics.seeds_waiting.set(self.seeds.waiting() as f64);
        if records.is_empty() {
            return Ok(());
        }
        // Both at once: a gateway that reads a tail too early sees a hole and reads again.
        let (published, ()) = tokio::join!(self.publish(records, &committed), self.append(tails));
        published
    }

    /// Publishes, and measures how old the commits are that the bus then has diffs of.
    async fn publish(
        &self,
        records: Vec<tidegate_ports::Record>,
        committed: &[i64],
    ) -> Result<(), PortError> {
        let mut backoff = Backoff::default();
        loop {
            match self.ports.bus.publish(Topic::Diffs, records.clone()).await {
                Ok(()) => {
                    let ages = Ages::now(&self.config);
                    for committed_at in committed {
                        ages.record(*committed_at, &self.metrics.commit_to_bus);
                    }
                    return Ok(());
                }
                Err(error) if error.is_retryable() => {
                    tracing::warn!(error = %error.with_causes(), "bus does not take diffs, trying again");
                    backoff.wait().await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The cache is a convenience: what it does not take costs a resume, so it is not tried again.
    async fn append(&self, tails: Vec<tidegate_ports::TailEntry>) {
        if tails.is_empty() {
            return;
        }
        match self.ports.cache.append(tails).await {
            Ok(appended) => self
                .metrics
                .cache_refusals
                .increment(appended.refused as u64),
            Err(error) => {
                self.metrics.cache_failures.increment(1);
                tracing::debug!(error = %error, "hot cache does not take tails");
            }
        }
    }
}

/// How old commits are at one moment.
struct Ages(i64);

impl Ages {
    fn now(config: &Config) -> Self {
        Self((config.clock_micros)())
    }

    fn record(&self, committed_at_micros: i64, histogram: &metrics::Histogram) {
        histogram.record((self.0 - committed_at_micros).max(0) as f64 / 1e6);
    }
}

/// Asks the database what one turn is for. Trouble that will pass is waited for a little, then it
/// is asked again in turn.
async fn find_out_all(
    database: &dyn Database,
    asks: Vec<(Partition, Ask)>,
) -> Vec<(Partition, Answer)> {
    let mut answers = Vec::with_capacity(asks.len());
    let mut has_trouble = false;
    let (mut seeds, mut requests) = (Vec::new(), Vec::new());
    for (partition, ask) in asks {
        match &ask {
            Ask::Describe { tenant, table } => {
                let answer = match database.describe(tenant, table).await {
                    Ok(schema) => Answer::Described(tenant.clone(), table.clone(), Ok(schema)),
                    Err(DatabaseError::Command(error)) => {
                        Answer::Described(tenant.clone(), table.clone(), Err(error))
                    }
                    Err(DatabaseError::Port(error)) => {
                        has_trouble = true;
                        Answer::Again(ask, error)
                    }
                };
                answers.push((partition, answer));
            }
            Ask::Seed {
                tenant,
                query,
                request,
            } => {
                requests.push(SnapshotRequest {
                    tenant: tenant.clone(),
                    query: Arc::clone(query),
                    rows_max: request.rows_max,
                });
                seeds.push((partition, *request, ask));
            }
        }
    }
    let snapshots = database.snapshots(requests).await;
    for ((partition, request, ask), snapshot) in seeds.into_iter().zip(snapshots) {
        let answer = match snapshot {
            Ok(snapshot) => Answer::Seeded(request, Ok(snapshot)),
            Err(DatabaseError::Command(error)) => Answer::Seeded(request, Err(error)),
            Err(DatabaseError::Port(error)) => {
                has_trouble = true;
                Answer::Again(ask, error)
            }
        };
        answers.push((partition, answer));
    }
    if has_trouble {
        tokio::time::sleep(jittered(ASK_PAUSE)).await;
    }
    answers
}
