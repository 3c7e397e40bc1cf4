//! `cargo xtask services`: a real Redis, PostgreSQL and Kafka for tests, and their end.
//!
//! Each runs on free ports of 127.0.0.1, in a folder of its own below the target folder, and lives
//! only as long as the task: it is stopped when the task ends or fails, and by the kernel when the
//! task is interrupted or killed (see [`process`]). Tests learn the addresses from the environment.

mod kafka;
mod ports;
mod postgres;
mod process;
mod redis;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Subcommand, ValueEnum};

use self::process::Process;
use crate::programs;
use crate::tree::Tree;

/// What to do with services.
#[derive(Subcommand)]
pub(crate) enum Action {
    /// Starts them, runs a command with their addresses in its environment, and stops them
    Run {
        /// Which ones, instead of all
        #[arg(long, value_delimiter = ',')]
        only: Vec<Kind>,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Starts them, prints their addresses, and keeps them until Ctrl-C
    Up {
        /// Which ones, instead of all
        #[arg(long, value_delimiter = ',')]
        only: Vec<Kind>,
    },
}

/// A service that tests may need.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Kind {
    Redis,
    Postgres,
    Kafka,
}

/// Services that run until this is dropped.
pub(crate) struct Services {
    running: Vec<Running>,
    folder: PathBuf,
}

/// One service, ready for use.
struct Running {
    kind: Kind,
    /// What its variable says.
    address: String,
    process: Process,
}

/// A service's own folder: its data go with it, its logs stay until the next run.
struct Place<'a> {
    tree: &'a Tree,
    folder: PathBuf,
}

/// Does one action.
pub(crate) fn run(tree: &Tree, action: Action) -> Result<()> {
    match action {
        Action::Run { only, command } => {
            let services = Services::start(tree, &or_all(only))?;
            let (program, arguments) = command.split_first().context("a command is needed")?;
            let mut command = process::bound_to_us("TERM");
            command.arg("--").arg(program).args(arguments);
            command.envs(services.environment());
            let status = command.status().context("setpriv could not be started")?;
            if !status.success() {
                bail!("{program} ended with {status}");
            }
            Ok(())
        }
        Action::Up { only } => {
            let services = Services::start(tree, &or_all(only))?;
            for (name, address) in services.environment() {
                println!("{name}={address}");
            }
            services.stay()
        }
    }
}

fn or_all(only: Vec<Kind>) -> Vec<Kind> {
    match only.is_empty() {
        true => Kind::value_variants().to_vec(),
        false => only,
    }
}

impl Services {
    /// Starts each kind and waits until it answers; what is missing is installed where we may.
    pub(crate) fn start(tree: &Tree, kinds: &[Kind]) -> Result<Self> {
        programs::ensure("setpriv", "util-linux", || {
            programs::starts("setpriv", "--version")
        })?;
        let all_runs = tree.target.join("services");
        remove_dead_runs(&all_runs)?;
        let folder = all_runs.join(std::process::id().to_string());
        let mut services = Self {
            running: Vec::new(),
            folder,
        };
        for &kind in kinds {
            if services.running.iter().any(|other| other.kind == kind) {
                continue;
            }
            let began = Instant::now();
            let place = Place::create(tree, services.folder.join(kind.to_string()))?;
            let running = kind
                .start(&place)
                .with_context(|| format!("{kind} did not start"))?;
            let seconds = began.elapsed().as_secs_f64();
            eprintln!("{kind} runs at {} after {seconds:.1} s", running.address);
            services.running.push(running);
        }
        Ok(services)
    }

    /// The variables that tell tests the addresses.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let variable = |running: &Running| (running.kind.variable(), running.address.clone());
        self.running.iter().map(variable).collect()
    }

    /// Blocks until one of them ends by itself, which is an error.
    fn stay(&self) -> Result<()> {
        loop {
            for running in &self.running {
                running.process.still_runs()?;
            }
        }
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        let kinds: Vec<Kind> = self.running.iter().map(|running| running.kind).collect();
        self.running.clear();
        for kind in kinds {
            // A folder that stays costs a little space, and the next run removes it.
            let _ = fs::remove_dir_all(self.folder.join(kind.to_string()).join("data"));
        }
    }
}

impl Kind {
    /// The variable that carries its address.
    fn variable(self) -> &'static str {
        match self {
            Self::Redis => "TIDEGATE_TEST_REDIS",
            Self::Postgres => "TIDEGATE_TEST_POSTGRES",
            Self::Kafka => "TIDEGATE_TEST_KAFKA",
        }
    }

    fn start(self, place: &Place<'_>) -> Result<Running> {
        match self {
            Self::Redis => redis::start(place),
            Self::Postgres => postgres::start(place),
            Self::Kafka => kafka::start(place),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::Kafka => "kafka",
        })
    }
}

impl<'a> Place<'a> {
    fn create(tree: &'a Tree, folder: PathBuf) -> Result<Self> {
        let place = Self { tree, folder };
        let data = place.data();
        fs::create_dir_all(&data).with_context(|| format!("{} cannot be made", data.display()))?;
        Ok(place)
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }
}

/// Removes the folders of runs that are over: they are called after the process that made them.
fn remove_dead_runs(all_runs: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(all_runs) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if Path::new("/proc").join(process.to_string()).exists() {
            continue;
        }
        let path = entry.path();
        fs::remove_dir_all(&path)
            .with_context(|| format!("{} cannot be removed", path.display()))?;
    }
    Ok(())
}

/// Runs a command of a service's preparation, silently, and is an error when it fails.
fn prepare(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("{program} could not be started; is it installed?"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} ended with {}: {}", output.status, said.trim());
    }
    Ok(())
}
