//! Sharing topics by name with others, each message with one of us, across restarts.
//!
//! As in [`group`](crate::group), a [`Member`] learns what is ours and a [`Feed`] reads it. Here
//! the group also remembers where it has been. What was handed over counts as dealt with when the
//! caller polls again, and is committed soon after that; all of it before a partition goes to
//! another member. [`BrokerReader::settle`] commits at once and waits for the group's word.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidegate_ports::{BrokerEvent, BrokerReader, BusOffset, PortError, Received, Start, TopicName};
use tokio::time::{Instant, sleep, sleep_until};

use crate::bus::Shared;
use crate::close::Closing;
use crate::config::TopicNames;
use crate::error;
use crate::feed::{Asking, Feed, Fetched, Leaders, Place, Run};
use crate::member::{Member, Wish};

/// How long what is dealt with waits to be committed, so that a busy group does not ask its broker
/// once for every few messages.
const COMMIT_PAUSE: Duration = Duration::from_millis(200);
/// Pause before the group is asked again.
const ASK_PAUSE: Duration = Duration::from_millis(50);

/// A reader of topics that a group shares.
pub(crate) struct ShareReader {
    member: Arc<Closing<Member>>,
    feed: Feed,
    shared: Arc<Shared>,
    topics: Arc<[TopicName]>,
    start: Start,
    /// What the caller was told it has, and what it has dealt with there.
    dealt: HashMap<Place, i64>,
    /// Where the caller is, of places where it has been handed something since its last poll.
    handed: HashMap<Place, i64>,
    /// When what is dealt with is to be committed, if there is anything new.
    commit_at: Option<Instant>,
    beginning: Asking<Vec<(Place, i64)>>,
    committing: Asking<()>,
}

impl ShareReader {
    pub(crate) fn join(
        shared: Arc<Shared>,
        group: &str,
        topics: &[TopicName],
        start: Start,
    ) -> Result<Self, PortError> {
        let names: TopicNames = topics.iter().map(|name| name.as_str().to_owned()).collect();
        let member = Member::join(&shared, group, Arc::clone(&names))?;
        let words = vec!["shared"; names.len()];
        Ok(Self {
            member: Arc::new(Closing::new(member, &shared.closer)),
            feed: Feed::new(Arc::clone(&shared), names, &words)?,
            shared,
            topics: topics.into(),
            start,
            dealt: HashMap::new(),
            handed: HashMap::new(),
            commit_at: None,
            beginning: None,
            committing: None,
        })
    }

    /// What was handed over is dealt with.
    fn deal(&mut self) {
        if !self.handed.is_empty() {
            self.dealt.extend(self.handed.drain());
            let soon = Instant::now() + COMMIT_PAUSE;
            self.commit_at.get_or_insert(soon);
        }
    }

    fn commit_soon(&mut self) -> Result<(), PortError> {
        self.commit_at = None;
        let dealt: Vec<_> = self
            .dealt
            .iter()
            .map(|(place, end)| (*place, *end))
            .collect();
        self.member.commit_soon(&dealt)
    }

