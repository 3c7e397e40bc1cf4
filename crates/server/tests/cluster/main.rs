//! The whole program over a real Kafka, Redis and Postgres.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod bridged;
mod calls;
mod chaos;
mod door;
mod engines;
#[path = "../e2e/harness.rs"]
#[expect(
    dead_code,
    reason = "shared with the other end-to-end tests, which use more of it"
)]
mod harness;
mod history;
mod old_gateway;
mod operators;
mod program;
mod queries;
mod recorded;
mod refusals;
mod split;
mod standby;
mod tenants;
mod tools;
mod watchers;
mod whole;
mod writers;
