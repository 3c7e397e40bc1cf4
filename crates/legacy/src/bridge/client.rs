//! For tests: a client behind an old gateway, which goes by primary keys.

use tidegate_protocol::WireChange;

use super::listing::Entry;

/// What such a client shows.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) rows: Vec<Entry>,
}

impl Held {
    pub(super) fn new(rows: Vec<Entry>) -> Self {
        Self { rows }
    }

    /// Takes the row out if it is there, and puts it in where it is said to be.
    pub(super) fn take(&mut self, change: &WireChange) {
        self.rows.retain(|row| *row.pk != *change.pk());
        if let WireChange::Added { pk, pos, row } | WireChange::Modified { pk, pos, row, .. } =
            change
        {
            let at = (*pos as usize).min(self.rows.len());
            let (pk, row) = (pk.as_str().into(), row.as_str().into());
            self.rows.insert(at, Entry { pk, row });
        }
    }
}
