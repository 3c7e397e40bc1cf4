//! All pages of one gateway: who wants them, and under which name.
//!
//! A foreign processor knows a page by its name alone, so a name stands for one query at a time.
//! Who wants a name for another query waits for a moment, as the first may just be leaving, and is
//! refused then.
//!
//! No I/O and no clock: a tick says that a second has passed.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_core::{Epoch, Life, QuerySpec, RoutingKey};
use tidegate_protocol::{
    ControlRecord, ErrorCode, ForeignKey, PageRecord, QueryName, Want, WireError,
};

use crate::metrics;
use crate::page::{self, Page, PageRead, ReadFailure, Reading};
use crate::stream::Incoming;

/// Pages at once; one more is refused as overloaded. As many as a gateway's shards may have.
const PAGES_MAX: usize = 200_000;
/// Seconds for which a name that is taken is waited for: the gateway lets go of a page within less.
const TAKEN_TICKS: u32 = 5;

/// A query and all its names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NamedQuery {
    /// How the gateway calls it.
    pub(crate) route: RoutingKey,
    /// How the rest of the world does.
    pub(crate) key: ForeignKey,
    pub(crate) query: QuerySpec,
    pub(crate) name: QueryName,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Tell the gateway.
    Publish(RoutingKey, PageRecord),
    /// Read a page, and say how it went with the number.
    Read {
        number: u64,
        query: Arc<NamedQuery>,
        reading: Reading,
    },
    /// Nobody here wants the page any more: give it up, and call [`Pages::on_closed`]. Until then
    /// its name is not free.
    Close(Arc<NamedQuery>),
}

struct Entry {
    query: Arc<NamedQuery>,
    /// Tells its readings from those of an earlier page of this name.
    number: u64,
    page: Page,
}

/// Somebody who waits for a name.
struct Contender {
    query: Arc<NamedQuery>,
    ticks_left: u32,
}

/// The pages of a gateway.
pub(crate) struct Pages {
    life: Life,
    epochs: u32,
    entries: HashMap<ForeignKey, Entry>,
    by_route: HashMap<RoutingKey, ForeignKey>,
    /// Names of pages that are being given up.
    closing: HashMap<ForeignKey, RoutingKey>,
    contenders: HashMap<RoutingKey, Contender>,
    opened: u64,
    /// Kept to spare an allocation per message.
    scratch: Vec<page::Effect>,
}

impl Pages {
    pub(crate) fn new(life: Life) -> Self {
        Self {
            life,
            epochs: 0,
            entries: HashMap::new(),
            by_route: HashMap::new(),
            closing: HashMap::new(),
            contenders: HashMap::new(),
            opened: 0,
            scratch: Vec::new(),
        }
    }

    /// Every page that is kept.
    pub(crate) fn queries(&self) -> impl Iterator<Item = &Arc<NamedQuery>> {
        self.entries.values().map(|entry| &entry.query)
    }

    /// The gateway says what it wants.
    pub(crate) fn on_control(&mut self, record: ControlRecord, effects: &mut Vec<Effect>) {
        match record {
            ControlRecord::Release { gateway: _, key } => self.release(&key, effects),
            ControlRecord::Lease {
                gateway: _,
                key: route,
                query,
                name,
                want,
            } => {
                if let Some(key) = self.by_route.get(&route).cloned() {
                    match want {
                        Want::Renew => {}
                        Want::Page => self.act(&key, effects, |page, out| page.want(out)),
                    }
                    return;
                }
                if self.contenders.contains_key(&route) {
                    return;
                }
                let Some(name) = name else {
                    let why = "this server serves queries by name only";
                    let error = WireError::new(ErrorCode::Internal, why);
                    refuse(&route, error, effects);
                    return;
                };
                // The gateway has refused names that are ambiguous.
                let Some(key) = ForeignKey::new(&route.tenant, &route.table, &name.label) else {
                    let error =
                        WireError::new(ErrorCode::UnsupportedTable, "the name is ambiguous");
                    refuse(&route, error, effects);
                    return;
                };
                let query = NamedQuery {
                    route,
                    key,
                    query,
                    name,
                };
                self.open(Arc::new(query), effects);
            }
        }
    }

    fn open(&mut self, query: Arc<NamedQuery>, effects: &mut Vec<Effect>) {
        if self.entries.contains_key(&query.key) || self.closing.contains_key(&query.key) {
            let contender = Contender {
                ticks_left: TAKEN_TICKS,
                query,
            };
            let route = contender.query.route.clone();
            self.contenders.insert(route, contender);
            return;
        }
        if self.entries.len() >= PAGES_MAX {
            let why = "there are too many live queries";
            refuse(
                &query.route,
                WireError::new(ErrorCode::Overloaded, why),
                effects,
            );
            return;
        }
        self.opened += 1;
        let (key, route) = (query.key.clone(), query.route.clone());
        let mut out = std::mem::take(&mut self.scratch);
        let entry = Entry {
            query,
            number: self.opened,
            page: Page::open(&mut out),
        };
        self.scratch = out;
        self.entries.insert(key.clone(), entry);
        self.by_route.insert(route, key.clone());
        self.carry_out(&key, effects);
    }

