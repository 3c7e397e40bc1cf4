//! The one connection to the server, and what happens while there is none.
//!
//! All calls share a connection and are pipelined on it. When it fails, the call fails, and the
//! next one tries to connect; but not sooner than a pause that grows with each failure in a row.
//! Until then calls fail at once: nobody waits again and again for a server that is away. The
//! driver's own manager makes callers wait for its retries, so it is not used.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Pipeline, ServerErrorKind, Value};
use tokio::time::Instant;

use crate::config::RedisConfig;
use crate::error::Trouble;

/// The pause after the first failure: about what a server needs to start.
const PAUSE_FIRST: Duration = Duration::from_millis(100);

/// The longest pause: an operator who mends the server sees life soon.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A connection that makes itself anew.
pub(crate) struct Link {
    client: Client,
    options: AsyncConnectionConfig,
    /// For the log: the server without its password.
    address: String,
    state: Mutex<State>,
}

struct State {
    /// The newest attempt to connect, unless it has failed since.
    attempt: Option<Attempt>,
    attempts: u64,
    /// Failures since the server last answered.
    failures: u32,
    /// No attempt before this.
    retry_at: Option<Instant>,
    luck: SmallRng,
}

#[derive(Clone)]
struct Attempt {
    /// Tells a failure of this connection from one of an earlier connection, known late.
    number: u64,
    /// Shared, so that whoever waits drives it: a caller that gives up strands nobody.
    opening: Shared<BoxFuture<'static, Result<MultiplexedConnection, Trouble>>>,
}

impl Link {
    /// Connects at the first call, so that a server that is away stops nobody from starting.
    pub(crate) fn new(config: &RedisConfig) -> Self {
        Self {
            client: config.url.client().clone(),
            options: AsyncConnectionConfig::new()
                .set_connection_timeout(Some(config.connect_timeout))
                .set_response_timeout(Some(config.response_timeout)),
            address: config.url.to_string(),
            state: Mutex::new(State {
                attempt: None,
                attempts: 0,
                failures: 0,
                retry_at: None,
                luck: SmallRng::from_os_rng(),
            }),
        }
    }

    /// Sends commands and gives one answer for each, errors of single commands included.
    ///
    /// After an error any part may have been carried out.
    pub(crate) async fn send(&self, commands: &Pipeline) -> Result<Vec<Value>, Trouble> {
        let attempt = self.attempt()?;
        match exchange(&attempt, commands).await {
            Ok(answers) if answers.iter().any(is_read_only) => {
                // The address may lead to another server by now, one that can be written.
                self.failed(attempt.number, &Trouble::answer("READONLY"));
                Ok(answers)
            }
            Ok(answers) => {
                self.worked(attempt.number);
                Ok(answers)
            }
            Err(trouble) => {
                self.failed(attempt.number, &trouble);
                Err(trouble)
            }
        }
    }

    /// The connection, or the attempt to make one.
    fn attempt(&self) -> Result<Attempt, Trouble> {
        let mut state = self.lock();
        if let Some(attempt) = &state.attempt {
            return Ok(attempt.clone());
        }
        if state
            .retry_at
            .is_some_and(|retry_at| Instant::now() < retry_at)
        {
            return Err(Trouble::Waiting);
        }
        state.attempts += 1;
        let attempt = Attempt {
            number: state.attempts,
            opening: connect(self.client.clone(), self.options.clone())
                .boxed()
                .shared(),
        };
        state.attempt = Some(attempt.clone());
        Ok(attempt)
    }

    fn worked(&self, number: u64) {
        let mut state = self.lock();
        let is_current = state.attempt.as_ref().is_some_and(|a| a.number == number);
        if is_current && (state.failures > 0 || state.retry_at.is_some()) {
            tracing::info!(server = %self.address, "the cache answers again");
            state.failures = 0;
            state.retry_at = None;
        }
    }

