//! One page: how rows that were read meet a stream that has no positions.
//!
//! A worker says up to which commit its rows are (its LSN); a diff of the stream says of which
//! commit it is. So a page holds the diffs up to its LSN, and those above follow it. The page gives
//! each diff that it lets through the next position of its epoch; from there on all is as with a
//! page of our own.
//!
//! An LSN alone proves little, so three things are checked. A diff at or below one that was passed
//! on is a repetition if that very commit was seen; if not, the stream is out of order, what was
//! passed on may be anything, and the page begins anew. Rows that are older than what had been
//! passed on before they were read fit nowhere: anew. And whatever had to be let go of while
//! waiting must be in the rows, or they are read again.
//!
//! No I/O and no clock: inputs come in, effects go out.

mod held;
mod seen;

use bytes::Bytes;
use tidegate_core::{Epoch, Lsn, Position};
use tidegate_protocol::{
    DiffContent, DiffKind, ErrorCode, ForeignPage, PageCause, PageContent, PageOrigin, PageRecord,
    WireError,
};

use crate::metrics;
use crate::stream::Incoming;
use held::{Held, Passed};
use seen::{Seen, Sight};

/// Attempts to read a page for which everybody waits, if what is wrong may pass.
const OPENING_ATTEMPTS: u32 = 2;
/// Attempts to read a page once more for newcomers, while others follow it undisturbed.
const REPEATING_ATTEMPTS: u32 = 8;

/// What is to be done for a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Tell the gateway.
    Publish(PageRecord),
    /// Read the page, and call [`Page::on_read`] or [`Page::on_read_failed`]. At most one reading
    /// is under way.
    Read(Reading),
    /// The page cannot be had: tell the gateway, and forget it.
    Refuse(WireError),
}

/// How a page is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) stored: StoredDiffs,
    /// How many attempts failed before.
    pub(crate) failures: u32,
}

/// Whether the diffs in the shared cache are wanted beside the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoredDiffs {
    /// They may know of diffs that came before this page was followed.
    Wanted,
    /// The page has been followed all the time.
    Unwanted,
}

/// A page that was read.
#[derive(Debug, Clone)]
pub(crate) struct PageRead {
    pub(crate) page: ForeignPage,
    /// A JSON array of primary keys, or nothing.
    pub(crate) range: Bytes,
    /// Diffs in the cache, oldest first.
    pub(crate) stored: Vec<(Lsn, Bytes)>,
}

/// Why a page was not read.
#[derive(Debug, Clone)]
pub(crate) struct ReadFailure {
    pub(crate) error: WireError,
    /// Whether it may go better next time.
    pub(crate) will_pass: bool,
}

/// Why a diff goes to nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skipped {
    /// The rows hold it.
    Contained,
    /// It has been passed on.
    Repeated,
    /// It names no commit, and nobody has the page yet.
    Unplaced,
}

impl Skipped {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Contained => "contained",
            Self::Repeated => "repeated",
            Self::Unplaced => "unplaced",
        }
    }
}

/// One page.
#[derive(Debug)]
pub(crate) struct Page {
    state: State,
    /// Readings in a row that failed.
    failures: u32,
}

#[derive(Debug)]
enum State {
    /// It is being read. Everybody waits.
    Opening(Opening),
    Live(Live),
}

#[derive(Debug)]
struct Opening {
    cause: PageCause,
    held: Held,
    /// Whether the reading under way began before something that may be missing in it.
    is_stale: bool,
}

#[derive(Debug)]
struct Live {
    head: Position,
    /// The page that began the epoch holds everything up to here.
    base: Lsn,
    /// Highest commit passed on.
    newest: Lsn,
    seen: Seen,
    /// What was passed on since the reading under way began.
    passed: Option<Passed>,
}

enum Taken {
    Next(DiffContent),
    Skipped(Skipped),
    Disorder(Incoming),
}

impl Page {
    /// A page that nobody has; it is to be read.
    pub(crate) fn open(effects: &mut Vec<Effect>) -> Self {
        let page = Self {
            state: State::Opening(Opening::new(PageCause::Opened)),
            failures: 0,
        };
        page.read(effects);
        page
    }

    /// The gateway wants the page published.
    pub(crate) fn want(&mut self, effects: &mut Vec<Effect>) {
        match &mut self.state {
            // It will be.
            State::Opening(_)
            | State::Live(Live {
                passed: Some(_), ..
            }) => {}
            State::Live(live) => {
                live.passed = Some(Passed::since(live.head, live.newest));
                self.read(effects);
            }
        }
    }

    /// The stream says something of the page.
    pub(crate) fn on_incoming(&mut self, incoming: Incoming, effects: &mut Vec<Effect>) {
        match &mut self.state {
            State::Opening(opening) => {
                if incoming.lsn.is_none() {
                    metrics::count_skipped(Skipped::Unplaced);
                } else {
                    opening.held.push(incoming);
                }
            }
            State::Live(live) => match live.take(incoming) {
                Taken::Next(diff) => effects.push(Effect::Publish(PageRecord::Diff(diff))),
                Taken::Skipped(why) => metrics::count_skipped(why),
                Taken::Disorder(incoming) => {
                    self.begin_anew("disorder", effects);
                    self.on_incoming(incoming, effects);
                }
            },
        }
    }

    /// Messages of the stream were missed.
    pub(crate) fn doubt(&mut self, effects: &mut Vec<Effect>) {
        self.begin_anew("gap", effects);
    }

