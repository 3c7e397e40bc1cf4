//! The text of statements. That they mean what the engine means is shown on a real database, by
//! `tidegate-sqlite` and `tidegate-postgres`; here it is how they look: every name quoted, every
//! value a parameter, no more said than an index can follow.

use std::sync::Arc;

use tidegate_core::{
    Column, ColumnType, FilterSpec, Group, KeysetSpec, LimitRule, Literal, ModifierSpec, Operator,
    OrderSpec, Query, QuerySpec, Sort, TableName, TableSchema, Value,
};

use super::*;

fn schema() -> Arc<TableSchema> {
    let column = |name: &str, kind: ColumnType, nullable: bool| Column {
        name: name.into(),
        kind,
        nullable,
    };
    let columns = vec![
        column("id", ColumnType::WideInteger, false),
        column("a\"b", ColumnType::Text, true),
        column("at", ColumnType::Timestamp, false),
    ];
    let table = TableName::parse("t").expect("a name");
    Arc::new(TableSchema::new(table, columns, vec![0]))
}

fn sqlite<'a>(name: &'a str, schema: &'a TableSchema) -> Target<'a> {
    Target {
        dialect: Dialect::Sqlite,
        name,
        schema,
        scope: &Scope::Table,
    }
}

fn order(column: &str, sort: Sort) -> OrderSpec {
    OrderSpec {
        column: column.to_owned(),
        sort,
        is_pk: false,
    }
}

fn from(column: &str, value: Literal) -> KeysetSpec {
    KeysetSpec {
        column: column.to_owned(),
        value,
    }
}

fn check(spec: &QuerySpec, after_from: &str, parameters: usize) {
    let query = Query::from_spec(spec, &schema(), LimitRule::READ).expect("a query");
    let window = Window {
        limit: 5,
        offset: 0,
    };
    let schema = schema();
    let target = sqlite("x\"y", &schema);
    let statement = select(target, &query, window).expect("not too large");
    let expected = format!("SELECT \"id\", \"a\"\"b\", \"at\" FROM \"x\"\"y\"{after_from}");
    assert_eq!(statement.text, expected);
    assert_eq!(statement.parameters.len(), parameters);
}

fn test(column: &str, operator: Operator, value: Literal) -> FilterSpec {
    FilterSpec::Test {
        column: column.to_owned(),
        operator,
        value: Some(value),
        modifier: ModifierSpec::default(),
    }
}

/// Without anything: by primary key, and nothing that would keep SQLite from using its index.
#[test]
fn plainest() {
    check(&QuerySpec::default(), " ORDER BY \"id\" ASC LIMIT 5", 0);
}

/// NULLs are placed where there can be some; types that SQLite keeps in several forms go through a
/// function; text compares by bytes.
#[test]
fn orders() {
    let spec = QuerySpec {
        order: vec![
            order("a\"b", Sort::DescDefault),
            order("at", Sort::AscNullsFirst),
        ],
        ..QuerySpec::default()
    };
    let expected = " ORDER BY \"a\"\"b\" COLLATE BINARY DESC NULLS FIRST, \
                    tidegate_micros(\"at\") ASC, \"id\" ASC LIMIT 5";
    check(&spec, expected, 0);
}

/// A keyset says its first key as a plain range as well, and each value is one parameter.
#[test]
fn keysets() {
    let mut spec = QuerySpec {
        keyset: vec![from("id", Literal::Number("7".to_owned()))],
        ..QuerySpec::default()
    };
    check(
        &spec,
        " WHERE \"id\" >= ?1 AND ((\"id\" > ?1)) ORDER BY \"id\" ASC LIMIT 5",
        1,
    );
    spec.order = vec![order("a\"b", Sort::AscNullsLast)];
    spec.keyset = vec![
        from("a\"b", Literal::Text("x".to_owned())),
        from("id", Literal::Number("7".to_owned())),
    ];
    let expected = " WHERE (((\"a\"\"b\" COLLATE BINARY > ?1 OR \"a\"\"b\" IS NULL) \
                    OR (\"a\"\"b\" COLLATE BINARY = ?1 AND (\"id\" > ?2)))) \
                    ORDER BY \"a\"\"b\" COLLATE BINARY ASC NULLS LAST, \"id\" ASC LIMIT 5";
    check(&spec, expected, 2);
    spec.keyset = vec![
        from("a\"b", Literal::Null),
        from("id", Literal::Number("7".to_owned())),
    ];
    let expected = " WHERE ((0 OR (\"a\"\"b\" IS NULL AND (\"id\" > ?1)))) \
                    ORDER BY \"a\"\"b\" COLLATE BINARY ASC NULLS LAST, \"id\" ASC LIMIT 5";
    check(&spec, expected, 1);
}

