//! `cargo xtask chaos`: the cluster under faults, for longer than the test suite can wait.
//!
//! It is the suite's own test, with a seed and a number of rounds of one's choice.

use anyhow::Result;

use crate::steps::succeed;
use crate::suite::cargo;
use crate::tree::Tree;

/// The test, which starts its engines itself.
const TEST: &[&str] = &[
    "test",
    "--package=tidegate",
    "--features=tidegate/cluster",
    "--test=cluster",
    "chaos::the_cluster_is_exact_under_faults",
    "--",
    "--exact",
    "--nocapture",
];

/// Runs it, and prints how long pages took to be current again after each fault.
pub(crate) fn run(tree: &Tree, seed: u64, rounds: u32) -> Result<()> {
    let mut test = cargo(tree);
    test.args(TEST)
        .env("TIDEGATE_CHAOS_SEED", seed.to_string())
        .env("TIDEGATE_CHAOS_ROUNDS", rounds.to_string());
    succeed(&mut test)
}
