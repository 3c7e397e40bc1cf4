//! A server to measure, on an empty folder of its own, and what the kernel says it used.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::tool::Tool;

/// Ticks of `/proc/PID/stat` in a second, on every Linux we know.
const TICKS_PER_SECOND: f64 = 100.0;

/// A running server. It is ended, and its folder removed, when this is dropped.
pub(super) struct Server {
    tool: Option<Tool>,
    folder: PathBuf,
    process: PathBuf,
    pub(super) url: String,
    /// From its start until it said that it is ready.
    pub(super) ready_seconds: f64,
}

impl Server {
    pub(super) fn start(program: &Path, flags: &[&str]) -> Result<Self> {
        let name = format!("tidegate-bench-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        // What an earlier process of the same id may have left.
        let _ = fs::remove_dir_all(&folder);
        let data = folder
            .to_str()
            .context("the temporary folder is not UTF-8")?;
        let mut arguments = vec!["serve", "--listen", "127.0.0.1:0", "--log", "warn"];
        arguments.extend(["--data", data]);
        arguments.extend(flags);
        let began = Instant::now();
        let mut tool = Tool::start(program, &arguments)?;
        let url = loop {
            let line = tool.line()?.context("the server ended by itself")?;
            if let Some(address) = line.strip_prefix("tidegate is ready: http://") {
                break format!("ws://{}", address.trim());
            }
        };
        Ok(Self {
            process: format!("/proc/{}", tool.id()).into(),
            tool: Some(tool),
            folder,
            url,
            ready_seconds: began.elapsed().as_secs_f64(),
        })
    }

    /// CPU seconds, user and system, since it started.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let text = fs::read_to_string(self.process.join("stat"))?;
        ticks(&text)
            .map(|ticks| ticks as f64 / TICKS_PER_SECOND)
            .context("/proc has another form than we know")
    }

    /// Memory in use.
    pub(super) fn rss_bytes(&self) -> Result<f64> {
        let text = fs::read_to_string(self.process.join("status"))?;
        resident_kib(&text)
            .map(|kib| kib as f64 * 1024.0)
            .context("/proc has another form than we know")
    }

    /// How much of one core it uses while nothing is asked of it.
    #[expect(
        clippy::disallowed_methods,
        reason = "idleness is measured over a time in which nothing happens"
    )]
    pub(super) fn cpu_percent_over(&self, time: Duration) -> Result<f64> {
        let before = self.cpu_seconds()?;
        thread::sleep(time);
        Ok((self.cpu_seconds()? - before) / time.as_secs_f64() * 100.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tool = None;
        // A folder that stays is in the temporary folder.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// User and system time from `/proc/PID/stat`. The name before them may hold anything, but ends
/// with the last parenthesis.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let mut next = || times.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
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

    use super::{resident_kib, ticks};

    #[test]
    fn times_are_found_after_any_name() {
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 25 13 14 20 0";
        assert_eq!(ticks(stat), Some(175));
        assert_eq!(ticks("42 tidegate S 1"), None);
    }

    #[test]
    fn memory_is_found() {
        let status = "Name:\ttidegate\nVmHWM:\t  90000 kB\nVmRSS:\t   81234 kB\n";
        assert_eq!(resident_kib(status), Some(81_234));
        assert_eq!(resident_kib("Name:\tx\n"), None);
    }
}
