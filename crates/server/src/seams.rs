//! Opens the three seams that the configuration names: the one place that knows which adapters
//! there are.
//!
//! An engine that is down is waited for, with a line in the log for each try and a part of `/ready`
//! that stays false: whoever starts a cluster need not start it in order. One that refuses ends the
//! process with its sentence, because asking again would not help.

#[cfg(any(feature = "kafka", feature = "redis", feature = "postgres"))]
mod adapters;
pub(crate) mod examine;
mod workers;

pub(crate) use workers::worker_config;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tidegate_core::{Epoch, Position, RoutingKey};
use tidegate_ports::{
    Broker, Bus, Database, HotCache, Link, MemoryBroker, MemoryBrokerLimits, MemoryBus,
    MemoryBusLimits, MemoryCache, MemoryCacheLimits, MemorySharedPages, PortError, SharedPages,
    SharedPagesLimits, jittered,
};
use tidegate_protocol::read_stored_diff;
use tidegate_rpc::WorkerDatabase;
use tidegate_sqlite::{OpenError, SqliteConfig, SqliteDatabase};

use crate::config::{BusAddress, CacheAddress, Config, DatabaseAddress, Foreign};
use crate::exit::{Exit, Failure, causes};
use crate::readiness::{Part, Readiness};

/// The three seams, whatever is behind them.
#[derive(Clone)]
pub(crate) struct Seams {
    pub(crate) bus: Arc<dyn Bus>,
    /// The topics by name beside it.
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) cache: Arc<dyn HotCache>,
    /// What gateways of a foreign processor share; nothing where ours keeps the pages.
    pub(crate) shared: Option<Arc<dyn SharedPages>>,
    pub(crate) database: Arc<dyn Database>,
    /// Asks whether the database is there; nothing where it is in this process.
    pub(crate) database_probe: Option<Probe>,
    pub(crate) closing: Closing,
}

/// Asks an engine whether it is there.
pub(crate) type Probe = Arc<dyn Fn() -> BoxFuture<'static, Result<(), PortError>> + Send + Sync>;

/// Opens bus and database side by side, and waits for either that is down; then makes the cache,
/// which is not waited for.
pub(crate) async fn open(config: &Config, readiness: &Readiness) -> Result<Seams, Failure> {
    let bus = async {
        let bus = open_bus(config).await?;
        readiness.set(Part::Bus);
        Ok::<_, Failure>(bus)
    };
    let database = async {
        let database = open_database(config).await?;
        if database.is_some() {
            readiness.set(Part::Database);
        }
        Ok::<_, Failure>(database)
    };
    let ((bus, broker, mut closing), database) = tokio::try_join!(bus, database)?;
    let (database, database_probe) = match database {
        Some(database) => database,
        None => {
            let workers = workers::open(config, &broker).await?;
            readiness.set(Part::Database);
            closing.workers = Some(Arc::clone(&workers));
            let workers: Arc<dyn Database> = workers;
            (workers, None)
        }
    };
    let cache = make_cache(config)?;
    let shared = config.foreign.as_ref();
    let shared = shared
        .map(|foreign| make_shared(config, foreign))
        .transpose()?;
    Ok(Seams {
        bus,
        broker,
        cache,
        shared,
        database,
        database_probe,
        closing,
    })
}

/// What an adapter has to do last, when every part has ended.
#[derive(Clone, Default)]
pub(crate) struct Closing {
    workers: Option<Arc<WorkerDatabase>>,
    #[cfg(feature = "kafka")]
    kafka: Option<Arc<tidegate_kafka::KafkaBus>>,
    #[cfg(feature = "kafka")]
    broker: Option<Arc<tidegate_kafka::KafkaBroker>>,
}

impl Closing {
    /// Removes what is only ours, and leaves the groups of the bus, so that others take over at
    /// once and not after a time-out.
    pub(crate) async fn run(self, patience: Duration) {
        if let Some(workers) = self.workers {
            workers.close(patience).await;
        }
        #[cfg(feature = "kafka")]
        if let Some(bus) = self.kafka {
            bus.close(patience).await;
        }
        #[cfg(feature = "kafka")]
        if let Some(broker) = self.broker {
            broker.close(patience).await;
        }
    }
}

