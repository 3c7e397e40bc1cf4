//! Random queries, each in three forms: as a client writes it, as SQL written by hand, and as a
//! plain evaluation over all rows of a table.

use std::cmp::Ordering;
use std::sync::Arc;

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use tidegate_core::{
    FilterSpec, Group, KeysetSpec, Literal, ModifierSpec, Operator, OrderSpec, QuerySpec, Sort,
};

use crate::history::Rows;
use crate::load::{GROUPS, IDS, NAMES, VALUES};
use crate::rows::{COLUMNS, Cell, Kind, Row, kind};

const ID: usize = 0;
const GRP: usize = 1;

#[derive(Debug, Clone)]
enum Test {
    All(Vec<Test>),
    Any(Vec<Test>),
    IsNull(usize, bool),
    Compare(usize, Relation, Cell),
    Between(usize, Cell, Cell, bool),
    In(usize, Vec<Cell>, bool),
    Starts(Arc<str>),
    Contains(Arc<str>, bool),
}

#[derive(Debug, Clone, Copy)]
enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

const RELATIONS: [(Relation, Operator, &str); 6] = [
    (Relation::Equal, Operator::Equals, "="),
    (Relation::NotEqual, Operator::NotEquals, "<>"),
    (Relation::Less, Operator::LessThan, "<"),
    (Relation::LessOrEqual, Operator::LessThanOrEquals, "<="),
    (Relation::Greater, Operator::GreaterThan, ">"),
    (
        Relation::GreaterOrEqual,
        Operator::GreaterThanOrEquals,
        ">=",
    ),
];

#[derive(Debug, Clone, Copy)]
struct Key {
    column: usize,
    descends: bool,
    nulls_first: bool,
}

/// Where the rows begin, by the first key.
#[derive(Debug, Clone)]
struct Start {
    value: Cell,
    is_strict: bool,
}

/// A query in all its forms.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) spec: QuerySpec,
    /// What follows FROM and the table.
    pub(crate) sql: String,
    test: Test,
    keys: Vec<Key>,
    start: Option<Start>,
    limit: usize,
}

impl Query {
    pub(crate) fn new(dice: &mut SmallRng) -> Self {
        let limit = dice.random_range(1..16);
        let condition = match dice.random_ratio(1, 6) {
            true => None,
            false => Some(condition(2, dice)),
        };
        let (order, keys) = order(dice);
        let (keyset, start) = match dice.random_ratio(1, 4) && keys[0].column <= GRP {
            true => keyset(&keys[0], dice),
            false => (Vec::new(), None),
        };
        let (test, mut sql) = match &condition {
            Some((test, _, sql)) => (test.clone(), sql.clone()),
            None => (Test::All(Vec::new()), "true".to_owned()),
        };
        if let Some(Start { value, is_strict }) = &start {
            let column = COLUMNS[keys[0].column].0;
            let sign = match (keys[0].descends, is_strict) {
                (false, true) => ">",
                (false, false) => ">=",
                (true, true) => "<",
                (true, false) => "<=",
            };
            sql = format!("({sql}) AND {column} {sign} {}", value.sql());
        }
        let by: Vec<String> = keys.iter().map(Key::sql).collect();
        Self {
            spec: QuerySpec {
                filter: condition.map(|(_, spec, _)| spec),
                order,
                keyset,
                strict_after: start.as_ref().is_none_or(|start| start.is_strict),
                limit: Some(limit as u64),
            },
            sql: format!("WHERE {sql} ORDER BY {} LIMIT {limit}", by.join(", ")),
            test,
            keys,
            start,
            limit,
        }
    }

