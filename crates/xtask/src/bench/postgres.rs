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
const RATE: u32 = 1_000;
const SECONDS: u32 = 10;

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
    let mut tidegate = Vec::new();
    let mut rerun = Vec::new();
    let mut alone = Vec::new();
    for _ in 0..TURNS {
        tidegate.push(site.tidegate()?);
        rerun.push(site.rerun()?);
        alone.push(site.alone()?);
    }
    report(&[("tidegate", &tidegate), ("asking again", &rerun)], &alone)?;

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
    fn commits<'a>(&'a self, table: &'a str) -> Commits<'a> {
        Commits {
            postgres: self.address,
            table,
            clients: CLIENTS,
            rate: RATE,
            each: 1,
            seconds: SECONDS,
        }
    }

    fn tidegate(&self) -> Result<Run> {
        let server = Server::start(&self.programs.server, &["--database", self.address])?;
        let usages = [server.usage(), self.postgres];
        let commits = self.commits(TABLE);
        commits.run(self.programs, &server.url, &usages, || Ok(()))
    }

    fn rerun(&self) -> Result<Run> {
        let arguments = ["rerun", self.address, RERUN_TABLE];
        let mut server = Tool::start(&self.programs.load, &arguments)?;
        let line = server.expect_object()?;
        let url = line["url"].as_str().context("it tells no address")?;
        let usages = [Usage::of(server.id()), self.postgres];
        let commits = self.commits(RERUN_TABLE);
        commits.run(self.programs, url, &usages, || Ok(()))
    }

    /// The writes with nobody who watches: what Postgres takes anyway.
    fn alone(&self) -> Result<f64> {
        let commits = Commits {
            clients: 0,
            ..self.commits(TABLE)
        };
        let run = commits.run(self.programs, "", &[self.postgres], || Ok(()))?;
        run.cpu.first().copied().context("one was asked for")
    }
}

fn report(servers: &[(&str, &[Run])], alone: &[f64]) -> Result<()> {
    let mut latency = Table::new(
        "One process over PostgreSQL: milliseconds to the client",
        &[
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
    let mut cost = Table::new(
        "CPU seconds per 1,000 changes, and changes per CPU second",
        &[
            "server",
            "server",
            "PostgreSQL more than for the writes",
            "changes per server CPU s",
            "per CPU s of both",
        ],
    );
    let thousands = f64::from(RATE * SECONDS) / 1e3;
    let writes = median(alone.iter().copied())?;
    for (name, runs) in servers {
        let of = |duration: &str, percentile: &str| {
            let figures = runs.iter().map(|run| run.millis(duration, percentile));
            let figures = figures.collect::<Result<Vec<f64>>>()?;
            Ok::<_, anyhow::Error>(format!("{:.2}", median(figures)?))
        };
        let last = runs.last().context("there was a turn")?;
        latency.row([
            (*name).to_owned(),
            last.arrivals(),
            of("from_commit", "p50_ms")?,
            of("from_commit", "p99_ms")?,
            of("from_due", "p50_ms")?,
            of("from_due", "p99_ms")?,
            of("commit", "p50_ms")?,
            of("commit", "p99_ms")?,
        ]);
        let own = median(runs.iter().map(|run| run.cpu[0]))? / thousands;
        let more = (median(runs.iter().map(|run| run.cpu[1]))? - writes) / thousands;
        cost.row([
            (*name).to_owned(),
            format!("{own:.3}"),
            format!("{more:.3}"),
            format!("{:.0}", 1e3 / own),
            format!("{:.0}", 1e3 / (own + more)),
        ]);
    }
    latency.print();
    cost.print();
    let writes = writes / thousands;
    println!("The writes alone cost PostgreSQL {writes:.3} CPU seconds per 1,000.");
    Ok(())
}
