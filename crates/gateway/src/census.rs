//! How many sessions there are, in all and of each tenant.
//!
//! The one piece of state that the shards share by reading it. It is touched when a session begins
//! or ends, or asks for a status; never on the way of a diff.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use tidegate_core::TenantId;

/// Counts of one gateway.
#[derive(Debug, Default)]
pub(crate) struct Census {
    connections: AtomicUsize,
    sessions: AtomicUsize,
    slow_sockets: AtomicUsize,
    // Held for one look-up, and only when a session begins or ends or asks for a status.
    tenants: Mutex<HashMap<TenantId, usize>>,
}

impl Census {
    fn tenants(&self) -> MutexGuard<'_, HashMap<TenantId, usize>> {
        self.tenants.lock().expect("no holder of the lock panics")
    }

    /// Counts a connection, unless there are as many as there may be.
    pub(crate) fn admit_connection(&self, connections_max: usize) -> bool {
        let admitted = self.connections.fetch_add(1, Ordering::Relaxed) < connections_max;
        if !admitted {
            self.connections.fetch_sub(1, Ordering::Relaxed);
        }
        admitted
    }

    pub(crate) fn end_connection(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a session and says how many its tenant has with it.
    pub(crate) fn begin_session(&self, tenant: &TenantId) -> usize {
        self.sessions.fetch_add(1, Ordering::Relaxed);
        let mut tenants = self.tenants();
        let count = tenants.entry(tenant.clone()).or_default();
        *count += 1;
        *count
    }

    /// Uncounts a session and says how many its tenant is left with.
    pub(crate) fn end_session(&self, tenant: &TenantId) -> usize {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
        let mut tenants = self.tenants();
        let Some(count) = tenants.get_mut(tenant) else {
            return 0;
        };
        *count -= 1;
        let left = *count;
        if left == 0 {
            tenants.remove(tenant);
        }
        left
    }

    pub(crate) fn sessions_of(&self, tenant: &TenantId) -> usize {
        self.tenants().get(tenant).copied().unwrap_or(0)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    pub(crate) fn slow_sockets(&self) -> usize {
        self.slow_sockets.load(Ordering::Relaxed)
    }

    pub(crate) fn begin_slow(&self) {
        self.slow_sockets.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end_slow(&self) {
        self.slow_sockets.fetch_sub(1, Ordering::Relaxed);
    }
}
