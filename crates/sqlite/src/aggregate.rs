//! Aggregates, computed from the values as the engine reads them, so that they are exact.

use std::cmp::Ordering;

use rusqlite::{Connection, params_from_iter};
use tidegate_core::{Aggregates, Aggregation, ColumnType, CommandError, Filter, Numeric, Value};
use tidegate_sql::{count, select_columns};

use crate::catalog::Share;
use crate::cell::{Place, Stored, read};
use crate::decimal::Sum;
use crate::error::Failure;

/// Aggregates in one command: more than a person asks for.
const AGGREGATES_MAX: usize = 1_000;

/// Computes what was asked for over the rows that match.
pub(crate) fn aggregate(
    connection: &Connection,
    table: &Share<'_>,
    wanted: &Aggregation,
    filter: &Filter,
) -> Result<Aggregates, Failure> {
    let lists = [
        &wanted.sum,
        &wanted.average,
        &wanted.minimum,
        &wanted.maximum,
    ];
    if lists.iter().map(|list| list.len()).sum::<usize>() > AGGREGATES_MAX {
        let text = format!("at most {AGGREGATES_MAX} aggregates are computed at once");
        return Err(CommandError::BadCommand(text).into());
    }
    let mut columns = Columns::new(table);
    let added = columns.places(&wanted.sum, Need::Numbers)?;
    let averaged = columns.places(&wanted.average, Need::Numbers)?;
    let lowest = columns.places(&wanted.minimum, Need::Order)?;
    let highest = columns.places(&wanted.maximum, Need::Order)?;
    let count = columns.fold(connection, filter)?;
    let folds = &columns.folds;
    let named = |names: &[String], places: &[usize], pick: fn(&Fold) -> Option<Numeric>| {
        names
            .iter()
            .cloned()
            .zip(places.iter().map(|at| pick(&folds[*at])))
            .collect()
    };
    let bound = |names: &[String], places: &[usize], pick: fn(&Fold) -> &Value| {
        names
            .iter()
            .cloned()
            .zip(places.iter().map(|at| pick(&folds[*at]).clone()))
            .collect()
    };
    Ok(Aggregates {
        count,
        sum: named(&wanted.sum, &added, Fold::sum),
        average: named(&wanted.average, &averaged, Fold::average),
        minimum: bound(&wanted.minimum, &lowest, |fold| &fold.lowest),
        maximum: bound(&wanted.maximum, &highest, |fold| &fold.highest),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Numbers,
    Order,
}

/// The columns that aggregates are computed of, each read once.
struct Columns<'a> {
    table: &'a Share<'a>,
    columns: Vec<usize>,
    folds: Vec<Fold>,
}

impl<'a> Columns<'a> {
    fn new(table: &'a Share<'a>) -> Self {
        let (columns, folds) = (Vec::new(), Vec::new());
        Self {
            table,
            columns,
            folds,
        }
    }

    /// Where among the columns read these stand.
    fn places(&mut self, names: &[String], need: Need) -> Result<Vec<usize>, CommandError> {
        names.iter().map(|name| self.place(name, need)).collect()
    }

    fn place(&mut self, name: &str, need: Need) -> Result<usize, CommandError> {
        let schema = &self.table.schema;
        let column = schema.named_column(name)?;
        let kind = &schema.columns()[column].kind;
        let fits = match need {
            Need::Numbers => is_number(kind),
            Need::Order => kind.is_comparable(),
        };
        if !fits {
            let what = match need {
                Need::Numbers => "added up",
                Need::Order => "compared",
            };
            let text = format!("column {name} is of type {kind}, which cannot be {what}");
            return Err(CommandError::BadCommand(text));
        }
        if let Some(at) = self.columns.iter().position(|known| *known == column) {
            return Ok(at);
        }
        self.columns.push(column);
        self.folds.push(Fold::default());
        Ok(self.columns.len() - 1)
    }

    /// Reads all rows that match and gives their count.
    fn fold(&mut self, connection: &Connection, filter: &Filter) -> Result<u64, Failure> {
        let (target, schema) = (self.table.target(), &self.table.schema);
        if self.columns.is_empty() {
            let statement = count(target, filter)?;
            let parameters = params_from_iter(statement.parameters.iter().map(Stored));
            let mut prepared = connection.prepare_cached(&statement.text)?;
            return Ok(prepared.query_row(parameters, |row| row.get(0))?);
        }
        let statement = select_columns(target, &self.columns, filter)?;
        let mut prepared = connection.prepare_cached(&statement.text)?;
        let mut rows = prepared.query(params_from_iter(statement.parameters.iter().map(Stored)))?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            count += 1;
            for (at, column) in self.columns.iter().enumerate() {
                let column = &schema.columns()[*column];
                let value = read(&column.kind, Place::Plain, row.get_ref(at)?).map_err(|why| {
                    let (table, name) = (schema.table(), &column.name);
                    let text = format!("table {table}: column {name} ({}) {why}", column.kind);
                    CommandError::UnreadableValue(text)
                })?;
                self.folds[at].take(value);
            }
        }
        Ok(count)
    }
}

fn is_number(kind: &ColumnType) -> bool {
    match kind {
        ColumnType::SmallInt
        | ColumnType::Integer
        | ColumnType::BigInt
        | ColumnType::WideInteger
        | ColumnType::Real
        | ColumnType::Double
        | ColumnType::Numeric => true,
        ColumnType::Boolean
        | ColumnType::Text
        | ColumnType::Timestamp
        | ColumnType::Date
        | ColumnType::Bytea
        | ColumnType::Json
        | ColumnType::JsonText
        | ColumnType::Array(_)
        | ColumnType::Range(_)
        | ColumnType::Other(_) => false,
    }
}

/// What one column gave so far. NULL counts for nothing.
struct Fold {
    exact: Sum,
    /// Floats are added as floats, as Postgres adds them.
    float: Option<(f64, u64)>,
    lowest: Value,
    highest: Value,
}

impl Default for Fold {
    fn default() -> Self {
        Self {
            exact: Sum::default(),
            float: None,
            lowest: Value::Null,
            highest: Value::Null,
        }
    }
}

impl Fold {
    fn take(&mut self, value: Value) {
        match &value {
            Value::Null => return,
            Value::Int(number) => self.exact.add(&Numeric::from_int(*number)),
            Value::Numeric(number) => self.exact.add(number),
            Value::Float(number) => {
                let (sum, count) = self.float.unwrap_or((0.0, 0));
                self.float = Some((sum + number, count + 1));
            }
            Value::Bool(_)
            | Value::Text(_)
            | Value::Timestamp(_)
            | Value::Date(_)
            | Value::Bytes(_)
            | Value::Json(_)
            | Value::Array(_) => {}
        }
        if self.lowest.is_null() || value.compare(&self.lowest) == Some(Ordering::Less) {
            self.lowest = value.clone();
        }
        if self.highest.is_null() || value.compare(&self.highest) == Some(Ordering::Greater) {
            self.highest = value;
        }
    }

    fn sum(&self) -> Option<Numeric> {
        match self.float {
            Some((sum, _)) => Some(Numeric::from_float(sum)),
            None => self.exact.total(),
        }
    }

    fn average(&self) -> Option<Numeric> {
        match self.float {
            Some((sum, count)) => Some(Numeric::from_float(sum / count as f64)),
            None => self.exact.average(),
        }
    }
}
