//! What the relay puts on the bus: what a transaction did to one table of one tenant, or how far
//! the stream has come.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_core::{
    Array, Commit, Dimension, Heartbeat, History, Lsn, Numeric, Row, RowChange, TableChange,
    TableName, TableReset, TenantId, TransactionSnapshot, Value, Xid,
};

use crate::record_bytes::{Reader, RecordError, Writer};

const VERSION: u8 = 1;

/// A record of the `changes` topic.
#[derive(Debug, Clone, PartialEq)]
pub enum ChangeRecord {
    /// What one transaction did to one table of one tenant, or a part of that.
    Changes {
        /// The transaction.
        commit: Commit,
        /// What it did.
        change: TableChange,
        /// Whether more of this transaction for this table follows.
        part: Part,
    },
    /// Nobody knows what a transaction did to a table that all tenants share. In every partition.
    Reset {
        /// The transaction.
        commit: Commit,
        /// The table.
        reset: TableReset,
    },
    /// How far the stream has come, and in which history of the database; for a whole partition.
    Heartbeat(Heartbeat, History),
    /// Commits may be missing before what follows: the relay began a new stream. For a whole
    /// partition.
    Gap,
}

/// Whether a record completes what its transaction did to the table. Diffs are made of the whole
/// only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// More follows.
    More,
    /// This is the last, or the only one.
    Last,
}

impl ChangeRecord {
    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Writer::new(256);
        out.byte(VERSION);
        match self {
            Self::Changes {
                commit,
                change,
                part,
            } => {
                out.byte(match part {
                    Part::More => 0,
                    Part::Last => 1,
                });
                write_commit(&mut out, commit);
                write_change(&mut out, change);
            }
            Self::Heartbeat(heartbeat, history) => {
                out.byte(2);
                out.int64(history.get());
                write_heartbeat(&mut out, heartbeat);
            }
            Self::Gap => out.byte(3),
            Self::Reset { commit, reset } => {
                out.byte(4);
                write_commit(&mut out, commit);
                out.text(reset.table.as_str());
                out.int64(reset.schema);
            }
        }
        out.finish()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// When the bytes are not what [`ChangeRecord::encode`] writes.
    pub fn decode(bytes: Bytes) -> Result<Self, RecordError> {
        let mut input = Reader::new(bytes);
        input.version(VERSION)?;
        let part = match input.byte()? {
            0 => Part::More,
            1 => Part::Last,
            2 => {
                let history = History::new(input.int64()?);
                let heartbeat = read_heartbeat(&mut input)?;
                input.end()?;
                return Ok(Self::Heartbeat(heartbeat, history));
            }
            3 => {
                input.end()?;
                return Ok(Self::Gap);
            }
            4 => {
                let commit = read_commit(&mut input)?;
                let table = input.text("the table", |text| TableName::parse(text).ok())?;
                let schema = input.int64()?;
                input.end()?;
                let reset = TableReset { table, schema };
                return Ok(Self::Reset { commit, reset });
            }
            _ => return Err(RecordError::Invalid("the kind")),
        };
        let commit = read_commit(&mut input)?;
        let change = read_change(&mut input)?;
        input.end()?;
        Ok(Self::Changes {
            commit,
            change,
            part,
        })
    }
}

fn write_commit(out: &mut Writer, commit: &Commit) {
    out.int64(commit.lsn.get());
    out.int64(commit.xid.get());
    out.signed64(commit.committed_at_micros);
}

fn read_commit(input: &mut Reader) -> Result<Commit, RecordError> {
    Ok(Commit {
        lsn: Lsn::new(input.int64()?),
        xid: Xid::new(input.int64()?),
        committed_at_micros: input.signed64()?,
    })
}

fn write_change(out: &mut Writer, change: &TableChange) {
    out.text(change.tenant.as_str());
    out.text(change.table.as_str());
    out.int64(change.schema);
    let Some(rows) = &change.rows else {
        out.byte(0);
        return;
    };
    out.byte(1);
    out.count(rows.len());
    for row in rows {
        match row {
            RowChange::Upsert { old_key: None, row } => {
                out.byte(0);
                write_values(out, row);
            }
            RowChange::Upsert {
                old_key: Some(key),
                row,
            } => {
                out.byte(1);
                write_values(out, key);
                write_values(out, row);
            }
            RowChange::Delete { key } => {
                out.byte(2);
                write_values(out, key);
            }
        }
    }
}

fn read_change(input: &mut Reader) -> Result<TableChange, RecordError> {
    let tenant = input.text("the tenant", |text| TenantId::parse(text).ok())?;
    let table = input.text("the table", |text| TableName::parse(text).ok())?;
    let schema = input.int64()?;
    let rows = match input.byte()? {
        0 => None,
        1 => {
            let count = input.count(5)?;
            let rows = (0..count).map(|_| read_row_change(input));
            Some(rows.collect::<Result<_, _>>()?)
        }
        _ => return Err(RecordError::Invalid("the presence of rows")),
    };
    Ok(TableChange {
        tenant,
        table,
        schema,
        rows,
    })
}

