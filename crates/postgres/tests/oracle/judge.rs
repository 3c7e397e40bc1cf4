//! Follows what a processor publishes, as a gateway does, and compares every page with the plain
//! evaluation at every commit.
//!
//! What is published makes claims, and all are checked. A page or a diff: that the page is this at
//! its position. Progress: that what every page was last published to be has all commits up to
//! there. In between, the page is held to every commit as well, but for one thing: it may have been
//! held back, since the last progress, until rows were read. Such commits are counted, and are no
//! comparisons. A page that was held back and came out as it had been before has no diff to say so;
//! then it must be right at some commit after that progress, before anything else is said of it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use serde::Deserialize;
use serde_json::value::RawValue;
use tidegate_core::{LimitRule, Lsn, Offset, Partition, Position, RoutingKey, TableSchema};
use tidegate_ports::{Batch, Bus, BusEvent, BusReader, Database, Record, Start, Topic};
use tidegate_protocol::{
    ControlRecord, DiffContent, ErrorCode, PageCause, PageContent, PageRecord, Want,
};
use tokio_util::sync::CancellationToken;

use crate::history::{History, State};
use crate::load::{TABLES, is_steady};
use crate::query::Query;
use crate::rows::{COLUMNS, hash};
use crate::site::logical;

const GATEWAY: u64 = 7;

/// What is remembered of a page, to be told when it is wrong.
const TRAIL_MAX: usize = 12;

/// Progress in which a page that was held back must be seen to be right.
const DOUBTS_MAX: u32 = 200;

/// How often pages are opened and given up.
const CHURN: Duration = Duration::from_millis(100);

/// How often leases are renewed; they last three quarters of a minute.
const RENEWAL: Duration = Duration::from_secs(10);

/// What a judge has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Pages compared with the plain evaluation.
    pub(crate) compared: AtomicU64,
    /// Commits at which a page was held: it changed, and was published later.
    pub(crate) held: AtomicU64,
    pub(crate) opened: AtomicU64,
    pub(crate) diffs: AtomicU64,
    /// Pages that were read again because their table was redefined.
    pub(crate) redefined: AtomicU64,
    /// Everything up to here has been judged.
    pub(crate) judged: AtomicU64,
}

/// What a row is on a page: its key, and the hash of its JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    pk: String,
    hash: u64,
}

struct Watched {
    table: usize,
    query: Query,
    /// How many columns the rows had when the page was read.
    columns: usize,
    /// Nothing before it was opened.
    page: Option<Page>,
    /// What came of it, and progress.
    trail: VecDeque<String>,
}

struct Page {
    rows: Vec<Shown>,
    position: Position,
    /// Compared at every commit up to here.
    compared: u64,
    /// How often there was progress since it was not right where progress was.
    doubts: Option<u32>,
}

/// See the module.
pub(crate) struct Judge {
    history: Arc<History>,
    database: Arc<dyn Database>,
    bus: Arc<dyn Bus>,
    reader: Box<dyn BusReader>,
    seen: Arc<Seen>,
    dice: SmallRng,
    watched: HashMap<RoutingKey, Watched>,
    schemas: Vec<Arc<TableSchema>>,
    /// By partition: all published up to here.
    progress: HashMap<Partition, u64>,
    pages: [usize; TABLES.len()],
}

impl Judge {
    /// `pages` are to be open of each table at a time.
    pub(crate) async fn new(
        history: &Arc<History>,
        database: &Arc<dyn Database>,
        bus: &Arc<dyn Bus>,
        seed: u64,
        pages: [usize; TABLES.len()],
    ) -> Self {
        let partitions: Vec<Partition> = (0..bus.partition_count()).map(Partition::new).collect();
        let reader = bus.read(Topic::Diffs, &partitions, Start::Latest).await;
        let mut schemas = Vec::new();
        for table in 0..TABLES.len() {
            schemas.push(describe(&**database, table).await);
        }
        Self {
            history: Arc::clone(history),
            database: Arc::clone(database),
            bus: Arc::clone(bus),
            reader: reader.unwrap(),
            seen: Arc::default(),
            dice: SmallRng::seed_from_u64(seed),
            watched: HashMap::new(),
            schemas,
            progress: HashMap::new(),
            pages,
        }
    }

