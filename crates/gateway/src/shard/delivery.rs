//! From the bus to the outboxes: records find their channels, and what channels ask for gets done.

use std::sync::Arc;

use tidegate_core::{Life, Lsn, Partition, Position, RoutingKey};
use tidegate_ports::{Batch, Record};
use tidegate_protocol::server_frame::{self, ErrorSubject};
use tidegate_protocol::{DiffContent, ErrorCode, PageRecord};

use super::Shard;
use crate::channel::{Begin, Channel, Context, Effect, Listener, ListenerPlace};
use crate::frame;
use crate::interest::{InterestCommand, Wanted};
use crate::loader::Job;
use crate::outbox::{Owner, SubscriptionId};
use crate::outboxes::SessionIndex;
use crate::session::{Place, Second};

/// A channel and what the shard keeps beside it.
pub(super) struct ChannelEntry {
    pub(super) channel: Channel,
    pub(super) partition: Partition,
    pub(super) key: RoutingKey,
    pub(super) wanted: Arc<Wanted>,
    /// Since when nobody listens.
    pub(super) deserted_at: Option<Second>,
    /// When the owner was last asked for the page, and how often without an answer.
    pub(super) asked_at: Second,
    pub(super) asks: u32,
}

impl Shard {
    /// The channel of a key, made if there is none. `None` when there are as many as there may be.
    pub(super) fn channel_of(&mut self, key: RoutingKey, wanted: Wanted) -> Option<u32> {
        let encoded = key.encode().into_bytes().into_boxed_slice();
        if let Some(channel) = self.by_key.get(&encoded) {
            return Some(*channel);
        }
        if self.channels.len() >= self.limits().shard_channels_max {
            return None;
        }
        let entry = ChannelEntry {
            channel: Channel::new(self.limits().history),
            partition: key.partition(self.progress.len() as u32),
            key,
            wanted: Arc::new(wanted),
            deserted_at: None,
            asked_at: self.now,
            asks: 0,
        };
        let channel = self.channels.insert(entry) as u32;
        self.listening.add(&encoded);
        self.by_key.insert(encoded, channel);
        Some(channel)
    }

    pub(super) fn listen(
        &mut self,
        channel: u32,
        listener: Listener,
        begin: Begin,
    ) -> ListenerPlace {
        self.channels[channel as usize].deserted_at = None;
        self.with_channel(channel, |channel, context| {
            channel.subscribe(listener, begin, context)
        })
    }

    pub(super) fn stop_listening(&mut self, channel: u32, place: ListenerPlace) {
        let entry = &mut self.channels[channel as usize];
        entry.channel.unsubscribe(place);
        if entry.channel.is_deserted() {
            entry.deserted_at = Some(self.now);
        }
    }

