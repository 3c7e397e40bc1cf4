//! The rows of a query that the engine knows: sorted, and known to be all there are up to a
//! bound.
//!
//! A window holds the page and some slack below it. Its extent says how far it can be trusted:
//! every row of the query at or before the bound is in it, and nothing is known of those after. A
//! removal never lowers the bound, for the region stays known; only a cut at capacity does.

use std::cmp::Reverse;

use tidegate_core::{PageChange, Row, TableSchema};

use crate::diff::{Gone, Origin, is_same, steps};
use crate::sort_key::KeyBytes;

/// From this many edits on, one sort is cheaper than an insertion for each.
const SORT_EDITS_MIN: usize = 16;

/// A row and its place in the order.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: KeyBytes,
    pub(crate) row: Row,
}

/// How far a window reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Extent {
    /// To the end of the query: it holds every row.
    Complete,
    /// Up to and including this key.
    Through(KeyBytes),
}

impl Extent {
    pub(crate) fn covers(&self, key: &KeyBytes) -> bool {
        match self {
            Self::Complete => true,
            Self::Through(bound) => key <= bound,
        }
    }
}

/// What a transaction does to one row of a window: takes it out, puts it in, or both.
#[derive(Debug)]
pub(crate) struct Edit {
    /// Where it is.
    pub(crate) from: Option<usize>,
    /// What it becomes, when the query has it still.
    pub(crate) to: Option<Entry>,
}

/// What the edits of one transaction came to.
#[derive(Debug)]
pub(crate) struct Edited {
    /// Of the visible page.
    pub(crate) changes: Vec<PageChange>,
    /// Rows that are no longer in the window.
    pub(crate) left: Vec<Row>,
    /// Indexes of rows that are in it and were not.
    pub(crate) joined: Vec<usize>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) entries: Vec<Entry>,
    pub(crate) extent: Extent,
    /// Rows that are shown.
    limit: usize,
    /// Rows that are kept.
    capacity: usize,
}

impl Window {
    /// A window of these rows, which are in order.
    pub(crate) fn new(entries: Vec<Entry>, extent: Extent, limit: usize, capacity: usize) -> Self {
        let mut window = Self {
            entries,
            extent,
            limit,
            capacity,
        };
        while window.entries.len() > capacity {
            window.cut_last();
        }
        window
    }

    /// The rows that are shown.
    pub(crate) fn visible(&self) -> &[Entry] {
        &self.entries[..self.limit.min(self.entries.len())]
    }

    /// Where the row with this sort key is.
    pub(crate) fn find(&self, key: &KeyBytes) -> Option<usize> {
        self.entries
            .binary_search_by(|entry| entry.key.cmp(key))
            .ok()
    }

    /// Whether rows of the page are missing that are not known.
    pub(crate) fn is_short(&self) -> bool {
        matches!(self.extent, Extent::Through(_)) && self.entries.len() < self.limit
    }

    /// Rows that are left below the page before it comes up short; `None` when it never will.
    pub(crate) fn slack_left(&self) -> Option<usize> {
        match self.extent {
            Extent::Complete => None,
            Extent::Through(_) => Some(self.entries.len().saturating_sub(self.limit)),
        }
    }

