//! The words every other part speaks: identities, positions, values, queries, changes and diffs.
//!
//! This crate is plain data and pure functions. What is deliberately absent: async code, I/O,
//! clocks, randomness, and every wire format. Formats live in `tidegate-protocol`; the page of a
//! query in `tidegate-view`; SQL text in `tidegate-sql`.

#![warn(missing_docs)]

mod array;
mod calendar;
mod canonical;
mod change;
mod command;
mod document;
mod fence;
mod filter;
mod ids;
mod key;
mod literal;
mod live;
mod numeric;
mod pattern;
mod position;
mod query;
mod range;
mod routing;
mod schema;
mod tenancy;
mod transaction_builder;
mod value;

pub use array::{Array, Dimension};
pub use calendar::{format_date, format_timestamp, parse_date, parse_timestamp};
pub use change::{Commit, Heartbeat, PageChange, RowChange, TableChange, TableReset, Transaction};
pub use command::{
    Aggregates, Aggregation, ColumnDefinition, Command, CommandError, KeySpec, Outcome, Reply,
    Selection, TableDefinition, TableInfo,
};
pub use document::{Document, Outline};
pub use fence::{Fence, TransactionSnapshot, Xid};
pub use filter::{
    ArrayCheck, Check, Comparison, Filter, FoldedCheck, Folding, Inclusion, JsonCheck, Polarity,
    RangeCheck, Test, TextMatch,
};
pub use ids::{IdError, TableName, TenantId, UserId};
pub use key::KeyPromise;
pub use literal::{Literal, TimeUnit};
pub use numeric::Numeric;
pub use pattern::{Case, Pattern};
pub use position::{Epoch, History, Life, Lsn, Offset, ParsePositionError, Position};
pub use query::{
    Direction, FilterSpec, Group, Keyset, KeysetBound, KeysetSpec, LimitRule, ModifierSpec, Nulls,
    NullsOrder, Operator, OrderKey, OrderSpec, Query, QueryError, QuerySpec, Sort,
};
pub use range::{End, Range, RangeType};
pub use routing::{Partition, QueryHash, RoutingKey};
pub use schema::{ArrayType, Column, ColumnType, TableSchema};
pub use tenancy::{Owner, Tenancy};
pub use transaction_builder::{
    OwnChange, TABLE_CHANGES_MAX, TENANT_TABLES_MAX, TRANSACTION_BYTES_MAX, TransactionBuilder,
};
pub use value::{Row, Value};
