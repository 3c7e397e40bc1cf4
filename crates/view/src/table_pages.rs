//! All pages of one table of one tenant, for one schema of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate_core::{Commit, Lsn, PageChange, Query, Row, TableName, TableSchema, TenantId};

use crate::effect::{Effect, PageId, Seed, SeedRequest};
use crate::index::PredicateIndex;
use crate::members::Members;
use crate::net::NetChange;
use crate::page::{Before, Content, Page, Reading, Seeded, Touch, agree};
use crate::pages::Counts;
use crate::pending::{Pending, Waiting};
use crate::recent::{Reach, Recent, Streamed};
use crate::window::{Edited, Entry, Window};

/// What one call needs besides the table: the recent changes, and where effects go.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) recent: &'a Recent,
    pub(crate) effects: &'a mut Vec<Effect>,
}

/// A page, and who it is.
#[derive(Debug)]
struct Slot {
    id: PageId,
    page: Page,
}

/// Change `change` of a transaction concerns the page in `slot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Hit {
    slot: u32,
    change: u32,
    holds: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct TablePages {
    tenant: TenantId,
    schema: Arc<TableSchema>,
    /// Every known window is exact here.
    position: Lsn,
    /// The last commit that was applied; a record that comes again is known by it.
    applied: Lsn,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    members: Members,
    index: PredicateIndex,
    pending: Pending,
    /// Pages that hold changes back.
    holding: BTreeSet<u32>,
    hits: Vec<Hit>,
    candidates: Vec<u32>,
}

impl TablePages {
    pub(crate) fn new(
        tenant: TenantId,
        schema: Arc<TableSchema>,
        position: Lsn,
        pending_rows_max: usize,
    ) -> Self {
        Self {
            tenant,
            schema,
            position,
            applied: position,
            slots: Vec::new(),
            free: Vec::new(),
            members: Members::default(),
            index: PredicateIndex::default(),
            pending: Pending::new(pending_rows_max),
            holding: BTreeSet::new(),
            hits: Vec::new(),
            candidates: Vec::new(),
        }
    }

    pub(crate) fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    pub(crate) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    pub(crate) fn table(&self) -> &TableName {
        self.schema.table()
    }

    pub(crate) fn page_count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn count(&self, counts: &mut Counts) {
        counts.pages += self.page_count();
        counts.unindexed_pages += self.index.rest_count();
        counts.rows += self.members.len();
        counts.pending_rows += self.pending.rows();
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.pending.is_waiting()
    }

