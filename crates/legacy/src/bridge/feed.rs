//! A feed is one old routing key that is served: what its clients hold, and what they are to be
//! told.
//!
//! An old gateway gives each client rows by SQL and says so in a seed; from then on it hands every
//! diff of the key, with an LSN above the one in the seed, to all of the key's clients alike. So
//! two things are kept apart here. *Settled* clients hold what was last said. *Newcomers*, whose
//! seeds wait, hold their seed and perhaps a few diffs on top of it; they are told what makes them
//! hold the page, and it is said such that the settled ones do not notice.
//!
//! A seed is not answered at once: an old gateway loses diffs that reach it while it is still
//! sending the client its rows. [`ANSWER_PAUSE_MILLIS`] lets it finish, and answers a herd at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use tidegate_core::{Lsn, Position, RoutingKey, TableName, TableSchema, TenantId};
use tidegate_protocol::{HashId, OldKey, PageSeed, WireChange};

use super::listing::{Entry, net, restate};
use super::memory::Memory;
use super::page::Page;
use super::pk::pk_of;

/// Milliseconds between a seed and its answer.
pub(super) const ANSWER_PAUSE_MILLIS: u64 = 200;
/// Milliseconds after something was said in which it may still reach a client whose seed is here:
/// an old gateway gives its SQL worker ten seconds, twice, and may be behind itself.
const RECENT_MILLIS: u64 = 30_000;
/// Seeds that wait for the table's columns to be known. More are answered as if they were among
/// these: rows that only they hold are not taken out.
const RAW_SEEDS_MAX: usize = 16;
/// How far ahead of what was said the remembered LSN is: one segment of Postgres's log, so that it
/// is written once in so much log. A restart may skip as many LSNs.
const LSN_AHEAD: u64 = 16 << 20;
/// The highest LSN that a client is believed to listen above. One that claims to have seen more
/// hears row events only.
const LISTENS_ABOVE_MAX: u64 = 1 << 62;
/// Primary keys remembered beyond twice those of the page before the list is written anew.
const SPARE_PKS_MAX: usize = 64;

/// Whose page a feed is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) tenant: TenantId,
    pub(super) table: TableName,
    pub(super) label: HashId,
}

/// What settled clients hold.
#[derive(Debug)]
enum Told {
    /// Nobody is settled yet. After a restart: they hold what is remembered, in some state.
    Nobody,
    /// Exactly the page that is followed.
    Page,
    /// Exactly these rows, while their page is being had anew.
    Rows(Vec<Entry>),
}

/// What newcomers hold.
#[derive(Debug)]
enum Newcomers {
    /// All the same rows.
    Alike(Vec<Entry>),
    /// Some of these rows.
    Unlike(BTreeSet<Arc<str>>),
}

/// What a feed is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// No query is known.
    Waiting,
    /// Its table is being looked up.
    Describing,
    /// It cannot be followed now; at this time it is tried again.
    Refused(u64),
    /// It follows this page of ours.
    Following(RoutingKey),
}

/// What is to be said to the clients of a key, all of it with one position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Saying {
    pub(super) key: OldKey,
    pub(super) label: HashId,
    pub(super) position: Position,
    /// LSN of the last change; those before it have the LSNs just below.
    pub(super) last: u64,
    pub(super) changes: Vec<WireChange>,
}

/// One old routing key that is served.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) key: OldKey,
    pub(super) target: Target,
    /// The query, as the old gateway wrote it.
    pub(super) query: Option<Bytes>,
    pub(super) phase: Phase,
    /// When somebody last asked for the page.
    pub(super) heard: u64,
    /// When the newcomers are answered.
    pub(super) due: Option<u64>,
    pub(super) memory: Memory,
    schema: Option<Arc<TableSchema>>,
    told: Told,
    newcomers: Option<Newcomers>,
    raw_seeds: Vec<PageSeed>,
    /// The lowest LSN that a newcomer listens above.
    newcomers_lsn: u64,
    /// Whether clients of an earlier life may hold what is remembered.
    is_restored: bool,
    /// The highest LSN that was said, or that somebody listens above.
    lsn: u64,
    /// When something was last said, and its LSN.
    said: Option<(u64, u64)>,
}

