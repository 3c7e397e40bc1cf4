//! Cases of canonical form.

use super::*;
use crate::ids::TableName;
use crate::query::Sort;
use crate::schema::Column;

fn schema() -> Arc<TableSchema> {
    let column = |name: &str, kind| Column {
        name: name.into(),
        kind,
        nullable: true,
    };
    let columns = vec![
        column("id", ColumnType::WideInteger),
        column("status", ColumnType::Text),
        column("price", ColumnType::Numeric),
        column("at", ColumnType::Timestamp),
        column("doc", ColumnType::Json),
    ];
    Arc::new(TableSchema::new(
        TableName::parse("orders").expect("valid"),
        columns,
        vec![0],
    ))
}

fn test(column: &str, operator: Operator, value: Literal) -> FilterSpec {
    let (column, modifier) = (column.to_owned(), ModifierSpec::default());
    FilterSpec::Test {
        column,
        operator,
        value: Some(value),
        modifier,
    }
}

fn text(text: &str) -> Literal {
    Literal::Text(text.to_owned())
}

fn number(text: &str) -> Literal {
    Literal::Number(text.to_owned())
}

fn canonical(filter: FilterSpec) -> Result<Query, QueryError> {
    let spec = QuerySpec {
        filter: Some(filter),
        ..QuerySpec::default()
    };
    Query::from_spec(&spec, &schema(), LimitRule::SUBSCRIPTION)
}

fn hash(filter: FilterSpec) -> QueryHash {
    canonical(filter).expect("valid").hash()
}

/// Two ways to write one condition are one query; two conditions are two.
#[test]
fn same_meaning_same_hash() {
    use Group::{And, Or};
    let open = || test("status", Operator::Equals, text("open"));
    let cheap = || test("price", Operator::LessThan, number("1.50"));
    let cheap_again = || test("price", Operator::LessThan, number("15e-1"));
    let both = hash(FilterSpec::Group(And, vec![open(), cheap()]));
    assert_eq!(
        both,
        hash(FilterSpec::Group(And, vec![cheap_again(), open(), open()]))
    );
    let nested = FilterSpec::Group(And, vec![FilterSpec::Group(And, vec![open()]), cheap()]);
    assert_eq!(both, hash(nested));
    assert_ne!(both, hash(FilterSpec::Group(Or, vec![open(), cheap()])));
    let list = |values: &[&str]| Literal::List(values.iter().map(|v| text(v)).collect());
    assert_eq!(
        hash(test("status", Operator::InList, list(&["b", "a", "b"]))),
        hash(test("status", Operator::InList, list(&["a", "b"])))
    );
    let or_all = FilterSpec::Group(Or, vec![open(), FilterSpec::Group(And, vec![])]);
    assert!(canonical(or_all).expect("valid").filter().is_everything());
}

/// The order is completed by the primary key, and later mentions of a column change nothing.
#[test]
fn order_is_total() {
    let order = |specs: &[(&str, Sort)]| {
        let order = specs.iter().map(|(c, sort)| OrderSpec {
            column: (*c).into(),
            sort: *sort,
            is_pk: false,
        });
        let spec = QuerySpec {
            order: order.collect(),
            ..QuerySpec::default()
        };
        Query::from_spec(&spec, &schema(), LimitRule::SUBSCRIPTION)
    };
    let by_time = order(&[("at", Sort::DescDefault)]).expect("valid");
    let columns: Vec<_> = by_time.order().iter().map(|key| key.column).collect();
    assert_eq!(columns, [3, 0]);
    assert_eq!(by_time.order()[0].nulls, Nulls::First);
    let twice = order(&[("at", Sort::DescDefault), ("at", Sort::AscDefault)]).expect("valid");
    assert_eq!(by_time.hash(), twice.hash());
    assert!(matches!(
        order(&[("doc", Sort::AscDefault)]),
        Err(QueryError::BadOrder(_))
    ));
    assert!(matches!(
        order(&[("AT", Sort::AscDefault)]),
        Err(QueryError::UnknownColumn { .. })
    ));
}

/// A keyset names a prefix of the order keys; its texts are read as the column's type.
#[test]
fn keyset_is_a_prefix() {
    let with = |entries: &[(&str, Literal)]| {
        let entry = |(c, v): &(&str, Literal)| KeysetSpec {
            column: (*c).into(),
            value: v.clone(),
        };
        let order = vec![OrderSpec {
            column: "status".into(),
            sort: Sort::AscDefault,
            is_pk: false,
        }];
        let keyset = entries.iter().map(entry).collect();
        let spec = QuerySpec {
            order,
            keyset,
            ..QuerySpec::default()
        };
        Query::from_spec(&spec, &schema(), LimitRule::SUBSCRIPTION)
    };
    let full = with(&[("id", text("7")), ("status", Literal::Null)]).expect("valid");
    let keyset = full.keyset().expect("given");
    assert_eq!(keyset.values, [Value::Null, Value::Int(7)]);
    assert_eq!(keyset.bound, KeysetBound::After);
    assert!(with(&[("status", text("open"))]).is_ok());
    for bad in [
        with(&[("id", text("7"))]),
        with(&[("at", text("2026-01-01"))]),
        with(&[("status", text("a")), ("status", text("b"))]),
        with(&[("status", text("a")), ("id", text("x"))]),
    ] {
        assert!(matches!(bad, Err(QueryError::BadCursor(_))), "{bad:?}");
    }
}

/// Each refusal has its own kind and names what to do.
#[test]
fn refusals() {
    let null = canonical(test("status", Operator::Equals, Literal::Null)).expect_err("refused");
    assert!(null.to_string().contains("isNull"), "{null}");
    let regex = canonical(test("status", Operator::Regex, text("a"))).expect_err("refused");
    assert!(matches!(regex, QueryError::UnsupportedOperator(_)));
    let search = canonical(test("id", Operator::Contains, number("1"))).expect_err("refused");
    assert!(matches!(search, QueryError::UnsupportedOperator(_)));
    let empty = canonical(FilterSpec::Group(Group::Or, vec![])).expect_err("refused");
    assert!(matches!(empty, QueryError::BadFilter(_)));
    let one_end = Literal::List(vec![number("1")]);
    let range = canonical(test("id", Operator::Between, one_end)).expect_err("refused");
    assert!(matches!(range, QueryError::BadValue(_)));
    let mut deep = test("id", Operator::Equals, number("1"));
    for _ in 0..50 {
        deep = FilterSpec::Group(Group::And, vec![deep]);
    }
    assert!(matches!(canonical(deep), Err(QueryError::BadFilter(_))));
}

/// Limits outside 1 to the maximum are errors, absent is the default.
#[test]
fn limits() {
    let limit = |limit| {
        let spec = QuerySpec {
            limit,
            ..QuerySpec::default()
        };
        Query::from_spec(&spec, &schema(), LimitRule::SUBSCRIPTION).map(|query| query.limit())
    };
    assert_eq!(limit(None), Ok(50));
    assert_eq!(limit(Some(1_000)), Ok(1_000));
    for bad in [0, 1_001, u64::MAX] {
        assert!(matches!(limit(Some(bad)), Err(QueryError::BadLimit(_))));
    }
}
