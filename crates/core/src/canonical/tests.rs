//! Cases of canonical form.

use super::*;
use crate::ids::TableName;
use crate::query::Sort;
use crate::range::RangeType;
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
        column("tags", ColumnType::array_of(ColumnType::Text)),
        column("span", ColumnType::Range(RangeType::Int4)),
        column("raw", ColumnType::JsonText),
        column("clock", ColumnType::Other("time".into())),
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
    let regex = canonical(test("id", Operator::Regex, text("a"))).expect_err("refused");
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

/// Names of queries outlive versions: a page in a cache, or at another gateway, is found under
/// its old one.
#[test]
fn hashes_stay() {
    let check = |filter: FilterSpec, expected: &str| {
        assert_eq!(hash(filter.clone()).to_string(), expected, "{filter:?}");
    };
    let list = Literal::List(vec![text("b"), text("a")]);
    check(
        test("status", Operator::Equals, text("open")),
        "6e7ddcb69a2269592daee0e681cff59a",
    );
    check(
        test("status", Operator::NotInList, list),
        "9b1b87ad1659d8f412cf9700dcf8849c",
    );
    check(
        test("status", Operator::EndsWith, text("n")),
        "13d574acd1e6905ff0565c6b60167daa",
    );
    check(
        test("price", Operator::LessThan, number("1.50")),
        "5491513370b01271443e78e14a411e07",
    );
    check(
        test("doc", Operator::IsNull, Literal::Null),
        "14d6253c724d321fbf3e8d9411a9aaed",
    );
    let ends = Literal::List(vec![number("1"), number("2")]);
    check(
        test("id", Operator::NotBetween, ends),
        "2654c9daded1a62a7a01cb3718151629",
    );
}

fn modified(
    column: &str,
    operator: Operator,
    value: Literal,
    modifier: ModifierSpec,
) -> FilterSpec {
    FilterSpec::Test {
        column: column.to_owned(),
        operator,
        value: Some(value),
        modifier,
    }
}

/// Checks that mean the same are one query: letters of another case, a list of one, a document in
/// other words, a value in a range, NULL as a value.
#[test]
fn special_checks_are_canonical() {
    let ignoring = ModifierSpec {
        case_insensitive: true,
        ..ModifierSpec::default()
    };
    let distinct = ModifierSpec {
        distinct: true,
        ..ModifierSpec::default()
    };
    let folded = |value: &str| modified("status", Operator::Equals, text(value), ignoring);
    let in_list = Literal::List(vec![text("OPEN"), text("open")]);
    let listed = modified("status", Operator::InList, in_list, ignoring);
    let array = |value: Literal| test("tags", Operator::ArrayContains, value);
    let document = |value: &str| test("doc", Operator::JsonContains, text(value));
    let ends = || Literal::List(vec![number("1"), number("2")]);
    let null = || test("status", Operator::IsNull, Literal::Null);
    let other = || test("status", Operator::NotEquals, text("open"));
    for (a, b) in [
        (folded("Open"), folded("oPEN")),
        (folded("open"), listed),
        (array(text("a")), array(Literal::List(vec![text("a")]))),
        (
            document("{\"a\":1,\"b\":2}"),
            document(" {\"b\": 2, \"a\": 1}"),
        ),
        (
            test("id", Operator::RangeContainedBy, ends()),
            test("id", Operator::Between, ends()),
        ),
        (
            modified("status", Operator::Equals, Literal::Null, distinct),
            null(),
        ),
        (
            modified("status", Operator::NotEquals, text("open"), distinct),
            FilterSpec::Group(Group::Or, vec![null(), other()]),
        ),
    ] {
        assert_eq!(hash(a.clone()), hash(b.clone()), "{a:?} {b:?}");
    }
    assert_ne!(
        hash(folded("open")),
        hash(test("status", Operator::Equals, text("open")))
    );
    assert_ne!(
        hash(test("status", Operator::Regex, text("a"))),
        hash(test("status", Operator::NotRegex, text("a")))
    );
}

/// Only what the engine can decide is live, and the error names the column.
#[test]
fn live_or_not() {
    let live = |filter: FilterSpec| {
        let spec = QuerySpec {
            filter: Some(filter),
            ..QuerySpec::default()
        };
        Query::live_from_spec(&spec, &schema(), LimitRule::SUBSCRIPTION)
    };
    for filter in [
        test("status", Operator::Regex, text("^a+$")),
        test("tags", Operator::ArrayOverlaps, text("a")),
        test("doc", Operator::JsonHasKey, text("a")),
        test("span", Operator::RangeContains, number("1")),
        test("clock", Operator::IsNull, Literal::Null),
    ] {
        assert!(live(filter.clone()).is_ok(), "{filter:?}");
    }
    for filter in [
        test("status", Operator::Regex, text("a\\y")),
        test("raw", Operator::JsonHasKey, text("a")),
        test("clock", Operator::Equals, text("12:00")),
        FilterSpec::Group(
            Group::Or,
            vec![
                test("id", Operator::Equals, number("1")),
                test("clock", Operator::Equals, text("12:00")),
            ],
        ),
    ] {
        assert!(canonical(filter.clone()).is_ok(), "{filter:?}");
        let error = live(filter).expect_err("refused");
        assert!(matches!(error, QueryError::NotLive(_)), "{error}");
        let names = ["status", "raw", "clock"];
        assert!(
            names.iter().any(|name| error.to_string().contains(name)),
            "{error}"
        );
    }
}
