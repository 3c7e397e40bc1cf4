//! The messages of `pgoutput`, protocol version 1.
//!
//! Pure: bytes in, a message out. The bytes are the server's, but a wrong length must not take the
//! process down all the same, so every read is checked and nothing is allocated by a length that
//! the bytes do not bear out.

use bytes::{Buf, Bytes};

/// Columns in one row; the server's own limit is 1,664.
const COLUMNS_MAX: usize = 2_000;

/// Relations in one TRUNCATE. More than a database has that works.
const RELATIONS_MAX: usize = 100_000;

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct DecodeError(String);

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Message {
    /// A transaction follows, whole.
    Begin {
        /// Of the top-level transaction; the lower half of the full number.
        xid: u32,
        /// Microseconds since 2000.
        committed_at: i64,
    },
    /// It is over.
    Commit {
        /// Where its commit record ends.
        end_lsn: u64,
        /// Microseconds since 2000.
        committed_at: i64,
    },
    /// The shape that rows of a relation have from here on.
    Relation(Relation),
    /// A row was added.
    Insert { relation: u32, new: Tuple },
    /// A row was changed.
    Update {
        relation: u32,
        old: Option<OldTuple>,
        new: Tuple,
    },
    /// A row was deleted.
    Delete { relation: u32, old: OldTuple },
    /// Relations were emptied.
    Truncate { relations: Vec<u32> },
    /// What a program said into the log.
    Said {
        in_transaction: bool,
        prefix: String,
        content: Bytes,
    },
    /// The name of a type, or where a transaction came from: nothing that rows need.
    Ignored,
}

/// See [`Message::Relation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation {
    pub(crate) oid: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) identity: u8,
    pub(crate) columns: Vec<RelationColumn>,
}

/// A column of a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RelationColumn {
    /// Whether it is part of the replica identity.
    pub(crate) in_key: bool,
    pub(crate) name: String,
    pub(crate) type_oid: u32,
    pub(crate) modifier: i32,
}

/// A row before a change.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum OldTuple {
    /// Only the replica identity is told; other columns are NULL.
    Key(Tuple),
    /// All of it.
    Full(Tuple),
}

/// The columns of a row.
pub(crate) type Tuple = Vec<Cell>;

/// A column of a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Null,
    /// A large value, stored apart, that was not changed and is not told.
    Unchanged,
    Text(Bytes),
}

impl Message {
    /// Reads one message.
    pub(crate) fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader(bytes);
        let tag = reader.u8()?;
        let message = match tag {
            b'B' => {
                reader.u64()?;
                let committed_at = reader.i64()?;
                let xid = reader.u32()?;
                Self::Begin { xid, committed_at }
            }
            b'C' => {
                reader.u8()?;
                reader.u64()?;
                let end_lsn = reader.u64()?;
                let committed_at = reader.i64()?;
                Self::Commit {
                    end_lsn,
                    committed_at,
                }
            }
            b'R' => Self::Relation(reader.relation()?),
            b'I' => {
                let relation = reader.u32()?;
                reader.expect(b'N')?;
                let new = reader.tuple()?;
                Self::Insert { relation, new }
            }
            b'U' => reader.update()?,
            b'D' => {
                let relation = reader.u32()?;
                let kind = reader.u8()?;
                let old = reader.old_tuple(kind)?;
                Self::Delete { relation, old }
            }
            b'T' => reader.truncate()?,
            b'M' => {
                let flags = reader.u8()?;
                reader.u64()?;
                let prefix = reader.text()?;
                let content = reader.sized()?;
                Self::Said {
                    in_transaction: flags & 1 == 1,
                    prefix,
                    content,
                }
            }
            b'Y' | b'O' => return Ok(Self::Ignored),
            other => return Err(DecodeError(format!("message tag {other:#04x} is unknown"))),
        };
        match reader.0.is_empty() {
            true => Ok(message),
            false => Err(DecodeError(format!(
                "message {:?} is longer than it says",
                char::from(tag)
            ))),
        }
    }
}

/// What is left of a message.
struct Reader(Bytes);