    fn failed(&self, number: u64, trouble: &Trouble) {
        let mut state = self.lock();
        // All calls in flight on a connection learn of its end; it counts once.
        if state.attempt.as_ref().is_none_or(|a| a.number != number) {
            return;
        }
        if state.failures == 0 {
            tracing::warn!(
                server = %self.address,
                reason = %trouble,
                "the cache is unavailable; clients that resume get fresh pages"
            );
        }
        state.attempt = None;
        state.failures = state.failures.saturating_add(1);
        let pause = pause(state.failures, state.luck.random());
        state.retry_at = Some(Instant::now() + pause);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }
}

async fn exchange(attempt: &Attempt, commands: &Pipeline) -> Result<Vec<Value>, Trouble> {
    let mut connection = attempt.opening.clone().await?;
    let answers = connection
        .send_packed_commands(commands, 0, commands.len())
        .await?;
    match answers.len() == commands.len() {
        true => Ok(answers),
        false => Err(Trouble::Garbage),
    }
}

/// A connection whose server has shown that it is one and serves.
async fn connect(
    client: Client,
    options: AsyncConnectionConfig,
) -> Result<MultiplexedConnection, Trouble> {
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&options)
        .await?;
    match connection.send_packed_command(&redis::cmd("PING")).await? {
        Value::SimpleString(pong) if pong == "PONG" => Ok(connection),
        Value::ServerError(error) => Err(Trouble::from(&error)),
        _ => Err(Trouble::Garbage),
    }
}

fn is_read_only(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::ReadOnly))
}

/// The pause after so many failures in a row; `luck` in 0..1 spreads the many gateways of a system
/// over its second half, so that they do not all come at once.
fn pause(failures: u32, luck: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let full = (PAUSE_FIRST * 2_u32.pow(doublings)).min(PAUSE_MAX);
    full.mul_f64(0.5 + luck / 2.0)
}

#[cfg(test)]
mod tests {
    //! Shows that pauses grow to a bound and end with an answer, and that the late news of an old
    //! connection's end does not end the new one.

    use std::time::Duration;

    use super::{Link, PAUSE_FIRST, PAUSE_MAX, pause};
    use crate::config::RedisConfig;
    use crate::error::Trouble;

    /// Nothing is sent in these tests, so nobody has to listen.
    fn link() -> Link {
        Link::new(&RedisConfig::new("redis://127.0.0.1:1".parse().unwrap()))
    }

    fn number(link: &Link) -> Result<u64, Trouble> {
        link.attempt().map(|attempt| attempt.number)
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        let check = |failures, luck, millis| {
            assert_eq!(pause(failures, luck), Duration::from_millis(millis));
        };
        check(1, 0.0, 50);
        check(1, 1.0, 100);
        check(2, 0.5, 150);
        check(6, 1.0, 3_200);
        check(7, 1.0, 5_000);
        check(u32::MAX, 0.0, 2_500);
    }

    #[tokio::test(start_paused = true)]
    async fn late_news_of_an_old_connection_is_no_news() {
        let link = link();
        assert_eq!(number(&link), Ok(1));
        assert_eq!(number(&link), Ok(1), "it is shared");
        link.failed(1, &Trouble::Lost);
        link.failed(1, &Trouble::Lost);
        assert_eq!(link.lock().failures, 1, "it counts once");
        assert_eq!(number(&link), Err(Trouble::Waiting));
        tokio::time::advance(PAUSE_FIRST).await;
        assert_eq!(number(&link), Ok(2));
        link.failed(1, &Trouble::Lost);
        link.worked(1);
        assert_eq!(number(&link), Ok(2));
        assert_eq!(link.lock().failures, 1, "an old answer ends nothing either");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_ends_the_growth_of_the_pause() {
        let link = link();
        for failure in 1..10 {
            assert_eq!(number(&link), Ok(failure));
            link.failed(failure, &Trouble::Timeout);
            assert_eq!(number(&link), Err(Trouble::Waiting));
            tokio::time::advance(PAUSE_MAX).await;
        }
        assert_eq!(number(&link), Ok(10));
        link.worked(10);
        link.failed(10, &Trouble::Lost);
        assert_eq!(number(&link), Err(Trouble::Waiting));
        tokio::time::advance(PAUSE_FIRST).await;
        assert_eq!(number(&link), Ok(11));
    }
}