    pub(crate) fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }

    /// Judges until it is told to stop, and then to the end of what was written.
    ///
    /// # Errors
    /// What was wrong, first.
    pub(crate) async fn run(
        mut self,
        stop: CancellationToken,
        end: tokio::sync::watch::Receiver<Option<u64>>,
    ) -> Result<(), String> {
        let mut churn = tokio::time::interval(CHURN);
        let mut renewal = tokio::time::interval(RENEWAL);
        churn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                event = self.reader.poll() => match event.expect("a bus in memory that is read") {
                    BusEvent::Records(batch) => self.take(&batch).await?,
                    other => panic!("{other:?} is for groups"),
                },
                _ = churn.tick() => self.churn().await,
                _ = renewal.tick() => self.renew().await,
            }
            let end = *end.borrow();
            if end.is_some_and(|end| self.is_done(end)) {
                return Ok(());
            }
        }
    }

    /// Whether every page has been compared to the end, with all columns that there are by then.
    fn is_done(&self, end: u64) -> bool {
        self.watched.values().all(|one| {
            let rows = self.history.at(one.table, end).rows;
            let columns = rows.first().map_or(one.columns, |row| row.cells.len());
            let is_it = |page: &Page| {
                page.compared >= end
                    && page.doubts.is_none()
                    && (page.rows.is_empty() || one.columns == columns)
            };
            one.page.as_ref().is_some_and(is_it)
        })
    }

    async fn take(&mut self, batch: &Batch) -> Result<(), String> {
        for record in batch.records.iter() {
            let decoded = PageRecord::decode(record.value.clone());
            let decoded = decoded.map_err(|error| error.to_string())?;
            let lsn = match &decoded {
                PageRecord::Page(page) => page.lsn,
                PageRecord::Diff(diff) => diff.lsn,
                PageRecord::Progress { lsn, .. } => *lsn,
                PageRecord::Refused { .. } => Lsn::ZERO,
            };
            self.history.wait(lsn.get()).await;
            let key = std::str::from_utf8(&record.key).ok();
            let key = key.and_then(RoutingKey::decode);
            match (decoded, key) {
                (PageRecord::Progress { lsn, .. }, _) => {
                    self.progress(batch.partition, lsn.get())?
                }
                (PageRecord::Page(page), Some(key)) => self.page(&key, &page)?,
                (PageRecord::Diff(diff), Some(key)) => self.diff(&key, batch.partition, &diff)?,
                (PageRecord::Refused { code, message }, Some(key)) => {
                    self.refused(key, code, &message).await?;
                }
                (other, None) => return Err(format!("{other:?} has no key")),
            }
        }
        Ok(())
    }

    fn progress(&mut self, partition: Partition, lsn: u64) -> Result<(), String> {
        let before = self.progress.insert(partition, lsn).unwrap_or(0);
        if lsn < before {
            return Err(format!("progress falls from {before} to {lsn}"));
        }
        let count = self.bus.partition_count();
        for table in 0..TABLES.len() {
            let (tenant, name) = logical(table);
            if Partition::of(&tenant, &name, count) != partition {
                continue;
            }
            let of_table = |one: &&mut Watched| one.table == table && one.page.is_some();
            let mut pages: Vec<&mut Watched> = self.watched.values_mut().filter(of_table).collect();
            let since = pages
                .iter()
                .flat_map(|one| &one.page)
                .map(|page| page.compared);
            let Some(since) = since.min() else { continue };
            let states = self.history.between(table, since, lsn);
            for one in &mut pages {
                if lsn > before {
                    one.note(format!("progress to {lsn}"));
                }
                let is_right = one.hold_to(&states, lsn, before, &self.seen)?;
                one.doubt(is_right, lsn)?;
            }
        }
        let judged = self.progress.values().min().copied().unwrap_or(0);
        self.seen.judged.store(judged, Ordering::Relaxed);
        Ok(())
    }

    fn page(&mut self, key: &RoutingKey, content: &PageContent) -> Result<(), String> {
        let Some(one) = self.watched.get_mut(key) else {
            return Ok(());
        };
        let rows = rows_of(&content.rows, &content.pks)?;
        let lsn = content.lsn.get();
        let position = content.position;
        one.note(format!("{:?} {position:?} at {lsn}", content.cause));
        match (&one.page, content.cause) {
            (Some(page), PageCause::Repeated) => {
                let is_same = page.position == position && page.rows == rows;
                return is_same
                    .then_some(())
                    .ok_or_else(|| one.say("repeats another page", lsn));
            }
            (Some(page), PageCause::Opened | PageCause::Reset) => {
                if is_steady(one.table) {
                    return Err(one.say("was reset: what was published had been wrong", lsn));
                }
                if page.position.epoch >= position.epoch {
                    return Err(one.say("has an epoch that does not rise", lsn));
                }
                self.seen.redefined.fetch_add(1, Ordering::Relaxed);
            }
            (None, _) => {
                self.seen.opened.fetch_add(1, Ordering::Relaxed);
            }
        }
        if content.cause != PageCause::Repeated && position.offset != Offset::ZERO {
            return Err(one.say("does not start at zero", lsn));
        }
        one.columns = columns_of(&content.rows)?.unwrap_or(one.columns);
        one.page = Some(Page {
            rows,
            position,
            compared: lsn,
            doubts: None,
        });
        one.compare(&self.history.at(one.table, lsn), &self.seen)
    }

    fn diff(
        &mut self,
        key: &RoutingKey,
        partition: Partition,
        diff: &DiffContent,
    ) -> Result<(), String> {
        let Some(one) = self.watched.get_mut(key) else {
            return Ok(());
        };
        let lsn = diff.lsn.get();
        one.note(format!("diff {} at {lsn}", diff.position.offset.get()));
        let Some(page) = &one.page else {
            return Ok(());
        };
        if diff.position != page.position.next() {
            return Err(one.say("has a hole", lsn));
        }
        let published = self.progress.get(&partition).copied().unwrap_or(0);
        let states = self.history.between(one.table, page.compared, lsn - 1);
        one.hold_to(&states, lsn - 1, published, &self.seen)?;
        let page = one.page.as_mut().expect("it is open");
        if page.doubts.take().is_some() {
            return Err(one.say("was not right before its diff", lsn));
        }
        let page = one.page.as_mut().expect("it is open");
        if page.rows.is_empty() {
            one.columns = columns_of(&diff.body)?.unwrap_or(one.columns);
        }
        apply(&mut page.rows, &diff.body)?;
        page.position = diff.position;
        page.compared = lsn;
        self.seen.diffs.fetch_add(1, Ordering::Relaxed);
        one.compare(&self.history.at(one.table, lsn), &self.seen)
    }

    /// A table that was redefined has other queries.
    async fn refused(
        &mut self,
        key: RoutingKey,
        code: ErrorCode,
        message: &str,
    ) -> Result<(), String> {
        let Some(one) = self.watched.remove(&key) else {
            return Ok(());
        };
        if is_steady(one.table) || code != ErrorCode::TableChanged {
            return Err(one.say(message, 0));
        }
        self.schemas[one.table] = describe(&*self.database, one.table).await;
        self.seen.redefined.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Opens pages where there are too few, and gives one up now and then.
    async fn churn(&mut self) {
        for table in 0..TABLES.len() {
            let of_table = |one: &&Watched| one.table == table;
            let count = self.watched.values().filter(of_table).count();
            for _ in count..self.pages[table].min(count + 4) {
                self.open(table).await;
            }
        }
        if self.dice.random_ratio(1, 2) {
            let open = self.watched.iter().filter(|(_, one)| one.page.is_some());
            let Some(key) = open.map(|(key, _)| key).choose(&mut self.dice).cloned() else {
                return;
            };
            self.watched.remove(&key);
            let gateway = GATEWAY;
            say(&*self.bus, ControlRecord::Release { gateway, key }).await;
        }
    }

    async fn open(&mut self, table: usize) {
        let query = Query::new(&mut self.dice);
        let canonical = tidegate_core::Query::from_spec(
            &query.spec,
            &self.schemas[table],
            LimitRule::SUBSCRIPTION,
        );
        let (tenant, name) = logical(table);
        let key = RoutingKey {
            tenant,
            table: name,
            query: canonical
                .unwrap_or_else(|error| panic!("{error}: {query:?}"))
                .hash(),
        };
        if self.watched.contains_key(&key) {
            return;
        }
        let lease = ControlRecord::Lease {
            gateway: GATEWAY,
            key: key.clone(),
            query: query.spec.clone(),
            want: Want::Page,
            name: None,
        };
        let watched = Watched {
            table,
            query,
            columns: COLUMNS.len(),
            page: None,
            trail: VecDeque::new(),
        };
        self.watched.insert(key, watched);
        say(&*self.bus, lease).await;
    }

    async fn renew(&mut self) {
        let leases = self.watched.iter().map(|(key, one)| ControlRecord::Lease {
            gateway: GATEWAY,
            key: key.clone(),
            query: one.query.spec.clone(),
            want: Want::Renew,
            name: None,
        });
        let leases: Vec<ControlRecord> = leases.collect();
        for lease in leases {
            say(&*self.bus, lease).await;
        }
    }
}

