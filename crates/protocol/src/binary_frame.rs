//! Diffs as FlatBuffers, for clients that subscribed with `format: "binary"`.
//!
//! The content is that of the JSON frame; rows stay JSON text, byte for byte. The buffer is made
//! from the JSON changes that the bus carries, once per gateway and label, so that processors need
//! not know who wants which format.

use bytes::Bytes;
use flatbuffers::{FlatBufferBuilder, WIPOffset};
use serde::Deserialize;
use serde_json::value::RawValue;
use tidegate_core::{Lsn, Position};

use crate::client_frame::HashId;
use crate::generated::delivery::tidegate::{
    ChangeKind, PageChange, PageChangeArgs, PageDiff, PageDiffArgs, finish_page_diff_buffer,
    page_diff_buffer_has_identifier, root_as_page_diff,
};
use crate::page_record::DiffContent;

/// Why a binary frame could not be made or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BinaryFrameError {
    /// The changes are not the JSON that the processor writes.
    #[error("the changes of a diff make no sense")]
    BadChanges,
    /// The bytes are no frame of this kind.
    #[error("the binary frame makes no sense")]
    BadFrame,
}

/// One change of a page, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireChange {
    /// Deletes index `from`.
    Removed {
        /// Primary key of the row.
        pk: String,
        /// Its index.
        from: u32,
    },
    /// Inserts `row` at `pos`.
    Added {
        /// Primary key of the row.
        pk: String,
        /// Its index.
        pos: u32,
        /// The row, as JSON.
        row: String,
    },
    /// Takes index `from` out and puts `row` in at `pos`.
    Modified {
        /// Primary key of the row.
        pk: String,
        /// Its index before.
        from: u32,
        /// Its index after.
        pos: u32,
        /// The row, as JSON.
        row: String,
    },
}

impl WireChange {
    /// The primary key of its row.
    #[must_use]
    pub fn pk(&self) -> &str {
        match self {
            Self::Removed { pk, .. } | Self::Added { pk, .. } | Self::Modified { pk, .. } => pk,
        }
    }

    /// Its row, unless it takes one out.
    #[must_use]
    pub fn row(&self) -> Option<&str> {
        match self {
            Self::Removed { .. } => None,
            Self::Added { row, .. } | Self::Modified { row, .. } => Some(row),
        }
    }
}

/// A binary frame, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinaryDiff {
    /// Which subscription.
    pub hash_id: HashId,
    /// The commit that made the diff.
    pub lsn: Lsn,
    /// Where the page stands after it.
    pub position: Position,
    /// What to replay.
    pub changes: Vec<WireChange>,
}

#[derive(Deserialize)]
struct JsonChange<'a> {
    kind: &'a str,
    pk: String,
    from: Option<u32>,
    pos: Option<u32>,
    #[serde(borrow)]
    row: Option<&'a RawValue>,
}

/// A diff as a binary frame.
///
/// # Errors
/// When the diff's changes are not the JSON that a processor writes.
pub fn binary_diff(hash_id: &HashId, diff: &DiffContent) -> Result<Bytes, BinaryFrameError> {
    let changes: Vec<JsonChange<'_>> =
        serde_json::from_slice(&diff.body).map_err(|_| BinaryFrameError::BadChanges)?;
    let mut builder = FlatBufferBuilder::with_capacity(diff.body.len() + 256);
    let mut written = Vec::with_capacity(changes.len());
    for change in &changes {
        let kind = match change.kind {
            "removed" => ChangeKind::Removed,
            "added" => ChangeKind::Added,
            "modified" => ChangeKind::Modified,
            _ => return Err(BinaryFrameError::BadChanges),
        };
        let pk = Some(builder.create_string(&change.pk));
        let row = change.row.map(|row| builder.create_string(row.get()));
        let arguments = PageChangeArgs {
            kind,
            pk,
            from: change.from.unwrap_or_default(),
            pos: change.pos.unwrap_or_default(),
            row,
        };
        written.push(PageChange::create(&mut builder, &arguments));
    }
    Ok(finish(
        builder,
        hash_id,
        (diff.lsn, diff.position),
        &written,
    ))
}

