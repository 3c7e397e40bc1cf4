//! The page of a subscription, as its client keeps it: rows in order and the position they stand
//! at.
//!
//! It does what the contract says and nothing else: a snapshot replaces, a diff is replayed
//! literally, in the order given. Each index and key of a diff is checked against the rows. A diff
//! that does not fit shows that something was lost, doubled or reordered on the way, so the page
//! gives itself up (no rows, no position) instead of showing a guess; its owner then subscribes
//! anew.

use std::fmt;
use std::sync::Arc;

use tidegate_core::Lsn;

/// Opaque text that names a place in a page's history. It is kept to be given back at a resume.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PagePosition(Arc<str>);

impl PagePosition {
    /// Wraps the text that a server gave.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PagePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PagePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A row: its key and its JSON, byte for byte as the server wrote it. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRow {
    /// The primary key as text; a composite one is the text of a JSON array.
    pub pk: Arc<str>,
    /// One JSON object.
    pub json: Arc<str>,
}

impl PageRow {
    /// A row of this key and JSON.
    #[must_use]
    pub fn new(pk: &str, json: &str) -> Self {
        Self {
            pk: pk.into(),
            json: json.into(),
        }
    }
}

/// One step of a diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageChange {
    /// The row at `from` goes.
    Removed {
        /// Its key.
        pk: Arc<str>,
        /// Where it stands.
        from: usize,
    },
    /// A row comes in at `pos`.
    Added {
        /// Where it will stand.
        pos: usize,
        /// The row.
        row: PageRow,
    },
    /// The row at `from` is taken out and put in at `pos`, changed.
    Modified {
        /// Where it stands.
        from: usize,
        /// Where it will stand, counted without it.
        pos: usize,
        /// The row as it is now.
        row: PageRow,
    },
}

/// A whole page, and why it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageSnapshot {
    /// The rows, in order.
    pub rows: Vec<PageRow>,
    /// Where they stand.
    pub position: PagePosition,
    /// The commit they stand at, when the server said.
    pub lsn: Option<Lsn>,
    /// Why the page was sent.
    pub reason: SnapshotReason,
}

/// Why a whole page was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotReason {
    /// The subscription is new.
    Subscribe,
    /// A resume could not be complete.
    Unrecoverable,
    /// The client fell too far behind for diffs.
    Overflow,
    /// The page's history started over.
    Epoch,
    /// The reader of this subscription fell behind, so this client merged its updates into a page.
    Reader,
    /// A reason this client does not know.
    Other(Arc<str>),
}

impl SnapshotReason {
    /// The reason of a name on the wire.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        match name {
            "subscribe" => Self::Subscribe,
            "unrecoverable" => Self::Unrecoverable,
            "overflow" => Self::Overflow,
            "epoch" => Self::Epoch,
            other => Self::Other(other.into()),
        }
    }

    /// The name on the wire; `reader` for the one that never was there.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Unrecoverable => "unrecoverable",
            Self::Overflow => "overflow",
            Self::Epoch => "epoch",
            Self::Reader => "reader",
            Self::Other(name) => name,
        }
    }
}

/// One net change of a page by one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageDiff {
    /// Steps, to be replayed in this order.
    pub changes: Vec<PageChange>,
    /// Where the page stands after it.
    pub position: PagePosition,
    /// The commit that made it, when the server said.
    pub lsn: Option<Lsn>,
}

/// Why a diff does not fit a page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// There is no page yet, or no longer.
    #[error("a diff came, but there is no page")]
    NoPage,
    /// An index is outside the page.
    #[error("index {index} is outside a page of {row_count} rows")]
    OutOfRange {
        /// The index.
        index: usize,
        /// Rows of the page.
        row_count: usize,
    },
    /// Another row stands there.
    #[error("row {index} is {found:?}, not {expected:?}")]
    WrongRow {
        /// The index.
        index: usize,
        /// The key that the diff names.
        expected: Arc<str>,
        /// The key of the row.
        found: Arc<str>,
    },
    /// The key that comes in is there already.
    #[error("row {0:?} is in the page already")]
    Duplicate(Arc<str>),
    /// Keys and rows of a snapshot do not pair up.
    #[error("a snapshot has {row_count} rows and {pk_count} keys")]
    Unpaired {
        /// Rows.
        row_count: usize,
        /// Keys.
        pk_count: usize,
    },
}

