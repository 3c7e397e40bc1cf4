//! That every diff after the rows comes once and in order, whatever the stream repeats, loses,
//! delays or brings out of order, and however long reading takes: checked move by move, and by a
//! model under many seeds.

use std::collections::{BTreeSet, VecDeque};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidegate_core::Life;

use super::*;

fn epoch(count: u32) -> Epoch {
    Epoch::new(Life::new(7), count)
}

fn diff(lsn: u64) -> Incoming {
    Incoming {
        kind: DiffKind::Opaque,
        lsn: (lsn > 0).then(|| Lsn::new(lsn)),
        body: Bytes::from(lsn.to_string()),
    }
}

fn event(lsn: u64) -> Incoming {
    Incoming {
        kind: DiffKind::RowEvent,
        ..diff(lsn)
    }
}

fn rows(lsn: u64) -> PageRead {
    PageRead {
        page: ForeignPage {
            rows: Bytes::from_static(b"[]"),
            cursor: Bytes::new(),
            lsn: (lsn > 0).then(|| Lsn::new(lsn)),
        },
        range: Bytes::new(),
        stored: Vec::new(),
    }
}

/// A page, and what it said in short: `page EPOCH-OFFSET@LSN`, `OFFSET:LSN`, `read`.
struct Bench {
    page: Page,
    effects: Vec<Effect>,
    epochs: u32,
}

impl Bench {
    fn open() -> Self {
        let mut effects = Vec::new();
        let page = Page::open(&mut effects);
        Self {
            page,
            effects,
            epochs: 0,
        }
    }

    /// A page that was read up to a commit.
    fn live(lsn: u64) -> Self {
        let mut bench = Self::open();
        bench.read(rows(lsn));
        bench.said();
        bench
    }

    fn come(&mut self, incoming: impl IntoIterator<Item = Incoming>) -> Vec<String> {
        for incoming in incoming {
            self.page.on_incoming(incoming, &mut self.effects);
        }
        self.said()
    }

    fn read(&mut self, read: PageRead) -> Vec<String> {
        self.epochs += 1;
        let epoch = epoch(self.epochs);
        self.page.on_read(read, epoch, &mut self.effects);
        self.said()
    }

    fn want(&mut self) -> Vec<String> {
        self.page.want(&mut self.effects);
        self.said()
    }

    fn said(&mut self) -> Vec<String> {
        let short = |effect| match effect {
            Effect::Publish(PageRecord::Page(page)) => {
                let (epoch, offset) = (page.position.epoch, page.position.offset.get());
                format!("page {}-{offset}@{}", epoch.get() as u32, page.lsn)
            }
            Effect::Publish(PageRecord::Diff(diff)) => {
                format!("{}:{}", diff.position.offset.get(), diff.lsn)
            }
            Effect::Publish(other) => format!("{other:?}"),
            Effect::Read(_) => "read".to_owned(),
            Effect::Refuse(error) => format!("{} {}", error.code.as_str(), error.message),
        };
        self.effects.drain(..).map(short).collect()
    }
}

/// Defect 1: what came while the snapshot was being fetched was lost.
#[test]
fn defect_01_diffs_during_the_snapshot_follow_it() {
    let mut bench = Bench::open();
    assert_eq!(bench.said(), ["read"]);
    assert_eq!(bench.come([diff(100), diff(101), diff(102)]), [""; 0]);
    let said = bench.read(rows(100));
    assert_eq!(said, ["page 1-0@100", "1:101", "2:102"]);
}

/// Defect 2: the snapshot's own LSN decides, and one record with a high LSN silences nobody.
#[test]
fn defect_02_the_snapshot_has_its_own_lsn() {
    let mut bench = Bench::open();
    bench.come([diff(50), diff(60), diff(70)]);
    assert_eq!(bench.read(rows(60)), ["page 1-0@60", "1:70"]);
    assert_eq!(bench.come([diff(9_000_000)]), ["2:9000000"]);
    assert_eq!(bench.come([diff(80)]), ["read"], "out of order: anew");
    assert_eq!(bench.come([diff(90)]), [""; 0]);
    assert_eq!(bench.read(rows(85)), ["page 2-0@85", "1:90"]);
}

