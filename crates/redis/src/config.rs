//! Where the server is, and the bounds of what is kept there.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};

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

/// `redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE]`, or with `rediss://` and TLS, whose
/// `?sslrootcert=FILE` names who is trusted to sign the server's certificate. Its text, also for
/// debugging, is without the user and the password.
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
    #[error("its scheme is not redis://, rediss://, valkey:// or valkeys://")]
    Scheme,
    /// It asks for TLS, which is not in this build.
    #[error("it asks for TLS, which is not in this build: build with --features tls")]
    NoTls,
    /// The file of those who are trusted is not there, or holds no certificates.
    #[error("the file of sslrootcert cannot be read, or holds no certificates (PEM)")]
    BadRoot,
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
        let (text, root) = match scheme {
            "redis" | "valkey" => (text, None),
            "rediss" | "valkeys" if cfg!(feature = "tls") => match text.split_once('?') {
                None => (text, None),
                Some((text, option)) => {
                    let root = option.strip_prefix("sslrootcert=");
                    (text, Some(root.ok_or(UrlError::Malformed)?))
                }
            },
            "rediss" | "valkeys" => return Err(UrlError::NoTls),
            _ => return Err(UrlError::Scheme),
        };
        // The driver would not check certificates.
        if text.contains('#') {
            return Err(UrlError::Malformed);
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
        Ok(Self {
            client: client(info, root)?,
        })
    }
}

#[cfg(feature = "tls")]
fn client(info: ConnectionInfo, root: Option<&str>) -> Result<Client, UrlError> {
    // The driver takes the process's own choice of cryptography, and has none itself. That another
    // one was made before is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Some(root) = root else {
        return Client::open(info).map_err(|_| UrlError::Malformed);
    };
    let certificates = redis::TlsCertificates {
        client_tls: None,
        root_cert: Some(std::fs::read(root).map_err(|_| UrlError::BadRoot)?),
    };
    Client::build_with_tls(info, certificates).map_err(|_| UrlError::BadRoot)
}

#[cfg(not(feature = "tls"))]
fn client(info: ConnectionInfo, root: Option<&str>) -> Result<Client, UrlError> {
    match root {
        None => Client::open(info).map_err(|_| UrlError::Malformed),
        Some(_) => Err(UrlError::NoTls),
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.client.get_connection_info();
        let database = info.redis_settings().db();
        let (scheme, host, port) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => ("redis", host, port),
            ConnectionAddr::TcpTls { host, port, .. } => ("rediss", host, port),
            // The schemes that lead here are refused by the constructor.
            _ => return f.write_str("redis://"),
        };
        match host.contains(':') {
            true => write!(f, "{scheme}://[{host}]:{port}/{database}"),
            false => write!(f, "{scheme}://{host}:{port}/{database}"),
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
        #[cfg(not(feature = "tls"))]
        check("rediss://cache", Err(UrlError::NoTls));
        #[cfg(feature = "tls")]
        {
            check("rediss://u:p@cache", Ok("rediss://cache:6379/0"));
            check("valkeys://[::1]:7/2", Ok("rediss://[::1]:7/2"));
            check(
                "rediss://cache/0?sslrootcert=/nowhere",
                Err(UrlError::BadRoot),
            );
            check("rediss://cache/0?insecure", Err(UrlError::Malformed));
            check("rediss://cache/0#insecure", Err(UrlError::Malformed));
        }
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
