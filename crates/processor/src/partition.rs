//! The owner's state of one partition: records and answers in, effects out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tidegate_core::{
    CommandError, Commit, Epoch, History, Life, LimitRule, Lsn, Partition, Position, Query,
    RoutingKey, Row, TableChange, TableName, TableReset, TableSchema, TenantId,
};
use tidegate_ports::Snapshot;
use tidegate_protocol::{
    ChangeRecord, ControlRecord, DiffContent, DiffKind, ErrorCode, PageCause, PageContent,
    PageOrigin, PageRecord, RowJsonCache, Want, changes_json,
};
use tidegate_view::{Effect, PageId, Pages, Seed, SeedRequest};
use tokio::time::Instant;

use crate::effects::{Ask, Effects};
use crate::gatherer::Gatherer;
use crate::lease::Leases;
use crate::page_state::{PageState, Phase};

/// Pages of one partition. A page is some kilobytes, so this is a gigabyte or two; past it, a lease
/// is refused as overloaded.
const PAGES_MAX: usize = 200_000;

/// Limits of pages were decided by the gateway; here only the engine's own bound counts.
const PAGE_LIMIT: LimitRule = LimitRule::READ;

type TableKey = (TenantId, TableName);

/// A table as the owner knows it.
#[derive(Debug, Default)]
struct Table {
    /// What it looks like, and the JSON of rows that the present input touches; `None` while that
    /// is being asked.
    described: Option<Described>,
    /// The pages on it.
    pages: HashSet<RoutingKey>,
}

#[derive(Debug)]
struct Described {
    schema: Arc<TableSchema>,
    row_json: RowJsonCache,
}

/// Where a published page stands.
struct Place {
    position: Position,
    lsn: Lsn,
    cause: PageCause,
}

/// See the module.
pub(crate) struct PartitionOwner {
    id: Partition,
    life: Life,
    epochs: u32,
    engine: Pages,
    pages: HashMap<RoutingKey, PageState>,
    keys: HashMap<PageId, RoutingKey>,
    tables: HashMap<TableKey, Table>,
    gatherer: Gatherer,
    /// Which history of the database is streamed; `None` until that was told.
    history: Option<History>,
    /// The highest position that was streamed of it.
    streamed: Lsn,
    /// Whether the stream may have begun anew, perhaps at an earlier position.
    is_after_gap: bool,
    /// Pages that were published, and are to be opened anew because their table was redefined; with
    /// it, up to where everything had been published then.
    reopening: HashMap<RoutingKey, Lsn>,
    /// When the commit being applied was made; stamps what is published now.
    committed_at_micros: i64,
}

impl PartitionOwner {
    pub(crate) fn new(id: Partition, life: Life, limits: tidegate_view::Limits) -> Self {
        Self {
            id,
            life,
            epochs: 0,
            engine: Pages::new(limits),
            pages: HashMap::new(),
            keys: HashMap::new(),
            tables: HashMap::new(),
            gatherer: Gatherer::default(),
            history: None,
            streamed: Lsn::ZERO,
            is_after_gap: false,
            reopening: HashMap::new(),
            committed_at_micros: 0,
        }
    }

    /// Tells gateways that the partition has a new owner, who wants to hear of every page again.
    pub(crate) fn announce(&self, effects: &mut Effects) {
        self.progress(Lsn::ZERO, effects);
    }

    pub(crate) fn page_count(&self) -> usize {
        self.pages.len()
    }

