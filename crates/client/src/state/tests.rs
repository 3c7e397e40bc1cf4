//! Runs the state against a model of a gateway under random cuts, resets and slow reading, and
//! shows that a reader never sees a page that the gateway did not have at that position.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::{
    ProptestConfig, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::test_runner::TestCaseError;
use serde_json::{Value, json};
use tidegate_core::QuerySpec;

use super::State;
use crate::frame::read_text;
use crate::live_page::{LivePage, PagePosition};
use crate::mailbox::{Mailbox, Update};
use crate::subscription::Subscribe;

/// Misfits per run: fewer than what ends a subscription.
const NONSENSE_MAX: usize = 3;

/// Diffs that the model keeps for resumes.
const TAIL: usize = 6;

#[derive(Debug, Clone)]
enum Step {
    /// The page changes: where, and how.
    Change(usize, usize, u8),
    /// Some frames arrive.
    Deliver(usize),
    /// The server reads what the client sent.
    Serve,
    /// The connection ends with all that is on its way.
    Cut,
    /// The connection is there again.
    Connect,
    /// The page's history starts over.
    NewEpoch,
    /// The server gives up sending diffs and sends a page.
    Overflow,
    /// The server says "later" to the subscription.
    Later,
    /// A diff that fits no page, while good ones go on.
    Nonsense,
    /// The client's timer for "later".
    Retry,
    /// The reader reads some updates.
    Read(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..8_usize, 0..8_usize, 0..5_u8).prop_map(|(at, to, how)| Step::Change(at, to, how)),
        6 => (1..6_usize).prop_map(Step::Deliver),
        4 => proptest::prelude::Just(Step::Serve),
        1 => proptest::prelude::Just(Step::Cut),
        2 => proptest::prelude::Just(Step::Connect),
        1 => proptest::prelude::Just(Step::NewEpoch),
        1 => proptest::prelude::Just(Step::Overflow),
        1 => proptest::prelude::Just(Step::Later),
        1 => proptest::prelude::Just(Step::Nonsense),
        2 => proptest::prelude::Just(Step::Retry),
        5 => (1..5_usize).prop_map(Step::Read),
    ]
}

/// A gateway with one page and one connection.
struct Gateway {
    rows: Vec<(u32, u32)>,
    next: u32,
    epoch: u64,
    offset: u64,
    /// Diffs after which position, oldest first; of this epoch only.
    tail: VecDeque<(String, Value)>,
    /// What the page was at each position that ever was.
    history: HashMap<String, Vec<String>>,
    subscriber: Option<String>,
    wire: VecDeque<Value>,
}

impl Gateway {
    fn new() -> Self {
        let mut gateway = Self {
            rows: vec![(0, 0)],
            next: 1,
            epoch: 1,
            offset: 0,
            tail: VecDeque::new(),
            history: HashMap::new(),
            subscriber: None,
            wire: VecDeque::new(),
        };
        gateway.note();
        gateway
    }

    fn position(&self) -> String {
        format!("{}-{}", self.epoch, self.offset)
    }

    fn row(row: (u32, u32)) -> Value {
        json!({"id": row.0, "n": row.1})
    }

    fn added(row: (u32, u32), pos: usize) -> Value {
        let pk = row.0.to_string();
        json!({"kind": "added", "pk": pk, "pos": pos, "row": Self::row(row)})
    }

    fn note(&mut self) {
        let rows = self.rows.iter().map(|row| Self::row(*row).to_string());
        self.history.insert(self.position(), rows.collect());
    }

    fn change(&mut self, at: usize, to: usize, how: u8) {
        self.next += 1;
        let count = self.rows.len();
        let fresh = (self.next, 0);
        let pos = to % (count + 1);
        let changes = match how {
            0 if count > 0 => {
                let (id, _) = self.rows.remove(at % count);
                json!([{"kind": "removed", "pk": id.to_string(), "from": at % count}])
            }
            1 | 2 if count > 0 => {
                let (from, pos) = (at % count, to % count);
                let (id, _) = self.rows.remove(from);
                let row = (id, self.next);
                self.rows.insert(pos, row);
                json!([{"kind": "modified", "pk": id.to_string(), "from": from, "pos": pos,
                    "row": Self::row(row)}])
            }
            // The window moves by one: one leaves at the end, one comes in.
            3 if count > 0 => {
                let (id, _) = self.rows.remove(count - 1);
                let pos = to % count;
                self.rows.insert(pos, fresh);
                json!([{"kind": "removed", "pk": id.to_string(), "from": count - 1},
                    Self::added(fresh, pos)])
            }
            _ => {
                self.rows.insert(pos, fresh);
                json!([Self::added(fresh, pos)])
            }
        };
        let before = self.position();
        self.offset += 1;
        self.note();
        let diff = json!({"op": "diff", "hashId": "", "changes": changes,
            "cursor": {"lsn": "1", "position": self.position()}});
        self.tail.push_back((before, diff.clone()));
        if self.tail.len() > TAIL {
            self.tail.pop_front();
        }
        if self.subscriber.is_some() {
            self.push(diff);
        }
    }

    fn push(&mut self, mut frame: Value) {
        frame["hashId"] = json!(self.subscriber);
        self.wire.push_back(frame);
    }