    /// The query's page of a table: filters every row, sorts, cuts.
    pub(crate) fn page<'r>(&self, rows: &'r Rows) -> Vec<&'r Arc<Row>> {
        let is_in = |row: &&Arc<Row>| self.begins_before(row) && self.test.holds(row) == Some(true);
        let mut found: Vec<&Arc<Row>> = rows.iter().filter(is_in).collect();
        if found.len() > self.limit {
            found.select_nth_unstable_by(self.limit - 1, |a, b| self.order(a, b));
            found.truncate(self.limit);
        }
        found.sort_unstable_by(|a, b| self.order(a, b));
        found
    }

    /// The hashes of the page's rows, each shown with its first columns.
    pub(crate) fn hashes(&self, rows: &Rows, columns: usize) -> Vec<u64> {
        let page = self.page(rows);
        page.into_iter().map(|row| row.hash(columns)).collect()
    }

    fn begins_before(&self, row: &Row) -> bool {
        let Some(Start { value, is_strict }) = &self.start else {
            return true;
        };
        let order = row.cells[self.keys[0].column].order(value);
        let order = order.expect("the columns of keysets have no NULL");
        match (self.keys[0].descends, is_strict) {
            (_, false) if order.is_eq() => true,
            (false, _) => order.is_gt(),
            (true, _) => order.is_lt(),
        }
    }

    fn order(&self, a: &Row, b: &Row) -> Ordering {
        let orders = self.keys.iter().map(|key| key.order(a, b));
        orders.reduce(Ordering::then).expect("there is a key")
    }
}

impl Key {
    fn order(&self, a: &Row, b: &Row) -> Ordering {
        let (a, b) = (&a.cells[self.column], &b.cells[self.column]);
        match (*a == Cell::Null, *b == Cell::Null) {
            (true, true) => Ordering::Equal,
            (true, false) if self.nulls_first => Ordering::Less,
            (true, false) => Ordering::Greater,
            (false, true) if self.nulls_first => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let order = a.order(b).expect("neither is NULL");
                if self.descends {
                    order.reverse()
                } else {
                    order
                }
            }
        }
    }

    fn sql(&self) -> String {
        let (name, kind) = COLUMNS[self.column];
        let collation = if kind == Kind::Text {
            " COLLATE \"C\""
        } else {
            ""
        };
        let direction = if self.descends { "DESC" } else { "ASC" };
        let nulls = if self.nulls_first { "FIRST" } else { "LAST" };
        format!("{name}{collation} {direction} NULLS {nulls}")
    }
}

fn order(dice: &mut SmallRng) -> (Vec<OrderSpec>, Vec<Key>) {
    let (mut specs, mut keys): (Vec<OrderSpec>, Vec<Key>) = (Vec::new(), Vec::new());
    for _ in 0..dice.random_range(0..3) {
        let column = dice.random_range(GRP..COLUMNS.len() - 1);
        if keys.iter().any(|key| key.column == column) {
            continue;
        }
        let (sort, descends, nulls_first) = *[
            (Sort::AscDefault, false, false),
            (Sort::DescDefault, true, true),
            (Sort::AscNullsFirst, false, true),
            (Sort::DescNullsLast, true, false),
        ]
        .choose(dice)
        .expect("there are some");
        let name = COLUMNS[column].0.to_owned();
        specs.push(OrderSpec {
            column: name,
            sort,
            is_pk: false,
        });
        keys.push(Key {
            column,
            descends,
            nulls_first,
        });
    }
    keys.push(Key {
        column: ID,
        descends: false,
        nulls_first: false,
    });
    (specs, keys)
}

fn keyset(key: &Key, dice: &mut SmallRng) -> (Vec<KeysetSpec>, Option<Start>) {
    let number = match key.column {
        ID => dice.random_range(0..IDS / 2),
        _ => dice.random_range(0..GROUPS),
    };
    let start = Start {
        value: Cell::Int(number),
        is_strict: dice.random(),
    };
    let spec = KeysetSpec {
        column: COLUMNS[key.column].0.to_owned(),
        value: Literal::Number(number.to_string()),
    };
    (vec![spec], Some(start))
}

type Condition = (Test, FilterSpec, String);

