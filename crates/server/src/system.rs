//! What runs in this process: the parts of its roles, over the seams that the configuration names.
//!
//! Each part is a task that this owner joins. One that ends before it was told to has failed, and
//! ends the process: what it would have kept is no longer kept. Clients are sent away before
//! anything behind the gateway stops. Which adapters are behind the seams is known in `seams` only,
//! and no part can tell.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_cdc::RelayState;
use tidegate_core::LimitRule;
use tidegate_gateway::{
    Gateway, GatewayConfig, GatewayError, GatewayLimits, GatewayPorts, HistoryLimits, HttpHook,
    OutboxLimits, Pages,
};
use tidegate_legacy::{Keeper, Recorder};
use tidegate_ports::Database;
use tidegate_processor::Processor;
use tidegate_rpc::Worker;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::admin::{Admin, Health};
use crate::bridge;
use crate::clock;
use crate::config::{Config, DemoSettings, Role};
use crate::demo;
use crate::exit::{Exit, Failure, causes};
use crate::keeping;
use crate::readiness::{Part, Readiness, State};
use crate::seams::{self, Closing, Seams, port_failure, until_available};
use crate::site::Site;
use crate::telemetry;

/// Everything that runs.
pub(crate) struct System {
    parts: JoinSet<Ended>,
    /// Stops the gateway, and so the sessions; nothing when there is none here.
    front: Option<CancellationToken>,
    /// Stops what is behind it.
    behind: CancellationToken,
    readiness: Readiness,
    /// Follows the relay; nothing when there is none here.
    relaying: Option<watch::Receiver<RelayState>>,
    drain: Duration,
    closing: Closing,
    pub(crate) greeting: String,
}

/// How a part ended.
struct Ended {
    name: &'static str,
    outcome: Result<(), Failure>,
}

impl System {
    /// Opens, binds and starts everything.
    pub(crate) async fn start(config: Config) -> Result<Self, Failure> {
        let metrics = telemetry::start_measuring()
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot measure: {error}")))?;
        let readiness = Readiness::new(&config.roles);
        let site = Site::new(readiness.clone(), metrics.clone());
        let health = Health::new();
        let mut system = Self {
            parts: JoinSet::new(),
            front: None,
            behind: CancellationToken::new(),
            readiness,
            relaying: None,
            drain: config.drain,
            closing: Closing::default(),
            greeting: String::new(),
        };
        let stop = system.behind.clone();
        system.part("metrics", async move {
            stop.run_until_cancelled(telemetry::keep_up(metrics)).await;
            Ok(())
        });
        // First of all: it tells what is waited for while an engine is down.
        let admin = system.run_admin(&config, &site, &health).await?;
        let seams = seams::open(&config, &system.readiness).await?;
        system.closing = seams.closing.clone();
        system.run_bus_watch(&seams);
        system.run_cache_watch(&seams);
        system.run_database_watch(&seams);
        // Bound before the demo's rows are made: a port in use is said at once.
        let gateway = match config.roles.has(Role::Gateway) {
            true => Some(build_gateway(&config, &site, &seams)?),
            false => None,
        };
        if let Some(demo) = config.demo {
            let prepared = demo::prepare(&*seams.database, demo.orders).await;
            prepared.map_err(|error| demo_failure(&config.database_shown, &error))?;
        }
        let address = gateway.as_ref().map(Gateway::local_addr);
        system.greeting = greeting(&config, address, admin);
        // The processor joins before the relay starts: in one process it sees every change that is
        // relayed.
        if config.roles.has(Role::Processor) {
            system.run_processor(&seams).await?;
            system.run_bridge(&config, &seams)?;
        }
        if config.roles.has(Role::Cdc) {
            system.run_relay(&seams);
        }
        if config.roles.has(Role::Worker) {
            system.run_worker(&config, &seams).await?;
        }
        if let (Some(foreign), Some(shared), Some(gateway)) =
            (&config.foreign, &seams.shared, &gateway)
        {
            let shared = Arc::clone(shared);
            let (keeper, recorder) = keeping::prepare(&config, foreign, &seams, shared, gateway);
            system.run_keeper(keeper, recorder).await?;
        }
        if let Some(settings) = config.demo {
            system.run_demo(settings, seams.database);
        }
        if let Some(gateway) = gateway {
            health.hand_to(gateway.health());
            system.run_gateway(gateway);
        }
        Ok(system)
    }

