//! Queries and commands as SQL text and parameters.
//!
//! What is written here must mean exactly what the engine evaluates in memory: text is compared by
//! its bytes, searches are literal, NULL stands where the order says, three-valued logic holds.
//! What differs between databases is in [`Dialect`]; everything else is written once.
//!
//! Names are always quoted and values always parameters, so no name or value can become SQL. What
//! is deliberately absent: connections, drivers, and the mapping of a client's table name to a
//! physical one; callers give the physical name.

#![warn(missing_docs)]

mod aggregate;
mod create;
mod declared;
mod dialect;
mod filter;
mod keyset;
mod postgres;
mod select;
mod special;
mod target;
mod write;
mod writer;

pub use aggregate::{Aggregate, aggregate};
pub use create::{POSTGRES_NAME_BYTES_MAX, create_table};
pub use dialect::Dialect;
pub use postgres::{PostgresRows, PostgresTable, PostgresType, is_printed_uuid};
pub use select::{Window, count, select, select_by_key, select_columns};
pub use target::{Scope, Target};
pub use write::{delete, insert, update};
pub use writer::quoted;

use tidegate_core::Value;

/// Values in one statement: SQLite takes 32,766, Postgres 65,535.
pub const PARAMETERS_MAX: usize = 30_000;

/// SQL text and the values of its parameters, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// The text.
    pub text: String,
    /// The values.
    pub parameters: Vec<Value>,
}

#[cfg(test)]
mod tests;
