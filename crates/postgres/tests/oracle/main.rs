//! The page oracle on a real Postgres, in two legs, neither of which needs a quiet moment.
//!
//! One leg: whatever a processor publishes of a page is, at every commit, what a plain evaluation
//! gives over the log up to there. The other: rows that Postgres gives, at any moment, are what the
//! plain evaluation gives over exactly the transactions that the snapshot sees. Together: the pages
//! are Postgres's, with the rule of visibility itself under test. The log that both stand on is
//! decoded by the server, and nothing of the product has a part in it.
//!
//! Pages go the way they go in the program: adapter, relay, bus, processor. Beside the right one
//! run processors with one rule broken each, over the same load: the oracle must notice every one.
//!
//! `ORACLE_SEED` and `ORACLE_COMPARISONS` make other and longer runs; `cargo xtask oracle` sets
//! them. The seed decides what is written and asked, not how the server's transactions interleave.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "tasks of a test end with its runtime, and its settings come from the environment"
)]

mod defect;
mod history;
mod judge;
mod load;
mod probe;
mod query;
mod rows;
mod site;
mod wal;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tidegate_cdc::RelayState;
use tidegate_ports::{
    Bus, Database, HotCache, MemoryBus, MemoryBusLimits, MemoryCache, MemoryCacheLimits,
};
use tidegate_postgres::PostgresDatabase;
use tidegate_processor::{Config, Ports, Processor};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::defect::{Changes, DEFECTS, Defect, Distorted, Tee};
use crate::history::History;
use crate::judge::{Judge, Seen};
use crate::load::{Done, Load, TABLES};
use crate::probe::{Probed, Prober};
use crate::site::Site;
use crate::wal::Wal;

/// Pages of documents that are open at a time, and pages where a rule is broken.
const DOCUMENT_PAGES: usize = 10;
const CONTROL_PAGES: [usize; TABLES.len()] = [8, 8, 0, 0];

/// Pages of each tenant's things that are open at a time in the run that every change must pass. A
/// longer one has more: they cost the server nothing.
const PAGES: u64 = 40;

/// Comparisons of the run that every change must pass.
const COMPARISONS: u64 = 60_000;

/// Bytes of log that the judge may be behind before writers wait for it.
const BEHIND_MAX: u64 = 4 << 20;

/// Without progress for this long the run has failed: something waits for ever.
const STILL_MAX: Duration = Duration::from_secs(120);

/// Nobody here looks at ages.
fn clock() -> i64 {
    0
}

fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().expect("a setting is a number"))
}

/// A processor with its relay, and the judge of what it publishes.
struct Pipeline {
    seen: Arc<Seen>,
    verdict: JoinHandle<Result<(), String>>,
    stop: CancellationToken,
}

impl Pipeline {
    async fn start(
        database: Distorted,
        history: &Arc<History>,
        (seed, pages): (u64, [usize; TABLES.len()]),
        end: watch::Receiver<Option<u64>>,
    ) -> Self {
        let limits = MemoryBusLimits {
            partition_count: 4,
            partition_bytes_max: 256 << 20,
            ..MemoryBusLimits::default()
        };
        let bus: Arc<dyn Bus> = Arc::new(MemoryBus::new(limits));
        let cache: Arc<dyn HotCache> = Arc::new(MemoryCache::new(MemoryCacheLimits::default()));
        let database: Arc<dyn Database> = Arc::new(database);
        let judge = Judge::new(history, &database, &bus, seed, pages).await;
        let stop = CancellationToken::new();
        let ports = Ports {
            bus: Arc::clone(&bus),
            cache,
            database: Arc::clone(&database),
        };
        let processor = Processor::join(Config::new(clock), ports).await.unwrap();
        tokio::spawn(processor.run(stop.clone()));
        let (state, mut relaying) = watch::channel(RelayState::Starting);
        let relay = tidegate_cdc::run(bus, database, state, clock, stop.clone());
        tokio::spawn(relay);
        let is_relaying = |state: &RelayState| *state == RelayState::Relaying;
        relaying.wait_for(is_relaying).await.unwrap();
        let seen = judge.seen();
        let verdict = tokio::spawn(judge.run(stop.clone(), end));
        Self {
            seen,
            verdict,
            stop,
        }
    }