    /// Waits until every part is up.
    pub(crate) async fn ready(&mut self) -> Result<(), Failure> {
        if let Some(relaying) = &mut self.relaying {
            tokio::select! {
                // An error means that it has ended, which the other branch tells.
                Ok(_) = relaying.wait_for(|state| *state != RelayState::Starting) => {}
                ended = self.parts.join_next() => return Err(unexpected(ended)),
            }
        }
        Ok(())
    }

    /// Waits for a part to end, which none does by itself unless it failed. Cancellation-safe.
    pub(crate) async fn failure(&mut self) -> Failure {
        unexpected(self.parts.join_next().await)
    }

    /// Sends the clients away, then stops the rest.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        if let Some(front) = self.front.take() {
            self.readiness.clear(Part::Gateway);
            front.cancel();
            // The gateway bounds its drain itself; the margin is for its threads to end.
            let patience = self.drain + Duration::from_secs(5);
            match tokio::time::timeout(patience, self.join_until("gateway")).await {
                Ok(drained) => drained?,
                Err(_) => tracing::warn!("the gateway did not drain in time"),
            }
        }
        self.behind.cancel();
        let rest = async {
            while let Some(joined) = self.parts.join_next().await {
                ended(joined)?;
            }
            Ok::<_, Failure>(())
        };
        match tokio::time::timeout(STOP_PATIENCE, rest).await {
            Ok(stopped) => stopped?,
            Err(_) => tracing::warn!("a part did not stop in time"),
        }
        self.closing.run(STOP_PATIENCE).await;
        Ok(())
    }

    async fn join_until(&mut self, name: &str) -> Result<(), Failure> {
        while let Some(joined) = self.parts.join_next().await {
            if ended(joined)? == name {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Serves the address for machines, when there is one, and gives it.
    async fn run_admin(
        &mut self,
        config: &Config,
        site: &Site,
        health: &Health,
    ) -> Result<Option<SocketAddr>, Failure> {
        let Some(address) = config.admin else {
            return Ok(None);
        };
        let admin = Admin::bind(address, site.clone(), health.clone()).await?;
        let address = admin.local_addr();
        let stop = self.behind.clone();
        self.part("admin", async move {
            admin.run(stop).await;
            Ok(())
        });
        Ok(address)
    }

    async fn run_processor(&mut self, seams: &Seams) -> Result<(), Failure> {
        let Seams {
            bus,
            cache,
            database,
            broker: _,
            shared: _,
            database_probe: _,
            closing: _,
        } = seams.clone();
        let ports = tidegate_processor::Ports {
            bus,
            cache,
            database,
        };
        let config = tidegate_processor::Config::new(clock::micros_now);
        let join = || Processor::join(config.clone(), ports.clone());
        let processor = until_available("the processor's share of the bus", join).await?;
        self.readiness.set(Part::Processor);
        let stop = self.behind.clone();
        self.part("processor", async move {
            let run = processor.run(stop).await;
            run.map_err(|error| port_failure(&error))
        });
        Ok(())
    }

    /// Serves gateways of the old kind, if that is wanted.
    fn run_bridge(&mut self, config: &Config, seams: &Seams) -> Result<(), Failure> {
        let Some((bridge, ports)) = bridge::prepare(config, seams, subscription_limit(config))?
        else {
            return Ok(());
        };
        let stop = self.behind.clone();
        self.part("bridge", async move {
            let run = tidegate_legacy::bridge::run(bridge, ports, stop).await;
            run.map_err(|error| port_failure(&error))
        });
        Ok(())
    }

    async fn run_worker(&mut self, config: &Config, seams: &Seams) -> Result<(), Failure> {
        let worker = seams::worker_config(config);
        let (broker, database) = (&seams.broker, &seams.database);
        let join = || Worker::join(worker.clone(), Arc::clone(broker), Arc::clone(database));
        let worker = until_available("the worker's share of the calls", join).await?;
        self.readiness.set(Part::Worker);
        let stop = self.behind.clone();
        self.part("worker", async move {
            let run = worker.run(stop).await;
            run.map_err(|error| port_failure(&error))
        });
        Ok(())
    }

    /// Runs what stands before a foreign stream. Clients are served once the stream is followed.
    async fn run_keeper(&mut self, keeper: Keeper, recorder: Recorder) -> Result<(), Failure> {
        let (ready, is_ready) = oneshot::channel();
        let stop = self.behind.clone();
        self.part("keeper", async move {
            // Nobody waits any more when the start was given up.
            let tell = move || {
                let _ = ready.send(());
            };
            let run = keeper.run(tell, stop).await;
            run.map_err(|error| port_failure(&error))
        });
        tokio::select! {
            Ok(()) = is_ready => {}
            ended = self.parts.join_next() => return Err(unexpected(ended)),
        }
        // After the keeper, which makes the topics that are missing.
        let stop = self.behind.clone();
        self.part("recorder", async move {
            let run = recorder.run(stop).await;
            run.map_err(|error| port_failure(&error))
        });
        Ok(())
    }

    fn run_bus_watch(&mut self, seams: &Seams) {
        let watch = seams::watch_bus(seams.broker.clone(), self.readiness.clone());
        let stop = self.behind.clone();
        self.part("bus", async move {
            stop.run_until_cancelled(watch).await;
            Ok(())
        });
    }

    fn run_cache_watch(&mut self, seams: &Seams) {
        let (cache, readiness) = (seams.cache.clone(), self.readiness.clone());
        let (shared, stop) = (seams.shared.clone(), self.behind.clone());
        self.part("cache", async move {
            let watch = async {
                match shared {
                    Some(shared) => seams::watch_shared(shared, readiness).await,
                    None => seams::watch_cache(cache, readiness).await,
                }
            };
            match stop.run_until_cancelled(watch).await {
                Some(Err(refused)) => Err(refused),
                Some(Ok(())) | None => Ok(()),
            }
        });
    }

    fn run_database_watch(&mut self, seams: &Seams) {
        let Some(probe) = seams.database_probe.clone() else {
            return;
        };
        let watch = seams::watch(Part::Database, probe, self.readiness.clone());
        let stop = self.behind.clone();
        self.part("database", async move {
            stop.run_until_cancelled(watch).await;
            Ok(())
        });
    }

    fn run_relay(&mut self, seams: &Seams) {
        let (relaying, mut state) = watch::channel(RelayState::Starting);
        self.relaying = Some(state.clone());
        let readiness = self.readiness.clone();
        let (bus, database, stop) = (
            seams.bus.clone(),
            seams.database.clone(),
            self.behind.clone(),
        );
        self.part("relay", async move {
            let run = tidegate_cdc::run(bus, database, relaying, clock::micros_now, stop);
            let follow = async {
                // Ends with the relay.
                while state.changed().await.is_ok() {
                    let state = match *state.borrow_and_update() {
                        RelayState::Starting => State::Down,
                        RelayState::Standby => State::Standby,
                        RelayState::Relaying => State::Up,
                    };
                    readiness.turn(Part::Relay, state);
                }
            };
            let (run, ()) = tokio::join!(run, follow);
            run.map_err(|error| port_failure(&error))
        });
    }

    fn run_demo(&mut self, settings: DemoSettings, database: Arc<dyn Database>) {
        let stop = self.behind.clone();
        self.part("demo", async move {
            stop.run_until_cancelled(demo::write(database, settings))
                .await;
            Ok(())
        });
    }

    fn run_gateway(&mut self, gateway: Gateway) {
        let front = CancellationToken::new();
        self.front = Some(front.clone());
        let readiness = self.readiness.clone();
        self.part("gateway", async move {
            readiness.set(Part::Gateway);
            let run = gateway.run(front).await;
            run.map_err(|error| Failure::new(Exit::Failed, causes(&error)))
        });
    }

    fn part(
        &mut self,
        name: &'static str,
        work: impl Future<Output = Result<(), Failure>> + Send + 'static,
    ) {
        self.parts.spawn(async move {
            let outcome = work.await;
            Ended { name, outcome }
        });
    }
}

/// How long a foreign page without listeners is kept: as long as a client takes to come back at
/// once.
const FOREIGN_LINGER: Duration = Duration::from_secs(2);

/// How long the parts behind the gateway may take to stop: they only have to finish a statement.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

fn demo_failure(database: &str, error: &dyn std::error::Error) -> Failure {
    let causes = causes(error);
    let sentence = format!("cannot make the demo's tables in {database}: {causes}");
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

fn subscription_limit(config: &Config) -> LimitRule {
    let max = config.limits.subscription_limit_max;
    LimitRule {
        default: LimitRule::SUBSCRIPTION.default.min(max),
        max,
    }
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
        tenancy: config.tenancy.clone(),
        pages: match config.foreign {
            None => Pages::Processor,
            Some(_) => Pages::Foreign,
        },
        subscription_limit: subscription_limit(config),
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
            linger: match config.foreign {
                None => GatewayLimits::default().linger,
                // A label is free for another query, and a query cleared, soon after.
                Some(_) => FOREIGN_LINGER,
            },
            drain_timeout: config.drain,
            ..GatewayLimits::default()
        },
        clock_micros: clock::micros_now,
        http,
    }
}

/// What is said when everything is up. Scripts read the address from the first line.
fn greeting(config: &Config, gateway: Option<SocketAddr>, admin: Option<SocketAddr>) -> String {
    let database = &config.database_shown;
    let roles = match config.roles.is_all() {
        true => String::new(),
        false => format!("\x20 roles     {}\n", config.roles),
    };
    let Some(address) = gateway else {
        // The configuration asks for such an address where there is no other.
        let address = admin.map(|address| address.to_string()).unwrap_or_default();
        return format!(
            "tidegate is ready: http://{address}\n\
             \n\
             {roles}\
             \x20 database  {database}\n\
             \x20 stop      Ctrl-C\n"
        );
    };
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
         {roles}\
         \x20 database  {database}\n\
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
        }) => Err(Failure::new(why.exit, format!("the {name} failed: {why}"))),
        Err(error) => Err(Failure::new(
            Exit::Failed,
            format!("a part panicked: {error}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    //! Shows that a part which ends is named in the sentence the process ends with, however it
    //! ended.

    use tidegate_ports::PortError;
    use tokio::task::JoinSet;

    use super::{Ended, unexpected};
    use crate::exit::{Exit, Failure};
    use crate::seams::port_failure;

    async fn failure(work: impl Future<Output = Ended> + Send + 'static) -> Failure {
        let mut parts = JoinSet::new();
        parts.spawn(work);
        unexpected(parts.join_next().await)
    }

    #[tokio::test]
    async fn the_end_of_a_part_is_told() {
        let ended = |outcome| async move {
            Ended {
                name: "relay",
                outcome,
            }
        };
        let check = |failure: Failure, exit, sentence| {
            assert_eq!(failure.exit, exit);
            assert_eq!(failure.sentence, sentence);
        };
        let stopped = failure(ended(Ok(()))).await;
        check(stopped, Exit::Failed, "the relay stopped by itself");
        let refused = PortError::Rejected {
            what: "the database",
            why: "wal_level is replica".to_owned(),
        };
        let failed = failure(ended(Err(port_failure(&refused)))).await;
        let sentence = "the relay failed: the database refused: wal_level is replica";
        check(failed, Exit::Rejected, sentence);
        let panicked = failure(async { panic!("a broken invariant") }).await;
        assert_eq!(panicked.exit, Exit::Failed);
        assert!(
            panicked.sentence.contains("a broken invariant"),
            "{panicked}"
        );
    }
}
