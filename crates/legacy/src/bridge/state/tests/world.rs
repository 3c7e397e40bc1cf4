//! Everything around a bridge: a database of two queries, the owner of their pages, two old
//! gateways, and what a bridge wrote down.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tidegate_core::{
    Column, ColumnType, Epoch, LimitRule, Lsn, Position, RoutingKey, TableName, TableSchema,
    Tenancy,
};
use tidegate_protocol::{
    ControlRecord, DiffContent, DiffKind, OldKey, PageCause, PageContent, PageOrigin, PageRecord,
    Want, WireChange, encode_query, parse_query,
};

use super::old_gateway::OldGateway;
use crate::bridge::client::Held;
use crate::bridge::feed::Saying;
use crate::bridge::listing::{Entry, net};
use crate::bridge::memory::Memory;
use crate::bridge::page::Page;
use crate::bridge::state::{Oddity, Settings, State, Times};

pub(super) const IDLE_MILLIS: u64 = 86_400_000;
pub(super) const FEEDS_MAX: usize = 8;
const QUERIES: usize = 2;
const LABELS: [&str; 3] = ["q", "r", "s"];

/// A page of the owner, with what the database has beyond it.
struct Owned {
    page: Page,
    /// Diffs that are committed and not published.
    coming: VecDeque<(Lsn, Vec<WireChange>)>,
    /// The answer of SQL.
    rows: Vec<Entry>,
}

pub(super) struct World {
    random: StdRng,
    now: u64,
    lsn: u64,
    epochs: u64,
    pub(super) bridge: State,
    queries: Vec<Owned>,
    keys: HashMap<RoutingKey, usize>,
    pub(super) leased: HashSet<RoutingKey>,
    pub(super) gateways: [OldGateway; 2],
    /// On its way to the gateways.
    to_gateways: VecDeque<Saying>,
    pub(super) said: Vec<Saying>,
    /// Which query each label has last.
    meant: BTreeMap<&'static str, usize>,
    controls: BTreeMap<OldKey, Bytes>,
    pub(super) remembered: BTreeMap<OldKey, Memory>,
    pub(super) oddities: HashMap<Oddity, usize>,
}

pub(super) fn key(label: &str) -> OldKey {
    OldKey::of("demo", "things", label)
}

/// The queries differ in their limits.
pub(super) fn query(number: usize) -> Bytes {
    let text = json!({"limit": number + 5, "order": [{"field": "id", "sort": "ASC_DEFAULT"}]});
    let spec = parse_query(&text.to_string()).expect("a query");
    encode_query(&spec, "q").expect("it has a form").into()
}

pub(super) fn seed_value(label: &str, lsn: &str, rows: &[Entry]) -> String {
    let rows: Vec<&str> = rows.iter().map(|row| &*row.row).collect();
    format!(
        r#"{{"companyId":"demo","table":"things","hashId":"{label}","cursor":{{"lsn":"{lsn}"}},"rows":[{}]}}"#,
        rows.join(",")
    )
}

fn schema() -> TableSchema {
    let column = |name: &str, kind| Column {
        name: name.into(),
        kind,
        nullable: false,
    };
    let columns = vec![
        column("id", ColumnType::Text),
        column("t", ColumnType::Integer),
    ];
    let table = TableName::parse("things").expect("a name");
    TableSchema::new(table, columns, vec![0])
}

