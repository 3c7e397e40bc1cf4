//! `cargo xtask services`: a real Redis, PostgreSQL and Kafka for tests, and their end.
//!
//! They live only as long as the task. Tests learn the addresses from the environment.

use anyhow::{Context, Result, bail};
use clap::{Subcommand, ValueEnum};
use tidegate_engines::{Kind, Services, bound_to_us};

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

/// Does one action.
pub(crate) fn run(tree: &Tree, action: Action) -> Result<()> {
    match action {
        Action::Run { only, command } => {
            let services = Services::start(&tree.target, &or_all(only))?;
            let (program, arguments) = command.split_first().context("a command is needed")?;
            let mut command = bound_to_us("TERM");
            command.arg("--").arg(program).args(arguments);
            command.envs(services.environment());
            let status = command.status().context("setpriv could not be started")?;
            if !status.success() {
                bail!("{program} ended with {status}");
            }
            Ok(())
        }
        Action::Up { only } => {
            let services = Services::start(&tree.target, &or_all(only))?;
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
