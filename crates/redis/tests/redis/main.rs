//! The cache against a real Redis, against one that dies and comes back, and against servers that
//! are none.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod outages;
mod shared_pages;
mod tails;
#[cfg(feature = "tls")]
mod tls;
mod world;
