//! Each check, group and kind of value, as Postgres answers it.

use tidegate_core::Numeric;

use super::*;

fn test(check: Check) -> Filter {
    Filter::Test(Test { column: 0, check })
}

fn check(check: Check, value: Value, expected: Truth) {
    let told = format!("{check:?} of {value:?}");
    assert_eq!(evaluate(&test(check), &[value]), expected, "{told}");
}

fn compare(comparison: Comparison, constant: Value) -> Check {
    Check::Compare(comparison, constant)
}

fn between(low: (i64, Inclusion), high: (i64, Inclusion), polarity: Polarity) -> Check {
    Check::Between {
        low: (Value::Int(low.0), low.1),
        high: (Value::Int(high.0), high.1),
        polarity,
    }
}

/// NULL makes every check unknown, but for the two that ask for it and for empty lists.
#[test]
fn null_is_unknown() {
    use Polarity::{Inside, Outside};
    use Truth::{False, True, Unknown};
    let included = |value| (value, Inclusion::Included);
    for (asked, expected) in [
        (Check::IsNull, True),
        (Check::IsNotNull, False),
        (compare(Comparison::Equal, Value::Int(1)), Unknown),
        (compare(Comparison::NotEqual, Value::Int(1)), Unknown),
        (between(included(1), included(2), Inside), Unknown),
        (between(included(1), included(2), Outside), Unknown),
        (Check::InList(vec![Value::Int(1)], Inside), Unknown),
        (Check::InList(vec![Value::Int(1)], Outside), Unknown),
        (Check::InList(vec![], Inside), False),
        (Check::InList(vec![], Outside), True),
        (Check::Text(TextMatch::NotContains, "a".into()), Unknown),
    ] {
        check(asked, Value::Null, expected);
    }
}

/// Ends of a range belong to it or not, as the query says; a range whose ends are crossed is empty.
#[test]
fn ranges() {
    use Inclusion::{Excluded, Included};
    use Polarity::{Inside, Outside};
    for (low, high, value, inside) in [
        ((1, Included), (3, Included), 1, true),
        ((1, Included), (3, Included), 3, true),
        ((1, Excluded), (3, Included), 1, false),
        ((1, Included), (3, Excluded), 3, false),
        ((1, Excluded), (3, Excluded), 2, true),
        ((3, Included), (1, Included), 2, false),
    ] {
        let of = |holds| if holds { Truth::True } else { Truth::False };
        check(between(low, high, Inside), Value::Int(value), of(inside));
        check(between(low, high, Outside), Value::Int(value), of(!inside));
    }
}

/// Floats and decimals compare by Postgres's rules, in lists too.
#[test]
fn special_numbers() {
    use Truth::{False, True};
    let nan = || Value::Float(f64::NAN);
    check(compare(Comparison::Equal, nan()), nan(), True);
    check(
        compare(Comparison::Greater, Value::Float(f64::INFINITY)),
        nan(),
        True,
    );
    check(
        compare(Comparison::Equal, Value::Float(0.0)),
        Value::Float(-0.0),
        True,
    );
    let list = || vec![Value::Float(0.0), Value::Float(1.0), nan()];
    check(Check::InList(list(), Polarity::Inside), nan(), True);
    check(
        Check::InList(list(), Polarity::Inside),
        Value::Float(-0.0),
        True,
    );
    check(
        Check::InList(list(), Polarity::Outside),
        Value::Float(0.5),
        True,
    );
    let numeric = |text| Value::Numeric(Numeric::parse(text).expect("a number"));
    check(
        compare(Comparison::Equal, numeric("1.50")),
        numeric("1.5"),
        True,
    );
    check(
        compare(Comparison::Less, numeric("NaN")),
        numeric("NaN"),
        False,
    );
}

/// A search is for the very bytes: wildcards and case mean nothing.
#[test]
fn text_is_literal() {
    use TextMatch::{Contains, EndsWith, NotContains, StartsWith};
    for (kind, needle, text, expected) in [
        (StartsWith, "a%", "a%b", Truth::True),
        (StartsWith, "a%", "ab", Truth::False),
        (EndsWith, "_b", "ab", Truth::False),
        (Contains, "", "", Truth::True),
        (Contains, "É", "é", Truth::False),
        (Contains, "b\nc", "ab\ncd", Truth::True),
        (NotContains, "", "a", Truth::False),
        (NotContains, "z", "a", Truth::True),
    ] {
        check(
            Check::Text(kind, needle.into()),
            Value::text(text),
            expected,
        );
    }
}

/// Groups follow Kleene: what is unknown decides nothing that the rest decides.
#[test]
fn groups_keep_the_unknown() {
    use Truth::{False, True, Unknown};
    let of = |truth: Truth| match truth {
        True => test(Check::IsNull),
        False => test(Check::IsNotNull),
        Unknown => test(compare(Comparison::Equal, Value::Int(1))),
    };
    for (a, b, and, or) in [
        (True, Unknown, Unknown, True),
        (False, Unknown, False, Unknown),
        (Unknown, Unknown, Unknown, Unknown),
        (True, False, False, True),
    ] {
        for members in [vec![of(a), of(b)], vec![of(b), of(a)]] {
            let row = [Value::Null];
            assert_eq!(evaluate(&Filter::All(members.clone()), &row), and);
            assert_eq!(evaluate(&Filter::Any(members), &row), or);
        }
    }
    assert!(matches(&Filter::everything(), &[]));
}

/// A row that is too short, or holds a value of another kind, is unknown and never a panic.
#[test]
fn foreign_rows_are_unknown() {
    let equal = test(compare(Comparison::Equal, Value::Int(1)));
    assert_eq!(evaluate(&equal, &[]), Truth::Unknown);
    assert_eq!(evaluate(&equal, &[Value::text("1")]), Truth::Unknown);
    let search = test(Check::Text(TextMatch::Contains, "1".into()));
    assert_eq!(evaluate(&search, &[Value::Int(1)]), Truth::Unknown);
}
