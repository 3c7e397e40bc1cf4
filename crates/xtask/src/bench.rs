//! `cargo xtask bench`: what the program costs, as Markdown tables.
//!
//! Everything is built once, in release. The measuring itself is done by the benches of the crates
//! and by the load tool, which print a line of JSON; this task starts them, bounds them in time,
//! reads what the server used from `/proc`, and writes the tables of `docs/PERFORMANCE.md`. Cost is
//! told beside time, because a time alone says how busy the machine was.

mod build;
mod cluster;
mod commits;
mod fanout;
mod postgres;
mod scrape;
mod server;
mod subscribes;
mod table;
mod tool;
mod usage;

use anyhow::Result;
use clap::ValueEnum;
use serde_json::Value;

use self::build::{Adapters, Programs};
use self::server::Server;
use self::subscribes::sessions;
use self::table::{Table, number};
use self::tool::Tool;
use crate::tree::Tree;

/// What to measure.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measure {
    /// From a record on the bus to the sockets, beside a program that only writes
    Fanout,
    /// One change among many live queries
    Engine,
    /// From commit to client, on the whole program
    Latency,
    /// Memory of sessions that wait, and how fast subscriptions open
    Idle,
    /// One process over PostgreSQL, beside a plain server that asks again upon NOTIFY
    Postgres,
    /// The parts as processes of their own, over Kafka, Redis and PostgreSQL
    Cluster,
    /// All of these, and the start of the demo
    All,
}

/// The table that the load tool makes and fills.
const TABLE: &str = "bench";

pub(crate) fn run(tree: &Tree, measure: Measure) -> Result<()> {
    let adapters = match measure {
        Measure::Postgres | Measure::Cluster | Measure::All => Adapters::Cluster,
        Measure::Fanout | Measure::Engine | Measure::Latency | Measure::Idle => Adapters::None,
    };
    let programs = Programs::build(tree, adapters)?;
    let wants = |part| measure == Measure::All || measure == part;
    if wants(Measure::Engine) {
        engine(&programs)?;
    }
    if wants(Measure::Fanout) {
        fanout::run(&programs)?;
    }
    if wants(Measure::Latency) {
        latency(&programs)?;
    }
    if wants(Measure::Idle) {
        subscribes(&programs)?;
        idle(&programs)?;
    }
    if wants(Measure::Postgres) {
        postgres::run(tree, &programs)?;
    }
    if wants(Measure::Cluster) {
        cluster::run(tree, &programs)?;
    }
    if measure == Measure::All {
        demo(&programs)?;
    }
    Ok(())
}

fn engine(programs: &Programs) -> Result<()> {
    let mut tool = Tool::start(&programs.page, &[])?;
    let mut table = Table::new(
        "One change, 20 matching queries of 50 rows: microseconds",
        &[
            "live queries",
            "asking every query",
            "by the index",
            "ratio",
            "matches nothing",
            "20 edits",
        ],
    );
    while let Some(line) = tool.object()? {
        let (naive, indexed) = (number(&line, "naive_us")?, number(&line, "indexed_us")?);
        table.row([
            line["queries"].to_string(),
            format!("{naive:.1}"),
            format!("{indexed:.2}"),
            format!("{:.0}x", naive / indexed),
            format!("{:.2}", number(&line, "miss_us")?),
            format!("{:.1}", number(&line, "edit_us")?),
        ]);
    }
    table.print();
    Ok(())
}

/// Clients, queries, changes a second, and for how many seconds.
const LOADS: [(usize, usize, u32, u32); 4] = [
    (100, 100, 200, 10),
    (100, 100, 1_000, 10),
    (100, 100, 2_000, 10),
    (1_000, 1, 20, 15),
];

fn latency(programs: &Programs) -> Result<()> {
    let mut table = Table::new(
        "Commit to client: milliseconds from when the write was due",
        &[
            "clients",
            "queries",
            "changes/s",
            "arrivals",
            "p50",
            "p99",
            "p99.9",
            "server CPU s per 1,000 changes",
            "per 1,000 arrivals",
        ],
    );
    for (clients, queries, rate, seconds) in LOADS {
        let server = Server::start(&programs.server, &[])?;
        let (line, cpu) = load(programs, &server, (clients, queries, rate, seconds))?;
        let changes = f64::from(rate * seconds);
        let received = number(&line, "received")?;
        table.row([
            clients.to_string(),
            queries.to_string(),
            rate.to_string(),
            format!("{} of {}", line["received"], line["expected"]),
            format!("{:.2}", number(&line, "p50_ms")?),
            format!("{:.2}", number(&line, "p99_ms")?),
            format!("{:.2}", number(&line, "p999_ms")?),
            format!("{:.3}", cpu / changes * 1e3),
            format!("{:.3}", cpu / received * 1e3),
        ]);
    }
    table.print();
    Ok(())
}

/// Runs the load tool, and gives its line and the server's CPU seconds while it wrote.
fn load(
    programs: &Programs,
    server: &Server,
    (clients, queries, rate, seconds): (usize, usize, u32, u32),
) -> Result<(Value, f64)> {
    let arguments = [
        "latency",
        &server.url,
        TABLE,
        &clients.to_string(),
        &rate.to_string(),
        &seconds.to_string(),
        &queries.to_string(),
    ];
    let mut tool = Tool::start(&programs.load, &arguments)?;
    tool.expect_object()?;
    let before = server.cpu_seconds()?;
    let line = tool.expect_object()?;
    Ok((line, server.cpu_seconds()? - before))
}

fn subscribes(programs: &Programs) -> Result<()> {
    let server = Server::start(&programs.server, &[])?;
    // So many rows that every page is full.
    load(programs, &server, (1, 1, 2_000, 5))?;
    subscribes::run(programs, &server.url, &[("server", server.usage())])
}

fn idle(programs: &Programs) -> Result<()> {
    let mut table = Table::new(
        "Idle sessions with one subscription each, all of one query",
        &[
            "sessions",
            "RSS bytes each",
            "server RSS MiB",
            "CPU us per handshake and subscribe",
            "CPU % while idle",
        ],
    );
    for count in [1_000, 10_000] {
        let server = Server::start(&programs.server, &[])?;
        // One session first: what the page and the shard take is not the sessions'.
        let first = sessions(programs, &server.url, (1, 1, 1))?;
        let (rss, cpu) = (server.rss_bytes()?, server.cpu_seconds()?);
        let held = sessions(programs, &server.url, (count, 1, 1))?;
        let opened = server.cpu_seconds()? - cpu;
        let idle_percent = server.cpu_percent_over(std::time::Duration::from_secs(5))?;
        let after = server.rss_bytes()?;
        table.row([
            count.to_string(),
            format!("{:.0}", (after - rss) / count as f64),
            format!("{:.1}", after / (1 << 20) as f64),
            format!("{:.0}", opened / count as f64 * 1e6),
            format!("{idle_percent:.1}"),
        ]);
        drop((first, held));
    }
    table.print();
    Ok(())
}

/// First starts of the demo; the median of three counts.
fn demo(programs: &Programs) -> Result<()> {
    let mut starts = Vec::new();
    for _ in 0..3 {
        let server = Server::start(&programs.server, &["--demo"])?;
        starts.push((server.ready_seconds, server.cpu_seconds()?));
    }
    starts.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (seconds, cpu) = starts[1];
    let mut table = Table::new(
        "First start of the demo (50,000 orders) on an empty folder",
        &["seconds until ready", "CPU seconds"],
    );
    table.row([format!("{seconds:.2}"), format!("{cpu:.2}")]);
    table.print();
    Ok(())
}
