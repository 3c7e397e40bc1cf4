//! One page: what is known of its rows, and the read that it waits for.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_core::{Lsn, PageChange, Query, Row};

use crate::diff::{Gone, Origin, is_same, steps};
use crate::effect::{Disagreement, Seed};
use crate::net::NetChange;
use crate::pending::{Pending, PendingChange};
use crate::predicate::matches;
use crate::sort_key::{KeyBytes, Start};
use crate::window::{Edit, Edited, Entry, Extent, Window};

/// Slack of a small page. With fewer rows to spare, a page of ten edited in its midst refills for
/// every other edit; with ten, hardly ever.
const SLACK_MIN: usize = 10;

/// A page whose rows only ever leave refills once per slack, whatever the slack is; more than this
/// many pages' worth would cost each read more than it saves.
const SLACK_LIMITS_MAX: usize = 4;

/// Refills are close together when fewer edits than this many times the slack lie between them.
/// Rows that come and go at random use up a slack of `k` in some `k²` edits, a queue that drains
/// in `k`.
const CLOSE_EDITS_PER_SLACK_ROW: usize = 4;

/// What is known of a page's rows.
#[derive(Debug)]
pub(crate) enum Content {
    /// Nothing is known.
    Unknown,
    /// The window, exact at the table's position.
    Known(Window),
}

/// The read that a page waits for.
#[derive(Debug)]
pub(crate) enum Reading {
    /// None is needed.
    Idle,
    /// One is needed, but recent changes do not reach back far enough to join it to the stream.
    Parked,
    /// The owner was asked.
    Asked { needed_from: Lsn },
    /// It answered, but the stream has not passed the answer's horizon yet.
    Answered { needed_from: Lsn, seed: Seed },
    /// None will help: the page was refused.
    Hopeless,
}

impl Reading {
    /// The oldest pending change that it may have to look at.
    pub(crate) fn needed_from(&self) -> Option<Lsn> {
        match self {
            Self::Idle | Self::Parked | Self::Hopeless => None,
            Self::Asked { needed_from } | Self::Answered { needed_from, .. } => Some(*needed_from),
        }
    }
}

/// What became of a seed.
#[derive(Debug)]
pub(crate) enum Seeded {
    /// The window it makes.
    Window(Window),
    /// It lacks a change that cannot be applied to it; only another read can bring it.
    TooOld,
    /// What came after it took more rows away than it has to spare.
    Short,
    /// It is of no use.
    Disagrees(Disagreement),
}

/// What was published last, while the page that follows from it is not known in full.
///
/// A page that has come up short is not published: the rows that belong below are missing, so no
/// commit ever had such a page. Subscribers keep the last right one until the refill is there, and
/// get the difference as one diff.
#[derive(Debug)]
struct Held {
    /// The first commit that was not published.
    since: Lsn,
    shown: Vec<Entry>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) query: Arc<Query>,
    start: Option<Start>,
    pub(crate) content: Content,
    pub(crate) reading: Reading,
    pub(crate) attempt: u64,
    /// What subscribers have while that is not what the page is.
    held: Option<Held>,
    slack: usize,
    edits_since_seed: usize,
}

impl Page {
    pub(crate) fn new(query: Arc<Query>) -> Self {
        let limit = query.limit() as usize;
        Self {
            start: Start::of(&query),
            query,
            content: Content::Unknown,
            reading: Reading::Parked,
            attempt: 0,
            held: None,
            slack: SLACK_MIN.max(limit / 2),
            edits_since_seed: 0,
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.query.limit() as usize
    }

    /// Rows to read and to keep.
    pub(crate) fn capacity(&self) -> usize {
        self.limit() + self.slack
    }

    /// The row's place on this page, if the query has it.
    fn entry(&self, row: &Row) -> Option<Entry> {
        if !matches(self.query.filter(), row) {
            return None;
        }
        let key = KeyBytes::of_row(self.query.order(), row);
        let is_admitted = self.start.as_ref().is_none_or(|start| start.admits(&key));
        is_admitted.then(|| Entry {
            key,
            row: row.clone(),
        })
    }

    /// Applies what one transaction did to rows of this page. `None` when it was nothing.
    pub(crate) fn apply<'a>(
        &mut self,
        commit: Lsn,
        touches: impl Iterator<Item = Touch<'a>>,
    ) -> Option<Edited> {
        let Content::Known(window) = &self.content else {
            return None;
        };
        let edits: Vec<Edit> = touches
            .filter_map(|touch| self.edit(window, &touch))
            .collect();
        if edits.is_empty() {
            return None;
        }
        self.edits_since_seed = self.edits_since_seed.saturating_add(edits.len());
        let Content::Known(window) = &mut self.content else {
            return None;
        };
        let may_fall_short =
            self.held.is_none() && window.slack_left().is_some_and(|left| left < edits.len());
        let shown = may_fall_short.then(|| window.visible().to_vec());
        let mut edited = window.apply(edits, self.query.schema());
        match (window.is_short(), self.held.is_some()) {
            (false, false) => {}
            (false, true) => edited.changes = self.publish_held(),
            (true, _) => {
                edited.changes.clear();
                self.hold(commit, shown);
            }
        }
        Some(edited)
    }

