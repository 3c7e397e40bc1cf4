//! The canonical filter: typed, flattened, sorted. What SQL and the engine both read.

use std::sync::Arc;

use crate::value::Value;

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// A literal, case-sensitive search in text: no wildcards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TextMatch {
    /// The text starts with the needle.
    StartsWith,
    /// The text ends with the needle.
    EndsWith,
    /// The needle is somewhere in the text.
    Contains,
    /// The needle is nowhere in the text.
    NotContains,
}

/// Whether a check asks for membership or for its opposite. NULL satisfies neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Polarity {
    /// In the list, in the range.
    Inside,
    /// Not in the list, not in the range.
    Outside,
}

/// Whether the end of a range belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Inclusion {
    /// It does.
    Included,
    /// It does not.
    Excluded,
}

/// What is asked of one column. Values are of the column's type and never NULL.
#[derive(Debug, Clone, PartialEq)]
pub enum Check {
    /// Is NULL.
    IsNull,
    /// Is not NULL.
    IsNotNull,
    /// Compares with a constant.
    Compare(Comparison, Value),
    /// Lies between two constants, or outside of them.
    Between {
        /// Lower end.
        low: (Value, Inclusion),
        /// Upper end.
        high: (Value, Inclusion),
        /// Inside or outside.
        polarity: Polarity,
    },
    /// Is one of the constants, or none of them. Sorted, without repeats. An empty list is false
    /// inside and true outside, for NULL too.
    InList(Vec<Value>, Polarity),
    /// Searches in text.
    Text(TextMatch, Arc<str>),
}

/// A check of one column, by its index in the table's schema.
#[derive(Debug, Clone, PartialEq)]
pub struct Test {
    /// Index of the column.
    pub column: usize,
    /// What is asked.
    pub check: Check,
}

/// A condition on a row, under SQL's three-valued logic: a row matches when the result is true, not
/// when it is unknown.
///
/// Canonical: groups hold two or more members, none of its own kind, sorted and without repeats.
/// `All` of nothing is the condition that is always true, and is never a member of a group.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// All members.
    All(Vec<Filter>),
    /// At least one member.
    Any(Vec<Filter>),
    /// One check.
    Test(Test),
}

impl Filter {
    /// The condition that every row satisfies.
    #[must_use]
    pub const fn everything() -> Self {
        Self::All(Vec::new())
    }

    /// Whether every row satisfies it.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        matches!(self, Self::All(members) if members.is_empty())
    }
}
