//! What Postgres needs to know of a table beside its schema: where it is, and which of its own
//! types each column has. Two types of one [`ColumnType`](tidegate_core::ColumnType) are cast and
//! compared in different words.

use tidegate_core::RangeType;

/// A type of Postgres, as far as SQL text depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostgresType {
    /// `boolean`
    Boolean,
    /// `smallint`
    SmallInt,
    /// `integer`
    Integer,
    /// `bigint`
    BigInt,
    /// `real`
    Real,
    /// `double precision`
    Double,
    /// `numeric`
    Numeric,
    /// `text` and `varchar`
    Text,
    /// `char(n)`: the blanks it is filled up with are no part of the value.
    Char,
    /// `uuid`: text to the engine, in the one form that Postgres prints.
    Uuid,
    /// `timestamp`
    Timestamp,
    /// `timestamptz`
    Timestamptz,
    /// `date`
    Date,
    /// `bytea`
    Bytea,
    /// `json`
    Json,
    /// `jsonb`
    Jsonb,
    /// An array of a type that is itself none.
    Array(&'static PostgresType),
    /// A range type that Postgres brings along.
    Range(RangeType),
    /// Any other, shown by its output function.
    Other,
}

impl PostgresType {
    /// The type of arrays of this type.
    #[must_use]
    pub const fn array(self) -> Self {
        Self::Array(match self {
            Self::Boolean => &Self::Boolean,
            Self::SmallInt => &Self::SmallInt,
            Self::Integer => &Self::Integer,
            Self::BigInt => &Self::BigInt,
            Self::Real => &Self::Real,
            Self::Double => &Self::Double,
            Self::Numeric => &Self::Numeric,
            Self::Text => &Self::Text,
            Self::Char => &Self::Char,
            Self::Uuid => &Self::Uuid,
            Self::Timestamp => &Self::Timestamp,
            Self::Timestamptz => &Self::Timestamptz,
            Self::Date => &Self::Date,
            Self::Bytea => &Self::Bytea,
            Self::Json => &Self::Json,
            Self::Jsonb => &Self::Jsonb,
            Self::Array(_) | Self::Range(_) | Self::Other => &Self::Other,
        })
    }

    /// The name to cast a constant to.
    pub(crate) const fn cast(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::SmallInt => "smallint",
            Self::Integer => "integer",
            Self::BigInt => "bigint",
            Self::Real => "real",
            Self::Double => "double precision",
            Self::Numeric => "numeric",
            Self::Text | Self::Array(_) | Self::Other => "text",
            Self::Range(range) => range.name(),
            Self::Char => "bpchar",
            Self::Uuid => "uuid",
            Self::Timestamp => "timestamp",
            Self::Timestamptz => "timestamptz",
            Self::Date => "date",
            Self::Bytea => "bytea",
            Self::Json => "json",
            Self::Jsonb => "jsonb",
        }
    }
}

/// Whether a table's rows may be in other tables too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostgresRows {
    /// Its own rows only (`ONLY`): those whose changes are told under its name.
    Own,
    /// Those of its partitions, or of the view that it is.
    All,
}

/// A table of Postgres.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresTable {
    /// The schema it is in.
    pub schema: String,
    /// Which rows are meant.
    pub rows: PostgresRows,
    /// The type of each column, in the order of the table's schema.
    pub columns: Vec<PostgresType>,
}

/// Whether text is a UUID just as Postgres prints it. Any other text equals none, whatever Postgres
/// would take it for, since the engine compares what is printed.
#[must_use]
pub fn is_printed_uuid(text: &str) -> bool {
    let is_right = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    text.len() == 36 && text.bytes().enumerate().all(is_right)
}
