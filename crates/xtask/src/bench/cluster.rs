//! The parts as processes of their own, over real Kafka, Redis and Postgres.
//!
//! Where the time goes between a commit and a socket is told by the histograms of ages that the
//! parts export: their means, read before and after, differ by what each step takes.

use std::cell::RefCell;

use anyhow::{Context, Result};
use tidegate_engines::{Kind, Services};

use super::TABLE;
use super::build::Programs;
use super::commits::{Commits, Run, median};
use super::scrape::{Observed, metrics, observed};
use super::server::Server;
use super::subscribes;
use super::table::Table;
use super::usage::Usage;
use crate::tree::Tree;

/// Turns of each load; the medians count.
const TURNS: usize = 3;

const CLIENTS: u32 = 1_000;
const SECONDS: u32 = 10;

/// Rows a second, and rows of one transaction.
const LOADS: [(u32, u32); 3] = [(1_000, 1), (5_000, 5), (5_000, 50)];

/// The way of a diff: each step, the part that ends it, and the age it measures then.
const STEPS: [(&str, &str, &str); 6] = [
    (
        "commit to cdc",
        "cdc",
        "tidegate_cdc_commit_to_read_seconds",
    ),
    ("cdc to bus", "cdc", "tidegate_cdc_commit_to_bus_seconds"),
    (
        "bus to processor",
        "processor",
        "tidegate_processor_commit_to_read_seconds",
    ),
    (
        "processor to bus",
        "processor",
        "tidegate_processor_commit_to_bus_seconds",
    ),
    (
        "bus to gateway",
        "gateway",
        "tidegate_gateway_commit_to_read_seconds",
    ),
    (
        "gateway to socket",
        "gateway",
        "tidegate_gateway_commit_to_socket_seconds",
    ),
];

pub(super) fn run(tree: &Tree, programs: &Programs) -> Result<()> {
    let services = Services::start(&tree.target, &[Kind::Kafka, Kind::Redis, Kind::Postgres])?;
    let cluster = Cluster::start(&services, programs)?;
    let mut loads = Vec::new();
    for (rate, each) in LOADS {
        let turns = (0..TURNS).map(|_| cluster.turn(programs, (rate, each)));
        loads.push(((rate, each), turns.collect::<Result<Vec<_>>>()?));
    }
    latency(&loads)?;
    steps(&loads)?;
    cluster.cost(&loads)?;
    let parts = cluster.usages();
    subscribes::run(programs, cluster.gateway()?, &parts)
}

type Loads = [((u32, u32), Vec<Turn>)];

struct Turn {
    run: Run,
    /// Mean age after each step, in milliseconds.
    ages: Vec<f64>,
}

