//! The page engine on this adapter: pages opened, kept and refilled under load are at every commit
//! what a plain evaluation over the streamed transactions gives.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{
    FilterSpec, LimitRule, Literal, Lsn, ModifierSpec, Operator, OrderSpec, PageChange, Query,
    QuerySpec, Row, Sort, TableSchema, Transaction,
};
use tidegate_ports::{ChangeBatch, Database, Snapshot, SnapshotRequest};
use tidegate_view::{Effect, Limits, PageId, Pages, Seed, SeedRequest};
use tokio::sync::mpsc;

use crate::harness::{Model, Site, next, tenant};
use crate::join::{TABLE, Writers};
use crate::naive::{expected, first};

/// Transactions written in one run.
const WRITES: u64 = 900;

fn query(schema: &Arc<TableSchema>, dice: &mut SmallRng) -> Arc<Query> {
    let test = |column: &str, operator, value: Option<Literal>| FilterSpec::Test {
        column: column.to_owned(),
        operator,
        value,
        modifier: ModifierSpec::default(),
    };
    let number = |below: u32, dice: &mut SmallRng| {
        Some(Literal::Number(dice.random_range(0..below).to_string()))
    };
    let text = |text: String| Some(Literal::Text(text));
    let filter = match dice.random_range(0..9) {
        0 => None,
        1 => Some(test("grp", Operator::Equals, number(5, dice))),
        2 => Some(test("val", Operator::GreaterThan, number(1_000, dice))),
        3 => Some(test("val", Operator::IsNull, None)),
        4 => {
            let tag = text(format!("t{}", dice.random_range(0..5)));
            Some(test("tags", Operator::ArrayContains, tag))
        }
        5 => {
            let document = text(format!("{{\"v\":{}.0}}", dice.random_range(0..7)));
            Some(test("doc", Operator::JsonContains, document))
        }
        6 => Some(test("span", Operator::RangeContains, number(400, dice))),
        7 => Some(test("note", Operator::Regex, text("^n[0-9]*7$".to_owned()))),
        _ => Some(test("note", Operator::Contains, text("7".to_owned()))),
    };
    let columns = ["val", "grp", "note"];
    let order = (0..dice.random_range(0..3)).map(|at| OrderSpec {
        column: columns[at].to_owned(),
        sort: Sort::ALL[dice.random_range(0..Sort::ALL.len())],
        is_pk: false,
    });
    let spec = QuerySpec {
        filter,
        order: order.collect(),
        limit: Some(dice.random_range(1..20)),
        ..QuerySpec::default()
    };
    Arc::new(Query::live_from_spec(&spec, schema, LimitRule::SUBSCRIPTION).unwrap())
}

/// What a client has of a page.
struct Client {
    query: Arc<Query>,
    rows: Option<Vec<Row>>,
}

struct Engine {
    site: Arc<Site>,
    schema: Arc<TableSchema>,
    pages: Pages,
    clients: HashMap<PageId, Client>,
    answers: mpsc::UnboundedSender<(SeedRequest, Snapshot)>,
    /// Answers whose horizon the stream has not passed.
    answered: Vec<(SeedRequest, Arc<Query>, Snapshot)>,
    transactions: Vec<Transaction>,
    /// The table at every commit, by position.
    history: Vec<(Lsn, Model)>,
    dice: SmallRng,
    compared: usize,
    refilled: usize,
}

impl Engine {
    fn open(&mut self, schema: &Arc<TableSchema>) {
        let query = query(schema, &mut self.dice);
        let mut effects = Vec::new();
        let page = self
            .pages
            .register(&tenant(), Arc::clone(&query), &mut effects)
            .unwrap();
        self.clients.insert(page, Client { query, rows: None });
        self.carry_out(effects);
    }

