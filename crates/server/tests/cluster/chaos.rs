//! The cluster under faults: engines and processes die by `kill -9`, one after the other, while
//! strangers and clients of two tenants write and live pages are watched over two gateways.
//!
//! After each death: whatever was acknowledged is in the database, every page is what SQL written
//! by hand says, no page went on over a hole, and no tenant saw another's row. How long pages took
//! to be current again is measured and printed; only a generous bound is asserted.
//!
//! `cargo xtask chaos` runs it for longer and with other seeds.

mod load;
mod pages;

use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use tidegate_core::Lsn;
use tidegate_engines::{Kind, Services};

use self::load::{ENTRIES, Load};
use self::pages::{Pages, Tally, Watched};
use crate::door::Door;
use crate::engines::{Site, setting};
use crate::harness::Served;
use crate::program::Program;
use crate::queries::RandomQuery;
use crate::watchers::{answers, is_same};

const TENANTS: [&str; 2] = ["demo", "acme"];
/// Of each tenant.
const CLIENTS: u64 = 12;
/// Random ones, of each tenant, beside those of the ledger.
const QUERIES: usize = 20;
/// Of each kind and tenant; numbered from 1.
const WRITERS: i64 = 2;

/// How long pages may take to be current again. Ten seconds are the promise on a machine of its
/// own; here builds and other tests share it.
const RECOVERY_MAX: Duration = Duration::from_secs(60);
/// Longer than the server waits for a relay that says nothing, and brokers for a processor.
const FROZEN: Duration = Duration::from_secs(13);
/// What `/ready` says of a relay that relays, and of a processor or gateway.
const UP: &str = ":true}}";

/// What dies in each round, in the order of the first.
const FAULTS: [Fault; 8] = [
    Fault::Killed("processor"),
    Fault::Killed("gateway"),
    Fault::Killed("worker"),
    Fault::Killed("cdc"),
    Fault::Engine(Kind::Redis),
    Fault::Engine(Kind::Kafka),
    Fault::Engine(Kind::Postgres),
    Fault::Rolling,
];
/// What happens besides in later rounds, for which the test suite has no time.
const SLOW_FAULTS: [Fault; 3] = [
    Fault::Frozen("processor"),
    Fault::Frozen("gateway"),
    Fault::Frozen("cdc"),
];

/// Looks for a moment at which nothing is written any more.
const LOOKS_MAX: usize = 50;

/// What dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// A process with this role, by `kill -9`.
    Killed(&'static str),
    /// A process with this role is not run for so long that the others take over, and then goes on
    /// as if nothing had happened.
    Frozen(&'static str),
    Engine(Kind),
    /// Every process of ours ends by SIGTERM and comes back, one after the other.
    Rolling,
}

/// Every process and every engine may die under load, and all processes be replaced in turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_is_exact_under_faults() {
    let seed = setting("TIDEGATE_CHAOS_SEED").map_or(1, |text| text.parse().expect("a number"));
    let rounds = setting("TIDEGATE_CHAOS_ROUNDS").map_or(1, |text| text.parse().expect("a number"));
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::start(&mut random).await;
    for round in 0..rounds {
        let mut faults = FAULTS.to_vec();
        if round > 0 {
            faults.extend(SLOW_FAULTS);
            faults.shuffle(&mut random);
        }
        for fault in faults {
            world.suffer(fault, &mut random).await;
        }
    }
    let (acknowledged, unanswered) = world.load.counts();
    println!("seed {seed}: {acknowledged} writes acknowledged, {unanswered} without an answer");
    assert!(acknowledged > 200, "only {acknowledged} writes");
    world.load.stop().await;
}

struct World {
    services: Services,
    site: Site,
    processes: Vec<Process>,
    load: Load,
    pages: Pages,
    _door: Door,
}

/// A process of ours.
struct Process {
    roles: &'static str,
    /// Nothing while it is being replaced.
    served: Option<Served>,
}

