//! Reading and writing the bytes of bus records: fixed-width numbers, lengths before contents.
//!
//! Whatever the bytes are, reading ends in a value or in an error. A count is believed only as far
//! as bytes for so many members are there, so that a hostile one cannot make us reserve memory.

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of a record that do not make sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The record ends before its content does.
    #[error("the record is cut short")]
    Short,
    /// Bytes are left over.
    #[error("the record has {0} bytes too many")]
    Trailing(usize),
    /// It was written by a version that we do not know.
    #[error("records of version {0} are not known")]
    Version(u8),
    /// A part of it has no meaning.
    #[error("{0} of the record makes no sense")]
    Invalid(&'static str),
}

/// Appends parts of a record.
pub(crate) struct Writer(BytesMut);

impl Writer {
    pub(crate) fn new(capacity: usize) -> Self {
        Self(BytesMut::with_capacity(capacity))
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.0.put_u8(byte);
    }

    pub(crate) fn int32(&mut self, value: u32) {
        self.0.put_u32(value);
    }

    pub(crate) fn int64(&mut self, value: u64) {
        self.0.put_u64(value);
    }

    pub(crate) fn signed64(&mut self, value: i64) {
        self.0.put_i64(value);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.put_slice(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(crate) fn count(&mut self, count: usize) {
        let count = u32::try_from(count).expect("ports bound records far below four gigabytes");
        self.0.put_u32(count);
    }

    pub(crate) fn finish(self) -> Bytes {
        self.0.freeze()
    }
}

/// Takes parts of a record off its front. Slices share the record's memory.
pub(crate) struct Reader(Bytes);

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    fn take(&mut self, length: usize) -> Result<Bytes, RecordError> {
        if length > self.0.len() {
            return Err(RecordError::Short);
        }
        Ok(self.0.split_to(length))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let taken = self.take(N)?;
        Ok(taken[..].try_into().expect("taken at this length"))
    }

    pub(crate) fn byte(&mut self) -> Result<u8, RecordError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn int32(&mut self) -> Result<u32, RecordError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn int64(&mut self) -> Result<u64, RecordError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn signed64(&mut self) -> Result<i64, RecordError> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, RecordError> {
        let length = self.int32()? as usize;
        self.take(length)
    }

    /// Text, without a copy of its own: `read` makes of it what it wants.
    pub(crate) fn text<T>(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, RecordError> {
        let bytes = self.bytes()?;
        let text = std::str::from_utf8(&bytes).map_err(|_| RecordError::Invalid(what))?;
        read(text).ok_or(RecordError::Invalid(what))
    }

    /// A count of members that take at least `member_bytes_min` (one or more) each.
    pub(crate) fn count(&mut self, member_bytes_min: usize) -> Result<usize, RecordError> {
        let count = self.int32()? as usize;
        if count > self.0.len() / member_bytes_min {
            return Err(RecordError::Short);
        }
        Ok(count)
    }

    /// The version byte that opens every record.
    pub(crate) fn version(&mut self, known: u8) -> Result<(), RecordError> {
        match self.byte()? {
            version if version == known => Ok(()),
            other => Err(RecordError::Version(other)),
        }
    }

    pub(crate) fn end(&self) -> Result<(), RecordError> {
        match self.0.len() {
            0 => Ok(()),
            left => Err(RecordError::Trailing(left)),
        }
    }
}