    pub(crate) fn control(&mut self, record: ControlRecord, now: Instant, effects: &mut Effects) {
        match record {
            ControlRecord::Release { gateway, key } => {
                if let Some(state) = self.pages.get_mut(&key) {
                    state.leases.release(gateway);
                }
            }
            ControlRecord::Lease {
                gateway,
                key,
                query,
                // Whatever clients call it.
                name: _,
                want,
            } => {
                if let Some(state) = self.pages.get_mut(&key) {
                    state.leases.renew(gateway, now);
                    if want == Want::Page {
                        self.repeat(&key, effects);
                    }
                    return;
                }
                if self.pages.len() >= PAGES_MAX {
                    let message = "this server keeps as many live queries as it can".to_owned();
                    effects.refuse(self.id, &key, ErrorCode::Overloaded, message);
                    return;
                }
                let mut leases = Leases::default();
                leases.renew(gateway, now);
                let state = PageState {
                    spec: query,
                    leases,
                    published: None,
                    phase: Phase::Describing,
                };
                self.pages.insert(key.clone(), state);
                self.open(key, effects);
            }
        }
    }

    /// Registers a page whose table is known, or asks what the table looks like.
    fn open(&mut self, key: RoutingKey, effects: &mut Effects) {
        let table_key = (key.tenant.clone(), key.table.clone());
        let is_new = !self.tables.contains_key(&table_key);
        let table = self.tables.entry(table_key).or_default();
        table.pages.insert(key.clone());
        match table
            .described
            .as_ref()
            .map(|described| Arc::clone(&described.schema))
        {
            Some(schema) => self.register(&key, &schema, effects),
            None if is_new => self.ask_description((key.tenant, key.table), effects),
            None => {}
        }
    }

    /// The answer to [`Ask::Describe`].
    pub(crate) fn described(
        &mut self,
        tenant: TenantId,
        table: TableName,
        answer: Result<Arc<TableSchema>, CommandError>,
        effects: &mut Effects,
    ) {
        let Some(state) = self.tables.get_mut(&(tenant.clone(), table.clone())) else {
            return;
        };
        let waiting: Vec<RoutingKey> = state
            .pages
            .iter()
            .filter(|key| matches!(self.pages[*key].phase, Phase::Describing))
            .cloned()
            .collect();
        match answer {
            Ok(schema) => {
                let row_json = RowJsonCache::new(Arc::clone(&schema));
                state.described = Some(Described {
                    schema: Arc::clone(&schema),
                    row_json,
                });
                waiting
                    .iter()
                    .for_each(|key| self.register(key, &schema, effects));
            }
            Err(error) => {
                for key in &waiting {
                    self.refuse(key, ErrorCode::from(&error), error.to_string(), effects);
                }
            }
        }
    }

    fn register(&mut self, key: &RoutingKey, schema: &Arc<TableSchema>, effects: &mut Effects) {
        let Some(state) = self.pages.get_mut(key) else {
            return;
        };
        let query = Query::live_from_spec(&state.spec, schema, PAGE_LIMIT);
        let query = match query {
            Ok(query) if query.hash() == key.query => Arc::new(query),
            Ok(_) => {
                let message = format!("table {} has changed: subscribe again", key.table);
                return self.refuse(key, ErrorCode::TableChanged, message, effects);
            }
            Err(error) => {
                return self.refuse(key, ErrorCode::from(&error), error.to_string(), effects);
            }
        };
        let mut wanted = Vec::new();
        match self
            .engine
            .register(&key.tenant, Arc::clone(&query), &mut wanted)
        {
            Ok(page) => {
                state.phase = Phase::Registered { page, query };
                self.keys.insert(page, key.clone());
                self.carry_out(wanted, effects);
            }
            Err(full) => self.refuse(key, ErrorCode::Overloaded, full.to_string(), effects),
        }
    }

    pub(crate) fn change(&mut self, record: ChangeRecord, effects: &mut Effects) {
        match record {
            ChangeRecord::Changes {
                commit,
                change,
                part,
            } => {
                self.committed_at_micros = commit.committed_at_micros;
                if let Some(whole) = self.gatherer.take(commit.lsn, change, part) {
                    self.apply(commit, whole, effects);
                }
            }
            ChangeRecord::Heartbeat(heartbeat, history) => {
                self.compare_histories(history, heartbeat.lsn, effects);
                self.committed_at_micros = heartbeat.at_micros;
                let mut wanted = Vec::new();
                self.engine.heartbeat(&heartbeat, &mut wanted);
                self.carry_out(wanted, effects);
                self.progress(self.published(), effects);
            }
            ChangeRecord::Reset { commit, reset } => {
                self.committed_at_micros = commit.committed_at_micros;
                self.reset(commit, &reset, effects);
            }
            ChangeRecord::Gap => self.gap(effects),
        }
    }

