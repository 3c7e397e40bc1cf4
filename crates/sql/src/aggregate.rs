//! Aggregates that Postgres computes.

use tidegate_core::{Filter, QueryError};

use crate::Statement;
use crate::postgres::{PostgresTable, PostgresType};
use crate::target::Target;
use crate::writer::Writer;

/// What to compute of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    /// Their sum.
    Sum,
    /// Their average.
    Average,
    /// The lowest.
    Minimum,
    /// The highest.
    Maximum,
}

/// The count of the rows that match and these aggregates of them, each as text. `table` is the
/// target's.
///
/// # Errors
/// `BadFilter` when it holds more values than a statement can.
pub fn aggregate(
    table: &PostgresTable,
    target: Target<'_>,
    wanted: &[(Aggregate, usize)],
    filter: &Filter,
) -> Result<Statement, QueryError> {
    let mut writer = Writer::new(target);
    writer.push("SELECT count(*)::text");
    for (aggregate, column) in wanted {
        writer.push(", ");
        writer.aggregate(*aggregate, *column, table.columns[*column]);
    }
    writer.read_filtered(filter);
    writer.finish()
}

impl Writer<'_> {
    /// Some types have an order and yet no `min` and `max`; they are brought into another whose
    /// order is the same.
    fn aggregate(&mut self, aggregate: Aggregate, column: usize, own: PostgresType) {
        let lowest = aggregate == Aggregate::Minimum;
        let function = match aggregate {
            Aggregate::Sum => "sum",
            Aggregate::Average => "avg",
            Aggregate::Minimum => "min",
            Aggregate::Maximum => "max",
        };
        match (aggregate, own) {
            (Aggregate::Minimum | Aggregate::Maximum, PostgresType::Boolean) => {
                self.push(if lowest { "bool_and(" } else { "bool_or(" });
                self.column(column);
                self.push(")::text");
            }
            (Aggregate::Minimum | Aggregate::Maximum, PostgresType::Bytea) => {
                self.push("'\\x' || ");
                self.push(function);
                self.push("(encode(");
                self.column(column);
                self.push(", 'hex') COLLATE \"C\")");
            }
            (
                Aggregate::Minimum | Aggregate::Maximum,
                PostgresType::Text | PostgresType::Char | PostgresType::Uuid,
            ) => {
                self.push(function);
                self.push("(");
                self.column(column);
                self.push("::text COLLATE \"C\")");
            }
            _ => {
                self.push(function);
                self.push("(");
                self.column(column);
                self.push(")::text");
            }
        }
    }
}
