//! What the tests need: the shared server, servers of their own, and false ones.

use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use redis::FromRedisValue;
use tidegate_core::{Epoch, Offset, Position, QueryHash, RoutingKey, TableName, TenantId};
use tidegate_ports::{HotCache, PortError, Replay, TailEntry};
use tidegate_redis::{RedisCache, RedisConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// After this a test that waits for something fails; nothing that works takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server of the suite.
#[expect(
    clippy::disallowed_methods,
    reason = "only the task that starts the server knows its port"
)]
pub(crate) fn shared_url() -> String {
    std::env::var("TIDEGATE_TEST_REDIS").expect(
        "TIDEGATE_TEST_REDIS is not set: these tests need a Redis; run `cargo xtask test`, or \
         `cargo xtask services run --only redis -- cargo test -p tidegate-redis`",
    )
}

/// Settings for a server, with keys that no other test uses.
pub(crate) fn config(url: &str) -> RedisConfig {
    static TESTS: AtomicU32 = AtomicU32::new(0);
    let mut config = RedisConfig::new(url.parse().unwrap());
    let test = TESTS.fetch_add(1, Ordering::Relaxed);
    config.key_prefix = format!("test-{}-{test}:", std::process::id());
    // The machine of the tests may be busy.
    config.response_timeout = Duration::from_secs(10);
    config.connect_timeout = Duration::from_secs(10);
    config
}

pub(crate) fn shared() -> RedisConfig {
    config(&shared_url())
}

/// A cache's own words to its server, to look behind it.
pub(crate) async fn ask<T: FromRedisValue>(config: &RedisConfig, words: &[&str]) -> T {
    let url = shared_url();
    assert_eq!(
        config.url.to_string(),
        format!("{url}/0"),
        "it looks at the shared server"
    );
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query_async(&mut connection).await.unwrap()
}

/// The name of the tail of [`key`].
pub(crate) fn stream(config: &RedisConfig) -> String {
    format!("{}tail:{}", config.key_prefix, key().encode())
}

pub(crate) fn key() -> RoutingKey {
    let hash = "00112233445566778899aabbccddeeff";
    RoutingKey {
        tenant: TenantId::parse("acme").unwrap(),
        table: TableName::parse("orders").unwrap(),
        query: hash.parse::<QueryHash>().unwrap(),
    }
}

pub(crate) fn at(epoch: u64, offset: u64) -> Position {
    Position {
        epoch: Epoch::from_raw(epoch),
        offset: Offset::new(offset),
    }
}

/// An entry whose value says who wrote it.
pub(crate) fn entry(position: Position, writer: &str) -> TailEntry {
    TailEntry {
        key: key(),
        position,
        value: Bytes::from(format!("{writer} {position}")),
    }
}

/// The entries `from..to` of an epoch.
pub(crate) fn entries(epoch: u64, from: u64, to: u64) -> Vec<TailEntry> {
    (from..to)
        .map(|offset| entry(at(epoch, offset), "owner"))
        .collect()
}

/// Appends entries and gives how many were refused.
pub(crate) async fn append(cache: &RedisCache, entries: Vec<TailEntry>) -> usize {
    cache.append(entries).await.unwrap().refused
}

/// The positions and values after a position, or nothing for a gap.
pub(crate) async fn replay(cache: &RedisCache, after: Position) -> Option<Vec<(Position, Bytes)>> {
    match cache.replay(&key(), after).await.unwrap() {
        Replay::Gap => None,
        Replay::Complete(entries) => Some(entries),
    }
}

/// Waits until a condition holds, asking again and again.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let ask = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    let outcome = tokio::time::timeout(PATIENCE, ask).await;
    outcome.unwrap_or_else(|_| panic!("never happened: {what}"));
}

/// A call's outcome; one that hangs fails the test.
pub(crate) async fn soon<T>(call: impl Future<Output = T>) -> T {
    let outcome = tokio::time::timeout(PATIENCE, call).await;
    outcome.expect("a call to the cache hangs")
}

/// An error with all it carries, as a log might show it.
pub(crate) fn all_words(error: &PortError) -> String {
    let mut words = format!("{error} {error:?}");
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        words += &format!(" {error} {error:?}");
        source = error.source();
    }
    words
}

/// A port that nobody listens on.
pub(crate) async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

/// A Redis of the test's own; it ends when it is dropped.
pub(crate) fn start_redis(port: u16, more: &[&str]) -> Child {
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--save", "", "--appendonly", "no"])
        .args(more)
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("redis-server is needed; `cargo xtask test` installs it")
}

/// Waits until a server of the test's own listens.
pub(crate) async fn until_up(port: u16) {
    until("the server starts", async || {
        TcpStream::connect(("127.0.0.1", port)).await.is_ok()
    })
    .await;
}
