//! All pages of a partition: the front door of this crate.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use smallvec::SmallVec;
use tidegate_core::{Commit, Heartbeat, Lsn, Query, Row, TableChange, TableName, TenantId};

use crate::effect::{Effect, PageId, Seed, SeedRequest};
use crate::recent::{Deed, Reach, Recent, Streamed};
use crate::table_pages::{TablePages, Turn};

/// What pages may take up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Pages of one table of one tenant; more are refused. A page takes some kilobytes, so the
    /// default of 200,000 is a gigabyte for one table.
    pub pages_per_table_max: usize,
    /// Row changes kept until they are visible, over all tables. 20,000 changes a second and a
    /// heartbeat each quarter of a second make 5,000; past the default of 100,000 the heartbeats
    /// have stopped, or the database holds its transactions back. Then the oldest are forgotten,
    /// and no page is opened or refilled until a heartbeat shows that all that was forgotten is
    /// visible.
    pub recent_rows_max: usize,
    /// Row changes of one table kept while rows are read. The default of 100,000 is five seconds
    /// of the fastest stream. Past it they are dropped and the rows asked for again, for to apply
    /// more than that costs more than a fresh read does.
    pub pending_rows_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pages_per_table_max: 200_000,
            recent_rows_max: 100_000,
            pending_rows_max: 100_000,
        }
    }
}

/// How much pages take up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Pages.
    pub pages: usize,
    /// Pages that every change of their table is tried on, for want of an index for their filter.
    pub unindexed_pages: usize,
    /// Distinct rows that pages hold.
    pub rows: usize,
    /// Row changes kept until they are visible.
    pub recent_rows: usize,
    /// Row changes kept while rows are read.
    pub pending_rows: usize,
}

/// The table has as many pages as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the table has {pages_max} live queries, which is the most it can have")]
pub struct TooManyPages {
    pages_max: usize,
}

type TableKey = (TenantId, TableName);

/// The pages of a partition, and what is needed to open more.
///
/// It is fed one partition of the change stream: [`Pages::apply`] and [`Pages::heartbeat`] in
/// stream order, a table's part of a transaction whole and in one call. Each call appends the
/// effects that the owner has to carry out; a page's first is [`Effect::NeedSeed`].
///
/// Records at or below a heartbeat that was passed in have been applied already, and are ignored.
#[derive(Debug)]
pub struct Pages {
    limits: Limits,
    recent: Recent,
    /// Every commit up to here has been applied, whatever table it touched.
    passed: Lsn,
    /// The commit of which tables are being applied.
    applying: Lsn,
    tables: Vec<Option<TablePages>>,
    free: Vec<u32>,
    /// A table has more than one entry while it is being redefined: one for each schema.
    names: HashMap<TableKey, SmallVec<[u32; 1]>>,
    /// Tables with seeds that wait for the stream.
    waiting: BTreeSet<u32>,
    serial: u64,
}