async fn say(bus: &dyn Bus, record: ControlRecord) {
    let (ControlRecord::Lease { key, .. } | ControlRecord::Release { key, .. }) = &record;
    let record = Record {
        partition: key.partition(bus.partition_count()),
        key: Bytes::from(key.encode()),
        value: record.encode(),
    };
    bus.publish(Topic::Control, vec![record]).await.unwrap();
}

impl Watched {
    fn note(&mut self, what: String) {
        self.trail.push_back(what);
        if self.trail.len() > TRAIL_MAX {
            self.trail.pop_front();
        }
    }

    fn is(&self, state: &State) -> bool {
        let page = self.page.as_ref().expect("it is open");
        let expected = self.query.hashes(&state.rows, self.columns);
        page.rows.iter().map(|row| row.hash).eq(expected)
    }

    /// Compares the page with the plain evaluation.
    fn compare(&self, state: &State, seen: &Seen) -> Result<(), String> {
        seen.compared.fetch_add(1, Ordering::Relaxed);
        match self.is(state) {
            true => Ok(()),
            false => Err(self.differs(state)),
        }
    }

    /// Holds the page to be what it was at every commit up to a position. After what was published
    /// before, it may have been held. Says whether it is right at the end.
    fn hold_to(
        &mut self,
        states: &[State],
        to: u64,
        published: u64,
        seen: &Seen,
    ) -> Result<bool, String> {
        let page = self.page.as_mut().expect("it is open");
        let since = page.compared;
        page.compared = since.max(to);
        let is_between = |state: &&State| state.lsn > since && state.lsn <= to;
        let mut is_right = None;
        for state in states.iter().filter(is_between) {
            let is = self.is(state);
            is_right = Some(is);
            if is {
                seen.compared.fetch_add(1, Ordering::Relaxed);
                self.page.as_mut().expect("it is open").doubts = None;
            } else if state.lsn > published {
                seen.held.fetch_add(1, Ordering::Relaxed);
            } else {
                return Err(self.differs(state));
            }
        }
        Ok(is_right.unwrap_or(true))
    }

