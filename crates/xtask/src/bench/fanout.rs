//! Fan-out, for as many sockets as the limit of open files allows.

use std::fs;

use anyhow::{Context, Result};

use super::build::Programs;
use super::table::{Table, number};
use super::tool::Tool;

/// Sockets, and rounds of each blast: fewer where a round is longer.
const RUNS: [(usize, usize); 2] = [(1_000, 40), (10_000, 6)];

/// Files of the bench that are not sockets, generously.
const OTHER_FILES: usize = 200;

pub(super) fn run(programs: &Programs) -> Result<()> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let files = open_files_max(&limits).context("/proc has another form than we know")?;
    // The bench holds a socket of the gateway and one of the bare sender for each listener.
    let sockets_max = files.saturating_sub(OTHER_FILES) / 2;
    let mut table = Table::new(
        "Fan-out: CPU seconds of the sending threads per million frames",
        &[
            "sockets",
            "bytes a frame",
            "frames a burst",
            "bare write",
            "gateway",
            "ratio",
        ],
    );
    for (sockets, rounds) in RUNS {
        let sockets = sockets.min(sockets_max).to_string();
        let mut tool = Tool::start(&programs.fanout, &[&sockets, &rounds.to_string()])?;
        let line = tool.expect_object()?;
        let bursts = line["bursts"].as_array().context("no bursts")?;
        for burst in bursts {
            table.row([
                sockets.clone(),
                line["frame_bytes"].to_string(),
                burst["burst"].to_string(),
                format!("{:.2}", number(burst, "bare")?),
                format!("{:.2}", number(burst, "gateway")?),
                format!("{:.2}x", number(burst, "ratio")?),
            ]);
        }
    }
    table.print();
    Ok(())
}

/// The soft limit.
fn open_files_max(limits: &str) -> Option<usize> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(usize::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    //! Shows that the limit of open files is read.

    use super::open_files_max;

    #[test]
    fn the_soft_limit_is_found() {
        let limits = "Limit   Soft Limit  Hard Limit  Units\n\
                      Max processes   127  127  processes\n\
                      Max open files  20000  40000  files\n";
        assert_eq!(open_files_max(limits), Some(20_000));
        assert_eq!(
            open_files_max("Max open files unlimited unlimited files"),
            Some(usize::MAX)
        );
        assert_eq!(open_files_max(""), None);
    }
}