/// Keeps telling whether the bus can be reached.
pub(crate) async fn watch_bus(broker: Arc<dyn Broker>, readiness: Readiness) {
    let mut link = broker.link();
    loop {
        match *link.borrow_and_update() {
            Link::Up => readiness.set(Part::Bus),
            Link::Down => readiness.clear(Part::Bus),
        }
        // Ends with the broker, which this holds.
        if link.changed().await.is_err() {
            return;
        }
    }
}

/// Asks the cache for a page that nobody has until it answers.
///
/// Nothing waits for it: a cache that is away costs resumes, never correctness. But a cache that
/// refuses, such as a wrong password, is a mistake that somebody has to hear of.
pub(crate) async fn watch_cache(
    cache: Arc<dyn HotCache>,
    readiness: Readiness,
) -> Result<(), Failure> {
    let (nobody, start) = page_of_nobody();
    until_available("the cache", || cache.replay(&nobody, start)).await?;
    let probe = move || {
        let (cache, nobody) = (Arc::clone(&cache), nobody.clone());
        let ask = async move { cache.replay(&nobody, start).await.map(|_| ()) };
        ask.boxed()
    };
    watch(Part::Cache, Arc::new(probe), readiness).await;
    Ok(())
}

/// The same for what gateways of a foreign processor share.
pub(crate) async fn watch_shared(
    shared: Arc<dyn SharedPages>,
    readiness: Readiness,
) -> Result<(), Failure> {
    until_available("the cache", || shared.range("nobody_nothing|nowhere")).await?;
    let probe = move || {
        let shared = Arc::clone(&shared);
        let ask = async move { shared.range("nobody_nothing|nowhere").await.map(|_| ()) };
        ask.boxed()
    };
    watch(Part::Cache, Arc::new(probe), readiness).await;
    Ok(())
}

/// Keeps telling whether an engine is there.
pub(crate) async fn watch(part: Part, probe: Probe, readiness: Readiness) {
    loop {
        match tokio::time::timeout(PROBE_MAX, probe()).await {
            Ok(Ok(())) => readiness.set(part),
            // Whoever uses it says why.
            Ok(Err(_)) | Err(_) => readiness.clear(part),
        }
        tokio::time::sleep(jittered(PROBE_INTERVAL)).await;
    }
}

/// Between two questions whether an engine is there: about as often as anybody looks at `/ready`.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// An engine that takes longer to say that it is there, is not.
const PROBE_MAX: Duration = Duration::from_secs(5);

/// A page that nobody has: to ask for it shows whether the cache answers.
fn page_of_nobody() -> (RoutingKey, Position) {
    let key = RoutingKey::decode("00000000000000000000000000000000:6:nobody:nothing");
    let key = key.expect("it is as keys are encoded");
    (key, Position::start(Epoch::from_raw(1)))
}

/// Tries until the other side is there.
pub(crate) async fn until_available<T, Attempt>(
    what: &'static str,
    mut attempt: impl FnMut() -> Attempt,
) -> Result<T, Failure>
where
    Attempt: Future<Output = Result<T, PortError>>,
{
    let mut wait = FIRST_WAIT;
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) if error.is_retryable() => {
                let reason = causes(&error);
                tracing::warn!(%reason, "{what} is not there yet, trying again");
            }
            Err(error) => return Err(port_failure(&error)),
        }
        tokio::time::sleep(jittered(wait)).await;
        wait = (wait * 2).min(LAST_WAIT);
    }
}

/// First wait: an engine that is just being restarted is back in about that time.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// Longest wait: whoever mends the engine sees life soon.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// A seam's trouble as the end of the process.
pub(crate) fn port_failure(error: &PortError) -> Failure {
    let exit = match error {
        PortError::Unavailable { .. } | PortError::Taken { .. } => Exit::Unavailable,
        PortError::Rejected { .. } => Exit::Rejected,
        PortError::Corrupt { .. } => Exit::BadData,
        PortError::TooLarge { .. } | PortError::Gone { .. } => Exit::Failed,
    };
    Failure::new(exit, causes(error))
}