    /// What was wrong, when anything was.
    async fn ended(&mut self) -> Option<String> {
        let is_over = self.verdict.is_finished();
        let verdict = if is_over {
            (&mut self.verdict).await.unwrap()
        } else {
            Ok(())
        };
        verdict.err().inspect(|_| self.stop.cancel())
    }
}

struct Control {
    defect: Defect,
    pipeline: Pipeline,
    caught: Option<(String, Duration)>,
}

/// All that a run consists of.
struct Run {
    site: Arc<Site>,
    history: Arc<History>,
    database: Arc<PostgresDatabase>,
    main: Pipeline,
    controls: Vec<Control>,
    load: Load,
    probers: Vec<JoinHandle<Result<(), String>>>,
    probed: Arc<Probed>,
    stop_probing: CancellationToken,
    end: watch::Sender<Option<u64>>,
    began: Instant,
    first_xid: u64,
}

impl Run {
    async fn start(seed: u64, things: usize) -> Self {
        let pages = [things, things, DOCUMENT_PAGES, DOCUMENT_PAGES];
        let site = Arc::new(Site::new().await);
        let client = site.connect().await;
        let first = "SELECT pg_current_xact_id()::text";
        let first_xid: String = client.query_one(first, &[]).await.unwrap().get(0);
        let first_xid: u64 = first_xid.parse().unwrap();
        let names = TABLES.map(str::to_owned);
        let mut wal = Wal::start(&site.address, &names).await;
        let history = Arc::new(History::new(TABLES.len(), first_xid));
        let kept = Arc::clone(&history);
        tokio::spawn(async move {
            loop {
                kept.take(wal.next().await);
            }
        });
        let (end, ended) = watch::channel(None);
        let database = Arc::new(site.database());
        let own = Distorted::new(&database, Changes::Own, None, seed);
        let main = Pipeline::start(own, &history, (seed, pages), ended.clone()).await;
        let controls = start_controls(&site, &history, seed, &ended).await;
        let (judged, log) = (Arc::clone(&main.seen), Arc::clone(&history));
        let is_behind = move || {
            let judged = judged.judged.load(Ordering::Relaxed);
            log.passed().saturating_sub(judged) > BEHIND_MAX
        };
        let load = Load::start(&site, seed, Arc::new(is_behind)).await;
        let (probed, stop_probing): (Arc<Probed>, _) = (Arc::default(), CancellationToken::new());
        let mut probers = Vec::new();
        for number in 0..2 {
            let database: Arc<dyn Database> = Arc::clone(&database) as _;
            let prober = Prober {
                client: site.connect().await,
                database,
                history: Arc::clone(&history),
                probed: Arc::clone(&probed),
            };
            probers.push(tokio::spawn(
                prober.run(seed + number, stop_probing.clone()),
            ));
        }
        Self {
            site,
            history,
            database,
            main,
            controls,
            load,
            probers,
            probed,
            stop_probing,
            end,
            began: Instant::now(),
            first_xid,
        }
    }

