//! Programs that tests need and the build image does not bring.
//!
//! What is missing is installed when we may, and is otherwise an error that says how: a test that
//! silently skips for want of a program proves nothing.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::steps::succeed;

/// Where Debian puts the browser, and where the console's tests look for it.
const CHROMIUM: &str = "/usr/bin/chromium";

/// Makes sure the browser of the console's tests is there.
pub(crate) fn ensure_chromium() -> Result<()> {
    ensure(CHROMIUM, "chromium", || Path::new(CHROMIUM).exists())
}

/// Makes sure Node.js and npm can be started.
pub(crate) fn ensure_node() -> Result<()> {
    for program in ["node", "npm"] {
        succeed(Command::new(program).arg("--version"))
            .with_context(|| format!("{program} is needed for the console's tests"))?;
    }
    Ok(())
}

/// Makes sure that something of the system is there, by installing its Debian package if need be.
pub(crate) fn ensure(what: &str, package: &str, is_there: impl Fn() -> bool) -> Result<()> {
    if is_there() {
        return Ok(());
    }
    if !Path::new("/usr/bin/apt-get").exists() || !is_root()? {
        bail!("{what} is missing; install it (Debian: apt-get install {package}), then run again");
    }
    succeed(apt_get().arg("update"))?;
    succeed(apt_get().args(["install", "--yes", "--no-install-recommends", package]))?;
    if !is_there() {
        bail!("apt-get installed {package}, but {what} is still missing");
    }
    Ok(())
}

/// Whether a program can be started and answers this argument with success.
pub(crate) fn starts(program: &str, argument: &str) -> bool {
    let status = Command::new(program)
        .arg(argument)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    // Another installation may be under way; waiting for it beats failing the suite.
    command.args(["--quiet", "--option", "DPkg::Lock::Timeout=300"]);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Whether we run as root: some programs may be installed only then, and some refuse to run so.
pub(crate) fn is_root() -> Result<bool> {
    let output = Command::new("id")
        .arg("-u")
        .output()
        .context("id could not be started")?;
    Ok(output.stdout.trim_ascii() == b"0")
}
