//! What the kernel says that processes used.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Ticks of `/proc/PID/stat` in a second, on every Linux we know.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process and its children: some servers have one for each connection.
#[derive(Clone, Copy)]
pub(super) struct Usage {
    process: u32,
}

impl Usage {
    pub(super) fn of(process: u32) -> Self {
        Self { process }
    }

    /// CPU seconds, user and system, since it started: its own, those of its children, and those
    /// of children that have ended.
    pub(super) fn cpu_seconds(self) -> Result<f64> {
        let mut sum = None;
        let mut children = 0;
        for entry in fs::read_dir("/proc")? {
            let path = entry?.path();
            // It may have ended since it was listed, and most entries are no processes.
            let Some(stat) = stat(&path) else { continue };
            let is_own = path.ends_with(self.process.to_string());
            if is_own {
                sum = Some(stat.own + stat.ended_children);
            } else if stat.parent == self.process {
                children += stat.own;
            }
        }
        let sum = sum.context("the process has ended")? + children;
        Ok(sum as f64 / TICKS_PER_SECOND)
    }

    /// Memory in use, without the children's.
    pub(super) fn rss_bytes(self) -> Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.process))?;
        resident_kib(&text)
            .map(|kib| kib as f64 * 1024.0)
            .context("/proc has another form than we know")
    }
}

/// What `/proc/PID/stat` says, times in ticks.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    own: u64,
    ended_children: u64,
}

fn stat(process: &Path) -> Option<Stat> {
    parse(&fs::read_to_string(process.join("stat")).ok()?)
}

/// The name before the figures may hold anything, but ends with the last parenthesis.
fn parse(stat: &str) -> Option<Stat> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(number(1)?).ok()?,
        own: number(11)? + number(12)?,
        ended_children: number(13)? + number(14)?,
    })
}

fn resident_kib(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    //! Shows that the right fields of `/proc` are read, whatever a program is called.

    use super::{Stat, parse, resident_kib};

    #[test]
    fn times_and_the_parent_are_found_after_any_name() {
        let stat = "42 (a) b) S 7 2 3 4 5 6 7 8 9 10 150 25 13 14 20 0";
        let expect = Stat {
            parent: 7,
            own: 175,
            ended_children: 27,
        };
        assert_eq!(parse(stat), Some(expect));
        assert_eq!(parse("42 tidegate S 1"), None);
    }

    #[test]
    fn memory_is_found() {
        let status = "Name:\ttidegate\nVmHWM:\t  90000 kB\nVmRSS:\t   81234 kB\n";
        assert_eq!(resident_kib(status), Some(81_234));
        assert_eq!(resident_kib("Name:\tx\n"), None);
    }
}
