//! What differs between databases.

use tidegate_core::{ColumnType, Value};

/// A database's way of writing SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite, on a connection with the functions of `tidegate-sqlite`.
    Sqlite,
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
}

impl Dialect {
    /// SQLite keeps timestamps and decimals in several forms within one column (text with and
    /// without a zone, seconds as integers; integers, floats and text), so both sides go through a
    /// function that gives one form. A day has one text form only, whose bytes are in the order of
    /// the days.
    pub(crate) fn comparand(self, kind: &ColumnType) -> Comparand {
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
                | ColumnType::Other(_) => Comparand::Plain,
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
        }
    }

    /// The condition that is always true, or never.
    pub(crate) fn truth(self, truth: bool) -> &'static str {
        match self {
            Self::Sqlite if truth => "1",
            Self::Sqlite => "0",
        }
    }

    pub(crate) fn collate_bytes(self) -> &'static str {
        match self {
            Self::Sqlite => " COLLATE BINARY",
        }
    }
}