    /// Commits what is dealt with of these places, and waits for it. Cancellation-safe, if called
    /// with the same again.
    async fn commit_now(&mut self, is_wanted: impl Fn(Place) -> bool) -> Result<(), PortError> {
        let wanted = self.dealt.iter().filter(|(place, _)| is_wanted(**place));
        let wanted: Vec<_> = wanted.map(|(place, end)| (*place, *end)).collect();
        let deadline = Instant::now() + self.shared.config.request_timeout;
        loop {
            let (member, wanted) = (Arc::clone(&self.member), wanted.clone());
            let committing = self.committing.get_or_insert_with(|| {
                tokio::task::spawn_blocking(move || member.commit_now(&wanted))
            });
            let answer = committing.await;
            self.committing = None;
            match answer.map_err(error::unavailable)? {
                // A group that is just being shared out anew takes none for a moment.
                Err(error) if is_being_shared_out(&error) && Instant::now() < deadline => {
                    tracing::debug!(%error, "committing again");
                    sleep(ASK_PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    /// Finds where the group goes on. Cancellation-safe, if called with the same again.
    async fn begin(&mut self, places: &[Place]) -> Result<Vec<(Place, i64)>, PortError> {
        let deadline = Instant::now() + self.shared.config.request_timeout;
        loop {
            let beginning = self.beginning.get_or_insert_with(|| {
                let beginning = Beginning {
                    member: Arc::clone(&self.member),
                    leaders: self.feed.leaders(),
                    shared: Arc::clone(&self.shared),
                    start: self.start,
                    places: places.to_vec(),
                };
                tokio::task::spawn_blocking(move || beginning.find())
            });
            let answer = beginning.await;
            self.beginning = None;
            match answer.map_err(error::unavailable)? {
                Err(error) if error.is_retryable() && Instant::now() < deadline => {
                    tracing::debug!(%error, "asking where a group is, again");
                    sleep(ASK_PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    /// Does what the group wishes. Cancellation-safe: the wish stays until it is fulfilled.
    async fn fulfil(&mut self, wish: Wish) -> Result<Option<BrokerEvent>, PortError> {
        match &wish {
            Wish::Give(places) => {
                self.feed.unassign(|place| places.contains(&place))?;
                if let Err(error) = self.commit_now(|place| places.contains(&place)).await {
                    tracing::debug!(%error, "another member gets again what we had");
                }
                self.member.fulfilled(&wish)?;
                let mut lost = places.clone();
                lost.retain(|place| self.dealt.remove(place).is_some());
                Ok((!lost.is_empty()).then(|| BrokerEvent::Lost(self.named(&lost))))
            }
            Wish::Take(places) => {
                let offsets = match places.is_empty() {
                    true => Vec::new(),
                    false => self.begin(places).await?,
                };
                // A fulfilment that failed half way is done again from here.
                self.feed.unassign(|place| places.contains(&place))?;
                self.feed.assign(&offsets)?;
                self.member.fulfilled(&wish)?;
                self.dealt.extend(offsets);
                Ok((!places.is_empty()).then(|| BrokerEvent::Gained(self.named(places))))
            }
        }
    }

    fn named(&self, places: &[Place]) -> Vec<(TopicName, u32)> {
        let named = |place: &Place| (self.topics[place.topic].clone(), place.partition);
        places.iter().map(named).collect()
    }
}

fn is_being_shared_out(error: &PortError) -> bool {
    use rdkafka::error::{KafkaError, RDKafkaErrorCode};
    let PortError::Unavailable {
        source: Some(source),
        ..
    } = error
    else {
        return false;
    };
    let code = source
        .downcast_ref()
        .and_then(KafkaError::rdkafka_error_code);
    code == Some(RDKafkaErrorCode::RebalanceInProgress)
}

/// The question where a group goes on.
struct Beginning {
    member: Arc<Closing<Member>>,
    leaders: Leaders,
    shared: Arc<Shared>,
    start: Start,
    places: Vec<Place>,
}

impl Beginning {
    /// Where it has been; or, the first time, its start, which it then remembers: another member
    /// must not begin later, having missed what is sent from now on. Blocks.
    fn find(&self) -> Result<Vec<(Place, i64)>, PortError> {
        let mut offsets = self.member.committed(&self.shared, &self.places)?;
        let is_new = |place: &Place| !offsets.iter().any(|(known, _)| known == place);
        let new = self.places.iter().copied().filter(is_new);
        let new: Vec<_> = new.map(|place| (place, self.start)).collect();
        let new = self.leaders.offsets(&new)?;
        self.member.commit_now(&new)?;
        offsets.extend(new);
        Ok(offsets)
    }
}

/// Messages as the callers of a broker know them.
pub(crate) fn received(topics: &[TopicName], run: Run) -> Vec<Received> {
    let Run { place, fetched, .. } = run;
    let received = |fetched: Fetched| Received {
        topic: topics[place.topic].clone(),
        partition: place.partition,
        offset: BusOffset(fetched.offset.unsigned_abs()),
        sent_millis: fetched.sent_millis,
        message: fetched.message,
    };
    fetched.into_iter().map(received).collect()
}

#[async_trait]
impl BrokerReader for ShareReader {
    async fn poll(&mut self) -> Result<BrokerEvent, PortError> {
        self.deal();
        loop {
            if let Some(wish) = self.member.wish() {
                match self.fulfil(wish).await? {
                    Some(event) => return Ok(event),
                    None => continue,
                }
            }
            let never = Instant::now() + Duration::from_secs(3600);
            let commit_at = self.commit_at.unwrap_or(never);
            tokio::select! {
                // A partition that is to be given away yields no more messages.
                biased;
                stirred = self.member.stirred() => stirred?,
                () = sleep_until(commit_at) => self.commit_soon()?,
                run = self.feed.next() => {
                    let run = run?;
                    self.handed.insert(run.place, run.end);
                    return Ok(BrokerEvent::Messages(received(&self.topics, run)));
                }
            }
        }
    }

    async fn settle(&mut self) -> Result<(), PortError> {
        if self
            .member
            .wish()
            .is_some_and(|wish| matches!(wish, Wish::Give(_)))
        {
            let gone = std::io::Error::other("the partitions may be another's by now");
            return Err(PortError::unavailable(error::WHAT, gone));
        }
        self.deal();
        self.commit_now(|_| true).await?;
        self.commit_at = None;
        Ok(())
    }
}

impl Drop for ShareReader {
    fn drop(&mut self) {
        // What was handed over since the last poll is another's to deal with.
        if self.commit_at.is_some()
            && let Err(error) = self.commit_soon()
        {
            tracing::debug!(%error, "another member gets again what we had");
        }
    }
}
