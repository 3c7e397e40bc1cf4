//! Which parts are up. `/ready` is yes when all of them are, and no again from the start of a
//! drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A part that must be up before clients may be sent here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The database is open.
    Database,
    /// The relay has put its first batch on the bus.
    Relay,
    /// The processor has its partitions.
    Processor,
    /// The gateway is bound and not draining.
    Gateway,
}

impl Part {
    const ALL: [Self; 4] = [Self::Database, Self::Relay, Self::Processor, Self::Gateway];

    const fn name(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Relay => "relay",
            Self::Processor => "processor",
            Self::Gateway => "gateway",
        }
    }
}

/// Which parts are up; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Readiness(Arc<[AtomicBool; Part::ALL.len()]>);

impl Readiness {
    /// The part is up.
    pub(crate) fn set(&self, part: Part) {
        // Each flag is read alone and orders nothing else.
        self.0[part as usize].store(true, Ordering::Relaxed);
    }

    /// The part is no longer up.
    pub(crate) fn clear(&self, part: Part) {
        self.0[part as usize].store(false, Ordering::Relaxed);
    }

    fn is_up(&self, part: Part) -> bool {
        self.0[part as usize].load(Ordering::Relaxed)
    }

    /// Whether all parts are up.
    pub(crate) fn is_ready(&self) -> bool {
        Part::ALL.into_iter().all(|part| self.is_up(part))
    }

    /// The answer of `/ready`.
    pub(crate) fn json(&self) -> String {
        let one = |part: Part| format!("\"{}\":{}", part.name(), self.is_up(part));
        let parts: Vec<String> = Part::ALL.into_iter().map(one).collect();
        let (ready, parts) = (self.is_ready(), parts.join(","));
        format!("{{\"ready\":{ready},\"parts\":{{{parts}}}}}")
    }
}
