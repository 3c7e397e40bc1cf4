//! Where the server is, and the bounds of what is kept there.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::{Client, ConnectionAddr, IntoConnectionInfo, ProtocolVersion};

/// Settings of a [`RedisCache`](crate::RedisCache).
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// The server.
    pub url: RedisUrl,
    /// What every key begins with, so that several systems can share a server.
    pub key_prefix: String,
    /// How long a tail is kept after its last entry: as long as a client may stay away and resume.
    pub retention: Duration,
    /// Entries of one tail that are kept, and that a replay may have: past this many missed diffs
    /// a fresh page is cheaper for the client. The server may keep some more.
    pub tail_entries_max: usize,
    /// Bytes of values that a replay may have; more is a gap.
    pub replay_bytes_max: usize,
    /// How long an attempt to connect may take.
    pub connect_timeout: Duration,
    /// How long an answer may take. An owner of pages waits for it, so it is short.
    pub response_timeout: Duration,
}

impl RedisConfig {
    /// The defaults for a server.
    #[must_use]
    pub fn new(url: RedisUrl) -> Self {
        Self {
            url,
            key_prefix: "tidegate:".to_owned(),
            retention: Duration::from_secs(600),
            tail_entries_max: 1_024,
            replay_bytes_max: 8 << 20,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_millis(500),
        }
    }
}

/// `redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE]`. Its text, also for debugging, is without
/// the user and the password.
#[derive(Clone)]
pub struct RedisUrl {
    client: Client,
}

/// Why a text is not a [`RedisUrl`]. Never with the text itself, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// The text is no such URL.
    #[error("it is not of the form redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE]")]
    Malformed,
    /// The scheme asks for TLS or something else that we do not speak.
    #[error("its scheme is not redis:// or valkey://; there is no TLS to the cache")]
    Scheme,
}

impl RedisUrl {
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }
}

impl FromStr for RedisUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, _) = text.split_once("://").ok_or(UrlError::Malformed)?;
        if !matches!(scheme, "redis" | "valkey") {
            return Err(UrlError::Scheme);
        }
        // The driver's errors may quote the text.
        let info = text
            .into_connection_info()
            .map_err(|_| UrlError::Malformed)?;
        let login = info
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP2)
            // CLIENT SETINFO is younger than what we promise to work with.
            .set_skip_set_lib_name();
        let info = info
            .set_redis_settings(login)
            .set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = Client::open(info).map_err(|_| UrlError::Malformed)?;
        Ok(Self { client })
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.client.get_connection_info();
        let database = info.redis_settings().db();
        match info.addr() {
            ConnectionAddr::Tcp(host, port) if host.contains(':') => {
                write!(f, "redis://[{host}]:{port}/{database}")
            }
            ConnectionAddr::Tcp(host, port) => write!(f, "redis://{host}:{port}/{database}"),
            // The schemes that lead here are refused by the constructor.
            _ => f.write_str("redis://"),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    //! Shows which texts are taken, and that no text of ours shows a password.

    use super::{RedisConfig, RedisUrl, UrlError};

    fn check(text: &str, expect: Result<&str, UrlError>) {
        let got = text.parse::<RedisUrl>().map(|url| url.to_string());
        assert_eq!(got, expect.map(str::to_owned), "{text}");
    }

    #[test]
    fn urls_are_taken_or_refused() {
        check("redis://cache", Ok("redis://cache:6379/0"));
        check("redis://cache:7000/3", Ok("redis://cache:7000/3"));
        check("valkey://10.0.0.1:1", Ok("redis://10.0.0.1:1/0"));
        check("redis://[::1]:7", Ok("redis://[::1]:7/0"));
        check("redis://u:secret@cache", Ok("redis://cache:6379/0"));
        check("redis://c?protocol=resp3", Ok("redis://c:6379/0"));
        check("rediss://cache", Err(UrlError::Scheme));
        check("unix:///run/redis.sock", Err(UrlError::Scheme));
        for text in [
            "",
            "cache:6379",
            "redis://",
            "redis://cache/x",
            "redis://c:99999",
        ] {
            check(text, Err(UrlError::Malformed));
        }
    }

    #[test]
    fn debugging_shows_no_password() {
        let url: RedisUrl = "redis://user:secret@cache".parse().unwrap();
        let config = RedisConfig::new(url);
        let text = format!("{config:?}");
        assert!(!text.contains("secret") && !text.contains("user"), "{text}");
        let error = "redis://:secret@c:99999".parse::<RedisUrl>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"));
    }

    #[test]
    fn the_socket_does_not_wait_to_fill_packets() {
        let url: RedisUrl = "redis://cache".parse().unwrap();
        assert!(url.client().get_connection_info().tcp_settings().nodelay());
    }
}
