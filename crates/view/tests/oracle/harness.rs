//! Runs a database, a stream and pages against each other, every step at random, and compares
//! what each client has with the naive engine after every step.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{
    Commit, Fence, Heartbeat, KeysetBound, KeysetSpec, LimitRule, Lsn, PageChange, Query,
    QuerySpec, Row, TableChange, TransactionSnapshot, Xid,
};
use tidegate_view::{Effect, Limits, PageId, Pages, Seed, SeedRequest};

use crate::database::{Database, Event, Kind, Load, Read};
use crate::generate;
use crate::model::Table;
use crate::replay::{check_is_minimal, look_alike, replay};

/// A defect, put into what the pages are fed or into what they give. The oracle must notice each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defect {
    None,
    /// The seed claims the commit after its last one.
    FenceOneTooFar,
    /// The seed claims every commit up to its horizon, visible or not.
    FenceByLsn,
    /// Transactions in progress are left out of the snapshot.
    EmptyInProgress,
    /// Heartbeats claim that everything is visible, so nothing recent is kept.
    NothingRecent,
    /// Seeds are installed before the stream has come to them.
    NoHorizon,
    /// A seed that was cut says that it is complete.
    BoundNotLowered,
    /// The page starts at its keyset instead of after it.
    AtForAfter,
    /// A diff is lost.
    DiffLost,
    /// A diff is carried out twice.
    DiffDoubled,
    /// The last row change of a transaction is lost.
    ChangeLost,
    /// A page with no rows to spare is not refilled.
    RefillLost,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) kind: Kind,
    pub(crate) load: Load,
    pub(crate) defect: Defect,
    pub(crate) limits: Limits,
    pub(crate) row_max: usize,
    pub(crate) steps: u32,
}

impl Scenario {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            load: Load::Balanced,
            defect: Defect::None,
            limits: Limits::default(),
            row_max: 4,
            steps: 300,
        }
    }
}

/// What a run has seen, so that a test can tell that it was no idle run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) opened: u32,
    pub(crate) published: u32,
    pub(crate) moved: u32,
    pub(crate) refills: u32,
    pub(crate) asked_again: u32,
    pub(crate) held: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Busy,
    Settled,
}

#[derive(Debug)]
struct Client {
    query: Arc<Query>,
    rows: Option<Vec<Row>>,
    /// The last request that was made for the page, until its answer must have taken effect.
    request: Option<SeedRequest>,
    /// What it had when it was last seen to be right.
    right: Option<Vec<Row>>,
}

pub(crate) struct Harness {
    scenario: Scenario,
    rng: SmallRng,
    database: Database,
    pages: Pages,
    /// The table at the stream's position.
    table: Table,
    /// The table before the change that is being delivered, while one is.
    before: Option<Table>,
    position: Lsn,
    clients: BTreeMap<PageId, Client>,
    asked: Vec<SeedRequest>,
    reading: Vec<(SeedRequest, Read)>,
    read: Vec<(SeedRequest, Seed)>,
    /// Answers that wait until the stream has come this far.
    given: Vec<(SeedRequest, Lsn)>,
    /// Events that the consumer is behind.
    lag: usize,
    seen: Seen,
}

/// Runs one seed. The error says what differed.
pub(crate) fn run(scenario: Scenario, seed: u64) -> Result<Seen, String> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut harness = Harness {
        scenario,
        database: Database::new(scenario.kind, scenario.load, &mut rng),
        rng,
        pages: Pages::new(scenario.limits),
        table: Table::default(),
        before: None,
        position: Lsn::ZERO,
        clients: BTreeMap::new(),
        asked: Vec::new(),
        reading: Vec::new(),
        read: Vec::new(),
        given: Vec::new(),
        lag: 0,
        seen: Seen::default(),
    };
    harness
        .play()
        .map_err(|why| format!("seed {seed}, {scenario:?}: {why}"))?;
    Ok(harness.seen)
}

impl Harness {
    fn play(&mut self) -> Result<(), String> {
        self.database.fill(&mut self.rng);
        for step in 0..self.scenario.steps {
            let at_step = |why| format!("step {step}: {why}");
            self.step().map_err(at_step)?;
            self.check(Rest::Busy).map_err(at_step)?;
        }
        self.settle()
    }

