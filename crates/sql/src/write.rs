//! Writing rows. Each statement returns all columns of the rows it wrote, as they were written.

use tidegate_core::{QueryError, Value};

use crate::Statement;
use crate::target::Target;
use crate::writer::Writer;

/// Adds one row with these values, as the tenant's; the rest takes its defaults. There is no such
/// statement for [`Scope::Nothing`](crate::Scope::Nothing): the caller refuses.
///
/// # Errors
/// `BadFilter` when it holds more values than a statement can.
pub fn insert(target: Target<'_>, values: &[(usize, Value)]) -> Result<Statement, QueryError> {
    let mut writer = Writer::new(target);
    writer.push("INSERT INTO ");
    writer.table_to_fill();
    let values = writer.owned(values);
    if values.is_empty() {
        writer.push(" DEFAULT VALUES");
    } else {
        writer.push(" (");
        for (at, (column, _)) in values.iter().enumerate() {
            if at > 0 {
                writer.push(", ");
            }
            writer.column_name(*column);
        }
        writer.push(") VALUES (");
        for (at, (_, value)) in values.iter().enumerate() {
            if at > 0 {
                writer.push(", ");
            }
            let parameter = writer.bind((*value).clone());
            writer.parameter(parameter);
        }
        writer.push(")");
    }
    returning(writer)
}

/// Changes the rows with this key. `values` must not be empty.
///
/// # Errors
/// `BadFilter` when it holds more values than a statement can.
pub fn update(
    target: Target<'_>,
    key: &[(usize, Value)],
    values: &[(usize, Value)],
) -> Result<Statement, QueryError> {
    let mut writer = Writer::new(target);
    writer.push("UPDATE ");
    writer.table();
    for (at, (column, value)) in values.iter().enumerate() {
        writer.push(if at == 0 { " SET " } else { ", " });
        writer.column_name(*column);
        writer.push(" = ");
        let parameter = writer.bind(value.clone());
        writer.parameter(parameter);
    }
    writer.where_key(key);
    returning(writer)
}

/// Deletes the rows with this key.
///
/// # Errors
/// `BadFilter` when it holds more values than a statement can.
pub fn delete(target: Target<'_>, key: &[(usize, Value)]) -> Result<Statement, QueryError> {
    let mut writer = Writer::new(target);
    writer.push("DELETE FROM ");
    writer.table();
    writer.where_key(key);
    writer.finish()
}

fn returning(mut writer: Writer<'_>) -> Result<Statement, QueryError> {
    writer.push(" RETURNING ");
    writer.all_columns();
    writer.finish()
}
