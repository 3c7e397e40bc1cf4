//! The program `tidegate`: one binary for one process with everything embedded, for a cluster, and
//! for all between them.

mod admin;
mod bridge;
mod cli;
mod clock;
mod commands;
mod config;
mod demo;
mod exit;
mod keeping;
mod readiness;
mod seams;
mod site;
mod system;
mod telemetry;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Command, CommandLine};

// Millions of small, short-lived frames from many threads: the allocator of the C library
// serializes them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let outcome = match CommandLine::parse().command {
        Command::Serve(flags) => commands::serve::run(flags.0),
        Command::Config(flags) => commands::config::run(flags.0),
        Command::Doctor(args) => commands::doctor::run(args),
        Command::Watch(args) => commands::watch::run(&args),
        Command::Rpc(args) => commands::rpc::run(&args),
        Command::Tap(args) => commands::tap::run(args),
        Command::MockWorker(args) => commands::mock_worker::run(args),
        Command::Produce(args) => commands::produce::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // The code says it as well, should nobody read the sentence.
            let _ = writeln!(std::io::stderr(), "tidegate: {failure}");
            failure.exit.into()
        }
    }
}
