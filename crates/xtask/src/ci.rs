//! `cargo xtask ci`: everything a change must pass, the same at the desk and on the build server.

use anyhow::Result;

use crate::steps::{Steps, succeed};
use crate::suite::{self, Extent, cargo};
use crate::tidy;
use crate::tree::Tree;

/// Runs format, tidy, lints and the whole suite, and prints what each took.
pub(crate) fn run(tree: &Tree) -> Result<()> {
    let mut steps = Steps::default();
    steps.run("format", || {
        succeed(cargo(tree).args(["fmt", "--all", "--check"]))
    });
    steps.run("tidy", || tidy::run(tree));
    steps.run("clippy", || {
        let lint = [
            "clippy",
            "--workspace",
            "--features",
            "tidegate/cluster",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ];
        succeed(cargo(tree).args(lint))
    });
    suite::add_steps(&mut steps, tree, Extent::Whole);
    steps.finish()
}
