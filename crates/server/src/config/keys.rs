//! Every configuration key: its name, what it is for, its default, and what is allowed.
//!
//! One table serves the file, the flags, the environment, the error sentences, `tidegate config`
//! and the table in `docs/OPERATIONS.md`, so that none of them can say something the others do not.

use std::fmt;

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// An IP address and a port.
    Address,
    /// The same, or nothing.
    OptionalAddress,
    /// A file or folder.
    Path,
    /// The same, or nothing.
    OptionalPath,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A whole number.
    Whole { min: u64, max: u64 },
    /// A whole number, or `cores`: one for each processor core.
    Cores { max: u64 },
    /// A size in bytes, with or without a unit.
    Bytes { min: u64, max: u64 },
    /// `true` or `false`.
    YesNo,
    /// Free text that this sentence describes; the parser of the value says the rest.
    Text(&'static str),
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("an IP address and a port, such as 127.0.0.1:7000"),
            Self::OptionalAddress => {
                f.write_str("an IP address and a port, such as 127.0.0.1:7001, or nothing")
            }
            Self::Path => f.write_str("a path"),
            Self::OptionalPath => f.write_str("a path, or nothing"),
            Self::OneOf(words) => f.write_str(&words.join(" or ")),
            Self::Whole { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Cores { max } => write!(f, "a whole number from 1 to {max}, or cores"),
            Self::Bytes { min, max } => {
                write!(f, "a size from {} to {}", size_text(*min), size_text(*max))
            }
            Self::YesNo => f.write_str("true or false"),
            Self::Text(sentence) => f.write_str(sentence),
        }
    }
}

/// A size as people write it: in the largest unit that divides it.
pub(crate) fn size_text(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = |&(shift, _): &(u32, &str)| bytes > 0 && bytes.is_multiple_of(1 << shift);
    match units.into_iter().find(whole) {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes}"),
    }
}

/// A key as the table has it.
pub(crate) struct Definition {
    /// Its name in the file; flags and variables are made from it.
    pub(crate) name: &'static str,
    /// What a value may be.
    pub(crate) allowed: Allowed,
    /// Its value when nothing else is said; empty is nothing.
    pub(crate) default: &'static str,
    /// What it is for, in one sentence.
    pub(crate) about: &'static str,
}

