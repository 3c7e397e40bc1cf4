//! Reading rows.

use tidegate_core::{Comparison, Filter, Query, QueryError, TableSchema, Value};

use crate::Statement;
use crate::dialect::Dialect;
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
pub fn select(
    dialect: Dialect<'_>,
    table: &str,
    query: &Query,
    window: Window,
) -> Result<Statement, QueryError> {
    let mut writer = Writer::new(dialect, query.schema());
    writer.push("SELECT ");
    writer.all_columns();
    writer.push(" FROM ");
    writer.table(table);
    let everything = query.filter().is_everything();
    if !everything {
        writer.push(" WHERE ");
        writer.filter(query.filter());
    }
    if let Some(keyset) = query.keyset() {
        writer.push(if everything { " WHERE " } else { " AND " });
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
    dialect: Dialect<'_>,
    table: &str,
    schema: &TableSchema,
    columns: &[usize],
    filter: &Filter,
) -> Result<Statement, QueryError> {
    let mut writer = Writer::new(dialect, schema);
    writer.push("SELECT ");
    writer.columns(columns.iter().copied());
    writer.read_filtered(table, filter);
    writer.finish()
}

/// How many rows match.
///
/// # Errors
/// `BadFilter` when it holds more values than a statement can.
pub fn count(
    dialect: Dialect<'_>,
    table: &str,
    schema: &TableSchema,
    filter: &Filter,
) -> Result<Statement, QueryError> {
    let mut writer = Writer::new(dialect, schema);
    writer.push("SELECT count(*)");
    writer.read_filtered(table, filter);
    writer.finish()
}

/// All columns of the rows that have these values, by primary key, at most `limit` of them.
///
/// # Errors
/// `BadFilter` when it holds more values than a statement can.
pub fn select_by_key(
    dialect: Dialect<'_>,
    table: &str,
    schema: &TableSchema,
    key: &[(usize, Value)],
    limit: u64,
) -> Result<Statement, QueryError> {
    let mut writer = Writer::new(dialect, schema);
    writer.push("SELECT ");
    writer.all_columns();
    writer.push(" FROM ");
    writer.table(table);
    writer.where_key(key);
    for (at, column) in schema.key().iter().enumerate() {
        writer.push(if at == 0 { " ORDER BY " } else { ", " });
        writer.ordering_column(*column);
    }
    writer.push(" LIMIT ");
    bounded(&mut writer, limit);
    writer.finish()
}

impl Writer<'_> {
    pub(crate) fn read_filtered(&mut self, table: &str, filter: &Filter) {
        self.push(" FROM ");
        self.table(table);
        if !filter.is_everything() {
            self.push(" WHERE ");
            self.filter(filter);
        }
    }

    pub(crate) fn where_key(&mut self, key: &[(usize, Value)]) {
        for (at, (column, value)) in key.iter().enumerate() {
            self.push(if at == 0 { " WHERE " } else { " AND " });
            self.comparison(*column, Comparison::Equal, value);
        }
    }
}