fn read_row_change(input: &mut Reader) -> Result<RowChange, RecordError> {
    match input.byte()? {
        0 => Ok(RowChange::Upsert {
            old_key: None,
            row: Row::new(read_values(input)?),
        }),
        1 => Ok(RowChange::Upsert {
            old_key: Some(read_values(input)?.into()),
            row: Row::new(read_values(input)?),
        }),
        2 => Ok(RowChange::Delete {
            key: read_values(input)?.into(),
        }),
        _ => Err(RecordError::Invalid("the kind of a row change")),
    }
}

fn write_values(out: &mut Writer, values: &[Value]) {
    out.count(values.len());
    for value in values {
        write_value(out, value);
    }
}

fn read_values(input: &mut Reader) -> Result<Vec<Value>, RecordError> {
    let count = input.count(1)?;
    (0..count).map(|_| read_value(input)).collect()
}

fn write_value(out: &mut Writer, value: &Value) {
    match value {
        Value::Null => out.byte(0),
        Value::Bool(false) => out.byte(1),
        Value::Bool(true) => out.byte(2),
        Value::Int(value) => {
            out.byte(3);
            out.signed64(*value);
        }
        Value::Float(value) => {
            out.byte(4);
            out.int64(value.to_bits());
        }
        Value::Numeric(value) => {
            out.byte(5);
            out.text(value.as_str());
        }
        Value::Text(text) => {
            out.byte(6);
            out.text(text);
        }
        Value::Timestamp(micros) => {
            out.byte(7);
            out.signed64(*micros);
        }
        Value::Date(days) => {
            out.byte(8);
            out.int32(days.cast_unsigned());
        }
        Value::Bytes(bytes) => {
            out.byte(9);
            out.bytes(bytes);
        }
        Value::Json(text) => {
            out.byte(10);
            out.text(text);
        }
        Value::Array(array) => {
            out.byte(11);
            out.count(array.dimensions().len());
            for dimension in array.dimensions() {
                out.int32(dimension.lower.cast_unsigned());
                out.int32(dimension.length);
            }
            write_values(out, array.elements());
        }
    }
}

fn read_value(input: &mut Reader) -> Result<Value, RecordError> {
    match input.byte()? {
        11 => read_array(input).map(Value::Array),
        kind => read_plain_value(input, kind),
    }
}

/// An array, none of whose elements is one.
fn read_array(input: &mut Reader) -> Result<Arc<Array>, RecordError> {
    let count = input.count(8)?;
    let dimensions = (0..count).map(|_| {
        Ok(Dimension {
            lower: input.int32()?.cast_signed(),
            length: input.int32()?,
        })
    });
    let dimensions = dimensions.collect::<Result<Vec<_>, RecordError>>()?;
    let count = input.count(1)?;
    let elements = (0..count).map(|_| {
        let kind = input.byte()?;
        read_plain_value(input, kind)
    });
    let elements = elements.collect::<Result<Vec<_>, _>>()?;
    let array = Array::new(dimensions, elements);
    array
        .map(Arc::new)
        .ok_or(RecordError::Invalid("the dimensions of an array"))
}

fn read_plain_value(input: &mut Reader, kind: u8) -> Result<Value, RecordError> {
    let shared = |text: &str| Some(Arc::<str>::from(text));
    Ok(match kind {
        0 => Value::Null,
        1 => Value::Bool(false),
        2 => Value::Bool(true),
        3 => Value::Int(input.signed64()?),
        4 => Value::Float(f64::from_bits(input.int64()?)),
        5 => Value::Numeric(input.text("a number", Numeric::parse)?),
        6 => Value::Text(input.text("a text", shared)?),
        7 => Value::Timestamp(input.signed64()?),
        8 => Value::Date(input.int32()?.cast_signed()),
        9 => Value::Bytes(input.bytes()?[..].into()),
        10 => Value::Json(input.text("a document", shared)?),
        _ => return Err(RecordError::Invalid("the kind of a value")),
    })
}

fn write_heartbeat(out: &mut Writer, heartbeat: &Heartbeat) {
    out.int64(heartbeat.lsn.get());
    out.signed64(heartbeat.at_micros);
    let Some(visible) = &heartbeat.visible else {
        out.byte(0);
        return;
    };
    out.byte(1);
    out.int64(visible.xmin.get());
    out.int64(visible.xmax.get());
    out.count(visible.in_progress.len());
    for xid in &visible.in_progress {
        out.int64(xid.get());
    }
}

fn read_heartbeat(input: &mut Reader) -> Result<Heartbeat, RecordError> {
    let lsn = Lsn::new(input.int64()?);
    let at_micros = input.signed64()?;
    let visible = match input.byte()? {
        0 => None,
        1 => {
            let (xmin, xmax) = (Xid::new(input.int64()?), Xid::new(input.int64()?));
            let count = input.count(8)?;
            let xids = (0..count).map(|_| input.int64().map(Xid::new));
            Some(TransactionSnapshot {
                xmin,
                xmax,
                in_progress: xids.collect::<Result<_, _>>()?,
            })
        }
        _ => return Err(RecordError::Invalid("the presence of a snapshot")),
    };
    Ok(Heartbeat {
        lsn,
        at_micros,
        visible,
    })
}

#[cfg(test)]
mod tests;