fn condition(depth: u32, dice: &mut SmallRng) -> Condition {
    if depth == 0 || dice.random_ratio(1, 2) {
        return test(dice);
    }
    let count = dice.random_range(1..4);
    let members: Vec<Condition> = (0..count).map(|_| condition(depth - 1, dice)).collect();
    let sql: Vec<String> = members
        .iter()
        .map(|(_, _, sql)| format!("({sql})"))
        .collect();
    let (tests, specs): (Vec<Test>, Vec<FilterSpec>) = members
        .into_iter()
        .map(|(test, spec, _)| (test, spec))
        .unzip();
    match dice.random() {
        true => (
            Test::All(tests),
            FilterSpec::Group(Group::And, specs),
            sql.join(" AND "),
        ),
        false => (
            Test::Any(tests),
            FilterSpec::Group(Group::Or, specs),
            sql.join(" OR "),
        ),
    }
}

/// A value that rows of the column have, or nearly.
fn value(column: usize, dice: &mut SmallRng) -> Cell {
    match column {
        ID => Cell::Int(dice.random_range(0..IDS)),
        GRP => Cell::Int(dice.random_range(0..GROUPS)),
        2 => Cell::Int(dice.random_range(0..VALUES)),
        3 => Cell::Price(dice.random_range(0..10) * 50),
        4 => Cell::Bool(dice.random()),
        _ => Cell::Text((*NAMES.choose(dice).expect("there are some")).into()),
    }
}

fn literal(value: &Cell) -> Literal {
    match value {
        Cell::Int(_) | Cell::Price(_) => Literal::Number(value.plain()),
        Cell::Bool(is) => Literal::Bool(*is),
        Cell::Null | Cell::Text(_) => Literal::Text(value.plain()),
    }
}

fn test(dice: &mut SmallRng) -> Condition {
    let at = dice.random_range(ID..COLUMNS.len() - 1);
    match dice.random_range(0..10) {
        0 => null_test(at, dice),
        1 => range_test(at, dice),
        2 => list_test(at, dice),
        3..5 => text_test(dice),
        _ => {
            let constant = value(at, dice);
            let (relation, operator, sign) = *RELATIONS.choose(dice).expect("there are some");
            let sql = format!("{} {sign} {}", compared(at), constant.sql());
            let spec = spec(at, operator, Some(literal(&constant)));
            (Test::Compare(at, relation, constant), spec, sql)
        }
    }
}

fn spec(at: usize, operator: Operator, value: Option<Literal>) -> FilterSpec {
    FilterSpec::Test {
        column: COLUMNS[at].0.to_owned(),
        operator,
        value,
        modifier: ModifierSpec::default(),
    }
}

/// A column as SQL that compares by bytes.
fn compared(at: usize) -> String {
    match COLUMNS[at] {
        (name, Kind::Text) => format!("{name} COLLATE \"C\""),
        (name, _) => name.to_owned(),
    }
}

fn null_test(at: usize, dice: &mut SmallRng) -> Condition {
    let is = dice.random();
    let (operator, sql) = match is {
        true => (Operator::IsNull, "IS NULL"),
        false => (Operator::IsNotNull, "IS NOT NULL"),
    };
    let sql = format!("{} {sql}", COLUMNS[at].0);
    (Test::IsNull(at, is), spec(at, operator, None), sql)
}

fn range_test(at: usize, dice: &mut SmallRng) -> Condition {
    let (a, b) = (value(at, dice), value(at, dice));
    let inside = dice.random();
    let range = Literal::Range {
        low: Box::new(literal(&a)),
        high: Box::new(literal(&b)),
        include_low: true,
        include_high: true,
    };
    let (operator, not) = match inside {
        true => (Operator::Between, ""),
        false => (Operator::NotBetween, "NOT "),
    };
    let sql = format!("{} {not}BETWEEN {} AND {}", compared(at), a.sql(), b.sql());
    let spec = spec(at, operator, Some(range));
    (Test::Between(at, a, b, inside), spec, sql)
}