    /// Commits may be missing before what follows: every page is read again.
    pub(crate) fn gap(&mut self, effects: &mut Effects) {
        self.is_after_gap = true;
        self.gatherer.clear();
        let mut wanted = Vec::new();
        self.engine.gap(&mut wanted);
        self.carry_out(wanted, effects);
    }

    /// Asks for a new life when the database has become another one, or an earlier state of itself:
    /// what was said of positions so far is then of no use, to anybody.
    fn compare_histories(&mut self, history: History, lsn: Lsn, effects: &mut Effects) {
        let is_another = self
            .history
            .replace(history)
            .is_some_and(|was| was != history);
        let is_earlier = std::mem::take(&mut self.is_after_gap) && lsn < self.streamed;
        if is_another || is_earlier {
            tracing::warn!(
                partition = self.id.get(),
                "the database has another history"
            );
            self.streamed = lsn;
            effects.reborn.push(self.id);
        } else {
            self.streamed = self.streamed.max(lsn);
        }
    }

    /// Begins a new life with the same leases: every table is looked up, every page read and
    /// published anew.
    pub(crate) fn reborn(&mut self, life: Life, effects: &mut Effects) {
        (self.life, self.epochs) = (life, 0);
        // Positions of the history before say nothing of this one.
        self.reopening.values_mut().for_each(|lsn| *lsn = Lsn::ZERO);
        self.announce(effects);
        let tables: Vec<TableKey> = self.tables.keys().cloned().collect();
        for table_key in &tables {
            self.redefine(table_key, effects);
        }
    }

    fn apply(&mut self, commit: Commit, change: TableChange, effects: &mut Effects) {
        let table_key = (change.tenant.clone(), change.table.clone());
        let known = self
            .tables
            .get(&table_key)
            .and_then(|table| table.described.as_ref());
        if known.is_some_and(|known| known.schema.fingerprint() != change.schema) {
            self.redefine(&table_key, effects);
        }
        let mut wanted = Vec::new();
        self.engine.apply(commit, change, &mut wanted);
        self.carry_out(wanted, effects);
    }

    /// Every tenant's pages of a table are read again; those of another schema are opened anew.
    fn reset(&mut self, commit: Commit, reset: &TableReset, effects: &mut Effects) {
        let is_redefined = |(key, table): (&TableKey, &Table)| {
            let known = table.described.as_ref()?;
            let differs = known.schema.fingerprint() != reset.schema;
            (key.1 == reset.table && differs).then(|| key.clone())
        };
        let redefined: Vec<TableKey> = self.tables.iter().filter_map(is_redefined).collect();
        for table_key in &redefined {
            self.redefine(table_key, effects);
        }
        let mut wanted = Vec::new();
        self.engine.reset(commit, &reset.table, &mut wanted);
        self.carry_out(wanted, effects);
    }

    /// The table no longer looks as its pages think: they are opened anew when it has been
    /// described.
    fn redefine(&mut self, table_key: &TableKey, effects: &mut Effects) {
        let Some(table) = self.tables.get_mut(table_key) else {
            return;
        };
        if table.described.take().is_none() {
            return;
        }
        // The engine forgets them, and with them what it holds back.
        let published = self.engine.published();
        for key in &table.pages {
            let state = self.pages.get_mut(key).expect("a table's pages are there");
            if let Phase::Registered { page, .. } = state.phase {
                if state.published.is_some() {
                    self.reopening.entry(key.clone()).or_insert(published);
                }
                self.engine.remove(page);
                self.keys.remove(&page);
                state.phase = Phase::Describing;
            }
        }
        self.ask_description(table_key.clone(), effects);
    }