fn settings() -> Settings {
    Settings {
        tenancy: Tenancy::Prefix,
        subscription_limit: LimitRule::SUBSCRIPTION,
        gateway_id: 1,
        partition_count: 4,
        feeds_max: FEEDS_MAX,
        queries_max: 1_000,
        idle_millis: IDLE_MILLIS,
    }
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let queries = (0..QUERIES)
            .map(|number| {
                let rows = rows(&mut random);
                Owned {
                    page: Page {
                        position: Position::start(Epoch::from_raw(number as u64 + 1)),
                        lsn: Lsn::new(1_000),
                        rows: rows.clone(),
                    },
                    coming: VecDeque::new(),
                    rows,
                }
            })
            .collect();
        let mut bridge = State::new(settings());
        bridge.gain(&[0, 1]);
        Self {
            random,
            now: 1_000_000_000,
            lsn: 1_000,
            epochs: 10,
            bridge,
            queries,
            keys: HashMap::new(),
            leased: HashSet::new(),
            gateways: [OldGateway::default(), OldGateway::default()],
            to_gateways: VecDeque::new(),
            said: Vec::new(),
            meant: BTreeMap::new(),
            controls: BTreeMap::new(),
            remembered: BTreeMap::new(),
            oddities: HashMap::new(),
        }
    }

    /// Anything may happen.
    pub(super) fn step(&mut self) {
        match self.random.random_range(0..20) {
            0..=5 => self.commit(),
            6..=9 => self.publish(),
            10 => self.reset(),
            11..=13 => self.deliver(),
            14 => {
                let label = *LABELS.choose(&mut self.random).expect("three");
                let usual = LABELS.iter().position(|one| *one == label).expect("one") % QUERIES;
                let other = self.random.random_ratio(1, 8);
                let query = if other { 1 - usual } else { usual };
                self.subscribe_label(label, query);
            }
            15 => self.pass(50),
            16 => self.pass(300),
            17 => {
                if self.random.random_ratio(1, 4) {
                    // No gateway is that far behind.
                    while !self.to_gateways.is_empty() {
                        self.deliver();
                    }
                    self.pass(40_000);
                }
                self.pass(1_500);
            }
            18 if self.random.random_ratio(1, 3) => self.restart(),
            18 if self.random.random_ratio(1, 3) => self.move_partitions(),
            _ => self.publish_late(),
        }
        self.carry_out();
    }

    pub(super) fn pass(&mut self, millis: u64) {
        self.now += millis;
        self.bridge.tick(self.now);
        self.carry_out();
    }

    /// Until nothing is under way.
    pub(super) fn settle(&mut self) {
        // What was lost on the way the bus tells.
        self.bridge.on_gap(self.now);
        self.carry_out();
        for _ in 0..12 {
            while self.queries.iter().any(|query| !query.coming.is_empty()) {
                self.publish();
                self.carry_out();
            }
            self.pass(3_000);
            while !self.to_gateways.is_empty() {
                self.deliver();
            }
        }
    }

    pub(super) fn check(&self) {
        for client in self.gateways.iter().flat_map(|gateway| &gateway.clients) {
            let label = LABELS
                .iter()
                .find(|label| key(label) == client.key)
                .expect("one");
            let rows = &self.queries[self.meant[label]].rows;
            assert_eq!(&client.by_events.rows, rows, "events of {label}");
            assert_eq!(&client.by_diffs.rows, rows, "diffs of {label}");
        }
        let mut last: HashMap<&OldKey, u64> = HashMap::new();
        for saying in &self.said {
            let first = saying.last - saying.changes.len() as u64 + 1;
            let before = last.insert(&saying.key, saying.last);
            assert!(
                before.is_none_or(|before| before < first),
                "LSNs of {:?}",
                saying.key
            );
        }
    }

    pub(super) fn page(&self, query: usize) -> &Page {
        &self.queries[query].page
    }

    fn commit(&mut self) {
        let number = self.random.random_range(0..QUERIES);
        self.commit_to(number);
    }

    fn commit_to(&mut self, number: usize) {
        let after = changed(&mut self.random, &self.queries[number].rows);
        self.lsn += self.random.random_range(1..500);
        let query = &mut self.queries[number];
        let changes = net(&query.rows, &after);
        if !changes.is_empty() {
            query.rows = after;
            query.coming.push_back((Lsn::new(self.lsn), changes));
        }
    }

    /// One diff of the first query, published at once.
    pub(super) fn change(&mut self) -> Vec<WireChange> {
        while self.queries[0].coming.is_empty() {
            self.commit_to(0);
        }
        let (_, changes) = self.queries[0].coming[0].clone();
        self.publish_of(0);
        self.carry_out();
        changes
    }

    fn publish(&mut self) {
        for number in 0..QUERIES {
            self.publish_of(number);
        }
    }

    fn publish_of(&mut self, number: usize) {
        let query = &mut self.queries[number];
        let Some((lsn, changes)) = query.coming.pop_front() else {
            return;
        };
        let position = query.page.position.next();
        query.page = query.page.after(position, lsn, &changes).expect("it fits");
        let record = PageRecord::Diff(DiffContent {
            position,
            lsn,
            committed_at_micros: 0,
            kind: DiffKind::Changes,
            body: changes_json(&changes),
        });
        self.tell(number, record);
    }

    /// The owner reads the page anew: all that is committed is in it.
    fn reset(&mut self) {
        let number = self.random.random_range(0..QUERIES);
        self.epochs += 1;
        let query = &mut self.queries[number];
        query.coming.clear();
        query.page = Page {
            position: Position::start(Epoch::from_raw(self.epochs)),
            lsn: Lsn::new(self.lsn),
            rows: query.rows.clone(),
        };
        let record = page_record(&query.page, PageCause::Reset);
        self.tell(number, record);
    }

    /// A diff that never reached the bridge: a hole, which shows with the next.
    fn publish_late(&mut self) {
        if self.random.random_ratio(1, 3) {
            let leased = std::mem::take(&mut self.leased);
            self.publish();
            self.leased = leased;
        } else {
            self.publish();
        }
    }

    fn tell(&mut self, number: usize, record: PageRecord) {
        let keys = self.keys.iter().filter(|(_, query)| **query == number);
        let keys: Vec<RoutingKey> = keys.map(|(key, _)| key.clone()).collect();
        for key in keys {
            if self.leased.contains(&key) {
                let record = PageRecord::decode(record.encode()).expect("ours");
                self.bridge.on_record(&key, record, self.now);
            }
        }
    }

    pub(super) fn subscribe(&mut self, label: &str, query: usize) {
        let known = LABELS.iter().copied().find(|one| *one == label);
        match known {
            Some(label) => self.subscribe_label(label, query),
            None => {
                self.control(label, query);
                self.seed(label, seed_value(label, "0", &[]).as_bytes());
            }
        }
    }

    fn subscribe_label(&mut self, label: &'static str, query: usize) {
        let at = self.random.random_range(0..self.gateways.len());
        let above = self.gateways[at].subscribe(key(label));
        self.meant.insert(label, query);
        self.control(label, query);
        for _ in 0..self.random.random_range(0..4) {
            match self.random.random_range(0..3) {
                0 => self.commit(),
                1 => self.publish(),
                _ => self.deliver(),
            }
            self.carry_out();
        }
        let rows = self.queries[query].rows.clone();
        let value = seed_value(label, &above.to_string(), &rows);
        self.gateways[at].snapshot(&Held::new(rows));
        for _ in 0..self.random.random_range(0..3) {
            self.deliver();
        }
        self.gateways[at].settle();
        self.seed(label, value.as_bytes());
    }

    pub(super) fn control(&mut self, label: &str, number: usize) {
        self.controls.insert(key(label), query(number));
        let key = key(label);
        self.bridge
            .on_control(key.as_str().as_bytes(), Some(query(number)), self.now);
        self.carry_out();
    }

    pub(super) fn clear(&mut self, label: &str) {
        let key = key(label);
        self.controls.remove(&key);
        self.bridge
            .on_control(key.as_str().as_bytes(), None, self.now);
        self.carry_out();
    }

    pub(super) fn seed(&mut self, label: &str, value: &[u8]) {
        let times = Times {
            sent: self.now,
            now: self.now,
        };
        let key = key(label);
        self.bridge
            .on_seed(partition(label), key.as_str().as_bytes(), value, times);
        self.carry_out();
    }

    /// All gateways are handed the next thing that was said.
    fn deliver(&mut self) {
        if let Some(saying) = self.to_gateways.pop_front() {
            self.gateways
                .iter_mut()
                .for_each(|gateway| gateway.deliver(&saying));
        }
    }

    /// The bridge dies; another knows what the topics say.
    pub(super) fn restart(&mut self) {
        self.leased.clear();
        self.bridge = State::new(settings());
        for (key, query) in &self.controls {
            self.bridge
                .on_control(key.as_str().as_bytes(), Some(query.clone()), self.now);
        }
        for (key, memory) in &self.remembered {
            let value = memory.encode();
            self.bridge.on_memory(key.as_str().as_bytes(), Some(&value));
        }
        self.bridge.gain(&[0, 1]);
        self.carry_out();
    }

    /// A partition goes to another bridge, which says nothing, and comes back.
    fn move_partitions(&mut self) {
        let partition = self.random.random_range(0..2);
        self.bridge.lose(&[partition]);
        self.carry_out();
        self.publish();
        self.bridge.gain(&[partition]);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        loop {
            let effects = std::mem::take(&mut self.bridge.effects);
            let is_quiet = effects.describes.is_empty() && effects.leases.is_empty();
            for (key, memory) in effects.memories {
                match memory {
                    Some(memory) => drop(self.remembered.insert(key, memory)),
                    None => drop(self.remembered.remove(&key)),
                }
            }
            for saying in effects.sayings {
                assert!(!saying.changes.is_empty());
                let memory = &self.remembered[&saying.key];
                assert!(saying.last <= memory.lsn, "remembered first");
                self.to_gateways.push_back(saying.clone());
                self.said.push(saying);
            }
            for (oddity, _) in effects.oddities {
                *self.oddities.entry(oddity).or_default() += 1;
            }
            for (_, record) in effects.leases {
                self.on_lease(record);
            }
            for table in effects.describes {
                let schema = Ok(std::sync::Arc::new(schema()));
                self.bridge.on_described(&table, &schema, self.now);
            }
            if is_quiet {
                return;
            }
        }
    }

    /// The owner takes a lease: it answers a wish for the page, now or never.
    fn on_lease(&mut self, record: ControlRecord) {
        match record {
            ControlRecord::Lease {
                key, query, want, ..
            } => {
                let number = query.limit.expect("a lease names it") as usize - 5;
                self.keys.insert(key.clone(), number);
                let is_new = self.leased.insert(key.clone());
                if want == Want::Page || is_new {
                    let page = page_record(&self.queries[number].page, PageCause::Repeated);
                    self.bridge.on_record(&key, page, self.now);
                }
            }
            ControlRecord::Release { key, .. } => {
                self.leased.remove(&key);
            }
        }
    }
}

