//! The program's configuration: read once, checked whole, and from then on plain typed values.
//!
//! Nothing is bound, opened or written before all of it is known to be right. A bad value ends the
//! program with code 64 and one sentence: which key, from where, and what is allowed.

mod addresses;
mod dotenv;
mod error;
mod foreign;
mod keys;
mod layers;
mod legacy;
mod old;
mod seams;
#[cfg(test)]
mod tests;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tidegate_core::Tenancy;
use tidegate_gateway::{Auth, JwtAlgorithm, JwtConfig};
use tidegate_ports::TopicName;
use tidegate_rpc::RpcTopics;

#[cfg(feature = "kafka")]
pub(crate) use addresses::KafkaAddress;
#[cfg(feature = "postgres")]
pub(crate) use addresses::PostgresAddress;
#[cfg(feature = "redis")]
pub(crate) use addresses::RedisAddress;
#[cfg(feature = "postgres")]
pub(crate) use addresses::Tls;
pub(crate) use addresses::{BusAddress, CacheAddress, DatabaseAddress, Role, Roles};
pub(crate) use error::ConfigError;
pub(crate) use foreign::Foreign;
pub(crate) use keys::{Allowed, Key};
pub(crate) use layers::{Flags, Inputs, Settings};
pub(crate) use legacy::Legacy;

/// Everything the program is told.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) data: PathBuf,
    pub(crate) bus: BusAddress,
    pub(crate) cache: CacheAddress,
    pub(crate) database: DatabaseAddress,
    /// The database as it may be shown.
    pub(crate) database_shown: String,
    pub(crate) roles: Roles,
    pub(crate) tenancy: Tenancy,
    pub(crate) auth: Auth,
    pub(crate) shards: usize,
    pub(crate) partitions: u32,
    pub(crate) limits: Limits,
    pub(crate) sqlite_readers: usize,
    pub(crate) sqlite_timeout: Duration,
    pub(crate) engines: Engines,
    pub(crate) rpc: RpcSettings,
    pub(crate) drain: Duration,
    pub(crate) log: LogSettings,
    pub(crate) demo: Option<DemoSettings>,
    /// How gateways of the old kind are served, if they are.
    pub(crate) legacy: Option<Legacy>,
    /// Nothing when our own processor keeps the pages.
    pub(crate) foreign: Option<Foreign>,
}

/// What the engines of a cluster are told beside their addresses.
#[derive(Debug)]
#[cfg_attr(
    not(all(feature = "kafka", feature = "redis", feature = "postgres")),
    expect(
        dead_code,
        reason = "only the adapters read it, and this build lacks some"
    )
)]
pub(crate) struct Engines {
    /// Nothing is as many as the brokers make by themselves.
    pub(crate) kafka_replication: Option<u16>,
    pub(crate) kafka_topic_prefix: String,
    pub(crate) kafka_properties: Vec<(String, String)>,
    pub(crate) redis_key_prefix: String,
    pub(crate) redis_retention: Duration,
    pub(crate) postgres_schema: String,
    pub(crate) postgres_publication: String,
    pub(crate) postgres_slot: String,
    pub(crate) postgres_connections: usize,
    pub(crate) postgres_timeout: Duration,
}

/// How workers are asked, and where they listen.
#[derive(Debug)]
pub(crate) struct RpcSettings {
    pub(crate) topics: RpcTopics,
    /// Nothing is a topic of this process.
    pub(crate) reply_topic: Option<TopicName>,
    pub(crate) timeout: Duration,
    pub(crate) heartbeat: Duration,
}

/// Bounds of the parts; the table of keys says what each is for.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) sessions_max: usize,
    pub(crate) subscriptions_per_session_max: usize,
    pub(crate) subscription_limit_max: u32,
    pub(crate) outbox_bytes_max: usize,
    pub(crate) tail_entries_max: usize,
    pub(crate) cache_bytes_max: usize,
    pub(crate) bus_partition_bytes_max: usize,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub(crate) struct LogSettings {
    /// A level, or `module=level` pairs.
    pub(crate) filter: String,
    pub(crate) format: LogFormat,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// What the demo is made with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DemoSettings {
    pub(crate) pace: DemoPace,
    /// Orders made at first, and about as many kept.
    pub(crate) orders: u32,
}

/// How the demo's writer behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DemoPace {
    /// A change about every second.
    Steady,
    /// Bursts of many changes, with pauses between them.
    Bursty,
    /// No change at all.
    Still,
}

impl Config {
    /// Reads what the settings say.
    pub(crate) fn of(settings: &Settings) -> Result<Self, ConfigError> {
        let listen = settings.address(Key::Listen)?;
        let auth = auth(settings, listen)?;
        let tenant_column = settings.required_text(Key::TenantColumn)?;
        let tenancies = [
            ("prefix", Tenancy::Prefix),
            ("schema", Tenancy::Schema),
            ("column", Tenancy::Column(tenant_column.as_str().into())),
            ("single", Tenancy::Single),
        ];
        let tenancy = settings.choice(Key::Tenancy, &tenancies)?;
        let config = Self {
            listen,
            admin: settings.optional_address(Key::Admin)?,
            data: settings.path(Key::Data)?,
            bus: seams::bus(settings)?,
            cache: seams::cache(settings)?,
            database: seams::database(settings)?,
            database_shown: seams::database_shown(settings),
            roles: seams::roles(settings)?,
            tenancy: tenancy.clone(),
            auth,
            shards: settings.count(Key::Shards)?,
            partitions: bounded(settings.number(Key::Partitions)?),
            limits: limits(settings)?,
            sqlite_readers: settings.count(Key::SqliteReaders)?,
            sqlite_timeout: Duration::from_secs(settings.number(Key::SqliteTimeoutSeconds)?),
            engines: seams::engines(settings)?,
            rpc: seams::rpc(settings)?,
            drain: Duration::from_secs(settings.number(Key::DrainSeconds)?),
            log: log(settings)?,
            demo: demo(settings, &tenancy)?,
            legacy: legacy::legacy(settings)?,
            foreign: foreign::foreign(settings)?,
        };
        foreign::refuse_what_does_not_go_together(settings, &config)?;
        legacy::refuse_without_broker(settings, &config)?;
        seams::refuse_what_does_not_go_together(settings, &config)?;
        Ok(config)
    }