    fn ask_description(&self, (tenant, table): TableKey, effects: &mut Effects) {
        effects
            .asks
            .push((self.id, Ask::Describe { tenant, table }));
    }

    /// The answer to [`Ask::Seed`].
    pub(crate) fn seeded(
        &mut self,
        request: SeedRequest,
        answer: Result<Snapshot, CommandError>,
        effects: &mut Effects,
    ) {
        let Some(key) = self.keys.get(&request.page).cloned() else {
            return;
        };
        match answer {
            Ok(Snapshot {
                fence,
                rows,
                complete,
            }) => {
                let mut wanted = Vec::new();
                self.engine.seed(
                    request,
                    Seed {
                        rows,
                        complete,
                        fence,
                    },
                    &mut wanted,
                );
                self.carry_out(wanted, effects);
            }
            // The table is not what it was when it was described.
            Err(CommandError::TableChanged(_)) => {
                self.redefine(&(key.tenant, key.table), effects);
            }
            Err(error) => self.refuse(&key, ErrorCode::from(&error), error.to_string(), effects),
        }
    }

    /// Lets go of pages that nobody wants any more.
    pub(crate) fn sweep(&mut self, now: Instant) {
        let lapsed: Vec<RoutingKey> = self
            .pages
            .iter_mut()
            .filter_map(|(key, state)| (!state.leases.are_alive(now)).then(|| key.clone()))
            .collect();
        lapsed.iter().for_each(|key| self.forget(key));
    }

    fn forget(&mut self, key: &RoutingKey) {
        let Some(state) = self.pages.remove(key) else {
            return;
        };
        self.reopening.remove(key);
        if let Phase::Registered { page, .. } = state.phase {
            self.engine.remove(page);
            self.keys.remove(&page);
        }
        let table_key = (key.tenant.clone(), key.table.clone());
        if let Some(table) = self.tables.get_mut(&table_key) {
            table.pages.remove(key);
            // Its schema goes with its last page: nothing would tell us when it changes. One that
            // is being asked for stays, so that it is asked for once.
            if table.pages.is_empty() && table.described.is_some() {
                self.tables.remove(&table_key);
            }
        }
    }

    fn refuse(&mut self, key: &RoutingKey, code: ErrorCode, why: String, effects: &mut Effects) {
        self.forget(key);
        effects.refuse(self.id, key, code, why);
    }

    fn carry_out(&mut self, wanted: Vec<Effect>, effects: &mut Effects) {
        for effect in wanted {
            match effect {
                Effect::NeedSeed(request) => self.ask_seed(request, effects),
                Effect::Opened { page, lsn, rows } | Effect::Reset { page, lsn, rows } => {
                    self.publish_epoch(page, lsn, &rows, effects);
                }
                Effect::Publish { page, lsn, changes } => {
                    let Some((key, _)) = self.registered(page) else {
                        continue;
                    };
                    let changes = changes_json(self.row_json(&key), &changes);
                    let state = self
                        .pages
                        .get_mut(&key)
                        .expect("a registered page is there");
                    let (position, _) = state.published.expect("a page is opened first");
                    let position = position.next();
                    state.published = Some((position, lsn));
                    let committed_at_micros = self.committed_at_micros;
                    let diff = DiffContent {
                        position,
                        lsn,
                        committed_at_micros,
                        kind: DiffKind::Changes,
                        body: changes,
                    };
                    effects.diff(self.id, &key, diff);
                }
                Effect::Refused { page, why } => {
                    if let Some((key, _)) = self.registered(page) {
                        tracing::error!(key = ?key, why = %why, "engine and database disagree on a query");
                        self.refuse(&key, ErrorCode::Internal, why.to_string(), effects);
                    }
                }
            }
        }
    }

    fn ask_seed(&self, request: SeedRequest, effects: &mut Effects) {
        let Some((key, query)) = self.registered(request.page) else {
            return;
        };
        effects.asks.push((
            self.id,
            Ask::Seed {
                tenant: key.tenant,
                query,
                request,
            },
        ));
    }

