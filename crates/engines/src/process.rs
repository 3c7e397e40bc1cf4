//! A process that ends when we do.
//!
//! Each service leads a process group of its own, so that Ctrl-C at the terminal does not reach it
//! before its users. It is stopped when its [`Process`] is dropped. For every other end of ours, be
//! it Ctrl-C or `kill -9`, it is started through `setpriv --pdeathsig`: the kernel then signals it
//! when its parent is gone. That is `prctl(PR_SET_PDEATHSIG)` without code of ours between fork and
//! exec, which could only be unsafe.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Between two looks at a service that starts.
const PROBE_EVERY: Duration = Duration::from_millis(50);

/// How long a service may take to stop before it is killed.
const STOP_MAX: Duration = Duration::from_secs(10);

/// How much of a log an error shows.
const LOG_LINES_SHOWN: usize = 12;

/// A running process; dropping it stops it.
pub(super) struct Process {
    name: &'static str,
    group: Pid,
    stop: Signal,
    ended: Receiver<io::Result<ExitStatus>>,
    log: PathBuf,
}

/// The begin of a command line whose program gets this signal when we end.
#[must_use]
pub fn bound_to_us(signal: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal]);
    command
}

impl Process {
    /// Starts a command, its output in the log.
    ///
    /// `setpriv` ties the process to the thread that starts it; call it from one that lives on.
    pub(super) fn start(
        name: &'static str,
        mut command: Command,
        stop: Signal,
        log: &Path,
    ) -> Result<Self> {
        let output = opened(log).with_context(|| format!("{} cannot be made", log.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0);
        let mut child = command
            .spawn()
            .with_context(|| format!("{name} could not be started"))?;
        let group = Pid::from_child(&child);
        let (sender, ended) = sync_channel(1);
        thread::spawn(move || {
            // Nobody listens any more when the process was stopped on purpose.
            let _ = sender.send(child.wait());
        });
        Ok(Self {
            name,
            group,
            stop,
            ended,
            log: log.to_owned(),
        })
    }

    /// The process itself: the first of its group.
    pub(super) fn id(&self) -> u32 {
        self.group.as_raw_nonzero().get().unsigned_abs()
    }

    /// Waits until the probe says yes; an end or too long a wait before that is an error.
    pub(super) fn wait_until(&self, limit: Duration, probe: impl Fn() -> bool) -> Result<()> {
        let began = Instant::now();
        while !probe() {
            self.still_runs()?;
            if began.elapsed() > limit {
                let seconds = limit.as_secs();
                bail!(
                    "{} was not ready within {seconds} s; {}",
                    self.name,
                    self.last_words()
                );
            }
        }
        Ok(())
    }

    /// Ends the process and its children as a power cut does.
    pub(super) fn kill(self) -> Result<()> {
        // A child of the server may have left its group, and would write on.
        let children = children(self.group);
        // A failure means that it has ended already, which is what we want.
        let _ = kill_process_group(self.group, Signal::KILL);
        for child in children {
            let _ = kill_process(child, Signal::KILL);
        }
        match self.ended.recv_timeout(STOP_MAX) {
            Ok(_) => Ok(()),
            Err(_) => bail!("{} was killed and lives", self.name),
        }
    }

    /// Waits until the process has ended with success.
    pub(super) fn finish(self, limit: Duration) -> Result<()> {
        match self.ended.recv_timeout(limit) {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(ended) => bail!(self.say_ended(ended)),
            Err(_) => bail!(
                "{} did not end within {} s; {}",
                self.name,
                limit.as_secs(),
                self.last_words()
            ),
        }
    }

    /// Is an error when the process has ended; else returns after a short wait.
    pub(super) fn still_runs(&self) -> Result<()> {
        match self.ended.recv_timeout(PROBE_EVERY) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Ok(ended) => bail!(self.say_ended(ended)),
            Err(RecvTimeoutError::Disconnected) => bail!("{} has ended", self.name),
        }
    }