    fn release(&mut self, route: &RoutingKey, effects: &mut Vec<Effect>) {
        self.contenders.remove(route);
        if let Some(key) = self.by_route.get(route).cloned() {
            self.close(&key, effects);
        }
    }

    fn close(&mut self, key: &ForeignKey, effects: &mut Vec<Effect>) {
        let Some(entry) = self.entries.remove(key) else {
            return;
        };
        self.by_route.remove(&entry.query.route);
        self.closing.insert(key.clone(), entry.query.route.clone());
        effects.push(Effect::Close(entry.query));
    }

    /// A page has been given up: its name is free.
    pub(crate) fn on_closed(&mut self, key: &ForeignKey, effects: &mut Vec<Effect>) {
        self.closing.remove(key);
        let waiting = self
            .contenders
            .values()
            .find(|waiting| waiting.query.key == *key);
        let Some(route) = waiting.map(|waiting| waiting.query.route.clone()) else {
            return;
        };
        if let Some(contender) = self.contenders.remove(&route) {
            self.open(contender.query, effects);
        }
    }

    /// A message of the stream. Those of pages that nobody wants cost a look-up.
    pub(crate) fn on_incoming(&mut self, key: &str, incoming: Incoming, effects: &mut Vec<Effect>) {
        let Some((key, _)) = self.entries.get_key_value(key) else {
            return;
        };
        let key = key.clone();
        self.act(&key, effects, |page, out| page.on_incoming(incoming, out));
    }

    /// Messages of the stream were missed, of whatever page.
    pub(crate) fn doubt_all(&mut self, effects: &mut Vec<Effect>) {
        let keys: Vec<_> = self.entries.keys().cloned().collect();
        for key in keys {
            self.act(&key, effects, Page::doubt);
        }
    }

    /// A page has been read, or could not be.
    pub(crate) fn on_read(
        &mut self,
        key: &ForeignKey,
        number: u64,
        read: Result<PageRead, ReadFailure>,
        effects: &mut Vec<Effect>,
    ) {
        let is_meant = |entry: &Entry| entry.number == number;
        if !self.entries.get(key).is_some_and(is_meant) {
            return;
        }
        self.epochs = self.epochs.wrapping_add(1);
        let epoch = Epoch::new(self.life, self.epochs);
        self.act(key, effects, |page, out| match read {
            Ok(read) => page.on_read(read, epoch, out),
            Err(failure) => page.on_read_failed(failure, out),
        });
    }

    /// Another gateway holds the name for another query, as it has turned out.
    pub(crate) fn on_conflict(&mut self, key: &ForeignKey, effects: &mut Vec<Effect>) {
        if let Some(entry) = self.entries.get(key) {
            refuse(&entry.query.route, taken(), effects);
            self.close(key, effects);
        }
    }

    /// A second has passed.
    pub(crate) fn tick(&mut self, effects: &mut Vec<Effect>) {
        let mut refused = Vec::new();
        for (route, contender) in &mut self.contenders {
            // A name that is being given up will be free.
            if self.entries.contains_key(&contender.query.key) {
                contender.ticks_left -= 1;
                if contender.ticks_left == 0 {
                    refused.push(route.clone());
                }
            }
        }
        for route in refused {
            self.contenders.remove(&route);
            refuse(&route, taken(), effects);
        }
        metrics::report_pages(self.entries.len());
    }

    /// Does something to a page and sees to its effects.
    fn act(
        &mut self,
        key: &ForeignKey,
        effects: &mut Vec<Effect>,
        act: impl FnOnce(&mut Page, &mut Vec<page::Effect>),
    ) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        act(&mut entry.page, &mut self.scratch);
        self.carry_out(key, effects);
    }

    fn carry_out(&mut self, key: &ForeignKey, effects: &mut Vec<Effect>) {
        let mut out = std::mem::take(&mut self.scratch);
        for effect in out.drain(..) {
            let Some(entry) = self.entries.get(key) else {
                break;
            };
            let query = &entry.query;
            match effect {
                page::Effect::Publish(record) => {
                    effects.push(Effect::Publish(query.route.clone(), record));
                }
                page::Effect::Read(reading) => effects.push(Effect::Read {
                    number: entry.number,
                    query: Arc::clone(query),
                    reading,
                }),
                page::Effect::Refuse(error) => {
                    refuse(&query.route, error, effects);
                    self.close(key, effects);
                }
            }
        }
        out.clear();
        self.scratch = out;
    }
}

fn taken() -> WireError {
    let why = "this hashId stands for another query at the moment; give each query one of its own";
    WireError::new(ErrorCode::HashConflict, why)
}

fn refuse(route: &RoutingKey, error: WireError, effects: &mut Vec<Effect>) {
    let WireError { code, message } = error;
    effects.push(Effect::Publish(
        route.clone(),
        PageRecord::Refused { code, message },
    ));
}

#[cfg(test)]
mod tests;