    /// Does something to a channel and sees to its effects.
    fn with_channel<R>(
        &mut self,
        index: u32,
        act: impl FnOnce(&mut Channel, &mut Context<'_>) -> R,
    ) -> R {
        let history_bytes_max = self.limits().shard_history_bytes_max;
        let entry = &mut self.channels[index as usize];
        let mut effects = std::mem::take(&mut self.effects);
        let mut context = Context {
            outboxes: &mut self.outboxes,
            effects: &mut effects,
        };
        let before = entry.channel.bytes();
        let result = act(&mut entry.channel, &mut context);
        let rest = self.history_bytes - before;
        if rest + entry.channel.bytes() > history_bytes_max {
            entry.channel.shed();
        }
        self.history_bytes = rest + entry.channel.bytes();
        for effect in effects.drain(..) {
            self.carry_out(index, effect);
        }
        self.effects = effects;
        result
    }

    fn carry_out(&mut self, index: u32, effect: Effect) {
        let entry = &mut self.channels[index as usize];
        match effect {
            Effect::AskPage => {
                entry.asked_at = self.now;
                entry.asks = 0;
                self.outgoing.push_back(InterestCommand::NeedPage {
                    shard: self.index,
                    key: entry.key.clone(),
                    wanted: Arc::clone(&entry.wanted),
                });
            }
            Effect::Replay { place, id, after } => self.jobs.push(Job::Replay {
                channel: index,
                key: entry.key.clone(),
                place,
                id,
                after,
            }),
            Effect::Fill { after } => self.jobs.push(Job::Fill {
                channel: index,
                key: entry.key.clone(),
                after,
            }),
            Effect::Reset(reason) => self.metrics.reset(reason),
        }
    }

    /// Hands commands to the owner of the leases as far as it has room; the rest is tried again.
    pub(super) fn send_interest(&mut self) {
        while let Some(command) = self.outgoing.front() {
            // A closed mailbox means that the gateway stops: nobody needs them any more.
            if self.interest.try_send(command.clone()).is_err() {
                return;
            }
            self.outgoing.pop_front();
        }
    }

    pub(super) fn apply_batch(&mut self, batch: &Batch) {
        self.metrics.records.increment(batch.records.len() as u64);
        let received_at = (self.shared.config.clock_micros)();
        for record in batch.records.iter() {
            self.apply_record(record, received_at);
            // One who has much unsent gets the chance to take it before more is put on top.
            for index in self.outboxes.take_pressed() {
                self.flush(index);
            }
        }
        if !self.syncs.is_empty() {
            self.answer_syncs();
        }
    }

    /// Applies one record. Those of keys that nobody here listens to cost a look-up.
    fn apply_record(&mut self, record: &Record, received_at: i64) {
        let channel = match record.key.is_empty() {
            true => None,
            false => match self.by_key.get(&*record.key) {
                Some(channel) => Some(*channel),
                None => return,
            },
        };
        let content = match PageRecord::decode(record.value.clone()) {
            Ok(content) => content,
            Err(error) => {
                // If it was a diff, the next one shows the hole.
                tracing::warn!(%error, "a record could not be read");
                self.metrics.records_refused.increment(1);
                return;
            }
        };
        match (content, channel) {
            (PageRecord::Diff(diff), Some(channel)) => {
                let micros = (received_at - diff.committed_at_micros).max(0);
                self.metrics.commit_to_read.record(micros as f64 / 1e6);
                self.apply_diff(channel, diff);
            }
            (PageRecord::Page(page), Some(channel)) => {
                self.with_channel(channel, |channel, context| channel.on_page(page, context));
            }
            (PageRecord::Refused { code, message }, Some(channel)) => {
                self.end_channel(channel, code, &message);
            }
            (PageRecord::Progress { life, lsn }, None) => {
                self.apply_progress(record.partition, life, lsn);
            }
            (PageRecord::Progress { .. }, Some(_)) | (_, None) => {
                tracing::warn!("a record's key does not fit what it says");
                self.metrics.records_refused.increment(1);
            }
        }
    }

    fn apply_diff(&mut self, channel: u32, diff: DiffContent) {
        self.committed.push(diff.committed_at_micros);
        self.with_channel(channel, |channel, context| channel.on_diff(diff, context));
    }

    /// The owner of a page says that it cannot be had, or has ended: everybody is told and let go.
    fn end_channel(&mut self, index: u32, code: ErrorCode, message: &str) {
        let entry = &mut self.channels[index as usize];
        let (tenant, table) = (entry.key.tenant.clone(), entry.key.table.clone());
        let listeners = entry.channel.dissolve();
        self.schemas.forget(&tenant, &table);
        for (index, id) in listeners {
            self.outboxes.drop_subscription(index, id);
            let Some(session) = self.sessions.get_mut(index.0 as usize) else {
                continue;
            };
            let Some(at) = session.subscriptions.iter().position(|held| held.id == id) else {
                continue;
            };
            let label = session.subscriptions.remove(at).label;
            self.subscription_count -= 1;
            let subject = ErrorSubject::Subscription(&label);
            let frame = frame::text(&server_frame::error(code, message, subject));
            self.outboxes.push(index, frame, Owner::Session);
        }
        self.remove_channel(index);
    }

    pub(super) fn remove_channel(&mut self, index: u32) {
        let entry = self.channels.remove(index as usize);
        let encoded = entry.key.encode();
        self.by_key.remove(encoded.as_bytes());
        self.listening.remove(encoded.as_bytes());
        self.history_bytes -= entry.channel.bytes();
        self.outgoing.push_back(InterestCommand::Leave {
            shard: self.index,
            key: entry.key,
        });
    }

    fn apply_progress(&mut self, partition: Partition, life: Life, lsn: Lsn) {
        let Some(known) = self.progress.get_mut(partition.get() as usize) else {
            return;
        };
        match known {
            // An owner that has been replaced and does not know it yet.
            Some((current, _)) if *current > life => {}
            Some((current, passed)) if *current == life => *passed = lsn.max(*passed),
            // A new owner must be told what is wanted.
            Some(_) => {
                *known = Some((life, lsn));
                self.doubt_where(|entry| {
                    let channel = &entry.channel;
                    entry.partition == partition
                        && (channel.is_of_another(life) || channel.is_owed_page())
                });
            }
            // None was known before, so wishes that are open were meant for this one.
            None => {
                *known = Some((life, lsn));
                self.doubt_where(|entry| {
                    entry.partition == partition && entry.channel.is_of_another(life)
                });
            }
        }
    }

    /// Records were missed, of whatever key.
    pub(super) fn doubt_all(&mut self) {
        self.doubt_where(|_| true);
    }

    fn doubt_where(&mut self, is_concerned: impl Fn(&ChannelEntry) -> bool) {
        let concerned: Vec<u32> = self
            .channels
            .iter()
            .filter(|(_, entry)| is_concerned(entry))
            .map(|(index, _)| index as u32)
            .collect();
        for index in concerned {
            self.with_channel(index, Channel::doubt);
        }
    }

    /// The cache has answered for one subscription.
    pub(crate) fn on_replay(
        &mut self,
        (channel, key): (u32, &RoutingKey),
        listener: (ListenerPlace, SubscriptionId),
        after: Position,
        entries: Option<Vec<DiffContent>>,
    ) {
        if self.is_channel(channel, key) {
            self.with_channel(channel, |channel, context| {
                channel.on_replay(listener, after, entries, context);
            });
        }
    }

    /// The cache has answered for a channel with a hole.
    pub(crate) fn on_fill(
        &mut self,
        (channel, key): (u32, &RoutingKey),
        after: Position,
        entries: Option<Vec<DiffContent>>,
    ) {
        if self.is_channel(channel, key) {
            self.with_channel(channel, |channel, context| {
                channel.on_fill(after, entries, context);
            });
        }
    }

    /// Whether a place still holds the channel of a key. Places are used again.
    fn is_channel(&self, channel: u32, key: &RoutingKey) -> bool {
        self.channels
            .get(channel as usize)
            .is_some_and(|entry| entry.key == *key)
    }

    /// Serves the subscriptions that waited for the outbox to drain, if it has.
    pub(super) fn recover_lagging(&mut self, index: SessionIndex) -> bool {
        let drained = self.outboxes.take_drained(index);
        for id in &drained {
            let session = &self.sessions[index.0 as usize];
            let place = session.by_id(*id).map(|held| held.place);
            if let Some(Place::Listening { channel, place }) = place {
                self.with_channel(channel, |channel, context| {
                    channel.recover(place, *id, context)
                });
            }
        }
        !drained.is_empty()
    }

    /// Measures, after the writes, how old the commits are that were just delivered.
    pub(super) fn record_latencies(&mut self) {
        if self.committed.is_empty() {
            return;
        }
        let now = (self.shared.config.clock_micros)();
        for committed_at in self.committed.drain(..) {
            let micros = (now - committed_at).max(0);
            self.metrics.commit_to_socket.record(micros as f64 / 1e6);
        }
    }
}