impl Pages {
    /// No pages yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            recent: Recent::new(limits.recent_rows_max),
            passed: Lsn::ZERO,
            applying: Lsn::ZERO,
            tables: Vec::new(),
            free: Vec::new(),
            names: HashMap::new(),
            waiting: BTreeSet::new(),
            serial: 0,
        }
    }

    /// Adds a page and asks for its rows.
    ///
    /// # Errors
    /// When the table has too many.
    pub fn register(
        &mut self,
        tenant: &TenantId,
        query: Arc<Query>,
        effects: &mut Vec<Effect>,
    ) -> Result<PageId, TooManyPages> {
        let table = self.table_for(tenant, &query);
        let recent = &self.recent;
        let pages = self.tables[table as usize]
            .as_mut()
            .expect("a table that has a name is there");
        let pages_max = self.limits.pages_per_table_max;
        if pages.page_count() >= pages_max {
            return Err(TooManyPages { pages_max });
        }
        self.serial += 1;
        let serial = self.serial;
        let id = |slot| PageId {
            table,
            slot,
            serial,
        };
        Ok(pages.register(query, id, &mut Turn { recent, effects }))
    }

    /// Drops a page. An unknown one is ignored.
    pub fn remove(&mut self, page: PageId) {
        let Some(pages) = self.table_mut(page.table) else {
            return;
        };
        pages.remove(page);
        if pages.page_count() == 0 {
            self.drop_table(page.table);
        }
    }

    /// The rows that a page's subscribers have: what was opened and published so far. `None`
    /// while the page has no rows yet, or is unknown.
    #[must_use]
    pub fn rows(&self, page: PageId) -> Option<Vec<Row>> {
        self.tables.get(page.table as usize)?.as_ref()?.rows(page)
    }

    /// Whether a page has changes that wait to be published until rows are read: its subscribers
    /// then have the page as it was when it was last published, not as it is at [`Pages::passed`].
    #[must_use]
    pub fn is_held(&self, page: PageId) -> bool {
        let table = self
            .tables
            .get(page.table as usize)
            .and_then(Option::as_ref);
        table.is_some_and(|table| table.is_held(page))
    }

    /// The answer to a request. It takes effect as soon as the stream has passed its horizon.
    pub fn seed(&mut self, request: SeedRequest, seed: Seed, effects: &mut Vec<Effect>) {
        let (recent, passed) = (&self.recent, self.passed);
        let Some(pages) = self.tables.get_mut(request.page.table as usize) else {
            return;
        };
        let Some(pages) = pages else { return };
        let mut turn = Turn { recent, effects };
        pages.advance(passed, &mut turn);
        pages.seed(request, seed, &mut turn);
        if pages.is_waiting() {
            self.waiting.insert(request.page.table);
        }
    }

    /// Applies one transaction's change of one table.
    pub fn apply(&mut self, commit: Commit, change: TableChange, effects: &mut Vec<Effect>) {
        if !self.begin(&commit, effects) {
            return;
        }
        let key = (change.tenant.clone(), change.table.clone());
        let deed = Deed::Change(Arc::new(change));
        let streamed = Streamed { commit, deed };
        self.recent.record(streamed.clone());
        let recent = &self.recent;
        for table in self.names.get(&key).into_iter().flatten() {
            if let Some(pages) = self.tables[*table as usize].as_mut() {
                pages.apply(&streamed, &mut Turn { recent, effects });
            }
        }
    }

    /// Reads the pages of a table again, whoever's they are: nobody knows what a transaction did to
    /// it. In stream order with [`Pages::apply`].
    pub fn reset(&mut self, commit: Commit, table: &TableName, effects: &mut Vec<Effect>) {
        if !self.begin(&commit, effects) {
            return;
        }
        let deed = Deed::Reset(table.clone());
        let streamed = Streamed { commit, deed };
        self.recent.record(streamed.clone());
        let recent = &self.recent;
        for pages in self.tables.iter_mut().flatten() {
            if pages.table() == table {
                pages.apply(&streamed, &mut Turn { recent, effects });
            }
        }
    }

    /// Notes that a transaction is being applied; says whether it is a new one.
    fn begin(&mut self, commit: &Commit, effects: &mut Vec<Effect>) -> bool {
        if commit.lsn <= self.passed {
            return false;
        }
        // Other tables may yet have a part in this transaction; the one before it is done. Nothing
        // is said of the positions in between: the stream may report several commits as one, at the
        // last.
        if commit.lsn > self.applying {
            let done = std::mem::replace(&mut self.applying, commit.lsn);
            self.pass(done, effects);
        }
        true
    }

    /// Notes how far the stream has come, and what is visible by now.
    pub fn heartbeat(&mut self, heartbeat: &Heartbeat, effects: &mut Vec<Effect>) {
        let was_short = self.recent.reach() != Reach::Whole;
        self.recent.advance(heartbeat);
        self.pass(heartbeat.lsn, effects);
        if was_short && self.recent.reach() == Reach::Whole {
            let recent = &self.recent;
            for pages in self.tables.iter_mut().flatten() {
                pages.ask_parked(&mut Turn { recent, effects });
            }
        }
    }

    /// The stream was broken off, and commits may be missing before what follows: every page is
    /// read again, and what has changed is published.
    pub fn gap(&mut self, effects: &mut Vec<Effect>) {
        self.recent.clear();
        (self.passed, self.applying) = (Lsn::ZERO, Lsn::ZERO);
        let recent = &self.recent;
        for pages in self.tables.iter_mut().flatten() {
            pages.start_over(&mut Turn { recent, effects });
        }
    }

    /// Every commit up to here has been applied.
    #[must_use]
    pub fn passed(&self) -> Lsn {
        self.passed
    }

    /// How much is kept, for gauges.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            recent_rows: self.recent.rows(),
            ..Counts::default()
        };
        for pages in self.tables.iter().flatten() {
            pages.count(&mut counts);
        }
        counts
    }

    /// Every commit up to here has been published, as far as it changed a page that is open. It
    /// stays behind [`Pages::passed`] while a page waits for rows that it needs to be right.
    #[must_use]
    pub fn published(&self) -> Lsn {
        let held = self
            .tables
            .iter()
            .flatten()
            .filter_map(TablePages::held_since)
            .min();
        let before = held.map(|since| Lsn::new(since.get().saturating_sub(1)));
        before.map_or(self.passed, |before| before.min(self.passed))
    }

    /// The oldest commit that pages to be opened may have to look at. A successor must be fed the
    /// stream from here, or from the end when there is none.
    #[must_use]
    pub fn oldest_recent(&self) -> Option<Lsn> {
        self.recent.oldest()
    }

    fn pass(&mut self, lsn: Lsn, effects: &mut Vec<Effect>) {
        self.passed = self.passed.max(lsn);
        let (recent, passed) = (&self.recent, self.passed);
        let tables = &mut self.tables;
        self.waiting.retain(|table| {
            let Some(pages) = tables[*table as usize].as_mut() else {
                return false;
            };
            pages.advance(passed, &mut Turn { recent, effects });
            pages.is_waiting()
        });
    }

    fn table_mut(&mut self, table: u32) -> Option<&mut TablePages> {
        self.tables.get_mut(table as usize)?.as_mut()
    }

    fn table_for(&mut self, tenant: &TenantId, query: &Query) -> u32 {
        let schema = query.schema();
        let names = self
            .names
            .entry((tenant.clone(), schema.table().clone()))
            .or_default();
        let has_schema = |table: &&u32| {
            self.tables[**table as usize]
                .as_ref()
                .is_some_and(|pages| pages.schema().fingerprint() == schema.fingerprint())
        };
        if let Some(table) = names.iter().find(has_schema) {
            return *table;
        }
        let pages = TablePages::new(
            tenant.clone(),
            Arc::clone(schema),
            self.passed,
            self.limits.pending_rows_max,
        );
        let table = self.free.pop().unwrap_or_else(|| {
            self.tables.push(None);
            (self.tables.len() - 1) as u32
        });
        self.tables[table as usize] = Some(pages);
        names.push(table);
        table
    }

    fn drop_table(&mut self, table: u32) {
        let Some(pages) = self.tables[table as usize].take() else {
            return;
        };
        self.free.push(table);
        self.waiting.remove(&table);
        let key = (pages.tenant().clone(), pages.table().clone());
        if let Some(names) = self.names.get_mut(&key) {
            names.retain(|other| *other != table);
            if names.is_empty() {
                self.names.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests;
