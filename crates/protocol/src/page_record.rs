//! What the processor publishes about a page: the page itself, its diffs, a refusal; and how far it
//! is with the whole partition.
//!
//! Every record opens with a header of one size, so that a gateway reads that alone. What follows
//! is JSON text that goes to clients as it is: encoded once in the whole system, sliced without a
//! copy everywhere else.

use bytes::Bytes;
use tidegate_core::{Epoch, Life, Lsn, Offset, Position};

use crate::error_code::ErrorCode;
use crate::record_bytes::{Reader, RecordError, Writer};

const VERSION: u8 = 1;

/// Why a page begins a new epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PageCause {
    /// It was opened: nobody has anything older of it.
    Opened,
    /// It is the page of the running epoch once more, at its present offset, for a gateway that
    /// asked.
    Repeated,
    /// It was read anew: who has something older must replace it.
    Reset,
}

/// Whose page it is, which decides how what follows it is told from what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PageOrigin {
    /// One that our processor keeps: it holds every diff up to its position, and none after.
    Kept,
    /// One that was read from the database beside a foreign stream of diffs: it holds every commit
    /// up to its LSN, whatever position the stream gave its diff.
    Read,
}

/// What the body of a diff is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DiffKind {
    /// JSON: an array of changes, from our processor.
    Changes,
    /// Bytes of a foreign processor, for clients that understand them.
    Opaque,
    /// The same, found in the cache and not on the stream.
    Stored,
    /// JSON: one row event of a foreign processor.
    RowEvent,
}

/// What a page, a diff, a refusal or a partition's progress says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageRecord {
    /// A whole page.
    Page(PageContent),
    /// One diff.
    Diff(DiffContent),
    /// The page cannot be opened, or has ended. Whoever listens is told and let go.
    Refused {
        /// For programs.
        code: ErrorCode,
        /// For people.
        message: String,
    },
    /// All diffs of commits up to `lsn` have been published. Its key is empty: it is for the whole
    /// partition.
    Progress {
        /// Of which owner of the partition.
        life: Life,
        /// How far.
        lsn: Lsn,
    },
}

/// A whole page at one position. The texts are JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageContent {
    /// Where in the page's history.
    pub position: Position,
    /// The commit up to which it was maintained.
    pub lsn: Lsn,
    /// When that commit was, in microseconds since 1970. Measures lag only.
    pub committed_at_micros: i64,
    /// Why it was published.
    pub cause: PageCause,
    /// Whose it is.
    pub origin: PageOrigin,
    /// Members of an object, without its braces: the order keys of the last row. May be empty.
    pub cursor: Bytes,
    /// An array of rows.
    pub rows: Bytes,
    /// An array of their primary keys. Empty where they are not known.
    pub pks: Bytes,
}

impl PageContent {
    /// The commit up to which the page holds whatever comes after it on the stream.
    #[must_use]
    pub const fn fence(&self) -> Lsn {
        match self.origin {
            PageOrigin::Kept => Lsn::ZERO,
            PageOrigin::Read => self.lsn,
        }
    }
}

/// One diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffContent {
    /// Where in the page's history.
    pub position: Position,
    /// The commit that made it.
    pub lsn: Lsn,
    /// When that commit was, in microseconds since 1970. Measures lag only.
    pub committed_at_micros: i64,
    /// What the body is.
    pub kind: DiffKind,
    /// What it says.
    pub body: Bytes,
}

/// What stands in front of every record's body.
struct Header {
    kind: u8,
    position: Position,
    lsn: Lsn,
    committed_at_micros: i64,
}

const NOWHERE: Position = Position {
    epoch: Epoch::from_raw(0),
    offset: Offset::ZERO,
};

/// Bytes of a version, a [`Header`] and one length.
const FIXED_BYTES: usize = 1 + 1 + 4 * 8 + 4;