    /// Notes whether the page was right where progress is.
    fn doubt(&mut self, is_right: bool, lsn: u64) -> Result<(), String> {
        let page = self.page.as_mut().expect("it is open");
        match (&mut page.doubts, is_right) {
            (None, true) => {}
            (None, false) => page.doubts = Some(0),
            (Some(doubts), _) if *doubts < DOUBTS_MAX => *doubts += 1,
            (Some(_), _) => return Err(self.say("is not right at any commit", lsn)),
        }
        Ok(())
    }

    fn differs(&self, state: &State) -> String {
        let shown = self.page.iter().flat_map(|page| &page.rows);
        let shown: Vec<&str> = shown.map(|row| &*row.pk).collect();
        let expected = self.query.page(&state.rows);
        let expected: Vec<i64> = expected.into_iter().map(|row| row.id()).collect();
        let what = format!("shows {shown:?} instead of {expected:?}");
        self.say(&what, state.lsn)
    }

    fn say(&self, what: &str, lsn: u64) -> String {
        let table = TABLES[self.table];
        let at = self
            .page
            .as_ref()
            .map(|page| (page.position, page.compared));
        let trail = &self.trail;
        format!(
            "{table} {}: at {lsn} it {what} (page at {at:?} after {trail:?})",
            self.query.sql
        )
    }
}

