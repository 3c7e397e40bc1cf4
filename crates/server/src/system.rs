//! The embedded system: every part in this process, over a bus and a cache in memory and a SQLite
//! file.
//!
//! Each part is a task that this owner joins. One that ends before it was told to has failed, and
//! ends the process: what it would have kept is no longer kept. Clients are sent away before
//! anything behind the gateway stops.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{LimitRule, Lsn};
use tidegate_gateway::{
    Gateway, GatewayConfig, GatewayError, GatewayLimits, GatewayPorts, HistoryLimits, HttpHook,
    OutboxLimits,
};
use tidegate_ports::{
    Bus, Database, HotCache, MemoryBus, MemoryBusLimits, MemoryCache, MemoryCacheLimits,
};
use tidegate_processor::Processor;
use tidegate_sqlite::{OpenError, SqliteConfig, SqliteDatabase};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::admin::Admin;
use crate::clock;
use crate::config::{Config, DemoSettings};
use crate::demo;
use crate::exit::{Exit, Failure};
use crate::readiness::{Part, Readiness};
use crate::site::Site;
use crate::telemetry;

/// Everything that runs.
pub(crate) struct System {
    parts: JoinSet<Ended>,
    /// Stops the gateway, and so the sessions.
    front: CancellationToken,
    /// Stops what is behind it.
    behind: CancellationToken,
    readiness: Readiness,
    relayed: watch::Receiver<Lsn>,
    drain: Duration,
    pub(crate) greeting: String,
}

/// How a part ended.
struct Ended {
    name: &'static str,
    outcome: Result<(), String>,
}

/// The seams of the embedded system.
#[derive(Clone)]
struct Seams {
    bus: Arc<dyn Bus>,
    cache: Arc<dyn HotCache>,
    database: Arc<dyn Database>,
}

impl System {
    /// Opens, binds and starts everything.
    pub(crate) async fn start(config: Config) -> Result<Self, Failure> {
        let metrics = telemetry::start_measuring()
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot measure: {error}")))?;
        let readiness = Readiness::default();
        let sqlite = open_database(&config).await?;
        readiness.set(Part::Database);
        let seams = Seams {
            bus: Arc::new(MemoryBus::new(bus_limits(&config))),
            cache: Arc::new(MemoryCache::new(cache_limits(&config))),
            database: sqlite.clone(),
        };
        let site = Site::new(readiness.clone(), metrics.clone());
        // Bound before the demo's rows are made: a port in use is said at once.
        let gateway = build_gateway(&config, &site, &seams)?;
        let admin = match config.admin {
            Some(address) => Some(Admin::bind(address, site, gateway.health()).await?),
            None => None,
        };
        if let Some(demo) = config.demo {
            let prepared = demo::prepare(&*sqlite, demo.orders).await;
            prepared.map_err(|error| demo_failure(&config.database, &error))?;
        }
        let (relaying, relayed) = watch::channel(Lsn::ZERO);
        let greeting = greeting(&config, &gateway);
        let mut system = Self {
            parts: JoinSet::new(),
            front: CancellationToken::new(),
            behind: CancellationToken::new(),
            readiness,
            relayed,
            drain: config.drain,
            greeting,
        };
        system.run_behind(&seams, relaying).await?;
        system.run_aside(metrics, admin, config.demo, seams.database);
        let (front, readiness) = (system.front.clone(), system.readiness.clone());
        system.part("gateway", async move {
            readiness.set(Part::Gateway);
            gateway.run(front).await.map_err(|error| causes(&error))
        });
        Ok(system)
    }

    /// Waits until every part is up.
    pub(crate) async fn ready(&mut self) -> Result<(), Failure> {
        tokio::select! {
            // The first batch, which may be empty, shows that the relay runs. An error means that
            // it has ended, which the other branch tells.
            Ok(()) = self.relayed.changed() => {}
            ended = self.parts.join_next() => return Err(unexpected(ended)),
        }
        self.readiness.set(Part::Relay);
        Ok(())
    }

    /// Waits for a part to end, which none does by itself unless it failed. Cancellation-safe.
    pub(crate) async fn failure(&mut self) -> Failure {
        unexpected(self.parts.join_next().await)
    }

