//! The gateway over real sockets, with every seam in memory and the processor played by the test.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod delivery;
mod sessions;
mod upgrade;
mod world;
