//! All that a bridge knows, as a pure state machine: records and times in, [`Effects`] out.
//!
//! Two maps meet here: feeds, by the old gateway's routing key, and pages of ours, by our own.
//! Several labels may mean one page. One label means one query at a time: the last that was
//! written.
//!
//! What is known of *every* old key, its last query and what is remembered of it, is small and kept
//! by each bridge. Served is a key by the one bridge that has the partition its seeds come in, so a
//! key of which no seed was ever read, and which therefore has no client, costs nothing.

mod pages;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use tidegate_core::{LimitRule, Query, RoutingKey, TableName, TableSchema, Tenancy, TenantId};
use tidegate_protocol::{ControlRecord, HashId, OldKey, PageSeed, decode_query};

use self::pages::Pages;
use super::feed::{Feed, Origin, Phase, Recall, Saying, Target};
use super::memory::Memory;

/// Milliseconds until a query that was refused, or a table that could not be looked up, is tried
/// again: somebody may have made the table.
const REFUSED_PAUSE_MILLIS: u64 = 30_000;
/// The same when the database was away.
const AWAY_PAUSE_MILLIS: u64 = 1_000;
/// The same when the page's owner refused: mostly because the table has another shape now.
const REREAD_PAUSE_MILLIS: u64 = 1_000;
/// Milliseconds between looks at what is to be renewed, tried again or let go of.
const SWEEP_MILLIS: u64 = 1_000;

/// What a bridge is told.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) tenancy: Tenancy,
    pub(super) subscription_limit: LimitRule,
    /// Its name as an owner of leases.
    pub(super) gateway_id: u64,
    pub(super) partition_count: u32,
    /// Keys served; past it, of the tenant that has the most, the one that nobody asked for in the
    /// longest time is let go of.
    pub(super) feeds_max: usize,
    /// Queries known; the same act.
    pub(super) queries_max: usize,
    /// How long a key is served after somebody last asked for it.
    pub(super) idle_millis: u64,
}

/// A thing that went wrong in what others wrote. Each is counted, and told once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Oddity {
    /// A record of the topic of queries that makes no sense.
    BadControl,
    /// A record of the topic of seeds that makes no sense.
    BadSeed,
    /// A record of our own topic that makes no sense.
    BadMemory,
    /// A page or diff of ours that makes no sense or does not fit.
    BadPage,
    /// A query that cannot be served.
    BadQuery,
    /// A key that was let go of at a bound.
    Evicted,
    /// A key that nobody asked for in a long time.
    Expired,
}

/// What is to be done, in this order.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// To be written down; `None` forgets.
    pub(super) memories: Vec<(OldKey, Option<Memory>)>,
    /// To be said after that.
    pub(super) sayings: Vec<Saying>,
    /// Leases and releases.
    pub(super) leases: Vec<(RoutingKey, ControlRecord)>,
    /// Tables to be looked up; [`State::on_described`] takes what is found.
    pub(super) describes: Vec<(TenantId, TableName)>,
    /// To be counted.
    pub(super) oddities: Vec<(Oddity, String)>,
}

/// What is found of a table.
pub(super) type Described = Result<Arc<TableSchema>, (Undescribed, String)>;

/// Why a table could not be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undescribed {
    /// The database is away.
    Away,
    /// It says no.
    Refused,
}

struct Heard {
    query: Bytes,
    at: u64,
}

/// See the module.
pub(super) struct State {
    settings: Settings,
    queries: HashMap<OldKey, Heard>,
    memories: HashMap<OldKey, Memory>,
    owned: HashSet<u32>,
    feeds: HashMap<OldKey, Feed>,
    /// How many feeds each tenant has.
    tenants: HashMap<TenantId, usize>,
    pages: Pages,
    /// Feeds with newcomers, by when they are answered.
    due: BTreeSet<(u64, OldKey)>,
    describing: HashMap<(TenantId, TableName), Vec<OldKey>>,
    next_sweep: u64,
    pub(super) effects: Effects,
}

impl State {
    pub(super) fn new(settings: Settings) -> Self {
        let gateway_id = settings.gateway_id;
        Self {
            settings,
            queries: HashMap::new(),
            memories: HashMap::new(),
            owned: HashSet::new(),
            feeds: HashMap::new(),
            tenants: HashMap::new(),
            pages: Pages::new(gateway_id),
            due: BTreeSet::new(),
            describing: HashMap::new(),
            next_sweep: 0,
            effects: Effects::default(),
        }
    }

