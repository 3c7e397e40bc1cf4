//! The environment of the gateway that Tidegate replaces, as our keys.
//!
//! What a variable says becomes the key's value, so that the key's own check refuses what is wrong
//! with it, and its sentence names the variable.

use std::net::SocketAddr;

use super::addresses::encoded;
use super::keys::Key;
use super::layers::Settings;

/// A variable of the old gateway, and the key it means here.
pub(super) struct OldVariable {
    pub(super) name: &'static str,
    /// Further ones that go into the same value. Alone they mean nothing.
    pub(super) beside: &'static [&'static str],
    pub(super) key: Key,
    /// Makes the key's value, or says what is allowed.
    pub(super) read: fn(&Settings, &str) -> Result<String, &'static str>,
}

pub(super) const OLD_VARIABLES: &[OldVariable] = &[
    OldVariable {
        name: "WS_PORT",
        beside: &[],
        key: Key::Listen,
        read: |settings, port| {
            let port = port.trim().parse().map_err(|_| "a port from 0 to 65535")?;
            let below = settings.get(Key::Listen).value.parse::<SocketAddr>();
            let mut address = below.unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)));
            address.set_port(port);
            Ok(address.to_string())
        },
    },
    OldVariable {
        name: "HOTCACHE_MAX_DIFFS",
        beside: &[],
        key: Key::TailEntriesMax,
        read: |_, count| Ok(count.to_owned()),
    },
    OldVariable {
        name: "HOTCACHE_RETENTION_MS",
        beside: &[],
        key: Key::RedisRetentionSeconds,
        read: |_, milliseconds| {
            let milliseconds: u64 = milliseconds
                .trim()
                .parse()
                .map_err(|_| "a whole number of milliseconds")?;
            // 0 was for ever; the longest there is here is a year.
            let seconds = match milliseconds {
                0 => 31_536_000,
                some => some.div_ceil(1000).max(10),
            };
            Ok(seconds.to_string())
        },
    },
    OldVariable {
        name: "HOTCACHE_MAX_DIFFS",
        beside: &[],
        key: Key::SharedDiffsMax,
        read: |_, count| Ok(count.to_owned()),
    },
    OldVariable {
        name: "HOTCACHE_RETENTION_MS",
        beside: &[],
        key: Key::SharedRetentionMillis,
        read: |_, milliseconds| Ok(milliseconds.trim().to_owned()),
    },
    OldVariable {
        name: "KEYDB_PREFIX",
        beside: &[],
        key: Key::SharedKeyPrefix,
        read: |_, prefix| Ok(prefix.to_owned()),
    },
    OldVariable {
        name: "KAFKA_GROUP",
        beside: &[],
        key: Key::PageGroup,
        read: |_, group| Ok(group.trim().to_owned()),
    },
    OldVariable {
        name: "SLOW_SOCKET_PAUSE_THRESHOLD",
        beside: &[],
        key: Key::SlowSocketsMax,
        read: |_, count| Ok(count.trim().to_owned()),
    },
    OldVariable {
        name: "KAFKA_BROKERS",
        beside: &[],
        key: Key::Bus,
        read: |_, brokers| Ok(format!("kafka://{}", brokers.trim())),
    },
    OldVariable {
        name: "KAFKA_TOPICS",
        beside: &[],
        key: Key::PageTopics,
        read: |_, topics| Ok(topics.to_owned()),
    },
    OldVariable {
        name: "QUERY_CONTROL_TOPIC",
        beside: &[],
        key: Key::QueryControlTopic,
        read: |_, topic| Ok(topic.to_owned()),
    },
    OldVariable {
        name: "PAGE_SEED_TOPIC",
        beside: &[],
        key: Key::PageSeedTopic,
        read: |_, topic| Ok(topic.to_owned()),
    },
    OldVariable {
        name: "SQL_RPC_REQUEST_TOPIC",
        beside: &[],
        key: Key::RpcRequestTopic,
        read: |_, topic| Ok(topic.to_owned()),
    },
    OldVariable {
        name: "SQL_RPC_REPLY_TOPIC",
        beside: &[],
        key: Key::RpcReplyTopic,
        read: |_, topic| Ok(topic.to_owned()),
    },
    OldVariable {
        name: "KEYDB_HOST",
        beside: &["KEYDB_PORT", "KEYDB_PASSWORD"],
        key: Key::Cache,
        read: |settings, host| {
            let port = settings.variable("KEYDB_PORT").unwrap_or("6379");
            let login = match settings.variable("KEYDB_PASSWORD") {
                None | Some("") => String::new(),
                Some(password) => format!(":{}@", encoded(password)),
            };
            Ok(format!("redis://{login}{}:{port}", host.trim()))
        },
    },
    OldVariable {
        name: "KEYDB_PREFIX",
        beside: &[],
        key: Key::RedisKeyPrefix,
        read: |_, prefix| Ok(prefix.to_owned()),
    },
    OldVariable {
        name: "PGHOST",
        beside: &["PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"],
        key: Key::Database,
        read: |settings, host| {
            let port = settings.variable("PGPORT").unwrap_or("5432");
            let user = settings.variable("PGUSER").unwrap_or("postgres");
            let password = match settings.variable("PGPASSWORD") {
                None | Some("") => String::new(),
                Some(password) => format!(":{}", encoded(password)),
            };
            // As with Postgres' own programs, a database that is not named is the user's.
            let database = settings.variable("PGDATABASE").unwrap_or(user);
            let (user, database) = (encoded(user), encoded(database));
            // A folder stands for a Unix socket.
            let host = host.trim().replace('/', "%2F");
            Ok(format!(
                "postgres://{user}{password}@{host}:{port}/{database}"
            ))
        },
    },
];

/// What the names of the old system's variables begin with.
const OLD_PREFIXES: [&str; 8] = [
    "HOTCACHE_",
    "KAFKA_",
    "KEYDB_",
    "PAGE_SEED_",
    "QUERY_CONTROL_",
    "SLOW_SOCKET",
    "SQL_RPC_",
    "WS_",
];

/// What container platforms set by themselves beside a service of such a name.
const PLATFORM_WORDS: [&str; 3] = ["_SERVICE_", "_PORT_", "_TCP"];

/// Whether a variable looks like one of the old system's and is none that we know.
pub(super) fn is_odd(name: &str) -> bool {
    let is_known = |old: &OldVariable| old.name == name || old.beside.contains(&name);
    OLD_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        && !PLATFORM_WORDS.iter().any(|word| name.contains(word))
        && !name.ends_with("_PORT")
        && !OLD_VARIABLES.iter().any(is_known)
}
