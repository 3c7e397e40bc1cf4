//! Which parts are up. `/ready` is yes when all of them are, and no again from the start of a
//! drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::config::{Role, Roles};

/// A part that must be up before clients may be sent here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The bus is open and can be reached.
    Bus,
    /// The cache answers. It is shown, but nobody waits for it: without it clients that
    /// reconnect get fresh pages, which is worse than resuming and better than nothing.
    Cache,
    /// The database is open and can be reached.
    Database,
    /// The relay has a stream of changes, the first batch of which is on the bus; or another
    /// process relays and this one stands by.
    Relay,
    /// The processor has joined those who share the partitions.
    Processor,
    /// The gateway is bound and not draining.
    Gateway,
    /// The worker has joined those who share the calls.
    Worker,
}

impl Part {
    const ALL: [Self; 7] = [
        Self::Bus,
        Self::Cache,
        Self::Database,
        Self::Relay,
        Self::Processor,
        Self::Gateway,
        Self::Worker,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Bus => "bus",
            Self::Cache => "cache",
            Self::Database => "database",
            Self::Relay => "relay",
            Self::Processor => "processor",
            Self::Gateway => "gateway",
            Self::Worker => "worker",
        }
    }

    /// The role without which a process has no such part; every process has the seams.
    const fn role(self) -> Option<Role> {
        match self {
            Self::Bus | Self::Cache | Self::Database => None,
            Self::Relay => Some(Role::Cdc),
            Self::Processor => Some(Role::Processor),
            Self::Gateway => Some(Role::Gateway),
            Self::Worker => Some(Role::Worker),
        }
    }
}

/// How a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Down,
    Up,
    /// Another process does what there is to do, and this one takes over.
    Standby,
}

/// How the parts are; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Readiness {
    expected: Arc<[Part]>,
    states: Arc<[AtomicU8; Part::ALL.len()]>,
}

impl Readiness {
    /// Expects the parts of these roles. None is up yet.
    pub(crate) fn new(roles: &Roles) -> Self {
        let is_here = |part: &Part| part.role().is_none_or(|role| roles.has(role));
        Self {
            expected: Part::ALL.into_iter().filter(is_here).collect(),
            states: Arc::default(),
        }
    }

    /// The part is up.
    pub(crate) fn set(&self, part: Part) {
        self.turn(part, State::Up);
    }

    /// The part is no longer up.
    pub(crate) fn clear(&self, part: Part) {
        self.turn(part, State::Down);
    }

    /// The part is as it is said.
    pub(crate) fn turn(&self, part: Part, state: State) {
        // Each is read alone and orders nothing else.
        self.states[part as usize].store(state as u8, Ordering::Relaxed);
    }

    fn state(&self, part: Part) -> State {
        match self.states[part as usize].load(Ordering::Relaxed) {
            up if up == State::Up as u8 => State::Up,
            standby if standby == State::Standby as u8 => State::Standby,
            _ => State::Down,
        }
    }

    /// Whether all parts are up that are waited for.
    pub(crate) fn is_ready(&self) -> bool {
        let is_well = |part: &Part| *part == Part::Cache || self.state(*part) != State::Down;
        self.expected.iter().all(is_well)
    }

    /// The answer of `/ready`.
    pub(crate) fn json(&self) -> String {
        let one = |part: &Part| {
            let state = match self.state(*part) {
                State::Up => "true",
                State::Down => "false",
                State::Standby => "\"standby\"",
            };
            format!("\"{}\":{state}", part.name())
        };
        let parts: Vec<String> = self.expected.iter().map(one).collect();
        let (ready, parts) = (self.is_ready(), parts.join(","));
        format!("{{\"ready\":{ready},\"parts\":{{{parts}}}}}")
    }
}