    fn push_page(&mut self, reason: &str) {
        let rows: Vec<Value> = self.rows.iter().map(|row| Self::row(*row)).collect();
        let pks: Vec<String> = self.rows.iter().map(|row| row.0.to_string()).collect();
        self.push(
            json!({"op": "snapshot", "rows": rows, "pks": pks, "reason": reason,
            "cursor": {"lsn": "1", "position": self.position()}}),
        );
    }

    fn new_epoch(&mut self) {
        self.epoch += 1;
        self.offset = 0;
        self.tail.clear();
        self.note();
        if self.subscriber.is_some() {
            self.push_page("epoch");
        }
    }

    fn serve(&mut self, frame: &str) {
        let frame: Value = serde_json::from_str(frame).expect("clients send JSON");
        assert_eq!(frame["op"], "subscribe");
        let label = frame["hashId"].as_str().expect("labels are text");
        self.subscriber = Some(label.to_owned());
        self.push(json!({"op": "ack"}));
        let Some(resume) = frame.get("resume").and_then(Value::as_str) else {
            self.push_page("subscribe");
            return;
        };
        let at = self.tail.iter().position(|(before, _)| before == resume);
        if at.is_none() && resume != self.position() {
            self.push_page("unrecoverable");
            return;
        }
        self.push(json!({"op": "resumed", "cursor": {"lsn": "1", "position": resume}}));
        let missing = self.tail.iter().skip(at.unwrap_or(self.tail.len()));
        let missing: Vec<Value> = missing.map(|(_, diff)| diff.clone()).collect();
        for diff in missing {
            self.push(diff);
        }
    }
}

struct World {
    gateway: Gateway,
    state: State,
    mailbox: Arc<Mailbox>,
    page: LivePage,
    connected: bool,
    nonsense: usize,
}

impl World {
    fn new() -> Self {
        let mailbox = Arc::new(Mailbox::new(3));
        let mut state = State::new();
        let subscribe = Subscribe::new("notes", &QuerySpec::default());
        state.subscribe(subscribe, mailbox.clone());
        Self {
            gateway: Gateway::new(),
            state,
            mailbox,
            page: LivePage::default(),
            connected: false,
            nonsense: 0,
        }
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Change(at, to, how) => self.gateway.change(*at, *to, *how),
            Step::NewEpoch => self.gateway.new_epoch(),
            Step::Overflow if self.gateway.subscriber.is_some() => {
                self.gateway.change(0, 0, 4);
                // The diff that was just made is the one that is not sent.
                self.gateway.wire.pop_back();
                self.gateway.push_page("overflow");
            }
            Step::Later if self.gateway.subscriber.is_some() => {
                self.gateway
                    .push(json!({"op": "error", "code": "overloaded", "message": "",
                    "retry": true}));
                self.gateway.subscriber = None;
            }
            Step::Nonsense if self.gateway.subscriber.is_some() && self.nonsense < NONSENSE_MAX => {
                self.nonsense += 1;
                self.gateway.push(json!({"op": "diff",
                    "changes": [{"kind": "removed", "pk": "x", "from": 999}],
                    "cursor": {"lsn": "1", "position": "0-0"}}));
            }
            Step::Overflow | Step::Later | Step::Nonsense => {}
            Step::Deliver(count) => {
                for _ in 0..*count {
                    let Some(frame) = self.gateway.wire.pop_front() else {
                        break;
                    };
                    let read = read_text(&frame.to_string());
                    self.state.frame(read.expect("the model writes frames"));
                }
            }
            Step::Serve => {
                while let Some(frame) = self.state.pop_output() {
                    self.gateway.serve(&frame);
                }
            }
            Step::Cut => {
                self.state.disconnected();
                self.gateway.subscriber = None;
                self.gateway.wire.clear();
                self.connected = false;
            }
            Step::Connect if !self.connected => {
                self.state.connected();
                self.connected = true;
            }
            Step::Connect => {}
            Step::Retry => self.state.retry(),
            Step::Read(count) => {
                for _ in 0..*count {
                    self.read()?;
                }
            }
        }
        Ok(())
    }

    /// Reads an update and checks the page it leads to.
    fn read(&mut self) -> Result<bool, TestCaseError> {
        let Some(delivery) = self.mailbox.try_take() else {
            return Ok(false);
        };
        prop_assert!(
            !matches!(delivery.update, Update::Error(_)),
            "{:?}",
            delivery.update
        );
        delivery.update.apply_to(&mut self.page);
        let position = self.page.position().map(PagePosition::as_str);
        let truth = &self.gateway.history[position.expect("an update has a position")];
        let rows: Vec<&str> = self.page.rows().iter().map(|row| &*row.json).collect();
        prop_assert_eq!(rows, truth.iter().map(String::as_str).collect::<Vec<_>>());
        Ok(true)
    }

    /// Lets everything that is under way arrive.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        self.take(&Step::Connect)?;
        for _ in 0..4 {
            self.take(&Step::Serve)?;
            self.take(&Step::Deliver(usize::MAX))?;
            self.take(&Step::Retry)?;
        }
        while self.read()? {}
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// At each update the page is what the gateway's was at that position, and when all is quiet it
    /// is the gateway's page, whatever happened on the way.
    #[test]
    fn a_reader_sees_only_pages_that_were(steps in vec(step(), 0..120)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step)?;
        }
        world.settle()?;
        let position = world.page.position().map(PagePosition::as_str);
        let expect = world.gateway.position();
        prop_assert_eq!(position, Some(expect.as_str()));
    }
}
