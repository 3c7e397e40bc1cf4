//! Why a gateway cannot be made, or has stopped.

use std::io;
use std::net::SocketAddr;

/// A failure of the gateway as a whole.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Without authentication, other machines must not reach it.
    #[error("without authentication the gateway listens on loopback only, not on {0}")]
    OpenToAll(SocketAddr),
    /// The address cannot be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A shard's thread or runtime could not be started.
    #[error("cannot start a shard")]
    Start(#[source] io::Error),
    /// A shard came to an end by a defect. Its sessions are lost and its invariants with them.
    #[error("a shard panicked")]
    ShardLost,
    /// A task of the gateway came to an end by a defect.
    #[error("a task of the gateway panicked")]
    TaskLost(#[source] tokio::task::JoinError),
}
