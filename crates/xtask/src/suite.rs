//! `cargo xtask test`: the whole test suite, in the order in which a failure is cheapest to find.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use clap::ValueEnum;
use tidegate_engines::{Kind, Services};

use crate::programs;
use crate::steps::{Steps, succeed};
use crate::tree::Tree;

/// The packages that are tests of an engine's adapter: without the engine they have nothing to run.
const ENGINE_PACKAGES: &[&str] = &["tidegate-redis", "tidegate-postgres", "tidegate-kafka"];

/// The program with every adapter, and with them its tests over real engines.
const WITH_ENGINES: &[&str] = &["--workspace", "--features", "tidegate/cluster,tidegate/tls"];

/// How much of the suite to run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What needs nothing but the toolchain.
    Fast,
    /// That, and what needs a browser or a service.
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
    match extent {
        Extent::Fast => add_test_steps(steps, tree, &without_engines(tree), None),
        Extent::Whole => {
            let mut services = None;
            steps.run("services", || {
                services = Some(Services::start(&tree.target, Kind::value_variants())?);
                Ok(())
            });
            add_test_steps(steps, tree, WITH_ENGINES, services.as_ref());
            drop(services);
            steps.run("chromium", programs::ensure_chromium);
            steps.run("node", programs::ensure_node);
            steps.run("console tests", || console_tests(tree));
        }
    }
}

/// One build with the features of tests, so that the program under test and the tests share every
/// dependency: a later `cargo build -p tidegate` would build half of them again.
///
/// Without the services, the tests that need one fail and say so.
fn add_test_steps(steps: &mut Steps, tree: &Tree, selection: &[&str], services: Option<&Services>) {
    steps.run("build", || {
        let build = ["build", "--bins", "--tests", "--examples"];
        succeed(cargo(tree).args(build).args(selection))
    });
    steps.run("cargo test", || {
        let mut test = cargo(tree);
        test.args(["test", "--no-fail-fast"]).args(selection);
        succeed(test.envs(services.map(Services::environment).unwrap_or_default()))
    });
}

/// Cargo's way to say: all packages but those that are nothing without an engine.
fn without_engines(tree: &Tree) -> Vec<&'static str> {
    let is_there = |name: &str| tree.packages.iter().any(|package| package.name == name);
    let mut arguments = vec!["--workspace"];
    for package in ENGINE_PACKAGES.iter().filter(|name| is_there(name)) {
        arguments.extend(["--exclude", package]);
    }
    arguments
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

#[cfg(test)]
mod tests {
    //! Shows that tests which need an engine are left out where there is none, and no others.

    use std::path::PathBuf;

    use super::without_engines;
    use crate::tree::{Package, Tree};

    #[test]
    fn packages_of_engines_are_excluded_when_they_exist() {
        let package = |name: &str| Package {
            name: name.to_owned(),
            manifest_path: PathBuf::new(),
            dependencies: Vec::new(),
        };
        let tree = |names: &[&str]| Tree {
            root: PathBuf::new(),
            target: PathBuf::new(),
            packages: names.iter().map(|name| package(name)).collect(),
        };
        let some = without_engines(&tree(&["tidegate-core", "tidegate-redis"]));
        assert_eq!(some.join(" "), "--workspace --exclude tidegate-redis");
        assert_eq!(without_engines(&tree(&["tidegate-core"])), ["--workspace"]);
    }
}
