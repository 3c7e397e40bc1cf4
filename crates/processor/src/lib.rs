//! The processor: owner of pages, publisher of their diffs.
//!
//! Each partition of the bus has one owner at a time. The owner takes changes and leases from the
//! bus, keeps the pages of live queries exact with `tidegate-view`, and publishes every net change
//! as a diff with a dense offset. [`run`] is the owner's loop and does the I/O; what it decides
//! stands in `partition`, which is synchronous and does none.
//!
//! Invariants:
//! - Only the owner gives positions. Each term of ownership is a new life, handed out by the
//!   database, so that late output of an earlier owner has lower epochs and is dropped by everyone.
//! - What is decided while records are handled is published before the next record is polled, in
//!   order. Not polling is the backpressure.
//! - A page is registered before its rows are read.
//!
//! What is deliberately absent: sockets, clients, SQL.

mod effects;
mod gatherer;
mod lease;
mod metrics;
mod owner;
mod page_state;
mod partition;
mod seed_queue;

pub use owner::{Config, Ports, Processor, run};
