//! Waiting longer after each failure of a seam.

use std::time::Duration;

use rand::Rng;

/// First wait: about what a broker needs to elect a leader.
const FIRST: Duration = Duration::from_millis(100);

/// Longest wait: when the other side is back, screens are current soon after.
const LAST: Duration = Duration::from_secs(2);

/// A wait of which a random half is left out: all processes of a cluster lose an engine in the same
/// moment, and must not come back to it in one.
#[must_use]
pub fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// Waits 100 ms after the first failure, twice as long after each further one, at most two seconds,
/// each of them [`jittered`].
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// Waits. Cancellation-safe.
    pub async fn wait(&mut self) {
        let wait = jittered(self.next);
        self.next = (self.next * 2).min(LAST);
        tokio::time::sleep(wait).await;
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// Waits grow to a bound, start over after a success, and are not the same for all.
    #[tokio::test(start_paused = true)]
    async fn waits_grow_and_differ() {
        let mut backoff = Backoff::default();
        for longest in [100, 200, 400, 800, 1_600, 2_000, 2_000] {
            let began = Instant::now();
            backoff.wait().await;
            let longest = Duration::from_millis(longest);
            // The clock of a test goes on in whole milliseconds.
            let slack = Duration::from_millis(1);
            let waited = began.elapsed();
            assert!(waited >= longest / 2 && waited <= longest + slack);
        }
        backoff.reset();
        let mut waits = std::collections::HashSet::new();
        for _ in 0..10 {
            let mut other = Backoff { next: LAST };
            let began = Instant::now();
            other.wait().await;
            waits.insert(began.elapsed());
        }
        assert!(waits.len() > 1, "{waits:?}");
        assert_eq!(backoff.next, FIRST);
    }
}
