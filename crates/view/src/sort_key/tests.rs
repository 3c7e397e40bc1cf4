//! Bytes order as the values do, for every kind, direction and place of NULL.

use std::cmp::Ordering;

use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{prop_assert_eq, proptest};
use tidegate_core::Numeric;

use super::*;

fn floats() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        Just(f64::NAN),
        Just(-f64::NAN),
        Just(0.0),
        Just(-0.0),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
    ]
}

/// Few distinct bytes, so that one text is often the beginning of another.
fn short_bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(0), Just(1), Just(97), Just(255)], 0..5)
}

fn text_of(bytes: Vec<u8>) -> Value {
    let text: String = bytes.into_iter().map(char::from).collect();
    Value::text(&text)
}

fn numeric(coefficient: i64, exponent: i32) -> Value {
    let text = format!("{coefficient}e{exponent}");
    Value::Numeric(Numeric::parse(&text).expect("a number"))
}

/// Two values of one kind, or NULL.
fn pairs() -> impl Strategy<Value = (Value, Value)> {
    fn both<T: Strategy<Value = Value> + Clone + 'static>(
        values: T,
    ) -> impl Strategy<Value = (Value, Value)> {
        let nullable = prop_oneof![9 => values, 1 => Just(Value::Null)];
        (nullable.clone(), nullable)
    }
    fn boxed(
        values: impl Strategy<Value = Value> + 'static,
    ) -> proptest::strategy::BoxedStrategy<Value> {
        values.boxed()
    }
    prop_oneof![
        both(boxed(any::<bool>().prop_map(Value::Bool))),
        both(boxed(any::<i64>().prop_map(Value::Int))),
        both(boxed((-3_i64..3).prop_map(Value::Int))),
        both(boxed(floats().prop_map(Value::Float))),
        both(boxed((-99_i64..99, -3..3).prop_map(|(c, e)| numeric(c, e)))),
        both(boxed(short_bytes().prop_map(text_of))),
        both(boxed(
            short_bytes().prop_map(|bytes| Value::Bytes(bytes.into()))
        )),
        both(boxed(any::<i64>().prop_map(Value::Timestamp))),
        both(boxed(any::<i32>().prop_map(Value::Date))),
    ]
}

fn order_of(a: &Value, b: &Value, direction: Direction, nulls: Nulls) -> Ordering {
    let null = match nulls {
        Nulls::First => Ordering::Less,
        Nulls::Last => Ordering::Greater,
    };
    match (a.is_null(), b.is_null(), direction) {
        (true, true, _) => Ordering::Equal,
        (true, false, _) => null,
        (false, true, _) => null.reverse(),
        (false, false, Direction::Ascending) => a.compare(b).expect("one kind"),
        (false, false, Direction::Descending) => b.compare(a).expect("one kind"),
    }
}

proptest! {
    /// One value after the other: the first decides, and where it does not the second does.
    #[test]
    fn bytes_order_as_values(
        (a, b) in pairs(),
        (c, d) in pairs(),
        descends: [bool; 2],
        nulls_first: [bool; 2],
    ) {
        let order: Vec<OrderKey> = (0..2)
            .map(|column| OrderKey {
                column,
                direction: match descends[column] {
                    true => Direction::Descending,
                    false => Direction::Ascending,
                },
                nulls: match nulls_first[column] {
                    true => Nulls::First,
                    false => Nulls::Last,
                },
            })
            .collect();
        let expected = order_of(&a, &b, order[0].direction, order[0].nulls)
            .then(order_of(&c, &d, order[1].direction, order[1].nulls));
        let (left, right) = (KeyBytes::of_row(&order, &[a, c]), KeyBytes::of_row(&order, &[b, d]));
        prop_assert_eq!(left.cmp(&right), expected);
    }

    /// Texts that begin with a prefix, and no others, are within its bounds.
    #[test]
    fn prefixes_bound_their_texts(prefix in short_bytes(), text in short_bytes()) {
        let (Value::Text(prefix), text) = (text_of(prefix), text_of(text)) else {
            unreachable!("a text");
        };
        let (low, high) = KeyBytes::of_prefix(&prefix);
        let key = KeyBytes::of_value(&text);
        let is_within = low <= key && key <= high;
        let starts = text.to_text().is_some_and(|text| text.starts_with(&*prefix));
        prop_assert_eq!(is_within, starts);
    }

    /// Every value is between the ends that open ranges use.
    #[test]
    fn open_ends_hold_everything((a, _) in pairs()) {
        let key = KeyBytes::of_value(&a);
        prop_assert_eq!(key >= KeyBytes::lowest() && key <= KeyBytes::highest(), true);
    }
}

/// A keyset of the first keys alone: rows that agree with it belong or not as its bound says, and
/// one whose text merely begins like the keyset's does not agree with it.
#[test]
fn keyset_of_a_prefix() {
    let order = [0, 1].map(|column| OrderKey {
        column,
        direction: Direction::Ascending,
        nulls: Nulls::First,
    });
    let start = |value: Value, bound| {
        let values = vec![value];
        Start::of_keyset(&Keyset { values, bound }, &order)
    };
    let admits = |start: &Start, first: Value| {
        start.admits(&KeyBytes::of_row(&order, &[first, Value::Int(7)]))
    };
    let after = start(Value::text("b"), KeysetBound::After);
    let at = start(Value::text("b"), KeysetBound::At);
    assert!(!admits(&after, Value::text("b")) && admits(&at, Value::text("b")));
    assert!(admits(&after, Value::text("b\0")) && admits(&after, Value::text("ba")));
    assert!(!admits(&at, Value::text("a")) && !admits(&at, Value::Null));
    let after_null = start(Value::Null, KeysetBound::After);
    let at_null = start(Value::Null, KeysetBound::At);
    assert!(!admits(&after_null, Value::Null) && admits(&at_null, Value::Null));
    assert!(admits(&after_null, Value::text("")));
}

/// One value's bytes are those it has in a row's key, for adapters that sort by them.
#[test]
fn value_keys_are_parts_of_row_keys() {
    let key = OrderKey {
        column: 0,
        direction: Direction::Descending,
        nulls: Nulls::Last,
    };
    let value = Value::text("ab\0c");
    let of_row = KeyBytes::of_row(&[key], std::slice::from_ref(&value));
    assert_eq!(
        *of_row,
        *sort_key_of_value(&value, key.direction, key.nulls)
    );
}
