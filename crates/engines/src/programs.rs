//! Programs that tests need and the build image does not bring.
//!
//! What is missing is installed when we may, and is otherwise an error that says how: a test that
//! silently skips for want of a program proves nothing.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::prepare;

/// Makes sure that something of the system is there, by installing its Debian package if need be.
///
/// # Errors
/// When it is missing and cannot be installed; says what to install.
pub fn ensure(what: &str, package: &str, is_there: impl Fn() -> bool) -> Result<()> {
    if is_there() {
        return Ok(());
    }
    if !Path::new("/usr/bin/apt-get").exists() || !is_root()? {
        bail!("{what} is missing; install it (Debian: apt-get install {package}), then run again");
    }
    prepare(apt_get().arg("update"))?;
    prepare(apt_get().args(["install", "--yes", "--no-install-recommends", package]))?;
    if !is_there() {
        bail!("apt-get installed {package}, but {what} is still missing");
    }
    Ok(())
}

/// Whether a program can be started and answers this argument with success.
pub fn starts(program: &str, argument: &str) -> bool {
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
///
/// # Errors
/// When nobody says.
pub fn is_root() -> Result<bool> {
    let output = Command::new("id")
        .arg("-u")
        .output()
        .context("id could not be started")?;
    Ok(output.stdout.trim_ascii() == b"0")
}