    fn say_ended(&self, ended: io::Result<ExitStatus>) -> String {
        let how = match ended {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        format!("{} ended with {how}; {}", self.name, self.last_words())
    }

    /// Where the log is, and its end.
    fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let path = self.log.display();
        format!("its log {path} ends with:\n{}", last_lines(&text))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        for signal in [self.stop, Signal::KILL] {
            if !matches!(
                self.ended.try_recv(),
                Err(std::sync::mpsc::TryRecvError::Empty)
            ) {
                return;
            }
            // A failure means that the process has ended just now, which is what we want.
            let _ = kill_process_group(self.group, signal);
            if self.ended.recv_timeout(STOP_MAX).is_ok() {
                return;
            }
        }
        eprintln!("{} could not be stopped", self.name);
    }
}

/// What a process started and has not waited for.
fn children(of: Pid) -> Vec<Pid> {
    let of = of.as_raw_nonzero();
    let list = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    let numbers = list.split_whitespace().filter_map(|text| text.parse().ok());
    numbers.filter_map(Pid::from_raw).collect()
}

/// One that was started before goes on in its log.
fn opened(log: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(log)
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(LOG_LINES_SHOWN);
    lines[first..].join("\n")
}

#[cfg(test)]
mod tests {
    //! Shows that a process which ends early, hangs or fails is an error that shows its log, and
    //! that dropping one ends it.

    use std::path::PathBuf;
    use std::process::Command;
    use std::time::Duration;

    use rustix::process::{Signal, test_kill_process};

    use super::{Process, last_lines};

    const LONG: Duration = Duration::from_secs(60);

    fn shell(test: &str, script: &str) -> Process {
        let name = format!("xtask-{}-{test}.log", std::process::id());
        let log: PathBuf = std::env::temp_dir().join(name);
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start("sh", command, Signal::TERM, &log).unwrap()
    }

    #[test]
    fn an_early_end_is_an_error_that_shows_the_log() {
        let process = shell("early", "echo no such port; exit 3");
        let error = process.wait_until(LONG, || false).unwrap_err().to_string();
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.contains("no such port"), "{error}");
        assert!(error.contains("-early.log"), "{error}");
    }

    #[test]
    fn never_being_ready_is_an_error() {
        let process = shell("never", "sleep 600");
        let limit = Duration::from_millis(1);
        let error = process.wait_until(limit, || false).unwrap_err().to_string();
        assert!(error.contains("was not ready within"), "{error}");
    }

    #[test]
    fn success_and_failure_of_a_preparation_are_told_apart() {
        assert!(shell("success", "true").finish(LONG).is_ok());
        assert!(shell("failure", "false").finish(LONG).is_err());
        let hangs = shell("hangs", "sleep 600");
        assert!(hangs.finish(Duration::from_millis(1)).is_err());
    }

    #[test]
    fn dropping_ends_the_process_even_when_it_does_not_listen() {
        let process = shell("dropped", "sleep 600");
        let pid = process.group;
        assert!(test_kill_process(pid).is_ok());
        drop(process);
        assert!(test_kill_process(pid).is_err());
    }

    #[test]
    fn a_kill_takes_children_along_that_left_the_group() {
        let process = shell("killed", "setsid sleep 600 & wait");
        process
            .wait_until(LONG, || super::children(process.group).len() == 1)
            .unwrap();
        let child = super::children(process.group)[0];
        process.kill().unwrap();
        // It may stay a moment as what nobody has waited for.
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", child.as_raw_nonzero()));
        while state().is_ok_and(|state| !state.contains(") Z ")) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn only_the_end_of_a_log_is_shown() {
        let text: String = (0..100).map(|line| format!("{line}\n")).collect();
        assert_eq!(last_lines(&text).lines().next(), Some("88"));
        assert_eq!(last_lines("one"), "one");
    }
}