/// Long groups become trees of little depth, and what is too large for a statement is refused.
#[test]
fn large_filters() {
    let members = |count: usize| {
        (0..count)
            .map(|at| test("id", Operator::Equals, Literal::Number(at.to_string())))
            .collect()
    };
    let filter = |filter: FilterSpec| {
        let spec = QuerySpec {
            filter: Some(filter),
            ..QuerySpec::default()
        };
        let query = Query::from_spec(&spec, &schema(), LimitRule::READ).expect("a query");
        count(sqlite("t", query.schema()), query.filter())
    };
    let text = filter(FilterSpec::Group(Group::Or, members(900)))
        .expect("not too large")
        .text;
    let mut depth = 0_i32;
    let deepest = text.chars().map(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth
    });
    assert!(deepest.max() < Some(15), "{text}");
    let list = Literal::List(
        (0..8_000)
            .map(|at| Literal::Number(at.to_string()))
            .collect(),
    );
    let lists = (0..5).map(|at| {
        let not = test("id", Operator::NotEquals, Literal::Number(at.to_string()));
        let list = test("id", Operator::InList, list.clone());
        FilterSpec::Group(Group::Or, vec![not, list])
    });
    assert!(filter(FilterSpec::Group(Group::And, lists.collect())).is_err());
}

/// Names and values of writes.
#[test]
fn writes() {
    let schema = schema();
    let (id, text) = ((0, Value::Int(1)), (1, Value::text("'; --")));
    let statement = update(sqlite("t", &schema), &[id], &[text]).expect("not too large");
    assert_eq!(
        statement.text,
        "UPDATE \"t\" SET \"a\"\"b\" = ?1 WHERE \"id\" = ?2 RETURNING \"id\", \"a\"\"b\", \"at\""
    );
    assert_eq!(statement.parameters, [Value::text("'; --"), Value::Int(1)]);
    let statement = insert(sqlite("t", &schema), &[]).expect("not too large");
    assert!(
        statement
            .text
            .starts_with("INSERT INTO \"t\" DEFAULT VALUES RETURNING")
    );
}

fn postgres() -> PostgresTable {
    PostgresTable {
        schema: "public".to_owned(),
        rows: PostgresRows::Own,
        columns: vec![
            PostgresType::BigInt,
            PostgresType::Text,
            PostgresType::Timestamptz,
        ],
    }
}

fn check_postgres(spec: &QuerySpec, own: PostgresType, after_from: &str) {
    let query = Query::from_spec(spec, &schema(), LimitRule::READ).expect("a query");
    let window = Window {
        limit: 5,
        offset: 0,
    };
    let mut table = postgres();
    table.columns[1] = own;
    let target = Target {
        dialect: Dialect::Postgres(&table),
        ..sqlite("x", query.schema())
    };
    let statement = select(target, &query, window).expect("small");
    let expected = format!(
        "SELECT t.\"id\"::text, t.\"a\"\"b\"::text, t.\"at\"::text \
         FROM ONLY \"public\".\"x\" AS t{after_from}"
    );
    assert_eq!(statement.text, expected);
}

/// Postgres: names in an order are the table's, not the result's; constants have the column's type;
/// text compares by its bytes, and its own index is used where it can be.
#[test]
fn postgres_reads() {
    let where_ = |operator, value| QuerySpec {
        filter: Some(test("a\"b", operator, value)),
        order: vec![order("a\"b", Sort::AscNullsFirst)],
        ..QuerySpec::default()
    };
    let text = |text: &str| Literal::Text(text.to_owned());
    let by_text = " ORDER BY t.\"a\"\"b\" COLLATE \"C\" ASC NULLS FIRST, t.\"id\" ASC LIMIT 5";
    check_postgres(
        &where_(Operator::Equals, text("x")),
        PostgresType::Text,
        &format!(
            " WHERE (t.\"a\"\"b\" IN ($1::text) AND t.\"a\"\"b\" COLLATE \"C\" = $1::text){by_text}"
        ),
    );
    check_postgres(
        &where_(Operator::EndsWith, text("é%")),
        PostgresType::Text,
        &format!(" WHERE right(t.\"a\"\"b\" COLLATE \"C\", 2) = $1::text{by_text}"),
    );
    let by_uuid = " ORDER BY t.\"a\"\"b\" ASC NULLS FIRST, t.\"id\" ASC LIMIT 5";
    check_postgres(
        &where_(
            Operator::LessThan,
            text("0190a6e0-1111-7abc-8def-0123456789ab"),
        ),
        PostgresType::Uuid,
        &format!(" WHERE t.\"a\"\"b\" < $1::uuid{by_uuid}"),
    );
    check_postgres(
        &where_(Operator::LessThan, text("019")),
        PostgresType::Uuid,
        &format!(" WHERE t.\"a\"\"b\"::text COLLATE \"C\" < $1::text{by_uuid}"),
    );
}

