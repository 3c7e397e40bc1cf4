//! The words every other part speaks: identities, positions, values, queries, changes and diffs.
//!
//! This crate is plain data and pure functions. What is deliberately absent: async code, I/O,
//! clocks, randomness, and every wire format. Formats live in `tidegate-protocol`; the page of a
//! query in `tidegate-view`; SQL text in `tidegate-sql`.

#![warn(missing_docs)]

mod calendar;
mod canonical;
mod change;
mod command;
mod fence;
mod filter;
mod ids;
mod key;
mod literal;
mod numeric;
mod position;
mod query;
mod routing;
mod schema;
mod tenancy;
mod value;

pub use calendar::{format_date, format_timestamp, parse_date, parse_timestamp};
pub use change::{Commit, Heartbeat, PageChange, RowChange, TableChange, TableReset, Transaction};
pub use command::{
    Aggregates, Aggregation, ColumnDefinition, Command, CommandError, KeySpec, Outcome, Reply,
    Selection, TableDefinition, TableInfo,
};
pub use fence::{Fence, TransactionSnapshot, Xid};
pub use filter::{Check, Comparison, Filter, Inclusion, Polarity, Test, TextMatch};
pub use ids::{IdError, TableName, TenantId, UserId};
pub use key::KeyPromise;
pub use literal::{Literal, TimeUnit};
pub use numeric::Numeric;
pub use position::{Epoch, Life, Lsn, Offset, ParsePositionError, Position};
pub use query::{
    Direction, FilterSpec, Group, Keyset, KeysetBound, KeysetSpec, LimitRule, ModifierSpec, Nulls,
    NullsOrder, Operator, OrderKey, OrderSpec, Query, QueryError, QuerySpec, Sort,
};
pub use routing::{Partition, QueryHash, RoutingKey};
pub use schema::{Column, ColumnType, TableSchema};
pub use tenancy::{Owner, Tenancy};
pub use value::{Row, Value};
