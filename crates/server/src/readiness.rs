//! Which parts are up. `/ready` is yes when all of them are, and no again from the start of a
//! drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::{Role, Roles};

/// A part that must be up before clients may be sent here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The bus is open and can be reached.
    Bus,
    /// The cache has answered. It is shown, but nobody waits for it: without it clients that
    /// reconnect get fresh pages, which is worse than resuming and better than nothing.
    Cache,
    /// The database is open.
    Database,
    /// The relay has put its first batch on the bus.
    Relay,
    /// The processor has joined those who share the partitions.
    Processor,
    /// The gateway is bound and not draining.
    Gateway,
}

impl Part {
    const ALL: [Self; 6] = [
        Self::Bus,
        Self::Cache,
        Self::Database,
        Self::Relay,
        Self::Processor,
        Self::Gateway,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Bus => "bus",
            Self::Cache => "cache",
            Self::Database => "database",
            Self::Relay => "relay",
            Self::Processor => "processor",
            Self::Gateway => "gateway",
        }
    }

    /// The role without which a process has no such part; every process has the seams.
    const fn role(self) -> Option<Role> {
        match self {
            Self::Bus | Self::Cache | Self::Database => None,
            Self::Relay => Some(Role::Cdc),
            Self::Processor => Some(Role::Processor),
            Self::Gateway => Some(Role::Gateway),
        }
    }
}

/// Which parts are up; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Readiness {
    expected: Arc<[Part]>,
    up: Arc<[AtomicBool; Part::ALL.len()]>,
}

impl Readiness {
    /// Expects the parts of these roles. None is up yet.
    pub(crate) fn new(roles: &Roles) -> Self {
        let is_here = |part: &Part| part.role().is_none_or(|role| roles.has(role));
        Self {
            expected: Part::ALL.into_iter().filter(is_here).collect(),
            up: Arc::default(),
        }
    }

    /// The part is up.
    pub(crate) fn set(&self, part: Part) {
        // Each flag is read alone and orders nothing else.
        self.up[part as usize].store(true, Ordering::Relaxed);
    }

    /// The part is no longer up.
    pub(crate) fn clear(&self, part: Part) {
        self.up[part as usize].store(false, Ordering::Relaxed);
    }

    fn is_up(&self, part: Part) -> bool {
        self.up[part as usize].load(Ordering::Relaxed)
    }

    /// Whether all parts are up that are waited for.
    pub(crate) fn is_ready(&self) -> bool {
        let is_up = |part: &Part| *part == Part::Cache || self.is_up(*part);
        self.expected.iter().all(is_up)
    }

    /// The answer of `/ready`.
    pub(crate) fn json(&self) -> String {
        let one = |part: &Part| format!("\"{}\":{}", part.name(), self.is_up(*part));
        let parts: Vec<String> = self.expected.iter().map(one).collect();
        let (ready, parts) = (self.is_ready(), parts.join(","));
        format!("{{\"ready\":{ready},\"parts\":{{{parts}}}}}")
    }
}