macro_rules! keys {
    ($($key:ident: $name:literal, $allowed:expr, $default:literal, $about:literal;)+) => {
        /// A configuration key.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Key { $($key,)+ }

        impl Key {
            /// Every key, in the order in which they are shown.
            pub(crate) const ALL: &[Self] = &[$(Self::$key,)+];

            /// Its line of the table.
            pub(crate) const fn definition(self) -> Definition {
                use Allowed::{
                    Address, Bytes, Cores, OneOf, OptionalAddress, OptionalPath, Path, Text, Whole,
                    YesNo,
                };
                match self {
                    $(Self::$key => Definition {
                        name: $name,
                        allowed: $allowed,
                        default: $default,
                        about: $about,
                    },)+
                }
            }
        }
    };
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

keys! {
    ConfigFile: "config", OptionalPath, "",
        "A TOML file with any of these keys.";
    Listen: "listen", Address, "127.0.0.1:7000",
        "Where WebSockets and HTTP are served; port 0 takes a free one.";
    Admin: "admin", OptionalAddress, "",
        "A second address for /health, /ready and /metrics only.";
    Data: "data", Path, "./tidegate-data",
        "The folder of everything Tidegate keeps; it is made when missing.";
    Bus: "bus", Text("memory: or kafka://HOST:PORT,HOST:PORT"), "memory:",
        "Where changes, leases and diffs travel.";
    Cache: "cache", Text("memory:, redis://:PASSWORD@HOST:PORT/NUMBER or rediss://…"), "memory:",
        "Where the tails of pages are kept for those who reconnect.";
    Database: "database",
        Text("sqlite:FILE, postgres://USER:PASSWORD@HOST:PORT/NAME with ?sslmode=… or without, workers:, or nothing for tidegate.db in the data folder"),
        "",
        "Whose rows are served; workers: is whichever database the workers have, for gateways.";
    Tenancy: "tenancy", OneOf(&["prefix", "schema", "column", "single"]), "prefix",
        "How tenants share the database: tables named TENANT_TABLE, a schema each (Postgres), a column of shared tables, or one tenant and plain names.";
    TenantColumn: "tenant_column", Text("the name of a column"), "tenant_id",
        "With tenancy column: the column that says whose a row is.";
    Auth: "auth", OneOf(&["none", "headers", "jwt"]), "none",
        "Who is believed: everybody (loopback only), the headers of a trusted proxy, or signed tokens.";
    JwtKeyFile: "jwt_key_file", OptionalPath, "",
        "The key that tokens are checked with: a PEM public key, or the secret for HS256.";
    JwtAlgorithm: "jwt_algorithm", OneOf(&["HS256", "RS256", "ES256", "EdDSA"]), "HS256",
        "The only signature algorithm that is accepted.";
    JwtTenantClaim: "jwt_tenant_claim", Text("the name of a claim"), "tenant",
        "The claim that names the tenant.";
    JwtUserClaim: "jwt_user_claim", Text("the name of a claim"), "sub",
        "The claim that names the user.";
    JwtAudience: "jwt_audience", Text("text, or nothing"), "",
        "The audience a token must be for.";
    JwtIssuer: "jwt_issuer", Text("text, or nothing"), "",
        "The issuer a token must be from.";
    Roles: "roles", Text("all, or some of gateway, processor, cdc and worker with commas between them"), "all",
        "The parts this process runs; all is all but worker.";
    Pages: "pages", OneOf(&["processor", "gateway"]), "processor",
        "Who keeps pages current: our processor, or a foreign one that gateways tell of queries.";
    PageGroup: "page_group", Text("text"), "cladbe-ws-gateway",
        "The group of gateways that keeps a foreign processor's diffs in the cache.";
    SlowSocketsMax: "slow_sockets_max", Whole { min: 0, max: 10_000_000 }, "100",
        "Sockets with something unsent above which a foreign stream is not read for a while.";
    SharedKeyPrefix: "shared_key_prefix", Text("text, or nothing"), "hcache:",
        "What the names of keys begin with that are shared with a foreign processor.";
    SharedDiffsMax: "shared_diffs_max", Whole { min: 1, max: 1_000_000 }, "5000",
        "Diffs of a foreign page that are kept in the cache.";
    SharedRetentionMillis: "shared_retention_ms", Whole { min: 0, max: 31_536_000_000 }, "600000",
        "How long foreign pages and diffs are kept after the newest; 0 is for ever.";
    Legacy: "legacy", YesNo, "false",
        "Whether processors serve gateways of the old kind as well, over their topics on Kafka.";
    LegacyIdleHours: "legacy_idle_hours", Whole { min: 1, max: 8760 }, "24",
        "How long an old gateway's query is served after a client last subscribed to it.";
    QueryControlTopic: "query_control_topic", Text("the name of a topic"), "server.query.control",
        "Where old gateways write their queries.";
    PageSeedTopic: "page_seed_topic", Text("the name of a topic"), "server.page.seed",
        "Where old gateways write which rows their clients were given.";
    PageTopics: "page_topics", Text("two names of topics with a comma between them"),
        "server.page.diffs,server.row.events",
        "Where old gateways read the diffs of pages, and the same row by row.";
    Shards: "shards", Cores { max: 256 }, "cores",
        "Threads that hold the sessions.";
    Partitions: "partitions", Whole { min: 1, max: 1024 }, "8",
        "Partitions of each topic of the bus; the same in every process.";
    SessionsMax: "sessions_max", Whole { min: 1, max: 10_000_000 }, "100000",
        "Sessions at once; one more is refused with HTTP status 503.";
    SubscriptionsPerSessionMax: "subscriptions_per_session_max",
        Whole { min: 1, max: 100_000 },
        "1000",
        "Subscriptions of one session; one more is answered with an error.";
    SubscriptionLimitMax: "subscription_limit_max", Whole { min: 1, max: 10_000 }, "1000",
        "The highest limit a subscription may ask for.";
    OutboxBytesMax: "outbox_bytes_max", Bytes { min: 64 * KIB, max: GIB }, "1MiB",
        "Unsent bytes of a session; past them its pages are reset, or it is closed, as it chose.";
    TailEntriesMax: "tail_entries_max", Whole { min: 1, max: 1_000_000 }, "1024",
        "Diffs kept of each page; a client that missed more gets a fresh page.";
    CacheBytesMax: "cache_bytes_max", Bytes { min: MIB, max: 1024 * GIB }, "128MiB",
        "Memory for the tails of all pages; the longest unused go first.";
    BusPartitionBytesMax: "bus_partition_bytes_max", Bytes { min: MIB, max: 64 * GIB }, "32MiB",
        "Memory for one partition of one topic; a reader further behind starts over.";
    SqliteReaders: "sqlite_readers",
        Whole { min: 1, max: 64 },
        "4",
        "Connections that read, each on a thread of its own; one more writes.";
    SqliteTimeoutSeconds: "sqlite_timeout_seconds", Whole { min: 1, max: 3600 }, "10",
        "How long one statement may take.";
    PostgresSchema: "postgres_schema", Text("the name of a schema"), "public",
        "The schema whose tables are served.";
    PostgresPublication: "postgres_publication",
        Text("lower-case letters, digits and underscores"),
        "tidegate",
        "The publication that says which tables are watched.";
    PostgresSlot: "postgres_slot",
        Text("lower-case letters, digits and underscores"),
        "tidegate",
        "What the relay's replication slots are named after; each goes with its stream.";
    PostgresConnections: "postgres_connections", Whole { min: 1, max: 1000 }, "8",
        "Connections for commands and pages; the relay takes two more.";
    PostgresTimeoutSeconds: "postgres_timeout_seconds", Whole { min: 1, max: 3600 }, "10",
        "How long one statement may take.";
    KafkaReplication: "kafka_replication", Whole { min: 0, max: 16 }, "0",
        "Copies of each topic that is made; 0 is as many as the brokers make by themselves.";
    KafkaTopicPrefix: "kafka_topic_prefix",
        Text("letters, digits, dots, dashes and underscores, or nothing"),
        "tidegate.",
        "What the names of topics and groups begin with.";
    KafkaProperties: "kafka_properties",
        Text("name=value pairs of librdkafka with commas between them, or nothing"),
        "",
        "Further settings of the client, such as security.protocol; their values are masked.";
    RpcRequestTopic: "rpc_request_topic", Text("the name of a topic"), "sql.rpc.requests",
        "Where workers get their calls.";
    RpcReplyTopic: "rpc_reply_topic", Text("the name of a topic, or nothing"), "",
        "Where this process gets its answers; nothing is a topic of its own, which goes with it.";
    RpcTimeoutSeconds: "rpc_timeout_seconds", Whole { min: 1, max: 3600 }, "10",
        "How long an answer of a worker is waited for.";
    RpcHeartbeatSeconds: "rpc_heartbeat_seconds", Whole { min: 1, max: 3600 }, "30",
        "How often the owner of a reply topic says that it lives; after ten times that its topic goes.";
    RedisKeyPrefix: "redis_key_prefix", Text("text"), "tidegate:",
        "What the names of all keys in the cache begin with.";
    RedisRetentionSeconds: "redis_retention_seconds", Whole { min: 10, max: 31_536_000 }, "600",
        "How long a tail stays in the cache after its last diff.";
    DrainSeconds: "drain_seconds", Whole { min: 0, max: 3600 }, "5",
        "How long clients get to take their last frames after SIGTERM.";
    Log: "log", Text("a level (error, warn, info, debug, trace), or module=level pairs"), "info",
        "What is logged to standard error.";
    LogFormat: "log_format", OneOf(&["text", "json"]), "text",
        "How it is logged.";
    Demo: "demo", YesNo, "false",
        "Makes the demo's tables and keeps them moving.";
    DemoOrders: "demo_orders",
        Whole { min: 0, max: 1_000_000 },
        "50000",
        "Orders that the demo is made with; its writer keeps about as many.";
    DemoPace: "demo_pace", OneOf(&["steady", "bursty", "still"]), "steady",
        "How the demo's writer behaves: a change about every second, bursts with pauses, or nothing.";
}

impl Key {
    /// Its name in the file.
    pub(crate) const fn name(self) -> &'static str {
        self.definition().name
    }

    /// Its flag, without the dashes.
    pub(crate) fn flag(self) -> String {
        self.name().replace('_', "-")
    }

    /// Its environment variable.
    pub(crate) fn variable(self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name().to_uppercase())
    }

    /// The key of that name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|key| key.name() == name)
    }

    /// The key of that environment variable.
    pub(crate) fn of_variable(variable: &str) -> Option<Self> {
        let name = variable.strip_prefix(VARIABLE_PREFIX)?;
        Self::ALL
            .iter()
            .copied()
            .find(|key| key.name().to_uppercase() == name)
    }

    /// The key whose name is nearest to a wrong one, when one is near enough to have been meant.
    pub(crate) fn nearest(name: &str) -> Option<Self> {
        let name = name.to_lowercase().replace('-', "_");
        let distance = |key: &Self| edit_distance(&name, key.name());
        let best = Self::ALL.iter().copied().min_by_key(distance)?;
        // A third of the letters wrong is no longer a slip of the hand.
        let near = distance(&best) <= name.chars().count().max(3) / 3;
        near.then_some(best)
    }
}

