//! Who wants a page kept, and until when.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// How long a lease lasts without being renewed. Gateways renew every 10 s, so this outlives three
/// lost renewals and a short pause of the bus.
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(45);

/// The leases of one page, by gateway. When the last one lapses the page dies.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    until: HashMap<u64, Instant>,
}

impl Leases {
    pub(crate) fn renew(&mut self, gateway: u64, now: Instant) {
        self.until.insert(gateway, now + LEASE_TTL);
    }

    pub(crate) fn release(&mut self, gateway: u64) {
        self.until.remove(&gateway);
    }

    /// Forgets what has lapsed, and says whether anybody is left.
    pub(crate) fn are_alive(&mut self, now: Instant) -> bool {
        self.until.retain(|_, until| *until > now);
        !self.until.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One gateway's release or silence never ends another's page.
    #[test]
    fn a_page_lives_until_the_last_lease_lapses() {
        let start = Instant::now();
        let mut leases = Leases::default();
        leases.renew(1, start);
        leases.renew(2, start + LEASE_TTL / 2);
        leases.release(1);
        assert!(leases.are_alive(start));
        assert!(leases.are_alive(start + LEASE_TTL));
        assert!(!leases.are_alive(start + LEASE_TTL * 2));
    }
}