impl Reader {
    fn need(&self, bytes: usize) -> Result<(), DecodeError> {
        match self.0.len() >= bytes {
            true => Ok(()),
            false => Err(DecodeError("a message is cut off".to_owned())),
        }
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.need(1)?;
        Ok(self.0.get_u8())
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        self.need(2)?;
        Ok(self.0.get_u16())
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.need(4)?;
        Ok(self.0.get_u32())
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.need(8)?;
        Ok(self.0.get_u64())
    }

    fn i64(&mut self) -> Result<i64, DecodeError> {
        self.need(8)?;
        Ok(self.0.get_i64())
    }

    fn expect(&mut self, tag: u8) -> Result<(), DecodeError> {
        match self.u8()? {
            found if found == tag => Ok(()),
            found => Err(DecodeError(format!("a row starts with {found:#04x}"))),
        }
    }

    /// Text up to a zero byte.
    fn text(&mut self) -> Result<String, DecodeError> {
        let end = self.0.iter().position(|byte| *byte == 0);
        let end = end.ok_or_else(|| DecodeError("a name has no end".to_owned()))?;
        let text = self.0.split_to(end);
        self.0.advance(1);
        let text = std::str::from_utf8(&text);
        text.map(str::to_owned)
            .map_err(|_| DecodeError("a name is not UTF-8".to_owned()))
    }

    /// Bytes after their length.
    fn sized(&mut self) -> Result<Bytes, DecodeError> {
        let length = self.u32()? as usize;
        self.need(length)?;
        Ok(self.0.split_to(length))
    }

    fn relation(&mut self) -> Result<Relation, DecodeError> {
        let (oid, schema, name) = (self.u32()?, self.text()?, self.text()?);
        let identity = self.u8()?;
        let count = self.count(usize::from(u16::MAX))?;
        let mut columns = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            columns.push(RelationColumn {
                in_key: self.u8()? & 1 == 1,
                name: self.text()?,
                type_oid: self.u32()?,
                modifier: self.u32()?.cast_signed(),
            });
        }
        Ok(Relation {
            oid,
            schema,
            name,
            identity,
            columns,
        })
    }

    fn count(&mut self, max: usize) -> Result<usize, DecodeError> {
        let count = usize::from(self.u16()?);
        match count <= max.min(COLUMNS_MAX) {
            true => Ok(count),
            false => Err(DecodeError(format!("{count} columns are too many"))),
        }
    }

    fn tuple(&mut self) -> Result<Tuple, DecodeError> {
        let count = self.count(COLUMNS_MAX)?;
        let mut cells = Vec::with_capacity(count.min(self.0.len()));
        for _ in 0..count {
            cells.push(match self.u8()? {
                b'n' => Cell::Null,
                b'u' => Cell::Unchanged,
                b't' => Cell::Text(self.sized()?),
                other => return Err(DecodeError(format!("a value of kind {other:#04x}"))),
            });
        }
        Ok(cells)
    }

    fn old_tuple(&mut self, kind: u8) -> Result<OldTuple, DecodeError> {
        match kind {
            b'K' => self.tuple().map(OldTuple::Key),
            b'O' => self.tuple().map(OldTuple::Full),
            other => Err(DecodeError(format!("an old row of kind {other:#04x}"))),
        }
    }

    fn update(&mut self) -> Result<Message, DecodeError> {
        let relation = self.u32()?;
        let old = match self.u8()? {
            b'N' => None,
            kind => {
                let old = self.old_tuple(kind)?;
                self.expect(b'N')?;
                Some(old)
            }
        };
        let new = self.tuple()?;
        Ok(Message::Update { relation, old, new })
    }

    fn truncate(&mut self) -> Result<Message, DecodeError> {
        let count = self.u32()? as usize;
        self.u8()?;
        if count > RELATIONS_MAX || self.0.len() != count * 4 {
            return Err(DecodeError(format!("{count} truncated relations")));
        }
        let relations = (0..count).map(|_| self.u32()).collect::<Result<_, _>>()?;
        Ok(Message::Truncate { relations })
    }
}

#[cfg(test)]
mod tests;