#[cfg_attr(
    not(feature = "kafka"),
    expect(clippy::unused_async, reason = "only the adapter for Kafka waits")
)]
async fn open_bus(config: &Config) -> Result<(Arc<dyn Bus>, Arc<dyn Broker>, Closing), Failure> {
    match &config.bus {
        #[cfg(feature = "kafka")]
        BusAddress::Kafka(address) if config.foreign.is_some() => {
            let broker = adapters::broker(config, address).await?;
            let closing = Closing {
                broker: Some(Arc::clone(&broker)),
                ..Closing::default()
            };
            Ok((Arc::new(bus_of_two(config)), broker, closing))
        }
        BusAddress::Memory => {
            let bus = MemoryBus::new(MemoryBusLimits {
                partition_count: config.partitions,
                partition_bytes_max: config.limits.bus_partition_bytes_max,
                ..MemoryBusLimits::default()
            });
            let broker = MemoryBroker::new(MemoryBrokerLimits::default());
            Ok((Arc::new(bus), Arc::new(broker), Closing::default()))
        }
        #[cfg(feature = "kafka")]
        BusAddress::Kafka(address) => {
            let bus = adapters::kafka(config, address).await?;
            let broker = bus.broker().map_err(|error| port_failure(&error))?;
            let kafka = Some(Arc::clone(&bus));
            let closing = Closing {
                kafka,
                ..Closing::default()
            };
            Ok((bus, Arc::new(broker), closing))
        }
        #[cfg(not(feature = "kafka"))]
        BusAddress::Kafka(_) => Err(missing("kafka")),
    }
}

/// The bus that a gateway and its keeper share, before a foreign stream. One partition, as there is
/// one owner.
#[cfg(feature = "kafka")]
fn bus_of_two(config: &Config) -> MemoryBus {
    MemoryBus::new(MemoryBusLimits {
        partition_count: 1,
        partition_bytes_max: config.limits.bus_partition_bytes_max,
        ..MemoryBusLimits::default()
    })
}

/// What gateways of a foreign processor share.
fn make_shared(config: &Config, foreign: &Foreign) -> Result<Arc<dyn SharedPages>, Failure> {
    match &config.cache {
        CacheAddress::Memory => {
            let limits = SharedPagesLimits {
                diffs_max: foreign.diffs_max,
                retention: (!foreign.retention.is_zero()).then_some(foreign.retention),
                ..SharedPagesLimits::default()
            };
            Ok(Arc::new(MemorySharedPages::new(limits, |entry| {
                read_stored_diff(entry).map(|(lsn, _)| lsn)
            })))
        }
        #[cfg(feature = "redis")]
        CacheAddress::Redis(address) => Ok(adapters::shared(foreign, address)?),
        #[cfg(not(feature = "redis"))]
        CacheAddress::Redis(_) => Err(missing("redis")),
    }
}

fn make_cache(config: &Config) -> Result<Arc<dyn HotCache>, Failure> {
    match &config.cache {
        // A foreign page's positions mean nothing to any other gateway.
        _ if config.foreign.is_some() => Ok(Arc::new(MemoryCache::new(MemoryCacheLimits {
            tail_entries_max: config.limits.tail_entries_max,
            bytes_max: config.limits.cache_bytes_max,
        }))),
        CacheAddress::Memory => Ok(Arc::new(MemoryCache::new(MemoryCacheLimits {
            tail_entries_max: config.limits.tail_entries_max,
            bytes_max: config.limits.cache_bytes_max,
        }))),
        #[cfg(feature = "redis")]
        CacheAddress::Redis(address) => Ok(adapters::redis(config, address)?),
        #[cfg(not(feature = "redis"))]
        CacheAddress::Redis(_) => Err(missing("redis")),
    }
}

/// A database, and how it is asked whether it is there.
type Opened = (Arc<dyn Database>, Option<Probe>);

/// Nothing when it is the workers who have the database.
async fn open_database(config: &Config) -> Result<Option<Opened>, Failure> {
    match &config.database {
        DatabaseAddress::Sqlite(file) => Ok(Some((sqlite(config, file).await?, None))),
        DatabaseAddress::Workers => Ok(None),
        #[cfg(feature = "postgres")]
        DatabaseAddress::Postgres(address) => {
            let database = adapters::postgres(config, address).await?;
            let asked = Arc::clone(&database);
            let probe = move || {
                let database = Arc::clone(&asked);
                async move { database.ping().await }.boxed()
            };
            Ok(Some((database, Some(Arc::new(probe)))))
        }
        #[cfg(not(feature = "postgres"))]
        DatabaseAddress::Postgres(_) => Err(missing("postgres")),
    }
}