async fn describe(database: &dyn Database, table: usize) -> Arc<TableSchema> {
    let (tenant, name) = logical(table);
    loop {
        match database.describe(&tenant, &name).await {
            Ok(schema) => return schema,
            // Somebody holds the table for a moment.
            Err(tidegate_ports::DatabaseError::Port(error)) if error.is_retryable() => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn rows_of(rows: &Bytes, pks: &Bytes) -> Result<Vec<Shown>, String> {
    let rows: Vec<&RawValue> = parse(rows)?;
    let pks: Vec<String> = parse(pks)?;
    if rows.len() != pks.len() {
        return Err("as many rows as keys".to_owned());
    }
    let shown = rows.into_iter().zip(pks).map(|(row, pk)| Shown {
        pk,
        hash: hash(row.get().as_bytes()),
    });
    Ok(shown.collect())
}

fn parse<'t, T: Deserialize<'t>>(text: &'t [u8]) -> Result<T, String> {
    serde_json::from_slice(text).map_err(|error| error.to_string())
}

/// How many columns the first row has, of rows or of steps that bring rows.
fn columns_of(text: &Bytes) -> Result<Option<usize>, String> {
    let rows: Vec<serde_json::Map<String, serde_json::Value>> = parse(text)?;
    let row = rows.first().map(|first| {
        first
            .get("row")
            .map_or(first, |row| row.as_object().expect("a row"))
    });
    Ok(row.map(serde_json::Map::len))
}

#[derive(Deserialize)]
struct Step<'t> {
    kind: &'t str,
    pk: String,
    from: Option<usize>,
    pos: Option<usize>,
    #[serde(borrow)]
    row: Option<&'t RawValue>,
}

/// Replays a diff literally, as the contract tells any client to.
fn apply(rows: &mut Vec<Shown>, changes: &Bytes) -> Result<(), String> {
    for step in parse::<Vec<Step<'_>>>(changes)? {
        let misfit = || format!("{} {} does not fit", step.kind, step.pk);
        if let Some(from) = step.from {
            let is_it = rows.get(from).is_some_and(|row| row.pk == step.pk);
            is_it.then(|| rows.remove(from)).ok_or_else(misfit)?;
        }
        match (step.kind, step.pos, step.row) {
            ("removed", None, None) if step.from.is_some() => {}
            ("added" | "modified", Some(pos), Some(row)) if pos <= rows.len() => {
                let hash = hash(row.get().as_bytes());
                rows.insert(pos, Shown { pk: step.pk, hash });
            }
            _ => return Err(misfit()),
        }
    }
    Ok(())
}
