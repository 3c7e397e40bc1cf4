//! What each command of the program does. Branches are in `main`, the work is in the files.

pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod mock_worker;
pub(crate) mod produce;
pub(crate) mod rpc;
pub(crate) mod serve;
pub(crate) mod tap;
mod target;
mod topics;
pub(crate) mod watch;

use std::io::Write;

/// Writes to standard output at once. Who reads it may have stopped, which is no failure of ours.
fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let said = stdout.write_all(text.as_bytes());
    if let Err(error) = said.and_then(|()| stdout.flush()) {
        tracing::debug!(error = %error, "nobody reads standard output");
    }
}
