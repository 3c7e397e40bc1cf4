//! Diffs that came while a page was being read.

use std::collections::VecDeque;

use tidegate_core::{Lsn, Position};
use tidegate_protocol::DiffContent;

use crate::stream::Incoming;

/// Diffs kept while a page is read, and their bytes. Past it the oldest go; if the rows turn out
/// not to hold them, they are read again.
const DIFFS_MAX: usize = 4_096;
const BYTES_MAX: usize = 8 << 20;

/// Diffs that wait for the page to begin.
#[derive(Debug, Default)]
pub(super) struct Held {
    diffs: VecDeque<Incoming>,
    bytes: usize,
    lost_through: Lsn,
}

impl Held {
    pub(super) fn push(&mut self, incoming: Incoming) {
        self.bytes += incoming.body.len();
        self.diffs.push_back(incoming);
        while self.diffs.len() > DIFFS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.diffs.pop_front() else {
                return;
            };
            self.bytes -= oldest.body.len();
            self.lost_through = self.lost_through.max(oldest.lsn.unwrap_or(Lsn::ZERO));
        }
    }

    /// Rows that reach less far lack something that is not here.
    pub(super) fn lost_through(&self) -> Lsn {
        self.lost_through
    }

    /// The page is read again from now on.
    pub(super) fn forget_lost(&mut self) {
        self.lost_through = Lsn::ZERO;
    }

    pub(super) fn into_diffs(self) -> impl Iterator<Item = Incoming> {
        self.diffs.into_iter()
    }
}

/// Where rows that were read stand among the diffs that were passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Here: all before it is in them, and what is after it is in them or above their LSN.
    At(Position),
    /// They lack what had been passed on before they were read.
    TooOld,
    /// They may lack something that is no longer here.
    Unknown,
}

/// Diffs that were passed on while the page was being read.
#[derive(Debug)]
pub(super) struct Passed {
    /// The position before the first that is here.
    from: Position,
    /// Highest commit passed on when the reading began.
    newest_before: Lsn,
    diffs: VecDeque<DiffContent>,
    bytes: usize,
    lost_through: Lsn,
}

impl Passed {
    pub(super) fn since(head: Position, newest: Lsn) -> Self {
        Self {
            from: head,
            newest_before: newest,
            diffs: VecDeque::new(),
            bytes: 0,
            lost_through: Lsn::ZERO,
        }
    }

    pub(super) fn push(&mut self, diff: DiffContent) {
        self.bytes += diff.body.len();
        self.diffs.push_back(diff);
        while self.diffs.len() > DIFFS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.diffs.pop_front() else {
                return;
            };
            self.bytes -= oldest.body.len();
            self.from = oldest.position;
            self.lost_through = self.lost_through.max(oldest.lsn);
        }
    }

    /// Where rows up to a commit stand. Without one they stand where their reading began: what came
    /// since may be in them, and is sent all the same.
    pub(super) fn place_of(&self, lsn: Option<Lsn>) -> Place {
        let Some(lsn) = lsn else {
            return match self.lost_through {
                Lsn::ZERO => Place::At(self.from),
                _ => Place::Unknown,
            };
        };
        if lsn < self.newest_before {
            return Place::TooOld;
        }
        if lsn < self.lost_through {
            return Place::Unknown;
        }
        let mut reached = self.from;
        for diff in &self.diffs {
            if diff.lsn > lsn {
                break;
            }
            reached = diff.position;
        }
        Place::At(reached)
    }

    pub(super) fn after(self, position: Position) -> impl Iterator<Item = DiffContent> {
        self.diffs
            .into_iter()
            .filter(move |diff| diff.position > position)
    }
}
