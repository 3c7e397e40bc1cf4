//! Shows that the script keeps the open tickets moving for ever, without growing and without
//! contradicting itself: a small model of the two tables accepts every command.

use std::collections::{BTreeMap, VecDeque};

use tidegate_core::{Command, Literal};

use super::super::tables::TICKET_COUNT;

const ORDER_COUNT: i64 = 3_000;
use super::{Ids, OPEN_MAX, Order, Phase, REMEMBERED_MAX, Script, State, Ticket};

fn state() -> State {
    let ticket = |id| Ticket {
        id,
        phase: if id % 3 == 0 {
            Phase::Closed
        } else {
            Phase::Open
        },
        priority: 2,
    };
    let newest = TICKET_COUNT - 60;
    State {
        tickets: (newest..=TICKET_COUNT).map(ticket).collect(),
        ticket_ids: Ids {
            oldest: 1,
            next: TICKET_COUNT + 1,
        },
        orders: VecDeque::from([Order {
            id: ORDER_COUNT,
            status: "paid",
        }]),
        order_ids: Ids {
            oldest: 1,
            next: ORDER_COUNT + 1,
        },
    }
}

/// A table by key: which rows there are, and the status of those the script has touched.
struct Model {
    rows: BTreeMap<i64, String>,
}

impl Model {
    fn new(count: i64, status: &str) -> Self {
        let rows = (1..=count).map(|id| (id, status.to_owned())).collect();
        Self { rows }
    }

    fn status(columns: &[(String, Literal)]) -> Option<String> {
        columns.iter().find_map(|(name, value)| match value {
            Literal::Text(text) if name == "status" => Some(text.clone()),
            _ => None,
        })
    }

    fn apply(&mut self, command: &Command) {
        match command {
            Command::AddSingle(_, columns) => {
                let Some((_, Literal::Int(id))) = columns.first() else {
                    panic!("the id comes first: {columns:?}");
                };
                let status = Self::status(columns).expect("a row has a status");
                let before = self.rows.insert(id.parse().expect("a number"), status);
                assert!(before.is_none(), "{id} is new");
            }
            Command::UpdateSingle(_, key, columns) => {
                let id = key.text.parse().expect("a number");
                let row = self.rows.get_mut(&id).expect("updated rows exist");
                if let Some(status) = Self::status(columns) {
                    *row = status;
                }
            }
            Command::DeleteRow(_, key) => {
                let id: i64 = key.text.parse().expect("a number");
                assert!(self.rows.remove(&id).is_some(), "deleted rows exist");
            }
            other => panic!("the script only writes: {other:?}"),
        }
    }
}

#[test]
fn it_keeps_the_tickets_moving_within_bounds() {
    let mut script = Script::new(state(), ORDER_COUNT);
    let mut model = Model::new(TICKET_COUNT, "open");
    let mut statuses: BTreeMap<String, u32> = BTreeMap::new();
    for now in 0..5_000 {
        for command in script.next_ticket_act(now) {
            if let Command::UpdateSingle(_, _, columns) = &command
                && let Some(status) = Model::status(columns)
            {
                *statuses.entry(status).or_default() += 1;
            }
            model.apply(&command);
        }
        assert!(model.rows.len() <= TICKET_COUNT as usize + 200);
        assert!(script.state.tickets.len() <= REMEMBERED_MAX);
        let open = |ticket: &&Ticket| ticket.phase == Phase::Open;
        assert!(script.state.tickets.iter().filter(open).count() <= OPEN_MAX + 1);
    }
    let moved: Vec<&str> = statuses.keys().map(String::as_str).collect();
    assert_eq!(moved, ["closed", "open", "waiting"]);
}

#[test]
fn orders_go_their_way_within_bounds() {
    let mut script = Script::new(state(), ORDER_COUNT);
    let mut model = Model::new(ORDER_COUNT, "delivered");
    for now in 0..5_000 {
        for command in script.next_order_act(now) {
            model.apply(&command);
        }
        assert!(model.rows.len() <= ORDER_COUNT as usize + 200);
        assert!(script.state.orders.len() <= REMEMBERED_MAX);
    }
    let newest = model.rows.range(ORDER_COUNT + 1..);
    let delivered = newest.filter(|(_, status)| *status == "delivered");
    assert!(delivered.count() > 100, "orders arrive");
}

/// Starting again from the same rows makes the same choices, so a demo can be shown twice.
#[test]
fn the_same_state_makes_the_same_choices() {
    let choices = || {
        let mut script = Script::new(state(), ORDER_COUNT);
        (0..200)
            .flat_map(|now| script.next_ticket_act(now))
            .collect::<Vec<_>>()
    };
    assert_eq!(choices(), choices());
}

/// Whatever was left behind, an empty table included, the script finds something to do.
#[test]
fn it_starts_from_nothing() {
    let nothing = Ids { oldest: 1, next: 1 };
    let mut script = Script::new(
        State {
            tickets: VecDeque::new(),
            ticket_ids: nothing,
            orders: VecDeque::new(),
            order_ids: nothing,
        },
        0,
    );
    let mut tickets = Model::new(0, "");
    let mut orders = Model::new(0, "");
    for now in 0..500 {
        let acts = script.next_ticket_act(now);
        acts.iter().for_each(|command| tickets.apply(command));
        let acts = script.next_order_act(now);
        acts.iter().for_each(|command| orders.apply(command));
    }
    assert!(!tickets.rows.is_empty() && !orders.rows.is_empty());
}
