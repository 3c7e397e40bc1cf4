//! What the adapter promises, on a real server, with other programs writing to it.
//!
//! `cargo xtask test` starts a server and says where it is in `TIDEGATE_TEST_POSTGRES`. Each test
//! makes a database of its own on it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "tasks of a test end with its runtime"
)]

mod harness;
mod naive;

mod answers;
mod commands;
mod conformance;
mod engine;
mod join;
mod kinds;
mod life;
mod operators;
mod stream;
mod tables;
mod tenants;
#[cfg(feature = "tls")]
mod tls;
mod turns;
mod verdicts;
