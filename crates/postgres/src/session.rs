//! Running statements on a connection.

use std::pin::pin;

use deadpool_postgres::Object;
use futures_util::TryStreamExt;
use tidegate_core::{QueryError, Row, Value};
use tidegate_sql::Statement;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, RowStream};

use crate::error::Failure;
use crate::table::Share;
use crate::value::{Parameter, holds_nul, read, read_row};

/// Bytes of all rows of one read. Larger replies could not be passed on, and many of them at once
/// would not fit in memory.
pub(crate) const ROWS_BYTES_MAX: usize = 64 << 20;

/// One row of text as it came; `None` is NULL.
pub(crate) type Texts = tokio_postgres::Row;

/// Runs a statement and gives its rows, all columns of which are text.
pub(crate) async fn run(
    client: &Client,
    text: &str,
    values: &[Value],
) -> Result<Vec<Texts>, Failure> {
    check(values)?;
    // The server finds the types itself: casts and target columns say them.
    let parameters = values.iter().map(|value| (Parameter(value), Type::UNKNOWN));
    collect(client.query_typed_raw(text, parameters).await?).await
}

/// The same, by a statement that the connection has ready or makes ready now.
pub(crate) async fn run_prepared(
    client: &Object,
    text: &str,
    values: &[Value],
) -> Result<Vec<Texts>, Failure> {
    check(values)?;
    let statement = client.prepare_cached(text).await?;
    let parameters = values.iter().map(Parameter);
    collect(client.query_raw(&statement, parameters).await?).await
}

fn check(values: &[Value]) -> Result<(), Failure> {
    if values.iter().any(holds_nul) {
        let text = "Postgres holds no NUL character in text".to_owned();
        return Err(QueryError::BadValue(text).into());
    }
    Ok(())
}

async fn collect(stream: RowStream) -> Result<Vec<Texts>, Failure> {
    let mut stream = pin!(stream);
    let mut rows = Vec::new();
    let mut bytes = 0;
    while let Some(row) = stream.try_next().await? {
        bytes += row.raw_size_bytes();
        if bytes > ROWS_BYTES_MAX {
            return Err(Failure::TooLarge(bytes));
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Runs a statement that changes rows and gives their number.
pub(crate) async fn execute(client: &Client, statement: &Statement) -> Result<u64, Failure> {
    let values = &statement.parameters;
    check(values)?;
    let parameters = values.iter().map(|value| (Parameter(value), Type::UNKNOWN));
    let mut stream = pin!(client.query_typed_raw(&statement.text, parameters).await?);
    while stream.try_next().await?.is_some() {}
    Ok(stream.rows_affected().unwrap_or(0))
}

/// The text of a column, or NULL.
pub(crate) fn text_of(row: &Texts, column: usize) -> Option<&str> {
    row.try_get::<_, Option<&str>>(column).ok().flatten()
}

/// Reads a row whose columns from `first` on are the table's, and sees that it is the tenant's.
pub(crate) fn row_of(table: &Share, row: &Texts, first: usize) -> Result<Row, Failure> {
    let own = &table.sql.columns;
    if let Some(at) = table.tenant_column() {
        let text = text_of(row, first + at);
        let value = text.and_then(|text| read(own[at], text).ok());
        if !table.scope().admits(&value.unwrap_or(Value::Null)) {
            return Err(Failure::Foreign);
        }
    }
    Ok(read_row(&table.schema, own, |at| text_of(row, first + at))?)
}