    /// Sends the clients away, then stops the rest.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        self.readiness.clear(Part::Gateway);
        self.front.cancel();
        // The gateway bounds its drain itself; the margin is for its threads to end.
        let patience = self.drain + Duration::from_secs(5);
        let drained = tokio::time::timeout(patience, self.join_until("gateway")).await;
        self.behind.cancel();
        match drained {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => return Err(failure),
            Err(_) => tracing::warn!("the gateway did not drain in time"),
        }
        let rest = async {
            while let Some(joined) = self.parts.join_next().await {
                ended(joined)?;
            }
            Ok(())
        };
        match tokio::time::timeout(STOP_PATIENCE, rest).await {
            Ok(stopped) => stopped,
            Err(_) => {
                tracing::warn!("a part did not stop in time");
                Ok(())
            }
        }
    }

    async fn join_until(&mut self, name: &str) -> Result<(), Failure> {
        while let Some(joined) = self.parts.join_next().await {
            if ended(joined)? == name {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn run_behind(
        &mut self,
        seams: &Seams,
        relaying: watch::Sender<Lsn>,
    ) -> Result<(), Failure> {
        let Seams {
            bus,
            cache,
            database,
        } = seams.clone();
        let ports = tidegate_processor::Ports {
            bus: bus.clone(),
            cache,
            database: database.clone(),
        };
        // The processor joins before the relay starts, so that it sees every change that is
        // relayed.
        let processor = Processor::join(tidegate_processor::Config::default(), ports).await;
        let processor = processor.map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("the processor cannot join: {}", causes(&error)),
            )
        })?;
        self.readiness.set(Part::Processor);
        let stop = self.behind.clone();
        self.part("processor", async move {
            processor.run(stop).await.map_err(|error| causes(&error))
        });
        let stop = self.behind.clone();
        self.part("relay", async move {
            let relayed = tidegate_cdc::run(bus, database, relaying, stop).await;
            relayed.map_err(|error| causes(&error))
        });
        Ok(())
    }

    /// The tasks that nothing depends on.
    fn run_aside(
        &mut self,
        metrics: metrics_exporter_prometheus::PrometheusHandle,
        admin: Option<Admin>,
        demo: Option<DemoSettings>,
        database: Arc<dyn Database>,
    ) {
        let stop = self.behind.clone();
        self.part("metrics", async move {
            stop.run_until_cancelled(telemetry::keep_up(metrics)).await;
            Ok(())
        });
        if let Some(admin) = admin {
            let stop = self.behind.clone();
            self.part("admin", async move {
                admin.run(stop).await;
                Ok(())
            });
        }
        if let Some(settings) = demo {
            let stop = self.behind.clone();
            self.part("demo", async move {
                stop.run_until_cancelled(demo::write(database, settings))
                    .await;
                Ok(())
            });
        }
    }

    fn part(
        &mut self,
        name: &'static str,
        work: impl Future<Output = Result<(), String>> + Send + 'static,
    ) {
        self.parts.spawn(async move {
            let outcome = work.await;
            Ended { name, outcome }
        });
    }
}

/// How long the parts behind the gateway may take to stop: they only have to finish a statement.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

async fn open_database(config: &Config) -> Result<Arc<SqliteDatabase>, Failure> {
    // A file elsewhere is the user's, and so is its folder.
    if config.database.starts_with(&config.data) {
        std::fs::create_dir_all(&config.data).map_err(|error| {
            let folder = config.data.display();
            let sentence = format!("cannot make the folder {folder}: {error}");
            Failure::new(Exit::CannotCreate, sentence)
        })?;
    }
    let sqlite = SqliteConfig {
        readers: config.sqlite_readers,
        statement_timeout: config.sqlite_timeout,
        ..SqliteConfig::new(&config.database, config.tenancy)
    };
    let opened = tokio::task::spawn_blocking(|| SqliteDatabase::open(sqlite)).await;
    let opened = opened.map_err(|error| {
        let sentence = format!("opening the database panicked: {error}");
        Failure::new(Exit::Failed, sentence)
    })?;
    opened.map(Arc::new).map_err(|error| {
        let exit = match error {
            OpenError::Unreachable { .. } => Exit::CannotCreate,
            OpenError::Unusable { .. } => Exit::BadData,
            OpenError::InUse { .. } => Exit::Unavailable,
        };
        Failure::new(exit, causes(&error))
    })
}

fn demo_failure(database: &Path, error: &dyn std::error::Error) -> Failure {
    let (file, causes) = (database.display(), causes(error));
    let sentence = format!("cannot make the demo's tables in {file}: {causes}");
    Failure::new(Exit::CannotCreate, sentence)
}

fn build_gateway(config: &Config, site: &Site, seams: &Seams) -> Result<Gateway, Failure> {
    let ports = GatewayPorts {
        bus: seams.bus.clone(),
        cache: seams.cache.clone(),
        database: seams.database.clone(),
    };
    let built = Gateway::build(gateway_config(config, site.clone()), ports);
    built.map_err(|error| {
        let exit = match error {
            GatewayError::Listen { .. } => Exit::Unavailable,
            GatewayError::OpenToAll(_) => Exit::Config,
            GatewayError::Start(_) | GatewayError::ShardLost | GatewayError::TaskLost(_) => {
                Exit::Failed
            }
        };
        Failure::new(exit, causes(&error))
    })
}

