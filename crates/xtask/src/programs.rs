//! Programs that tests need and the build image does not bring.
//!
//! What is missing is installed when we may, and is otherwise an error that says how: a test that
//! silently skips for want of a program proves nothing.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use tidegate_engines::programs::ensure;

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
