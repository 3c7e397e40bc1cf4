//! The demo's tables and first rows: a shop's customers and orders, and its support tickets.
//!
//! The rows are made by a seeded generator, so every first start at one moment makes the same ones.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tidegate_core::{
    ColumnDefinition, Command, Literal, TableDefinition, TableName, format_timestamp,
};

use super::words::{AGENTS, COUNTRIES, CUSTOMERS, ITEMS, NOTES, SUBJECTS};

/// Tickets made at first; the writer keeps about as many.
pub(super) const TICKET_COUNT: i64 = 2_000;
/// The newest tickets, which are still open at first: more than a page of twenty.
pub(super) const OPEN_TICKET_COUNT: i64 = 45;

const MINUTE: i64 = 60_000_000;
const DAY: i64 = 24 * 60 * MINUTE;
/// Microseconds between two orders of the past: the usual fifty thousand make about a year.
const ORDER_GAP: i64 = 10 * MINUTE;
const TICKET_GAP: i64 = 25 * MINUTE;

/// A row as a command takes it.
pub(super) type Columns = Vec<(String, Literal)>;

/// A table of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Customers,
    Orders,
    Tickets,
}

/// What a new row has in a column that it leaves out. People insert rows too, and most of them want
/// to say no more than what is wrong, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absent {
    /// The next number: it is the primary key.
    Numbered,
    Default(&'static str),
    Null,
    /// Such a row is no row.
    Refused,
}

impl Table {
    pub(super) const ALL: [Self; 3] = [Self::Customers, Self::Orders, Self::Tickets];

    /// Its name, as clients say it.
    pub(super) fn name(self) -> TableName {
        let name = match self {
            Self::Customers => "customers",
            Self::Orders => "orders",
            Self::Tickets => "tickets",
        };
        TableName::parse(name).expect("letters only")
    }

    /// Its columns: name, type, and what a row has that does not say. The first is the primary key.
    const fn columns(self) -> &'static [(&'static str, &'static str, Absent)] {
        use Absent::{Default, Null, Numbered, Refused};
        match self {
            Self::Customers => &[
                ("id", "bigInt", Numbered),
                ("name", "text", Refused),
                ("country", "text", Refused),
                ("vip", "boolean", Default("false")),
                ("joined_at", "timestamptz", Default("now")),
            ],
            Self::Orders => &[
                ("id", "bigInt", Numbered),
                ("customer_id", "bigInt", Refused),
                ("customer", "text", Refused),
                ("item", "text", Refused),
                ("quantity", "integer", Default("1")),
                ("amount", "numeric", Refused),
                ("status", "text", Default("new")),
                ("gift", "boolean", Default("false")),
                ("note", "text", Null),
                ("placed_at", "timestamptz", Default("now")),
                ("shipped_at", "timestamptz", Null),
            ],
            Self::Tickets => &[
                ("id", "bigInt", Numbered),
                ("subject", "text", Refused),
                ("customer", "text", Refused),
                ("priority", "integer", Default("2")),
                ("status", "text", Default("open")),
                ("assignee", "text", Null),
                ("escalated", "boolean", Default("false")),
                ("opened_at", "timestamptz", Default("now")),
                ("updated_at", "timestamptz", Default("now")),
                ("closed_at", "timestamptz", Null),
            ],
        }
    }

    /// The command that creates it.
    pub(super) fn creation(self) -> Command {
        let column = |&(name, data_type, absent): &(&str, &str, Absent)| ColumnDefinition {
            name: name.to_owned(),
            data_type: data_type.to_owned(),
            nullable: absent == Absent::Null,
            constraints: match absent {
                Absent::Numbered => vec!["primaryKey".to_owned(), "identity".to_owned()],
                Absent::Default(_) | Absent::Null | Absent::Refused => Vec::new(),
            },
            options: match absent {
                Absent::Default(value) => vec![("default".to_owned(), value.to_owned())],
                Absent::Numbered | Absent::Null | Absent::Refused => Vec::new(),
            },
        };
        let definition = TableDefinition {
            columns: self.columns().iter().map(column).collect(),
            comment: None,
            options: Vec::new(),
        };
        Command::CreateTable(self.name(), definition)
    }

    /// The command that adds a row.
    pub(super) fn addition(self, row: Columns) -> Command {
        Command::AddSingle(self.name(), row)
    }
}

/// The first rows of a table, with the newest just before `now` (microseconds since 1970).
pub(super) fn first_rows(
    table: Table,
    order_count: i64,
    random: &mut StdRng,
    now: i64,
) -> Vec<Columns> {
    match table {
        Table::Customers => (0..CUSTOMERS.len())
            .map(|index| customer(index, random, now))
            .collect(),
        Table::Orders => (1..=order_count)
            .map(|id| past_order(id, order_count - id, random, now))
            .collect(),
        Table::Tickets => (1..=TICKET_COUNT)
            .map(|id| past_ticket(id, random, now))
            .collect(),
    }
}

