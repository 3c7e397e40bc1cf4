//! The canonical filter: typed, flattened, sorted. What SQL and the engine both read.

use std::sync::Arc;

use crate::array::Array;
use crate::document::Document;
use crate::pattern::Pattern;
use crate::range::{Range, RangeType};
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

/// Who decides which letters are the same but for their case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Folding {
    /// We do: A to Z and a to z. The constant has no other letters, and is in lower case.
    Ascii,
    /// The database, by its own rules: the constant has letters beyond ASCII.
    Database,
}

/// A search in text that ignores case.
#[derive(Debug, Clone, PartialEq)]
pub enum FoldedCheck {
    /// Is one of the constants, or none of them. Sorted, without repeats, never empty.
    InList(Vec<Arc<str>>, Polarity),
    /// Searches in text.
    Text(TextMatch, Arc<str>),
}

/// What is asked of an array.
#[derive(Debug, Clone, PartialEq)]
pub enum ArrayCheck {
    /// Has all of the constant's elements. NULL is in no array.
    Contains(Arc<Array>),
    /// Has none but the constant's elements.
    ContainedBy(Arc<Array>),
    /// Has one of the constant's elements at least.
    Overlaps(Arc<Array>),
    /// Has the same elements in the same places, or not. Here NULL equals NULL.
    Equals(Arc<Array>, Polarity),
    /// Has no elements, or has some.
    Empty(Polarity),
    /// Has so many elements in its first dimension. An empty array has none, and so no length.
    Length(i64),
}

/// What is asked of a JSON document, by the rules of `jsonb`.
#[derive(Debug, Clone, PartialEq)]
pub enum JsonCheck {
    /// Contains the constant.
    Contains(Arc<Document>),
    /// Is contained by the constant.
    ContainedBy(Arc<Document>),
    /// Has the name as that of a member, or as a string of its array.
    HasKey(Arc<str>),
    /// Has one of the names. Sorted, without repeats.
    HasAnyKey(Vec<Arc<str>>),
    /// Has all the names. Sorted, without repeats.
    HasAllKeys(Vec<Arc<str>>),
    /// Is an object with a member of this name, be it null.
    HasField(Arc<str>),
    /// Is an object with a member of this name that is not null.
    HasFieldText(Arc<str>),
    /// The member of this name equals the constant.
    FieldEquals(Arc<str>, Arc<Document>),
    /// The member of this name, as text, equals the constant.
    FieldTextEquals(Arc<str>, Arc<str>),
}

/// What is asked of a range.
#[derive(Debug, Clone, PartialEq)]
pub enum RangeCheck {
    /// The constant value lies in it.
    Holds(Value),
    /// All of the constant range lies in it.
    Covers(Range),
    /// All of it lies in the constant range.
    CoveredBy(Range),
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
    /// Searches in text without regard to case.
    Folded(Folding, FoldedCheck),
    /// Matches a regular expression somewhere, or nowhere.
    Pattern(Pattern, Polarity),
    /// Asks something of an array.
    Array(ArrayCheck),
    /// Asks something of a JSON document.
    Json(JsonCheck),
    /// Asks something of a range of this type.
    Range(RangeType, RangeCheck),
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
