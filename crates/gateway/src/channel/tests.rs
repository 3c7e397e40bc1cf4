//! Whatever happens between an owner and a channel, each client sees a page that was once true,
//! then every diff of it exactly once and in order, or a snapshot with a reason; and when all is
//! quiet, everybody sees the newest page.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tidegate_core::{Epoch, Offset};
use tidegate_protocol::{DiffKind, PageCause, PageOrigin, PageRecord};

use super::*;
use crate::outbox::OutboxLimits;

const OUTBOX: OutboxLimits = OutboxLimits {
    bytes_max: 3_000,
    bytes_low: 300,
    session_bytes_max: 9_000,
};
const HISTORY: HistoryLimits = HistoryLimits {
    diffs_max: 8,
    bytes_max: 4_000,
    join_bytes_max: 1_500,
};
/// Diffs that the model's cache keeps.
const CACHE_MAX: usize = 24;

fn at(life: u32, epoch: u32, offset: u64) -> Position {
    Position {
        epoch: Epoch::new(Life::new(life), epoch),
        offset: Offset::new(offset),
    }
}

fn label(index: u32) -> HashId {
    HashId::parse(&format!("q{}", index % 3)).expect("short")
}

/// The page's owner: its rows are the numbers of all diffs of the epoch, so that any page tells
/// which diffs are in it.
struct Owner {
    position: Position,
    lsn: u64,
    rows: Vec<u64>,
    /// Every page there ever was.
    truth: BTreeMap<Position, Vec<u64>>,
    cache: Vec<DiffContent>,
    /// Published and not yet delivered.
    stream: VecDeque<PageRecord>,
}

impl Owner {
    fn new() -> Self {
        let mut owner = Self {
            position: at(1, 0, 0),
            lsn: 10,
            rows: Vec::new(),
            truth: BTreeMap::new(),
            cache: Vec::new(),
            stream: VecDeque::new(),
        };
        owner.begin_epoch(at(1, 1, 0));
        owner
    }

    fn begin_epoch(&mut self, position: Position) {
        self.position = position;
        self.lsn += 1;
        self.rows = vec![self.lsn];
        self.cache.clear();
        self.truth.insert(position, self.rows.clone());
        self.publish_page(PageCause::Reset);
    }

    fn publish_page(&mut self, cause: PageCause) {
        self.stream.push_back(PageRecord::Page(PageContent {
            position: self.position,
            lsn: Lsn::new(self.lsn),
            committed_at_micros: 0,
            cause,
            origin: PageOrigin::Kept,
            cursor: Bytes::new(),
            rows: Bytes::from(format!("{:?}", self.rows)),
            pks: Bytes::from_static(b"[]"),
        }));
    }

    fn commit(&mut self) {
        self.position = self.position.next();
        self.lsn += 1;
        self.rows.push(self.lsn);
        self.truth.insert(self.position, self.rows.clone());
        let diff = DiffContent {
            position: self.position,
            lsn: Lsn::new(self.lsn),
            committed_at_micros: 0,
            kind: DiffKind::Changes,
            body: Bytes::from(format!("[{}]", self.lsn)),
        };
        self.cache.push(diff.clone());
        if self.cache.len() > CACHE_MAX {
            self.cache.remove(0);
        }
        self.stream.push_back(PageRecord::Diff(diff));
    }

    /// What the cache answers.
    fn replay(&self, after: Position) -> Option<Vec<DiffContent>> {
        let is_newest = self.position == after;
        let follows = self
            .cache
            .iter()
            .position(|diff| diff.position.follows(after));
        match follows {
            Some(start) => Some(self.cache[start..].to_vec()),
            None => is_newest.then(Vec::new),
        }
    }
}

/// What the model has come across, to know that it does not walk in circles.
type Sights = BTreeSet<String>;

/// A client: the page it shows and where it believes to be.
#[derive(Debug, Default, Clone)]
struct Client {
    rows: Vec<u64>,
    position: Option<Position>,
    /// Whether a snapshot or a resume has come on this connection.
    has_begun: bool,
    unread: Vec<u8>,
}