    /// From this commit on nothing is published, unless that is so already.
    fn hold(&mut self, since: Lsn, shown: Option<Vec<Entry>>) {
        if let (None, Some(shown)) = (&self.held, shown) {
            self.held = Some(Held { since, shown });
        }
    }

    /// The first commit that should have been published and was not.
    pub(crate) fn held_since(&self) -> Option<Lsn> {
        self.held.as_ref().map(|held| held.since)
    }

    /// What was held, as one diff.
    fn publish_held(&mut self) -> Vec<PageChange> {
        let held = self.held.take();
        held.map_or_else(Vec::new, |held| self.changes_since(&held.shown))
    }

    fn edit(&self, window: &Window, touch: &Touch<'_>) -> Option<Edit> {
        let from = match touch.before {
            Before::Elsewhere => None,
            Before::Here(row) => self.place_of(window, row, touch.change),
        };
        let to = touch.change.row.as_ref().and_then(|row| self.entry(row));
        (from.is_some() || to.is_some()).then_some(Edit { from, to })
    }

    /// Where a row is that this window holds. Pages share one image of each row; should a
    /// database ever give two that sort apart, the row is looked for by its identity.
    fn place_of(&self, window: &Window, row: &Row, change: &NetChange) -> Option<usize> {
        let key = KeyBytes::of_row(self.query.order(), row);
        window.find(&key).or_else(|| {
            let is_it = |entry: &Entry| self.identity(&entry.row) == change.key;
            window.entries.iter().position(is_it)
        })
    }

    fn identity(&self, row: &Row) -> KeyBytes {
        NetChange::identity(self.query.schema(), row)
    }

    /// Makes the window that a seed leads to at the present position.
    ///
    /// The rows contain what the fence says; of the pending changes exactly the others are
    /// applied, in commit order. The horizon must have been passed, so that all that the fence
    /// contains has been streamed and none of it is still to come.
    pub(crate) fn window_of(&self, seed: Seed, pending: &Pending) -> Seeded {
        let mut window = match self.seeded_entries(&seed.rows, seed.complete) {
            Ok(entries) => {
                let extent = match entries.last() {
                    Some(last) if !seed.complete => Extent::Through(last.key.clone()),
                    Some(_) | None => Extent::Complete,
                };
                Window::new(entries, extent, self.limit(), self.capacity())
            }
            Err(why) => return Seeded::Disagrees(why),
        };
        let is_missing = |change: &&PendingChange| !seed.fence.contains(&change.commit);
        let mut missing = pending.log().filter(is_missing).peekable();
        if missing.peek().is_some() {
            // The last image of each row, of the rows that were read and of those that come.
            let identified = seed.rows.into_iter().map(|row| (self.identity(&row), row));
            let mut images: HashMap<KeyBytes, Row> = identified.collect();
            for PendingChange { net, .. } in missing {
                let Some(net) = net else {
                    return Seeded::TooOld;
                };
                self.catch_up(&mut window, &mut images, net);
            }
        }
        match window.is_short() {
            true => Seeded::Short,
            false => Seeded::Window(window),
        }
    }

