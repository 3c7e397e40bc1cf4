//! What a gateway is made with: typed settings, and the bounds of everything that could grow.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_core::{LimitRule, Tenancy};
use tidegate_ports::{Bus, Database, HotCache};

use crate::auth::Auth;
use crate::channel::HistoryLimits;
use crate::outbox::OutboxLimits;

/// The three seams, as the gateway uses them.
#[derive(Clone)]
pub struct GatewayPorts {
    /// Diffs come from here, leases go there.
    pub bus: Arc<dyn Bus>,
    /// What clients missed, when the shard's own tail does not reach back far enough.
    pub cache: Arc<dyn HotCache>,
    /// Schemas and procedures.
    pub database: Arc<dyn Database>,
}

impl fmt::Debug for GatewayPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewayPorts")
    }
}

/// Who keeps the pages that clients subscribe to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pages {
    /// A processor of ours. It knows a query by its content, so many clients share a page, and
    /// what it publishes says everything.
    #[default]
    Processor,
    /// A stream processor that is not ours. It knows a query by the name that a client gave it,
    /// reads it as it was written, and publishes what only clients understand.
    Foreign,
}

/// A GET or HEAD that is not the gateway's own.
#[derive(Debug, Clone, Copy)]
pub struct HttpRequest<'a> {
    /// The path, without the query.
    pub path: &'a str,
    /// The versions that the client has already.
    pub if_none_match: Option<&'a str>,
}

/// An answer to an HTTP request.
#[derive(Debug, Clone)]
pub struct HttpReply {
    /// HTTP status.
    pub status: u16,
    /// Media type of the body.
    pub content_type: &'static str,
    /// Further headers, by lower-case name. What is no valid value is left out.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

/// Answers requests that are not the gateway's own: `None` when the path is not known here.
pub type HttpHook = Arc<dyn Fn(HttpRequest<'_>) -> Option<HttpReply> + Send + Sync>;

/// Settings of a gateway.
#[derive(Clone)]
pub struct GatewayConfig {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Threads that serve sockets: one per core, or fewer.
    pub shard_count: usize,
    /// Identity of this gateway among all: a random number, drawn at start.
    pub gateway_id: u64,
    /// Who may be believed.
    pub auth: Auth,
    /// How tenants share the database.
    pub tenancy: Tenancy,
    /// Who keeps the pages.
    pub pages: Pages,
    /// What a subscription's limit may be.
    pub subscription_limit: LimitRule,
    /// Bounds.
    pub limits: GatewayLimits,
    /// The wall clock: microseconds since 1970. It stamps frames and measures lag; it decides
    /// nothing but when a token has expired.
    pub clock_micros: fn() -> i64,
    /// What else is served on the port.
    pub http: HttpHook,
}

impl fmt::Debug for GatewayConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayConfig")
            .field("listen", &self.listen)
            .field("shard_count", &self.shard_count)
            .field("auth", &self.auth)
            .field("tenancy", &self.tenancy)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Bounds of a gateway. At each, the act stated here, and nothing else, happens.
#[derive(Debug, Clone, Copy)]
pub struct GatewayLimits {
    /// Sessions; one more upgrade is answered 503.
    pub sessions_max: usize,
    /// Connections beyond the sessions, for plain requests; one more is dropped at once.
    pub spare_connections_max: usize,
    /// Subscriptions of one session; one more is refused.
    pub session_subscriptions_max: usize,
    /// Routing keys of one shard; a subscription to one more is refused as overloaded.
    pub shard_channels_max: usize,
    /// Bytes of history that a shard keeps over all channels; past it the channel that grows sheds
    /// its own, and serves newcomers by asking the owner.
    pub shard_history_bytes_max: usize,
    /// Procedures of one session that run at a time; one more is refused as overloaded.
    pub session_calls_max: usize,
    /// Procedures of one shard that run at a time; more wait, within their time-out.
    pub shard_calls_max: usize,
    /// `sync`s of one session that wait; one more fails.
    pub session_syncs_max: usize,
    /// Sessions of a tenant up to which joins and leaves are announced. Every join of a large crowd
    /// would be told to the whole crowd: its square in frames.
    pub announced_sessions_max: usize,
    /// Unsent frames of one session.
    pub outbox: OutboxLimits,
    /// Held diffs of one routing key.
    pub history: HistoryLimits,
    /// Time for an HTTP request's head to arrive.
    pub head_timeout: Duration,
    /// Time for a procedure.
    pub call_timeout: Duration,
    /// Time for a `sync`.
    pub sync_timeout: Duration,
    /// Silence after which a client is taken for lost.
    pub idle_timeout: Duration,
    /// Time between pings.
    pub ping_interval: Duration,
    /// How long a page without listeners stays leased, so that who comes back finds it warm.
    pub linger: Duration,
    /// Time for clients to take their last frames when the gateway stops.
    pub drain_timeout: Duration,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            sessions_max: 200_000,
            spare_connections_max: 1_000,
            session_subscriptions_max: 1_000,
            shard_channels_max: 100_000,
            shard_history_bytes_max: 256 << 20,
            session_calls_max: 32,
            shard_calls_max: 256,
            session_syncs_max: 16,
            announced_sessions_max: 256,
            outbox: OutboxLimits::default(),
            history: HistoryLimits::default(),
            head_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(10),
            sync_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            ping_interval: Duration::from_secs(25),
            linger: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(5),
        }
    }
}
