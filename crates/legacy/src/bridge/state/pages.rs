//! The pages of ours that feeds follow, as a gateway follows them: by leases, "+1", and asking for
//! the page again when in doubt.

use std::collections::HashMap;

use tidegate_core::{Life, Partition, Position, QuerySpec, RoutingKey};
use tidegate_protocol::{
    ControlRecord, DiffContent, OldKey, PageContent, PageRecord, RecordError, Want, WireChange,
    read_changes,
};

use super::{Oddity, REREAD_PAUSE_MILLIS, State};
use crate::bridge::listing::net;
use crate::bridge::page::Page;

/// Milliseconds between renewals of a lease, of which an owner waits for four.
const RENEW_MILLIS: u64 = 10_000;
/// Milliseconds after which a page that was asked for is asked for again.
const ASK_AGAIN_MILLIS: u64 = 5_000;

type Leases = Vec<(RoutingKey, ControlRecord)>;

struct Followed {
    partition: Partition,
    query: QuerySpec,
    page: Option<Page>,
    feeds: Vec<OldKey>,
    asked_at: Option<u64>,
    leased_at: u64,
}

/// See the module.
pub(super) struct Pages {
    gateway: u64,
    followed: HashMap<RoutingKey, Followed>,
    /// Who has owned each partition of the bus lately.
    lives: HashMap<Partition, Life>,
}

impl Pages {
    pub(super) fn new(gateway: u64) -> Self {
        Self {
            gateway,
            followed: HashMap::new(),
            lives: HashMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.followed.len()
    }

    pub(super) fn page(&self, key: &RoutingKey) -> Option<&Page> {
        self.followed.get(key)?.page.as_ref()
    }

    /// Adds a feed to a page, and asks for the page if it is not here.
    pub(super) fn follow(
        &mut self,
        (key, partition): (RoutingKey, Partition),
        query: QuerySpec,
        feed: &OldKey,
        (now, leases): (u64, &mut Leases),
    ) {
        let followed = self
            .followed
            .entry(key.clone())
            .or_insert_with(|| Followed {
                partition,
                query,
                page: None,
                feeds: Vec::new(),
                asked_at: None,
                leased_at: now,
            });
        followed.feeds.push(feed.clone());
        if followed.page.is_none() && followed.asked_at.is_none() {
            self.ask(&key, now, leases);
        }
    }

    /// Takes a feed off a page. One that nobody follows is let go of.
    pub(super) fn leave(&mut self, key: &RoutingKey, feed: &OldKey, leases: &mut Leases) {
        let Some(followed) = self.followed.get_mut(key) else {
            return;
        };
        followed.feeds.retain(|other| other != feed);
        if followed.feeds.is_empty() {
            self.followed.remove(key);
            leases.push((key.clone(), self.release(key)));
        }
    }

    pub(super) fn ask(&mut self, key: &RoutingKey, now: u64, leases: &mut Leases) {
        if let Some(followed) = self.followed.get_mut(key) {
            followed.asked_at = Some(now);
            followed.leased_at = now;
            leases.push((key.clone(), lease(self.gateway, key, followed, Want::Page)));
        }
    }

    /// Renews the leases whose turn it is, and asks again for pages that have not come.
    pub(super) fn renew(&mut self, now: u64, leases: &mut Leases) {
        for (key, followed) in &mut self.followed {
            let want = match followed.asked_at {
                Some(asked) if asked + ASK_AGAIN_MILLIS <= now => {
                    followed.asked_at = Some(now);
                    Want::Page
                }
                None if followed.leased_at + RENEW_MILLIS <= now => Want::Renew,
                Some(_) | None => continue,
            };
            followed.leased_at = now;
            leases.push((key.clone(), lease(self.gateway, key, followed, want)));
        }
    }

    pub(super) fn release_all(&mut self, leases: &mut Leases) {
        for key in std::mem::take(&mut self.followed).into_keys() {
            leases.push((key.clone(), self.release(&key)));
        }
    }

    fn release(&self, key: &RoutingKey) -> ControlRecord {
        ControlRecord::Release {
            gateway: self.gateway,
            key: key.clone(),
        }
    }
}

fn lease(gateway: u64, key: &RoutingKey, followed: &Followed, want: Want) -> ControlRecord {
    ControlRecord::Lease {
        gateway,
        key: key.clone(),
        query: followed.query.clone(),
        name: None,
        want,
    }
}

impl State {
    /// Whether anybody here follows the page of a record.
    pub(in crate::bridge) fn follows(&self, key: &RoutingKey) -> bool {
        self.pages.followed.contains_key(key)
    }

