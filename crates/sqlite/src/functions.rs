//! The SQL functions by which SQLite compares as the engine does.
//!
//! They are registered on our own connections only. Nothing that stays in the file (triggers,
//! indexes, defaults) may use them: other programs write to it too.

use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{ToSqlOutput, Value as Stored};
use tidegate_core::{ColumnType, Value};

use crate::cell::{Place, read};

/// Registers them.
///
/// - `tidegate_micros(x)`: a stored timestamp as microseconds, which order as the timestamps do;
/// - `tidegate_number(x)`: a stored decimal as a blob whose byte order is the order of the numbers.
///
/// What is unreadable becomes NULL here: it satisfies no comparison. A row that is returned all the
/// same is refused when it is read.
pub(crate) fn register(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("tidegate_micros", 1, flags, |context| {
        Ok(comparable(context, &ColumnType::Timestamp))
    })?;
    connection.create_scalar_function("tidegate_number", 1, flags, |context| {
        Ok(comparable(context, &ColumnType::Numeric))
    })
}

fn comparable(context: &Context<'_>, kind: &ColumnType) -> ToSqlOutput<'static> {
    let stored = match read(kind, Place::Plain, context.get_raw(0)) {
        Ok(Value::Timestamp(micros)) => Stored::Integer(micros),
        Ok(Value::Numeric(number)) => {
            let mut key = Vec::with_capacity(24);
            number.write_sort_key(&mut key);
            Stored::Blob(key)
        }
        Ok(_) | Err(_) => Stored::Null,
    };
    ToSqlOutput::Owned(stored)
}
