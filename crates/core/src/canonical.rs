//! From a query as written to its canonical form.
//!
//! Here names become column indexes, literals become values of the column's type, groups are
//! flattened, sorted and freed of repeats, and the order is completed by the primary key. After
//! this nothing is validated again. Contract and error texts: PROTOCOL, "The query".

mod bytes;
mod special;

use std::cmp::Ordering;
use std::sync::Arc;

use self::bytes::{canonical_bytes, filter_bytes};
use self::special::{folded_check, needle, null_as_value, special_check};
use crate::filter::{Check, Comparison, Filter, Inclusion, Polarity, Test, TextMatch};
use crate::literal::Literal;
use crate::query::{
    Direction, FilterSpec, Group, Keyset, KeysetBound, KeysetSpec, LimitRule, ModifierSpec, Nulls,
    NullsOrder, Operator, OrderKey, OrderSpec, Query, QueryError, QuerySpec,
};
use crate::routing::QueryHash;
use crate::schema::{ColumnType, TableSchema};
use crate::value::Value;

/// Groups inside groups. Deeper ones are refused, so that no walk of a filter can exhaust a stack.
const DEPTH_MAX: usize = 32;

/// Tests and groups in one filter: more than a person writes, little enough to evaluate per change.
const NODES_MAX: usize = 1_000;

/// Members of one list.
const LIST_MAX: usize = 10_000;

impl Query {
    /// Brings a query as written into canonical form.
    ///
    /// What only a database can answer is accepted too: see [`Query::live_from_spec`].
    ///
    /// # Errors
    /// One sentence on the first thing that is wrong: see [`QueryError`].
    pub fn from_spec(
        spec: &QuerySpec,
        schema: &Arc<TableSchema>,
        rule: LimitRule,
    ) -> Result<Self, QueryError> {
        let mut nodes = 0;
        let filter = match &spec.filter {
            Some(filter) => canonical_filter(filter, schema, 0, &mut nodes)?,
            None => Filter::everything(),
        };
        let order = canonical_order(&spec.order, schema)?;
        let keyset = canonical_keyset(spec, &order, schema)?;
        let limit = canonical_limit(spec.limit, rule)?;
        let hash = QueryHash::of(&canonical_bytes(
            schema,
            &filter,
            &order,
            keyset.as_ref(),
            limit,
        ));
        Ok(Self {
            schema: Arc::clone(schema),
            filter,
            order,
            keyset,
            limit,
            hash,
        })
    }
}

fn canonical_limit(limit: Option<u64>, rule: LimitRule) -> Result<u32, QueryError> {
    let limit = limit.unwrap_or(u64::from(rule.default));
    match u32::try_from(limit) {
        Ok(limit) if limit > 0 && limit <= rule.max => Ok(limit),
        _ => Err(QueryError::BadLimit(format!(
            "limit is 1 to {}, not {limit}",
            rule.max
        ))),
    }
}

fn canonical_filter(
    spec: &FilterSpec,
    schema: &TableSchema,
    depth: usize,
    nodes: &mut usize,
) -> Result<Filter, QueryError> {
    *nodes += 1;
    if depth > DEPTH_MAX || *nodes > NODES_MAX {
        let limits = format!("{DEPTH_MAX} groups deep and {NODES_MAX} tests long");
        return Err(QueryError::BadFilter(format!(
            "a filter is at most {limits}"
        )));
    }
    match spec {
        FilterSpec::Group(group, members) => {
            if members.is_empty() && *group == Group::Or {
                let text = "an `or` group needs at least one member";
                return Err(QueryError::BadFilter(text.to_owned()));
            }
            let members = members
                .iter()
                .map(|member| canonical_filter(member, schema, depth + 1, nodes))
                .collect::<Result<Vec<_>, _>>()?;
            Ok(combine(*group, members, schema))
        }
        FilterSpec::Test {
            column,
            operator,
            value,
            modifier,
        } => {
            let at = schema.named_column(column)?;
            let target = Target {
                name: column,
                kind: &schema.columns()[at].kind,
            };
            let checks = modified_check(&target, *operator, value.as_ref(), *modifier)?;
            let tests = checks.into_iter();
            let tests = tests.map(|check| Filter::Test(Test { column: at, check }));
            Ok(combine(Group::Or, tests.collect(), schema))
        }
    }
}

/// Flattens, drops what changes nothing, sorts by the canonical bytes, and unwraps a single member.
fn combine(group: Group, members: Vec<Filter>, schema: &TableSchema) -> Filter {
    let mut flat = Vec::with_capacity(members.len());
    for member in members {
        match (group, member) {
            (Group::Or, everything) if everything.is_everything() => return everything,
            (Group::And, Filter::All(inner)) | (Group::Or, Filter::Any(inner)) => {
                flat.extend(inner)
            }
            (_, other) => flat.push(other),
        }
    }
    flat.sort_by_cached_key(|member| filter_bytes(member, schema));
    flat.dedup();
    match (group, flat.len()) {
        (_, 1) => flat.remove(0),
        (Group::And, _) => Filter::All(flat),
        (Group::Or, _) => Filter::Any(flat),
    }
}

