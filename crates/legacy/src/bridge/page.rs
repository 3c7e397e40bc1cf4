//! Our page of a query, as its owner publishes it, row by row.

use std::sync::Arc;

use serde_json::value::RawValue;
use tidegate_core::{Lsn, Position};
use tidegate_protocol::{PageContent, WireChange};

use super::listing::Entry;

/// A page at one position.
#[derive(Debug, Clone)]
pub(super) struct Page {
    pub(super) position: Position,
    pub(super) lsn: Lsn,
    pub(super) rows: Vec<Entry>,
}

impl Page {
    /// Reads a page that its owner published. `None` when it makes no sense.
    pub(super) fn read(content: &PageContent) -> Option<Self> {
        let rows: Vec<&RawValue> = serde_json::from_slice(&content.rows).ok()?;
        let pks: Vec<String> = serde_json::from_slice(&content.pks).ok()?;
        let entry = |(pk, row): (String, &RawValue)| Entry {
            pk: pk.into(),
            row: row.get().into(),
        };
        (rows.len() == pks.len()).then(|| Self {
            position: content.position,
            lsn: content.lsn,
            rows: pks.into_iter().zip(rows).map(entry).collect(),
        })
    }

    /// Replays a diff. `None` when it does not fit: then this is not the page that it is of.
    pub(super) fn after(
        &self,
        position: Position,
        lsn: Lsn,
        changes: &[WireChange],
    ) -> Option<Self> {
        let mut rows = self.rows.clone();
        for change in changes {
            match change {
                WireChange::Removed { pk, from } => take(&mut rows, pk, *from)?,
                WireChange::Added { pk, pos, row } => put(&mut rows, pk, *pos, row)?,
                WireChange::Modified { pk, from, pos, row } => {
                    take(&mut rows, pk, *from)?;
                    put(&mut rows, pk, *pos, row)?;
                }
            }
        }
        Some(Self {
            position,
            lsn,
            rows,
        })
    }
}

fn take(rows: &mut Vec<Entry>, pk: &str, from: u32) -> Option<()> {
    let from = from as usize;
    let is_it = rows.get(from).is_some_and(|row| *row.pk == *pk);
    is_it.then(|| drop(rows.remove(from)))
}

fn put(rows: &mut Vec<Entry>, pk: &str, pos: u32, row: &str) -> Option<()> {
    let pos = pos as usize;
    let entry = || Entry {
        pk: Arc::from(pk),
        row: Arc::from(row),
    };
    (pos <= rows.len()).then(|| rows.insert(pos, entry()))
}
