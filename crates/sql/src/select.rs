//! Reading rows.

use tidegate_core::{Comparison, Filter, Query, QueryError, Value};

use crate::Statement;
use crate::target::Target;
use crate::writer::Writer;

/// Which part of a query's rows to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Rows at most.
    pub limit: u64,
    /// Rows to skip.
    pub offset: u64,
}

/// All columns of a query's rows, in its order, in schema order. The query's own limit does not
/// count.
///
/// # Errors
/// `BadFilter` when it holds more values than a statement can.
pub fn select(target: Target<'_>, query: &Query, window: Window) -> Result<Statement, QueryError> {
    let mut writer = Writer::new(target);
    writer.push("SELECT ");
    writer.all_columns();
    writer.read_filtered(query.filter());
    if let Some(keyset) = query.keyset() {
        writer.condition();
        writer.keyset(query.order(), keyset);
    }
    writer.order(query.order());
    writer.push(" LIMIT ");
    bounded(&mut writer, window.limit);
    if window.offset > 0 {
        writer.push(" OFFSET ");
        bounded(&mut writer, window.offset);
    }
    writer.finish()
}

/// Digits, and not a parameter: SQLite plans for the limit there is, so it would prepare the
/// statement anew each time that a limit is bound. There are few limits, so texts still repeat.
fn bounded(writer: &mut Writer<'_>, count: u64) {
    writer.push(&count.min(i64::MAX.unsigned_abs()).to_string());
}

/// Some columns of all rows that match, in no order: what aggregates are computed from.
///
/// # Errors
/// `BadFilter` when it holds more values than a statement can.
pub fn select_columns(
    target: Target<'_>,
    columns: &[usize],
    filter: &Filter,
) -> Result<Statement, QueryError> {
    let mut writer = Writer::new(target);
    writer.push("SELECT ");
    writer.columns(columns.iter().copied());
    writer.read_filtered(filter);
    writer.finish()
}

/// How many rows match.
///
/// # Errors
/// `BadFilter` when it holds more values than a statement can.
pub fn count(target: Target<'_>, filter: &Filter) -> Result<Statement, QueryError> {
    let mut writer = Writer::new(target);
    writer.push("SELECT count(*)");
    writer.read_filtered(filter);
    writer.finish()
}

/// All columns of the rows that have these values, by primary key, at most `limit` of them.
///
/// # Errors
/// `BadFilter` when it holds more values than a statement can.
pub fn select_by_key(
    target: Target<'_>,
    key: &[(usize, Value)],
    limit: u64,
) -> Result<Statement, QueryError> {
    let mut writer = Writer::new(target);
    writer.push("SELECT ");
    writer.all_columns();
    writer.push(" FROM ");
    writer.table();
    writer.where_key(key);
    for (at, column) in target.schema.key().iter().enumerate() {
        writer.push(if at == 0 { " ORDER BY " } else { ", " });
        writer.ordering_column(*column);
    }
    writer.push(" LIMIT ");
    bounded(&mut writer, limit);
    writer.finish()
}

impl Writer<'_> {
    pub(crate) fn read_filtered(&mut self, filter: &Filter) {
        self.push(" FROM ");
        self.table();
        self.scope();
        if !filter.is_everything() {
            self.condition();
            self.filter(filter);
        }
    }

    pub(crate) fn where_key(&mut self, key: &[(usize, Value)]) {
        self.scope();
        for (column, value) in key {
            self.condition();
            self.comparison(*column, Comparison::Equal, value);
        }
    }
}
