//! The join of rows and stream, under writers that do all they can to break it.
//!
//! Two legs, neither of which needs a quiet moment. A snapshot's rows are exactly what the streamed
//! transactions that it sees make of the empty table; and its rows, with those that it does not see
//! applied on top, are the table at every later position of the stream. Rules that look as good
//! (positions in the log, no list of transactions in progress, no waiting for the horizon) are
//! tried on the same run, and must fail.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tidegate_core::{Commit, Fence, Lsn, Row, TableSchema, Transaction};
use tidegate_ports::{ChangeStream, Database, Snapshot};
use tidegate_view::{Effect, Limits, Pages, Seed};
use tokio_postgres::Client;

use crate::harness::{Model, Site, next, one, whole};

pub(crate) const TABLE: &str = "CREATE TABLE t(id bigint PRIMARY KEY, grp integer NOT NULL, val integer, note text, \
     tags text[], doc jsonb, span int4range)";

const WRITERS: u64 = 8;
const IDS: i64 = 120;

/// How long writers write. Some thousand transactions, some hundred snapshots.
const RUN: Duration = Duration::from_secs(4);

/// One statement of a writer.
fn statement(dice: &mut SmallRng) -> String {
    let id = dice.random_range(0..IDS);
    let (grp, val) = (dice.random_range(0..5), dice.random_range(0..1_000));
    match dice.random_range(0..10) {
        0..4 => format!(
            "INSERT INTO t VALUES ({id}, {grp}, {val}, 'n{val}', '{{t{grp},all}}', \
             '{{\"v\":{val},\"g\":{grp}}}', int4range({grp}, {grp} + {val})) \
             ON CONFLICT (id) DO UPDATE SET val = excluded.val, grp = excluded.grp"
        ),
        4..6 => format!(
            "UPDATE t SET val = val + 1, tags = ARRAY['t' || val % 5, NULL], \
             doc = jsonb_build_object('v', val % 7.0) WHERE id BETWEEN {id} AND {id} + 4"
        ),
        6 => format!("UPDATE t SET val = NULL, grp = {grp} WHERE id = {id}"),
        7 => {
            // A free key or none: the other row may be in the way.
            let to = dice.random_range(0..IDS);
            format!(
                "UPDATE t SET id = {to} WHERE id = {id} AND NOT EXISTS(SELECT FROM t WHERE id = {to})"
            )
        }
        _ => format!("DELETE FROM t WHERE id = {id}"),
    }
}