/// What the names of our variables begin with.
pub(crate) const VARIABLE_PREFIX: &str = "TIDEGATE_";

/// How many letters differ, with a swap of neighbours counted as two.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.chars().enumerate() {
        let mut diagonal = index;
        row[0] = index + 1;
        for (at, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    //! Shows that a wrong name finds the one that was meant, and that names are made in one way.

    use super::{Key, size_text};

    #[test]
    fn a_slip_finds_the_key_and_nonsense_finds_none() {
        let check = |name: &str, key: Option<Key>| assert_eq!(Key::nearest(name), key, "{name}");
        check("tenacy", Some(Key::Tenancy));
        check("jwt_keyfile", Some(Key::JwtKeyFile));
        check("LISTN", Some(Key::Listen));
        check("log-fromat", Some(Key::LogFormat));
        check("something_else_entirely", None);
        check("", None);
    }

    #[test]
    fn every_key_is_found_by_each_of_its_names() {
        for key in Key::ALL.iter().copied() {
            assert_eq!(Key::of_name(key.name()), Some(key));
            assert_eq!(Key::of_variable(&key.variable()), Some(key));
        }
        assert_eq!(Key::of_variable("LISTEN"), None);
        assert_eq!(Key::JwtKeyFile.flag(), "jwt-key-file");
        assert_eq!(Key::JwtKeyFile.variable(), "TIDEGATE_JWT_KEY_FILE");
    }

    #[test]
    fn sizes_are_written_in_the_largest_unit() {
        let check = |bytes, text| assert_eq!(size_text(bytes), text);
        check(1 << 20, "1MiB");
        check(64 << 10, "64KiB");
        check(1500, "1500");
        check(0, "0");
    }
}
