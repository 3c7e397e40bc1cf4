//! Queries: as clients write them ([`QuerySpec`]) and as the engine keeps them ([`Query`]).

use std::sync::Arc;

use crate::filter::{Filter, Inclusion};
use crate::literal::Literal;
use crate::routing::QueryHash;
use crate::schema::TableSchema;
use crate::value::Value;

macro_rules! operators {
    ($($variant:ident = $wire:literal, $name:literal;)*) => {
        /// A filter operator of the wire.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "the wire's own names; PROTOCOL says what each means")]
        pub enum Operator { $($variant),* }

        impl Operator {
            /// Every operator, in the order of the wire.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name in queries.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// The number in FlatBuffers.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self { $(Self::$variant => $wire),* }
            }
        }
    };
}

operators! {
    Equals = 0, "equals";
    NotEquals = 1, "notEquals";
    LessThan = 2, "lessThan";
    LessThanOrEquals = 3, "lessThanOrEquals";
    GreaterThan = 4, "greaterThan";
    GreaterThanOrEquals = 5, "greaterThanOrEquals";
    IsNull = 6, "isNull";
    IsNotNull = 7, "isNotNull";
    Regex = 8, "regex";
    NotRegex = 9, "notRegex";
    StartsWith = 10, "startsWith";
    EndsWith = 11, "endsWith";
    Contains = 12, "contains";
    NotContains = 13, "notContains";
    ArrayContains = 14, "arrayContains";
    ArrayContainedBy = 15, "arrayContainedBy";
    ArrayOverlaps = 16, "arrayOverlaps";
    ArrayEquals = 17, "arrayEquals";
    ArrayNotEquals = 18, "arrayNotEquals";
    ArrayEmpty = 19, "arrayEmpty";
    ArrayNotEmpty = 20, "arrayNotEmpty";
    ArrayLength = 21, "arrayLength";
    JsonContains = 22, "jsonContains";
    JsonContainedBy = 23, "jsonContainedBy";
    JsonHasKey = 24, "jsonHasKey";
    JsonHasAnyKey = 25, "jsonHasAnyKey";
    JsonHasAllKeys = 26, "jsonHasAllKeys";
    JsonGetField = 27, "jsonGetField";
    JsonGetFieldAsText = 28, "jsonGetFieldAsText";
    Between = 29, "between";
    NotBetween = 30, "notBetween";
    RangeContains = 31, "rangeContains";
    RangeContainedBy = 32, "rangeContainedBy";
    InList = 33, "inList";
    NotInList = 34, "notInList";
}

impl Operator {
    /// The operator of a name; `in` and `notIn` mean `inList` and `notInList`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "in" => Some(Self::InList),
            "notIn" => Some(Self::NotInList),
            _ => Self::ALL
                .iter()
                .copied()
                .find(|operator| operator.name() == name),
        }
    }

    /// The operator of a FlatBuffers number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// How the members of a filter group combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// At least one must hold.
    Or,
    /// All must hold.
    And,
}

/// Null placement in a filter's modifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NullsOrder {
    /// First.
    First,
    /// Last.
    Last,
    /// As the database does.
    #[default]
    Default,
}

/// The modifier of a filter, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModifierSpec {
    /// Compare NULL as a value: `IS DISTINCT FROM`.
    pub distinct: bool,
    /// Ignore case.
    pub case_insensitive: bool,
    /// Null placement.
    pub nulls_order: NullsOrder,
}

/// A filter, as written.
#[derive(Debug, Clone, PartialEq)]
pub enum FilterSpec {
    /// A group of filters.
    Group(Group, Vec<FilterSpec>),
    /// A test of one column.
    Test {
        /// The column.
        column: String,
        /// The operator.
        operator: Operator,
        /// What to compare with.
        value: Option<Literal>,
        /// The modifier.
        modifier: ModifierSpec,
    },
}

/// The sort of an order key, as written. `Default` places NULL as Postgres does: last when
/// ascending, first when descending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the wire's own names")]
pub enum Sort {
    AscDefault,
    AscNullsFirst,
    AscNullsLast,
    #[default]
    DescDefault,
    DescNullsFirst,
    DescNullsLast,
}

impl Sort {
    /// Every sort, in the order of the wire.
    pub const ALL: &[Self] = &[
        Self::AscDefault,
        Self::AscNullsFirst,
        Self::AscNullsLast,
        Self::DescDefault,
        Self::DescNullsFirst,
        Self::DescNullsLast,
    ];

    /// The name in queries.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AscDefault => "ASC_DEFAULT",
            Self::AscNullsFirst => "ASC_NULLS_FIRST",
            Self::AscNullsLast => "ASC_NULLS_LAST",
            Self::DescDefault => "DESC_DEFAULT",
            Self::DescNullsFirst => "DESC_NULLS_FIRST",
            Self::DescNullsLast => "DESC_NULLS_LAST",
        }
    }

    /// Direction and null placement.
    #[must_use]
    pub const fn resolve(self) -> (Direction, Nulls) {
        match self {
            Self::AscDefault | Self::AscNullsLast => (Direction::Ascending, Nulls::Last),
            Self::AscNullsFirst => (Direction::Ascending, Nulls::First),
            Self::DescDefault | Self::DescNullsFirst => (Direction::Descending, Nulls::First),
            Self::DescNullsLast => (Direction::Descending, Nulls::Last),
        }
    }
}

