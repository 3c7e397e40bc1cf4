//! Server frames as values: what this client acts on, read strictly; all else is passed over.
//!
//! A frame of a known kind that cannot be read is an error, for it may have been a diff, and a diff
//! must not be skipped. A frame of an unknown kind is none: new things are added beside the old ones.

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