#[test]
fn repetitions_are_skipped_and_what_names_no_commit_is_for_those_who_are_there() {
    let mut bench = Bench::open();
    assert_eq!(bench.said(), ["read"]);
    assert_eq!(bench.come([diff(0), event(0)]), [""; 0]);
    assert_eq!(bench.read(rows(10)), ["page 1-0@10"]);
    assert_eq!(bench.come([diff(10), diff(9), event(10)]), [""; 0]);
    assert_eq!(bench.come([diff(11), diff(12)]), ["1:11", "2:12"]);
    assert_eq!(bench.come([diff(11), diff(12)]), [""; 0], "after a restart");
    assert_eq!(bench.come([diff(0), event(0)]), ["3:0", "4:0"]);
    let events = [event(13), event(13), event(12)];
    assert_eq!(bench.come(events), ["5:13", "6:13", "7:12"]);
    assert_eq!(bench.come([diff(13)]), ["8:13"], "another topic");
}

/// A newcomer's page is read again while others go on undisturbed; it stands where its LSN says.
#[test]
fn a_page_that_is_read_again_stands_before_the_first_diff_it_lacks() {
    let mut bench = Bench::live(10);
    bench.come([diff(11)]);
    assert_eq!(bench.want(), ["read"]);
    assert_eq!(bench.want(), [""; 0], "one reading at a time");
    assert_eq!(bench.come([diff(12), diff(13)]), ["2:12", "3:13"]);
    assert_eq!(bench.read(rows(12)), ["page 1-2@12", "3:13"]);
    bench.want();
    assert_eq!(bench.read(rows(20)), ["page 1-3@20"]);
    assert_eq!(bench.come([diff(15)]), ["4:15"], "for those who follow");
    bench.want();
    let said = bench.read(rows(14));
    assert_eq!(
        said,
        ["read"],
        "rows older than what was passed on fit nowhere"
    );
}

#[test]
fn stored_diffs_come_first_and_once() {
    let mut bench = Bench::open();
    assert!(matches!(
        bench.effects[..],
        [Effect::Read(Reading {
            stored: StoredDiffs::Wanted,
            ..
        })]
    ));
    bench.said();
    bench.come([diff(13), diff(14)]);
    let stored = [9, 11, 12, 13].map(|lsn| (Lsn::new(lsn), Bytes::new()));
    let read = PageRead {
        stored: stored.to_vec(),
        ..rows(10)
    };
    let said = bench.read(read);
    assert_eq!(said, ["page 1-0@10", "1:11", "2:12", "3:13", "4:14"]);
    bench.page.doubt(&mut bench.effects);
    assert!(matches!(
        bench.effects[..],
        [Effect::Read(Reading {
            stored: StoredDiffs::Unwanted,
            ..
        })]
    ));
}

/// A reading that began before messages were missed may lack them.
#[test]
fn a_gap_makes_what_is_being_read_stale() {
    let mut bench = Bench::open();
    bench.page.doubt(&mut bench.effects);
    assert_eq!(bench.said(), ["read"]);
    assert_eq!(bench.read(rows(10)), ["read"]);
    assert_eq!(bench.read(rows(11)), ["page 2-0@11"]);
    bench.want();
    bench.page.doubt(&mut bench.effects);
    assert_eq!(bench.said(), [""; 0]);
    assert_eq!(bench.come([diff(12)]), [""; 0]);
    assert_eq!(bench.read(rows(11)), ["read"]);
    assert_eq!(bench.read(rows(11)), ["page 4-0@11", "1:12"]);
}