/// Postgres: writes name columns as places, and give back what was stored as text.
#[test]
fn postgres_writes() {
    let (schema, table) = (schema(), postgres());
    let target = Target {
        dialect: Dialect::Postgres(&table),
        ..sqlite("x", &schema)
    };
    let (id, text) = ((0, Value::Int(1)), (1, Value::text("x")));
    let statement = update(target, &[id], std::slice::from_ref(&text));
    assert_eq!(
        statement.expect("small").text,
        "UPDATE ONLY \"public\".\"x\" AS t SET \"a\"\"b\" = $1 WHERE t.\"id\" = $2::bigint \
         RETURNING t.\"id\"::text, t.\"a\"\"b\"::text, t.\"at\"::text"
    );
    let statement = insert(target, &[text]).expect("small");
    let start = "INSERT INTO \"public\".\"x\" AS t (\"a\"\"b\") VALUES ($1) RETURNING ";
    assert!(statement.text.starts_with(start), "{}", statement.text);
}

/// Queries know of `id` and `at`; whose a row is stands behind them.
fn shared() -> (Arc<TableSchema>, TableSchema) {
    let schema = schema();
    let column = |at: usize| schema.columns()[at].clone();
    let table = || schema.table().clone();
    let known = TableSchema::new(table(), vec![column(0), column(2)], vec![0]);
    let stored = TableSchema::new(table(), vec![column(0), column(2), column(1)], vec![0]);
    (Arc::new(known), stored)
}

/// The condition that a row is the tenant's, or that there is none.
fn owned(target: Target<'_>, parameter: &str) -> String {
    match (target.scope, target.dialect) {
        (Scope::Nothing, Dialect::Sqlite) => "0".to_owned(),
        (Scope::Nothing, Dialect::Postgres(_)) => "false".to_owned(),
        (_, Dialect::Sqlite) => format!("\"a\"\"b\" COLLATE BINARY = ?{parameter}"),
        (_, Dialect::Postgres(_)) => format!(
            "(t.\"a\"\"b\" IN (${parameter}::text) \
             AND t.\"a\"\"b\" COLLATE \"C\" = ${parameter}::text)"
        ),
    }
}

/// Every statement on a shared table names the tenant, as its first condition and whatever else is
/// asked; a row that is added gets it; and a tenant that can have no rows finds none.
#[test]
fn shared_tables() {
    let (known, stored) = shared();
    let over_one = test("id", Operator::GreaterThan, Literal::Number("1".to_owned()));
    let spec = QuerySpec {
        filter: Some(over_one),
        keyset: vec![from("id", Literal::Number("7".to_owned()))],
        ..QuerySpec::default()
    };
    let query = Query::from_spec(&spec, &known, LimitRule::READ).expect("a query");
    let everything = tidegate_core::Filter::everything();
    let window = Window {
        limit: 5,
        offset: 0,
    };
    let mut table = postgres();
    table.columns = vec![
        PostgresType::BigInt,
        PostgresType::Timestamptz,
        PostgresType::Text,
    ];
    let acme = Value::text("acme");
    let (key, values) = ([(0, Value::Int(7))], [(1, Value::Timestamp(9))]);
    for scope in [&Scope::Rows(acme.clone()), &Scope::Nothing] {
        for dialect in [Dialect::Sqlite, Dialect::Postgres(&table)] {
            let target = Target {
                dialect,
                scope,
                ..sqlite("t", &stored)
            };
            for statement in [
                select(target, &query, window),
                select_by_key(target, &key, 1),
                select_columns(target, &[0], query.filter()),
                count(target, query.filter()),
                count(target, &everything),
                delete(target, &key),
                aggregate(&table, target, &[(Aggregate::Sum, 0)], query.filter()),
            ] {
                let Statement { text, parameters } = statement.expect("small");
                let (_, conditions) = text.split_once(" WHERE ").expect("there is a condition");
                assert!(conditions.starts_with(&owned(target, "1")), "{text}");
                let is_named = parameters.first() == Some(&acme);
                assert_eq!(is_named, *scope != Scope::Nothing, "{text}");
            }
            let text = update(target, &key, &values).expect("small").text;
            let condition = format!(" WHERE {} AND ", owned(target, "2"));
            assert!(text.contains(&condition), "{text}");
        }
    }
    let target = Target {
        scope: &Scope::Rows(acme.clone()),
        ..sqlite("t", &stored)
    };
    let Statement { text, parameters } = insert(target, &[]).expect("small");
    assert!(text.starts_with("INSERT INTO \"t\" (\"a\"\"b\") VALUES (?1)"));
    assert_eq!(parameters, [acme]);
}
