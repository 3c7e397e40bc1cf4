//! What clients ask of the database besides live pages: the SQL procedures.

use std::sync::Arc;

use crate::ids::TableName;
use crate::literal::Literal;
use crate::numeric::Numeric;
use crate::position::Lsn;
use crate::query::{FilterSpec, QueryError, QuerySpec};
use crate::schema::{Column, TableSchema};
use crate::value::{Row, Value};

/// Which row a command is about, as written.
#[derive(Debug, Clone, PartialEq)]
pub struct KeySpec {
    /// The key column, when the client named one.
    pub column: Option<String>,
    /// Its value as text. For a composite key: the JSON array text that diffs carry as `pk`.
    pub text: String,
    /// The members of that array, when the text is one.
    pub parts: Option<Vec<Literal>>,
}

/// Rows to read once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Selection {
    /// Filter, order, keyset and limit.
    pub query: QuerySpec,
    /// Rows to skip.
    pub offset: u64,
}

/// Aggregates to compute.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Aggregation {
    /// Columns to add up.
    pub sum: Vec<String>,
    /// Columns to average.
    pub average: Vec<String>,
    /// Columns to find the lowest value of.
    pub minimum: Vec<String>,
    /// Columns to find the highest value of.
    pub maximum: Vec<String>,
    /// Which rows.
    pub filter: Option<FilterSpec>,
}

/// A column of a table to be created, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDefinition {
    /// Its name.
    pub name: String,
    /// Its type, by the wire's name without a trailing underscore (`bigInt`, `timestamptz`,
    /// `char`).
    pub data_type: String,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// Constraints, by the wire's names (`primaryKey`, `unique`, `notNull`).
    pub constraints: Vec<String>,
    /// Key-value options, such as `length`, `precision`, `default`.
    pub options: Vec<(String, String)>,
}

/// A table to be created, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableDefinition {
    /// Its columns.
    pub columns: Vec<ColumnDefinition>,
    /// A comment.
    pub comment: Option<String>,
    /// Key-value options.
    pub options: Vec<(String, String)>,
}

/// A procedure on one tenant's data.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Reads rows.
    GetData(TableName, Selection),
    /// Reads one row by key.
    GetSingle(TableName, KeySpec),
    /// Adds a row: its columns and values as written.
    AddSingle(TableName, Vec<(String, Literal)>),
    /// Changes a row by key.
    UpdateSingle(TableName, KeySpec, Vec<(String, Literal)>),
    /// Deletes a row by key.
    DeleteRow(TableName, KeySpec),
    /// Creates a table.
    CreateTable(TableName, TableDefinition),
    /// Asks whether a table exists.
    TableExists(TableName),
    /// Computes aggregates.
    RunAggregation(TableName, Aggregation),
    /// Lists the tenant's tables.
    ListTables,
}

/// Aggregates, each column with its value as exact decimal text; `None` where there was nothing but
/// NULL.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Aggregates {
    /// Rows that matched.
    pub count: u64,
    /// Sums.
    pub sum: Vec<(String, Option<Numeric>)>,
    /// Averages.
    pub average: Vec<(String, Option<Numeric>)>,
    /// Lowest values.
    pub minimum: Vec<(String, Value)>,
    /// Highest values.
    pub maximum: Vec<(String, Value)>,
}

/// A table as a list shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct TableInfo {
    /// Its name.
    pub name: TableName,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Names of its primary key's columns.
    pub key: Vec<String>,
    /// Why it cannot be subscribed to, in a sentence; `None` when it can.
    pub refusal: Option<String>,
}

/// What a command gave.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Rows of GET_DATA.
    Page {
        /// How to read them.
        schema: Arc<TableSchema>,
        /// The rows, in order.
        rows: Vec<Row>,
        /// Columns of the order keys, by index.
        order: Vec<usize>,
        /// What the rows contain at least: every commit up to here that was visible.
        lsn: Lsn,
    },
    /// The affected rows of ADD_SINGLE and UPDATE_SINGLE.
    Rows {
        /// How to read them.
        schema: Arc<TableSchema>,
        /// The rows.
        rows: Vec<Row>,
    },
    /// The row of GET_SINGLE, if there is one.
    Row {
        /// How to read it.
        schema: Arc<TableSchema>,
        /// The row.
        row: Option<Row>,
    },
    /// A yes or no.
    Bool(bool),
    /// Aggregates.
    Aggregates(Aggregates),
    /// Tables.
    Tables(Vec<TableInfo>),
    /// What a worker gave: JSON text as clients get it, passed on as it is.
    Json(String),
}

/// A command's outcome and, when it wrote, the commit it wrote in.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// What it gave.
    pub outcome: Outcome,
    /// Position of the commit, for reading one's own write.
    pub lsn: Option<Lsn>,
}

/// Why a command failed. The text is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The tenant has no such table.
    #[error("{0}")]
    UnknownTable(String),
    /// The table cannot be used like this, for example a view that is written to.
    #[error("{0}")]
    UnsupportedTable(String),
    /// The table no longer looks as it did when the query was made: describe it again.
    #[error("{0}")]
    TableChanged(String),
    /// The query in it was refused.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A row, key or definition in it makes no sense.
    #[error("{0}")]
    BadCommand(String),
    /// A constraint of the database says no.
    #[error("{0}")]
    Constraint(String),
    /// The database holds a value that its column's type does not allow.
    #[error("{0}")]
    UnreadableValue(String),
    /// It took too long and was stopped.
    #[error("{0}")]
    Timeout(String),
    /// A worker refused or failed.
    #[error("{message}")]
    Worker {
        /// The stable code of its answer.
        code: String,
        /// Its sentence.
        message: String,
    },
}
