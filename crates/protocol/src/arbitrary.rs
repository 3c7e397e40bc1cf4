//! Generators of values for property tests.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use tidegate_core::{
    Array, Commit, Dimension, FilterSpec, Group, Heartbeat, KeysetSpec, Literal, Lsn, ModifierSpec,
    NullsOrder, Numeric, Operator, OrderSpec, QuerySpec, Row, RowChange, Sort, TableChange,
    TableName, TenantId, TimeUnit, TransactionSnapshot, Value, Xid,
};

/// Spoils text: at a place, up to 11 characters go and up to 4 that mean something in JSON come.
pub(crate) fn spoil() -> impl Strategy<Value = (usize, usize, String)> {
    (any::<usize>(), 0..12_usize, "[\\[{\"\\\\,:}0-9a-z]{0,4}")
}

/// The text, spoilt.
pub(crate) fn spoilt(text: &str, (at, cut, put): (usize, usize, String)) -> String {
    let text: Vec<char> = text.chars().collect();
    let at = at % text.len();
    let rest = text.iter().skip(at + cut).copied();
    let start = text.iter().take(at).copied();
    start.chain(put.chars()).chain(rest).collect()
}

/// Text with everything that is awkward in JSON and FlatBuffers.
pub(crate) fn text() -> impl Strategy<Value = String> {
    "[a-c\"\\\\/\n\u{0}\u{1f}\u{7f}é日🌍\u{2028}]{0,6}"
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,6})?([eE][+-]?[0-9]{1,3})?",
        Just("NaN".to_owned()),
        Just("-Infinity".to_owned()),
    ]
}

fn scalar() -> impl Strategy<Value = Literal> {
    let unit = select(vec![
        TimeUnit::Seconds,
        TimeUnit::Millis,
        TimeUnit::Micros,
        TimeUnit::Nanos,
    ]);
    prop_oneof![
        Just(Literal::Null),
        any::<bool>().prop_map(Literal::Bool),
        number().prop_map(Literal::Number),
        any::<i64>().prop_map(|value| Literal::Int(value.to_string())),
        text().prop_map(Literal::Text),
        (any::<i64>(), unit).prop_map(|(epoch, unit)| Literal::Time { epoch, unit }),
    ]
}

/// A list of one kind, as FlatBuffers and clients have them.
fn even_list() -> impl Strategy<Value = Literal> {
    let ints = any::<i64>().prop_map(|value| Literal::Int(value.to_string()));
    prop_oneof![
        vec(text().prop_map(Literal::Text), 0..4),
        vec(ints, 1..4),
        vec(number().prop_map(Literal::Number), 1..4),
        vec(any::<bool>().prop_map(Literal::Bool), 1..4),
    ]
    .prop_map(Literal::List)
}

/// A value of a query.
pub(crate) fn literal() -> impl Strategy<Value = Literal> {
    let ends = (scalar(), scalar(), any::<bool>(), any::<bool>());
    let range = ends.prop_map(|(low, high, include_low, include_high)| Literal::Range {
        low: Box::new(low),
        high: Box::new(high),
        include_low,
        include_high,
    });
    prop_oneof![4 => scalar(), 1 => even_list(), 1 => range]
}

fn filter() -> impl Strategy<Value = FilterSpec> {
    let nulls = select(vec![
        NullsOrder::First,
        NullsOrder::Last,
        NullsOrder::Default,
    ]);
    let modifier = (any::<bool>(), any::<bool>(), nulls).prop_map(
        |(distinct, case_insensitive, nulls_order)| ModifierSpec {
            distinct,
            case_insensitive,
            nulls_order,
        },
    );
    let test = (
        text(),
        select(Operator::ALL),
        option::of(literal()),
        modifier,
    )
        .prop_map(|(column, operator, value, modifier)| FilterSpec::Test {
            column,
            operator,
            value,
            modifier,
        });
    let group = || select(vec![Group::And, Group::Or]);
    let inner = test.prop_recursive(3, 12, 4, move |member| {
        (group(), vec(member, 0..4)).prop_map(|(group, members)| FilterSpec::Group(group, members))
    });
    (group(), vec(inner, 0..4)).prop_map(|(group, members)| FilterSpec::Group(group, members))
}

