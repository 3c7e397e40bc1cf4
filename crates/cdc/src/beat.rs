//! When partitions are told how far the stream has come.

use std::time::Duration;

use tidegate_core::Heartbeat;
use tokio::time::{Instant, sleep_until};

/// Between two heartbeats. Opening a page and reading one's own write wait for one, so it is less
/// than anybody notices.
const SPACING: Duration = Duration::from_millis(10);

/// The heartbeat that partitions were not told yet, and when they may be.
#[derive(Debug, Default)]
pub(crate) struct Beat {
    owed: Option<Heartbeat>,
    /// `None` before the first one.
    next_at: Option<Instant>,
}

impl Beat {
    /// Takes the heartbeat of a batch. Gives it back if it is to go with the batch; otherwise it is
    /// due later, or replaced by then.
    pub(crate) fn take(&mut self, heartbeat: Heartbeat) -> Option<Heartbeat> {
        let now = Instant::now();
        if self.next_at.is_some_and(|next_at| now < next_at) {
            self.owed = Some(heartbeat);
            return None;
        }
        self.owed = None;
        self.next_at = Some(now + SPACING);
        Some(heartbeat)
    }

    /// Waits until the one that is owed is due, for ever when none is. Cancellation-safe.
    pub(crate) async fn due(&mut self) -> Heartbeat {
        let (Some(heartbeat), Some(next_at)) = (&self.owed, self.next_at) else {
            return std::future::pending().await;
        };
        let heartbeat = heartbeat.clone();
        sleep_until(next_at).await;
        self.owed = None;
        self.next_at = Some(Instant::now() + SPACING);
        heartbeat
    }
}

#[cfg(test)]
mod tests {
    use tidegate_core::Lsn;

    use super::*;

    fn heartbeat(lsn: u64) -> Heartbeat {
        Heartbeat {
            lsn: Lsn::new(lsn),
            at_micros: 0,
            visible: None,
        }
    }

    /// The first goes at once; those that follow closely become one, the newest, when its time has
    /// come, and nothing is owed any more then.
    #[tokio::test(start_paused = true)]
    async fn close_ones_become_one() {
        let mut beat = Beat::default();
        let start = Instant::now();
        assert_eq!(beat.take(heartbeat(1)), Some(heartbeat(1)));
        assert_eq!(beat.take(heartbeat(2)), None);
        assert_eq!(beat.take(heartbeat(3)), None);
        assert_eq!(beat.due().await, heartbeat(3));
        assert_eq!(Instant::now() - start, SPACING);
        tokio::select! {
            biased;
            () = tokio::time::sleep(SPACING * 2) => {}
            _ = beat.due() => panic!("nothing is owed"),
        }
        assert_eq!(beat.take(heartbeat(4)), Some(heartbeat(4)));
    }
}