    /// What is allowed and yet seldom meant.
    pub(crate) fn warning(&self) -> Option<&'static str> {
        seams::warning(self)
    }
}

#[derive(Clone, Copy)]
enum AuthWord {
    None,
    Headers,
    Jwt,
}

fn auth(settings: &Settings, listen: SocketAddr) -> Result<Auth, ConfigError> {
    let words = [
        ("none", AuthWord::None),
        ("headers", AuthWord::Headers),
        ("jwt", AuthWord::Jwt),
    ];
    match settings.choice(Key::Auth, &words)? {
        // Whoever can connect is whoever they say; so only this machine may connect.
        AuthWord::None if !listen.ip().is_loopback() => {
            let why = format!(
                "which believes everybody and is allowed on loopback only, but listen is {listen}; \
                 set auth to headers (behind a proxy) or jwt"
            );
            Err(settings.conflict(Key::Auth, why))
        }
        AuthWord::None => Ok(Auth::None),
        AuthWord::Headers => Ok(Auth::Headers),
        AuthWord::Jwt => Ok(Auth::Jwt(jwt(settings)?)),
    }
}

fn jwt(settings: &Settings) -> Result<JwtConfig, ConfigError> {
    let Some(path) = settings.optional_path(Key::JwtKeyFile) else {
        return Err(settings.conflict(Key::Auth, "which needs jwt_key_file"));
    };
    let key = std::fs::read(&path).map_err(|error| {
        settings.conflict(Key::JwtKeyFile, format!("which cannot be read: {error}"))
    })?;
    let algorithms = [
        ("HS256", JwtAlgorithm::Hs256),
        ("RS256", JwtAlgorithm::Rs256),
        ("ES256", JwtAlgorithm::Es256),
        ("EdDSA", JwtAlgorithm::EdDsa),
    ];
    let algorithm = settings.choice(Key::JwtAlgorithm, &algorithms)?;
    // The line end that editors add is no part of a secret, and means nothing in PEM.
    let jwt = JwtConfig::new(algorithm, key.trim_ascii_end());
    let jwt = jwt.map_err(|error| settings.conflict(Key::JwtKeyFile, format!("but {error}")))?;
    let tenant = settings.required_text(Key::JwtTenantClaim)?;
    let user = settings.required_text(Key::JwtUserClaim)?;
    let mut jwt = jwt.with_claims(&tenant, &user);
    if let Some(audience) = settings.optional_text(Key::JwtAudience) {
        jwt = jwt.with_audience(&audience);
    }
    if let Some(issuer) = settings.optional_text(Key::JwtIssuer) {
        jwt = jwt.with_issuer(&issuer);
    }
    Ok(jwt)
}

fn demo(settings: &Settings, tenancy: &Tenancy) -> Result<Option<DemoSettings>, ConfigError> {
    let paces = [
        ("steady", DemoPace::Steady),
        ("bursty", DemoPace::Bursty),
        ("still", DemoPace::Still),
    ];
    let demo = DemoSettings {
        pace: settings.choice(Key::DemoPace, &paces)?,
        orders: bounded(settings.number(Key::DemoOrders)?),
    };
    let is_wanted = settings.choice(Key::Demo, &[("true", true), ("false", false)])?;
    if is_wanted && *tenancy != Tenancy::Prefix {
        let why = "but the demo's tables are a tenant's: it goes with tenancy prefix only";
        return Err(settings.conflict(Key::Demo, why));
    }
    Ok(is_wanted.then_some(demo))
}

fn limits(settings: &Settings) -> Result<Limits, ConfigError> {
    Ok(Limits {
        sessions_max: settings.count(Key::SessionsMax)?,
        subscriptions_per_session_max: settings.count(Key::SubscriptionsPerSessionMax)?,
        subscription_limit_max: bounded(settings.number(Key::SubscriptionLimitMax)?),
        outbox_bytes_max: settings.count(Key::OutboxBytesMax)?,
        tail_entries_max: settings.count(Key::TailEntriesMax)?,
        cache_bytes_max: settings.count(Key::CacheBytesMax)?,
        bus_partition_bytes_max: settings.count(Key::BusPartitionBytesMax)?,
    })
}

/// A number whose key allows no more than a `u32` holds.
fn bounded(number: u64) -> u32 {
    u32::try_from(number).expect("the key's bound is below")
}

fn log(settings: &Settings) -> Result<LogSettings, ConfigError> {
    let filter = settings.required_text(Key::Log)?;
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    // The filter would take any other single word for the name of a module, and log nothing.
    let is_level = |part: &str| part.contains('=') || levels.contains(&part.trim());
    let parsed = tracing_subscriber::EnvFilter::try_new(&filter);
    if parsed.is_err() || !filter.split(',').all(is_level) {
        return Err(settings.refused(Key::Log));
    }
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    Ok(LogSettings {
        filter,
        format: settings.choice(Key::LogFormat, &formats)?,
    })
}
