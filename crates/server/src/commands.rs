//! What each command of the program does. Branches are in `main`, the work is in the files.

pub(crate) mod config;
pub(crate) mod rpc;
pub(crate) mod serve;
mod target;
pub(crate) mod watch;
