//! What every broker promises.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::broker::{
    Broker, BrokerEvent, BrokerReader, Header, Keep, Link, Message, Received, TopicName,
};
use crate::bus::Start;
use crate::error::PortError;

const PARTITIONS: u32 = 3;
const MINUTE: Keep = Keep::Millis(60_000);

/// Runs the suite. Its topics and groups begin with `prefix`, which nobody else's do; they are
/// removed at the end.
///
/// # Panics
/// When a promise is broken.
pub async fn broker_conforms(broker: &dyn Broker, prefix: &str) {
    let topic = |name: &str| {
        TopicName::parse(&format!("{prefix}{name}")).expect("letters, digits and dots")
    };
    topics_come_and_go(broker, &topic("come-and-go")).await;
    messages_keep_their_order_and_all_their_parts(broker, &topic("order")).await;
    starts_are_where_they_should_be(broker, &topic("starts"), &topic("starts-too")).await;
    members_share_and_go_on(broker, &topic("shared"), &format!("{prefix}share")).await;
    what_is_dealt_with_is_settled(broker, &topic("settled"), &format!("{prefix}settle")).await;
    a_group_begins_at_its_start_once(broker, &topic("begun"), &format!("{prefix}begin")).await;
    assert_eq!(*broker.link().borrow(), Link::Up);
}

fn text(text: &str) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(text.as_bytes()))
}

fn said(key: &str, value: &str) -> Message {
    Message {
        key: text(key),
        value: text(value),
        headers: Vec::new(),
    }
}

async fn messages(reader: &mut dyn BrokerReader) -> Vec<Received> {
    loop {
        if let BrokerEvent::Messages(messages) = reader.poll().await.expect("broker is up") {
            assert!(!messages.is_empty(), "a batch is never empty");
            return messages;
        }
    }
}

/// Reads until so many have come.
async fn read(reader: &mut dyn BrokerReader, count: usize) -> Vec<Received> {
    let mut seen = Vec::new();
    while seen.len() < count {
        seen.extend(messages(reader).await);
    }
    seen
}

fn values(seen: &[Received]) -> BTreeSet<String> {
    let value = |one: &Received| {
        let value = one.message.value.clone().unwrap_or_default();
        String::from_utf8(value.to_vec()).expect("as sent")
    };
    seen.iter().map(value).collect()
}

fn numbers(range: std::ops::Range<u32>) -> BTreeSet<String> {
    range.map(|n| n.to_string()).collect()
}

async fn send_numbers(broker: &dyn Broker, topic: &TopicName, range: std::ops::Range<u32>) {
    let messages = range.map(|n| said(&format!("key {n}"), &n.to_string()));
    let sent = broker.send(topic, messages.collect()).await;
    sent.expect("broker is up");
}

/// A topic that is not there cannot be used; making and removing one twice is no error.
async fn topics_come_and_go(broker: &dyn Broker, topic: &TopicName) {
    let is_rejected = |error| matches!(error, PortError::Rejected { .. });
    let names = [topic.clone()];
    let sent = broker.send(topic, vec![said("k", "v")]).await;
    assert!(is_rejected(sent.expect_err("no topic")));
    let read = broker.follow(&names, Start::Earliest).await;
    assert!(is_rejected(read.err().expect("no topic")));
    assert!(!broker.topics().await.expect("up").contains(topic));
    broker.remove(topic).await.expect("missing is no error");

    broker.create(topic, 1, MINUTE).await.expect("up");
    broker.create(topic, 2, MINUTE).await.expect("there is one");
    assert!(broker.topics().await.expect("up").contains(topic));
    broker.send(topic, vec![said("k", "v")]).await.expect("up");
    let reader = broker.follow(&names, Start::Latest).await;
    let mut reader = reader.expect("up");
    broker.remove(topic).await.expect("up");
    assert!(!broker.topics().await.expect("up").contains(topic));
    // Whoever reads it hears that it is gone.
    let heard = reader.poll().await;
    assert!(heard.is_err_and(|error| error.is_retryable()));
}

/// Messages of a key come in order from one partition, with headers, and with what is missing still
/// missing.
async fn messages_keep_their_order_and_all_their_parts(broker: &dyn Broker, topic: &TopicName) {
    broker.create(topic, PARTITIONS, MINUTE).await.expect("up");
    let names = [topic.clone()];
    let reader = broker.follow(&names, Start::Earliest).await;
    let mut reader = reader.expect("up");
    let header = |name: &str, value| Header {
        name: name.to_owned(),
        value,
    };
    let rich = Message {
        key: text("rich"),
        value: Some(Bytes::new()),
        headers: vec![
            header("lsn", text("12")),
            header("none", None),
            header("lsn", text("13")),
        ],
    };
    let tombstone = Message {
        key: text("rich"),
        ..Message::default()
    };
    let keyless = Message {
        value: text("keyless"),
        ..Message::default()
    };
    let mut sent: Vec<Message> = (0..30)
        .map(|n| said(&format!("key {}", n % 5), &n.to_string()))
        .collect();
    sent.extend([rich, tombstone, keyless]);
    broker.send(topic, sent.clone()).await.expect("up");
    let seen = read(&mut *reader, sent.len()).await;

    let mut partitions: BTreeMap<Option<Bytes>, BTreeSet<u32>> = BTreeMap::new();
    for one in &seen {
        assert!(&one.topic == topic && one.partition < PARTITIONS);
        let of_key = partitions.entry(one.message.key.clone()).or_default();
        of_key.insert(one.partition);
    }
    for (key, partitions) in partitions {
        let of_key = |message: &&Message| message.key == key;
        let seen: Vec<&Message> = seen.iter().map(|one| &one.message).filter(of_key).collect();
        let sent: Vec<&Message> = sent.iter().filter(of_key).collect();
        assert_eq!(seen, sent);
        assert_eq!(partitions.len(), 1);
    }
    for pair in seen.windows(2) {
        let is_same = pair[0].partition == pair[1].partition;
        assert!(!is_same || pair[0].offset < pair[1].offset);
    }
    broker.remove(topic).await.expect("up");
}

