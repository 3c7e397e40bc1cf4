//! Frames ready for a socket: a WebSocket header and its payload, shared by reference count.

use bytes::{Bytes, BytesMut};
use tidegate_core::{Lsn, Position};
use tidegate_protocol::binary_diff;
use tidegate_protocol::server_frame::{self, SnapshotReason};
use tidegate_protocol::{DiffContent, DiffKind, Format, HashId, PageContent, PageOrigin};

use crate::ws::{self, Opcode, SERVER_HEADER_BYTES_MAX};

/// One frame of its own.
pub(crate) fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut room = [0; SERVER_HEADER_BYTES_MAX];
    let start = ws::write_header(&mut room, opcode, payload.len());
    let mut out = BytesMut::with_capacity(SERVER_HEADER_BYTES_MAX - start + payload.len());
    out.extend_from_slice(&room[start..]);
    out.extend_from_slice(payload);
    out.freeze()
}

/// A frame of JSON text.
pub(crate) fn text(json: &[u8]) -> Bytes {
    frame(Opcode::Text, json)
}

/// A whole page for a subscription. Pages are JSON in every format.
pub(crate) fn snapshot(label: &HashId, page: &PageContent, reason: SnapshotReason) -> Bytes {
    match page.origin {
        PageOrigin::Kept => text(&server_frame::snapshot(label, page, reason)),
        PageOrigin::Read => read_page(label, page, reason),
    }
}

/// A page beside a foreign stream, as its clients know it: some frames, which are one.
fn read_page(label: &HashId, page: &PageContent, reason: SnapshotReason) -> Bytes {
    let mut frames = BytesMut::new();
    if reason == SnapshotReason::Overflow {
        frames.extend_from_slice(&text(&server_frame::overflow()));
    }
    frames.extend_from_slice(&text(&server_frame::foreign_snapshot(label, page, reason)));
    if !page.pks.is_empty() {
        frames.extend_from_slice(&text(&server_frame::range_index(label, &page.pks)));
    }
    frames.freeze()
}

/// A diff for a subscription, as it comes. Changes that cannot be made binary go as text, which
/// every client reads: a frame left out would be a hole.
pub(crate) fn diff(label: &HashId, format: Format, diff: &DiffContent) -> Bytes {
    match (diff.kind, format) {
        (DiffKind::Changes, Format::Json) => text(&server_frame::diff(label, diff)),
        (DiffKind::Changes, Format::Binary) => match binary_diff(label, diff) {
            Ok(payload) => frame(Opcode::Binary, &payload),
            Err(error) => {
                tracing::warn!(%error, "a diff could not be made binary");
                text(&server_frame::diff(label, diff))
            }
        },
        (DiffKind::Opaque, _) => frame(Opcode::Binary, &diff.body),
        (DiffKind::Stored, _) => text(&server_frame::diff_b64(label, &diff.body)),
        (DiffKind::RowEvent, _) => text(&server_frame::row_event(label, &diff.body, diff.lsn)),
    }
}

/// A diff for a subscription that was not there when it came. Bytes that nothing names go with the
/// label beside them.
pub(crate) fn kept_diff(label: &HashId, format: Format, kept: &DiffContent) -> Bytes {
    match kept.kind {
        DiffKind::Opaque => text(&server_frame::diff_b64(label, &kept.body)),
        DiffKind::Changes | DiffKind::Stored | DiffKind::RowEvent => diff(label, format, kept),
    }
}

/// Word that a resume is complete.
pub(crate) fn resumed(label: &HashId, lsn: Lsn, position: Position) -> Bytes {
    text(&server_frame::resumed(label, lsn, position))
}