    fn step(&mut self) -> Result<(), String> {
        let mut effects = Vec::new();
        match self.rng.random_range(0..100) {
            0..20 => self.database.begin(self.scenario.row_max, &mut self.rng),
            20..40 => self.database.step(&mut self.rng),
            40..46 => self.database.heartbeat(&mut self.rng),
            46 if self.rng.random_ratio(1, 4) => self.database.truncate(&mut self.rng),
            47..51 if self.clients.len() < 8 => self.register(&mut effects),
            51 if self.clients.len() > 6 => self.remove(),
            52 if self.rng.random_ratio(1, 4) => self.break_stream(&mut effects),
            53..75 => {
                while self.database.stream.len() > self.lag {
                    self.deliver()?;
                }
                if self.rng.random_ratio(1, 4) {
                    self.lag = self.rng.random_range(0..12);
                }
            }
            75..83 => self.start_read(),
            83..90 => self.finish_read(),
            _ => self.deliver_seed(&mut effects),
        }
        self.carry_out(effects)
    }

    /// Lets everything come to rest, after which every page must be exact.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..60 {
            self.database.settle(&mut self.rng);
            let mut effects = Vec::new();
            while !self.database.stream.is_empty() {
                self.deliver()?;
            }
            while !(self.asked.is_empty() && self.reading.is_empty() && self.read.is_empty()) {
                self.start_read();
                self.finish_read();
                self.deliver_seed(&mut effects);
            }
            self.carry_out(effects)?;
            if self.asked.is_empty() && self.database.stream.is_empty() {
                break;
            }
        }
        for client in self.clients.values() {
            if client.rows.is_none() || client.request.is_some() {
                return Err("a page waits for ever".to_owned());
            }
        }
        self.check(Rest::Settled)
    }

    fn register(&mut self, effects: &mut Vec<Effect>) {
        let schema = Arc::clone(&self.database.schema);
        let query = match self.scenario.defect {
            Defect::AtForAfter => keyset_query(&self.database, KeysetBound::After),
            _ => generate::query(&schema, &mut self.rng),
        };
        let fed = match self.scenario.defect {
            Defect::AtForAfter => keyset_query(&self.database, KeysetBound::At),
            _ => Arc::clone(&query),
        };
        let page = self
            .pages
            .register(&self.database.tenant, fed, effects)
            .expect("few pages");
        let client = Client {
            query,
            rows: None,
            request: None,
            right: None,
        };
        self.clients.insert(page, client);
    }

    fn remove(&mut self) {
        let at = self.rng.random_range(0..self.clients.len());
        let page = *self.clients.keys().nth(at).expect("in range");
        self.clients.remove(&page);
        self.pages.remove(page);
        assert_eq!(self.pages.rows(page).map(|rows| rows.len()), None);
    }

    /// A new stream, which starts after commits that were never delivered.
    fn break_stream(&mut self, effects: &mut Vec<Effect>) {
        self.database.settle(&mut self.rng);
        let rest = std::mem::take(&mut self.database.stream);
        for event in rest {
            if let Event::Changes(_, change) = event {
                self.table.apply(&self.database.schema, &change);
            }
        }
        self.position = Lsn::ZERO;
        self.pages.gap(effects);
    }

    fn deliver(&mut self) -> Result<(), String> {
        let mut effects = Vec::new();
        match self.database.stream.pop_front() {
            None => {}
            Some(Event::Heartbeat(heartbeat)) => {
                self.position = self.position.max(heartbeat.lsn);
                let heartbeat = match self.scenario.defect {
                    Defect::NothingRecent => all_visible(heartbeat.lsn),
                    _ => heartbeat,
                };
                self.pages.heartbeat(&heartbeat, &mut effects);
            }
            Some(Event::Changes(commit, change)) => {
                self.deliver_changes(commit, change, &mut effects);
            }
        }
        self.carry_out(effects)
    }

    fn deliver_changes(
        &mut self,
        commit: Commit,
        mut change: TableChange,
        effects: &mut Vec<Effect>,
    ) {
        self.position = commit.lsn;
        self.before = Some(self.table.clone());
        self.table.apply(&self.database.schema, &change);
        if self.scenario.defect == Defect::ChangeLost && self.rng.random_ratio(1, 8) {
            change.rows.as_mut().map(Vec::pop);
        }
        self.pages.apply(commit, change.clone(), effects);
        // The bus delivers at least once.
        if self.rng.random_ratio(1, 10) {
            self.pages.apply(commit, change, effects);
        }
        if self.scenario.defect == Defect::NothingRecent {
            self.pages.heartbeat(&all_visible(commit.lsn), effects);
        }
    }

    fn start_read(&mut self) {
        if self.asked.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..self.asked.len());
        let request = self.asked.swap_remove(at);
        self.reading.push((request, self.database.open()));
    }

    fn finish_read(&mut self) {
        if self.reading.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..self.reading.len());
        let (request, read) = self.reading.swap_remove(at);
        if self.rng.random_ratio(1, 12) {
            // The database failed; the owner asks it once more.
            self.asked.push(request);
            return;
        }
        let Some(client) = self.clients.get(&request.page) else {
            return;
        };
        let rows_max = request.rows_max as usize;
        let mut rows = self.database.table(&read).page(&client.query, rows_max + 1);
        let complete = rows.len() <= rows_max;
        rows.truncate(rows_max);
        let fence = self.defective(self.database.fence(&read));
        let complete = complete || self.scenario.defect == Defect::BoundNotLowered;
        let seed = Seed {
            rows,
            complete,
            fence,
        };
        self.read.push((request, seed));
    }

    fn defective(&self, fence: Fence) -> Fence {
        match (self.scenario.defect, fence) {
            (Defect::FenceOneTooFar, Fence::Prefix(lsn)) => Fence::Prefix(Lsn::new(lsn.get() + 1)),
            (Defect::FenceByLsn, fence) => Fence::Prefix(fence.horizon()),
            (
                Defect::EmptyInProgress,
                Fence::Visible {
                    mut snapshot,
                    horizon,
                },
            ) => {
                snapshot.in_progress.clear();
                snapshot.xmin = snapshot.xmax;
                Fence::Visible { snapshot, horizon }
            }
            (Defect::NoHorizon, Fence::Visible { snapshot, .. }) => Fence::Visible {
                snapshot,
                horizon: Lsn::ZERO,
            },
            (_, fence) => fence,
        }
    }

    fn deliver_seed(&mut self, effects: &mut Vec<Effect>) {
        if self.read.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..self.read.len());
        let (request, seed) = self.read.swap_remove(at);
        self.given.push((request, seed.fence.horizon()));
        let again = self.rng.random_ratio(1, 10).then(|| seed.clone());
        self.pages.seed(request, seed, effects);
        if let Some(seed) = again {
            self.pages.seed(request, seed, effects);
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) -> Result<(), String> {
        let position = self.position;
        let done = self
            .given
            .extract_if(.., |(_, horizon)| *horizon <= position);
        for (request, _) in done {
            if let Some(client) = self.clients.get_mut(&request.page) {
                client.request.take_if(|last| *last == request);
            }
        }
        let outcome = effects
            .into_iter()
            .try_for_each(|effect| self.carry_out_one(effect));
        self.before = None;
        outcome
    }

    fn carry_out_one(&mut self, effect: Effect) -> Result<(), String> {
        match effect {
            Effect::NeedSeed(request) => self.take_request(request),
            Effect::Opened { page, lsn, rows } => {
                let client = self.client(page)?;
                if client.rows.replace(rows).is_some() {
                    return Err("opened twice".to_owned());
                }
                self.seen.opened += 1;
                self.check_published(page, lsn)?;
            }
            Effect::Publish { page, lsn, changes } => {
                self.publish(page, &changes)?;
                self.check_published(page, lsn)?;
            }
            Effect::Reset { .. } => return Err("the audit failed".to_owned()),
            Effect::Refused { why, .. } => return Err(format!("refused: {why}")),
        }
        Ok(())
    }

    fn client(&mut self, page: PageId) -> Result<&mut Client, String> {
        self.clients
            .get_mut(&page)
            .ok_or_else(|| "an effect for a page that was removed".to_owned())
    }

    /// What was published is the page at the position that was said: that of the change being
    /// delivered, or one before it.
    fn check_published(&mut self, page: PageId, lsn: Lsn) -> Result<(), String> {
        self.check_position(lsn)?;
        let table = match &self.before {
            Some(before) if lsn < self.position => before,
            Some(_) | None => &self.table,
        };
        let client = self.clients.get_mut(&page).ok_or("unknown")?;
        let rows = client.rows.as_ref().ok_or("published before it opened")?;
        let expected = table.page(&client.query, client.query.limit() as usize);
        match look_alike(&expected, rows) {
            true => client.right = Some(rows.clone()),
            false if self.scenario.defect == Defect::None => {
                return Err(format!("published a wrong page at {lsn}"));
            }
            false => {}
        }
        Ok(())
    }

    fn check_position(&self, lsn: Lsn) -> Result<(), String> {
        match lsn <= self.position {
            true => Ok(()),
            false => Err(format!("{lsn} is ahead of the stream, {}", self.position)),
        }
    }

    fn take_request(&mut self, request: SeedRequest) {
        let is_refill_lost = self.scenario.defect == Defect::RefillLost;
        let Some(client) = self.clients.get_mut(&request.page) else {
            return;
        };
        if client.request.replace(request).is_some() {
            self.seen.asked_again += 1;
        }
        if client.rows.is_some() {
            self.seen.refills += 1;
            if is_refill_lost {
                client.request = None;
                return;
            }
        }
        self.asked.push(request);
    }

    fn publish(&mut self, page: PageId, changes: &[PageChange]) -> Result<(), String> {
        let defect = self.scenario.defect;
        let is_hit = self.rng.random_ratio(1, 4);
        let schema = Arc::clone(&self.database.schema);
        let client = self.client(page)?;
        let rows = client.rows.as_mut().ok_or("published before it opened")?;
        if defect == Defect::DiffLost && is_hit {
            return Ok(());
        }
        let before = rows.clone();
        replay(rows, changes, &schema)?;
        check_is_minimal(&before, rows, changes, &schema)?;
        if defect == Defect::DiffDoubled && is_hit {
            replay(rows, changes, &schema)?;
        }
        let is_move = |change: &&PageChange| match change {
            PageChange::Modified { from, pos, .. } => from != pos,
            PageChange::Removed { .. } | PageChange::Added { .. } => false,
        };
        self.seen.moved += changes.iter().filter(is_move).count() as u32;
        self.seen.published += 1;
        Ok(())
    }

    fn check(&mut self, rest: Rest) -> Result<(), String> {
        // A page may wait unasked while what is recent does not reach back far enough.
        let is_parked = rest == Rest::Busy && self.scenario.limits != Limits::default();
        let published = self.pages.published();
        for (page, client) in &mut self.clients {
            let Some(rows) = &client.rows else { continue };
            let known = self.pages.rows(*page).ok_or("its rows are not known")?;
            if !look_alike(rows, &known) && self.scenario.defect == Defect::None {
                return Err("the client's rows are not the page's".to_owned());
            }
            let limit = client.query.limit() as usize;
            let expected = self.table.page(&client.query, limit);
            if look_alike(&expected, rows) {
                client.right = Some(rows.clone());
                continue;
            }
            // A page that waits for rows it needs is left as it was when it was right, and the
            // owner is told that something has not been published.
            let is_waiting = client.request.is_some() || is_parked;
            let is_as_it_was = client
                .right
                .as_ref()
                .is_some_and(|right| look_alike(right, rows));
            // After a break the stream is at nothing, until it says where it is.
            let is_told = published < self.position || published == Lsn::ZERO;
            let is_right = is_waiting && is_as_it_was && is_told;
            self.seen.held += u32::from(is_right);
            if !is_right {
                let keys = |rows: &[Row]| -> Vec<String> {
                    let of = |row| format!("{:?}", client.query.schema().key_of(row));
                    rows.iter().map(of).collect()
                };
                let (have, expected) = (keys(rows), keys(&expected));
                let query = &client.query;
                return Err(format!("has {have:?} instead of {expected:?}; {query:?}"));
            }
        }
        Ok(())
    }
}

fn all_visible(lsn: Lsn) -> Heartbeat {
    let all = Xid::new(u64::MAX);
    let visible = Some(TransactionSnapshot {
        xmin: all,
        xmax: all,
        in_progress: Vec::new(),
    });
    Heartbeat {
        lsn,
        at_micros: 0,
        visible,
    }
}

/// Everything from key 5 on, in the order of the first key column.
fn keyset_query(database: &Database, bound: KeysetBound) -> Arc<Query> {
    let schema = &database.schema;
    let first = schema.key()[0];
    let value = match first {
        0 => "5",
        _ => "",
    };
    let spec = QuerySpec {
        keyset: vec![KeysetSpec {
            column: schema.columns()[first].name.to_string(),
            value: tidegate_core::Literal::Text(value.to_owned()),
        }],
        strict_after: bound == KeysetBound::After,
        ..QuerySpec::default()
    };
    Arc::new(Query::from_spec(&spec, schema, LimitRule::SUBSCRIPTION).expect("valid"))
}