/// `Latest` sees all that follows and nothing before, of every topic that is followed.
async fn starts_are_where_they_should_be(broker: &dyn Broker, one: &TopicName, two: &TopicName) {
    for topic in [one, two] {
        broker.create(topic, PARTITIONS, MINUTE).await.expect("up");
        send_numbers(broker, topic, 0..10).await;
    }
    let names = [one.clone(), two.clone()];
    let mut latest = broker.follow(&names, Start::Latest).await.expect("up");
    let earliest = broker.follow(&names[..1], Start::Earliest).await;
    let mut earliest = earliest.expect("up");
    send_numbers(broker, one, 10..20).await;
    send_numbers(broker, two, 20..30).await;
    assert_eq!(values(&read(&mut *latest, 20).await), numbers(10..30));
    assert_eq!(values(&read(&mut *earliest, 20).await), numbers(0..20));
    for topic in [one, two] {
        broker.remove(topic).await.expect("up");
    }
}

async fn gained(reader: &mut dyn BrokerReader) -> BTreeSet<u32> {
    loop {
        if let BrokerEvent::Gained(places) = reader.poll().await.expect("broker is up") {
            return places.into_iter().map(|(_, partition)| partition).collect();
        }
    }
}

/// Each message goes to one member. One that leaves makes room for the others, who go on where it
/// was.
async fn members_share_and_go_on(broker: &dyn Broker, topic: &TopicName, group: &str) {
    broker.create(topic, PARTITIONS, MINUTE).await.expect("up");
    let names = [topic.clone()];
    let all: BTreeSet<u32> = (0..PARTITIONS).collect();
    let join = || async {
        broker
            .share(group, &names, Start::Earliest)
            .await
            .expect("up")
    };
    let mut first = join().await;
    assert_eq!(gained(&mut *first).await, all, "a lone member has all");
    send_numbers(broker, topic, 0..30).await;
    assert_eq!(values(&read(&mut *first, 30).await), numbers(0..30));

    let mut second = join().await;
    let lost: BTreeSet<u32> = loop {
        if let BrokerEvent::Lost(places) = first.poll().await.expect("broker is up") {
            break places.into_iter().map(|(_, partition)| partition).collect();
        }
    };
    // The loser is polled as well: a broker may wait for that with what comes next.
    let handed_over = tokio::select! {
        gained = gained(&mut *second) => gained,
        event = first.poll() => panic!("nothing happens to the first: {event:?}"),
    };
    assert_eq!(handed_over, lost, "what one loses the other gains");
    assert!(!lost.is_empty() && lost.len() < all.len());

    send_numbers(broker, topic, 30..90).await;
    let (mut by_first, mut by_second) = (Vec::new(), Vec::new());
    while by_first.len() + by_second.len() < 60 {
        tokio::select! {
            messages = messages(&mut *first) => by_first.extend(messages),
            messages = messages(&mut *second) => by_second.extend(messages),
        }
    }
    assert!(by_second.iter().all(|one| lost.contains(&one.partition)));
    assert!(by_first.iter().all(|one| !lost.contains(&one.partition)));
    by_first.extend(by_second);
    assert_eq!(by_first.len(), 60, "each once");
    assert_eq!(values(&by_first), numbers(30..90));
    broker.remove(topic).await.expect("up");
}

/// What a member had before its last poll is dealt with and never comes again; what it got by it
/// goes to another, unless it said that this is dealt with too.
async fn what_is_dealt_with_is_settled(broker: &dyn Broker, topic: &TopicName, group: &str) {
    broker.create(topic, 1, MINUTE).await.expect("up");
    let names = [topic.clone()];
    let join = || async {
        broker
            .share(group, &names, Start::Earliest)
            .await
            .expect("up")
    };
    let mut first = join().await;
    send_numbers(broker, topic, 0..5).await;
    assert_eq!(values(&read(&mut *first, 5).await), numbers(0..5));
    first.settle().await.expect("up");
    send_numbers(broker, topic, 5..10).await;
    assert_eq!(values(&read(&mut *first, 5).await), numbers(5..10));
    drop(first);

    let mut second = join().await;
    let mut again = read(&mut *second, 1).await;
    while !values(&again).contains("9") {
        again.extend(messages(&mut *second).await);
    }
    let again = values(&again);
    assert!(
        again.is_subset(&numbers(5..10)),
        "settled came again: {again:?}"
    );
    second.settle().await.expect("up");
    drop(second);

    let mut third = join().await;
    send_numbers(broker, topic, 10..12).await;
    assert_eq!(values(&read(&mut *third, 2).await), numbers(10..12));
    broker.remove(topic).await.expect("up");
}

/// A group that began at the end goes on from there, also when its first member was handed nothing.
async fn a_group_begins_at_its_start_once(broker: &dyn Broker, topic: &TopicName, group: &str) {
    broker.create(topic, 1, MINUTE).await.expect("up");
    let names = [topic.clone()];
    let join = || async {
        broker
            .share(group, &names, Start::Latest)
            .await
            .expect("up")
    };
    send_numbers(broker, topic, 0..5).await;
    let mut first = join().await;
    assert_eq!(gained(&mut *first).await, BTreeSet::from([0]));
    drop(first);
    send_numbers(broker, topic, 5..8).await;
    let mut second = join().await;
    assert_eq!(values(&read(&mut *second, 3).await), numbers(5..8));
    broker.remove(topic).await.expect("up");
}
