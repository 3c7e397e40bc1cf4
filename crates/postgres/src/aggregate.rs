//! Aggregates, computed by the server and read as exact decimals.

use tidegate_core::{Aggregates, Aggregation, ColumnType, CommandError, Filter, Numeric, Value};
use tidegate_sql::Aggregate;
use tokio_postgres::Client;

use crate::error::{Failure, rejected};
use crate::session::{run, text_of};
use crate::table::Share;
use crate::value::{read, unreadable};

/// Aggregates in one command: more than a person asks for.
const AGGREGATES_MAX: usize = 1_000;

/// Computes what was asked for over the rows that match.
pub(crate) async fn aggregate(
    client: &Client,
    table: &Share,
    wanted: &Aggregation,
    filter: &Filter,
) -> Result<Aggregates, Failure> {
    let lists = [
        (Aggregate::Sum, &wanted.sum),
        (Aggregate::Average, &wanted.average),
        (Aggregate::Minimum, &wanted.minimum),
        (Aggregate::Maximum, &wanted.maximum),
    ];
    let mut asked = Vec::new();
    for (aggregate, names) in lists {
        for name in names {
            asked.push((aggregate, place(table, aggregate, name)?));
        }
    }
    if asked.len() > AGGREGATES_MAX {
        let text = format!("at most {AGGREGATES_MAX} aggregates are computed at once");
        return Err(CommandError::BadCommand(text).into());
    }
    let schema = &table.schema;
    let statement = tidegate_sql::aggregate(&table.sql, table.target(), &asked, filter)?;
    let rows = run(client, &statement.text, &statement.parameters).await?;
    let row = rows.first().ok_or(Failure::Stale)?;
    let odd = || Failure::from(rejected("it gave an aggregate that is no number"));
    let count = text_of(row, 0)
        .and_then(|text| text.parse().ok())
        .ok_or_else(odd)?;
    let mut found = Aggregates {
        count,
        ..Aggregates::default()
    };
    for (at, (aggregate, column)) in asked.iter().enumerate() {
        let text = text_of(row, at + 1);
        let stored = &schema.columns()[*column];
        let name = stored.name.to_string();
        let number = || match text.map(Numeric::parse) {
            None => Ok(None),
            Some(Some(number)) => Ok(Some(number)),
            Some(None) => Err(odd()),
        };
        let value = || match text {
            None => Ok(Value::Null),
            Some(text) => read(table.sql.columns[*column], text)
                .map_err(|why| unreadable(schema, stored, why)),
        };
        match aggregate {
            Aggregate::Sum => found.sum.push((name, number()?)),
            Aggregate::Average => found.average.push((name, number()?)),
            Aggregate::Minimum => found.minimum.push((name, value()?)),
            Aggregate::Maximum => found.maximum.push((name, value()?)),
        }
    }
    Ok(found)
}

fn place(table: &Share, aggregate: Aggregate, name: &str) -> Result<usize, CommandError> {
    let at = table.schema.named_column(name)?;
    let kind = &table.schema.columns()[at].kind;
    let (fits, what) = match aggregate {
        Aggregate::Sum | Aggregate::Average => (is_number(kind), "added up"),
        Aggregate::Minimum | Aggregate::Maximum => (kind.is_comparable(), "compared"),
    };
    if fits {
        return Ok(at);
    }
    let text = format!("column {name} is of type {kind}, which cannot be {what}");
    Err(CommandError::BadCommand(text))
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
