//! A server behind TLS whose certificate the test made. Built with `tls` only.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tidegate_ports::{HotCache, PortError, Replay};
use tidegate_redis::RedisCache;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::world::{at, config, key};

/// A server that speaks TLS only, with its certificates in a folder that goes with it.
struct Server {
    _process: Child,
    folder: PathBuf,
    port: u16,
}

impl Server {
    async fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("tidegate-rediss-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for name in ["ours", "theirs"] {
            let make = format!(
                "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -keyout {name}.key \
                 -out {name}.pem"
            );
            openssl(&folder, &make).await;
        }
        std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost").unwrap();
        let request = "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key \
                       -out server.csr";
        openssl(&folder, request).await;
        let sign = "x509 -req -in server.csr -CA ours.pem -CAkey ours.key -CAcreateserial -days 2 \
                    -extfile names -out server.pem";
        openssl(&folder, sign).await;
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let process = Command::new("redis-server")
            .current_dir(&folder)
            .args(["--bind", "127.0.0.1", "--port", "0", "--save", ""])
            .args(["--tls-port", &port.to_string(), "--tls-auth-clients", "no"])
            .args([
                "--tls-cert-file",
                "server.pem",
                "--tls-key-file",
                "server.key",
            ])
            .args(["--tls-ca-cert-file", "ours.pem"])
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            _process: process,
            folder,
            port,
        }
    }

    fn cache(&self, host: &str, root: Option<&str>) -> RedisCache {
        let root = root.map(|name| self.folder.join(name).display().to_string());
        let root = root.map_or(String::new(), |path| format!("?sslrootcert={path}"));
        RedisCache::new(config(&format!("rediss://{host}:{}/0{root}", self.port)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    command
        .current_dir(folder)
        .args(arguments.split_whitespace());
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.await.unwrap().success(), "{arguments}");
}

/// The cache's answer once the server has come up.
async fn answer(cache: &RedisCache) -> Result<Replay, PortError> {
    let answered = async {
        loop {
            match cache.replay(&key(), at(1, 0)).await {
                Err(error) if error.is_retryable() => tokio::task::yield_now().await,
                answer => return answer,
            }
        }
    };
    let answered = tokio::time::timeout(Duration::from_secs(20), answered).await;
    answered.expect("the server comes up")
}

/// Who is trusted is talked to; anybody else is refused in a sentence, and not tried again.
#[tokio::test]
async fn only_the_trusted_are_talked_to() {
    let server = Server::start().await;
    let trusted = answer(&server.cache("localhost", Some("ours.pem"))).await;
    assert!(matches!(trusted, Ok(Replay::Gap)), "{trusted:?}");
    for (host, root, part) in [
        ("localhost", Some("theirs.pem"), "UnknownIssuer"),
        ("localhost", None, "UnknownIssuer"),
        ("127.0.0.1", Some("ours.pem"), "not valid for name"),
    ] {
        let refused = answer(&server.cache(host, root)).await.unwrap_err();
        let text = refused.to_string();
        assert!(
            text.contains("no encrypted connection can be made"),
            "{text}"
        );
        assert!(text.contains(part), "{text}");
    }
}
