//! The project's own tasks, run as `cargo xtask TASK`.
//!
//! The tasks are Rust and not scripts so that they run wherever the project builds, and so that
//! the rules they enforce have tests of their own.

mod bench;
mod chaos;
mod ci;
mod codegen;
mod oracle;
mod programs;
mod services;
mod steps;
mod suite;
mod tidy;
mod tree;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::bench::Measure;
use crate::services::Action;
use crate::suite::Extent;
use crate::tree::Tree;

/// The project's own tasks.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Checks everything a change must pass: format, tidy, lints, the whole test suite
    Ci,
    /// Checks the house rules: crate arrows, sizes, documents, words, generated code
    Tidy,
    /// Runs the whole test suite
    Test {
        /// Only what needs nothing but the toolchain: no browser, no services
        #[arg(long)]
        fast: bool,
    },
    /// Measures a release build, and prints tables
    Bench {
        #[arg(value_enum, default_value = "all")]
        measure: Measure,
    },
    /// Kills every part and every engine of a cluster under load, and holds pages against SQL
    Chaos {
        /// What the random choices begin with
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How often everything dies; after the first time in another order
        #[arg(long, default_value_t = 3)]
        rounds: u32,
    },
    /// Compares pages over a real PostgreSQL with a plain evaluation, for as long as wanted
    Oracle(oracle::Length),
    /// Starts the real Redis, PostgreSQL and Kafka that some tests need
    Services {
        #[command(subcommand)]
        action: Action,
    },
    /// Writes the code that is generated from `schemas`
    Codegen {
        /// Only says whether the generated code is current
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        // One line: a backtrace into the tasks themselves helps nobody whose change is refused.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Ci => ci::run(&Tree::load()?),
        Task::Tidy => tidy::run(&Tree::load()?),
        Task::Test { fast } => {
            let extent = if fast { Extent::Fast } else { Extent::Whole };
            suite::run(&Tree::load()?, extent)
        }
        Task::Bench { measure } => bench::run(&Tree::load()?, measure),
        Task::Chaos { seed, rounds } => chaos::run(&Tree::load()?, seed, rounds),
        Task::Oracle(length) => oracle::run(&Tree::load()?, &length),
        Task::Services { action } => services::run(&Tree::load()?, action),
        Task::Codegen { check } => codegen::run(check),
    }
}
