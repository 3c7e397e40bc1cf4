//! Sessions, subscriptions and fan-out of diffs over WebSockets.
//!
//! Reading order: [`Gateway`], then `shard` (a thread and all it owns), `channel` (the rules of
//! delivery), `outbox` (what a socket did not take yet). What is deliberately absent: any knowledge
//! of what rows and changes say (they are text here, copied as it is), of SQL, and of which bus,
//! cache or database is behind the seams.

mod auth;
mod census;
mod channel;
mod config;
mod error;
mod frame;
mod gateway;
mod http;
mod interest;
mod listening;
mod loader;
mod metrics;
mod outbox;
mod outboxes;
mod reading;
mod rounds;
mod session;
mod shard;
mod subscription;
mod ws;

pub use auth::{Auth, JwtAlgorithm, JwtConfig, JwtConfigError, Principal};
pub use channel::HistoryLimits;
pub use config::{
    GatewayConfig, GatewayLimits, GatewayPorts, HttpHook, HttpReply, HttpRequest, Pages,
};
pub use error::GatewayError;
pub use gateway::Gateway;
pub use outbox::OutboxLimits;
