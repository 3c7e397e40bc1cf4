//! Frames ready for a socket: a WebSocket header and its payload, shared by reference count.

use bytes::{Bytes, BytesMut};
use tidegate_core::{Lsn, Position};
use tidegate_protocol::binary_diff;
use tidegate_protocol::server_frame::{self, SnapshotReason};
use tidegate_protocol::{DiffContent, Format, HashId, PageContent};

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
    text(&server_frame::snapshot(label, page, reason))
}

/// A diff for a subscription. Changes that cannot be made binary go as text, which every client
/// reads: a frame left out would be a hole.
pub(crate) fn diff(label: &HashId, format: Format, diff: &DiffContent) -> Bytes {
    match format {
        Format::Json => text(&server_frame::diff(label, diff)),
        Format::Binary => match binary_diff(label, diff) {
            Ok(payload) => frame(Opcode::Binary, &payload),
            Err(error) => {
                tracing::warn!(%error, "a diff could not be made binary");
                text(&server_frame::diff(label, diff))
            }
        },
    }
}

/// Word that a resume is complete.
pub(crate) fn resumed(label: &HashId, lsn: Lsn, position: Position) -> Bytes {
    text(&server_frame::resumed(label, lsn, position))
}
