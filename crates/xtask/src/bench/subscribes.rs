//! How fast subscriptions open, cold and warm, and what each takes.

use anyhow::Result;
use serde_json::Value;

use super::TABLE;
use super::build::Programs;
use super::table::{Table, number};
use super::tool::Tool;
use super::usage::Usage;

/// Different queries that are opened cold, then warm: so many on each of so many sessions.
const SESSIONS: usize = 100;
const EACH: usize = 100;

/// Opens pages cold, then warm, at a gateway whose parts are these processes. The table is there
/// and has enough rows.
pub(super) fn run(programs: &Programs, url: &str, parts: &[(&str, Usage)]) -> Result<()> {
    let mut rates = Table::new(
        "Subscribing, pages of 20 rows by primary key",
        &[
            "pages",
            "subscriptions",
            "subscriptions/s",
            "part",
            "CPU ms each",
            "RSS bytes each",
        ],
    );
    let mut held = Vec::new();
    for pages in ["cold: read from the database", "warm: open already"] {
        let before = read(parts)?;
        let (tool, line) = sessions(programs, url, (SESSIONS, EACH, SESSIONS * EACH))?;
        let after = read(parts)?;
        let count = number(&line, "subscriptions")?;
        let rate = count / number(&line, "subscribe_seconds")?;
        for ((name, _), (before, after)) in parts.iter().zip(before.iter().zip(after)) {
            rates.row([
                pages.to_owned(),
                format!("{count:.0}"),
                format!("{rate:.0}"),
                (*name).to_owned(),
                format!("{:.3}", (after.0 - before.0) / count * 1e3),
                format!("{:.0}", (after.1 - before.1) / count),
            ]);
        }
        held.push(tool);
    }
    rates.print();
    Ok(())
}

/// CPU seconds and bytes of each part.
fn read(parts: &[(&str, Usage)]) -> Result<Vec<(f64, f64)>> {
    let read = |(_, usage): &(&str, Usage)| Ok((usage.cpu_seconds()?, usage.rss_bytes()?));
    parts.iter().map(read).collect()
}

/// Runs the load tool until its sessions are open, and gives it and its line.
pub(super) fn sessions(
    programs: &Programs,
    url: &str,
    (sessions, each, queries): (usize, usize, usize),
) -> Result<(Tool, Value)> {
    let arguments = [
        "sessions",
        url,
        TABLE,
        &sessions.to_string(),
        &each.to_string(),
        &queries.to_string(),
    ];
    let mut tool = Tool::start(&programs.load, &arguments)?;
    let line = tool.expect_object()?;
    Ok((tool, line))
}