impl PageRecord {
    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Page(page) => encode_page(page),
            Self::Diff(diff) => encode_diff(diff),
            Self::Refused { code, message } => {
                let mut out = Writer::new(FIXED_BYTES + 32 + message.len());
                write_header(
                    &mut out,
                    &Header {
                        kind: 4,
                        position: NOWHERE,
                        lsn: Lsn::ZERO,
                        committed_at_micros: 0,
                    },
                );
                out.text(code.as_str());
                out.text(message);
                out.finish()
            }
            Self::Progress { life, lsn } => {
                let mut out = Writer::new(FIXED_BYTES);
                write_header(
                    &mut out,
                    &Header {
                        kind: 5,
                        position: Position::start(Epoch::new(*life, 0)),
                        lsn: *lsn,
                        committed_at_micros: 0,
                    },
                );
                out.finish()
            }
        }
    }

    /// Reads a record. Its texts are slices of `bytes`.
    ///
    /// # Errors When the bytes are not what [`PageRecord::encode`] writes. (That the texts are JSON
    /// is believed.)
    pub fn decode(bytes: Bytes) -> Result<Self, RecordError> {
        let mut input = Reader::new(bytes);
        input.version(VERSION)?;
        let header = read_header(&mut input)?;
        let record = match header.kind {
            0..=2 => Self::Page(read_page(&mut input, &header, PageOrigin::Kept)?),
            6..=8 => Self::Page(read_page(&mut input, &header, PageOrigin::Read)?),
            3 => Self::Diff(read_diff(&mut input, &header, DiffKind::Changes)?),
            9 => Self::Diff(read_diff(&mut input, &header, DiffKind::Opaque)?),
            10 => Self::Diff(read_diff(&mut input, &header, DiffKind::Stored)?),
            11 => Self::Diff(read_diff(&mut input, &header, DiffKind::RowEvent)?),
            4 => Self::Refused {
                // A newer processor may know a code that we do not.
                code: input.text("the code", |text| {
                    Some(ErrorCode::from_text(text).unwrap_or(ErrorCode::Internal))
                })?,
                message: input.text("the message", |text| Some(text.to_owned()))?,
            },
            5 => Self::Progress {
                life: header.position.epoch.life(),
                lsn: header.lsn,
            },
            _ => return Err(RecordError::Invalid("the kind")),
        };
        input.end()?;
        Ok(record)
    }
}

fn encode_page(page: &PageContent) -> Bytes {
    let body = page.cursor.len() + page.rows.len() + page.pks.len();
    let mut out = Writer::new(FIXED_BYTES + 8 + body);
    let cause = match page.cause {
        PageCause::Opened => 0,
        PageCause::Repeated => 1,
        PageCause::Reset => 2,
    };
    let header = Header {
        kind: match page.origin {
            PageOrigin::Kept => cause,
            PageOrigin::Read => cause + 6,
        },
        position: page.position,
        lsn: page.lsn,
        committed_at_micros: page.committed_at_micros,
    };
    write_header(&mut out, &header);
    out.bytes(&page.cursor);
    out.bytes(&page.rows);
    out.bytes(&page.pks);
    out.finish()
}

fn encode_diff(diff: &DiffContent) -> Bytes {
    let mut out = Writer::new(FIXED_BYTES + diff.body.len());
    let header = Header {
        kind: match diff.kind {
            DiffKind::Changes => 3,
            DiffKind::Opaque => 9,
            DiffKind::Stored => 10,
            DiffKind::RowEvent => 11,
        },
        position: diff.position,
        lsn: diff.lsn,
        committed_at_micros: diff.committed_at_micros,
    };
    write_header(&mut out, &header);
    out.bytes(&diff.body);
    out.finish()
}

fn read_page(
    input: &mut Reader,
    header: &Header,
    origin: PageOrigin,
) -> Result<PageContent, RecordError> {
    let cause = match header.kind % 6 {
        0 => PageCause::Opened,
        1 => PageCause::Repeated,
        _ => PageCause::Reset,
    };
    Ok(PageContent {
        position: header.position,
        lsn: header.lsn,
        committed_at_micros: header.committed_at_micros,
        cause,
        origin,
        cursor: input.bytes()?,
        rows: input.bytes()?,
        pks: input.bytes()?,
    })
}

fn read_diff(
    input: &mut Reader,
    header: &Header,
    kind: DiffKind,
) -> Result<DiffContent, RecordError> {
    Ok(DiffContent {
        position: header.position,
        lsn: header.lsn,
        committed_at_micros: header.committed_at_micros,
        kind,
        body: input.bytes()?,
    })
}

fn write_header(out: &mut Writer, header: &Header) {
    out.byte(VERSION);
    out.byte(header.kind);
    out.int64(header.position.epoch.get());
    out.int64(header.position.offset.get());
    out.int64(header.lsn.get());
    out.signed64(header.committed_at_micros);
}

fn read_header(input: &mut Reader) -> Result<Header, RecordError> {
    Ok(Header {
        kind: input.byte()?,
        position: Position {
            epoch: Epoch::from_raw(input.int64()?),
            offset: Offset::new(input.int64()?),
        },
        lsn: Lsn::new(input.int64()?),
        committed_at_micros: input.signed64()?,
    })
}

#[cfg(test)]
mod tests;
