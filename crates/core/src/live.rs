//! Which queries can be kept live: those that the engine is certain to answer as the database does.

use std::sync::Arc;

use crate::filter::{ArrayCheck, Check, Filter, Folding, Test};
use crate::query::{LimitRule, Query, QueryError, QuerySpec};
use crate::schema::{Column, ColumnType, TableSchema};

impl Query {
    /// Brings a query as written into canonical form, if it can be kept live.
    ///
    /// # Errors
    /// As [`Query::from_spec`], and `NotLive` with the column and the reason.
    pub fn live_from_spec(
        spec: &QuerySpec,
        schema: &Arc<TableSchema>,
        rule: LimitRule,
    ) -> Result<Self, QueryError> {
        let query = Self::from_spec(spec, schema, rule)?;
        check_live(query.filter(), schema)?;
        Ok(query)
    }
}

/// Whether the engine can decide a filter as the database does.
///
/// # Errors
/// `NotLive` for the first check that it cannot.
fn check_live(filter: &Filter, schema: &TableSchema) -> Result<(), QueryError> {
    match filter {
        Filter::All(members) | Filter::Any(members) => members
            .iter()
            .try_for_each(|member| check_live(member, schema)),
        Filter::Test(Test { column, check }) => {
            let column = &schema.columns()[*column];
            match reason(check, column) {
                None => Ok(()),
                Some(why) => {
                    let (name, kind) = (&column.name, &column.kind);
                    let text = format!(
                        "column {name} ({kind}): {why}, so the query can be read from it but not \
                         kept live"
                    );
                    Err(QueryError::NotLive(text))
                }
            }
        }
    }
}

fn reason(check: &Check, column: &Column) -> Option<&'static str> {
    match check {
        Check::IsNull | Check::IsNotNull => None,
        Check::Compare(..) | Check::Between { .. } | Check::InList(..) | Check::Text(..) => {
            let is_known = column.kind.is_comparable();
            (!is_known).then_some("only Postgres compares values of this type")
        }
        Check::Folded(Folding::Ascii, _) => None,
        Check::Folded(Folding::Database, _) => {
            Some("only Postgres knows case beyond the letters A to Z")
        }
        Check::Pattern(pattern, _) => (!pattern.is_exact())
            .then_some("only Postgres understands this regular expression exactly"),
        Check::Array(check) => array_reason(check, &column.kind),
        Check::Json(_) => (column.kind != ColumnType::Json)
            .then_some("json is text that only Postgres can tell to be jsonb or not"),
        Check::Range(..) => None,
    }
}

fn array_reason(check: &ArrayCheck, kind: &ColumnType) -> Option<&'static str> {
    let compares = match check {
        ArrayCheck::Empty(_) | ArrayCheck::Length(_) => false,
        ArrayCheck::Contains(_)
        | ArrayCheck::ContainedBy(_)
        | ArrayCheck::Overlaps(_)
        | ArrayCheck::Equals(..) => true,
    };
    let is_known = matches!(kind, ColumnType::Array(array) if array.element().is_comparable());
    (compares && !is_known).then_some("only Postgres compares elements of this type")
}