    /// Adds a page and asks for its rows.
    pub(crate) fn register(
        &mut self,
        query: Arc<Query>,
        id: impl FnOnce(u32) -> PageId,
        turn: &mut Turn<'_>,
    ) -> PageId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        let id = id(slot);
        self.index.insert(slot, query.filter());
        let page = Page::new(query);
        self.slots[slot as usize] = Some(Slot { id, page });
        self.ask(slot, turn);
        id
    }

    /// Drops a page and all that is kept for it.
    pub(crate) fn remove(&mut self, id: PageId) {
        if self.page(id).is_none() {
            return;
        }
        let Some(Slot { page, .. }) = self.slots[id.slot as usize].take() else {
            return;
        };
        self.index.remove(id.slot);
        self.holding.remove(&id.slot);
        if let Content::Known(window) = &page.content {
            self.forget_rows(id.slot, window.entries.iter().map(|entry| &entry.row));
        }
        if page.reading.needed_from().is_some() {
            self.pending.end_read();
        }
        self.free.push(id.slot);
    }

    /// The rows that the page's subscribers have; `None` when it is unknown or has not opened yet.
    pub(crate) fn rows(&self, id: PageId) -> Option<Vec<Row>> {
        let page = self.page(id)?;
        page.visible().map(rows_of)
    }

    /// Whether changes of the page wait to be published.
    pub(crate) fn is_held(&self, id: PageId) -> bool {
        self.page(id)
            .is_some_and(|page| page.held_since().is_some())
    }

    /// The first commit whose changes of some page have not been published.
    pub(crate) fn held_since(&self) -> Option<Lsn> {
        let pages = self
            .holding
            .iter()
            .filter_map(|slot| self.slots[*slot as usize].as_ref());
        pages.filter_map(|slot| slot.page.held_since()).min()
    }

    /// Notes whether a page holds changes back.
    fn note_hold(&mut self, slot: u32) {
        let holds = self.slots[slot as usize]
            .as_ref()
            .is_some_and(|slot| slot.page.held_since().is_some());
        match holds {
            true => self.holding.insert(slot),
            false => self.holding.remove(&slot),
        };
    }

    fn page(&self, id: PageId) -> Option<&Page> {
        let slot = self.slots.get(id.slot as usize)?.as_ref()?;
        (slot.id == id).then_some(&slot.page)
    }

    fn page_at(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots[slot as usize].as_mut()
    }

    /// Asks for a page's rows, so that every change they may lack is kept from now on.
    fn ask(&mut self, slot: u32, turn: &mut Turn<'_>) {
        let Some(Slot { id, page }) = self.slots[slot as usize].as_mut() else {
            return;
        };
        page.attempt += 1;
        page.reading = match turn.recent.reach() {
            Reach::Short { .. } => Reading::Parked,
            Reach::Whole => {
                turn.effects.push(Effect::NeedSeed(SeedRequest {
                    page: *id,
                    rows_max: page.capacity() as u32,
                    attempt: page.attempt,
                }));
                let (recent, position) = (turn.recent, self.position);
                let needed_from =
                    self.pending
                        .begin_read(recent, &self.tenant, &self.schema, position);
                Reading::Asked { needed_from }
            }
        };
    }

    /// Asks for the rows of pages that could not be joined to the stream when they needed them.
    pub(crate) fn ask_parked(&mut self, turn: &mut Turn<'_>) {
        for slot in 0..self.slots.len() as u32 {
            let is_parked = self
                .page_at(slot)
                .is_some_and(|slot| matches!(slot.page.reading, Reading::Parked));
            if is_parked {
                self.ask(slot, turn);
            }
        }
    }

    /// Takes the answer to a request; one that is no longer waited for is ignored.
    pub(crate) fn seed(&mut self, request: SeedRequest, seed: Seed, turn: &mut Turn<'_>) {
        let slot = request.page.slot;
        let expected = self
            .page(request.page)
            .filter(|page| page.attempt == request.attempt);
        let Some(Reading::Asked { needed_from }) = expected.map(|page| &page.reading) else {
            return;
        };
        let needed_from = *needed_from;
        self.pending.wait(Waiting {
            horizon: seed.fence.horizon(),
            page: request.page,
            attempt: request.attempt,
        });
        if let Some(Slot { page, .. }) = self.page_at(slot) {
            page.reading = Reading::Answered { needed_from, seed };
        }
        self.install_ready(turn);
    }

    /// Says that every commit up to `lsn` has been applied.
    pub(crate) fn advance(&mut self, lsn: Lsn, turn: &mut Turn<'_>) {
        self.position = self.position.max(lsn);
        self.install_ready(turn);
    }

    /// Applies one transaction's change of the table.
    pub(crate) fn apply(&mut self, streamed: &Streamed, turn: &mut Turn<'_>) {
        let commit = streamed.commit;
        if commit.lsn <= self.applied {
            return;
        }
        self.applied = commit.lsn;
        self.position = self.position.max(commit.lsn);
        let net = streamed.net(&self.schema);
        self.keep(commit, net.as_ref(), turn);
        match net {
            Some(changes) => self.apply_net(&commit, &changes, turn),
            None => self.read_again(commit.lsn, turn),
        }
        self.install_ready(turn);
    }

    /// Keeps a change for the pages that wait for their rows.
    fn keep(&mut self, commit: Commit, net: Option<&Arc<[NetChange]>>, turn: &mut Turn<'_>) {
        self.pending.keep(commit, net);
        if self.pending.is_over_bound() {
            self.ask_all_again(turn);
        } else if self.pending.wants_trim() {
            let pages = self.slots.iter().flatten();
            let needed = pages.filter_map(|slot| slot.page.reading.needed_from());
            if let Some(needed_from) = needed.min() {
                self.pending.trim(needed_from);
            }
        }
    }

    fn ask_all_again(&mut self, turn: &mut Turn<'_>) {
        self.pending.clear();
        for slot in 0..self.slots.len() as u32 {
            let is_reading = self
                .page_at(slot)
                .is_some_and(|slot| slot.page.reading.needed_from().is_some());
            if is_reading {
                self.ask(slot, turn);
            }
        }
    }

    /// Nothing is known of any page any more: all are read again.
    fn read_again(&mut self, since: Lsn, turn: &mut Turn<'_>) {
        self.members = Members::default();
        for slot in 0..self.slots.len() as u32 {
            let Some(Slot { page, .. }) = self.page_at(slot) else {
                continue;
            };
            page.forget(since);
            // A read that is under way may have been made before the change; its fence will tell.
            if matches!(page.reading, Reading::Idle) {
                self.ask(slot, turn);
            }
            self.note_hold(slot);
        }
    }

    /// The same when the stream was broken off: also the reads that are under way may lack commits,
    /// and the next stream need not go on where this one ended.
    pub(crate) fn start_over(&mut self, turn: &mut Turn<'_>) {
        (self.position, self.applied) = (Lsn::ZERO, Lsn::ZERO);
        self.ask_all_again(turn);
        self.read_again(Lsn::ZERO, turn);
        self.ask_parked(turn);
    }

    fn apply_net(&mut self, commit: &Commit, changes: &[NetChange], turn: &mut Turn<'_>) {
        let before = self.find_hits(changes);
        let hits = std::mem::take(&mut self.hits);
        for group in hits.chunk_by(|a, b| a.slot == b.slot) {
            let slot = group[0].slot;
            let touches = group.iter().map(|hit| Touch {
                change: &changes[hit.change as usize],
                before: match &before[hit.change as usize] {
                    Some(row) if hit.holds => Before::Here(row),
                    Some(_) | None => Before::Elsewhere,
                },
            });
            let Some(Slot { id, page }) = self.slots[slot as usize].as_mut() else {
                continue;
            };
            let Some(edited) = page.apply(commit.lsn, touches) else {
                continue;
            };
            let (id, wants_refill) = (*id, page.wants_refill());
            let changes = self.note_membership(slot, edited);
            self.note_hold(slot);
            if !changes.is_empty() {
                turn.effects.push(Effect::Publish {
                    page: id,
                    lsn: commit.lsn,
                    changes,
                });
            }
            if wants_refill {
                self.refill(slot, turn);
            }
        }
        for NetChange { key, row } in changes {
            if let Some(row) = row {
                self.members.update(key, row);
            }
        }
        self.hits = hits;
    }

    /// Finds the pages that each change concerns, in the order of pages. Gives the rows before.
    fn find_hits(&mut self, changes: &[NetChange]) -> Vec<Option<Row>> {
        self.hits.clear();
        let mut before = Vec::with_capacity(changes.len());
        for (change, NetChange { key, row }) in changes.iter().enumerate() {
            let change = change as u32;
            let member = self.members.get(key);
            let holders: &[u32] = member.map_or(&[], |member| &member.pages);
            let hit = |slot: &u32, holds| Hit {
                slot: *slot,
                change,
                holds,
            };
            self.hits.extend(holders.iter().map(|slot| hit(slot, true)));
            if let Some(row) = row {
                self.candidates.clear();
                self.index.candidates(row, holders, &mut self.candidates);
                self.hits
                    .extend(self.candidates.iter().map(|slot| hit(slot, false)));
            }
            before.push(member.map(|member| member.row.clone()));
        }
        self.hits.sort_unstable();
        before
    }

    /// Notes which rows a page's edits brought into its window and took out.
    fn note_membership(&mut self, slot: u32, edited: Edited) -> Vec<PageChange> {
        self.forget_rows(slot, edited.left.iter());
        if let Some(Slot { page, .. }) = &self.slots[slot as usize]
            && let Content::Known(window) = &page.content
        {
            for index in edited.joined {
                let row = &window.entries[index].row;
                let key = NetChange::identity(&self.schema, row);
                self.members.enter(key, row, slot);
            }
        }
        edited.changes
    }

    fn forget_rows<'a>(&mut self, slot: u32, rows: impl Iterator<Item = &'a Row>) {
        for row in rows {
            let key = NetChange::identity(&self.schema, row);
            self.members.leave(&key, slot);
        }
    }

    fn refill(&mut self, slot: u32, turn: &mut Turn<'_>) {
        if let Some(Slot { page, .. }) = self.page_at(slot) {
            page.widen();
        }
        self.ask(slot, turn);
    }

    /// Installs the seeds whose horizon the stream has passed.
    fn install_ready(&mut self, turn: &mut Turn<'_>) {
        while let Some(waiting) = self.pending.take_ready(self.position) {
            let is_awaited = self.page(waiting.page).is_some_and(|page| {
                page.attempt == waiting.attempt && matches!(page.reading, Reading::Answered { .. })
            });
            if is_awaited {
                self.install(waiting.page.slot, turn);
            }
        }
    }

    fn install(&mut self, slot: u32, turn: &mut Turn<'_>) {
        let Some(Slot { id, page }) = self.slots[slot as usize].as_mut() else {
            return;
        };
        let Reading::Answered { seed, .. } = std::mem::replace(&mut page.reading, Reading::Idle)
        else {
            return;
        };
        let id = *id;
        match page.window_of(seed, &self.pending) {
            Seeded::Window(window) => {
                let effect = self.exchange(slot, window);
                turn.effects.extend(effect);
                self.note_hold(slot);
            }
            Seeded::Short => self.refill(slot, turn),
            Seeded::TooOld => self.ask(slot, turn),
            Seeded::Disagrees(why) => {
                self.give_up(slot);
                turn.effects.push(Effect::Refused { page: id, why });
            }
        }
        self.pending.end_read();
        let wants_refill = self
            .page_at(slot)
            .is_some_and(|slot| slot.page.wants_refill());
        if wants_refill {
            self.refill(slot, turn);
        }
    }

    /// Keeps the slot of a page that cannot be kept until its owner removes it.
    fn give_up(&mut self, slot: u32) {
        let Some(Slot { page, .. }) = self.page_at(slot) else {
            return;
        };
        page.reading = Reading::Hopeless;
        if let Content::Known(window) = std::mem::replace(&mut page.content, Content::Unknown) {
            self.forget_rows(slot, window.entries.iter().map(|entry| &entry.row));
        }
    }

    /// Puts a seeded window in place, and says what that means for subscribers.
    fn exchange(&mut self, slot: u32, mut window: Window) -> Option<Effect> {
        let Slot { id, page } = self.slots[slot as usize].as_mut()?;
        let (page_id, lsn) = (*id, self.position);
        let old = match &page.content {
            Content::Known(old) => Some(agree(old, &window)),
            Content::Unknown => None,
        };
        for entry in &mut window.entries {
            let key = NetChange::identity(&self.schema, &entry.row);
            entry.row = self.members.enter(key, &entry.row, slot);
        }
        let (before, shown) = page.install(window);
        let rows = || page.visible().map(rows_of).unwrap_or_default();
        let effect = match (shown, old) {
            (None, _) => Some(Effect::Opened {
                page: page_id,
                lsn,
                rows: rows(),
            }),
            (Some(_), Some(false)) => Some(Effect::Reset {
                page: page_id,
                lsn,
                rows: rows(),
            }),
            (Some(shown), Some(true) | None) => publish(page_id, lsn, page.changes_since(&shown)),
        };
        if let Content::Known(old) = &before {
            self.forget_rows(slot, old.entries.iter().map(|entry| &entry.row));
        }
        effect
    }
}

fn publish(page: PageId, lsn: Lsn, changes: Vec<PageChange>) -> Option<Effect> {
    (!changes.is_empty()).then_some(Effect::Publish { page, lsn, changes })
}

fn rows_of(entries: &[Entry]) -> Vec<Row> {
    entries.iter().map(|entry| entry.row.clone()).collect()
}