/// Defect 15: a failed snapshot ended in silence. Now it ends the page, and says so.
#[test]
fn defect_15_a_failed_snapshot_ends_the_page() {
    let failure = |will_pass| ReadFailure {
        error: WireError::new(ErrorCode::Timeout, "rpc timeout"),
        will_pass,
    };
    let mut bench = Bench::open();
    bench.said();
    bench.page.on_read_failed(failure(true), &mut bench.effects);
    assert_eq!(bench.said(), ["read"]);
    bench.page.on_read_failed(failure(true), &mut bench.effects);
    assert_eq!(bench.said(), ["snapshot_failed rpc timeout"]);
    let mut bench = Bench::open();
    bench.said();
    bench
        .page
        .on_read_failed(failure(false), &mut bench.effects);
    assert_eq!(bench.said(), ["snapshot_failed rpc timeout"]);
    // Those who follow the page are not ended by a newcomer's bad luck.
    let mut bench = Bench::live(10);
    bench.want();
    bench
        .page
        .on_read_failed(failure(false), &mut bench.effects);
    assert_eq!(bench.said(), ["read"]);
    assert_eq!(bench.come([diff(11)]), ["1:11"]);
    assert_eq!(bench.read(rows(11)), ["page 1-1@11"]);
}

/// What had to be let go of while waiting must be in the rows.
#[test]
fn a_flood_while_reading_is_read_again() {
    let flood = || (11..11 + 5_000).map(diff);
    let mut bench = Bench::open();
    bench.said();
    bench.come(flood());
    assert_eq!(bench.read(rows(20)), ["read"]);
    let said = bench.read(rows(5_000));
    assert_eq!(said.len(), 11);
    assert_eq!(said[..2], ["page 2-0@5000", "1:5001"]);
    let mut bench = Bench::live(10);
    bench.want();
    bench.come(flood());
    assert_eq!(bench.read(rows(20)), ["read"]);
    assert_eq!(bench.read(rows(5_010)), ["page 1-5000@5010"]);
}

/// A database, the stream processor behind it, and clients of the page.
struct Model {
    random: SmallRng,
    bench: Bench,
    /// How far the database is.
    committed: u64,
    /// Commits that changed the page.
    truth: BTreeSet<u64>,
    /// Diffs on their way.
    stream: VecDeque<u64>,
    sent: Vec<u64>,
    /// The commit of a reading under way.
    reading: Option<u64>,
    /// Records for the gateway, by position.
    clients: Vec<Client>,
    wanting: usize,
    seen: BTreeSet<&'static str>,
}

#[derive(Debug)]
struct Client {
    epoch: Epoch,
    fence: u64,
    /// Diffs it was sent.
    sent: Vec<u64>,
}