/// A query as a client could write it.
pub(crate) fn query() -> impl Strategy<Value = QuerySpec> {
    let order =
        (text(), select(Sort::ALL), any::<bool>()).prop_map(|(column, sort, is_pk)| OrderSpec {
            column,
            sort,
            is_pk,
        });
    let keyset = (text(), literal()).prop_map(|(column, value)| KeysetSpec { column, value });
    (
        option::of(filter()),
        vec(order, 0..3),
        vec(keyset, 0..3),
        any::<bool>(),
        option::of(any::<u32>()),
    )
        .prop_map(|(filter, order, keyset, strict_after, limit)| QuerySpec {
            filter,
            order,
            keyset,
            strict_after,
            limit: limit.map(u64::from),
        })
}

fn numeric() -> impl Strategy<Value = Numeric> {
    number().prop_map(|text| Numeric::parse(&text).unwrap())
}

/// A column's value. (NaN is left out: it does not equal itself.)
pub(crate) fn value() -> impl Strategy<Value = Value> {
    let row = || vec(plain_value(), 2..=2);
    let dimension = |lower| Dimension { lower, length: 2 };
    let square = (row(), row(), any::<i32>()).prop_map(move |(first, second, lower)| {
        let dimensions = vec![dimension(lower), dimension(1)];
        Array::new(dimensions, [first, second].concat()).unwrap()
    });
    prop_oneof![
        8 => plain_value(),
        1 => vec(plain_value(), 0..4).prop_map(|list| Value::Array(Array::flat(list).into())),
        1 => square.prop_map(|array| Value::Array(array.into())),
    ]
}

fn plain_value() -> impl Strategy<Value = Value> {
    let float = any::<f64>().prop_filter("NaN is not equal to itself", |value| !value.is_nan());
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        float.prop_map(Value::Float),
        numeric().prop_map(Value::Numeric),
        text().prop_map(|text| Value::text(&text)),
        any::<i64>().prop_map(Value::Timestamp),
        any::<i32>().prop_map(Value::Date),
        vec(any::<u8>(), 0..5).prop_map(|bytes| Value::Bytes(bytes.into())),
        text().prop_map(|text| Value::Json(text.into())),
    ]
}

/// What a transaction did to a table.
pub(crate) fn table_change() -> impl Strategy<Value = TableChange> {
    let values = || vec(value(), 0..4);
    let row = prop_oneof![
        (option::of(values()), values()).prop_map(|(key, row)| RowChange::Upsert {
            old_key: key.map(Into::into),
            row: Row::new(row),
        }),
        values().prop_map(|key| RowChange::Delete { key: key.into() }),
    ];
    let rows = option::of(vec(row, 0..4));
    ("[a-z._-]{1,8}", "[a-z: é]{1,8}", any::<u64>(), rows).prop_map(
        |(tenant, table, schema, rows)| TableChange {
            tenant: TenantId::parse(&tenant).unwrap(),
            table: TableName::parse(&table).unwrap(),
            schema,
            rows,
        },
    )
}

/// A transaction's identity.
pub(crate) fn commit() -> impl Strategy<Value = Commit> {
    any::<(u64, u64, i64)>().prop_map(|(lsn, xid, committed_at_micros)| Commit {
        lsn: Lsn::new(lsn),
        xid: Xid::new(xid),
        committed_at_micros,
    })
}

/// A heartbeat.
pub(crate) fn heartbeat() -> impl Strategy<Value = Heartbeat> {
    let visible = (any::<u64>(), any::<u64>(), vec(any::<u64>(), 0..4)).prop_map(
        |(xmin, xmax, in_progress)| TransactionSnapshot {
            xmin: Xid::new(xmin),
            xmax: Xid::new(xmax),
            in_progress: in_progress.into_iter().map(Xid::new).collect(),
        },
    );
    (any::<u64>(), any::<i64>(), option::of(visible)).prop_map(|(lsn, at_micros, visible)| {
        Heartbeat {
            lsn: Lsn::new(lsn),
            at_micros,
            visible,
        }
    })
}