/// The topics by name alone, for a command that needs nothing else; it does not wait for a broker
/// that is down.
#[cfg_attr(
    not(feature = "kafka"),
    expect(clippy::unused_async, reason = "only the adapter for Kafka waits")
)]
pub(crate) async fn open_broker(config: &Config) -> Result<Arc<dyn Broker>, Failure> {
    match &config.bus {
        BusAddress::Memory => {
            let sentence = "the bus is in the server's own process: say which with bus = kafka://";
            Err(Failure::new(Exit::Config, sentence))
        }
        #[cfg(feature = "kafka")]
        BusAddress::Kafka(address) => {
            let kafka = adapters::kafka_config(config, address);
            let broker = tidegate_kafka::KafkaBroker::connect(kafka).await;
            Ok(Arc::new(broker.map_err(|error| port_failure(&error))?))
        }
        #[cfg(not(feature = "kafka"))]
        BusAddress::Kafka(_) => Err(missing("kafka")),
    }
}

/// The configuration refuses such an address before anything is opened; this is the last line.
#[cfg(not(all(feature = "kafka", feature = "redis", feature = "postgres")))]
fn missing(feature: &str) -> Failure {
    let sentence = format!("this build has no adapter for {feature}");
    Failure::new(Exit::Config, sentence)
}

async fn sqlite(config: &Config, file: &Path) -> Result<Arc<dyn Database>, Failure> {
    // A file elsewhere is the user's, and so is its folder.
    if file.starts_with(&config.data) {
        std::fs::create_dir_all(&config.data).map_err(|error| {
            let folder = config.data.display();
            let sentence = format!("cannot make the folder {folder}: {error}");
            Failure::new(Exit::CannotCreate, sentence)
        })?;
    }
    let sqlite = SqliteConfig {
        readers: config.sqlite_readers,
        statement_timeout: config.sqlite_timeout,
        ..SqliteConfig::new(file, config.tenancy.clone())
    };
    let opened = tokio::task::spawn_blocking(|| SqliteDatabase::open(sqlite)).await;
    let opened = opened.map_err(|error| {
        let sentence = format!("opening the database panicked: {error}");
        Failure::new(Exit::Failed, sentence)
    })?;
    match opened {
        Ok(database) => Ok(Arc::new(database)),
        Err(error) => {
            let exit = match error {
                OpenError::Unreachable { .. } => Exit::CannotCreate,
                OpenError::Unusable { .. } => Exit::BadData,
                OpenError::InUse { .. } => Exit::Unavailable,
            };
            Err(Failure::new(exit, causes(&error)))
        }
    }
}

#[cfg(test)]
mod tests {
    //! Shows that an engine which is down is waited for, and that one which refuses ends the
    //! process with its sentence.

    use std::sync::Arc;

    use tidegate_ports::{Link, MemoryBroker, MemoryBrokerLimits, PortError};

    use super::{until_available, watch_bus};
    use crate::config::Roles;
    use crate::exit::Exit;
    use crate::readiness::{Part, Readiness};

    fn down() -> PortError {
        PortError::unavailable("the bus", std::io::Error::other("nobody listens"))
    }

    /// A bus that is lost later is missing from `/ready` until it is back.
    #[tokio::test(start_paused = true)]
    async fn readiness_follows_the_bus() {
        let readiness = Readiness::new(&Roles::parse("worker").expect("a word"));
        for part in [Part::Bus, Part::Database, Part::Worker] {
            readiness.set(part);
        }
        let broker = MemoryBroker::new(MemoryBrokerLimits::default());
        let watch = watch_bus(Arc::new(broker.clone()), readiness.clone());
        let mut watch = std::pin::pin!(watch);
        for (link, is_ready) in [(Link::Up, true), (Link::Down, false), (Link::Up, true)] {
            broker.set_link(link);
            assert!(futures_util::poll!(&mut watch).is_pending());
            assert_eq!(readiness.is_ready(), is_ready, "{link:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_down_is_waited_for() {
        let mut tries = 0;
        let opened = until_available("the bus", || {
            tries += 1;
            std::future::ready(if tries < 20 { Err(down()) } else { Ok(tries) })
        });
        assert_eq!(opened.await.expect("it came up"), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn what_refuses_ends_the_process() {
        let mut tries = 0;
        let refused = until_available("the bus", || {
            tries += 1;
            let why = "the topic has 4 partitions".to_owned();
            let what = "the broker";
            std::future::ready(match tries {
                1 => Err::<(), _>(down()),
                _ => Err(PortError::Rejected { what, why }),
            })
        });
        let failure = refused.await.expect_err("refused");
        assert_eq!(failure.exit, Exit::Rejected);
        let sentence = "the broker refused: the topic has 4 partitions";
        assert_eq!(failure.sentence, sentence);
    }
}