    /// Everybody gets a fresh page. What was being read may lack what was passed on meanwhile.
    fn begin_anew(&mut self, why: &'static str, effects: &mut Vec<Effect>) {
        metrics::count_reset(why);
        let (cause, is_reading) = match &self.state {
            State::Opening(opening) => (opening.cause, true),
            State::Live(live) => (PageCause::Reset, live.passed.is_some()),
        };
        self.state = State::Opening(Opening {
            is_stale: is_reading,
            ..Opening::new(cause)
        });
        if !is_reading {
            self.read(effects);
        }
    }

    /// The page has been read. `epoch` is the one to begin, if one is to begin.
    pub(crate) fn on_read(&mut self, read: PageRead, epoch: Epoch, effects: &mut Vec<Effect>) {
        self.failures = 0;
        match &mut self.state {
            State::Opening(opening) if opening.is_stale => {
                opening.is_stale = false;
                self.read(effects);
            }
            State::Opening(opening) => {
                let lsn = read.page.lsn.unwrap_or(Lsn::ZERO);
                if opening.held.lost_through() > lsn {
                    opening.held.forget_lost();
                    self.read(effects);
                    return;
                }
                let (cause, held) = (opening.cause, std::mem::take(&mut opening.held));
                self.begin(read, Position::start(epoch), cause, held, effects);
            }
            State::Live(live) => {
                let Some(passed) = live.passed.take() else {
                    return;
                };
                match passed.place_of(read.page.lsn) {
                    held::Place::At(position) => {
                        let page = content(read, position, PageCause::Repeated);
                        effects.push(Effect::Publish(PageRecord::Page(page)));
                        // Whoever missed them is still in doubt; others have them and skip them.
                        let again = passed.after(position).map(PageRecord::Diff);
                        effects.extend(again.map(Effect::Publish));
                    }
                    held::Place::TooOld => self.begin_anew("old_rows", effects),
                    held::Place::Unknown => {
                        live.passed = Some(Passed::since(live.head, live.newest));
                        self.read(effects);
                    }
                }
            }
        }
    }

    /// The page could not be read.
    pub(crate) fn on_read_failed(&mut self, failure: ReadFailure, effects: &mut Vec<Effect>) {
        self.failures += 1;
        let attempts = match &mut self.state {
            State::Opening(opening) => {
                // The next reading begins now, after whatever was missed.
                opening.is_stale = false;
                match failure.will_pass {
                    true => OPENING_ATTEMPTS,
                    false => 1,
                }
            }
            State::Live(live) => {
                live.passed = Some(Passed::since(live.head, live.newest));
                REPEATING_ATTEMPTS
            }
        };
        if self.failures < attempts {
            self.read(effects);
            return;
        }
        let WireError { code, message } = failure.error;
        let code = match code {
            ErrorCode::HashConflict => code,
            _ => ErrorCode::SnapshotFailed,
        };
        effects.push(Effect::Refuse(WireError::new(code, message)));
    }

    fn read(&self, effects: &mut Vec<Effect>) {
        let stored = match &self.state {
            State::Opening(opening) if opening.cause == PageCause::Opened => StoredDiffs::Wanted,
            State::Opening(_) | State::Live(_) => StoredDiffs::Unwanted,
        };
        effects.push(Effect::Read(Reading {
            stored,
            failures: self.failures,
        }));
    }

    /// Publishes the page as the start of an epoch, and what follows it already.
    fn begin(
        &mut self,
        mut read: PageRead,
        head: Position,
        cause: PageCause,
        held: Held,
        effects: &mut Vec<Effect>,
    ) {
        let base = read.page.lsn.unwrap_or(Lsn::ZERO);
        let stored = std::mem::take(&mut read.stored);
        self.state = State::Live(Live {
            head,
            base,
            newest: base,
            seen: Seen::default(),
            passed: None,
        });
        let page = content(read, head, cause);
        effects.push(Effect::Publish(PageRecord::Page(page)));
        let stored = stored.into_iter().map(|(lsn, body)| Incoming {
            kind: DiffKind::Stored,
            lsn: Some(lsn),
            body,
        });
        for incoming in stored.chain(held.into_diffs()) {
            self.on_incoming(incoming, effects);
        }
    }
}

impl Opening {
    fn new(cause: PageCause) -> Self {
        Self {
            cause,
            held: Held::default(),
            is_stale: false,
        }
    }
}

impl Live {
    /// Decides about a diff, and numbers it if it is the next.
    fn take(&mut self, incoming: Incoming) -> Taken {
        let Some(lsn) = incoming.lsn else {
            return Taken::Next(self.number(incoming, Lsn::ZERO));
        };
        if lsn <= self.base {
            return Taken::Skipped(Skipped::Contained);
        }
        // Several row events are of one commit, and they have no order among the diffs.
        if incoming.kind != DiffKind::RowEvent {
            match self.seen.look(lsn) {
                Sight::New => self.seen.note(lsn),
                Sight::Known => return Taken::Skipped(Skipped::Repeated),
                Sight::Missed => return Taken::Disorder(incoming),
            }
        }
        self.newest = self.newest.max(lsn);
        Taken::Next(self.number(incoming, lsn))
    }

    fn number(&mut self, incoming: Incoming, lsn: Lsn) -> DiffContent {
        self.head = self.head.next();
        let diff = DiffContent {
            position: self.head,
            lsn,
            committed_at_micros: 0,
            kind: incoming.kind,
            body: incoming.body,
        };
        if let Some(passed) = &mut self.passed {
            passed.push(diff.clone());
        }
        diff
    }
}

fn content(read: PageRead, position: Position, cause: PageCause) -> PageContent {
    PageContent {
        position,
        lsn: read.page.lsn.unwrap_or(Lsn::ZERO),
        committed_at_micros: 0,
        cause,
        origin: PageOrigin::Read,
        cursor: read.page.cursor,
        rows: read.page.rows,
        pks: read.range,
    }
}

#[cfg(test)]
mod tests;
