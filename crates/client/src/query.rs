//! Queries made by hand, in Rust: a small builder over the words of the core.

use serde_json::value::RawValue;
use tidegate_core::{
    FilterSpec, Group, KeysetSpec, Literal, ModifierSpec, Operator, OrderSpec, QuerySpec, Sort,
};

use crate::subscription::Subscribe;

/// A table and a query on it, put together step by step. Filters are AND-ed.
///
/// ```
/// use tidegate_client::QueryBuilder;
/// use tidegate_core::{Literal, Operator, Sort};
///
/// let query = QueryBuilder::table("tickets")
///     .filter("status", Operator::Equals, Literal::Text("open".into()))
///     .order("created_at", Sort::DescDefault)
///     .limit(20);
/// assert!(query.to_json().contains("\"limit\":20"));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct QueryBuilder {
    table: String,
    spec: QuerySpec,
    tests: Vec<FilterSpec>,
}

impl QueryBuilder {
    /// All rows of a table, by primary key.
    #[must_use]
    pub fn table(table: &str) -> Self {
        Self {
            table: table.to_owned(),
            spec: QuerySpec::default(),
            tests: Vec::new(),
        }
    }

    /// Tests a column.
    #[must_use]
    pub fn filter(self, column: &str, operator: Operator, value: Literal) -> Self {
        self.filter_spec(test(column, operator, Some(value)))
    }

    /// Tests a column with an operator that takes no value, such as `isNull`.
    #[must_use]
    pub fn filter_unary(self, column: &str, operator: Operator) -> Self {
        self.filter_spec(test(column, operator, None))
    }

    /// Adds a filter of any shape.
    #[must_use]
    pub fn filter_spec(mut self, filter: FilterSpec) -> Self {
        self.tests.push(filter);
        self
    }

    /// Adds an order key. Without any, the order is the primary key's.
    #[must_use]
    pub fn order(mut self, column: &str, sort: Sort) -> Self {
        let column = column.to_owned();
        self.spec.order.push(OrderSpec {
            column,
            sort,
            is_pk: false,
        });
        self
    }

    /// Starts after these values of the first order keys.
    #[must_use]
    pub fn after(mut self, keyset: Vec<KeysetSpec>) -> Self {
        self.spec.keyset = keyset;
        self
    }

    /// How many rows.
    #[must_use]
    pub fn limit(mut self, row_count: u64) -> Self {
        self.spec.limit = Some(row_count);
        self
    }

    /// The query, without the table.
    #[must_use]
    pub fn to_spec(&self) -> QuerySpec {
        let filter = match self.tests.as_slice() {
            [] => None,
            tests => Some(FilterSpec::Group(Group::And, tests.to_vec())),
        };
        QuerySpec {
            filter,
            ..self.spec.clone()
        }
    }

    /// The query as JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        tidegate_protocol::write_query(&self.to_spec())
    }
}

impl From<QueryBuilder> for Subscribe {
    fn from(query: QueryBuilder) -> Self {
        Self::new(&query.table, &query.to_spec())
    }
}

/// A test of one column.
pub(crate) fn test(column: &str, operator: Operator, value: Option<Literal>) -> FilterSpec {
    FilterSpec::Test {
        column: column.to_owned(),
        operator,
        value,
        modifier: ModifierSpec::default(),
    }
}

/// The JSON of a query.
pub(crate) fn to_json(spec: &QuerySpec) -> Box<RawValue> {
    let text = tidegate_protocol::write_query(spec);
    RawValue::from_string(text).expect("a written query is JSON")
}