    fn at(&self, lsn: Lsn) -> Vec<Row> {
        let count = self.history.partition_point(|(at, _)| *at <= lsn);
        self.history[count - 1].1.rows.values().cloned().collect()
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::NeedSeed(request) => self.ask(request),
                Effect::Opened { page, lsn, rows } => {
                    self.clients.get_mut(&page).unwrap().rows = Some(rows);
                    self.compare(page, lsn);
                }
                Effect::Publish { page, lsn, changes } => {
                    let client = self.clients.get_mut(&page).unwrap();
                    apply(client.rows.as_mut().unwrap(), changes);
                    self.compare(page, lsn);
                }
                Effect::Reset { page, lsn, rows } => {
                    // Which of the two was wrong: a seed, its joining, or what was published?
                    self.check_answers();
                    let query = &self.clients[&page].query;
                    let right = expected(query, &self.at(lsn)) == rows;
                    let commits = self.transactions.iter().rev().take(20);
                    let commits: Vec<_> = commits.map(|transaction| transaction.commit).collect();
                    panic!("reset of {query:?} at {lsn}, rightly: {right}; last {commits:?}")
                }
                refused @ Effect::Refused { .. } => panic!("{refused:?}"),
            }
        }
    }

    fn ask(&mut self, request: SeedRequest) {
        let client = &self.clients[&request.page];
        self.refilled += usize::from(client.rows.is_some());
        let wanted = SnapshotRequest {
            tenant: tenant(),
            query: Arc::clone(&client.query),
            rows_max: request.rows_max,
        };
        let (site, answers) = (Arc::clone(&self.site), self.answers.clone());
        let (before, after) = (self.dice.random_range(0..15), self.dice.random_range(0..15));
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(before)).await;
            let snapshot = site.db.snapshot(wanted).await.unwrap();
            tokio::time::sleep(Duration::from_millis(after)).await;
            // The run may be over.
            let _ = answers.send((request, snapshot));
        });
    }

    fn take(&mut self, batch: ChangeBatch) {
        let mut effects = Vec::new();
        for transaction in batch.transactions {
            let (_, model) = self.history.last().unwrap();
            let mut model = model.clone();
            model.apply(&self.schema, &transaction).unwrap();
            self.history.push((transaction.commit.lsn, model));
            self.transactions.push(transaction.clone());
            for change in transaction.tables {
                self.pages.apply(transaction.commit, change, &mut effects);
            }
            let now = std::mem::take(&mut effects);
            self.carry_out(now);
        }
        self.pages.heartbeat(&batch.heartbeat, &mut effects);
        self.carry_out(effects);
        self.compare_all();
    }

    /// Every answer whose horizon the stream has passed is the query's result over exactly the
    /// transactions that it sees.
    fn check_answers(&mut self) {
        let (last, _) = self.history.last().unwrap();
        let passed = self.pages.passed().max(*last);
        let (ready, rest) = std::mem::take(&mut self.answered)
            .into_iter()
            .partition::<Vec<_>, _>(|answer| answer.2.fence.horizon() <= passed);
        self.answered = rest;
        for (request, query, Snapshot { fence, rows, .. }) in ready {
            let mut model = Model::default();
            for transaction in &self.transactions {
                if fence.contains(&transaction.commit) {
                    model.apply(query.schema(), transaction).unwrap();
                }
            }
            let all: Vec<Row> = model.rows.into_values().collect();
            let found = first(&query, &all, request.rows_max as usize);
            assert_eq!(rows, found, "{fence:?}");
        }
    }

    /// What the client has is the query's result at that commit.
    fn compare(&mut self, page: PageId, lsn: Lsn) {
        let client = &self.clients[&page];
        let expected = expected(&client.query, &self.at(lsn));
        assert_eq!(
            client.rows.as_ref().unwrap(),
            &expected,
            "{:?}",
            client.query
        );
        self.compared += 1;
    }

    /// Nothing that should have been published was not.
    fn compare_all(&mut self) {
        let passed = self.pages.passed();
        if self.pages.published() != passed {
            return;
        }
        let opened = |client: &&PageId| self.clients[*client].rows.is_some();
        let pages: Vec<PageId> = self.clients.keys().filter(opened).copied().collect();
        for page in pages {
            self.compare(page, passed);
        }
    }
}

fn apply(rows: &mut Vec<Row>, changes: Vec<PageChange>) {
    for change in changes {
        match change {
            PageChange::Removed { from, .. } => {
                rows.remove(from as usize);
            }
            PageChange::Added { row, pos } => rows.insert(pos as usize, row),
            PageChange::Modified { row, from, pos } => {
                rows.remove(from as usize);
                rows.insert(pos as usize, row);
            }
        }
    }
}

/// Every page at every commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_exact_under_load() {
    let site = Arc::new(Site::new().await);
    site.sql(TABLE).await;
    let schema = site.describe("t").await;
    let mut stream = site.db.changes().await.unwrap();
    let (answers, mut answered) = mpsc::unbounded_channel();
    let mut engine = Engine {
        site: Arc::clone(&site),
        schema: Arc::clone(&schema),
        pages: Pages::new(Limits::default()),
        clients: HashMap::new(),
        answers,
        answered: Vec::new(),
        transactions: Vec::new(),
        history: vec![(Lsn::ZERO, Model::default())],
        dice: SmallRng::seed_from_u64(5),
        compared: 0,
        refilled: 0,
    };
    let writers = Writers::start(&site).await;
    let mut target = None;
    let mut writers = Some(writers);
    loop {
        tokio::select! {
            batch = next(&mut stream) => {
                engine.take(batch);
                if engine.clients.len() < 40 {
                    engine.open(&schema);
                }
            }
            answer = answered.recv() => {
                let (request, snapshot) = answer.unwrap();
                let query = Arc::clone(&engine.clients[&request.page].query);
                engine.answered.push((request, query, snapshot.clone()));
                let (Snapshot { fence, rows, complete }, mut effects) = (snapshot, Vec::new());
                engine.pages.seed(request, Seed { rows, complete, fence }, &mut effects);
                engine.carry_out(effects);
            }
        }
        let written = writers
            .as_ref()
            .map_or(0, |w| w.done.load(Ordering::Relaxed));
        if written >= WRITES {
            writers.take().unwrap().stop().await;
            target = Some(site.log_end().await);
        }
        let is_over = |target: Lsn| engine.pages.published() >= target;
        let all_open = engine.clients.values().all(|client| client.rows.is_some());
        if target.is_some_and(is_over) && all_open {
            break;
        }
    }
    engine.compare_all();
    engine.check_answers();
    assert_eq!(engine.history.last().unwrap().1, site.model(&schema).await);
    let (compared, refilled) = (engine.compared, engine.refilled);
    println!("{compared} pages compared, {refilled} refills");
    assert!(compared > 1_000 && refilled > 0, "{compared} {refilled}");
}