/// Writes until told to stop: several rows, rollbacks, savepoints, commits that do not wait for the
/// disk.
pub(crate) async fn write(client: Client, seed: u64, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) {
    let mut dice = SmallRng::seed_from_u64(seed);
    while !stop.load(Ordering::Relaxed) {
        let mut sql = String::from("BEGIN;");
        if dice.random_ratio(1, 3) {
            sql.push_str("SET LOCAL synchronous_commit = off;");
        }
        for _ in 0..dice.random_range(1..4) {
            sql.push_str(&statement(&mut dice));
            sql.push(';');
        }
        if dice.random_ratio(1, 4) {
            let undone = statement(&mut dice);
            sql.push_str(&format!("SAVEPOINT s; {undone}; ROLLBACK TO s;"));
        }
        if dice.random_ratio(1, 4) {
            let nested = statement(&mut dice);
            sql.push_str(&format!("SAVEPOINT s; {nested}; RELEASE s;"));
        }
        if dice.random_ratio(1, 50) {
            sql.push_str("SELECT pg_sleep(0.02);");
        }
        sql.push_str(if dice.random_ratio(1, 8) {
            "ROLLBACK"
        } else {
            "COMMIT"
        });
        // Deadlocks and keys that are taken end a transaction, which is one more kind of rollback.
        if client.batch_execute(&sql).await.is_err() {
            client.batch_execute("ROLLBACK").await.unwrap();
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Writers at work; dropped, they stop.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    pub(crate) done: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Writers {
    pub(crate) async fn start(site: &Site) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let mut tasks = Vec::new();
        for seed in 0..WRITERS {
            let client = site.foreign().await;
            let work = write(client, seed, Arc::clone(&stop), Arc::clone(&done));
            tasks.push(tokio::spawn(work));
        }
        Self { stop, done, tasks }
    }

    pub(crate) async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

/// A snapshot, and how far the stream had come when it was there.
struct Probe {
    snapshot: Snapshot,
    streamed: Lsn,
}

/// All that a run left.
struct Run {
    schema: Arc<TableSchema>,
    transactions: Vec<Transaction>,
    probes: Vec<Probe>,
    end: Model,
}

async fn run() -> Run {
    let site = Arc::new(Site::new().await);
    site.sql(TABLE).await;
    let schema = site.describe("t").await;
    let stream = site.db.changes().await.unwrap();
    let position = Arc::new(AtomicU64::new(0));
    let target = Arc::new(AtomicU64::new(u64::MAX));
    let reader = tokio::spawn(collect(stream, Arc::clone(&position), Arc::clone(&target)));
    let writers = Writers::start(&site).await;
    let ended = tokio::time::Instant::now() + RUN;
    let probers = (0..2_u64).map(|seed| {
        let (site, schema) = (Arc::clone(&site), Arc::clone(&schema));
        let position = Arc::clone(&position);
        tokio::spawn(async move {
            let mut dice = SmallRng::seed_from_u64(seed);
            let mut probes = Vec::new();
            while tokio::time::Instant::now() < ended {
                let snapshot = site.db.snapshot(whole(&schema)).await.unwrap();
                let streamed = Lsn::new(position.load(Ordering::Relaxed));
                probes.push(Probe { snapshot, streamed });
                tokio::time::sleep(Duration::from_millis(dice.random_range(0..30))).await;
            }
            probes
        })
    });
    let probers: Vec<_> = probers.collect();
    let mut probes = Vec::new();
    for prober in probers {
        probes.extend(prober.await.unwrap());
    }
    writers.stop().await;
    let end = site.model(&schema).await;
    target.store(site.log_end().await.get(), Ordering::Relaxed);
    let transactions = reader.await.unwrap();
    Run {
        schema,
        transactions,
        probes,
        end,
    }
}

async fn collect(
    mut stream: ChangeStream,
    position: Arc<AtomicU64>,
    target: Arc<AtomicU64>,
) -> Vec<Transaction> {
    let mut seen = Vec::new();
    loop {
        let batch = next(&mut stream).await;
        seen.extend(batch.transactions);
        position.store(batch.heartbeat.lsn.get(), Ordering::Relaxed);
        if batch.heartbeat.lsn.get() >= target.load(Ordering::Relaxed) {
            return seen;
        }
    }
}

impl Run {
    /// The table at every position of the stream.
    fn prefixes(&self) -> Vec<Model> {
        let mut model = Model::default();
        let mut prefixes = vec![model.clone()];
        for transaction in &self.transactions {
            model.apply(&self.schema, transaction).unwrap();
            prefixes.push(model.clone());
        }
        prefixes
    }

    /// How many transactions are at or before a position.
    fn count_to(&self, lsn: Lsn) -> usize {
        self.transactions.partition_point(|t| t.commit.lsn <= lsn)
    }

    /// The rows of a probe, joined at a position by a rule: then the rest applied as it comes. Says
    /// whether it is right at the position and everywhere after it, as far as is looked.
    fn joins(
        &self,
        probe: &Probe,
        at: Lsn,
        prefixes: &[Model],
        contains: &dyn Fn(&Commit) -> bool,
    ) -> bool {
        let count = self.count_to(at);
        let mut model = Model::of(&self.schema, &probe.snapshot.rows);
        for transaction in &self.transactions[..count] {
            if !contains(&transaction.commit) {
                model.apply(&self.schema, transaction).unwrap();
            }
        }
        if model != prefixes[count] {
            return false;
        }
        let rest = self.transactions[count..]
            .iter()
            .zip(&prefixes[count + 1..]);
        for (transaction, prefix) in rest.take(60) {
            model.apply(&self.schema, transaction).unwrap();
            if model != *prefix {
                return false;
            }
        }
        true
    }
}

/// Both legs, and what must fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_and_stream_are_joined_exactly() {
    let run = run().await;
    let prefixes = run.prefixes();
    assert_eq!(*prefixes.last().unwrap(), run.end, "the stream is whole");
    let mut wrong: HashMap<&str, usize> = HashMap::new();
    let mut not_a_prefix = 0;
    for probe in &run.probes {
        let fence = &probe.snapshot.fence;
        let Fence::Visible { snapshot, horizon } = fence else {
            panic!("{fence:?}");
        };
        // Leg one: what it sees is what it has.
        let mut seen = Model::default();
        let (mut last_seen, mut first_unseen) = (Lsn::ZERO, None);
        for transaction in &run.transactions {
            if fence.contains(&transaction.commit) {
                assert!(
                    transaction.commit.lsn <= *horizon,
                    "nothing seen is above the horizon"
                );
                seen.apply(&run.schema, transaction).unwrap();
                last_seen = transaction.commit.lsn;
            } else {
                first_unseen.get_or_insert(transaction.commit.lsn);
            }
        }
        assert_eq!(seen, Model::of(&run.schema, &probe.snapshot.rows));
        not_a_prefix += usize::from(first_unseen.is_some_and(|lsn| lsn < last_seen));
        // Leg two: what it has, with what it does not see, is the table.
        let contains = |commit: &Commit| fence.contains(commit);
        let installed_at = (*horizon).max(probe.streamed);
        assert!(run.joins(probe, installed_at, &prefixes, &contains));

        let mut control = |name, at, contains: &dyn Fn(&Commit) -> bool| {
            let fails = !run.joins(probe, at, &prefixes, contains);
            *wrong.entry(name).or_default() += usize::from(fails);
        };
        control("position", *horizon, &|commit| commit.lsn <= *horizon);
        control("no list", installed_at, &|commit| {
            commit.xid < snapshot.xmax
        });
        // Where the stream was when the rows came, which may be before some of what they contain.
        let behind = probe.streamed.min(Lsn::new(horizon.get() - 1));
        control("no waiting", behind, &contains);
    }
    let (transactions, probes) = (run.transactions.len(), run.probes.len());
    println!(
        "{transactions} transactions, {probes} snapshots, {not_a_prefix} no prefix, {wrong:?}"
    );
    assert!(transactions > 300 && probes > 30, "{transactions} {probes}");
    for (control, count) in &wrong {
        assert!(*count > 0, "{control} must fail");
    }
}

/// A transaction that waits for a standby which is not there is in the stream and in no snapshot,
/// for as long as it takes. A stream that is started meanwhile would not have it either, so it does
/// not start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_back_by_a_standby() {
    let site = Site::new().await;
    site.sql(TABLE).await;
    let schema = site.describe("t").await;
    let mut stream = site.db.changes().await.unwrap();
    let admin = site.foreign().await;
    let absent = Standby::absent(&admin).await;
    let writer = site.foreign().await;
    let (held, from) = (site.foreign().await, site.log_end().await);
    let waiting = tokio::spawn(async move {
        writer
            .batch_execute("SET synchronous_commit = on; INSERT INTO t VALUES (1, 1, 1, 'held')")
            .await
            .unwrap();
    });
    // The stream has it.
    let transaction = first_transaction(&mut stream).await;
    assert!(transaction.commit.lsn > from);
    // Others commit after it, and are seen.
    held.batch_execute("INSERT INTO t VALUES (2, 1, 1, 'free')")
        .await
        .unwrap();
    let snapshot = site.snapshot(&schema).await.unwrap();
    assert_eq!(snapshot.rows.len(), 1);
    assert!(!snapshot.fence.contains(&transaction.commit));
    assert!(transaction.commit.lsn < snapshot.fence.horizon());
    // The stream goes on, past the snapshot's horizon, and says that it is not visible.
    loop {
        let batch = next(&mut stream).await;
        let mut commits = batch.transactions.iter().map(|later| &later.commit);
        assert!(commits.all(|commit| snapshot.fence.contains(commit)));
        assert!(
            !batch
                .heartbeat
                .visible
                .unwrap()
                .sees(transaction.commit.xid)
        );
        if batch.heartbeat.lsn >= snapshot.fence.horizon() {
            break;
        }
    }
    let mut joined = Model::of(&schema, &snapshot.rows);
    joined.apply(&schema, &transaction).unwrap();
    assert_eq!(joined.rows.len(), 2);
    let opened = open_page(&site, &schema, &mut stream, &transaction).await;
    assert_eq!(
        Model::of(&schema, &opened),
        joined,
        "a page opened by now has both"
    );
    // Nothing starts at the present now: the present of the log is not that of snapshots.
    let started = tokio::time::timeout(Duration::from_millis(700), site.db.changes());
    assert!(started.await.is_err());
    absent.present().await;
    waiting.await.unwrap();
    assert_eq!(site.model(&schema).await, joined);
    site.db.changes().await.unwrap();
    loop {
        let batch = next(&mut stream).await;
        let visible = batch.heartbeat.visible;
        if visible.is_some_and(|visible| visible.sees(transaction.commit.xid)) {
            break;
        }
    }
}

async fn first_transaction(stream: &mut ChangeStream) -> Transaction {
    loop {
        if let Some(transaction) = next(stream).await.transactions.into_iter().next() {
            return transaction;
        }
    }
}

/// Opens a page of the whole table some time after a transaction was streamed.
async fn open_page(
    site: &Site,
    schema: &Arc<TableSchema>,
    stream: &mut ChangeStream,
    streamed: &Transaction,
) -> Vec<Row> {
    let mut pages = Pages::new(Limits::default());
    let mut effects = Vec::new();
    for change in streamed.tables.clone() {
        pages.apply(streamed.commit, change, &mut effects);
    }
    for _ in 0..3 {
        let batch = next(stream).await;
        pages.heartbeat(&batch.heartbeat, &mut effects);
    }
    // Commits of others bring batches without a heartbeat of ours in them.
    site.sql("CREATE TABLE other(id integer PRIMARY KEY)").await;
    site.describe("other").await;
    for id in 0..5 {
        site.sql(&format!("INSERT INTO other VALUES ({id})")).await;
        pages.heartbeat(&next(stream).await.heartbeat, &mut effects);
    }
    let request = whole(schema);
    pages
        .register(&request.tenant, Arc::clone(&request.query), &mut effects)
        .unwrap();
    let [Effect::NeedSeed(seed_request)] = effects[..] else {
        panic!("{effects:?}")
    };
    let Snapshot {
        fence,
        rows,
        complete,
    } = site.db.snapshot(request).await.unwrap();
    let seed = Seed {
        rows,
        complete,
        fence,
    };
    effects.clear();
    pages.seed(seed_request, seed, &mut effects);
    loop {
        if let [Effect::Opened { rows, .. }] = &effects[..] {
            return rows.clone();
        }
        pages.heartbeat(&next(stream).await.heartbeat, &mut effects);
    }
}

/// The server waits for a standby that does not exist, until this is dropped.
struct Standby<'a>(Option<&'a Client>);