impl Process {
    fn new(roles: &'static str, served: Served) -> Self {
        let served = Some(served);
        Self { roles, served }
    }
}

impl World {
    async fn start(random: &mut StdRng) -> Self {
        // The engines end with the thread that starts them, so it has to be this one.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let target = folder.parent().expect("it is below the target folder");
        let services = Services::start(target, &[Kind::Redis, Kind::Postgres, Kind::Kafka]);
        let services = services.expect("the engines start");
        let mut site = Site::at(services.address(Kind::Postgres), &TENANTS).await;
        make_ledgers(&mut site).await;
        let (kafka, redis) = (services.address(Kind::Kafka), services.address(Kind::Redis));
        let program = Program::over(kafka, redis, &site.url);
        // The second relay stands by.
        let twice = ["cdc", "processor", "worker"];
        let mut processes: Vec<Process> = twice
            .into_iter()
            .flat_map(|roles| [roles, roles])
            .map(|roles| Process::new(roles, program.start(roles)))
            .collect();
        // One asks the database itself, the other one the workers.
        let asking = [("database", "workers:")];
        processes.push(Process::new("gateway", program.start("gateway")));
        processes.push(Process::new(
            "gateway",
            program.start_with("gateway", &asking),
        ));
        let gateways = [6, 7].map(|at: usize| {
            let served = processes[at].served.as_ref();
            served.expect("it was just started").address()
        });
        let door = Door::open(gateways);

        let mut load = Load::start();
        let mut watched = Vec::new();
        for tenant in TENANTS {
            let mut clients = Vec::new();
            for seed in 0..CLIENTS {
                clients.push(door.client(tenant, seed).await);
            }
            for (at, one) in pages_of(tenant, random).into_iter().enumerate() {
                watched.push((one, clients[at % clients.len()].clone()));
            }
            for writer in 1..=WRITERS {
                load.add_stranger(&site.url, tenant, writer);
                let caller = door.client(tenant, 100 + writer.unsigned_abs()).await;
                load.add_caller(caller, tenant, WRITERS + writer);
            }
        }
        let mut world = Self {
            services,
            site,
            processes,
            load,
            pages: Pages::start(&watched),
            _door: door,
        };
        world.settle("start").await;
        world
    }

    /// Lets it happen, and waits until all is well again.
    async fn suffer(&mut self, fault: Fault, random: &mut StdRng) {
        let died = Instant::now();
        match fault {
            Fault::Killed(role) => {
                let at = self.one_of(role, random).await;
                self.kill_process(at).await;
            }
            Fault::Frozen(role) => {
                let at = self.one_of(role, random).await;
                let served = self.processes[at].served.as_ref().expect("it runs");
                served.signal("STOP");
                tokio::time::sleep(FROZEN).await;
                served.signal("CONT");
            }
            Fault::Engine(kind) => {
                self.services.kill(kind).expect("it runs");
                tokio::time::sleep(Duration::from_millis(random.random_range(0..1_000))).await;
                self.services.restart(kind).expect("it comes back");
            }
            Fault::Rolling => self.roll().await,
        }
        let down = died.elapsed();
        let name = format!("{fault:?}");
        let (recovery, tally) = self.recover().await;
        let (down, recovery) = (down.as_secs_f64(), recovery.as_secs_f64());
        let Tally {
            diffs,
            resumes,
            reasons,
        } = tally;
        println!(
            "{name}: away {down:.1} s, pages current {recovery:.1} s after its return; \
             {diffs} diffs, {resumes} resumes, pages by reason {reasons:?}"
        );
        self.settle(&name).await;
    }

