//! Reply topics and who has them.
//!
//! A process says of its reply topic, before it makes it and then every so many seconds, that it
//! lives, in a topic that keeps the last word of each key; at its end it takes that back. Workers
//! listen. One that has heard nothing of a topic for ten times the interval that its owner named
//! removes it.
//!
//! Silence is measured by the listener's own clock, and only while it could hear: what it learns at
//! its start counts as said just then, and a listener that was cut off begins anew. So no clock of
//! another machine can end a topic. An owner that was cut off, or stood still, for longer than that
//! finds its topic gone, and makes it again ([`replies`](crate::replies)).
//!
//! Nothing is removed but what an owner has named and what begins as reply topics of processes do.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics::Counter;
use tidegate_ports::{
    Backoff, Broker, BrokerEvent, BrokerReader, Link, Message, PortError, Received, Start,
    TopicName,
};
use tidegate_protocol::{read_millis, write_millis};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::config::REPLY_PREFIX;

/// Intervals without a word after which an owner counts as dead.
const SILENT_INTERVALS: u32 = 10;
/// How often silences are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Owners that are remembered. More processes than that do not ask workers; what comes above is
/// not removed by us.
const OWNERS_MAX: usize = 10_000;

/// What an owner says of its topic; with no interval, that it is gone.
pub(crate) fn word(topic: &TopicName, heartbeat: Option<Duration>) -> Message {
    Message {
        key: Some(Bytes::copy_from_slice(topic.as_str().as_bytes())),
        value: heartbeat.map(|every| write_millis(every).into()),
        headers: Vec::new(),
    }
}

/// Says every so often that the owner of a topic lives.
pub(crate) async fn keep_saying(
    broker: Arc<dyn Broker>,
    owners: TopicName,
    topic: TopicName,
    heartbeat: Duration,
) -> Infallible {
    let mut ticks = interval(heartbeat);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let said = broker
            .send(&owners, vec![word(&topic, Some(heartbeat))])
            .await;
        if let Err(error) = said {
            tracing::debug!(%error, "nobody heard that we live");
        }
    }
}

/// What is known of the owner of a topic.
#[derive(Debug, Clone, Copy)]
struct Owner {
    heard: Instant,
    every: Duration,
}

/// Who has been heard of. Pure: times are given.
#[derive(Debug, Default)]
struct Owners(HashMap<TopicName, Owner>);

impl Owners {
    fn hear(&mut self, message: &Message, now: Instant) {
        let key = message.key.as_deref().unwrap_or(&[]);
        let topic = std::str::from_utf8(key).ok().and_then(TopicName::parse);
        let Some(topic) = topic.filter(|topic| topic.as_str().starts_with(REPLY_PREFIX)) else {
            return;
        };
        let has_room = self.0.len() < OWNERS_MAX || self.0.contains_key(&topic);
        match message.value.as_deref().map(read_millis) {
            None => {
                self.0.remove(&topic);
            }
            Some(Some(every)) if has_room => {
                self.0.insert(topic, Owner { heard: now, every });
            }
            Some(Some(_) | None) => {}
        }
    }

    /// We heard nobody for a while: all count as heard of now.
    fn begin_anew(&mut self, now: Instant) {
        for owner in self.0.values_mut() {
            owner.heard = now;
        }
    }

    fn silent(&self, now: Instant) -> Vec<TopicName> {
        let is_silent =
            |owner: &Owner| now.duration_since(owner.heard) > owner.every * SILENT_INTERVALS;
        let silent = self.0.iter().filter(|(_, owner)| is_silent(owner));
        silent.map(|(topic, _)| topic.clone()).collect()
    }
}

