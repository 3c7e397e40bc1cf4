//! Where the three seams are, and which parts run here: read from text into types, once.
//!
//! The forms are those of `docs/OPERATIONS.md`. What stands here is only what an address says;
//! whether this build has the adapter for it, and whether it goes with the roles, is asked in
//! `config.rs`.

use std::fmt;
use std::path::PathBuf;

/// A password. It is shown to nobody: not in sentences, not in logs, not by `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// The password itself, for whoever has to prove that it is known.
    #[cfg_attr(
        not(any(feature = "redis", feature = "postgres")),
        expect(dead_code, reason = "only adapters prove it, and this build has none")
    )]
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

#[cfg(feature = "redis")]
impl RedisAddress {
    /// The address as Redis' own programs read it, with the password.
    pub(crate) fn url(&self) -> String {
        let login = match &self.password {
            Some(password) => {
                let user = encoded(self.user.as_deref().unwrap_or_default());
                format!("{user}:{}@", encoded(password.reveal()))
            }
            None => String::new(),
        };
        let host = in_brackets(&self.host);
        let (scheme, root) = match &self.tls {
            Tls::Disable => ("redis", String::new()),
            Tls::VerifyFull(Some(root)) => ("rediss", format!("?sslrootcert={}", root.display())),
            Tls::Prefer | Tls::Require | Tls::VerifyFull(None) => ("rediss", String::new()),
        };
        format!(
            "{scheme}://{login}{host}:{}/{}{root}",
            self.port, self.database
        )
    }
}

#[cfg(feature = "postgres")]
impl PostgresAddress {
    /// The address as Postgres' own programs read it, with the password.
    pub(crate) fn url(&self) -> String {
        let password = match &self.password {
            Some(password) => format!(":{}", encoded(password.reveal())),
            None => String::new(),
        };
        let host = match self.host.starts_with('/') {
            true => encoded(&self.host),
            false => in_brackets(&self.host),
        };
        let (user, name) = (encoded(&self.user), encoded(&self.database));
        format!("postgres://{user}{password}@{host}:{}/{name}", self.port)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Whether a connection to an engine is encrypted, and whom it trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tls {
    /// Never.
    Disable,
    /// If the server can.
    Prefer,
    /// Always, whoever the server is.
    Require,
    /// Always, to the server of that name; the file names who may say so.
    VerifyFull(Option<PathBuf>),
}

impl Tls {
    /// Reads `sslmode=…` and `sslrootcert=…`.
    fn of_options(options: &str) -> Option<Self> {
        let (mut mode, mut root) = (None, None);
        for option in options.split('&') {
            let (name, value) = option.split_once('=')?;
            let place = match name {
                "sslmode" => &mut mode,
                "sslrootcert" => &mut root,
                _ => return None,
            };
            if place.replace(decoded(value)?).is_some() {
                return None;
            }
        }
        let root = root.map(PathBuf::from);
        match (mode.as_deref(), root) {
            (Some("disable"), None) => Some(Self::Disable),
            (Some("prefer"), None) => Some(Self::Prefer),
            (Some("require"), None) => Some(Self::Require),
            (Some("verify-full"), root) => Some(Self::VerifyFull(root)),
            _ => None,
        }
    }
}

/// Where changes, leases and diffs travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BusAddress {
    /// In this process.
    Memory,
    /// Over Kafka.
    Kafka(KafkaAddress),
}

/// Where the tails of pages are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CacheAddress {
    /// In this process.
    Memory,
    /// In Redis, Valkey or KeyDB.
    Redis(RedisAddress),
}

/// Whose rows are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DatabaseAddress {
    /// A file.
    Sqlite(PathBuf),
    /// A Postgres server.
    Postgres(PostgresAddress),
    /// Whichever the workers have.
    Workers,
}

/// The brokers to begin with; they tell of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KafkaAddress {
    /// Each as `host:port`; there is one at least.
    pub(crate) brokers: Vec<String>,
}

/// A server that speaks Redis' protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RedisAddress {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) database: u32,
    pub(crate) tls: Tls,
}

/// A database of a Postgres server, and whom to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PostgresAddress {
    /// A name, an IP address, or the folder of a Unix socket.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: Option<Secret>,
    pub(crate) database: String,
    pub(crate) tls: Tls,
}