/// The checks of which one must hold.
fn modified_check(
    target: &Target<'_>,
    operator: Operator,
    literal: Option<&Literal>,
    modifier: ModifierSpec,
) -> Result<Vec<Check>, QueryError> {
    if modifier.nulls_order != NullsOrder::Default {
        let why = "cannot place NULL (nulls_order): the sort of an order key does that";
        return Err(target.refuse(operator, why));
    }
    let null = match (modifier.distinct, null_as_value(operator)) {
        (false, _) => Polarity::Outside,
        (true, Some(null)) => null,
        (true, None) => {
            let why = "cannot be distinct: equality, lists and equality of arrays can";
            return Err(target.refuse(operator, why));
        }
    };
    if modifier.distinct && literal == Some(&Literal::Null) {
        match operator {
            Operator::Equals | Operator::ArrayEquals => return Ok(vec![Check::IsNull]),
            Operator::NotEquals | Operator::ArrayNotEquals => return Ok(vec![Check::IsNotNull]),
            _ => {}
        }
    }
    let check = match modifier.case_insensitive {
        true => folded_check(target, operator, literal)?,
        false => canonical_check(target, operator, literal)?,
    };
    Ok(match null {
        Polarity::Outside => vec![check],
        Polarity::Inside => vec![check, Check::IsNull],
    })
}

/// The column a test is about.
struct Target<'a> {
    name: &'a str,
    kind: &'a ColumnType,
}

impl Target<'_> {
    fn value(&self, literal: &Literal, operator: Operator) -> Result<Value, QueryError> {
        if matches!(literal, Literal::Null) {
            return Err(self.null(operator));
        }
        literal
            .coerce(self.kind)
            .map_err(|why| QueryError::BadValue(format!("column {} {why}", self.name)))
    }

    /// The error for a NULL that is compared with.
    fn null(&self, operator: Operator) -> QueryError {
        let hint = match operator {
            Operator::NotEquals
            | Operator::NotInList
            | Operator::NotBetween
            | Operator::ArrayNotEquals => "isNotNull",
            _ => "isNull",
        };
        let name = operator.name();
        let text = format!("{name} on {} does not take NULL: use {hint}", self.name);
        QueryError::BadValue(text)
    }

    fn required<'l>(
        &self,
        literal: Option<&'l Literal>,
        operator: Operator,
    ) -> Result<&'l Literal, QueryError> {
        literal.ok_or_else(|| {
            let text = format!("{} on {} needs a value", operator.name(), self.name);
            QueryError::BadValue(text)
        })
    }

    fn list(
        &self,
        literal: Option<&Literal>,
        operator: Operator,
    ) -> Result<Vec<Value>, QueryError> {
        let Literal::List(members) = self.required(literal, operator)? else {
            let text = format!("{} on {} needs a list", operator.name(), self.name);
            return Err(QueryError::BadValue(text));
        };
        if members.len() > LIST_MAX {
            let text = format!("a list holds at most {LIST_MAX} values");
            return Err(QueryError::BadValue(text));
        }
        members
            .iter()
            .map(|member| self.value(member, operator))
            .collect()
    }

    fn refuse(&self, operator: Operator, why: &str) -> QueryError {
        let name = operator.name();
        let (column, kind) = (self.name, self.kind);
        QueryError::UnsupportedOperator(format!("{name} on {column} ({kind}) {why}"))
    }
}

fn canonical_check(
    target: &Target<'_>,
    operator: Operator,
    literal: Option<&Literal>,
) -> Result<Check, QueryError> {
    if let Some(check) = null_check(operator) {
        return Ok(check);
    }
    if let Some(kind) = text_match(operator) {
        let needle = needle(target, operator, literal)?;
        return Ok(Check::Text(kind, needle));
    }
    if let Some(check) = special_check(target, operator, literal)? {
        return Ok(check);
    }
    // Of a type that we do not know, the database does.
    if !target.kind.is_comparable() && !matches!(target.kind, ColumnType::Other(_)) {
        return Err(target.refuse(operator, "is not supported for this type"));
    }
    if let Some(comparison) = comparison(operator) {
        let value = target.value(target.required(literal, operator)?, operator)?;
        return Ok(Check::Compare(comparison, value));
    }
    match operator {
        Operator::Between => range_check(target, operator, literal, Polarity::Inside),
        Operator::NotBetween => range_check(target, operator, literal, Polarity::Outside),
        Operator::InList => list_check(target, operator, literal, Polarity::Inside),
        Operator::NotInList => list_check(target, operator, literal, Polarity::Outside),
        _ => Err(target.refuse(operator, "is not supported")),
    }
}

fn null_check(operator: Operator) -> Option<Check> {
    match operator {
        Operator::IsNull => Some(Check::IsNull),
        Operator::IsNotNull => Some(Check::IsNotNull),
        _ => None,
    }
}

