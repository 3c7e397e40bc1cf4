//! A server to measure, on an empty folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::tool::Tool;
use super::usage::Usage;

/// A running server. It is ended, and its folder removed, when this is dropped.
pub(super) struct Server {
    tool: Option<Tool>,
    folder: PathBuf,
    usage: Usage,
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
            usage: Usage::of(tool.id()),
            tool: Some(tool),
            folder,
            url,
            ready_seconds: began.elapsed().as_secs_f64(),
        })
    }

    /// What its process uses.
    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// CPU seconds, user and system, since it started.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        self.usage.cpu_seconds()
    }

    /// Memory in use.
    pub(super) fn rss_bytes(&self) -> Result<f64> {
        self.usage.rss_bytes()
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