/// Reads `memory:` or `kafka://host[:port][,host[:port]]`.
pub(super) fn bus(text: &str) -> Option<BusAddress> {
    if text == "memory:" {
        return Some(BusAddress::Memory);
    }
    let hosts = text.strip_prefix("kafka://")?;
    let brokers: Option<Vec<String>> = hosts.split(',').map(broker).collect();
    Some(BusAddress::Kafka(KafkaAddress { brokers: brokers? }))
}

fn broker(text: &str) -> Option<String> {
    let (host, port) = host_and_port(text.trim(), 9092)?;
    Some(format!("{}:{port}", in_brackets(&host)))
}

/// An IPv6 address has colons of its own, so it stands in brackets before a port.
fn in_brackets(host: &str) -> String {
    match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

/// Reads `memory:` or `redis://[[user]:password@]host[:port][/database]`; with `rediss://` and TLS,
/// behind which `?sslrootcert=file` may stand.
pub(super) fn cache(text: &str) -> Option<CacheAddress> {
    if text == "memory:" {
        return Some(CacheAddress::Memory);
    }
    let (rest, tls) = match text.strip_prefix("rediss://") {
        None => (text.strip_prefix("redis://")?, Tls::Disable),
        Some(rest) => match rest.split_once("?sslrootcert=") {
            None => (rest, Tls::VerifyFull(None)),
            Some((rest, root)) => (rest, Tls::VerifyFull(Some(PathBuf::from(decoded(root)?)))),
        },
    };
    let parts = Parts::of(rest)?;
    let (host, port) = host_and_port(parts.host, 6379)?;
    let database = match parts.path {
        None | Some("") => 0,
        Some(number) => number.parse().ok()?,
    };
    Some(CacheAddress::Redis(RedisAddress {
        host,
        port,
        user: parts.user.filter(|user| !user.is_empty()),
        password: parts.password,
        database,
        tls,
    }))
}

/// Reads `sqlite:FILE`, `workers:`, or `postgres://user[:password]@host[:port]/database`, behind
/// which `?sslmode=…` and `&sslrootcert=…` may stand.
pub(super) fn database(text: &str) -> Option<DatabaseAddress> {
    if text == "workers:" {
        return Some(DatabaseAddress::Workers);
    }
    if let Some(file) = text.strip_prefix("sqlite:") {
        // SQLite's own name for a database without a file: nothing would be kept.
        let is_file = !matches!(file, "" | ":memory:");
        return is_file.then(|| DatabaseAddress::Sqlite(PathBuf::from(file)));
    }
    let rest = text.strip_prefix("postgres://");
    let parts = Parts::of(rest.or_else(|| text.strip_prefix("postgresql://"))?)?;
    let (host, port) = host_and_port(parts.host, 5432)?;
    let (name, tls) = match parts.path?.split_once('?') {
        None => (parts.path?, Tls::Disable),
        Some((name, options)) => (name, Tls::of_options(options)?),
    };
    Some(DatabaseAddress::Postgres(PostgresAddress {
        host,
        port,
        user: parts.user.filter(|user| !user.is_empty())?,
        password: parts.password,
        database: database_name(name)?,
        tls,
    }))
}

/// No other options after the name: what there is to choose has keys of its own.
fn database_name(path: &str) -> Option<String> {
    let is_plain = !path.is_empty() && !path.contains(['?', '/']);
    is_plain.then(|| decoded(path)).flatten()
}

/// What stands after `scheme://`: `[user[:password]@]host[/path]`.
struct Parts<'a> {
    user: Option<String>,
    password: Option<Secret>,
    host: &'a str,
    path: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Option<Self> {
        // The last `@` ends the login: a password may hold one that nobody encoded.
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (Some(login), rest),
            None => (None, rest),
        };
        let (host, path) = match rest.split_once('/') {
            Some((host, path)) => (host, Some(path)),
            None => (rest, None),
        };
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, "")))
        {
            Some((user, password)) => (Some(decoded(user)?), Some(decoded(password)?)),
            None => (None, None),
        };
        Some(Self {
            user,
            password: password.filter(|word| !word.is_empty()).map(Secret),
            host,
            path,
        })
    }
}

fn host_and_port(text: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port != 0)?,
        None => default,
    };
    let host = decoded(host)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_:/%".contains(c);
    (!host.is_empty() && host.chars().all(is_plain)).then_some((host, port))
}

