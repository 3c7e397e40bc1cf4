//! One table, and queries on it with the rows that each gives: what a query means, for whoever
//! answers it. Every database is held to it, and so is the page engine, which evaluates queries by
//! itself. A row more here is a check more of all of them.

use std::sync::Arc;

use tidegate_core::{
    Column, ColumnType, FilterSpec, LimitRule, Literal, ModifierSpec, Operator, OrderSpec, Query,
    QuerySpec, Row, Sort, TableName, TableSchema, Value,
};

/// The table's name.
pub const CORPUS_TABLE: &str = "corpus";

/// What makes the table and its rows, in the SQL of every database.
pub const CORPUS_SQL: &str = "CREATE TABLE corpus(id INTEGER PRIMARY KEY, n INTEGER, \
     x DOUBLE PRECISION, name TEXT); \
     INSERT INTO corpus VALUES (1, 10, 1.5, 'a'), (2, 20, -2.0, 'B'), (3, NULL, NULL, 'b'), \
     (4, 10, 0.0, 'ä'), (5, -5, 1.5, ''), (6, 30, 100.25, NULL), (7, 20, NULL, 'a_b'), \
     (8, 0, -2.0, '%'), (9, NULL, 3.0, '東京')";

type Cells = (i64, Option<i64>, Option<f64>, Option<&'static str>);

const ROWS: &[Cells] = &[
    (1, Some(10), Some(1.5), Some("a")),
    (2, Some(20), Some(-2.0), Some("B")),
    (3, None, None, Some("b")),
    (4, Some(10), Some(0.0), Some("ä")),
    (5, Some(-5), Some(1.5), Some("")),
    (6, Some(30), Some(100.25), None),
    (7, Some(20), None, Some("a_b")),
    (8, Some(0), Some(-2.0), Some("%")),
    (9, None, Some(3.0), Some("東京")),
];

/// What a filter compares with.
#[derive(Debug, Clone, Copy)]
enum Given {
    Nothing,
    Number(&'static str),
    Text(&'static str),
    Numbers(&'static [&'static str]),
    Texts(&'static [&'static str]),
    Range(&'static str, &'static str),
}

type Filtered = (&'static str, Operator, Given, &'static [i64]);

/// Column, operator, value, and the ids of the rows.
const FILTERS: &[Filtered] = &[
    ("n", Operator::Equals, Given::Number("10"), &[1, 4]),
    (
        "n",
        Operator::NotEquals,
        Given::Number("10"),
        &[2, 5, 6, 7, 8],
    ),
    ("n", Operator::LessThan, Given::Number("10"), &[5, 8]),
    (
        "n",
        Operator::LessThanOrEquals,
        Given::Number("10"),
        &[1, 4, 5, 8],
    ),
    ("n", Operator::GreaterThan, Given::Number("20"), &[6]),
    (
        "n",
        Operator::GreaterThanOrEquals,
        Given::Number("20"),
        &[2, 6, 7],
    ),
    ("n", Operator::IsNull, Given::Nothing, &[3, 9]),
    (
        "n",
        Operator::IsNotNull,
        Given::Nothing,
        &[1, 2, 4, 5, 6, 7, 8],
    ),
    ("n", Operator::Between, Given::Range("0", "10"), &[1, 4, 8]),
    (
        "n",
        Operator::NotBetween,
        Given::Range("0", "10"),
        &[2, 5, 6, 7],
    ),
    (
        "n",
        Operator::InList,
        Given::Numbers(&["10", "30"]),
        &[1, 4, 6],
    ),
    (
        "n",
        Operator::NotInList,
        Given::Numbers(&["10", "30"]),
        &[2, 5, 7, 8],
    ),
    ("n", Operator::InList, Given::Numbers(&[]), &[]),
    (
        "n",
        Operator::NotInList,
        Given::Numbers(&[]),
        &[1, 2, 3, 4, 5, 6, 7, 8, 9],
    ),
    ("x", Operator::Equals, Given::Number("1.5"), &[1, 5]),
    ("x", Operator::LessThan, Given::Number("0"), &[2, 8]),
    ("name", Operator::Equals, Given::Text(""), &[5]),
    ("name", Operator::StartsWith, Given::Text("a"), &[1, 7]),
    ("name", Operator::EndsWith, Given::Text("b"), &[3, 7]),
    ("name", Operator::Contains, Given::Text("_"), &[7]),
    ("name", Operator::Contains, Given::Text("%"), &[8]),
    (
        "name",
        Operator::Contains,
        Given::Text(""),
        &[1, 2, 3, 4, 5, 7, 8, 9],
    ),
    (
        "name",
        Operator::NotContains,
        Given::Text("a"),
        &[2, 3, 4, 5, 8, 9],
    ),
    // By bytes, whatever language the database sorts in.
    (
        "name",
        Operator::GreaterThan,
        Given::Text("a"),
        &[3, 4, 7, 9],
    ),
    ("name", Operator::LessThan, Given::Text("a"), &[2, 5, 8]),
    (
        "name",
        Operator::InList,
        Given::Texts(&["a", "東京"]),
        &[1, 9],
    ),
];

/// Column, sort, and the ids of all rows in that order.
const ORDERS: &[(&str, Sort, &[i64])] = &[
    ("name", Sort::AscDefault, &[5, 8, 2, 1, 7, 3, 4, 9, 6]),
    ("name", Sort::DescDefault, &[6, 9, 4, 3, 7, 1, 2, 8, 5]),
    ("n", Sort::AscNullsFirst, &[3, 9, 5, 8, 1, 4, 2, 7, 6]),
    ("n", Sort::DescNullsLast, &[6, 2, 7, 1, 4, 8, 5, 3, 9]),
    ("x", Sort::AscDefault, &[2, 8, 4, 1, 5, 9, 6, 3, 7]),
];

/// A query, and the ids of the rows it gives, in order.
#[derive(Debug, Clone)]
pub struct CorpusCase {
    /// The query.
    pub spec: QuerySpec,
    /// The first column of its rows.
    pub ids: &'static [i64],
}

impl CorpusCase {
    /// The query on a table as it was described.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn query(&self, schema: &Arc<TableSchema>) -> Arc<Query> {
        let query = Query::from_spec(&self.spec, schema, LimitRule::SUBSCRIPTION);
        Arc::new(query.unwrap_or_else(|error| panic!("{error}: {:?}", self.spec)))
    }

    /// Holds rows to what the query gives.
    ///
    /// # Panics
    /// When they are others.
    pub fn check(&self, rows: &[Row]) {
        let id = |row: &Row| match row[0] {
            Value::Int(id) => id,
            ref other => panic!("an id is an integer: {other:?}"),
        };
        let ids: Vec<i64> = rows.iter().map(id).collect();
        assert_eq!(ids, self.ids, "{:?}", self.spec);
    }
}

