//! Bytes whose order is the order of rows.
//!
//! A row's place in a page is found by comparing bytes: each order key adds a marker that places
//! NULL, then the value in a form that compares as the value does, inverted when the key
//! descends. No encoding of a value is a prefix of another's, so the keys of a row can be strung
//! together, and two rows agree in their first keys exactly when the bytes of those keys agree.

use std::ops::Deref;

use smallvec::SmallVec;
use tidegate_core::{Direction, Keyset, KeysetBound, Nulls, OrderKey, Query, Value};

/// Bytes kept without an allocation: one or two integers, or a timestamp and a short text.
const INLINE_BYTES: usize = 32;

const NULL_FIRST: u8 = 0;
const PRESENT: u8 = 1;
const NULL_LAST: u8 = 2;

/// Encoded keys: compare, hash or equate them as bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct KeyBytes(SmallVec<[u8; INLINE_BYTES]>);

impl KeyBytes {
    /// The place of a row in an order.
    #[must_use]
    pub fn of_row(order: &[OrderKey], row: &[Value]) -> Self {
        let mut bytes = Self::default();
        for key in order {
            let value = row.get(key.column).unwrap_or(&Value::Null);
            bytes.push(value, key.direction, key.nulls);
        }
        bytes
    }

    /// The identity of a row: the values of its primary key.
    #[must_use]
    pub fn of_key<'a>(values: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut bytes = Self::default();
        for value in values {
            bytes.push(value, Direction::Ascending, Nulls::Last);
        }
        bytes
    }

    /// One value, ascending: an end of an interval of the index.
    pub(crate) fn of_value(value: &Value) -> Self {
        Self::of_key([value])
    }

    /// Below every value of a column.
    pub(crate) fn lowest() -> Self {
        Self(SmallVec::from_slice(&[PRESENT]))
    }

    /// Above every value of a column.
    pub(crate) fn highest() -> Self {
        Self(SmallVec::from_slice(&[NULL_LAST]))
    }

    /// The lowest and highest bytes of the texts that start with `prefix`.
    pub(crate) fn of_prefix(prefix: &str) -> (Self, Self) {
        let mut low = Self::lowest();
        escape(&mut low.0, prefix.as_bytes());
        let mut high = low.clone();
        // UTF-8 has no such byte, so every text that goes on after the prefix is below.
        high.0.push(u8::MAX);
        (low, high)
    }

    fn push(&mut self, value: &Value, direction: Direction, nulls: Nulls) {
        if value.is_null() {
            self.0.push(match nulls {
                Nulls::First => NULL_FIRST,
                Nulls::Last => NULL_LAST,
            });
            return;
        }
        self.0.push(PRESENT);
        let start = self.0.len();
        encode(&mut self.0, value);
        match direction {
            Direction::Ascending => {}
            Direction::Descending => self.0[start..].iter_mut().for_each(|byte| *byte = !*byte),
        }
    }
}

impl Deref for KeyBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// One value's part of a sort key, for an adapter that lets its database sort by it.
#[must_use]
pub fn sort_key_of_value(value: &Value, direction: Direction, nulls: Nulls) -> Vec<u8> {
    let mut bytes = KeyBytes::default();
    bytes.push(value, direction, nulls);
    bytes.0.into_vec()
}

fn encode(out: &mut SmallVec<[u8; INLINE_BYTES]>, value: &Value) {
    match value {
        Value::Null => {}
        Value::Bool(value) => out.push(u8::from(*value)),
        Value::Int(value) | Value::Timestamp(value) => {
            out.extend_from_slice(&(*value as u64 ^ (1 << 63)).to_be_bytes());
        }
        Value::Date(value) => out.extend_from_slice(&(*value as u32 ^ (1 << 31)).to_be_bytes()),
        Value::Float(value) => out.extend_from_slice(&float_order(*value).to_be_bytes()),
        Value::Numeric(value) => {
            let mut key = Vec::with_capacity(24);
            value.write_sort_key(&mut key);
            out.extend_from_slice(&key);
        }
        Value::Text(text) | Value::Json(text) => {
            escape(out, text.as_bytes());
            out.extend_from_slice(&[0, 0]);
        }
        Value::Bytes(bytes) => {
            escape(out, bytes);
            out.extend_from_slice(&[0, 0]);
        }
        // Nothing is ordered by arrays; this only tells them from NULL.
        Value::Array(array) => {
            escape(out, array.to_text().as_bytes());
            out.extend_from_slice(&[0, 0]);
        }
    }
}

/// A zero becomes two bytes, so that a terminator of two zeros ends the value below every longer
/// one.
fn escape(out: &mut SmallVec<[u8; INLINE_BYTES]>, bytes: &[u8]) {
    for run in bytes.split_inclusive(|byte| *byte == 0) {
        out.extend_from_slice(run);
        if run.last() == Some(&0) {
            out.push(u8::MAX);
        }
    }
}

/// Postgres's order: the two zeros are one, every NaN is one and above infinity.
fn float_order(value: f64) -> u64 {
    if value.is_nan() {
        return u64::MAX;
    }
    let bits = if value == 0.0 { 0 } else { value.to_bits() };
    if bits >> 63 == 0 {
        bits | 1 << 63
    } else {
        !bits
    }
}

/// Where a page starts, in terms of sort keys.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    prefix: KeyBytes,
    bound: KeysetBound,
}

impl Start {
    pub(crate) fn of(query: &Query) -> Option<Self> {
        query
            .keyset()
            .map(|keyset| Self::of_keyset(keyset, query.order()))
    }

    fn of_keyset(keyset: &Keyset, order: &[OrderKey]) -> Self {
        let mut prefix = KeyBytes::default();
        for (value, key) in keyset.values.iter().zip(order) {
            prefix.push(value, key.direction, key.nulls);
        }
        Self {
            prefix,
            bound: keyset.bound,
        }
    }

    /// Whether a row with this sort key belongs to the page. A row that agrees with the keyset in
    /// all its columns has its bytes as a prefix, and so compares above them.
    pub(crate) fn admits(&self, key: &KeyBytes) -> bool {
        match self.bound {
            KeysetBound::At => **key >= *self.prefix,
            KeysetBound::After => **key > *self.prefix && !key.starts_with(&self.prefix),
        }
    }
}

#[cfg(test)]
mod tests;
