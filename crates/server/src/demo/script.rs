//! What the demo's writer does next: a pure machine of seeded choices, without clock or database.
//!
//! It remembers the newest tickets and orders, and keeps "open tickets, newest first" moving: new
//! ones come, others are taken, raised, parked, closed and opened again. The total number of rows
//! is bounded: for each row past the bound the oldest one goes.

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tidegate_core::{Command, KeySpec, Literal};

use super::tables::{
    Columns, TICKET_COUNT, Table, choose, int, new_order, new_ticket, row, text, time,
};
use super::words::AGENTS;

/// Rows that may come on top of the first ones before the oldest goes.
const ROWS_MARGIN: i64 = 200;
/// Tickets and orders remembered: all that is still moving.
pub(super) const REMEMBERED_MAX: usize = 120;
/// The page that should move: acts on tickets take place among these.
const PAGE_ROWS: usize = 20;
/// The number of open tickets is kept between these, so that a page of twenty is always full.
const OPEN_MIN: usize = 30;
const OPEN_MAX: usize = 70;

/// Where a ticket stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    Waiting,
    Closed,
}

/// A ticket as the script remembers it.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    pub(super) id: i64,
    pub(super) phase: Phase,
    pub(super) priority: i64,
}

/// An order on its way.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) id: i64,
    pub(super) status: &'static str,
}

/// The ids a table holds: from the oldest to before the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ids {
    pub(super) oldest: i64,
    pub(super) next: i64,
}

/// What the script goes on from.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// Newest last.
    pub(super) tickets: VecDeque<Ticket>,
    pub(super) ticket_ids: Ids,
    /// Newest last; only those on their way.
    pub(super) orders: VecDeque<Order>,
    pub(super) order_ids: Ids,
}

/// The writer's choices.
pub(super) struct Script {
    state: State,
    /// Orders past which the oldest goes.
    orders_max: i64,
    random: StdRng,
}

/// What may happen to a ticket.
#[derive(Debug, Clone, Copy)]
enum Act {
    New,
    Assign,
    Raise,
    Park,
    Resume,
    Close,
    Reopen,
}