/// The rows of one subscription at one position.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LivePage {
    rows: Vec<PageRow>,
    position: Option<PagePosition>,
    lsn: Option<Lsn>,
}

impl LivePage {
    /// The rows, in order.
    #[must_use]
    pub fn rows(&self) -> &[PageRow] {
        &self.rows
    }

    /// Where the page stands; `None` before the first snapshot and after a diff that did not fit.
    #[must_use]
    pub fn position(&self) -> Option<&PagePosition> {
        self.position.as_ref()
    }

    /// The commit the page stands at, as far as it was said.
    #[must_use]
    pub fn lsn(&self) -> Option<Lsn> {
        self.lsn
    }

    /// Takes a whole page in place of this one.
    pub fn replace(&mut self, snapshot: &PageSnapshot) {
        self.rows.clone_from(&snapshot.rows);
        self.position = Some(snapshot.position.clone());
        self.lsn = snapshot.lsn;
    }

    /// Notes that a resume is complete: the page stands as it is.
    pub fn resume(&mut self, position: &PagePosition, lsn: Option<Lsn>) {
        self.position = Some(position.clone());
        self.lsn = lsn.or(self.lsn);
    }

    /// Replays a diff.
    ///
    /// # Errors
    /// When the diff does not fit. The page is then empty and has no position.
    pub fn apply(&mut self, diff: &PageDiff) -> Result<(), PageError> {
        let replayed = self.replay(&diff.changes);
        if replayed.is_err() {
            *self = Self::default();
            return replayed;
        }
        self.position = Some(diff.position.clone());
        self.lsn = diff.lsn.or(self.lsn);
        Ok(())
    }

    /// The page as a snapshot.
    #[must_use]
    pub fn to_snapshot(&self, reason: SnapshotReason) -> Option<PageSnapshot> {
        Some(PageSnapshot {
            rows: self.rows.clone(),
            position: self.position.clone()?,
            lsn: self.lsn,
            reason,
        })
    }

    fn replay(&mut self, changes: &[PageChange]) -> Result<(), PageError> {
        if self.position.is_none() {
            return Err(PageError::NoPage);
        }
        for change in changes {
            match change {
                PageChange::Removed { pk, from } => self.take(*from, pk)?,
                PageChange::Added { pos, row } => self.put(*pos, row)?,
                PageChange::Modified { from, pos, row } if from == pos => {
                    self.find(*from, &row.pk)?;
                    self.rows[*from] = row.clone();
                }
                PageChange::Modified { from, pos, row } => {
                    self.take(*from, &row.pk)?;
                    self.put(*pos, row)?;
                }
            }
        }
        Ok(())
    }

    fn find(&self, index: usize, pk: &Arc<str>) -> Result<(), PageError> {
        let row_count = self.rows.len();
        let found = self.rows.get(index);
        let found = found.ok_or(PageError::OutOfRange { index, row_count })?;
        if found.pk == *pk {
            return Ok(());
        }
        Err(PageError::WrongRow {
            index,
            expected: pk.clone(),
            found: found.pk.clone(),
        })
    }

    fn take(&mut self, from: usize, pk: &Arc<str>) -> Result<(), PageError> {
        self.find(from, pk)?;
        self.rows.remove(from);
        Ok(())
    }

    fn put(&mut self, pos: usize, row: &PageRow) -> Result<(), PageError> {
        let row_count = self.rows.len();
        if pos > row_count {
            return Err(PageError::OutOfRange {
                index: pos,
                row_count,
            });
        }
        // A page has at most some thousand rows, and the insertion below moves as many.
        if self.rows.iter().any(|other| other.pk == row.pk) {
            return Err(PageError::Duplicate(row.pk.clone()));
        }
        self.rows.insert(pos, row.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
