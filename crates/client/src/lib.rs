//! A Rust client: connect, subscribe, apply, resume.
//!
//! A [`Client`] is a connection that heals itself; a [`Subscription`] is a page that is live on it.
//! The page follows the contract literally and trusts nothing: a diff that does not fit ends in a
//! fresh page, an unreadable frame in a fresh connection, and a lost connection in a resume from
//! the last position.
//!
//! What is deliberately absent: knowledge of SQL, of columns and of queries' meaning. Rows are JSON
//! text from end to end, byte for byte as the server wrote it. The pure parts (page, state, frames,
//! back-off) know no socket and no clock.

#![warn(missing_docs)]

mod backoff;
mod client;
mod condition;
mod connection;
mod dial;
mod error;
mod frame;
mod live_page;
mod mailbox;
mod query;
mod rpc;
mod state;
mod subscription;

pub use client::Client;
pub use condition::{ColumnShape, ConditionError, TableShape, parse_condition, parse_order};
pub use connection::ConnectionState;
pub use dial::{Dial, Options};
pub use error::{Closed, ConnectError, Fault};
pub use live_page::{
    LivePage, PageChange, PageDiff, PageError, PagePosition, PageRow, PageSnapshot, SnapshotReason,
};
pub use mailbox::Update;
pub use query::QueryBuilder;
pub use rpc::{Payload, RpcReply};
pub use subscription::{Format, Slow, Subscribe, Subscription, SyncPoint};