/// Undoes `%40` and its like. A `%` that begins no such thing stands for itself, because passwords
/// are pasted as they are.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let hex = digits.filter(|two| two.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match hex.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            Some(_) | None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

/// Writes text so that it can stand in any part of an address.
pub(super) fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| match is_plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

/// A part of the system that a process can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Sessions and their subscriptions.
    Gateway,
    /// Pages and their diffs.
    Processor,
    /// The relay of the database's commits.
    Cdc,
    /// The answers to SQL calls of processes without a database.
    Worker,
}

impl Role {
    const ALL: [Self; 4] = [Self::Gateway, Self::Processor, Self::Cdc, Self::Worker];

    /// Those that one process needs to serve by itself.
    const SELF_CONTAINED: [Self; 3] = [Self::Gateway, Self::Processor, Self::Cdc];

    /// Its word in the configuration.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Processor => "processor",
            Self::Cdc => "cdc",
            Self::Worker => "worker",
        }
    }
}

/// The parts that this process runs; there is one at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Roles(Vec<Role>);

impl Roles {
    /// Reads words with commas between them, of which `all` stands for all but the worker.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut roles = Vec::new();
        for word in text.split(',').map(str::trim) {
            match word {
                "all" => roles.extend(Role::SELF_CONTAINED),
                word => roles.push(Role::ALL.into_iter().find(|role| role.name() == word)?),
            }
        }
        roles.sort_unstable();
        roles.dedup();
        Some(Self(roles))
    }

    /// Whether the part runs here.
    pub(crate) fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    /// Whether nothing that is needed here runs elsewhere, so that a seam need not leave the
    /// process.
    pub(crate) fn is_all(&self) -> bool {
        Role::SELF_CONTAINED.into_iter().all(|role| self.has(role))
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|role| role.name()).collect();
        f.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    //! Shows which forms of an address are read, as what, and that nothing else is.

    use std::path::PathBuf;

    use super::{
        BusAddress, CacheAddress, DatabaseAddress, KafkaAddress, PostgresAddress, RedisAddress,
        Role, Roles, Secret, Tls, bus, cache, database, decoded, encoded,
    };

    #[test]
    fn brokers_are_a_list() {
        let check = |text: &str, brokers: &[&str]| {
            let brokers = brokers.iter().map(|&one| one.to_owned()).collect();
            let expected = BusAddress::Kafka(KafkaAddress { brokers });
            assert_eq!(bus(text), Some(expected), "{text}");
        };
        assert_eq!(bus("memory:"), Some(BusAddress::Memory));
        check("kafka://k:9093", &["k:9093"]);
        check("kafka://a, b:1", &["a:9092", "b:1"]);
        check("kafka://[::1]:5", &["[::1]:5"]);
        for text in [
            "",
            "memory",
            "kafka:",
            "kafka://",
            "kafka://a,",
            "kafka://a:0",
            "kafka://a:x",
            "kafka://a b",
            "redis://a",
        ] {
            assert_eq!(bus(text), None, "{text}");
        }
    }

    #[test]
    fn a_cache_has_a_login_and_a_number_or_neither() {
        let redis = |user: Option<&str>, password: Option<&str>, port, database| {
            Some(CacheAddress::Redis(RedisAddress {
                host: "h".to_owned(),
                port,
                user: user.map(str::to_owned),
                password: password.map(|word| Secret(word.to_owned())),
                database,
                tls: Tls::Disable,
            }))
        };
        assert_eq!(cache("memory:"), Some(CacheAddress::Memory));
        assert_eq!(cache("redis://h"), redis(None, None, 6379, 0));
        assert_eq!(cache("redis://h:1/2"), redis(None, None, 1, 2));
        assert_eq!(cache("redis://:p%40@h/"), redis(None, Some("p@"), 6379, 0));
        assert_eq!(
            cache("redis://:a@b/c@h"),
            redis(None, Some("a@b/c"), 6379, 0)
        );
        assert_eq!(
            cache("redis://u:50%@h"),
            redis(Some("u"), Some("50%"), 6379, 0)
        );
        for text in [
            "",
            "redis://",
            "redis://h/x",
            "redis://h:99999",
            "redis://u@",
            "redis://h/0?sslrootcert=a",
            "rediss://h?sslrootcert",
        ] {
            assert_eq!(cache(text), None, "{text}");
        }
    }

    #[test]
    fn a_database_is_a_file_or_a_server_with_a_user_and_a_name() {
        let postgres = |host: &str, port, password: Option<&str>| {
            Some(DatabaseAddress::Postgres(PostgresAddress {
                host: host.to_owned(),
                port,
                user: "me".to_owned(),
                password: password.map(|word| Secret(word.to_owned())),
                database: "shop".to_owned(),
                tls: Tls::Disable,
            }))
        };
        let file = DatabaseAddress::Sqlite(PathBuf::from("a b.db"));
        assert_eq!(database("sqlite:a b.db"), Some(file));
        assert_eq!(database("workers:"), Some(DatabaseAddress::Workers));
        assert_eq!(database("postgres://me@h/shop"), postgres("h", 5432, None));
        let whole = database("postgresql://me:s%3Acret@h:1/shop");
        assert_eq!(whole, postgres("h", 1, Some("s:cret")));
        let socket = database("postgres://me@%2Fvar%2Frun/shop");
        assert_eq!(socket, postgres("/var/run", 5432, None));
        for text in [
            "",
            "shop.db",
            "workers",
            "sqlite:",
            "sqlite::memory:",
            "postgres://h/shop",
            "postgres://me@h",
            "postgres://me@h/",
            "postgres://me@/shop",
            "mysql://me@h/shop",
            "postgres://me@h/shop?connect_timeout=3",
            "postgres://me@h/shop?sslmode=verify-ca",
            "postgres://me@h/shop?sslmode=require&sslrootcert=a",
            "postgres://me@h/shop?sslmode=require&sslmode=disable",
            "postgres://me@h/shop?sslrootcert=a",
        ] {
            assert_eq!(database(text), None, "{text}");
        }
    }

    #[test]
    fn addresses_say_whether_they_are_encrypted() {
        let root = || Some(PathBuf::from("/a b.pem"));
        for (options, expect) in [
            ("", Tls::Disable),
            ("?sslmode=disable", Tls::Disable),
            ("?sslmode=prefer", Tls::Prefer),
            ("?sslmode=require", Tls::Require),
            ("?sslmode=verify-full", Tls::VerifyFull(None)),
            (
                "?sslrootcert=/a%20b.pem&sslmode=verify-full",
                Tls::VerifyFull(root()),
            ),
        ] {
            match database(&format!("postgres://me@h/shop{options}")) {
                Some(DatabaseAddress::Postgres(address)) => assert_eq!(address.tls, expect),
                other => panic!("{options}: {other:?}"),
            }
        }
        for (text, expect) in [
            ("rediss://h", Tls::VerifyFull(None)),
            (
                "rediss://:p@h/2?sslrootcert=/a b.pem",
                Tls::VerifyFull(root()),
            ),
        ] {
            match cache(text) {
                Some(CacheAddress::Redis(address)) => assert_eq!(address.tls, expect),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_encoded_is_decoded_to_itself() {
        for text in ["", "plain", "a@b:c/d%40", "50%", "zürich 東京", "%zz"] {
            assert_eq!(decoded(&encoded(text)).as_deref(), Some(text));
        }
        assert_eq!(decoded("%ff"), None, "not text");
    }

    #[test]
    fn a_password_is_not_shown() {
        let shown = format!("{:?}", cache("redis://:hunter2@h"));
        assert!(
            shown.contains("***") && !shown.contains("hunter2"),
            "{shown}"
        );
    }

    #[test]
    fn roles_are_a_set() {
        let all = Roles::parse("all").expect("a word for all");
        assert!(all.is_all());
        assert_eq!(Roles::parse("cdc,processor, gateway,cdc"), Some(all));
        let two = Roles::parse("processor,gateway").expect("two words");
        assert_eq!(two.to_string(), "gateway, processor");
        assert!(two.has(Role::Gateway) && !two.has(Role::Cdc) && !two.is_all());
        let more = Roles::parse("all,worker").expect("two words");
        assert!(more.has(Role::Worker) && more.is_all() && more.has(Role::Cdc));
        let worker = Roles::parse("worker").expect("a word");
        assert!(!worker.is_all() && worker.to_string() == "worker");
        for text in ["", ",", "workers", "all,", "Gateway"] {
            assert_eq!(Roles::parse(text), None, "{text}");
        }
    }
}