impl Client {
    fn connect(previous: Option<Self>) -> Self {
        Self {
            has_begun: false,
            unread: Vec::new(),
            ..previous.unwrap_or_default()
        }
    }

    fn read(&mut self, bytes: &[u8], truth: &BTreeMap<Position, Vec<u64>>, seen: &mut Sights) {
        self.unread.extend_from_slice(bytes);
        while let Some((start, end)) = frame_bounds(&self.unread) {
            let frame = serde_json::from_slice(&self.unread[start..end]).expect("JSON");
            self.apply(&frame);
            let reason = frame["reason"].as_str().unwrap_or_default();
            seen.insert(format!(
                "{} {reason}",
                frame["op"].as_str().unwrap_or_default()
            ));
            self.unread.drain(..end);
            let position = self.position.expect("every frame has one");
            assert_eq!(
                Some(&self.rows),
                truth.get(&position),
                "a page that never was: {frame}"
            );
        }
    }

    fn apply(&mut self, frame: &Value) {
        let position = frame["cursor"]["position"].as_str().expect("a position");
        let position: Position = position.parse().expect("a position");
        let numbers =
            |value: &Value| -> Vec<u64> { serde_json::from_value(value.clone()).expect("numbers") };
        match frame["op"].as_str() {
            Some("snapshot") => self.rows = numbers(&frame["rows"]),
            Some("resumed") => {
                assert!(!self.has_begun, "a resume answers a subscribe");
                assert_eq!(
                    Some(position),
                    self.position,
                    "it continues where the client is"
                );
            }
            Some("diff") => {
                assert!(self.has_begun, "nothing comes before the page");
                let before = self.position.expect("the page has one");
                assert!(
                    position.follows(before),
                    "{before} is not followed by {position}"
                );
                self.rows.extend(numbers(&frame["changes"]));
            }
            other => panic!("unexpected {other:?}"),
        }
        self.has_begun = true;
        self.position = Some(position);
    }
}

/// Where the payload of the first frame is, if it is whole.
fn frame_bounds(bytes: &[u8]) -> Option<(usize, usize)> {
    let (start, length) = match *bytes.get(1)? {
        126 => (
            4,
            usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        ),
        127 => panic!("no frame here is that long"),
        short => (2, usize::from(short)),
    };
    (bytes.len() >= start + length).then_some((start, start + length))
}

struct Listening {
    client: Client,
    place: ListenerPlace,
    id: SubscriptionId,
}

/// The channel, its surroundings, and what is on its way between them.
struct Model {
    random: SmallRng,
    owner: Owner,
    channel: Channel,
    outboxes: Outboxes,
    effects: Vec<Effect>,
    /// Effects that wait to be carried out.
    waiting: Vec<Effect>,
    clients: HashMap<u32, Listening>,
    /// Clients that went away, and may come back.
    away: Vec<Client>,
    next_client: u32,
    delivered: Vec<PageRecord>,
    seen: Sights,
}

impl Model {
    fn new(seed: u64) -> Self {
        Self {
            random: SmallRng::seed_from_u64(seed),
            owner: Owner::new(),
            channel: Channel::new(HISTORY),
            outboxes: Outboxes::new(OUTBOX),
            effects: Vec::new(),
            waiting: Vec::new(),
            clients: HashMap::new(),
            away: Vec::new(),
            next_client: 0,
            delivered: Vec::new(),
            seen: Sights::new(),
        }
    }

