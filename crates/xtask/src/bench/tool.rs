//! A measuring program that runs: its lines of JSON, within a bound of time.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How long a tool may be silent. The slowest step, 100,000 pages to open, takes a tenth of it.
const SILENCE_MAX: Duration = Duration::from_secs(300);

/// A running tool. It is ended when this is dropped.
pub(super) struct Tool {
    child: Child,
    lines: Receiver<String>,
}

impl Tool {
    pub(super) fn start(program: &Path, arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            // The tools that hold something hold it until their input ends.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} could not be started", program.display()))?;
        let output = child.stdout.take().expect("asked for above");
        let (sender, lines) = channel();
        // Ends with the program, or when nobody listens any more.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }

    /// The next line, or none at the end of a success.
    pub(super) fn line(&mut self) -> Result<Option<String>> {
        match self.lines.recv_timeout(SILENCE_MAX) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => {
                bail!("the tool said nothing for {} s", SILENCE_MAX.as_secs())
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait()?;
                if !status.success() {
                    bail!("the tool ended with {status}");
                }
                Ok(None)
            }
        }
    }

    /// The next JSON object among the lines, or none at the end of a success.
    pub(super) fn object(&mut self) -> Result<Option<Value>> {
        while let Some(line) = self.line()? {
            if line.starts_with('{') {
                let object = serde_json::from_str(&line);
                return object
                    .with_context(|| format!("not JSON: {line}"))
                    .map(Some);
            }
        }
        Ok(None)
    }

    pub(super) fn expect_object(&mut self) -> Result<Value> {
        self.object()?.context("the tool ended without a result")
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