fn customer(index: usize, random: &mut StdRng, now: i64) -> Columns {
    let age = random.random_range(380 * DAY..1_500 * DAY);
    row([
        ("id", int(index as i64 + 1)),
        ("name", text(CUSTOMERS[index])),
        ("country", text(choose(COUNTRIES, random))),
        ("vip", Literal::Bool(random.random_ratio(1, 8))),
        ("joined_at", time(now - age)),
    ])
}

/// An order of the past, of which `newer` were placed later.
fn past_order(id: i64, newer: i64, random: &mut StdRng, now: i64) -> Columns {
    let placed = now - (newer + 1) * ORDER_GAP + random.random_range(0..ORDER_GAP);
    // The last two hundred are still on their way.
    let status = match newer {
        0..40 => *["new", "paid"].choose(random).expect("not empty"),
        40..200 => *["paid", "packed", "shipped"]
            .choose(random)
            .expect("not empty"),
        _ if random.random_ratio(1, 30) => "cancelled",
        _ if random.random_ratio(1, 40) => "returned",
        _ => "delivered",
    };
    let shipped = matches!(status, "shipped" | "delivered" | "returned")
        .then(|| placed + random.random_range(20..60) * MINUTE);
    new_order(id, random, placed, status, shipped)
}

/// An order as it is placed.
pub(super) fn new_order(
    id: i64,
    random: &mut StdRng,
    placed: i64,
    status: &str,
    shipped: Option<i64>,
) -> Columns {
    let customer = random.random_range(0..CUSTOMERS.len());
    let (item, cents) = *ITEMS.choose(random).expect("not empty");
    let quantity = *[1, 1, 1, 1, 2, 2, 3, 4, 6]
        .choose(random)
        .expect("not empty");
    let total = cents * quantity;
    row([
        ("id", int(id)),
        ("customer_id", int(customer as i64 + 1)),
        ("customer", text(CUSTOMERS[customer])),
        ("item", text(item)),
        ("quantity", int(quantity)),
        (
            "amount",
            Literal::Number(format!("{}.{:02}", total / 100, total % 100)),
        ),
        ("status", text(status)),
        ("gift", Literal::Bool(random.random_ratio(1, 10))),
        ("note", sometimes(NOTES, 12, random)),
        ("placed_at", time(placed)),
        ("shipped_at", shipped.map_or(Literal::Null, time)),
    ])
}

fn past_ticket(id: i64, random: &mut StdRng, now: i64) -> Columns {
    let opened = now - (TICKET_COUNT - id + 1) * TICKET_GAP + random.random_range(0..TICKET_GAP);
    let mut ticket = new_ticket(id, random, opened);
    if TICKET_COUNT - id >= OPEN_TICKET_COUNT {
        let closed = (opened + random.random_range(5..600) * MINUTE).min(now);
        set(&mut ticket, "status", text("closed"));
        set(&mut ticket, "assignee", text(choose(AGENTS, random)));
        set(&mut ticket, "updated_at", time(closed));
        set(&mut ticket, "closed_at", time(closed));
    } else if random.random_ratio(1, 2) {
        set(&mut ticket, "assignee", text(choose(AGENTS, random)));
    }
    ticket
}

/// A ticket as it is opened: nobody has it yet.
pub(super) fn new_ticket(id: i64, random: &mut StdRng, opened: i64) -> Columns {
    let priority = *[1, 2, 2, 2, 3, 3, 4].choose(random).expect("not empty");
    row([
        ("id", int(id)),
        ("subject", text(choose(SUBJECTS, random))),
        ("customer", text(choose(CUSTOMERS, random))),
        ("priority", int(priority)),
        ("status", text("open")),
        ("assignee", Literal::Null),
        ("escalated", Literal::Bool(priority == 4)),
        ("opened_at", time(opened)),
        ("updated_at", time(opened)),
        ("closed_at", Literal::Null),
    ])
}

fn set(row: &mut Columns, column: &str, value: Literal) {
    let found = row.iter_mut().find(|(name, _)| name == column);
    found.expect("the column is there").1 = value;
}

/// A row from borrowed names.
pub(super) fn row<const N: usize>(columns: [(&str, Literal); N]) -> Columns {
    columns.map(|(name, value)| (name.to_owned(), value)).into()
}

pub(super) fn choose(words: &[&'static str], random: &mut StdRng) -> &'static str {
    words.choose(random).expect("not empty")
}

fn sometimes(words: &[&'static str], one_in: u32, random: &mut StdRng) -> Literal {
    match random.random_ratio(1, one_in) {
        true => text(choose(words, random)),
        false => Literal::Null,
    }
}

pub(super) fn text(words: &str) -> Literal {
    Literal::Text(words.to_owned())
}

pub(super) fn int(number: i64) -> Literal {
    Literal::Int(number.to_string())
}

/// A point in time as clients write it, in whole milliseconds, as most programs would.
pub(super) fn time(micros: i64) -> Literal {
    Literal::Text(format_timestamp(micros - micros.rem_euclid(1_000)))
}