/// Changes as a binary frame.
#[must_use]
pub fn binary_changes(
    hash_id: &HashId,
    (lsn, position): (Lsn, Position),
    changes: &[WireChange],
) -> Bytes {
    let mut builder = FlatBufferBuilder::with_capacity(256 * (changes.len() + 1));
    let mut written = Vec::with_capacity(changes.len());
    for change in changes {
        let (kind, pk, from, pos, row) = match change {
            WireChange::Removed { pk, from } => (ChangeKind::Removed, pk, *from, 0, None),
            WireChange::Added { pk, pos, row } => (ChangeKind::Added, pk, 0, *pos, Some(row)),
            WireChange::Modified { pk, from, pos, row } => {
                (ChangeKind::Modified, pk, *from, *pos, Some(row))
            }
        };
        let arguments = PageChangeArgs {
            kind,
            pk: Some(builder.create_string(pk)),
            from,
            pos,
            row: row.map(|row| builder.create_string(row)),
        };
        written.push(PageChange::create(&mut builder, &arguments));
    }
    finish(builder, hash_id, (lsn, position), &written)
}

fn finish<'b>(
    mut builder: FlatBufferBuilder<'b>,
    hash_id: &HashId,
    (lsn, position): (Lsn, Position),
    changes: &[WIPOffset<PageChange<'b>>],
) -> Bytes {
    let hash_id = Some(builder.create_string(hash_id.as_str()));
    let position = Some(builder.create_string(&position.to_string()));
    let arguments = PageDiffArgs {
        hash_id,
        lsn: lsn.get(),
        position,
        changes: Some(builder.create_vector(changes)),
    };
    let root = PageDiff::create(&mut builder, &arguments);
    finish_page_diff_buffer(&mut builder, root);
    Bytes::copy_from_slice(builder.finished_data())
}

/// The changes of a diff, from the JSON that the bus carries.
///
/// # Errors
/// When they are not the JSON that a processor writes.
pub fn read_changes(json: &[u8]) -> Result<Vec<WireChange>, BinaryFrameError> {
    let bad = BinaryFrameError::BadChanges;
    let changes: Vec<JsonChange<'_>> = serde_json::from_slice(json).map_err(|_| bad)?;
    let change = |change: JsonChange<'_>| {
        let JsonChange {
            kind,
            pk,
            from,
            pos,
            row,
        } = change;
        let row = || row.map(|row| row.get().to_owned()).ok_or(bad);
        Ok(match kind {
            "removed" => WireChange::Removed {
                pk,
                from: from.ok_or(bad)?,
            },
            "added" => WireChange::Added {
                pk,
                pos: pos.ok_or(bad)?,
                row: row()?,
            },
            "modified" => WireChange::Modified {
                pk,
                from: from.ok_or(bad)?,
                pos: pos.ok_or(bad)?,
                row: row()?,
            },
            _ => return Err(bad),
        })
    };
    changes.into_iter().map(change).collect()
}

/// Reads a binary frame.
///
/// # Errors
/// When the bytes are no such frame.
pub fn read_binary_diff(bytes: &[u8]) -> Result<BinaryDiff, BinaryFrameError> {
    let bad = BinaryFrameError::BadFrame;
    // Shorter bytes have no identifier to look for.
    if bytes.len() < 8 || !page_diff_buffer_has_identifier(bytes) {
        return Err(bad);
    }
    let root = root_as_page_diff(bytes).map_err(|_| bad)?;
    let change = |change: PageChange<'_>| {
        let pk = change.pk().to_owned();
        let row = change.row().map(str::to_owned);
        match change.kind() {
            ChangeKind::Removed => Ok(WireChange::Removed {
                pk,
                from: change.from(),
            }),
            ChangeKind::Added => Ok(WireChange::Added {
                pk,
                pos: change.pos(),
                row: row.ok_or(bad)?,
            }),
            ChangeKind::Modified => Ok(WireChange::Modified {
                pk,
                from: change.from(),
                pos: change.pos(),
                row: row.ok_or(bad)?,
            }),
            _ => Err(bad),
        }
    };
    Ok(BinaryDiff {
        hash_id: HashId::parse(root.hash_id()).ok_or(bad)?,
        lsn: Lsn::new(root.lsn()),
        position: root.position().parse().map_err(|_| bad)?,
        changes: root
            .changes()
            .iter()
            .map(change)
            .collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests;
