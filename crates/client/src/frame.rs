//! Server frames as values: what this client acts on, read strictly; all else is passed over.
//!
//! A frame of a known kind that cannot be read is an error, for it may have been a diff, and a diff
//! must not be skipped. A frame of an unknown kind is none: new things are added beside the old
//! ones.

use serde::Deserialize;
use serde_json::value::RawValue;
use tidegate_core::Lsn;
use tidegate_protocol::{BinaryFrameError, WireChange, read_binary_diff};

use crate::error::Fault;
use crate::live_page::{
    PageChange, PageDiff, PageError, PagePosition, PageRow, PageSnapshot, SnapshotReason,
};
use crate::rpc::RpcReply;

/// What a server says.
#[derive(Debug)]
pub(crate) enum ServerFrame {
    Ack {
        hash_id: String,
    },
    Snapshot {
        hash_id: String,
        snapshot: PageSnapshot,
    },
    Resumed {
        hash_id: String,
        position: PagePosition,
        lsn: Option<Lsn>,
    },
    Diff {
        hash_id: String,
        diff: PageDiff,
    },
    Synced {
        hash_id: String,
        lsn: Lsn,
    },
    RpcResult {
        correlation_id: String,
        outcome: Result<RpcReply, Fault>,
    },
    Error {
        hash_id: Option<String>,
        correlation_id: Option<String>,
        fault: Fault,
    },
    /// A kind this client does not act on.
    Other,
}

/// Why a frame could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("not a frame: {0}")]
    NotJson(#[from] serde_json::Error),
    #[error("a {op} frame without a readable {field}")]
    Missing {
        op: &'static str,
        field: &'static str,
    },
    #[error(transparent)]
    NotBinary(#[from] BinaryFrameError),
    #[error(transparent)]
    Page(#[from] PageError),
}

#[derive(Deserialize)]
struct Kind {
    op: Option<String>,
}

/// All fields of all kinds, for each kind has its own few and none means two things.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    op: Option<String>,
    hash_id: Option<String>,
    correlation_id: Option<String>,
    cursor: Option<Cursor>,
    #[serde(borrow)]
    rows: Option<Vec<&'a RawValue>>,
    pks: Option<Vec<String>>,
    reason: Option<String>,
    changes: Option<Vec<ChangeFields<'a>>>,
    lsn: Option<String>,
    ok: Option<bool>,
    data: Option<&'a RawValue>,
    error: Option<String>,
    code: Option<String>,
    message: Option<String>,
    retry: Option<bool>,
}

#[derive(Deserialize)]
struct Cursor {
    position: Option<String>,
    lsn: Option<String>,
}

#[derive(Deserialize)]
struct ChangeFields<'a> {
    kind: String,
    pk: String,
    pos: Option<usize>,
    from: Option<usize>,
    #[serde(borrow)]
    row: Option<&'a RawValue>,
}

/// The kinds that are read. A frame of another one may hold anything.
const KINDS: &[&str] = &[
    "ack",
    "snapshot",
    "resumed",
    "diff",
    "synced",
    "rpcResult",
    "error",
];

/// Reads a text frame.
pub(crate) fn read_text(text: &str) -> Result<ServerFrame, FrameError> {
    match serde_json::from_str::<Fields<'_>>(text) {
        Ok(fields) => fields.into_frame(),
        Err(error) => match serde_json::from_str::<Kind>(text)?.op {
            Some(op) if KINDS.contains(&op.as_str()) => Err(error.into()),
            Some(_) | None => Ok(ServerFrame::Other),
        },
    }
}

/// Reads a binary frame: a diff, for there is no other kind.
pub(crate) fn read_binary(bytes: &[u8]) -> Result<ServerFrame, FrameError> {
    let read = read_binary_diff(bytes)?;
    let changes = read.changes.into_iter().map(|change| match change {
        WireChange::Removed { pk, from } => PageChange::Removed {
            pk: pk.as_str().into(),
            from: from as usize,
        },
        WireChange::Added { pk, pos, row } => PageChange::Added {
            pos: pos as usize,
            row: PageRow::new(&pk, &row),
        },
        WireChange::Modified { pk, from, pos, row } => PageChange::Modified {
            from: from as usize,
            pos: pos as usize,
            row: PageRow::new(&pk, &row),
        },
    });
    Ok(ServerFrame::Diff {
        hash_id: read.hash_id.to_string(),
        diff: PageDiff {
            changes: changes.collect(),
            position: PagePosition::new(&read.position.to_string()),
            // Zero is what the format says for "not known".
            lsn: (read.lsn != Lsn::ZERO).then_some(read.lsn),
        },
    })
}

