//! The hot cache in Redis, Valkey or KeyDB.
//!
//! A tail is a Redis stream whose entry ids are the positions, `EPOCH-OFFSET`. So Redis itself
//! refuses what is not higher than the newest, a late owner harms nothing, and no script is needed.
//! Only commands of Redis 6.2 are used, over RESP2, so that its relatives serve as well.
//!
//! What is deliberately absent: what the values mean, and any retry of a call. The cache is a
//! convenience; a call fails at once while the server is away, and clients get fresh pages.

#![warn(missing_docs)]

mod cache;
mod config;
mod error;
mod link;
mod shared_pages;
mod tail;

pub use cache::RedisCache;
pub use config::{RedisConfig, RedisUrl, UrlError};
pub use shared_pages::{RedisSharedPages, SharedPagesSettings};