    /// Takes what the owner of a page published.
    pub(in crate::bridge) fn on_record(&mut self, key: &RoutingKey, record: PageRecord, now: u64) {
        match record {
            PageRecord::Page(page) => self.on_page(key, &page, now),
            PageRecord::Diff(diff) => self.on_diff(key, &diff, now),
            PageRecord::Refused { code, message } => {
                let why = format!("{}: {message}", code.as_str());
                self.note(Oddity::BadQuery, why);
                self.on_refused(key, now);
            }
            // It is for the whole partition, and comes without a key.
            PageRecord::Progress { .. } => {}
        }
    }

    /// A record of a page that is followed cannot be read.
    pub(in crate::bridge) fn on_bad_page(&mut self, error: &RecordError) {
        self.note(Oddity::BadPage, error.to_string());
    }

    /// A partition of the bus is owned by this life. Pages of another will be had anew.
    pub(in crate::bridge) fn on_progress(&mut self, partition: Partition, life: Life, now: u64) {
        if self.pages.lives.insert(partition, life) == Some(life) {
            return;
        }
        let is_of_another = |followed: &Followed| {
            let page = followed.page.as_ref();
            followed.partition == partition
                && page.is_some_and(|page| page.position.epoch.life() != life)
        };
        self.ask_where(is_of_another, now);
    }

    /// Records of the bus were missed.
    pub(in crate::bridge) fn on_gap(&mut self, now: u64) {
        self.ask_where(|_| true, now);
    }

    fn ask_where(&mut self, is_wanted: impl Fn(&Followed) -> bool, now: u64) {
        let followed = self.pages.followed.iter();
        let keys: Vec<RoutingKey> = followed
            .filter(|(_, followed)| is_wanted(followed))
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            self.pages.ask(&key, now, &mut self.effects.leases);
        }
    }

    fn on_page(&mut self, key: &RoutingKey, content: &PageContent, now: u64) {
        let Some(followed) = self.pages.followed.get_mut(key) else {
            return;
        };
        let head = followed.page.as_ref().map(|page| page.position);
        if head.is_some_and(|head| is_older(content.position, head)) {
            return;
        }
        followed.asked_at = None;
        if head == Some(content.position) {
            return;
        }
        let Some(page) = Page::read(content) else {
            self.note(Oddity::BadPage, "its rows".to_owned());
            return;
        };
        let before = followed.page.replace(page.clone());
        let feeds = followed.feeds.clone();
        let changes = before.map(|before| net(&before.rows, &page.rows));
        self.tell(&feeds, &page, (&changes.unwrap_or_default(), now));
    }

    fn on_diff(&mut self, key: &RoutingKey, diff: &DiffContent, now: u64) {
        let Some(followed) = self.pages.followed.get_mut(key) else {
            return;
        };
        // The page that was asked for will contain it.
        let Some(page) = &followed.page else {
            return;
        };
        if !diff.position.follows(page.position) {
            let is_missed =
                !is_older(diff.position, page.position) && diff.position != page.position;
            if is_missed && followed.asked_at.is_none() {
                self.pages.ask(key, now, &mut self.effects.leases);
            }
            return;
        }
        let read = read_changes(&diff.body).ok().and_then(|changes| {
            let page = page.after(diff.position, diff.lsn, &changes)?;
            Some((page, changes))
        });
        let Some((page, changes)) = read else {
            self.note(Oddity::BadPage, "a change that does not fit".to_owned());
            self.pages.ask(key, now, &mut self.effects.leases);
            return;
        };
        followed.page = Some(page.clone());
        let feeds = followed.feeds.clone();
        self.tell(&feeds, &page, (&changes, now));
    }

    /// The page has moved on: says so to the settled clients of its feeds, and to whoever waits.
    fn tell(&mut self, feeds: &[OldKey], page: &Page, (changes, now): (&[WireChange], u64)) {
        for key in feeds {
            let said = self.feeds.get_mut(key);
            if let Some((saying, recall)) = said.and_then(|feed| feed.advance(page, changes, now)) {
                self.recall(key, recall);
                self.effects.sayings.push(saying);
            }
            self.answer(key, now);
        }
    }

    fn on_refused(&mut self, key: &RoutingKey, now: u64) {
        let followed = self.pages.followed.get(key);
        let feeds = followed.map(|followed| followed.feeds.clone());
        for feed in feeds.unwrap_or_default() {
            self.refuse(&feed, now + REREAD_PAUSE_MILLIS);
        }
    }
}

/// Whether a position is behind another, in an earlier epoch or earlier in the same.
fn is_older(position: Position, than: Position) -> bool {
    position < than
}