/// Labels come in one of two partitions.
fn partition(label: &str) -> u32 {
    u32::from(label == "r")
}

fn row(id: u32, text: u32) -> Entry {
    Entry {
        pk: format!("k{id}").into(),
        row: format!("{{\"id\":\"k{id}\",\"t\":{text}}}").into(),
    }
}

fn rows(random: &mut StdRng) -> Vec<Entry> {
    changed(random, &[])
}

/// Some rows go, come, move or change.
fn changed(random: &mut StdRng, before: &[Entry]) -> Vec<Entry> {
    let mut rows = before.to_vec();
    for _ in 0..random.random_range(1..4) {
        let fresh = row(random.random_range(0..8), random.random_range(0..1_000));
        rows.retain(|row| row.pk != fresh.pk);
        if random.random_ratio(2, 3) {
            rows.insert(random.random_range(0..=rows.len()), fresh);
        }
    }
    rows
}

fn changes_json(changes: &[WireChange]) -> Bytes {
    let change = |change: &WireChange| {
        let row = |row: &str| serde_json::from_str::<serde_json::Value>(row).expect("JSON");
        match change {
            WireChange::Removed { pk, from } => json!({"kind": "removed", "pk": pk, "from": from}),
            WireChange::Added { pk, pos, row: text } => {
                json!({"kind": "added", "pk": pk, "pos": pos, "row": row(text)})
            }
            WireChange::Modified {
                pk,
                from,
                pos,
                row: text,
            } => json!({"kind": "modified", "pk": pk, "from": from, "pos": pos, "row": row(text)}),
        }
    };
    let all: Vec<serde_json::Value> = changes.iter().map(change).collect();
    serde_json::to_vec(&all).expect("JSON").into()
}

fn page_record(page: &Page, cause: PageCause) -> PageRecord {
    let rows: Vec<&str> = page.rows.iter().map(|row| &*row.row).collect();
    let pks: Vec<&str> = page.rows.iter().map(|row| &*row.pk).collect();
    PageRecord::Page(PageContent {
        origin: PageOrigin::Kept,
        position: page.position,
        lsn: page.lsn,
        committed_at_micros: 0,
        cause,
        cursor: Bytes::new(),
        rows: format!("[{}]", rows.join(",")).into(),
        pks: serde_json::to_vec(&pks).expect("JSON").into(),
    })
}