impl Fields<'_> {
    fn into_frame(self) -> Result<ServerFrame, FrameError> {
        match self.op.as_deref() {
            Some("ack") => Ok(ServerFrame::Ack {
                hash_id: need(self.hash_id, "ack", "hashId")?,
            }),
            Some("snapshot") => self.into_snapshot(),
            Some("resumed") => {
                let (position, lsn) = place(self.cursor, "resumed")?;
                let hash_id = need(self.hash_id, "resumed", "hashId")?;
                Ok(ServerFrame::Resumed {
                    hash_id,
                    position,
                    lsn,
                })
            }
            Some("diff") => self.into_diff(),
            Some("synced") => Ok(ServerFrame::Synced {
                hash_id: need(self.hash_id, "synced", "hashId")?,
                lsn: need(read_lsn(self.lsn.as_deref()), "synced", "lsn")?,
            }),
            Some("rpcResult") => self.into_rpc_result(),
            Some("error") => Ok(ServerFrame::Error {
                hash_id: self.hash_id,
                correlation_id: self.correlation_id,
                fault: Fault {
                    code: need(self.code, "error", "code")?,
                    message: self.message.unwrap_or_default(),
                    retry: self.retry.unwrap_or(false),
                },
            }),
            Some(_) | None => Ok(ServerFrame::Other),
        }
    }

    fn into_snapshot(self) -> Result<ServerFrame, FrameError> {
        let rows = need(self.rows, "snapshot", "rows")?;
        let pks = need(self.pks, "snapshot", "pks")?;
        if rows.len() != pks.len() {
            return Err(FrameError::Page(PageError::Unpaired {
                row_count: rows.len(),
                pk_count: pks.len(),
            }));
        }
        let paired = pks.iter().zip(rows);
        let rows = paired
            .map(|(pk, row)| PageRow::new(pk, row.get()))
            .collect();
        let (position, lsn) = place(self.cursor, "snapshot")?;
        let reason = self.reason.as_deref().unwrap_or("subscribe");
        Ok(ServerFrame::Snapshot {
            hash_id: need(self.hash_id, "snapshot", "hashId")?,
            snapshot: PageSnapshot {
                rows,
                position,
                lsn,
                reason: SnapshotReason::from_name(reason),
            },
        })
    }

    fn into_diff(self) -> Result<ServerFrame, FrameError> {
        let changes = need(self.changes, "diff", "changes")?;
        let changes = changes.into_iter().map(ChangeFields::into_change);
        let changes = changes.collect::<Result<_, _>>()?;
        let (position, lsn) = place(self.cursor, "diff")?;
        Ok(ServerFrame::Diff {
            hash_id: need(self.hash_id, "diff", "hashId")?,
            diff: PageDiff {
                changes,
                position,
                lsn,
            },
        })
    }

    fn into_rpc_result(self) -> Result<ServerFrame, FrameError> {
        let outcome = if need(self.ok, "rpcResult", "ok")? {
            Ok(RpcReply {
                data: self.data.map_or("null", RawValue::get).to_owned(),
                lsn: read_lsn(self.lsn.as_deref()),
            })
        } else {
            Err(Fault {
                code: self.code.unwrap_or_else(|| "rpc_failed".to_owned()),
                message: self.message.or(self.error).unwrap_or_default(),
                retry: self.retry.unwrap_or(false),
            })
        };
        Ok(ServerFrame::RpcResult {
            correlation_id: need(self.correlation_id, "rpcResult", "correlationId")?,
            outcome,
        })
    }
}

impl ChangeFields<'_> {
    fn into_change(self) -> Result<PageChange, FrameError> {
        let from = need(self.from, "diff", "from");
        let pos = need(self.pos, "diff", "pos");
        let row = self.row.map(|json| PageRow::new(&self.pk, json.get()));
        let row = need(row, "diff", "row");
        match self.kind.as_str() {
            "removed" => Ok(PageChange::Removed {
                pk: self.pk.as_str().into(),
                from: from?,
            }),
            "added" => Ok(PageChange::Added {
                pos: pos?,
                row: row?,
            }),
            "modified" => Ok(PageChange::Modified {
                from: from?,
                pos: pos?,
                row: row?,
            }),
            _ => need(None, "diff", "kind"),
        }
    }
}

fn need<T>(value: Option<T>, op: &'static str, field: &'static str) -> Result<T, FrameError> {
    value.ok_or(FrameError::Missing { op, field })
}

fn place(
    cursor: Option<Cursor>,
    op: &'static str,
) -> Result<(PagePosition, Option<Lsn>), FrameError> {
    let cursor = need(cursor, op, "cursor")?;
    let position = need(cursor.position, op, "position")?;
    Ok((
        PagePosition::new(&position),
        read_lsn(cursor.lsn.as_deref()),
    ))
}