    /// Lets it run until there are enough comparisons, and every control has been caught.
    async fn observe(&mut self, comparisons: u64) {
        let (mut last, mut moved, mut told) = (0, Instant::now(), Instant::now());
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if let Some(wrong) = self.main.ended().await {
                panic!("a page is wrong: {wrong}");
            }
            for prober in &mut self.probers {
                if prober.is_finished() {
                    prober.await.unwrap().unwrap();
                }
            }
            for control in self.controls.iter_mut().filter(|one| one.caught.is_none()) {
                let caught = control.pipeline.ended().await;
                control.caught = caught.map(|why| (why, self.began.elapsed()));
            }
            let compared = self.main.seen.compared.load(Ordering::Relaxed);
            let all_caught = self.controls.iter().all(|control| control.caught.is_some());
            if compared >= comparisons && all_caught && self.has_done_all() {
                return;
            }
            if compared > last {
                (last, moved) = (compared, Instant::now());
            }
            let missing = self.controls.iter().filter(|one| one.caught.is_none());
            let missing: Vec<Defect> = missing.map(|one| one.defect).collect();
            assert!(
                moved.elapsed() < STILL_MAX,
                "nothing moves; not noticed: {missing:?}"
            );
            if told.elapsed() > Duration::from_secs(10) {
                told = Instant::now();
                let seconds = self.began.elapsed().as_secs();
                let commits = self.history.commits();
                println!(
                    "{seconds} s: {compared} compared, {commits} commits, not noticed yet: {missing:?}"
                );
            }
        }
    }

    /// Each kind of transaction there is has been there, and each wrong rule has given wrong rows.
    fn has_done_all(&self) -> bool {
        let Probed {
            compared,
            no_prefix,
            by_position,
            no_list,
            one_too_far,
        } = &*self.probed;
        let probed = [compared, no_prefix, by_position, no_list, one_too_far];
        let Done {
            committed,
            rolled_back,
            prepared,
            long,
            held,
            truncated,
            columns,
        } = &*self.load.done;
        let all = [
            committed,
            rolled_back,
            prepared,
            long,
            held,
            truncated,
            columns,
        ];
        let mut counts = all.into_iter().chain(probed);
        counts.all(|count| count.load(Ordering::Relaxed) > 0)
    }

    /// Stops writers, and holds every page to the end.
    async fn finish(self, seed: u64) {
        let done = self.load.stop().await;
        self.stop_probing.cancel();
        for prober in self.probers {
            prober.await.unwrap().unwrap();
        }
        let client = self.site.connect().await;
        let end = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint";
        let end: i64 = client.query_one(end, &[]).await.unwrap().get(0);
        self.end.send_replace(Some(end as u64));
        let verdict = tokio::time::timeout(STILL_MAX, self.main.verdict).await;
        let verdict = verdict.expect("every page comes to the end").unwrap();
        verdict.unwrap_or_else(|wrong| panic!("a page is wrong: {wrong}"));
        self.main.stop.cancel();
        let (history, seen, probed) = (&self.history, &self.main.seen, &self.probed);
        println!("seed {seed}: {seen:?}");
        println!("{probed:?}");
        println!("{done:?}");
        let xids = (self.first_xid, history.last_xid());
        let (commits, seconds) = (history.commits(), self.began.elapsed().as_secs());
        println!("{commits} commits in {seconds} s, transaction ids {xids:?}");
        for Control { defect, caught, .. } in &self.controls {
            let (why, after) = caught.as_ref().expect("each was caught");
            println!(
                "{defect:?} noticed after {:.1} s: {why}",
                after.as_secs_f64()
            );
        }
        drop(self.database);
    }
}

async fn start_controls(
    site: &Site,
    history: &Arc<History>,
    seed: u64,
    end: &watch::Receiver<Option<u64>>,
) -> Vec<Control> {
    let database = Arc::new(site.database());
    // Nothing may be written before all of them listen; they wait for the first batch.
    let tee: Arc<Tee> = Arc::default();
    let stream = database.changes().await.unwrap();
    let starting = DEFECTS.iter().zip(seed..).map(|(defect, seed)| {
        let changes = Changes::Shared(Arc::clone(&tee));
        let distorted = Distorted::new(&database, changes, Some(*defect), seed);
        let end = end.clone();
        async move {
            Control {
                defect: *defect,
                pipeline: Pipeline::start(distorted, history, (seed, CONTROL_PAGES), end).await,
                caught: None,
            }
        }
    });
    let passing = {
        let (tee, database) = (Arc::clone(&tee), Arc::clone(&database));
        async move {
            tee.wait_for(DEFECTS.len()).await;
            tee.pass_on(stream).await;
            // The stream is the database's, and ends with it.
            drop(database);
        }
    };
    tokio::spawn(passing);
    futures_util::future::join_all(starting).await
}

/// All pages at all commits, all probes, and all that must be noticed.
#[test]
fn pages_are_what_postgres_says() {
    let seed = setting("ORACLE_SEED", 1);
    let comparisons = setting("ORACLE_COMPARISONS", COMPARISONS);
    let pages = setting("ORACLE_PAGES", PAGES);
    println!("to repeat: cargo xtask oracle --seed {seed} --comparisons {comparisons}");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let mut run = Run::start(seed, pages as usize).await;
        run.observe(comparisons).await;
        run.finish(seed).await;
    });
}