    /// Keys served, and pages followed for them.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.feeds.len(), self.pages.len())
    }

    /// Takes a record of the topic of queries.
    pub(super) fn on_control(&mut self, key: &[u8], query: Option<Bytes>, at: u64) {
        let Some(key) = OldKey::read(key) else {
            return self.note(Oddity::BadControl, "its key".to_owned());
        };
        let Some(query) = query else {
            self.queries.remove(&key);
            self.let_go(&key);
            return;
        };
        if let Err(error) = decode_query(&query) {
            return self.note(Oddity::BadControl, error.message);
        }
        self.make_room_for_query(&key);
        let heard = Heard { query, at };
        let is_new = self
            .queries
            .get(&key)
            .is_none_or(|known| known.query != heard.query);
        if let Some(feed) = self.feeds.get_mut(&key) {
            feed.heard = feed.heard.max(at);
        }
        self.queries.insert(key.clone(), heard);
        if is_new {
            self.requery(&key);
        }
    }

    /// Takes a record of the topic of seeds.
    pub(super) fn on_seed(&mut self, partition: u32, key: &[u8], value: &[u8], times: Times) {
        let Some(key) = OldKey::read(key) else {
            return self.note(Oddity::BadSeed, "its key".to_owned());
        };
        let seed = match PageSeed::read(&key, value) {
            Ok(seed) => seed,
            Err(error) => return self.note(Oddity::BadSeed, error.to_string()),
        };
        let Some(target) = self.target(&seed.company, &seed.table, seed.label.clone()) else {
            return self.note(Oddity::BadSeed, "its tenant or table".to_owned());
        };
        self.owned.insert(partition);
        if !self.feeds.contains_key(&key) {
            let (memory, origin) = match self.memories.get(&key) {
                Some(memory) => (memory.clone(), Origin::Memory),
                None => (first_memory(partition, &seed), Origin::Seed),
            };
            if origin == Origin::Seed {
                self.effects
                    .memories
                    .push((key.clone(), Some(memory.clone())));
            }
            self.open(key.clone(), target, (memory, origin));
        }
        let Some(feed) = self.feeds.get_mut(&key) else {
            return;
        };
        feed.heard = feed.heard.max(times.sent);
        let recall = feed.on_seed(partition, seed, times.now);
        if let Some(due) = feed.due {
            self.due.insert((due, key.clone()));
        }
        self.recall(&key, recall);
    }

    /// Takes a record of our own topic.
    pub(super) fn on_memory(&mut self, key: &[u8], value: Option<&[u8]>) {
        let Some(key) = OldKey::read(key) else {
            return self.note(Oddity::BadMemory, "its key".to_owned());
        };
        // Of what is served here we are the author.
        if self.feeds.contains_key(&key) {
            return;
        }
        match value.map(Memory::decode) {
            None => drop(self.memories.remove(&key)),
            Some(Some(memory)) => drop(self.memories.insert(key, memory)),
            Some(None) => self.note(Oddity::BadMemory, "its value".to_owned()),
        }
    }

    /// These partitions of the topic of seeds are ours, and what was remembered of them is known.
    pub(super) fn gain(&mut self, partitions: &[u32]) {
        self.owned.extend(partitions);
        let is_ours = |memory: &Memory| partitions.contains(&memory.partition);
        let keys: Vec<OldKey> = self
            .memories
            .iter()
            .filter(|(key, memory)| is_ours(memory) && !self.feeds.contains_key(*key))
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            let memory = self.memories[&key].clone();
            let label = HashId::parse(&memory.hash);
            let target = label.and_then(|label| self.target(&memory.company, &memory.table, label));
            match target {
                Some(target) => self.open(key, target, (memory, Origin::Memory)),
                None => self.note(Oddity::BadMemory, "its names".to_owned()),
            }
        }
    }

    /// These are another's.
    pub(super) fn lose(&mut self, partitions: &[u32]) {
        for partition in partitions {
            self.owned.remove(partition);
        }
        let is_lost = |feed: &Feed| !self.owned.contains(&feed.memory.partition);
        let keys: Vec<OldKey> = self
            .feeds
            .iter()
            .filter(|(_, feed)| is_lost(feed))
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            if let Some(feed) = self.close(&key) {
                self.memories.insert(key, feed.memory);
            }
        }
    }

    /// A table has been looked up.
    pub(super) fn on_described(
        &mut self,
        table: &(TenantId, TableName),
        described: &Described,
        now: u64,
    ) {
        for key in self.describing.remove(table).unwrap_or_default() {
            if self
                .feeds
                .get(&key)
                .is_none_or(|feed| feed.phase != Phase::Describing)
            {
                continue;
            }
            match described {
                Ok(schema) => self.place(&key, schema, now),
                Err((Undescribed::Away, _)) => self.refuse(&key, now + AWAY_PAUSE_MILLIS),
                Err((Undescribed::Refused, why)) => {
                    self.note(Oddity::BadQuery, format!("{}: {why}", key.as_str()));
                    self.refuse(&key, now + REFUSED_PAUSE_MILLIS);
                }
            }
        }
    }

    /// Lets time pass.
    pub(super) fn tick(&mut self, now: u64) {
        while let Some((due, key)) = self.due.first().cloned()
            && due <= now
        {
            self.due.remove(&(due, key.clone()));
            self.answer(&key, now);
        }
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + SWEEP_MILLIS;
        self.pages.renew(now, &mut self.effects.leases);
        let mut again = Vec::new();
        let mut expired = Vec::new();
        for (key, feed) in &self.feeds {
            if feed.heard + self.settings.idle_millis <= now {
                expired.push(key.clone());
            } else if matches!(feed.phase, Phase::Refused(at) if at <= now) {
                again.push(key.clone());
            }
        }
        for key in expired {
            self.note(Oddity::Expired, key.as_str().to_owned());
            self.let_go(&key);
        }
        for key in again {
            self.requery(&key);
        }
    }

    /// Everything that is leased, as releases: the last words of a bridge.
    pub(super) fn release_all(&mut self) {
        self.pages.release_all(&mut self.effects.leases);
    }

    fn target(&self, company: &str, table: &str, label: HashId) -> Option<Target> {
        let tenant = TenantId::parse(company).ok()?;
        Some(Target {
            tenant: self.settings.tenancy.admit(&tenant).ok()?,
            table: TableName::parse(table).ok()?,
            label,
        })
    }

    /// Begins to serve a key.
    fn open(&mut self, key: OldKey, target: Target, (memory, origin): (Memory, Origin)) {
        self.make_room_for_feed();
        self.memories.insert(key.clone(), memory.clone());
        *self.tenants.entry(target.tenant.clone()).or_default() += 1;
        let mut feed = Feed::new(key.clone(), target, memory, origin);
        feed.heard = self.queries.get(&key).map_or(0, |heard| heard.at);
        self.feeds.insert(key.clone(), feed);
        self.requery(&key);
    }

    /// Stops serving a key; what is remembered of it stays.
    fn close(&mut self, key: &OldKey) -> Option<Feed> {
        let feed = self.feeds.remove(key)?;
        if let Some(count) = self.tenants.get_mut(&feed.target.tenant) {
            *count -= 1;
            if *count == 0 {
                self.tenants.remove(&feed.target.tenant);
            }
        }
        if let Some(due) = feed.due {
            self.due.remove(&(due, key.clone()));
        }
        if let Phase::Following(page) = &feed.phase {
            self.pages.leave(page, key, &mut self.effects.leases);
        }
        Some(feed)
    }

    /// Stops serving a key, for ever as far as anybody knows.
    fn let_go(&mut self, key: &OldKey) {
        let is_served = self.close(key).is_some();
        // Whose key it is not leaves the forgetting to whose it is.
        if self.memories.remove(key).is_some() && is_served {
            self.effects.memories.push((key.clone(), None));
        }
    }

    /// Makes a feed follow the query that is known for its key.
    fn requery(&mut self, key: &OldKey) {
        let (Some(feed), Some(heard)) = (self.feeds.get_mut(key), self.queries.get(key)) else {
            return;
        };
        feed.heard = feed.heard.max(heard.at);
        feed.query = Some(heard.query.clone());
        let table = (feed.target.tenant.clone(), feed.target.table.clone());
        self.part(key, Phase::Describing);
        let waiting = self.describing.entry(table.clone()).or_default();
        if waiting.is_empty() {
            self.effects.describes.push(table);
        }
        if !waiting.contains(key) {
            waiting.push(key.clone());
        }
    }

    fn refuse(&mut self, key: &OldKey, again: u64) {
        self.part(key, Phase::Refused(again));
    }

    /// Takes a feed off the page that it follows.
    fn part(&mut self, key: &OldKey, phase: Phase) {
        let Some(feed) = self.feeds.get_mut(key) else {
            return;
        };
        let left = match &feed.phase {
            Phase::Following(page) => Some(page.clone()),
            Phase::Waiting | Phase::Describing | Phase::Refused(_) => None,
        };
        feed.part(left.as_ref().and_then(|left| self.pages.page(left)), phase);
        if let Some(left) = left {
            self.pages.leave(&left, key, &mut self.effects.leases);
        }
    }

    /// Has a feed follow its page, now that the table is known.
    fn place(&mut self, key: &OldKey, schema: &Arc<TableSchema>, now: u64) {
        let Some(feed) = self.feeds.get_mut(key) else {
            return;
        };
        let recall = feed.on_schema(Arc::clone(schema));
        let spec = feed
            .query
            .as_ref()
            .and_then(|query| decode_query(query).ok());
        let rule = self.settings.subscription_limit;
        let query = spec.map(|spec| (Query::from_spec(&spec, schema, rule), spec));
        match query {
            Some((Ok(query), mut spec)) => {
                // A lease names its limit, as a gateway's does.
                spec.limit = Some(u64::from(query.limit()));
                let page = RoutingKey {
                    tenant: feed.target.tenant.clone(),
                    table: feed.target.table.clone(),
                    query: query.hash(),
                };
                feed.phase = Phase::Following(page.clone());
                let partition = page.partition(self.settings.partition_count);
                self.pages.follow(
                    (page, partition),
                    spec,
                    key,
                    (now, &mut self.effects.leases),
                );
            }
            Some((Err(error), _)) => {
                self.note(Oddity::BadQuery, format!("{}: {error}", key.as_str()));
                self.refuse(key, now + REFUSED_PAUSE_MILLIS);
            }
            None => self.refuse(key, now + REFUSED_PAUSE_MILLIS),
        }
        self.recall(key, recall);
        self.answer(key, now);
    }

    /// Says to the clients of a key what they are to be told now, if its page is here.
    fn answer(&mut self, key: &OldKey, now: u64) {
        let Some(feed) = self.feeds.get_mut(key) else {
            return;
        };
        let Phase::Following(page) = &feed.phase else {
            return;
        };
        if let Some(page) = self.pages.page(page)
            && let Some((saying, recall)) = feed.answer(page, now)
        {
            self.recall(key, recall);
            self.effects.sayings.push(saying);
        }
    }

    fn recall(&mut self, key: &OldKey, recall: Recall) {
        if let (Recall::Changed, Some(feed)) = (recall, self.feeds.get(key)) {
            let memory = feed.memory.clone();
            self.memories.insert(key.clone(), memory.clone());
            self.effects.memories.push((key.clone(), Some(memory)));
        }
    }

    fn make_room_for_feed(&mut self) {
        if self.feeds.len() < self.settings.feeds_max {
            return;
        }
        // One of the tenant that has the most: a flood of labels is its tenant's own loss.
        let largest = self.tenants.iter().max_by_key(|(_, count)| **count);
        let largest = largest.map(|(tenant, _)| tenant.clone());
        let feeds = self.feeds.values();
        let oldest = feeds
            .filter(|feed| Some(&feed.target.tenant) == largest.as_ref())
            .min_by_key(|feed| feed.heard);
        if let Some(key) = oldest.map(|feed| feed.key.clone()) {
            self.note(Oddity::Evicted, key.as_str().to_owned());
            self.let_go(&key);
        }
    }

    fn make_room_for_query(&mut self, key: &OldKey) {
        if self.queries.len() < self.settings.queries_max || self.queries.contains_key(key) {
            return;
        }
        let oldest = self.queries.iter().min_by_key(|(_, heard)| heard.at);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.queries.remove(&key);
            self.note(Oddity::Evicted, key.as_str().to_owned());
            self.let_go(&key);
        }
    }

    fn note(&mut self, oddity: Oddity, why: String) {
        self.effects.oddities.push((oddity, why));
    }
}

/// When a record was sent, and what time it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) sent: u64,
    pub(super) now: u64,
}

fn first_memory(partition: u32, seed: &PageSeed) -> Memory {
    Memory {
        company: seed.company.clone(),
        table: seed.table.clone(),
        hash: seed.label.as_str().to_owned(),
        partition,
        lsn: 0,
        pks: BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests;