    /// Applies the edits of one transaction, at most one for each row.
    pub(crate) fn apply(&mut self, mut edits: Vec<Edit>, schema: &TableSchema) -> Edited {
        for edit in &mut edits {
            // Beyond the bound the window knows nothing, so it must not seem to.
            edit.to.take_if(|entry| !self.extent.covers(&entry.key));
        }
        edits.retain(|edit| !self.is_idle(edit));
        let mut edited = Edited {
            changes: Vec::new(),
            left: Vec::new(),
            joined: Vec::new(),
        };
        if edits.is_empty() {
            return edited;
        }
        let length = self.visible().len();
        let mut gone = Vec::new();
        let mut leave = |from: u32, row: Row| {
            if (from as usize) < length {
                let key = schema.key_of(&row);
                gone.push(Gone { from, key });
            }
            edited.left.push(row);
        };
        let mut origins = if edits.len() < SORT_EDITS_MIN {
            self.insert_each(edits, &mut leave)
        } else {
            self.sort_all(edits, &mut leave)
        };
        while self.entries.len() > self.capacity {
            let row = self.cut_last();
            if let Some(Some(from)) = origins.pop().map(Origin::index) {
                leave(from, row);
            }
        }
        let visible = self.visible();
        for (index, origin) in origins.iter().enumerate().skip(visible.len()) {
            let shown_before = origin.index().filter(|from| (*from as usize) < length);
            gone.extend(shown_before.map(|from| Gone {
                from,
                key: schema.key_of(&self.entries[index].row),
            }));
        }
        // What came from the slack was not shown before.
        let shown: Vec<Origin> = origins[..visible.len()]
            .iter()
            .map(|origin| match origin.index() {
                Some(from) if (from as usize) < length => *origin,
                _ => Origin::New,
            })
            .collect();
        edited.changes = steps(length as u32, gone, &shown, |index| &visible[index].row);
        let is_new = |(_, origin): &(usize, &Origin)| **origin == Origin::New;
        edited.joined = origins
            .iter()
            .enumerate()
            .filter(is_new)
            .map(|(index, _)| index)
            .collect();
        edited
    }

    /// Whether an edit leaves the window as it is.
    fn is_idle(&self, edit: &Edit) -> bool {
        match (edit.from, &edit.to) {
            (None, None) => true,
            (Some(from), Some(to)) => is_same(&self.entries[from].row, &to.row),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Takes each edited row out and puts it in again, and keeps where each row came from.
    fn insert_each(
        &mut self,
        mut edits: Vec<Edit>,
        leave: &mut impl FnMut(u32, Row),
    ) -> Vec<Origin> {
        let mut origins: Vec<Origin> = (0..self.entries.len() as u32).map(Origin::Kept).collect();
        edits.sort_unstable_by_key(|edit| Reverse(edit.from));
        for edit in &edits {
            let Some(from) = edit.from else { continue };
            let entry = self.entries.remove(from);
            origins.remove(from);
            if edit.to.is_none() {
                leave(from as u32, entry.row);
            }
        }
        for Edit { from, to } in edits {
            let Some(entry) = to else { continue };
            let pos = self.entries.partition_point(|other| other.key <= entry.key);
            self.entries.insert(pos, entry);
            origins.insert(pos, origin_of(from));
        }
        origins
    }

    /// The same for many edits.
    fn sort_all(&mut self, edits: Vec<Edit>, leave: &mut impl FnMut(u32, Row)) -> Vec<Origin> {
        let kept = (0_u32..).map(Origin::Kept);
        let mut all: Vec<(Option<Entry>, Origin)> =
            self.entries.drain(..).map(Some).zip(kept).collect();
        for Edit { from, to } in edits {
            let entry = from.and_then(|from| all[from].0.take());
            match (from, entry, to) {
                (from, _, Some(to)) => all.push((Some(to), origin_of(from))),
                (Some(from), Some(entry), None) => leave(from as u32, entry.row),
                (_, _, None) => {}
            }
        }
        let mut all: Vec<(Entry, Origin)> = all
            .into_iter()
            .filter_map(|(entry, origin)| entry.map(|entry| (entry, origin)))
            .collect();
        all.sort_by(|(a, _), (b, _)| a.key.cmp(&b.key));
        let (entries, origins) = all.into_iter().unzip();
        self.entries = entries;
        origins
    }

    /// Drops the last row, and with it the knowledge of what is there.
    fn cut_last(&mut self) -> Row {
        let cut = self.entries.pop().expect("a window over capacity has rows");
        let last = self.entries.last().expect("capacity is one or more");
        self.extent = Extent::Through(last.key.clone());
        cut.row
    }
}

const fn origin_of(from: Option<usize>) -> Origin {
    match from {
        Some(from) => Origin::Changed(from as u32),
        None => Origin::New,
    }
}