fn gateway_config(config: &Config, site: Site) -> GatewayConfig {
    let limits = &config.limits;
    // With an address for machines, clients do not see what is measured.
    let http: HttpHook = match config.admin {
        None => Arc::new(move |request| site.answer(request)),
        Some(_) => Arc::new(move |request| site.client_answer(request)),
    };
    GatewayConfig {
        listen: config.listen,
        shard_count: config.shards,
        gateway_id: StdRng::from_os_rng().random(),
        auth: config.auth.clone(),
        tenancy: config.tenancy,
        subscription_limit: LimitRule {
            default: LimitRule::SUBSCRIPTION
                .default
                .min(limits.subscription_limit_max),
            max: limits.subscription_limit_max,
        },
        limits: GatewayLimits {
            sessions_max: limits.sessions_max,
            session_subscriptions_max: limits.subscriptions_per_session_max,
            outbox: OutboxLimits {
                bytes_max: limits.outbox_bytes_max,
                bytes_low: limits.outbox_bytes_max / 16,
                // Room for replies and pages on top of what diffs may fill.
                session_bytes_max: limits.outbox_bytes_max.saturating_mul(4),
            },
            history: HistoryLimits::default(),
            drain_timeout: config.drain,
            ..GatewayLimits::default()
        },
        clock_micros: clock::micros_now,
        http,
    }
}

fn bus_limits(config: &Config) -> MemoryBusLimits {
    MemoryBusLimits {
        partition_count: config.partitions,
        partition_bytes_max: config.limits.bus_partition_bytes_max,
        ..MemoryBusLimits::default()
    }
}

fn cache_limits(config: &Config) -> MemoryCacheLimits {
    MemoryCacheLimits {
        tail_entries_max: config.limits.tail_entries_max,
        bytes_max: config.limits.cache_bytes_max,
    }
}

/// What is said when everything is up. Scripts read the address from the first line.
fn greeting(config: &Config, gateway: &Gateway) -> String {
    let address = gateway.local_addr();
    let file = config.database.display();
    let (hash, watch) = match config.demo {
        Some(_) => (
            "#tickets?where=status:equals:open&order=id:desc&limit=20",
            "tickets --where \"status = 'open'\" --order \"id desc\" --limit 20",
        ),
        None => ("", "TABLE"),
    };
    format!(
        "tidegate is ready: http://{address}\n\
         \n\
         \x20 database  {file}\n\
         \x20 browser   http://{address}/{hash}\n\
         \x20 terminal  tidegate watch {watch} --url ws://{address}\n\
         \x20 stop      Ctrl-C\n"
    )
}

fn unexpected(joined: Option<Result<Ended, JoinError>>) -> Failure {
    let sentence = match joined.map(ended) {
        Some(Ok(name)) => format!("the {name} stopped by itself"),
        Some(Err(failure)) => return failure,
        None => "nothing runs".to_owned(),
    };
    Failure::new(Exit::Failed, sentence)
}

/// The name of a part that ended well, or why it did not.
fn ended(joined: Result<Ended, JoinError>) -> Result<&'static str, Failure> {
    match joined {
        Ok(Ended {
            name,
            outcome: Ok(()),
        }) => Ok(name),
        Ok(Ended {
            name,
            outcome: Err(why),
        }) => Err(Failure::new(
            Exit::Failed,
            format!("the {name} failed: {why}"),
        )),
        Err(error) => Err(Failure::new(
            Exit::Failed,
            format!("a part panicked: {error}"),
        )),
    }
}

/// An error with all that caused it, as one sentence.
fn causes(error: &dyn std::error::Error) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some errors repeat their cause in their own text.
        let text = error.to_string();
        if !sentence.contains(&text) {
            sentence.push_str(": ");
            sentence.push_str(&text);
        }
        cause = error.source();
    }
    sentence
}

#[cfg(test)]
mod tests {
    //! Shows that a part which ends is named in the sentence the process ends with, however it
    //! ended.

    use tokio::task::JoinSet;

    use super::{Ended, causes, unexpected};
    use crate::exit::Exit;

    async fn sentence(work: impl Future<Output = Ended> + Send + 'static) -> String {
        let mut parts = JoinSet::new();
        parts.spawn(work);
        let failure = unexpected(parts.join_next().await);
        assert_eq!(failure.exit, Exit::Failed);
        failure.sentence
    }

    #[tokio::test]
    async fn the_end_of_a_part_is_told() {
        let ended = |outcome| async move {
            Ended {
                name: "relay",
                outcome,
            }
        };
        assert_eq!(sentence(ended(Ok(()))).await, "the relay stopped by itself");
        let failed = ended(Err("the bus is full".to_owned()));
        assert_eq!(sentence(failed).await, "the relay failed: the bus is full");
        let panicked = sentence(async { panic!("a broken invariant") }).await;
        assert!(panicked.contains("a broken invariant"), "{panicked}");
    }

    #[test]
    fn causes_are_said_once() {
        let inner = std::io::Error::other("the disk is gone");
        let outer = tidegate_ports::PortError::unavailable("the bus", inner);
        assert_eq!(causes(&outer), "the bus is unavailable: the disk is gone");
        let plain = std::io::Error::other("the disk is gone");
        assert_eq!(causes(&plain), "the disk is gone");
    }
}