    /// One of the processes with this role: of the relays the one that relays.
    async fn one_of(&self, role: &str, random: &mut StdRng) -> usize {
        loop {
            let mut found = Vec::new();
            for (at, process) in self.processes.iter().enumerate() {
                let served = process.served.as_ref().expect("it runs");
                if process.roles == role && served.get("/ready").body.contains(UP) {
                    found.push(at);
                }
            }
            if let Some(&at) = found.choose(random) {
                assert!(role != "cdc" || found.len() == 1, "two relay at once");
                return at;
            }
            // Relays that have just lost their streams.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn kill_process(&mut self, at: usize) {
        let served = self.processes[at].served.take().expect("it runs");
        let restarted = tokio::task::spawn_blocking(|| served.crash_and_restart()).await;
        self.processes[at].served = Some(restarted.expect("it becomes ready again"));
    }

    async fn roll(&mut self) {
        for process in &mut self.processes {
            let mut served = process.served.take().expect("it runs");
            let restarted = tokio::task::spawn_blocking(|| {
                served.signal("TERM");
                let status = served.wait();
                assert!(status.success(), "{status}\n{}", served.log());
                served.start_again()
            });
            process.served = Some(restarted.await.expect("it becomes ready again"));
        }
    }

    /// Measures how long it takes, under load, until every page shows what is committed by now.
    async fn recover(&mut self) -> (Duration, Tally) {
        let returned = Instant::now();
        let database = self.site.connect().await;
        let lsn = log_position(&database).await;
        let (_, tally) = self.pages.reach(lsn, RECOVERY_MAX).await;
        (returned.elapsed(), tally)
    }

    /// Stops the writers for a moment, and holds every page against SQL.
    async fn settle(&mut self, after: &str) {
        let quiet = self.load.quiet().await;
        let database = self.site.connect().await;
        let queries: Vec<RandomQuery> = self
            .pages
            .watched()
            .iter()
            .map(|one| one.query.clone())
            .collect();
        for _ in 0..LOOKS_MAX {
            let before = answers(&database, &queries).await;
            let lsn = log_position(&database).await;
            let (pages, _) = self.pages.reach(lsn, RECOVERY_MAX).await;
            let answers = answers(&database, &queries).await;
            // What a dead process had begun may still be committed.
            if answers != before {
                continue;
            }
            for ((page, answer), one) in pages.iter().zip(&answers).zip(self.pages.watched()) {
                let (tenant, query) = (one.tenant, &one.query.json);
                assert!(
                    is_same(page, answer),
                    "after {after}: {tenant} {query}\nshown    {page}\nexpected {answer}"
                );
            }
            self.load.check(&database, &TENANTS).await;
            drop(quiet);
            return;
        }
        panic!("after {after}: somebody goes on writing");
    }
}

/// Where the log is: at or after every earlier commit.
async fn log_position(database: &tokio_postgres::Client) -> Lsn {
    let here = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint";
    let row = database.query_one(here, &[]).await.expect("it is SQL");
    let lsn: i64 = row.get(0);
    Lsn::new(lsn.try_into().expect("positions are positive"))
}

fn pages_of(tenant: &'static str, random: &mut StdRng) -> Vec<Watched> {
    let things = (0..QUERIES).map(|_| Watched {
        tenant,
        table: "things",
        query: RandomQuery::of(tenant, random),
    });
    let things: Vec<Watched> = things.collect();
    let writers = (1..=2 * WRITERS).map(Some).chain([None]);
    let ledgers = writers.map(|writer| Watched::ledger(tenant, writer));
    things.into_iter().chain(ledgers).collect()
}

/// Tables of what was written, with a row for each caller to count in.
async fn make_ledgers(site: &mut Site) {
    let database = site.connect().await;
    for tenant in TENANTS {
        let (first, last) = ((WRITERS + 1) * ENTRIES, 2 * WRITERS * ENTRIES);
        let sql = format!(
            "CREATE TABLE {tenant}_ledger (id BIGINT PRIMARY KEY, n BIGINT,
             owner TEXT NOT NULL DEFAULT '{tenant}');
             INSERT INTO {tenant}_ledger SELECT own, 0
             FROM generate_series({first}, {last}, {ENTRIES}) AS own"
        );
        database.batch_execute(&sql).await.expect("it is new");
    }
}
