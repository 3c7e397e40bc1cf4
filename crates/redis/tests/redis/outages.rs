//! Shows that a server that is away, silent, or none at all costs a call its answer at once and the
//! cache nothing: it comes back by itself. And that no error shows a password.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidegate_ports::{HotCache, PortError};
use tidegate_redis::RedisCache;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::world::{
    all_words, append, at, config, entries, free_port, key, replay, soon, start_redis, until,
    until_up,
};

/// A server that gives each connection these bytes for its first words, then keeps silent.
struct False {
    port: u16,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl False {
    async fn start(answers: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let answers = answers.clone();
                open.spawn(async move {
                    let mut heard = [0; 4096];
                    for answer in answers {
                        // The other side may be gone before it has heard all.
                        if !matches!(socket.read(&mut heard).await, Ok(1..)) {
                            return;
                        }
                        let _ = socket.write_all(&answer).await;
                    }
                    while matches!(socket.read(&mut heard).await, Ok(1..)) {}
                });
            }
        });
        Self {
            port,
            connections,
            _tasks: tasks,
        }
    }

    fn cache(&self, response_timeout: Duration) -> RedisCache {
        let mut config = config(&format!("redis://127.0.0.1:{}", self.port));
        config.response_timeout = response_timeout;
        RedisCache::new(config)
    }
}

