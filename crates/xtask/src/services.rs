//! Programs that tests need and the build image does not bring.
//!
//! What is missing is installed when we may, and is otherwise an error that says how: a test that
//! silently skips for want of a program proves nothing.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::steps::succeed;

/// Where Debian puts the browser, and where the console's tests look for it.
const CHROMIUM: &str = "/usr/bin/chromium";

/// Makes sure the browser of the console's tests is there.
pub(crate) fn ensure_chromium() -> Result<()> {
    if Path::new(CHROMIUM).exists() {
        return Ok(());
    }
    if !Path::new("/usr/bin/apt-get").exists() || !is_root()? {
        bail!(
            "{CHROMIUM} is missing; install it (Debian: apt-get install chromium), then run again"
        );
    }
    succeed(apt_get().arg("update"))?;
    succeed(apt_get().args(["install", "--yes", "--no-install-recommends", "chromium"]))?;
    if !Path::new(CHROMIUM).exists() {
        bail!("apt-get installed chromium, but {CHROMIUM} is still missing");
    }
    Ok(())
}

/// Makes sure Node.js and npm can be started.
pub(crate) fn ensure_node() -> Result<()> {
    for program in ["node", "npm"] {
        succeed(Command::new(program).arg("--version"))
            .with_context(|| format!("{program} is needed for the console's tests"))?;
    }
    Ok(())
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    // Another installation may be under way; waiting for it beats failing the suite.
    command.args(["--quiet", "--option", "DPkg::Lock::Timeout=300"]);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_root() -> Result<bool> {
    let output = Command::new("id")
        .arg("-u")
        .output()
        .context("id could not be started")?;
    Ok(output.stdout.trim_ascii() == b"0")
}
