//! `cargo xtask test`: the whole test suite, in the order in which a failure is cheapest to find.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::programs;
use crate::services::{Kind, Services};
use crate::steps::{Steps, succeed};
use crate::tree::Tree;

/// The packages whose tests speak to a real service, and to which.
const SERVICE_TESTS: &[(&str, Kind)] = &[
    ("tidegate-redis", Kind::Redis),
    ("tidegate-postgres", Kind::Postgres),
    ("tidegate-kafka", Kind::Kafka),
];

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
    let with_services = with_services(tree);
    let others = others(&with_services);
    // One build with the features of tests, so that the program under test and the tests share
    // every dependency: a later `cargo build -p tidegate` would build half of them again.
    steps.run("build", || {
        let build = ["build", "--bins", "--tests", "--examples"];
        succeed(cargo(tree).args(build).args(&others))
    });
    steps.run("cargo test", || {
        succeed(cargo(tree).args(["test", "--no-fail-fast"]).args(&others))
    });
    match extent {
        Extent::Fast => {}
        Extent::Whole => {
            add_service_steps(steps, tree, &with_services);
            steps.run("chromium", programs::ensure_chromium);
            steps.run("node", programs::ensure_node);
            steps.run("console tests", || console_tests(tree));
        }
    }
}

/// Starts the services, runs the tests that need them, and stops them.
fn add_service_steps(steps: &mut Steps, tree: &Tree, packages: &[(&str, Kind)]) {
    if packages.is_empty() {
        return;
    }
    let kinds: Vec<Kind> = packages.iter().map(|(_, kind)| *kind).collect();
    let mut services = None;
    steps.run("services", || {
        services = Some(Services::start(tree, &kinds)?);
        Ok(())
    });
    steps.run("service tests", || {
        let services = services.context("the services did not start")?;
        let mut test = cargo(tree);
        test.args(["test", "--no-fail-fast"]);
        for (package, _) in packages {
            test.args(["--package", package]);
        }
        succeed(test.envs(services.environment()))
    });
}

/// The packages of the workspace whose tests need a service.
fn with_services(tree: &Tree) -> Vec<(&'static str, Kind)> {
    let is_there = |name: &str| tree.packages.iter().any(|package| package.name == name);
    let known = SERVICE_TESTS.iter().copied();
    known.filter(|(name, _)| is_there(name)).collect()
}

/// Cargo's way to say: all packages but these.
fn others(packages: &[(&'static str, Kind)]) -> Vec<&'static str> {
    let mut arguments = vec!["--workspace"];
    for (package, _) in packages {
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
    //! Shows that tests which need a service are left to the step that has it, and no others.

    use std::path::PathBuf;

    use super::{Kind, others, with_services};
    use crate::tree::{Package, Tree};

    #[test]
    fn packages_with_services_are_excluded_when_they_exist() {
        let package = |name: &str| Package {
            name: name.to_owned(),
            manifest_path: PathBuf::new(),
            dependencies: Vec::new(),
        };
        let tree = Tree {
            root: PathBuf::new(),
            target: PathBuf::new(),
            packages: vec![package("tidegate-core"), package("tidegate-redis")],
        };
        let found = with_services(&tree);
        assert_eq!(found, [("tidegate-redis", Kind::Redis)]);
        assert_eq!(
            others(&found).join(" "),
            "--workspace --exclude tidegate-redis"
        );
        assert_eq!(others(&[]), ["--workspace"]);
    }
}
