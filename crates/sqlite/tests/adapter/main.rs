//! What the adapter promises, on real files, with other programs writing to them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

mod answers;
mod commands;
mod conformance;
mod creating;
mod life;
mod random;
mod schema;
mod special;
mod tenants;
