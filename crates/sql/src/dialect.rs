//! What differs between databases.

use tidegate_core::{ColumnType, Value};

use crate::postgres::{PostgresTable, PostgresType, is_printed_uuid};

/// A database's way of writing SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect<'a> {
    /// SQLite, on a connection with the functions of `tidegate-sqlite`.
    Sqlite,
    /// Postgres, for this table. Parameters are given as text and columns returned as text.
    Postgres(&'a PostgresTable),
}

/// How a value of a type is brought into a form that the database compares as the engine does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparand {
    /// As it is.
    Plain,
    /// By its bytes, whatever the column's collation is.
    Bytes,
    /// Through a function.
    Function(&'static str),
    /// As it is, with the constant cast to this type.
    Cast(&'static str),
    /// As text, by its bytes; the column's own comparison with the constant cast to this type finds
    /// at least the equal ones.
    Text(PostgresType),
}

impl Dialect<'_> {
    /// SQLite keeps timestamps and decimals in several forms within one column (text with and
    /// without a zone, seconds as integers; integers, floats and text), so both sides go through a
    /// function that gives one form. A day has one text form only, whose bytes are in the order of
    /// the days.
    ///
    /// Postgres compares as the engine does, but for text. A UUID is compared as one when the
    /// constant, if there is any, is one: the order of the bytes is that of the printed forms.
    pub(crate) fn comparand(
        self,
        column: usize,
        kind: &ColumnType,
        constant: Option<&Value>,
    ) -> Comparand {
        match self {
            Self::Sqlite => match kind {
                ColumnType::Text | ColumnType::Date => Comparand::Bytes,
                ColumnType::Timestamp => Comparand::Function("tidegate_micros"),
                ColumnType::Numeric => Comparand::Function("tidegate_number"),
                ColumnType::Boolean
                | ColumnType::SmallInt
                | ColumnType::Integer
                | ColumnType::BigInt
                | ColumnType::WideInteger
                | ColumnType::Real
                | ColumnType::Double
                | ColumnType::Bytea
                | ColumnType::Json
                | ColumnType::JsonText
                | ColumnType::Array(_)
                | ColumnType::Range(_)
                | ColumnType::Other(_) => Comparand::Plain,
            },
            Self::Postgres(table) => match (table.columns[column], constant) {
                (PostgresType::Uuid, Some(Value::Text(text))) if !is_printed_uuid(text) => {
                    Comparand::Text(PostgresType::Other)
                }
                (own @ (PostgresType::Text | PostgresType::Char), _) => Comparand::Text(own),
                // It has no name here; a constant takes the type of the column.
                (PostgresType::Array(_) | PostgresType::Other, _) => Comparand::Plain,
                (own, _) => Comparand::Cast(own.cast()),
            },
        }
    }

    /// The parameter that a constant of a comparison becomes.
    pub(crate) fn constant(self, value: &Value) -> Value {
        match (self, value) {
            // SQLite turns a NaN into NULL, and so holds none. Text is above every number there, as
            // NaN is for the engine, and equal to no number.
            (Self::Sqlite, Value::Float(number)) if number.is_nan() => Value::text("NaN"),
            _ => value.clone(),
        }
    }

    pub(crate) fn placeholder(self, number: usize) -> String {
        match self {
            Self::Sqlite => format!("?{number}"),
            Self::Postgres(_) => format!("${number}"),
        }
    }

    /// The condition that is always true, or never.
    pub(crate) fn truth(self, truth: bool) -> &'static str {
        match (self, truth) {
            (Self::Sqlite, true) => "1",
            (Self::Sqlite, false) => "0",
            (Self::Postgres(_), true) => "true",
            (Self::Postgres(_), false) => "false",
        }
    }
}