fn read_lsn(text: Option<&str>) -> Option<Lsn> {
    text?.parse().ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::{any, proptest};
    use tidegate_core::{Epoch, Offset, Position};
    use tidegate_protocol::server_frame::{self, ErrorSubject, SnapshotReason as Reason};
    use tidegate_protocol::{
        DiffContent, DiffKind, ErrorCode, HashId, PageCause, PageContent, PageOrigin, WireError,
        binary_diff,
    };

    use super::*;

    fn label() -> HashId {
        HashId::parse("q1").unwrap()
    }

    fn at(offset: u64) -> Position {
        Position {
            epoch: Epoch::from_raw(u64::MAX),
            offset: Offset::new(offset),
        }
    }

    fn diff() -> DiffContent {
        let changes = r#"[{"kind":"removed","pk":"1","from":4},
            {"kind":"added","pk":"[1,\"é\"]","pos":0,"row":{"n": 1.10}},
            {"kind":"modified","pk":"3","from":1,"pos":2,"row":{"t":"\\"}}]"#;
        DiffContent {
            lsn: Lsn::new(u64::MAX),
            committed_at_micros: 0,
            position: at(3),
            kind: DiffKind::Changes,
            body: Bytes::from_static(changes.as_bytes()),
        }
    }

    fn text(frame: &Bytes) -> String {
        String::from_utf8(frame.to_vec()).unwrap()
    }

    /// A diff says the same in both formats, rows byte for byte; and each frame that the server
    /// writes is one that this client reads.
    #[test]
    fn reads_what_the_server_writes() {
        let json = read_text(&text(&server_frame::diff(&label(), &diff()))).unwrap();
        let binary = read_binary(&binary_diff(&label(), &diff()).unwrap()).unwrap();
        assert_eq!(format!("{json:?}"), format!("{binary:?}"));
        let ServerFrame::Diff { hash_id, diff } = json else {
            unreachable!("a diff was written");
        };
        assert_eq!(hash_id, "q1");
        assert_eq!(diff.lsn, Some(Lsn::new(u64::MAX)));
        let added = PageChange::Added {
            pos: 0,
            row: PageRow::new("[1,\"é\"]", "{\"n\": 1.10}"),
        };
        assert_eq!(diff.changes[1], added);

        let page = PageContent {
            lsn: Lsn::new(7),
            position: at(0),
            committed_at_micros: 0,
            cause: PageCause::Opened,
            origin: PageOrigin::Kept,
            cursor: Bytes::from_static(b"\"id\":\"2\""),
            rows: Bytes::from_static(b"[{\"id\":2}]"),
            pks: Bytes::from_static(b"[\"2\"]"),
        };
        for reason in Reason::ALL {
            let frame = server_frame::snapshot(&label(), &page, *reason);
            let Ok(ServerFrame::Snapshot { snapshot, .. }) = read_text(&text(&frame)) else {
                unreachable!("a snapshot was written");
            };
            assert_eq!(snapshot.reason.name(), reason.as_str());
            assert!(!matches!(snapshot.reason, SnapshotReason::Other(_)));
            assert_eq!(snapshot.rows, [PageRow::new("2", "{\"id\":2}")]);
        }
        for code in ErrorCode::ALL {
            let subject = ErrorSubject::Subscription(&HashId::parse("q2").unwrap());
            let frame = server_frame::error(*code, "no", subject);
            let Ok(ServerFrame::Error { hash_id, fault, .. }) = read_text(&text(&frame)) else {
                unreachable!("an error was written");
            };
            assert_eq!(hash_id.as_deref(), Some("q2"));
            assert_eq!(fault.code, code.as_str());
        }
        let refused = WireError::new(ErrorCode::Forbidden, "no");
        for frame in [
            server_frame::ack(&label()),
            server_frame::resumed(&label(), Lsn::ZERO, at(1)),
            server_frame::synced(&label(), Lsn::new(3)),
            server_frame::pong(),
            server_frame::typed::welcome("c1", 3, 0),
        ] {
            assert!(read_text(&text(&frame)).is_ok(), "{frame:?}");
        }
        // Without a correlation id nobody waits for it, and this client always sends one.
        let frame = server_frame::rpc_error("GET_DATA", None, &refused);
        assert!(read_text(&text(&frame)).is_err());
    }

    proptest! {
        /// No text and no bytes make the reader panic.
        #[test]
        fn survives_anything(noise in any::<String>(), bytes in any::<Vec<u8>>()) {
            let _ = read_text(&noise);
            let _ = read_binary(&bytes);
        }

        /// Nor does a frame with one byte changed or its end missing.
        #[test]
        fn survives_damage(at in 0..1_000_usize, byte in any::<u8>(), cut in any::<bool>()) {
            let binary = binary_diff(&label(), &diff()).unwrap();
            for frame in [server_frame::diff(&label(), &diff()), binary] {
                let mut bytes = frame.to_vec();
                let at = at % bytes.len();
                if cut {
                    bytes.truncate(at);
                } else {
                    bytes[at] = byte;
                }
                let _ = read_binary(&bytes);
                let _ = read_text(&String::from_utf8_lossy(&bytes));
            }
        }
    }
}
