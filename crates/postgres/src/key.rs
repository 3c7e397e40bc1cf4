//! Which row a command is about.

use tidegate_core::{CommandError, KeySpec, Literal, QueryError, Value};
use tidegate_sql::PostgresType;

use crate::catalog::Table;

/// What a key must promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    /// It names one row at most: what writes need.
    OneRow,
    /// It may name any column; the first row counts.
    AnyColumn,
}

/// The columns and values that a key stands for.
pub(crate) fn resolve(
    table: &Table,
    spec: &KeySpec,
    promise: Promise,
) -> Result<Vec<(usize, Value)>, CommandError> {
    let schema = &table.schema;
    let key = schema.key();
    let named = match &spec.column {
        Some(name) => Some(column_index(table, name)?),
        None => None,
    };
    // A column of a composite key says no more than its absence does.
    let named = named.filter(|column| key.len() < 2 || !key.contains(column));
    if let (None, true) = (named, key.len() > 1) {
        return composite(table, spec);
    }
    let id = || {
        let id = schema.column_index("id");
        id.filter(|id| admits(table, *id, promise))
    };
    let single = || (key.len() == 1).then(|| key[0]);
    let column = named.or_else(id).or_else(single).ok_or_else(|| {
        let table = schema.table();
        CommandError::BadCommand(format!("table {table} has no key: name a unique column"))
    })?;
    if !admits(table, column, promise) {
        let (table, column) = (schema.table(), &schema.columns()[column].name);
        let text =
            format!("column {column} of table {table} is not unique, so it names no one row");
        return Err(CommandError::BadCommand(text));
    }
    let value = value(table, column, &Literal::Text(spec.text.clone()))?;
    Ok(vec![(column, value)])
}

/// The index of a column that must be there.
pub(crate) fn column_index(table: &Table, name: &str) -> Result<usize, QueryError> {
    let schema = &table.schema;
    schema
        .column_index(name)
        .ok_or_else(|| QueryError::UnknownColumn {
            table: schema.table().to_string(),
            column: name.chars().take(80).collect(),
        })
}

fn admits(table: &Table, column: usize, promise: Promise) -> bool {
    match promise {
        Promise::AnyColumn => table.schema.columns()[column].kind.is_comparable(),
        Promise::OneRow => table.uniques.contains(&column),
    }
}

fn composite(table: &Table, spec: &KeySpec) -> Result<Vec<(usize, Value)>, CommandError> {
    let key = table.schema.key();
    match &spec.parts {
        Some(parts) if parts.len() == key.len() => key
            .iter()
            .zip(parts)
            .map(|(column, part)| Ok((*column, value(table, *column, part)?)))
            .collect(),
        _ => {
            let columns = table.schema.columns();
            let names: Vec<&str> = key.iter().map(|at| &*columns[*at].name).collect();
            let (name, names) = (table.schema.table(), names.join(", "));
            Err(CommandError::BadCommand(format!(
                "table {name} has the key ({names}): give its values as a JSON array, in this order"
            )))
        }
    }
}

fn value(table: &Table, at: usize, literal: &Literal) -> Result<Value, CommandError> {
    let column = &table.schema.columns()[at];
    let bad = |why: &str| QueryError::BadValue(format!("key column {} {why}", column.name));
    match literal.coerce(&column.kind).map_err(|why| bad(&why))? {
        Value::Null => Err(bad("does not take NULL").into()),
        // Whoever names one row means the UUID, not its letters.
        Value::Text(text) if table.sql.columns[at] == PostgresType::Uuid => {
            Ok(Value::text(&text.to_ascii_lowercase()))
        }
        value => Ok(value),
    }
}
