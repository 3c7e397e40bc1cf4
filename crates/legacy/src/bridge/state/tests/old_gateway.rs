//! A double of the old gateway's rules of delivery, its defects included: one "last seen" LSN for
//! all keys, diffs lost while a client is sent its rows, nothing at or below a client's cursor, and
//! row events for everybody at once.

use tidegate_protocol::OldKey;

use crate::bridge::client::Held;
use crate::bridge::feed::Saying;

/// One subscription.
pub(super) struct Client {
    pub(super) key: OldKey,
    cursor: u64,
    is_buffering: bool,
    /// What it shows, if it goes by page diffs.
    pub(super) by_diffs: Held,
    /// The same, if it goes by row events.
    pub(super) by_events: Held,
}

#[derive(Default)]
pub(super) struct OldGateway {
    pub(super) last_seen: u64,
    pub(super) clients: Vec<Client>,
}

impl OldGateway {
    /// A client subscribes: its cursor is what this gateway has seen of anything.
    pub(super) fn subscribe(&mut self, key: OldKey) -> u64 {
        self.clients.push(Client {
            key,
            cursor: self.last_seen,
            is_buffering: true,
            by_diffs: Held::new(Vec::new()),
            by_events: Held::new(Vec::new()),
        });
        self.last_seen
    }

    /// Its rows have come from the worker.
    pub(super) fn snapshot(&mut self, rows: &Held) {
        let client = self.clients.last_mut().expect("subscribed just now");
        client.by_diffs = rows.clone();
        client.by_events = rows.clone();
    }

    /// All of its first frames are out.
    pub(super) fn settle(&mut self) {
        self.clients.last_mut().expect("subscribed").is_buffering = false;
    }

    pub(super) fn deliver(&mut self, saying: &Saying) {
        self.last_seen = self.last_seen.max(saying.last);
        for client in &mut self.clients {
            if client.key != saying.key {
                continue;
            }
            saying
                .changes
                .iter()
                .for_each(|change| client.by_events.take(change));
            if client.is_buffering || saying.last <= client.cursor {
                continue;
            }
            client.cursor = saying.last;
            saying
                .changes
                .iter()
                .for_each(|change| client.by_diffs.take(change));
        }
    }
}
