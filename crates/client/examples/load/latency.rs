//! Open-loop: RATE rows a second are written, each of which moves one query's page.
//!
//! CLIENTS sockets have one subscription each to one of QUERIES different queries (as many as
//! clients unless said otherwise). Latency counts from the moment at which a write was due, not
//! from when it was sent, so that a stall is not hidden. One line is printed when the first write
//! is near, one at the end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tidegate_client::{Client, Options, PageChange, Payload, Subscribe, Update};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, timeout};

use crate::{Failure, argument, make_table};

/// Calls that may be under way at once: what the server allows a session. Past this the server is
/// the bottleneck, and the due times say so.
const CALLS_MAX: usize = 32;

struct Load {
    url: String,
    table: String,
    clients: usize,
    rate: u32,
    seconds: u32,
    queries: usize,
}

impl Load {
    fn from_arguments(arguments: &mut impl Iterator<Item = String>) -> Result<Self, Failure> {
        let (url, table) = (argument(arguments, "URL")?, argument(arguments, "TABLE")?);
        let clients = argument(arguments, "CLIENTS")?;
        let (rate, seconds) = (
            argument(arguments, "RATE")?,
            argument(arguments, "SECONDS")?,
        );
        let queries = match arguments.next() {
            Some(text) => argument(&mut std::iter::once(text), "QUERIES")?,
            None => clients,
        };
        if clients == 0 || rate == 0 || queries == 0 {
            return Err("CLIENTS, RATE and QUERIES are at least 1".into());
        }
        Ok(Self {
            url,
            table,
            clients,
            rate,
            seconds,
            queries,
        })
    }
}

pub(crate) async fn run(arguments: &mut impl Iterator<Item = String>) -> Result<(), Failure> {
    let load = Load::from_arguments(arguments)?;
    let writer = Client::connect(Options::new(&load.url)).await?;
    make_table(&writer, &load.table).await?;
    let (arrivals, arrived) = mpsc::channel(65_536);
    let (ready, mut readiness) = watch::channel(0_usize);
    let ready = Arc::new(ready);
    let mut readers = JoinSet::new();
    for number in 0..load.clients {
        let client = Client::connect(Options::new(&load.url)).await?;
        let subscribe = newest(&load.table, number % load.queries, 20)?;
        readers.spawn(read(
            client,
            subscribe,
            arrivals.clone(),
            Arc::clone(&ready),
        ));
    }
    drop(arrivals);
    readiness.wait_for(|ready| *ready == load.clients).await?;
    // Who counts the server's CPU seconds begins here.
    println!("{}", json!({ "ready": load.clients }));
    let (due, latencies) = write(&load, &writer, arrived).await?;
    readers.abort_all();
    report(&load, due, latencies);
    Ok(())
}

/// The newest rows of a bucket.
pub(crate) fn newest(table: &str, bucket: usize, limit: usize) -> Result<Subscribe, Failure> {
    let test = json!({ "field_name": "bucket", "filter_type": "equals",
        "value": { "Int64Value": { "value": bucket.to_string() } } });
    let query = json!({ "limit": limit, "order": [{ "field": "id", "sort": "DESC_DEFAULT" }],
        "wrapper": { "filter_wrapper_type": "and", "filters": [test] } });
    Ok(Subscribe::from_json(table, &query.to_string())?)
}

/// Notes when each row is first shown.
pub(crate) async fn read(
    client: Client,
    subscribe: Subscribe,
    arrivals: mpsc::Sender<(u64, Instant)>,
    ready: Arc<watch::Sender<usize>>,
) -> Result<(), Failure> {
    let mut subscription = client.subscribe(subscribe).await?;
    subscription.ready().await?;
    ready.send_modify(|ready| *ready += 1);
    while let Some(update) = subscription.next().await {
        let now = Instant::now();
        let Update::Diff(diff) = update else { continue };
        for change in diff.changes {
            if let PageChange::Added { row, .. } = change {
                arrivals.send((row.pk.parse()?, now)).await?;
            }
        }
    }
    Ok(())
}

/// Writes on schedule, and gathers the latency of every arrival.
async fn write(
    load: &Load,
    writer: &Client,
    mut arrived: mpsc::Receiver<(u64, Instant)>,
) -> Result<(usize, Vec<Duration>), Failure> {
    let mut random = SmallRng::seed_from_u64(1);
    let start = Instant::now() + Duration::from_millis(200);
    let mut clock = interval_at(start, Duration::from_secs(1) / load.rate);
    let mut due: HashMap<u64, Instant> = HashMap::new();
    let (mut calls, mut latencies) = (JoinSet::new(), Vec::new());
    let listeners = load.clients.div_ceil(load.queries).max(1);
    let total = u64::from(load.rate) * u64::from(load.seconds);
    // Keys rise over runs, so that a new row is always the newest of its page.
    let first = highest(writer, &load.table).await? + 1;
    for id in first..first + total {
        let at = clock.tick().await;
        due.insert(id, at);
        let bucket = random.random_range(0..load.queries);
        let row =
            json!({ "row": { "id": id.to_string(), "bucket": bucket, "text": "x".repeat(100) } });
        let (writer, table) = (writer.clone(), load.table.clone());
        let payload = Payload::parse(&row.to_string())?;
        if calls.len() >= CALLS_MAX
            && let Some(call) = calls.join_next().await
        {
            call??;
        }
        calls.spawn(async move { writer.rpc("ADD_SINGLE", Some(&table), payload).await });
        while let Ok((id, at)) = arrived.try_recv() {
            latencies.extend(due.get(&id).map(|due| at - *due));
        }
    }
    for call in calls.join_all().await {
        call?;
    }
    let expected = total as usize * listeners;
    while latencies.len() < expected {
        let Ok(Some((id, at))) = timeout(Duration::from_secs(10), arrived.recv()).await else {
            break;
        };
        latencies.extend(due.get(&id).map(|due| at - *due));
    }
    Ok((expected, latencies))
}

async fn highest(writer: &Client, table: &str) -> Result<u64, Failure> {
    let payload = Payload::parse(r#"{"maximumFields":["id"]}"#)?;
    let reply = writer.rpc("RUN_AGGREGATION", Some(table), payload).await?;
    let data: serde_json::Value = serde_json::from_str(&reply.data)?;
    let highest = &data["maximumValues"]["id"];
    let text = highest
        .as_str()
        .map_or_else(|| highest.to_string(), str::to_owned);
    Ok(text.parse().unwrap_or(0))
}

fn report(load: &Load, expected: usize, latencies: Vec<Duration>) {
    let mut line = json!({
        "clients": load.clients, "queries": load.queries, "rate": load.rate,
        "expected": expected, "received": latencies.len(),
    });
    if let (Some(line), Value::Object(figures)) = (line.as_object_mut(), spread(latencies)) {
        line.extend(figures);
    }
    println!("{line}");
}

/// The percentiles of durations.
pub(crate) fn spread(mut durations: Vec<Duration>) -> Value {
    durations.sort_unstable();
    let at = |share: f64| {
        let index =
            ((durations.len() as f64 * share) as usize).min(durations.len().saturating_sub(1));
        durations
            .get(index)
            .map(|duration| duration.as_secs_f64() * 1_000.0)
    };
    json!({
        "p50_ms": at(0.5), "p90_ms": at(0.9), "p99_ms": at(0.99), "p999_ms": at(0.999),
    })
}