/// An order key, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderSpec {
    /// The column.
    pub column: String,
    /// Its sort.
    pub sort: Sort,
    /// Whether the client says that it is of the primary key. Nobody here believes it; processors
    /// and workers of others are told.
    pub is_pk: bool,
}

/// One entry of a keyset cursor, as written.
#[derive(Debug, Clone, PartialEq)]
pub struct KeysetSpec {
    /// The column.
    pub column: String,
    /// Its value in the last row seen.
    pub value: Literal,
}

/// A query, as a client writes it: names and untyped values.
#[derive(Debug, Clone, PartialEq)]
pub struct QuerySpec {
    /// The filter; `None` is everything.
    pub filter: Option<FilterSpec>,
    /// The order.
    pub order: Vec<OrderSpec>,
    /// Where to start.
    pub keyset: Vec<KeysetSpec>,
    /// Whether the row at the keyset is left out.
    pub strict_after: bool,
    /// How many rows; `None` is the default.
    pub limit: Option<u64>,
}

impl Default for QuerySpec {
    fn default() -> Self {
        Self {
            filter: None,
            order: Vec::new(),
            keyset: Vec::new(),
            strict_after: true,
            limit: None,
        }
    }
}

/// Why a query was refused. Each kind has its own code on the wire.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// No such column.
    #[error("table {table} has no column {column:?}")]
    UnknownColumn {
        /// The table.
        table: String,
        /// The name that is not there.
        column: String,
    },
    /// The operator, or a modifier of it, is not supported, or not for this type.
    #[error("{0}")]
    UnsupportedOperator(String),
    /// The query can be read once, but not be kept live.
    #[error("{0}")]
    NotLive(String),
    /// A value is missing, of the wrong kind, or does not fit the column.
    #[error("{0}")]
    BadValue(String),
    /// The filter's shape is wrong: an empty `or`, too deep, too large.
    #[error("{0}")]
    BadFilter(String),
    /// The order cannot be had.
    #[error("{0}")]
    BadOrder(String),
    /// The keyset cursor does not fit the order.
    #[error("{0}")]
    BadCursor(String),
    /// The limit is out of range.
    #[error("{0}")]
    BadLimit(String),
    /// The table cannot be watched: it has no primary key.
    #[error("{0}")]
    NoKey(String),
}

/// Ascending or descending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Lowest first.
    Ascending,
    /// Highest first.
    Descending,
}

/// Where NULL stands among the other values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Nulls {
    /// Before them.
    First,
    /// After them.
    Last,
}

/// A key of a query's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderKey {
    /// Index of the column.
    pub column: usize,
    /// Its direction.
    pub direction: Direction,
    /// Where NULL goes.
    pub nulls: Nulls,
}

/// Where a page starts: values for a prefix of the order keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Keyset {
    /// One value for each of the first order keys; may be NULL.
    pub values: Vec<Value>,
    /// Whether rows equal to the values belong to the page.
    pub bound: KeysetBound,
}

/// Whether a page starts at its keyset or after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeysetBound {
    /// Rows at the keyset belong.
    At,
    /// Only rows after it do.
    After,
}

impl From<KeysetBound> for Inclusion {
    fn from(bound: KeysetBound) -> Self {
        match bound {
            KeysetBound::At => Self::Included,
            KeysetBound::After => Self::Excluded,
        }
    }
}

/// The limits that apply to a query's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitRule {
    /// Taken when the query names none.
    pub default: u32,
    /// Highest that is allowed.
    pub max: u32,
}

impl LimitRule {
    /// For subscriptions: 50, at most 1,000.
    pub const SUBSCRIPTION: Self = Self {
        default: 50,
        max: 1_000,
    };
    /// For GET_DATA: 500, at most 10,000.
    pub const READ: Self = Self {
        default: 500,
        max: 10_000,
    };
}

/// A query in canonical form: typed, complete and in range. Two clients that mean the same page
/// have equal hashes.
///
/// The order ends in the primary key, so it is total. Made by [`Query::from_spec`] only.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    pub(crate) schema: Arc<TableSchema>,
    pub(crate) filter: Filter,
    pub(crate) order: Vec<OrderKey>,
    pub(crate) keyset: Option<Keyset>,
    pub(crate) limit: u32,
    pub(crate) hash: QueryHash,
}

impl Query {
    /// The table.
    #[must_use]
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// The filter.
    #[must_use]
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The order keys; the last ones complete the primary key.
    #[must_use]
    pub fn order(&self) -> &[OrderKey] {
        &self.order
    }

    /// Where the page starts.
    #[must_use]
    pub fn keyset(&self) -> Option<&Keyset> {
        self.keyset.as_ref()
    }

    /// How many rows the page has at most; one or more.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// The hash of the canonical form. Of the query alone: tenant and table are beside it in the
    /// routing key.
    #[must_use]
    pub fn hash(&self) -> QueryHash {
        self.hash
    }
}
