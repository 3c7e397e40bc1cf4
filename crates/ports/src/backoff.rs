//! Waiting longer after each failure of a seam.

use std::time::Duration;

/// First wait: about what a broker needs to elect a leader.
const FIRST: Duration = Duration::from_millis(100);

/// Longest wait: an operator who mends the other side sees life soon.
const LAST: Duration = Duration::from_secs(5);

/// Waits 100 ms after the first failure, twice as long after each further one, at most 5 s.
///
/// For the few owner tasks of a process, so without jitter: no herd can form.
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
        let wait = self.next;
        self.next = (wait * 2).min(LAST);
        tokio::time::sleep(wait).await;
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.next = FIRST;
    }
}