/// Whether what is remembered has changed and is to be written down first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recall {
    Same,
    Changed,
}

/// How a feed begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// With its first client.
    Seed,
    /// With what an earlier owner remembered.
    Memory,
}

impl Feed {
    pub(super) fn new(key: OldKey, target: Target, memory: Memory, origin: Origin) -> Self {
        Self {
            key,
            target,
            query: None,
            phase: Phase::Waiting,
            heard: 0,
            due: None,
            lsn: memory.lsn,
            memory,
            schema: None,
            told: Told::Nobody,
            newcomers: None,
            raw_seeds: Vec::new(),
            newcomers_lsn: u64::MAX,
            is_restored: origin == Origin::Memory,
            said: None,
        }
    }

    /// Takes a seed.
    pub(super) fn on_seed(&mut self, partition: u32, seed: PageSeed, now: u64) -> Recall {
        let mut recall = Recall::Same;
        if self.memory.partition != partition {
            self.memory.partition = partition;
            recall = Recall::Changed;
        }
        let above = seed
            .listens_above
            .map(Lsn::get)
            .filter(|above| *above <= LISTENS_ABOVE_MAX);
        self.newcomers_lsn = self.newcomers_lsn.min(above.unwrap_or(u64::MAX));
        if let Some(above) = above {
            self.lsn = self.lsn.max(above);
            if above > self.memory.lsn {
                self.memory.lsn = above + LSN_AHEAD;
                recall = Recall::Changed;
            }
        }
        self.due.get_or_insert(now + ANSWER_PAUSE_MILLIS);
        if self.raw_seeds.len() < RAW_SEEDS_MAX {
            self.raw_seeds.push(seed);
        }
        match self.welcome_all() {
            Recall::Same => recall,
            Recall::Changed => Recall::Changed,
        }
    }

    /// The table's columns are known.
    pub(super) fn on_schema(&mut self, schema: Arc<TableSchema>) -> Recall {
        self.schema = Some(schema);
        self.welcome_all()
    }

    /// Makes newcomers of the seeds that wait, once it is known what their primary keys are.
    fn welcome_all(&mut self) -> Recall {
        let Some(schema) = self.schema.clone() else {
            return Recall::Same;
        };
        let mut recall = Recall::Same;
        for seed in std::mem::take(&mut self.raw_seeds) {
            let rows = entries(&seed, &schema);
            for row in &rows {
                if self.memory.pks.insert(Arc::clone(&row.pk)) {
                    recall = Recall::Changed;
                }
            }
            self.welcome(rows);
        }
        recall
    }

    fn welcome(&mut self, rows: Vec<Entry>) {
        self.newcomers = Some(match self.newcomers.take() {
            None => Newcomers::Alike(rows),
            Some(Newcomers::Alike(held)) if held == rows => Newcomers::Alike(held),
            Some(Newcomers::Alike(held)) => {
                Newcomers::Unlike(held.into_iter().chain(rows).map(|row| row.pk).collect())
            }
            Some(Newcomers::Unlike(mut held)) => {
                held.extend(rows.into_iter().map(|row| row.pk));
                Newcomers::Unlike(held)
            }
        });
    }

    /// Leaves its page, at which the settled clients stay for now.
    pub(super) fn part(&mut self, page: Option<&Page>, phase: Phase) {
        self.phase = phase;
        if matches!(self.told, Told::Page) {
            let rows = page.map_or_else(Vec::new, |page| page.rows.clone());
            self.told = Told::Rows(rows);
        }
    }