impl<'a> Standby<'a> {
    async fn absent(admin: &'a Client) -> Self {
        let set = "ALTER SYSTEM SET synchronous_standby_names = 'nobody'";
        admin.batch_execute(set).await.unwrap();
        admin
            .batch_execute("SELECT pg_reload_conf()")
            .await
            .unwrap();
        let this = Self(Some(admin));
        while one(admin, "SHOW synchronous_standby_names").await != "nobody" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        this
    }

    async fn present(mut self) {
        if let Some(admin) = self.0.take() {
            reset(admin).await;
        }
    }
}

impl Drop for Standby<'_> {
    fn drop(&mut self) {
        if let Some(admin) = self.0 {
            // A failing test must not leave the server waiting for those after it.
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(reset(admin));
            });
        }
    }
}

async fn reset(admin: &Client) {
    let reset = "ALTER SYSTEM RESET synchronous_standby_names";
    admin.batch_execute(reset).await.unwrap();
    admin
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .unwrap();
}

/// Every transaction of the stream has an id of its own, wherever it came from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_are_told_apart() {
    let site = Site::new().await;
    site.sql(TABLE).await;
    let schema = site.describe("t").await;
    let mut stream = site.db.changes().await.unwrap();
    let writers = Writers::start(&site).await;
    while writers.done.load(Ordering::Relaxed) < 200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    writers.stop().await;
    let transactions = crate::harness::until(&mut stream, site.log_end().await).await;
    let ids: HashSet<u64> = transactions.iter().map(|t| t.commit.xid.get()).collect();
    assert_eq!(ids.len(), transactions.len());
    let mut dice = SmallRng::seed_from_u64(1);
    let some = transactions.choose(&mut dice).unwrap();
    assert!(
        site.snapshot(&schema)
            .await
            .unwrap()
            .fence
            .contains(&some.commit)
    );
}