    fn registered(&self, page: PageId) -> Option<(RoutingKey, Arc<Query>)> {
        let key = self.keys.get(&page)?;
        match &self.pages.get(key)?.phase {
            Phase::Registered { query, .. } => Some((key.clone(), Arc::clone(query))),
            Phase::Describing => None,
        }
    }

    /// Starts a new epoch with these rows.
    fn publish_epoch(&mut self, page: PageId, lsn: Lsn, rows: &[Row], effects: &mut Effects) {
        let Some((key, query)) = self.registered(page) else {
            return;
        };
        self.epochs = self
            .epochs
            .checked_add(1)
            .expect("a life is shorter than 2^32 epochs");
        let position = Position::start(Epoch::new(self.life, self.epochs));
        self.reopening.remove(&key);
        let state = self
            .pages
            .get_mut(&key)
            .expect("a registered page is there");
        let cause = match state.published.replace((position, lsn)) {
            None => PageCause::Opened,
            Some(_) => PageCause::Reset,
        };
        let content = self.content(
            &key,
            &query,
            rows,
            Place {
                position,
                lsn,
                cause,
            },
        );
        effects.page(self.id, &key, content);
    }

    /// Publishes a page once more where it is, for a gateway that has nothing of it. One that is
    /// still being opened is published when it is open.
    fn repeat(&mut self, key: &RoutingKey, effects: &mut Effects) {
        let Some(PageState {
            phase: Phase::Registered { page, query },
            published,
            ..
        }) = self.pages.get(key)
        else {
            return;
        };
        let (Some(rows), Some((position, lsn))) = (self.engine.rows(*page), *published) else {
            return;
        };
        // What has been passed since did not touch the page, unless that is held back.
        let lsn = match self.engine.is_held(*page) {
            true => lsn,
            false => lsn.max(self.engine.passed()),
        };
        let query = Arc::clone(query);
        let place = Place {
            position,
            lsn,
            cause: PageCause::Repeated,
        };
        let content = self.content(key, &query, &rows, place);
        effects.page(self.id, key, content);
    }

    fn content(
        &mut self,
        key: &RoutingKey,
        query: &Query,
        shown: &[Row],
        place: Place,
    ) -> PageContent {
        let Place {
            position,
            lsn,
            cause,
        } = place;
        let committed_at_micros = self.committed_at_micros;
        let writer = self.row_json(key).writer();
        let (mut cursor, mut rows, mut pks) = (Vec::new(), Vec::new(), Vec::new());
        if let Some(last) = shown.last() {
            writer.write_cursor(
                &mut cursor,
                query.order().iter().map(|key| key.column),
                last,
            );
        }
        writer.write_rows(&mut rows, shown);
        writer.write_pks(&mut pks, shown);
        let (cursor, rows, pks) = (cursor.into(), rows.into(), pks.into());
        PageContent {
            position,
            lsn,
            committed_at_micros,
            cause,
            origin: PageOrigin::Kept,
            cursor,
            rows,
            pks,
        }
    }

    /// The JSON of rows of a registered page's table.
    fn row_json(&mut self, key: &RoutingKey) -> &mut RowJsonCache {
        let table = self
            .tables
            .get_mut(&(key.tenant.clone(), key.table.clone()));
        let described = table.and_then(|table| table.described.as_mut());
        &mut described
            .expect("a registered page's table is described")
            .row_json
    }

    /// Every commit up to here has been published. A page that is to be opened anew keeps it back,
    /// as one does whose changes are held: its subscribers still have what was published last.
    fn published(&self) -> Lsn {
        let published = self.engine.published();
        let reopening = self.reopening.values().min();
        reopening.map_or(published, |before| published.min(*before))
    }

    fn progress(&self, lsn: Lsn, effects: &mut Effects) {
        effects.progress(
            self.id,
            &PageRecord::Progress {
                life: self.life,
                lsn,
            },
        );
    }
}

#[cfg(test)]
mod tests;