fn comparison(operator: Operator) -> Option<Comparison> {
    Some(match operator {
        Operator::Equals => Comparison::Equal,
        Operator::NotEquals => Comparison::NotEqual,
        Operator::LessThan => Comparison::Less,
        Operator::LessThanOrEquals => Comparison::LessOrEqual,
        Operator::GreaterThan => Comparison::Greater,
        Operator::GreaterThanOrEquals => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn text_match(operator: Operator) -> Option<TextMatch> {
    Some(match operator {
        Operator::StartsWith => TextMatch::StartsWith,
        Operator::EndsWith => TextMatch::EndsWith,
        Operator::Contains => TextMatch::Contains,
        Operator::NotContains => TextMatch::NotContains,
        _ => return None,
    })
}

fn list_check(
    target: &Target<'_>,
    operator: Operator,
    literal: Option<&Literal>,
    polarity: Polarity,
) -> Result<Check, QueryError> {
    let mut values = target.list(literal, operator)?;
    values.sort_by(total_order);
    values.dedup_by(|a, b| total_order(a, b) == Ordering::Equal);
    Ok(Check::InList(values, polarity))
}

fn range_check(
    target: &Target<'_>,
    operator: Operator,
    literal: Option<&Literal>,
    polarity: Polarity,
) -> Result<Check, QueryError> {
    let inclusion = |included: bool| match included {
        true => Inclusion::Included,
        false => Inclusion::Excluded,
    };
    let (low, high) = match target.required(literal, operator)? {
        Literal::Range {
            low,
            high,
            include_low,
            include_high,
        } => (
            (target.value(low, operator)?, inclusion(*include_low)),
            (target.value(high, operator)?, inclusion(*include_high)),
        ),
        Literal::List(ends) if ends.len() == 2 => (
            (target.value(&ends[0], operator)?, Inclusion::Included),
            (target.value(&ends[1], operator)?, Inclusion::Included),
        ),
        _ => {
            let name = operator.name();
            let text = format!(
                "{name} on {} needs a RangeValue or a list of two",
                target.name
            );
            return Err(QueryError::BadValue(text));
        }
    };
    Ok(Check::Between {
        low,
        high,
        polarity,
    })
}

/// Order of two values of one column, neither NULL.
fn total_order(a: &Value, b: &Value) -> Ordering {
    a.compare(b).unwrap_or(Ordering::Equal)
}

fn canonical_order(specs: &[OrderSpec], schema: &TableSchema) -> Result<Vec<OrderKey>, QueryError> {
    if schema.key().is_empty() {
        let table = schema.table();
        let text = format!("table {table} has no primary key, so its rows have no total order");
        return Err(QueryError::NoKey(text));
    }
    let mut order: Vec<OrderKey> = Vec::with_capacity(specs.len() + schema.key().len());
    for spec in specs {
        let column = schema.named_column(&spec.column)?;
        let kind = &schema.columns()[column].kind;
        if !kind.is_comparable() {
            let text = format!("rows cannot be ordered by {}, of type {kind}", spec.column);
            return Err(QueryError::BadOrder(text));
        }
        if order.iter().all(|key| key.column != column) {
            let (direction, nulls) = spec.sort.resolve();
            order.push(OrderKey {
                column,
                direction,
                nulls,
            });
        }
    }
    for &column in schema.key() {
        if order.iter().all(|key| key.column != column) {
            let (direction, nulls) = (Direction::Ascending, Nulls::Last);
            order.push(OrderKey {
                column,
                direction,
                nulls,
            });
        }
    }
    Ok(order)
}

fn canonical_keyset(
    spec: &QuerySpec,
    order: &[OrderKey],
    schema: &TableSchema,
) -> Result<Option<Keyset>, QueryError> {
    if spec.keyset.is_empty() {
        return Ok(None);
    }
    let mut values = vec![None; order.len()];
    for KeysetSpec { column, value } in &spec.keyset {
        let at = schema.named_column(column)?;
        let Some(place) = order.iter().position(|key| key.column == at) else {
            let text = format!("the cursor names {column}, which is not an order key");
            return Err(QueryError::BadCursor(text));
        };
        let kind = &schema.columns()[at].kind;
        let bad = |why| QueryError::BadCursor(format!("cursor column {column} {why}"));
        values[place] = Some(value.coerce(kind).map_err(bad)?);
    }
    let prefix: Vec<Value> = values.iter().map_while(Clone::clone).collect();
    if prefix.len() != spec.keyset.len() {
        let text = "the cursor must name the first order keys, each once, without a hole";
        return Err(QueryError::BadCursor(text.to_owned()));
    }
    let bound = if spec.strict_after {
        KeysetBound::After
    } else {
        KeysetBound::At
    };
    Ok(Some(Keyset {
        values: prefix,
        bound,
    }))
}

#[cfg(test)]
mod tests;