    fn with_channel<R>(&mut self, act: impl FnOnce(&mut Channel, &mut Context<'_>) -> R) -> R {
        let mut context = Context {
            outboxes: &mut self.outboxes,
            effects: &mut self.effects,
        };
        let result = act(&mut self.channel, &mut context);
        self.waiting.append(&mut self.effects);
        result
    }

    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..25 => self.owner.commit(),
            25..27 => self.begin_epoch(),
            27..55 => self.deliver(),
            55..57 => self.lose_some(),
            57..59 => self.repeat_some(),
            59..68 => self.subscribe(),
            68..72 => self.leave(),
            72..82 => self.carry_out(),
            82..84 => self.with_channel(Channel::doubt),
            84 => self.channel.shed(),
            _ => self.drain_some(),
        }
    }

    fn begin_epoch(&mut self) {
        let Position { epoch, .. } = self.owner.position;
        let (life, count) = (epoch.life().get(), epoch.get() as u32);
        let next = match self.random.random_bool(0.5) {
            true => at(life, count + 1, 0),
            false => at(life + 1, 0, 0),
        };
        self.owner.begin_epoch(next);
    }

    fn deliver(&mut self) {
        if let Some(record) = self.owner.stream.pop_front() {
            self.delivered.push(record.clone());
            self.take(record);
        }
    }

    fn take(&mut self, record: PageRecord) {
        self.with_channel(|channel, context| match record {
            PageRecord::Page(page) => channel.on_page(page, context),
            PageRecord::Diff(diff) => channel.on_diff(diff, context),
            PageRecord::Refused { .. } | PageRecord::Progress { .. } => unreachable!("not made"),
        });
    }

    /// Records vanish; the reader of the bus notices, now or a little later.
    fn lose_some(&mut self) {
        let count = self.random.random_range(1..4).min(self.owner.stream.len());
        self.owner.stream.drain(..count);
        if self.random.random_bool(0.5) {
            self.deliver();
        }
        self.with_channel(Channel::doubt);
    }

    /// The bus delivers something again.
    fn repeat_some(&mut self) {
        if self.delivered.is_empty() {
            return;
        }
        let index = self.random.random_range(0..self.delivered.len());
        self.take(self.delivered[index].clone());
    }

    fn subscribe(&mut self) {
        let previous = match self.away.is_empty() || self.random.random_bool(0.4) {
            true => None,
            false => {
                let index = self.random.random_range(0..self.away.len());
                Some(self.away.swap_remove(index))
            }
        };
        let position = previous.as_ref().and_then(|client| client.position);
        let begin = position.map_or(Begin::Fresh, Begin::After);
        let index = self.next_client;
        self.next_client += 1;
        let (session, id) = (SessionIndex(index), SubscriptionId(index));
        self.outboxes.reset(session);
        let listener = Listener {
            session,
            id,
            label: label(index),
            format: Format::Json,
            slow: SlowPolicy::Reset,
        };
        let place =
            self.with_channel(|channel, context| channel.subscribe(listener, begin, context));
        let client = Client::connect(previous);
        self.clients.insert(index, Listening { client, place, id });
    }

    fn pick(&mut self) -> Option<u32> {
        let mut indexes: Vec<u32> = self.clients.keys().copied().collect();
        indexes.sort_unstable();
        (!indexes.is_empty()).then(|| indexes[self.random.random_range(0..indexes.len())])
    }

    fn leave(&mut self) {
        if let Some(index) = self.pick() {
            let Listening { client, place, .. } = self.clients.remove(&index).expect("picked");
            self.channel.unsubscribe(place);
            self.away.push(client);
        }
    }

    fn carry_out(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let index = self.random.random_range(0..self.waiting.len());
        let is_cache_down = self.random.random_bool(0.2);
        // The cache may be behind the bus.
        let missing = self.random.random_range(0..16) * self.random.random_range(0..2);
        let entries = |owner: &Owner, after| match is_cache_down {
            true => None,
            false => owner.replay(after).map(|mut entries: Vec<DiffContent>| {
                entries.truncate(entries.len().saturating_sub(missing));
                entries
            }),
        };
        match self.waiting.swap_remove(index) {
            Effect::AskPage => self.owner.publish_page(PageCause::Repeated),
            Effect::Replay { place, id, after } => {
                let entries = entries(&self.owner, after);
                self.with_channel(|channel, context| {
                    channel.on_replay((place, id), after, entries, context);
                });
            }
            Effect::Fill { after } => {
                let entries = entries(&self.owner, after);
                self.with_channel(|channel, context| channel.on_fill(after, entries, context));
            }
            Effect::Reset(_) => {}
        }
    }

    /// A socket takes some bytes.
    fn drain_some(&mut self) {
        if let Some(index) = self.pick() {
            let bytes_max = self.random.random_range(1..2_000);
            self.drain(index, bytes_max);
        }
    }

    fn drain(&mut self, index: u32, bytes_max: usize) {
        let session = SessionIndex(index);
        let outbox = self.outboxes.outbox(session);
        let mut slices = [std::io::IoSlice::new(&[]); crate::outbox::SLICES_MAX];
        let count = outbox.slices(&mut slices);
        let mut bytes: Vec<u8> = slices[..count]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect();
        bytes.truncate(bytes_max);
        outbox.advance(bytes.len());
        let listening = self.clients.get_mut(&index).expect("picked");
        listening
            .client
            .read(&bytes, &self.owner.truth, &mut self.seen);
        let place = listening.place;
        for id in self.outboxes.take_drained(session) {
            self.with_channel(|channel, context| channel.recover(place, id, context));
        }
    }

    fn is_drained(&mut self, index: u32) -> bool {
        !self.clients.contains_key(&index) || self.outboxes.outbox(SessionIndex(index)).is_empty()
    }

    /// Notes in which phases subscriptions are.
    fn look(&mut self) {
        for Listening { place, id, .. } in self.clients.values() {
            let name = match self
                .channel
                .listeners
                .get(*place, *id)
                .map(|member| member.phase)
            {
                Some(Phase::Ahead(_)) => "ahead",
                Some(Phase::Lagging) => "lagging",
                Some(Phase::Replaying(_)) => "replaying",
                Some(Phase::Waiting(Wish::Resume(_))) => "waiting to resume",
                Some(Phase::Waiting(Wish::Snapshot(_)) | Phase::Live) | None => continue,
            };
            self.seen.insert(name.to_owned());
        }
        if self.channel.filling.is_some() {
            self.seen.insert("filling".to_owned());
        }
    }

    /// Lets everything on its way arrive, and checks that everybody has the newest page.
    fn settle(&mut self) {
        self.with_channel(Channel::doubt);
        for _ in 0..1_000 {
            self.deliver();
            self.carry_out();
            let mut indexes: Vec<u32> = self.clients.keys().copied().collect();
            indexes.sort_unstable();
            for index in indexes {
                self.drain(index, usize::MAX);
            }
            let is_quiet = self.owner.stream.is_empty() && self.waiting.is_empty();
            if is_quiet && (0..self.next_client).all(|index| self.is_drained(index)) {
                break;
            }
        }
        let newest = (Some(self.owner.position), &self.owner.rows);
        for (index, Listening { client, place, id }) in &self.clients {
            let phase = self
                .channel
                .listeners
                .get(*place, *id)
                .map(|member| member.phase);
            assert_eq!(
                (client.position, &client.rows),
                newest,
                "client {index}, {phase:?}"
            );
        }
        assert!(self.waiting.is_empty() && !self.channel.is_owed_page());
    }
}

/// The model under many seeds: slow clients, holes, repetitions, new epochs, caches that fail,
/// clients that come back with what they had.
#[test]
fn clients_see_the_page_whatever_happens() {
    let mut seen = Sights::new();
    for seed in 0..60 {
        println!("seed {seed}");
        let mut model = Model::new(seed);
        for _ in 0..600 {
            model.step();
            model.look();
        }
        model.settle();
        seen.append(&mut model.seen);
    }
    let all = [
        "ahead",
        "diff ",
        "filling",
        "lagging",
        "replaying",
        "resumed ",
        "snapshot epoch",
        "snapshot overflow",
        "snapshot subscribe",
        "snapshot unrecoverable",
        "waiting to resume",
    ];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), all);
}
