//! What each command of the program does. Branches are here, the work is in the files.

pub(crate) mod config;
pub(crate) mod rpc;
mod target;
pub(crate) mod watch;