    /// What is to be said now that this is the page, if somebody is to be told.
    pub(super) fn answer(&mut self, page: &Page, now: u64) -> Option<(Saying, Recall)> {
        let is_due = self.due.is_some_and(|due| due <= now);
        let is_settling = match &self.told {
            Told::Nobody => self.is_restored,
            Told::Page => false,
            Told::Rows(_) => true,
        };
        if !is_due && !is_settling {
            return None;
        }
        let is_recent = self.is_recent(now);
        let newcomers = if is_due {
            self.due = None;
            self.newcomers_lsn = u64::MAX;
            self.newcomers.take()
        } else {
            None
        };
        let told = std::mem::replace(&mut self.told, Told::Page);
        let changes = match (told, newcomers) {
            (Told::Rows(rows), None) => net(&rows, &page.rows),
            (Told::Nobody, Some(Newcomers::Alike(rows))) if !self.is_restored => {
                net(&rows, &page.rows)
            }
            (Told::Page, Some(Newcomers::Alike(rows))) if !is_recent => net(&rows, &page.rows),
            (told, newcomers) => {
                let mut held = held_by(newcomers);
                match told {
                    Told::Nobody => held.extend(self.memory.pks.iter().cloned()),
                    Told::Page => held.extend(page.rows.iter().map(|row| Arc::clone(&row.pk))),
                    Told::Rows(rows) => held.extend(rows.into_iter().map(|row| row.pk)),
                }
                restate(&held, &page.rows)
            }
        };
        self.is_restored = false;
        self.say(page, changes, now)
    }

    /// Whether newcomers may have heard something on top of the rows in their seeds.
    fn is_recent(&self, now: u64) -> bool {
        let reaches = |(at, lsn): (u64, u64)| lsn > self.newcomers_lsn || now < at + RECENT_MILLIS;
        self.said.is_some_and(reaches)
    }

    /// The page has gone on, or another has taken its place.
    pub(super) fn advance(
        &mut self,
        page: &Page,
        changes: &[WireChange],
        now: u64,
    ) -> Option<(Saying, Recall)> {
        match self.told {
            Told::Page => self.say(page, changes.to_vec(), now),
            // The first answer will contain it.
            Told::Nobody | Told::Rows(_) => None,
        }
    }

    fn say(&mut self, page: &Page, changes: Vec<WireChange>, now: u64) -> Option<(Saying, Recall)> {
        let count = changes.len() as u64;
        if count == 0 {
            return None;
        }
        self.lsn = (self.lsn + count).max(page.lsn.get());
        self.said = Some((now, self.lsn));
        let recall = self.recall(page, &changes);
        let saying = Saying {
            key: self.key.clone(),
            label: self.target.label.clone(),
            position: page.position,
            last: self.lsn,
            changes,
        };
        Some((saying, recall))
    }

    /// Sees to it that what is about to be said is within what is remembered.
    fn recall(&mut self, page: &Page, changes: &[WireChange]) -> Recall {
        let known = &self.memory.pks;
        let is_within =
            self.lsn <= self.memory.lsn && changes.iter().all(|change| known.contains(change.pk()));
        if is_within {
            return Recall::Same;
        }
        if self.lsn > self.memory.lsn {
            self.memory.lsn = self.lsn + LSN_AHEAD;
        }
        if self.memory.pks.len() > 2 * page.rows.len() + SPARE_PKS_MAX {
            self.memory.pks = page.rows.iter().map(|row| Arc::clone(&row.pk)).collect();
            match &self.newcomers {
                Some(Newcomers::Alike(rows)) => {
                    let pks = rows.iter().map(|row| Arc::clone(&row.pk));
                    self.memory.pks.extend(pks);
                }
                Some(Newcomers::Unlike(pks)) => self.memory.pks.extend(pks.iter().cloned()),
                None => {}
            }
        }
        let pks = changes.iter().map(|change| Arc::from(change.pk()));
        self.memory.pks.extend(pks);
        Recall::Changed
    }
}

fn held_by(newcomers: Option<Newcomers>) -> BTreeSet<Arc<str>> {
    match newcomers {
        None => BTreeSet::new(),
        Some(Newcomers::Alike(rows)) => rows.into_iter().map(|row| row.pk).collect(),
        Some(Newcomers::Unlike(pks)) => pks,
    }
}

/// The rows of a seed. One without a primary key cannot be spoken of and is left out, and so is one
/// whose key came before.
fn entries(seed: &PageSeed, schema: &TableSchema) -> Vec<Entry> {
    let mut seen = BTreeSet::new();
    let entry = |row: &str| {
        let pk: Arc<str> = pk_of(schema, row)?.into();
        seen.insert(Arc::clone(&pk)).then(|| Entry {
            pk,
            row: row.into(),
        })
    };
    let rows = seed.rows.iter().map(|row| row.get());
    rows.filter_map(entry).collect()
}