/// Listens for ever, and removes the topics of owners that are dead.
pub(crate) async fn remove_orphans(
    broker: Arc<dyn Broker>,
    topic: TopicName,
    removed: Counter,
) -> Infallible {
    let mut backoff = Backoff::default();
    loop {
        let error = match broker
            .follow(std::slice::from_ref(&topic), Start::Earliest)
            .await
        {
            Ok(reader) => {
                backoff.reset();
                let listening = Listening {
                    broker: &*broker,
                    topic: &topic,
                    removed: &removed,
                    owners: Owners::default(),
                };
                listening.run(reader).await
            }
            Err(error) => error,
        };
        tracing::debug!(%error, "the owners of reply topics are not heard, listening anew");
        backoff.wait().await;
    }
}

struct Listening<'a> {
    broker: &'a dyn Broker,
    topic: &'a TopicName,
    removed: &'a Counter,
    owners: Owners,
}

impl Listening<'_> {
    /// Ends when it can no longer be sure to hear everything.
    async fn run(mut self, mut reader: Box<dyn BrokerReader>) -> PortError {
        let mut link = self.broker.link();
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = reader.poll() => match event {
                    Ok(BrokerEvent::Messages(messages)) => self.hear(&messages),
                    Ok(BrokerEvent::Gained(_) | BrokerEvent::Lost(_)) => {}
                    Err(error) => return error,
                },
                _ = ticks.tick() => {
                    let now = *link.borrow_and_update();
                    match now {
                        Link::Up => self.remove_silent().await,
                        Link::Down => self.owners.begin_anew(Instant::now()),
                    }
                }
            }
        }
    }

    fn hear(&mut self, messages: &[Received]) {
        let now = Instant::now();
        for received in messages {
            self.owners.hear(&received.message, now);
        }
    }

    async fn remove_silent(&mut self) {
        for topic in self.owners.silent(Instant::now()) {
            let gone = async {
                self.broker.remove(&topic).await?;
                self.broker.send(self.topic, vec![word(&topic, None)]).await
            };
            match gone.await {
                Ok(()) => {
                    self.owners.0.remove(&topic);
                    self.removed.increment(1);
                    tracing::info!(%topic, "removed the reply topic of a process that is gone");
                }
                Err(error) => {
                    tracing::warn!(%topic, %error, "a reply topic could not be removed");
                    // Again after as long a silence.
                    if let Some(owner) = self.owners.0.get_mut(&topic) {
                        owner.heard = Instant::now();
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! Only silence that was listened to for long enough ends a topic, and only one of ours.

    use super::*;

    const EVERY: Duration = Duration::from_secs(30);

    fn topic(name: &str) -> TopicName {
        TopicName::parse(name).unwrap()
    }

    fn mine() -> TopicName {
        topic("sql.rpc.responses.ws.host.1.00")
    }

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_the_last_word() {
        let mut owners = Owners::default();
        let start = Instant::now();
        owners.hear(&word(&mine(), Some(EVERY)), start);
        assert!(owners.silent(start + EVERY * 10).is_empty());
        assert_eq!(owners.silent(start + EVERY * 11), [mine()]);
        owners.hear(&word(&mine(), Some(EVERY)), start + EVERY * 5);
        assert!(owners.silent(start + EVERY * 15).is_empty());
        owners.begin_anew(start + EVERY * 14);
        assert!(owners.silent(start + EVERY * 24).is_empty());
        owners.hear(&word(&mine(), None), start + EVERY * 14);
        assert!(owners.silent(start + EVERY * 100).is_empty());
    }

    /// A word about a topic that is no reply topic of a process would otherwise remove it.
    #[tokio::test(start_paused = true)]
    async fn other_topics_are_never_removed() {
        let mut owners = Owners::default();
        let start = Instant::now();
        for other in [
            "tidegate.changes",
            "sql.rpc.requests",
            "sql.rpc.responses.mine",
        ] {
            owners.hear(&word(&topic(other), Some(EVERY)), start);
        }
        let nonsense = Message {
            value: Some(Bytes::from_static(b"soon")),
            ..word(&mine(), None)
        };
        owners.hear(&nonsense, start);
        owners.hear(&Message::default(), start);
        assert!(owners.silent(start + EVERY * 1_000).is_empty());
    }
}