/// All queries.
#[must_use]
pub fn corpus_cases() -> Vec<CorpusCase> {
    let filters = FILTERS.iter().map(|(column, operator, given, ids)| {
        let filter = FilterSpec::Test {
            column: (*column).to_owned(),
            operator: *operator,
            value: literal(*given),
            modifier: ModifierSpec::default(),
        };
        let filter = Some(filter);
        let spec = QuerySpec {
            filter,
            ..QuerySpec::default()
        };
        CorpusCase { spec, ids }
    });
    let orders = ORDERS.iter().map(|(column, sort, ids)| {
        let order = OrderSpec {
            column: (*column).to_owned(),
            sort: *sort,
            is_pk: false,
        };
        let order = vec![order];
        let spec = QuerySpec {
            order,
            ..QuerySpec::default()
        };
        CorpusCase { spec, ids }
    });
    filters.chain(orders).collect()
}

fn literal(given: Given) -> Option<Literal> {
    let number = |text: &&str| Literal::Number((*text).to_owned());
    let text = |text: &&str| Literal::Text((*text).to_owned());
    Some(match given {
        Given::Nothing => return None,
        Given::Number(one) => number(&one),
        Given::Text(one) => text(&one),
        Given::Numbers(all) => Literal::List(all.iter().map(number).collect()),
        Given::Texts(all) => Literal::List(all.iter().map(text).collect()),
        Given::Range(low, high) => Literal::Range {
            low: Box::new(number(&low)),
            high: Box::new(number(&high)),
            include_low: true,
            include_high: true,
        },
    })
}

/// The table for one who has no database.
///
/// # Panics
/// Never: its name is one.
#[must_use]
pub fn corpus_schema() -> Arc<TableSchema> {
    let column = |name: &str, kind| Column {
        name: name.into(),
        kind,
        nullable: name != "id",
    };
    let columns = vec![
        column("id", ColumnType::Integer),
        column("n", ColumnType::Integer),
        column("x", ColumnType::Double),
        column("name", ColumnType::Text),
    ];
    let table = TableName::parse(CORPUS_TABLE).expect("letters only");
    Arc::new(TableSchema::new(table, columns, vec![0]))
}

/// Its rows.
#[must_use]
pub fn corpus_rows() -> Vec<Row> {
    let row = |(id, n, x, name): &Cells| {
        Row::new(vec![
            Value::Int(*id),
            n.map_or(Value::Null, Value::Int),
            x.map_or(Value::Null, Value::Float),
            name.map_or(Value::Null, Value::text),
        ])
    };
    ROWS.iter().map(row).collect()
}
