//! Open-loop, from commits of another program: rows are written to Postgres itself, RATE a second
//! in transactions of EACH rows, and clients wait for them.
//!
//! CLIENTS sockets have one subscription each, all to different queries, of which every row
//! concerns TOUCHED: the newest of its bucket, more or less of them. Three moments of every row are
//! known: when its transaction was due, when its commit was acknowledged, and when a client showed
//! it. Arrivals are told from both of the first two, and the commit's own time beside them: it is
//! the database's, but a writer waits for it as well. With no clients it is the writes alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tidegate_client::{Client, Options};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, timeout};

use crate::latency::{newest, read, spread};
use crate::table::{Writer, prepare_table};
use crate::{Failure, argument};

/// Connections that write. Past this many commits at once the database is the bottleneck, and the
/// due times say so.
const WRITERS: usize = 16;

/// Rows of the smallest page of a bucket.
const LIMIT: usize = 20;

struct Load {
    url: String,
    postgres: String,
    table: String,
    clients: usize,
    touched: usize,
    rate: u32,
    each: u32,
    seconds: u32,
}

impl Load {
    fn from_arguments(arguments: &mut impl Iterator<Item = String>) -> Result<Self, Failure> {
        let load = Self {
            url: argument(arguments, "URL")?,
            postgres: argument(arguments, "POSTGRES")?,
            table: argument(arguments, "TABLE")?,
            clients: argument(arguments, "CLIENTS")?,
            touched: argument(arguments, "TOUCHED")?,
            rate: argument(arguments, "RATE")?,
            each: argument(arguments, "EACH")?,
            seconds: argument(arguments, "SECONDS")?,
        };
        if load.touched == 0 || load.each == 0 || load.rate < load.each {
            return Err("TOUCHED and EACH are at least 1, RATE at least EACH".into());
        }
        Ok(load)
    }
}

pub(crate) async fn run(arguments: &mut impl Iterator<Item = String>) -> Result<(), Failure> {
    let load = Load::from_arguments(arguments)?;
    let mut driving = JoinSet::new();
    let first = prepare_table(&load.postgres, &load.table, &mut driving).await? + 1;
    let mut writers = Vec::with_capacity(WRITERS);
    for _ in 0..WRITERS {
        writers.push(Writer::connect(&load.postgres, &load.table, &mut driving).await?);
    }
    let (arrivals, arrived) = mpsc::channel(65_536);
    let (ready, mut readiness) = watch::channel(0_usize);
    let ready = Arc::new(ready);
    let mut readers = JoinSet::new();
    for number in 0..load.clients {
        let client = Client::connect(Options::new(&load.url)).await?;
        let (bucket, more) = (number / load.touched, number % load.touched);
        let subscribe = newest(&load.table, bucket, LIMIT + more)?;
        readers.spawn(read(
            client,
            subscribe,
            arrivals.clone(),
            Arc::clone(&ready),
        ));
    }
    drop(arrivals);
    readiness.wait_for(|ready| *ready == load.clients).await?;
    // Who counts CPU seconds begins here.
    println!("{}", json!({ "ready": load.clients }));
    let measured = write(&load, first, writers, arrived).await?;
    readers.abort_all();
    measured.report(&load);
    Ok(())
}

/// The three moments.
#[derive(Default)]
struct Measured {
    /// By transaction.
    due: Vec<Instant>,
    acknowledged: Vec<Option<Instant>>,
    /// By row and client.
    shown: Vec<(u64, Instant)>,
}

/// Writes on schedule, and gathers every arrival.
async fn write(
    load: &Load,
    first: u64,
    writers: Vec<Writer>,
    mut arrived: mpsc::Receiver<(u64, Instant)>,
) -> Result<Measured, Failure> {
    let mut random = SmallRng::seed_from_u64(1);
    let start = Instant::now() + Duration::from_millis(200);
    let mut clock = interval_at(start, Duration::from_secs(1) * load.each / load.rate);
    let total = u64::from(load.rate / load.each) * u64::from(load.seconds);
    let (give_back, mut idle) = mpsc::channel(WRITERS);
    for writer in writers {
        give_back
            .try_send(writer)
            .map_err(|_| "there is room for all")?;
    }
    let mut measured = Measured::default();
    let mut commits: JoinSet<Result<(usize, Instant), Failure>> = JoinSet::new();
    for number in 0..total {
        measured.due.push(clock.tick().await);
        let writer = idle.recv().await.ok_or("no writer is left")?;
        let ids =
            first + number * u64::from(load.each)..first + (number + 1) * u64::from(load.each);
        let rows = ids.map(|id| (id, random.random_range(0..load.buckets())));
        let (rows, give_back) = (rows.collect::<Vec<_>>(), give_back.clone());
        commits.spawn(async move {
            writer.insert(&rows).await?;
            let acknowledged = Instant::now();
            // All places for writers are the writers' own.
            let _ = give_back.try_send(writer);
            Ok((number as usize, acknowledged))
        });
        while let Ok(arrival) = arrived.try_recv() {
            measured.take(arrival, first);
        }
    }
    measured.acknowledged.resize(measured.due.len(), None);
    for commit in commits.join_all().await {
        let (number, at) = commit?;
        measured.acknowledged[number] = Some(at);
    }
    while measured.shown.len() < load.expected() {
        let Ok(Some(arrival)) = timeout(Duration::from_secs(10), arrived.recv()).await else {
            break;
        };
        measured.take(arrival, first);
    }
    Ok(measured)
}

impl Load {
    fn buckets(&self) -> usize {
        (self.clients / self.touched).max(1)
    }

    /// Arrivals, if every bucket has its clients.
    fn expected(&self) -> usize {
        let rows = self.rate / self.each * self.each * self.seconds;
        rows as usize * self.touched.min(self.clients)
    }
}

impl Measured {
    /// What is still under way of an earlier load is passed over.
    fn take(&mut self, (id, at): (u64, Instant), first: u64) {
        self.shown
            .extend(id.checked_sub(first).map(|row| (row, at)));
    }

    fn report(&self, load: &Load) {
        let transaction = |row: u64| (row / u64::from(load.each)) as usize;
        let due = |row| self.due.get(transaction(row)).copied();
        let acknowledged = |row| self.acknowledged.get(transaction(row)).copied().flatten();
        let since = |from: &dyn Fn(u64) -> Option<Instant>| {
            let ages = self.shown.iter().filter_map(|(row, at)| {
                // The client may be faster than the word of the commit.
                Some(at.saturating_duration_since(from(*row)?))
            });
            spread(ages.collect())
        };
        let commits = self.due.iter().zip(&self.acknowledged);
        let commits = commits
            .filter_map(|(due, at)| Some((*at)? - *due))
            .collect();
        let per_client: HashMap<&str, serde_json::Value> = HashMap::from([
            ("commit", spread(commits)),
            ("from_due", since(&due)),
            ("from_commit", since(&acknowledged)),
        ]);
        let mut line = json!({
            "clients": load.clients, "touched": load.touched, "rate": load.rate,
            "expected": load.expected(), "received": self.shown.len(),
        });
        for (name, figures) in per_client {
            line[name] = figures;
        }
        println!("{line}");
    }
}
