//! What a table looks like.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::ids::TableName;
use crate::range::RangeType;
use crate::value::{Row, Value};

/// The type of a column, as far as the engine tells types apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// True or false.
    Boolean,
    /// 16-bit integer; a JSON number.
    SmallInt,
    /// 32-bit integer; a JSON number.
    Integer,
    /// 64-bit integer; a decimal string in JSON.
    BigInt,
    /// 64-bit integer that is a JSON number all the same: `INTEGER` of SQLite.
    WideInteger,
    /// 32-bit float.
    Real,
    /// 64-bit float.
    Double,
    /// Decimal of any precision; a decimal string in JSON.
    Numeric,
    /// Text, ordered by its bytes.
    Text,
    /// Point in time, without or with a zone; read and shown in UTC.
    Timestamp,
    /// Day.
    Date,
    /// Bytes, shown as `\x…`.
    Bytea,
    /// JSON document, shown as itself, and understood as `jsonb` is.
    Json,
    /// JSON document that is kept as its text: `json` of Postgres. Shown as itself; only the
    /// database says whether it can be understood.
    JsonText,
    /// Array of another type, shown as an array.
    Array(Arc<ArrayType>),
    /// What lies between two values; shown as text.
    Range(RangeType),
    /// A type that is shown as text and that only the database can compare, with the database's
    /// name for it.
    Other(Arc<str>),
}

/// The type of arrays of a type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ArrayType {
    name: Box<str>,
    element: ColumnType,
}

impl ArrayType {
    /// The type of the elements; never itself an array.
    #[must_use]
    pub fn element(&self) -> &ColumnType {
        &self.element
    }
}

impl ColumnType {
    /// The type of arrays of this type.
    #[must_use]
    pub fn array_of(element: Self) -> Self {
        let name = format!("{}[]", element.name()).into();
        Self::Array(Arc::new(ArrayType { name, element }))
    }

    /// The lower-case SQL name that clients see.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Boolean => "boolean",
            Self::SmallInt => "smallint",
            Self::Integer | Self::WideInteger => "integer",
            Self::BigInt => "bigint",
            Self::Real => "real",
            Self::Double => "double",
            Self::Numeric => "numeric",
            Self::Text => "text",
            Self::Timestamp => "timestamp",
            Self::Date => "date",
            Self::Bytea => "bytea",
            Self::Json | Self::JsonText => "json",
            Self::Array(array) => &array.name,
            Self::Range(range) => range.name(),
            Self::Other(name) => name,
        }
    }

    /// Lowest and highest value of an integer type; `None` for other types.
    #[must_use]
    pub fn integer_range(&self) -> Option<(i64, i64)> {
        match self {
            Self::SmallInt => Some((i64::from(i16::MIN), i64::from(i16::MAX))),
            Self::Integer => Some((i64::from(i32::MIN), i64::from(i32::MAX))),
            Self::BigInt | Self::WideInteger => Some((i64::MIN, i64::MAX)),
            _ => None,
        }
    }

    /// Whether the engine can compare values of the type, and so filter and order by them.
    #[must_use]
    pub fn is_comparable(&self) -> bool {
        match self {
            Self::Boolean
            | Self::SmallInt
            | Self::Integer
            | Self::BigInt
            | Self::WideInteger
            | Self::Real
            | Self::Double
            | Self::Numeric
            | Self::Text
            | Self::Timestamp
            | Self::Date
            | Self::Bytea => true,
            Self::Json | Self::JsonText | Self::Array(_) | Self::Range(_) | Self::Other(_) => false,
        }
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name; case matters.
    pub name: Arc<str>,
    /// Its type.
    pub kind: ColumnType,
    /// Whether it may be NULL.
    pub nullable: bool,
}

/// A table: its columns and primary key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSchema {
    table: TableName,
    columns: Vec<Column>,
    key: Vec<usize>,
    fingerprint: u64,
}

impl TableSchema {
    /// A table with these columns; `key` holds the indexes of the primary key's columns, in key
    /// order, and is empty when there is none.
    ///
    /// # Panics
    /// When `key` names a column that is not there: a programming error of an adapter.
    #[must_use]
    pub fn new(table: TableName, columns: Vec<Column>, key: Vec<usize>) -> Self {
        assert!(
            key.iter().all(|at| *at < columns.len()),
            "key columns exist"
        );
        let fingerprint = fingerprint(&columns, &key);
        Self {
            table,
            columns,
            key,
            fingerprint,
        }
    }

    /// The table's name, as clients name it.
    #[must_use]
    pub fn table(&self) -> &TableName {
        &self.table
    }

    /// The columns, in the order rows hold them.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Indexes of the primary key's columns, in key order.
    #[must_use]
    pub fn key(&self) -> &[usize] {
        &self.key
    }

    /// Equal for equal columns and key, different otherwise. A row can be read only with the schema
    /// of its fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The index of a column.
    #[must_use]
    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| &*column.name == name)
    }

    /// The primary key of a row, in key order.
    #[must_use]
    pub fn key_of(&self, row: &Row) -> Box<[Value]> {
        self.key.iter().map(|at| row[*at].clone()).collect()
    }
}

fn fingerprint(columns: &[Column], key: &[usize]) -> u64 {
    let mut hasher = Sha256::new();
    for column in columns {
        let text = format!("{}\0{:?}\0{}\0", column.name, column.kind, column.nullable);
        hasher.update(text);
    }
    hasher.update(format!("{key:?}"));
    let digest = hasher.finalize();
    u64::from_be_bytes(digest[..8].try_into().expect("a SHA-256 has 32 bytes"))
}
