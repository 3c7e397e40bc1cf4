//! Reads from the tables what the demo's writer goes on from.

use std::collections::VecDeque;

use tidegate_core::{
    Command, OrderSpec, Outcome, QuerySpec, Row, Selection, Sort, TableSchema, Value,
};
use tidegate_ports::{Database, DatabaseError};

use super::script::{Ids, Order, Phase, REMEMBERED_MAX, State, Ticket};
use super::tables::Table;
use super::tenant;

/// Rows among which orders on their way are looked for.
const RECENT_ORDERS: u64 = 400;

/// Whether the table is there.
pub(super) async fn exists(database: &dyn Database, table: Table) -> Result<bool, DatabaseError> {
    let command = Command::TableExists(table.name());
    let reply = database.execute(&tenant(), command).await?;
    Ok(reply.outcome == Outcome::Bool(true))
}

/// The highest id of a table; zero when it is empty.
pub(super) async fn highest_id(
    database: &dyn Database,
    table: Table,
) -> Result<i64, DatabaseError> {
    let newest = newest(database, table, 1).await?;
    let id = newest.first().and_then(|record| record.int("id"));
    Ok(id.unwrap_or(0))
}

/// The newest rows of a table, newest first.
async fn newest(
    database: &dyn Database,
    table: Table,
    limit: u64,
) -> Result<Vec<Record>, DatabaseError> {
    select(database, table, Sort::DescDefault, limit).await
}

/// What the tables hold, as far as the script must know it.
pub(super) async fn state(database: &dyn Database) -> Result<State, DatabaseError> {
    let tickets = newest(database, Table::Tickets, REMEMBERED_MAX as u64).await?;
    let orders = newest(database, Table::Orders, RECENT_ORDERS).await?;
    Ok(State {
        ticket_ids: ids(database, Table::Tickets, &tickets).await?,
        order_ids: ids(database, Table::Orders, &orders).await?,
        tickets: tickets.iter().rev().filter_map(ticket).collect(),
        orders: moving_orders(&orders),
    })
}

async fn ids(
    database: &dyn Database,
    table: Table,
    newest: &[Record],
) -> Result<Ids, DatabaseError> {
    let oldest = select(database, table, Sort::AscDefault, 1).await?;
    let id = |records: &[Record]| records.first().and_then(|record| record.int("id"));
    Ok(Ids {
        oldest: id(&oldest).unwrap_or(1),
        next: id(newest).map_or(1, |id| id.saturating_add(1)),
    })
}

async fn select(
    database: &dyn Database,
    table: Table,
    sort: Sort,
    limit: u64,
) -> Result<Vec<Record>, DatabaseError> {
    let by_id = OrderSpec {
        column: "id".to_owned(),
        sort,
        is_pk: false,
    };
    let selection = Selection {
        query: QuerySpec {
            order: vec![by_id],
            limit: Some(limit),
            ..QuerySpec::default()
        },
        offset: 0,
    };
    let command = Command::GetData(table.name(), selection);
    let reply = database.execute(&tenant(), command).await?;
    let Outcome::Page { schema, rows, .. } = reply.outcome else {
        return Ok(Vec::new());
    };
    let record = |row| Record {
        schema: schema.clone(),
        row,
    };
    Ok(rows.into_iter().map(record).collect())
}

/// A row that can be asked by column name.
struct Record {
    schema: std::sync::Arc<TableSchema>,
    row: Row,
}

impl Record {
    fn get(&self, column: &str) -> Option<&Value> {
        self.row.get(self.schema.column_index(column)?)
    }

    fn int(&self, column: &str) -> Option<i64> {
        match self.get(column)? {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    fn text(&self, column: &str) -> Option<&str> {
        match self.get(column)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// A ticket, or nothing for a row that somebody else wrote in another way.
fn ticket(record: &Record) -> Option<Ticket> {
    Some(Ticket {
        id: record.int("id")?,
        phase: match record.text("status")? {
            "open" => Phase::Open,
            "waiting" => Phase::Waiting,
            _ => Phase::Closed,
        },
        priority: record.int("priority")?,
    })
}

fn moving_orders(newest: &[Record]) -> VecDeque<Order> {
    let moving = ["new", "paid", "packed", "shipped"];
    let order = |record: &Record| {
        let status = record.text("status")?;
        Some(Order {
            id: record.int("id")?,
            status: moving.into_iter().find(|word| *word == status)?,
        })
    };
    let mut orders: VecDeque<Order> = newest
        .iter()
        .filter_map(order)
        .take(REMEMBERED_MAX)
        .collect();
    orders.make_contiguous().reverse();
    orders
}