impl Script {
    /// Goes on from a state, keeping about as many orders. The same state makes the same choices.
    pub(super) fn new(state: State, order_count: i64) -> Self {
        let seed =
            state.ticket_ids.next.unsigned_abs() ^ (state.order_ids.next.unsigned_abs() << 32);
        Self {
            state,
            orders_max: order_count + ROWS_MARGIN,
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// The next thing that happens to the tickets, at `now` (microseconds since 1970).
    pub(super) fn next_ticket_act(&mut self, now: i64) -> Vec<Command> {
        let act = self.choose_act();
        let mut commands = match act {
            Act::New => vec![self.new_ticket(now)],
            Act::Assign => self.change(Phase::Open, now, |_, random| {
                row([("assignee", text(choose(AGENTS, random)))])
            }),
            Act::Raise => self.change(Phase::Open, now, |ticket, random| {
                let other = random.random_range(1..4);
                ticket.priority = (ticket.priority + other - 1) % 4 + 1;
                row([
                    ("priority", int(ticket.priority)),
                    ("escalated", Literal::Bool(ticket.priority == 4)),
                ])
            }),
            Act::Park => self.change(Phase::Open, now, |ticket, _| {
                ticket.phase = Phase::Waiting;
                row([("status", text("waiting"))])
            }),
            Act::Resume => self.change(Phase::Waiting, now, |ticket, _| {
                ticket.phase = Phase::Open;
                row([("status", text("open"))])
            }),
            Act::Close => self.change(Phase::Open, now, |ticket, _| {
                ticket.phase = Phase::Closed;
                row([("status", text("closed")), ("closed_at", time(now))])
            }),
            Act::Reopen => self.change(Phase::Closed, now, |ticket, _| {
                ticket.phase = Phase::Open;
                row([("status", text("open")), ("closed_at", Literal::Null)])
            }),
        };
        // Nobody is where the act would take place: something new happens instead.
        if commands.is_empty() {
            commands.push(self.new_ticket(now));
        }
        commands.extend(trim(
            Table::Tickets,
            &mut self.state.ticket_ids,
            TICKET_COUNT + ROWS_MARGIN,
        ));
        commands
    }

    /// The next thing that happens to the orders.
    pub(super) fn next_order_act(&mut self, now: i64) -> Vec<Command> {
        let few = self.state.orders.len() < REMEMBERED_MAX / 4;
        let many = self.state.orders.len() >= REMEMBERED_MAX;
        let is_new = few || (!many && self.random.random_ratio(1, 4));
        let mut commands = vec![match is_new {
            true => self.new_order(now),
            false => self.move_order(now),
        }];
        commands.extend(trim(
            Table::Orders,
            &mut self.state.order_ids,
            self.orders_max,
        ));
        commands
    }

    fn choose_act(&mut self) -> Act {
        let is_open = |ticket: &&Ticket| ticket.phase == Phase::Open;
        let open = self.state.tickets.iter().filter(is_open).count();
        if open < OPEN_MIN {
            return Act::New;
        }
        if open > OPEN_MAX {
            return Act::Close;
        }
        let weighted = [
            (Act::New, 28),
            (Act::Assign, 18),
            (Act::Raise, 16),
            (Act::Park, 8),
            (Act::Resume, 5),
            (Act::Close, 19),
            (Act::Reopen, 6),
        ];
        let chosen = weighted.choose_weighted(&mut self.random, |(_, weight)| *weight);
        chosen.expect("there are weights").0
    }

    fn new_ticket(&mut self, now: i64) -> Command {
        let id = self.state.ticket_ids.next;
        self.state.ticket_ids.next += 1;
        let columns = new_ticket(id, &mut self.random, now);
        let priority = columns.iter().find_map(|(name, value)| match value {
            Literal::Int(number) if name == "priority" => number.parse().ok(),
            _ => None,
        });
        self.state.tickets.push_back(Ticket {
            id,
            phase: Phase::Open,
            priority: priority.expect("a ticket has a priority"),
        });
        if self.state.tickets.len() > REMEMBERED_MAX {
            self.state.tickets.pop_front();
        }
        Table::Tickets.addition(columns)
    }

    /// Changes one of the newest tickets in a phase; nothing when there is none.
    fn change(
        &mut self,
        phase: Phase,
        now: i64,
        change: impl FnOnce(&mut Ticket, &mut StdRng) -> Columns,
    ) -> Vec<Command> {
        let tickets = self.state.tickets.iter_mut().rev();
        let mut newest: Vec<&mut Ticket> = tickets
            .filter(|ticket| ticket.phase == phase)
            .take(PAGE_ROWS)
            .collect();
        if newest.is_empty() {
            return Vec::new();
        }
        let at = self.random.random_range(0..newest.len());
        let ticket = &mut *newest[at];
        let mut columns = change(ticket, &mut self.random);
        columns.push(("updated_at".to_owned(), time(now)));
        vec![update(Table::Tickets, ticket.id, columns)]
    }

    fn new_order(&mut self, now: i64) -> Command {
        let id = self.state.order_ids.next;
        self.state.order_ids.next += 1;
        self.state.orders.push_back(Order { id, status: "new" });
        Table::Orders.addition(new_order(id, &mut self.random, now, "new", None))
    }

    fn move_order(&mut self, now: i64) -> Command {
        let at = self.random.random_range(0..self.state.orders.len());
        let order = &mut self.state.orders[at];
        let cancelled = order.status == "new" && self.random.random_ratio(1, 12);
        order.status = match order.status {
            "new" if cancelled => "cancelled",
            "new" => "paid",
            "paid" => "packed",
            "packed" => "shipped",
            _ => "delivered",
        };
        let (id, status) = (order.id, order.status);
        if matches!(status, "cancelled" | "delivered") {
            self.state.orders.remove(at);
        }
        let mut columns = row([("status", text(status))]);
        if status == "shipped" {
            columns.push(("shipped_at".to_owned(), time(now)));
        }
        update(Table::Orders, id, columns)
    }
}

fn update(table: Table, id: i64, columns: Columns) -> Command {
    Command::UpdateSingle(table.name(), key(id), columns)
}

fn key(id: i64) -> KeySpec {
    KeySpec {
        column: None,
        text: id.to_string(),
        parts: None,
    }
}

/// Deletes the oldest row once there are too many.
fn trim(table: Table, ids: &mut Ids, rows_max: i64) -> Option<Command> {
    if ids.next - ids.oldest <= rows_max {
        return None;
    }
    let oldest = ids.oldest;
    ids.oldest += 1;
    Some(Command::DeleteRow(table.name(), key(oldest)))
}

#[cfg(test)]
mod tests;