fn list_test(at: usize, dice: &mut SmallRng) -> Condition {
    let values: Vec<Cell> = (0..3).map(|_| value(at, dice)).collect();
    let inside = dice.random_ratio(2, 3);
    let (operator, not) = match inside {
        true => (Operator::InList, ""),
        false => (Operator::NotInList, "NOT "),
    };
    let list = Literal::List(values.iter().map(literal).collect());
    let texts: Vec<String> = values.iter().map(Cell::sql).collect();
    let sql = format!("{} {not}IN ({})", compared(at), texts.join(", "));
    let spec = spec(at, operator, Some(list));
    (Test::In(at, values, inside), spec, sql)
}

const NAME: usize = 5;

fn text_test(dice: &mut SmallRng) -> Condition {
    let part: Arc<str> = (*["", "a", "b", "_", "ü", "京", "\""]
        .choose(dice)
        .expect("there are some"))
    .into();
    let quoted = Cell::Text(Arc::clone(&part)).sql();
    let length = part.chars().count();
    let (test, operator, sql) = match dice.random_range(0..3) {
        0 => (
            Test::Starts(Arc::clone(&part)),
            Operator::StartsWith,
            format!("left(name, {length}) = {quoted}"),
        ),
        1 => (
            Test::Contains(Arc::clone(&part), true),
            Operator::Contains,
            format!("position({quoted} IN name) > 0"),
        ),
        _ => (
            Test::Contains(Arc::clone(&part), false),
            Operator::NotContains,
            format!("position({quoted} IN name) = 0"),
        ),
    };
    let spec = spec(NAME, operator, Some(Literal::Text(part.to_string())));
    (test, spec, sql)
}

impl Test {
    /// True, false, or unknown.
    fn holds(&self, row: &Row) -> Option<bool> {
        match self {
            Self::All(tests) => joined(tests, row, false),
            Self::Any(tests) => joined(tests, row, true),
            Self::IsNull(column, is) => Some((row.cells[*column] == Cell::Null) == *is),
            Self::Compare(column, relation, constant) => {
                let order = row.cells[*column].order(constant)?;
                Some(match relation {
                    Relation::Equal => order == Ordering::Equal,
                    Relation::NotEqual => order != Ordering::Equal,
                    Relation::Less => order == Ordering::Less,
                    Relation::LessOrEqual => order != Ordering::Greater,
                    Relation::Greater => order == Ordering::Greater,
                    Relation::GreaterOrEqual => order != Ordering::Less,
                })
            }
            Self::Between(column, low, high, inside) => {
                let cell = &row.cells[*column];
                let is =
                    cell.order(low)? != Ordering::Less && cell.order(high)? != Ordering::Greater;
                Some(is == *inside)
            }
            Self::In(column, list, inside) => {
                let cell = &row.cells[*column];
                (*cell != Cell::Null).then(|| list.contains(cell) == *inside)
            }
            Self::Starts(part) => name_of(row).map(|name| name.starts_with(&**part)),
            Self::Contains(part, does) => name_of(row).map(|name| name.contains(&**part) == *does),
        }
    }
}

/// One member that is what decides decides; else one that is unknown leaves all unknown.
fn joined(tests: &[Test], row: &Row, decides: bool) -> Option<bool> {
    let mut is_known = true;
    for test in tests {
        match test.holds(row) {
            Some(is) if is == decides => return Some(decides),
            Some(_) => {}
            None => is_known = false,
        }
    }
    is_known.then_some(!decides)
}

fn name_of(row: &Row) -> Option<&str> {
    match &row.cells[NAME] {
        Cell::Text(name) => Some(name),
        _ => None,
    }
}

/// Reads a row of the first columns as the server gives them, as text.
pub(crate) fn row_of(texts: &[Option<&str>]) -> Row {
    let cell = |(at, text): (usize, &Option<&str>)| match text {
        Some(text) => Cell::parse(kind(at), text),
        None => Cell::Null,
    };
    Row::new(texts.iter().enumerate().map(cell).collect())
}
