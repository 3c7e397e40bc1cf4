//! The program `tidegate`: one binary with everything embedded.

mod admin;
mod cli;
mod clock;
mod commands;
mod config;
mod demo;
mod exit;
mod readiness;
mod site;
mod system;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Command, CommandLine};
use crate::exit::Failure;

// Millions of small, short-lived frames from many threads: the allocator of the C library
// serializes them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let outcome = match CommandLine::parse().command {
        Command::Serve(flags) => commands::serve::run(flags.0),
        Command::Config(flags) => print_config(flags.0),
        Command::Watch(args) => commands::watch::run(&args),
        Command::Rpc(args) => commands::rpc::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("tidegate: {failure}");
            failure.exit.into()
        }
    }
}

fn print_config(flags: config::Flags) -> Result<(), Failure> {
    let (table, config) = commands::config::run(flags)?;
    print!("{table}");
    config?;
    Ok(())
}