const SHORT: Duration = Duration::from_millis(30);
const LONG: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_server_that_is_killed_and_comes_back_is_used_again() {
    let port = free_port().await;
    let mut server = start_redis(port, &[]);
    until_up(port).await;
    let cache = RedisCache::new(config(&format!("redis://127.0.0.1:{port}")));
    append(&cache, entries(1, 0, 3)).await;
    assert_eq!(replay(&cache, at(1, 0)).await.unwrap().len(), 2);

    server.kill().await.unwrap();
    for _ in 0..20 {
        let error = soon(cache.append(entries(1, 3, 4))).await.unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
        let error = soon(cache.replay(&key(), at(1, 0))).await.unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
    }

    let _server = start_redis(port, &[]);
    until("the cache comes back", async || {
        soon(cache.append(entries(1, 4, 5))).await.is_ok()
    })
    .await;
    // It came back empty: what a client missed is a gap, not a part.
    assert_eq!(replay(&cache, at(1, 0)).await, None);
    assert_eq!(replay(&cache, at(1, 3)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let port = free_port().await;
    let cache = RedisCache::new(config(&format!("redis://127.0.0.1:{port}")));
    let error = soon(cache.append(entries(1, 0, 1))).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert!(all_words(&error).contains("refused"), "{error:?}");
    // The pause before the next attempt lasts, as the clock stands.
    tokio::time::pause();
    let error = soon(cache.append(entries(1, 0, 1))).await.unwrap_err();
    assert!(all_words(&error).contains("a moment ago"), "{error:?}");
}

/// The first call waits for its time-out; those after it do not even try for a while.
#[tokio::test]
async fn a_server_that_never_answers_is_waited_for_once() {
    let server = False::start(Vec::new()).await;
    let cache = server.cache(SHORT);
    let error = soon(cache.replay(&key(), at(1, 0))).await.unwrap_err();
    assert!(all_words(&error).contains("no answer in time"), "{error:?}");
    // Tokio's clock stands from here on, so that the pause lasts however slow the machine is.
    tokio::time::pause();
    for _ in 0..100 {
        let error = cache.replay(&key(), at(1, 0)).await.unwrap_err();
        assert!(all_words(&error).contains("a moment ago"), "{error:?}");
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

/// A server that greets and then falls silent is no better than one that never spoke.
#[tokio::test]
async fn a_server_that_falls_silent_is_unavailable() {
    let server = False::start(vec![b"+PONG\r\n".to_vec()]).await;
    let error = soon(server.cache(SHORT).append(entries(1, 0, 1)))
        .await
        .unwrap_err();
    assert!(all_words(&error).contains("no answer in time"), "{error:?}");
}

/// One caller that gives up while it connects must not leave the others without a connection.
#[tokio::test]
async fn a_caller_that_gives_up_strands_nobody() {
    let server = False::start(vec![b"+PONG\r\n".to_vec(), b"*0\r\n".to_vec()]).await;
    let cache = server.cache(LONG);
    let key = key();
    tokio::select! {
        biased;
        _ = cache.replay(&key, at(1, 0)) => panic!("it has to connect first"),
        () = std::future::ready(()) => {}
    }
    assert_eq!(replay(&cache, at(1, 0)).await, None);
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_unavailable() {
    let mut answers: Vec<Vec<u8>> = [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "\r\n\r\n\r\n",
        "+OK\r\n",
        ":1\r\n",
        "$-1\r\n",
        "$99999999999999999999\r\n",
        "*-7\r\n",
        "%1\r\n",
        "$2000000000\r\n",
        "*2147483647\r\n",
        "*9223372036854775807\r\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    answers.push(b"*1\r\n".repeat(10_000));
    answers.push(vec![0xff; 1_000]);
    let mut random = SmallRng::seed_from_u64(5);
    for _ in 0..100 {
        let length = random.random_range(1..60);
        let bytes = (0..length).map(|_| random.random::<u8>());
        answers.push(bytes.chain(*b"\r\n").collect());
    }
    for answer in answers {
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(60)]).into_owned();
        let server = False::start(vec![answer]).await;
        let error = soon(server.cache(SHORT).append(entries(1, 0, 1))).await;
        let error = error.expect_err(&shown);
        // Bytes by chance may also be what Redis's protocol calls an error.
        let is_expected = error.is_retryable() || matches!(error, PortError::Rejected { .. });
        assert!(is_expected, "{shown:?}: {error:?}");
    }
}

/// A server that speaks the protocol but says something else than Redis would.
#[tokio::test]
async fn an_answer_out_of_place_is_an_error() {
    for answer in [
        "+OK\r\n",
        ":7\r\n",
        "*1\r\n*1\r\n:1\r\n",
        "*1\r\n$3\r\n1-0\r\n",
    ] {
        let answers = [b"+PONG\r\n".to_vec(), answer.as_bytes().to_vec()];
        let server = False::start(answers.to_vec()).await;
        let error = soon(server.cache(LONG).replay(&key(), at(1, 0))).await;
        let error = error.expect_err(answer);
        assert!(matches!(error, PortError::Corrupt { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn no_error_shows_a_password_or_a_row() {
    let port = free_port().await;
    let _server = start_redis(port, &["--requirepass", "the-true-secret"]);
    until_up(port).await;
    let with = |login: &str| RedisCache::new(config(&format!("redis://{login}127.0.0.1:{port}")));
    for login in [":a-false-secret@", "someone:a-false-secret@", ""] {
        let error = soon(with(login).append(entries(1, 0, 1)))
            .await
            .unwrap_err();
        let words = all_words(&error);
        assert!(matches!(error, PortError::Rejected { .. }), "{words}");
        assert!(!words.contains("secret"), "{words}");
    }
    assert_eq!(
        append(&with(":the-true-secret@"), entries(1, 0, 1)).await,
        0
    );

    // A server may quote what it did not understand.
    let quoting = b"-ERR unknown command 'XADD', with args beginning with: 'owner 1-0'\r\n";
    let server = False::start(vec![b"+PONG\r\n".to_vec(), quoting.repeat(2)]).await;
    let error = soon(server.cache(LONG).append(entries(1, 0, 1)))
        .await
        .unwrap_err();
    assert!(matches!(error, PortError::Rejected { .. }), "{error:?}");
    assert!(!all_words(&error).contains("owner"), "{error:?}");
}

/// A server that became a replica is left, as the address may lead to the new one by now.
#[tokio::test]
async fn a_server_that_may_not_be_written_is_left() {
    let read_only = b"-READONLY You can't write against a read only replica.\r\n:0\r\n".to_vec();
    let answers = vec![b"+PONG\r\n".to_vec(), read_only.clone(), read_only];
    let server = False::start(answers).await;
    let cache = server.cache(LONG);
    let error = soon(cache.append(entries(1, 0, 1))).await.unwrap_err();
    assert!(all_words(&error).contains("READONLY"), "{error:?}");
    assert!(error.is_retryable(), "{error:?}");
    // The pause before the next attempt lasts, as the clock stands.
    tokio::time::pause();
    let error = cache.append(entries(1, 0, 1)).await.unwrap_err();
    assert!(all_words(&error).contains("a moment ago"), "{error:?}");
}