impl Client {
    /// Whether it has every commit up to one, or to its newest, once and in order, but for those
    /// that are on their way.
    fn check(&self, truth: &BTreeSet<u64>, coming: &VecDeque<u64>, through: Option<u64>) {
        let mut got: Vec<u64> = truth.range(..=self.fence).copied().collect();
        got.extend(&self.sent);
        assert!(
            got.is_sorted_by(|a, b| a < b),
            "once and in order: {self:?}"
        );
        let missing = |lsn: &&u64| got.binary_search(lsn).is_err() && !coming.contains(lsn);
        let reached = through.or(got.last().copied()).unwrap_or_default();
        let hole = truth.range(..=reached).find(missing);
        assert_eq!(hole, None, "without a hole: {self:?}");
    }
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut bench = Bench::open();
        bench.effects.clear();
        Self {
            random: SmallRng::seed_from_u64(seed),
            bench,
            committed: 10,
            truth: BTreeSet::new(),
            stream: VecDeque::new(),
            sent: Vec::new(),
            reading: Some(10),
            clients: Vec::new(),
            wanting: 1,
            seen: BTreeSet::new(),
        }
    }

    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..30 => self.commit(),
            30..60 => self.deliver(),
            60..63 => self.repeat(),
            63..64 => self.lose(),
            64..65 => self.disorder(),
            65..80 => self.finish_reading(),
            _ => {
                self.wanting += 1;
                self.bench.page.want(&mut self.bench.effects);
            }
        }
        self.take_effects();
    }

    fn commit(&mut self) {
        self.committed += self.random.random_range(1..4);
        if self.random.random_bool(0.7) {
            self.truth.insert(self.committed);
            self.stream.push_back(self.committed);
        }
    }

    fn deliver(&mut self) {
        if let Some(lsn) = self.stream.pop_front() {
            self.sent.push(lsn);
            self.bench
                .page
                .on_incoming(diff(lsn), &mut self.bench.effects);
        }
    }

    /// The processor starts again a little before where it was.
    fn repeat(&mut self) {
        let from = self
            .sent
            .len()
            .saturating_sub(self.random.random_range(0..9));
        for at in from..self.sent.len() {
            self.bench
                .page
                .on_incoming(diff(self.sent[at]), &mut self.bench.effects);
        }
    }

    fn lose(&mut self) {
        for _ in 0..self.random.random_range(1..4) {
            self.stream.pop_front();
        }
        self.bench.page.doubt(&mut self.bench.effects);
    }

    fn disorder(&mut self) {
        if self.stream.len() >= 2 {
            self.stream.swap(0, 1);
        }
    }

    fn finish_reading(&mut self) {
        let Some(lsn) = self.reading.take() else {
            return;
        };
        if self.random.random_bool(0.1) {
            let failure = ReadFailure {
                error: WireError::new(ErrorCode::Timeout, "rpc timeout"),
                will_pass: true,
            };
            self.bench.page.failures = 0;
            self.bench
                .page
                .on_read_failed(failure, &mut self.bench.effects);
            return;
        }
        self.bench.epochs += 1;
        let epoch = epoch(self.bench.epochs);
        self.bench
            .page
            .on_read(rows(lsn), epoch, &mut self.bench.effects);
    }

    fn take_effects(&mut self) {
        for effect in std::mem::take(&mut self.bench.effects) {
            match effect {
                Effect::Publish(PageRecord::Page(page)) => self.take_page(&page),
                Effect::Publish(PageRecord::Diff(diff)) => self.take_diff(&diff),
                Effect::Read(_) => {
                    assert_eq!(self.reading, None, "one reading at a time");
                    self.reading = Some(self.committed);
                }
                other => panic!("{other:?}"),
            }
        }
        // A page that is being read anew is about to replace whatever they have.
        if matches!(self.bench.page.state, State::Live(_)) {
            for client in &self.clients {
                client.check(&self.truth, &self.stream, None);
            }
        }
    }

    fn take_page(&mut self, page: &PageContent) {
        let (epoch, fence) = (page.position.epoch, page.lsn.get());
        self.seen.insert(match page.cause {
            PageCause::Opened => "opened",
            PageCause::Repeated => "repeated",
            PageCause::Reset => "reset",
        });
        for client in &mut self.clients {
            if client.epoch != epoch {
                *client = Client {
                    epoch,
                    fence,
                    sent: Vec::new(),
                };
            }
        }
        for _ in 0..std::mem::take(&mut self.wanting) {
            self.clients.push(Client {
                epoch,
                fence,
                sent: Vec::new(),
            });
        }
    }

    fn take_diff(&mut self, diff: &DiffContent) {
        let lsn = diff.lsn.get();
        for client in &mut self.clients {
            // What is published again after a page is known to all but the newcomers.
            if lsn > client.fence && client.sent.last().is_none_or(|last| *last < lsn) {
                client.sent.push(lsn);
            }
        }
    }

    fn settle(&mut self) {
        while !self.stream.is_empty() || self.reading.is_some() {
            self.deliver();
            self.take_effects();
            self.finish_reading();
            self.take_effects();
        }
        for client in &self.clients {
            client.check(&self.truth, &self.stream, Some(self.committed));
        }
    }
}

#[test]
fn clients_have_every_commit_once_whatever_the_stream_does() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        println!("seed {seed}");
        let mut model = Model::new(seed);
        for _ in 0..150 {
            model.step();
        }
        model.settle();
        seen.append(&mut model.seen);
    }
    assert_eq!(seen, ["opened", "repeated", "reset"].into());
}
