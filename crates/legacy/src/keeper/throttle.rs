//! When too many sockets are slow, the stream is not read for a while: what waits in the broker
//! costs nothing here. But sockets that never move must not stop those that do, so a pause is
//! bounded; after it the outboxes' own bounds decide.

use std::time::Duration;

use tokio::time::Instant;

use crate::metrics;

/// Longest pause: a client that is merely slow has read its megabyte by then.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long is read on after it.
const RUN_MIN: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Paused {
        since: Instant,
    },
    /// It paused for as long as it may.
    Exempt {
        until: Instant,
    },
}

/// Whether the stream is read.
#[derive(Debug)]
pub(super) struct Throttle {
    slow_max: usize,
    state: State,
}

impl Throttle {
    pub(super) fn new(slow_max: usize) -> Self {
        Self {
            slow_max,
            state: State::Running,
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        matches!(self.state, State::Paused { .. })
    }

    /// So many sockets are slow now.
    pub(super) fn look(&mut self, slow: usize, now: Instant) {
        let is_pressed = slow > self.slow_max;
        let next = match self.state {
            State::Running if is_pressed => State::Paused { since: now },
            State::Paused { since } if is_pressed && now - since >= PAUSE_MAX => State::Exempt {
                until: now + RUN_MIN,
            },
            State::Exempt { until } if is_pressed && now >= until => State::Paused { since: now },
            State::Running | State::Paused { .. } | State::Exempt { .. } if is_pressed => {
                self.state
            }
            _ => State::Running,
        };
        if let (State::Paused { since }, false) = (self.state, matches!(next, State::Paused { .. }))
        {
            metrics::count_paused((now - since).as_secs_f64());
            tracing::info!(slow, "the foreign stream is read again");
        }
        if next != self.state {
            self.state = next;
            metrics::report_paused(self.is_paused());
            if self.is_paused() {
                tracing::warn!(slow, "too many sockets are slow: the foreign stream waits");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! Shows that slow sockets stop the stream, and not for ever.

    use super::*;

    #[test]
    fn a_pause_ends_with_its_cause_or_at_its_bound() {
        let start = Instant::now();
        let mut throttle = Throttle::new(100);
        let mut check = |seconds, slow, is_paused| {
            throttle.look(slow, start + Duration::from_secs(seconds));
            assert_eq!(throttle.is_paused(), is_paused, "after {seconds} s");
        };
        check(0, 100, false);
        check(1, 101, true);
        check(2, 100, false);
        check(3, 500, true);
        check(12, 500, true);
        check(13, 500, false);
        check(14, 500, false);
        check(15, 500, true);
        check(16, 0, false);
    }
}
