//! One process over Postgres, bus and cache in memory, beside a plain server.
//!
//! The plain server runs the touched query again upon NOTIFY; it stands in the load tool, with what
//! it does and does not do. The two, and the writes alone, take turns in one run, so that what else
//! the machine does meets all of them alike.

use anyhow::{Context, Result};
use tidegate_engines::{Kind, Services};

use super::TABLE;
use super::build::Programs;
use super::commits::{Commits, Run, median};
use super::server::Server;
use super::subscribes;
use super::table::Table;
use super::tool::Tool;
use super::usage::Usage;
use crate::tree::Tree;

/// Turns of each; the medians count.
const TURNS: usize = 5;

const CLIENTS: u32 = 1_000;
const SECONDS: u32 = 10;

/// Rows a second, and queries of those that each concerns: one, as in the smallest of examples, and
/// ten, as when lists of several people and orders show it.
const LOADS: [(u32, u32); 2] = [(1_000, 1), (200, 10)];

/// The plain server's own table, for it has a trigger.
const RERUN_TABLE: &str = "rerun";

pub(super) fn run(tree: &Tree, programs: &Programs) -> Result<()> {
    let services = Services::start(&tree.target, &[Kind::Postgres])?;
    let address = services.address(Kind::Postgres);
    let process = services.process_id(Kind::Postgres);
    let site = Site {
        programs,
        address,
        postgres: Usage::of(process.context("just started")?),
    };
    let mut measured = Vec::new();
    for load in LOADS {
        let (mut tidegate, mut rerun, mut alone) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..TURNS {
            tidegate.push(site.tidegate(load)?);
            rerun.push(site.rerun(load)?);
            alone.push(site.alone(load)?);
        }
        measured.push(Measured {
            load,
            servers: [("tidegate", tidegate), ("asking again", rerun)],
            alone: median(alone)?,
        });
    }
    latency(&measured)?;
    cost(&measured)?;

    let server = Server::start(&programs.server, &["--database", address])?;
    let parts = [("server", server.usage()), ("postgres", site.postgres)];
    subscribes::run(programs, &server.url, &parts)
}

struct Site<'a> {
    programs: &'a Programs,
    address: &'a str,
    postgres: Usage,
}

impl Site<'_> {
    fn commits<'a>(&'a self, table: &'a str, (rate, touched): (u32, u32)) -> Commits<'a> {
        Commits {
            postgres: self.address,
            table,
            clients: CLIENTS,
            touched,
            rate,
            each: 1,
            seconds: SECONDS,
        }
    }

    fn tidegate(&self, load: (u32, u32)) -> Result<Run> {
        let server = Server::start(&self.programs.server, &["--database", self.address])?;
        let usages = [server.usage(), self.postgres];
        let commits = self.commits(TABLE, load);
        commits.run(self.programs, &server.url, &usages, || Ok(()))
    }

    fn rerun(&self, load: (u32, u32)) -> Result<Run> {
        let arguments = ["rerun", self.address, RERUN_TABLE];
        let mut server = Tool::start(&self.programs.load, &arguments)?;
        let line = server.expect_object()?;
        let url = line["url"].as_str().context("it tells no address")?;
        let usages = [Usage::of(server.id()), self.postgres];
        let commits = self.commits(RERUN_TABLE, load);
        commits.run(self.programs, url, &usages, || Ok(()))
    }

    /// The writes with nobody who watches: what Postgres takes anyway.
    fn alone(&self, load: (u32, u32)) -> Result<f64> {
        let commits = Commits {
            clients: 0,
            ..self.commits(TABLE, load)
        };
        let run = commits.run(self.programs, "", &[self.postgres], || Ok(()))?;
        run.cpu.first().copied().context("one was asked for")
    }
}

/// What came of one load.
struct Measured {
    load: (u32, u32),
    servers: [(&'static str, Vec<Run>); 2],
    /// CPU seconds of Postgres for the writes alone.
    alone: f64,
}

fn latency(measured: &[Measured]) -> Result<()> {
    let mut table = Table::new(
        "One process over PostgreSQL, 1,000 queries on 1,000 clients: milliseconds to the client",
        &[
            "changes/s",
            "queries touched",
            "server",
            "arrivals",
            "from commit p50",
            "p99",
            "from when due p50",
            "p99",
            "commit alone p50",
            "p99",
        ],
    );
    for Measured { load, servers, .. } in measured {
        for (name, runs) in servers {
            let of = |duration: &str, percentile: &str| {
                let figures = runs.iter().map(|run| run.millis(duration, percentile));
                let figures = figures.collect::<Result<Vec<f64>>>()?;
                Ok::<_, anyhow::Error>(format!("{:.2}", median(figures)?))
            };
            let last = runs.last().context("there was a turn")?;
            table.row([
                load.0.to_string(),
                load.1.to_string(),
                (*name).to_owned(),
                last.arrivals(),
                of("from_commit", "p50_ms")?,
                of("from_commit", "p99_ms")?,
                of("from_due", "p50_ms")?,
                of("from_due", "p99_ms")?,
                of("commit", "p50_ms")?,
                of("commit", "p99_ms")?,
            ]);
        }
    }
    table.print();
    Ok(())
}

fn cost(measured: &[Measured]) -> Result<()> {
    let mut table = Table::new(
        "CPU seconds per 1,000 changes, and changes per CPU second",
        &[
            "changes/s",
            "queries touched",
            "server",
            "its CPU s",
            "PostgreSQL's for it",
            "PostgreSQL's for the writes",
            "changes per server CPU s",
            "per CPU s of both",
        ],
    );
    for one in measured {
        let thousands = f64::from(one.load.0 * SECONDS) / 1e3;
        let writes = one.alone / thousands;
        for (name, runs) in &one.servers {
            let own = median(runs.iter().map(|run| run.cpu[0]))? / thousands;
            let more = median(runs.iter().map(|run| run.cpu[1]))? / thousands - writes;
            table.row([
                one.load.0.to_string(),
                one.load.1.to_string(),
                (*name).to_owned(),
                format!("{own:.3}"),
                format!("{more:.3}"),
                format!("{writes:.3}"),
                format!("{:.0}", 1e3 / own),
                format!("{:.0}", 1e3 / (own + more)),
            ]);
        }
    }
    table.print();
    Ok(())
}
