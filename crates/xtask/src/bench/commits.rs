//! Commits of another program in Postgres, and how long each takes to its client.

use anyhow::{Context, Result};
use serde_json::Value;

use super::build::Programs;
use super::table::number;
use super::tool::Tool;
use super::usage::Usage;

/// What is written and who watches.
#[derive(Clone, Copy)]
pub(super) struct Commits<'a> {
    pub(super) postgres: &'a str,
    pub(super) table: &'a str,
    /// Clients, each with a query of its own.
    pub(super) clients: u32,
    /// Queries that a row concerns.
    pub(super) touched: u32,
    /// Rows a second.
    pub(super) rate: u32,
    /// Rows of one transaction.
    pub(super) each: u32,
    pub(super) seconds: u32,
}

/// What came of it.
pub(super) struct Run {
    line: Value,
    /// CPU seconds of each process while it was written.
    pub(super) cpu: Vec<f64>,
}

impl Commits<'_> {
    /// Writes, and counts what these processes used meanwhile. `at_start` is called when all
    /// clients wait.
    pub(super) fn run(
        &self,
        programs: &Programs,
        url: &str,
        usages: &[Usage],
        at_start: impl FnOnce() -> Result<()>,
    ) -> Result<Run> {
        let numbers = [
            self.clients,
            self.touched,
            self.rate,
            self.each,
            self.seconds,
        ]
        .map(|number| number.to_string());
        let mut arguments = vec!["commits", url, self.postgres, self.table];
        arguments.extend(numbers.iter().map(String::as_str));
        let mut tool = Tool::start(&programs.load, &arguments)?;
        tool.expect_object()?;
        let before = seconds(usages)?;
        at_start()?;
        let line = tool.expect_object()?;
        let after = seconds(usages)?;
        let cpu = after
            .iter()
            .zip(before)
            .map(|(after, before)| after - before);
        Ok(Run {
            line,
            cpu: cpu.collect(),
        })
    }
}

impl Run {
    /// A percentile of one of the durations.
    pub(super) fn millis(&self, duration: &str, percentile: &str) -> Result<f64> {
        number(&self.line[duration], percentile)
    }

    /// Arrivals, as `received of expected`.
    pub(super) fn arrivals(&self) -> String {
        format!("{} of {}", self.line["received"], self.line["expected"])
    }
}

fn seconds(usages: &[Usage]) -> Result<Vec<f64>> {
    usages.iter().map(|usage| usage.cpu_seconds()).collect()
}

/// The middle one of some figures.
pub(super) fn median(figures: impl IntoIterator<Item = f64>) -> Result<f64> {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.get(figures.len() / 2);
    middle.copied().context("nothing was measured")
}
