//! `cargo xtask test`: the whole test suite, in the order in which a failure is cheapest to find.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::services;
use crate::steps::{Steps, succeed};
use crate::tree::Tree;

/// How much of the suite to run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What needs nothing but the toolchain.
    Fast,
    /// That, and what needs a browser.
    Whole,
}

/// Runs the suite as a task of its own.
pub(crate) fn run(tree: &Tree, extent: Extent) -> Result<()> {
    let mut steps = Steps::default();
    add_steps(&mut steps, tree, extent);
    steps.finish()
}

/// Runs the suite as part of a longer task.
pub(crate) fn add_steps(steps: &mut Steps, tree: &Tree, extent: Extent) {
    // One build with the features of tests, so that the program under test and the tests share
    // every dependency: a later `cargo build -p tidegate` would build half of them again.
    steps.run("build", || {
        succeed(cargo(tree).args(["build", "--workspace", "--bins", "--tests", "--examples"]))
    });
    steps.run("cargo test", || {
        succeed(cargo(tree).args(["test", "--workspace", "--no-fail-fast"]))
    });
    match extent {
        Extent::Fast => {}
        Extent::Whole => {
            steps.run("chromium", services::ensure_chromium);
            steps.run("node", services::ensure_node);
            steps.run("console tests", || console_tests(tree));
        }
    }
}

/// Drives the console in a real browser against the program that was just built.
fn console_tests(tree: &Tree) -> Result<()> {
    let folder = tree.root.join("console/test");
    require(
        &folder.join("package-lock.json"),
        "the console's tests and their lock file live there",
    )?;
    let program = tree.target.join("debug").join("tidegate");
    require(&program, "the build step makes it; see why it did not")?;
    succeed(npm(&folder).args(["ci", "--no-audit", "--no-fund"]))?;
    succeed(npm(&folder).arg("test").env("TIDEGATE_BIN", &program))
}

fn require(path: &Path, reason: &str) -> Result<()> {
    if !path.exists() {
        bail!("{} is missing: {reason}", path.display());
    }
    Ok(())
}

fn npm(folder: &Path) -> Command {
    let mut command = Command::new("npm");
    command.current_dir(folder);
    command
}

/// Cargo at the root of the tree.
pub(crate) fn cargo(tree: &Tree) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(&tree.root);
    command
}