struct Cluster {
    /// By role.
    parts: Vec<(&'static str, Server)>,
    engines: Vec<(&'static str, Usage)>,
    postgres: String,
}

impl Cluster {
    fn start(services: &Services, programs: &Programs) -> Result<Self> {
        let postgres = services.address(Kind::Postgres);
        let bus = format!("kafka://{}", services.address(Kind::Kafka));
        let cache = services.address(Kind::Redis);
        let common = ["--bus", &bus, "--cache", cache, "--database", postgres];
        let machines = ["--admin", "127.0.0.1:0"];
        let mut parts = Vec::new();
        for (role, more) in [
            ("cdc", &machines[..]),
            ("processor", &machines[..]),
            // It tells its metrics where its clients are.
            ("gateway", &[]),
        ] {
            let flags = [&common[..], &["--roles", role], more].concat();
            parts.push((role, Server::start(&programs.server, &flags)?));
        }
        let mut engines = Vec::new();
        for (name, kind) in [
            ("kafka", Kind::Kafka),
            ("redis", Kind::Redis),
            ("postgres", Kind::Postgres),
        ] {
            let process = services.process_id(kind).context("just started")?;
            engines.push((name, Usage::of(process)));
        }
        Ok(Self {
            parts,
            engines,
            postgres: postgres.to_owned(),
        })
    }

    fn gateway(&self) -> Result<&str> {
        let (_, server) = self.parts.last().context("there are parts")?;
        Ok(&server.url)
    }

    /// The parts, then the engines.
    fn usages(&self) -> Vec<(&'static str, Usage)> {
        let parts = self
            .parts
            .iter()
            .map(|(role, server)| (*role, server.usage()));
        parts.chain(self.engines.iter().copied()).collect()
    }

    fn turn(&self, programs: &Programs, (rate, each): (u32, u32)) -> Result<Turn> {
        let commits = Commits {
            postgres: &self.postgres,
            table: TABLE,
            clients: CLIENTS,
            touched: 1,
            rate,
            each,
            seconds: SECONDS,
        };
        let usages: Vec<Usage> = self.usages().iter().map(|(_, usage)| *usage).collect();
        let before = RefCell::default();
        let run = commits.run(programs, self.gateway()?, &usages, || {
            before.replace(self.observed()?);
            Ok(())
        })?;
        let ages = self.observed()?.into_iter().zip(before.take());
        let ages = ages.map(|(after, before)| {
            let mean = after.mean_since(before).context("a step saw nothing")?;
            Ok(mean * 1e3)
        });
        let ages = ages.collect::<Result<_>>()?;
        Ok(Turn { run, ages })
    }

    /// The histograms of all steps.
    fn observed(&self) -> Result<Vec<Observed>> {
        let mut texts = Vec::new();
        for (role, server) in &self.parts {
            texts.push((*role, metrics(&server.url)?));
        }
        let of = |(_, part, name): &(&str, &str, &str)| {
            let (_, text) = texts.iter().find(|(role, _)| role == part)?;
            Some(observed(text, name))
        };
        let found: Option<Vec<Observed>> = STEPS.iter().map(of).collect();
        found.context("every step ends in a part")
    }

    fn cost(&self, loads: &Loads) -> Result<()> {
        let usages = self.usages();
        let names = usages.iter().map(|(name, _)| *name);
        let columns: Vec<&str> = ["changes/s", "rows a transaction"]
            .into_iter()
            .chain(names)
            .collect();
        let mut table = Table::new("CPU seconds per 1,000 changes, by process", &columns);
        for ((rate, each), turns) in loads {
            let thousands = f64::from(rate * SECONDS) / 1e3;
            let mut cells = vec![rate.to_string(), each.to_string()];
            for at in 0..usages.len() {
                let cpu = median(turns.iter().map(|turn| turn.run.cpu[at]))?;
                cells.push(format!("{:.3}", cpu / thousands));
            }
            table.cells(&cells);
        }
        table.print();
        Ok(())
    }
}

fn latency(loads: &Loads) -> Result<()> {
    let mut table = Table::new(
        "Through Kafka and PostgreSQL, 1,000 queries on 1,000 clients: milliseconds to the client",
        &[
            "changes/s",
            "rows a transaction",
            "arrivals",
            "from commit p50",
            "p99",
            "from when due p50",
            "p99",
            "commit alone p50",
            "p99",
        ],
    );
    for ((rate, each), turns) in loads {
        let of = |duration: &str, percentile: &str| {
            let figures = turns
                .iter()
                .map(|turn| turn.run.millis(duration, percentile));
            let figures = figures.collect::<Result<Vec<f64>>>()?;
            Ok::<_, anyhow::Error>(format!("{:.2}", median(figures)?))
        };
        let last = turns.last().context("there was a turn")?;
        table.row([
            rate.to_string(),
            each.to_string(),
            last.run.arrivals(),
            of("from_commit", "p50_ms")?,
            of("from_commit", "p99_ms")?,
            of("from_due", "p50_ms")?,
            of("from_due", "p99_ms")?,
            of("commit", "p50_ms")?,
            of("commit", "p99_ms")?,
        ]);
    }
    table.print();
    Ok(())
}

/// What each step takes, on average: a median of means over the turns.
fn steps(loads: &Loads) -> Result<()> {
    let names = STEPS.iter().map(|(name, _, _)| *name);
    let columns: Vec<&str> = ["changes/s", "rows a transaction"]
        .into_iter()
        .chain(names)
        .chain(["commit to socket"])
        .collect();
    let mut table = Table::new("Mean milliseconds of each step", &columns);
    for ((rate, each), turns) in loads {
        let mut cells = vec![rate.to_string(), each.to_string()];
        for at in 0..STEPS.len() {
            let step = |turn: &Turn| {
                let before = at.checked_sub(1).map_or(0.0, |before| turn.ages[before]);
                turn.ages[at] - before
            };
            cells.push(format!("{:.2}", median(turns.iter().map(step))?));
        }
        let whole = median(turns.iter().map(|turn| turn.ages[STEPS.len() - 1]))?;
        cells.push(format!("{whole:.2}"));
        table.cells(&cells);
    }
    table.print();
    Ok(())
}
