//! Topics by name: keys meet those of other programs, and a lost broker is noticed and found again.

use std::time::Duration;

use bytes::Bytes;
use tidegate_kafka::{KafkaBroker, KafkaConfig};
use tidegate_ports::{
    Broker, BrokerEvent, BrokerReader, Keep, Link, Message, PortError, Received, Start, TopicName,
};

use crate::proxy::Proxy;
use crate::{PATIENCE, broker, config};

async fn connect(config: &KafkaConfig) -> KafkaBroker {
    let connected = KafkaBroker::connect(config.clone()).await;
    connected.expect("the broker is up")
}

fn topic(config: &KafkaConfig, name: &str) -> TopicName {
    TopicName::parse(&format!("{}{name}", config.topic_prefix)).expect("a name")
}

fn said(key: &str, value: &str) -> Message {
    Message {
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: Vec::new(),
    }
}

/// The next messages. Trouble that passes is passed over.
async fn next(reader: &mut dyn BrokerReader) -> Vec<Received> {
    loop {
        let event = tokio::time::timeout(PATIENCE, reader.poll()).await;
        match event.expect("messages come") {
            Ok(BrokerEvent::Messages(messages)) => return messages,
            Ok(BrokerEvent::Gained(_) | BrokerEvent::Lost(_)) => {}
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
}

/// By the CRC32 of the key, as programs with librdkafka or its likes do it: their messages of a key
/// and ours are in one partition, and so in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_where_others_put_them() {
    let config = config("keys");
    let broker = connect(&config).await;
    let topic = topic(&config, "keys");
    let minute = Keep::Millis(60_000);
    broker.create(&topic, 7, minute).await.expect("up");
    // The remainders of zlib's crc32.
    let expected = [
        ("demo_notes|q1", 4),
        ("a", 4),
        ("correlation-7", 2),
        ("other_notes|q2", 5),
    ];
    for (key, partition) in expected {
        broker.send(&topic, vec![said(key, "")]).await.expect("up");
        let names = [topic.clone()];
        let mut reader = broker.follow(&names, Start::Earliest).await.expect("up");
        let all = loop {
            let messages = next(&mut *reader).await;
            if let Some(found) = messages
                .into_iter()
                .find(|one| one.message.key == said(key, "").key)
            {
                break found;
            }
        };
        assert_eq!(all.partition, partition, "{key}");
    }
    broker.remove(&topic).await.expect("up");
}

/// A broker that goes away is noticed without a call, calls fail in their time, and both a member
/// of a group and a reader by itself go on when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_broker_is_noticed_and_found_again() {
    let proxy = Proxy::start(broker()).await;
    let mut config = config("link");
    config.brokers = proxy.address.to_string();
    config.publish_timeout = Duration::from_secs(1);
    config.request_timeout = Duration::from_secs(3);
    let broker = connect(&config).await;
    let topic = topic(&config, "link");
    broker
        .create(&topic, 2, Keep::Millis(60_000))
        .await
        .expect("up");
    let names = [topic.clone()];
    let group = format!("{}link", config.topic_prefix);
    let mut alone = broker.follow(&names, Start::Latest).await.expect("up");
    let mut member = broker
        .share(&group, &names, Start::Earliest)
        .await
        .expect("up");
    broker
        .send(&topic, vec![said("k", "before")])
        .await
        .expect("up");
    for reader in [&mut alone, &mut member] {
        assert_eq!(next(&mut **reader).await[0].message, said("k", "before"));
    }

    let mut link = broker.link();
    assert_eq!(*link.borrow(), Link::Up);
    proxy.cut();
    let lost = tokio::time::timeout(PATIENCE, link.wait_for(|link| *link == Link::Down));
    lost.await.expect("noticed").expect("watched");
    let sent = broker.send(&topic, vec![said("k", "while away")]).await;
    assert!(
        matches!(sent, Err(PortError::Unavailable { .. })),
        "{sent:?}"
    );
    let settled = member.settle().await;
    assert!(
        matches!(settled, Err(PortError::Unavailable { .. })),
        "{settled:?}"
    );

    proxy.mend();
    let found = tokio::time::timeout(PATIENCE, link.wait_for(|link| *link == Link::Up));
    found.await.expect("noticed").expect("watched");
    while let Err(error) = broker.send(&topic, vec![said("k", "after")]).await {
        assert!(error.is_retryable(), "{error}");
    }
    for reader in [&mut alone, &mut member] {
        loop {
            let messages = next(&mut **reader).await;
            if messages.iter().any(|one| one.message == said("k", "after")) {
                break;
            }
        }
    }
    member.settle().await.expect("up");
    broker.remove(&topic).await.expect("up");
}