    fn seeded_entries(&self, rows: &[Row], complete: bool) -> Result<Vec<Entry>, Disagreement> {
        let columns = self.query.schema().columns().len();
        if !complete && rows.len() < self.capacity() {
            return Err(Disagreement::Short);
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(rows.len());
        for row in rows {
            if row.len() != columns {
                return Err(Disagreement::Shape);
            }
            let entry = self.entry(row).ok_or(Disagreement::Filter)?;
            if entries.last().is_some_and(|last| last.key >= entry.key) {
                return Err(Disagreement::Order);
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Applies a transaction that the rows of a seed lack.
    fn catch_up(
        &self,
        window: &mut Window,
        images: &mut HashMap<KeyBytes, Row>,
        net: &[NetChange],
    ) {
        let mut edits = Vec::new();
        for NetChange { key, row } in net {
            let before = match row {
                Some(row) => images.insert(key.clone(), row.clone()),
                None => images.remove(key),
            };
            let from = before
                .map(|row| KeyBytes::of_row(self.query.order(), &row))
                .and_then(|key| window.find(&key));
            let to = row.as_ref().and_then(|row| self.entry(row));
            if from.is_some() || to.is_some() {
                edits.push(Edit { from, to });
            }
        }
        window.apply(edits, self.query.schema());
    }

    /// Gives up what is known, and keeps what subscribers have.
    pub(crate) fn forget(&mut self, since: Lsn) {
        if let Content::Known(window) = &self.content {
            self.hold(since, Some(window.visible().to_vec()));
            self.content = Content::Unknown;
        }
    }

    /// Puts a new window in place of what was known. Gives that, and what subscribers had, which is
    /// nothing when the page opens now.
    pub(crate) fn install(&mut self, window: Window) -> (Content, Option<Vec<Entry>>) {
        let shown = self.visible().map(<[Entry]>::to_vec);
        self.edits_since_seed = 0;
        self.held = None;
        (
            std::mem::replace(&mut self.content, Content::Known(window)),
            shown,
        )
    }

    /// The steps from what was shown to what the page shows now.
    pub(crate) fn changes_since(&self, shown: &[Entry]) -> Vec<PageChange> {
        let visible = self.visible().unwrap_or_default();
        let before: HashMap<KeyBytes, usize> = shown
            .iter()
            .enumerate()
            .map(|(index, entry)| (self.identity(&entry.row), index))
            .collect();
        let mut is_left = vec![false; shown.len()];
        let origin = |entry: &Entry| match before.get(&self.identity(&entry.row)) {
            None => Origin::New,
            Some(&index) => {
                is_left[index] = true;
                match is_same(&shown[index].row, &entry.row) {
                    true => Origin::Kept(index as u32),
                    false => Origin::Changed(index as u32),
                }
            }
        };
        let origins: Vec<Origin> = visible.iter().map(origin).collect();
        let gone = (0..shown.len()).filter(|index| !is_left[*index]);
        let gone = gone.map(|index| Gone {
            from: index as u32,
            key: self.query.schema().key_of(&shown[index].row),
        });
        let length = shown.len() as u32;
        steps(length, gone.collect(), &origins, |index| {
            &visible[index].row
        })
    }

    /// What subscribers have: the present page, or the last one that was published. `None` before
    /// there was one.
    pub(crate) fn visible(&self) -> Option<&[Entry]> {
        match (&self.held, &self.content) {
            (Some(held), _) => Some(&held.shown),
            (None, Content::Known(window)) => Some(window.visible()),
            (None, Content::Unknown) => None,
        }
    }

    /// Whether the window has too little to spare. Asking early keeps the page from coming up
    /// short.
    pub(crate) fn wants_refill(&self) -> bool {
        match (&self.content, &self.reading) {
            (Content::Known(window), Reading::Idle) => window
                .slack_left()
                .is_some_and(|left| left * 4 < self.slack),
            (Content::Known(_) | Content::Unknown, _) => false,
        }
    }

    /// Doubles the slack when the last seed was used up quickly.
    pub(crate) fn widen(&mut self) {
        if self.edits_since_seed < self.slack * CLOSE_EDITS_PER_SLACK_ROW {
            let most = self.slack.max(self.limit() * SLACK_LIMITS_MAX);
            self.slack = (self.slack * 2).min(most);
        }
    }
}

/// Whether two windows of one query at one position agree on all that both know.
pub(crate) fn agree(a: &Window, b: &Window) -> bool {
    let known = |window: &Window, other: &Extent| {
        window
            .entries
            .partition_point(|entry| other.covers(&entry.key))
    };
    let (a_end, b_end) = (known(a, &b.extent), known(b, &a.extent));
    let same = |(a, b): (&Entry, &Entry)| a.key == b.key && is_same(&a.row, &b.row);
    a_end == b_end && a.entries[..a_end].iter().zip(&b.entries[..b_end]).all(same)
}

/// A change of one row, as one page sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Touch<'a> {
    pub(crate) change: &'a NetChange,
    pub(crate) before: Before<'a>,
}

/// Whether a page held a row before a change.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Before<'a> {
    /// It did, and this is the row.
    Here(&'a Row),
    /// It did not.
    Elsewhere,
}
