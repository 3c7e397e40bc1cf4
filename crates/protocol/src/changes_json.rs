//! The `changes` of a diff as JSON text: encoded once in the whole system.
//!
//! One row of one transaction may enter many pages. Its JSON is computed once: [`RowJsonCache`]
//! keeps it by the row's identity for as long as the caller works on that transaction.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tidegate_core::{PageChange, Row, TableSchema};

use crate::json_text::{write_int, write_separated, write_string};
use crate::row_json::{RowWriter, pk_text};

/// JSON of rows that was computed lately, for one table.
///
/// It grows with each different row; [`RowJsonCache::clear`] it between transactions.
#[derive(Debug)]
pub struct RowJsonCache {
    writer: RowWriter,
    text: Vec<u8>,
    /// By the address of the row's values.
    known: HashMap<usize, Known>,
}

#[derive(Debug, Clone)]
struct Known {
    /// Held so that its address belongs to no other row.
    row: Row,
    /// Where the primary key is in the text, as a JSON string.
    pk: Range<usize>,
    /// Where the row is, as a JSON object.
    body: Range<usize>,
}

impl RowJsonCache {
    /// An empty cache for rows of this schema.
    #[must_use]
    pub fn new(schema: Arc<TableSchema>) -> Self {
        Self {
            writer: RowWriter::new(schema),
            text: Vec::new(),
            known: HashMap::new(),
        }
    }

    /// The writer of the cache's rows.
    #[must_use]
    pub fn writer(&self) -> &RowWriter {
        &self.writer
    }

    /// Forgets all rows. Memory is kept for the next transaction.
    pub fn clear(&mut self) {
        self.text.clear();
        self.known.clear();
    }

    fn known(&mut self, row: &Row) -> Known {
        let address = row.as_ptr() as usize;
        if let Some(known) = self
            .known
            .get(&address)
            .filter(|known| known.row.is_same(row))
        {
            return known.clone();
        }
        let start = self.text.len();
        self.writer.write_pk(&mut self.text, row);
        let middle = self.text.len();
        self.writer.write_row(&mut self.text, row);
        let known = Known {
            row: row.clone(),
            pk: start..middle,
            body: middle..self.text.len(),
        };
        self.known.insert(address, known.clone());
        known
    }
}

/// The JSON array of a diff's changes, in their order.
#[must_use]
pub fn changes_json(cache: &mut RowJsonCache, changes: &[PageChange]) -> Bytes {
    let mut out = Vec::with_capacity(64 + changes.len() * 192);
    out.push(b'[');
    write_separated(&mut out, changes, |out, change| {
        write_change(out, cache, change)
    });
    out.push(b']');
    out.into()
}

fn write_change(out: &mut Vec<u8>, cache: &mut RowJsonCache, change: &PageChange) {
    match change {
        PageChange::Removed { key, from } => {
            out.extend_from_slice(b"{\"kind\":\"removed\",\"pk\":");
            write_string(out, &pk_text(cache.writer.schema(), key));
            write_index(out, "from", *from);
        }
        PageChange::Added { row, pos } => {
            let known = cache.known(row);
            out.extend_from_slice(b"{\"kind\":\"added\",\"pk\":");
            out.extend_from_slice(&cache.text[known.pk]);
            write_index(out, "pos", *pos);
            write_body(out, &cache.text[known.body]);
        }
        PageChange::Modified { row, from, pos } => {
            let known = cache.known(row);
            out.extend_from_slice(b"{\"kind\":\"modified\",\"pk\":");
            out.extend_from_slice(&cache.text[known.pk]);
            write_index(out, "from", *from);
            write_index(out, "pos", *pos);
            write_body(out, &cache.text[known.body]);
        }
    }
    out.push(b'}');
}

fn write_index(out: &mut Vec<u8>, name: &str, index: u32) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    write_int(out, index);
}

fn write_body(out: &mut Vec<u8>, row: &[u8]) {
    out.extend_from_slice(b",\"row\":");
    out.extend_from_slice(row);
}

#[cfg(test)]
mod tests;
