//! `cargo xtask oracle`: a long run of the page oracle over a Postgres of its own.
//!
//! The test is the one of the suite (`crates/postgres/tests/oracle`), built in release, with more
//! pages and until there are as many comparisons as asked for.

use anyhow::Result;
use clap::Args;

use crate::steps::succeed;
use crate::suite::cargo;
use crate::tree::Tree;
use tidegate_engines::{Kind, Services};

/// How long a run.
#[derive(Args)]
pub(crate) struct Length {
    /// Decides what is written and asked; how the server's transactions interleave, nothing does
    #[arg(long, default_value = "1")]
    seed: u64,
    /// Pages to compare, such as 500k or 10M
    #[arg(long, default_value = "1M", value_parser = count)]
    comparisons: u64,
    /// Pages of each tenant that are open at a time
    #[arg(long, default_value = "100")]
    pages: u64,
}

/// Runs it.
pub(crate) fn run(tree: &Tree, length: &Length) -> Result<()> {
    let services = Services::start(&tree.target, &[Kind::Postgres])?;
    let mut test = cargo(tree);
    test.args([
        "test",
        "--release",
        "-p",
        "tidegate-postgres",
        "--test",
        "oracle",
    ]);
    test.args(["--", "--nocapture"]);
    test.envs(services.environment());
    for (name, value) in [
        ("ORACLE_SEED", length.seed),
        ("ORACLE_COMPARISONS", length.comparisons),
        ("ORACLE_PAGES", length.pages),
    ] {
        test.env(name, value.to_string());
    }
    succeed(&mut test)
}

fn count(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1_000),
        Some(b'M') => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1),
    };
    let number: u64 = digits.parse().map_err(|_| "not a number".to_owned())?;
    number
        .checked_mul(unit)
        .ok_or_else(|| "too many".to_owned())
}

#[cfg(test)]
mod tests {
    //! Shows which ways of writing a number are taken.

    use super::count;

    #[test]
    fn thousands_and_millions_may_be_abbreviated() {
        assert_eq!(count("12"), Ok(12));
        assert_eq!(count("500k"), Ok(500_000));
        assert_eq!(count("10M"), Ok(10_000_000));
        for bad in [
            "",
            "M",
            "ten",
            "-1",
            "99999999999999999999",
            "99999999999999999M",
        ] {
            assert!(count(bad).is_err(), "{bad}");
        }
    }
}
