//! Topics are made as the bus needs them, and those that are not so are refused with a sentence.

use std::collections::HashMap;
use std::net::TcpListener;
use std::time::Duration;

use rdkafka::admin::{AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use tidegate_kafka::{KafkaBus, KafkaConfig, MissingTopics, Replication, ensure_topics};
use tidegate_ports::PortError;

use crate::{PATIENCE, admin, config, connect};

async fn create(name: &str, partitions: i32, settings: &[(&str, &str)]) {
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    topic.config = settings.to_vec();
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let made = admin().create_topics([&topic], &options).await;
    for made in made.expect("the broker is up") {
        made.expect("the topic is new");
    }
}

async fn refusal(config: &KafkaConfig) -> String {
    match KafkaBus::connect(config.clone()).await {
        Err(PortError::Rejected { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_topics_are_made_once_with_their_settings() {
    let mut config = config("made");
    config.partition_count = 3;
    config.replication = Replication::Copies(1);
    let (one, other) = tokio::join!(ensure_topics(&config), ensure_topics(&config));
    assert_eq!(one.unwrap().len() + other.unwrap().len(), 3);
    connect(&config).await;

    let name = |topic: &str| format!("{}{topic}", config.topic_prefix);
    let (control, diffs) = (name("control"), name("diffs"));
    let described = admin()
        .describe_configs(
            [
                &ResourceSpecifier::Topic(&control),
                &ResourceSpecifier::Topic(&diffs),
            ],
            &AdminOptions::new(),
        )
        .await
        .unwrap();
    let settings = |at: usize| -> HashMap<String, String> {
        let entries = &described[at].as_ref().unwrap().entries;
        let pairs = entries
            .iter()
            .filter_map(|e| Some((e.name.clone(), e.value.clone()?)));
        pairs.collect()
    };
    let (control, diffs) = (settings(0), settings(1));
    assert_eq!(control["retention.ms"], "60000");
    assert_eq!(control["cleanup.policy"], "delete");
    assert_eq!(diffs["retention.ms"], "900000");
    assert_eq!(diffs["retention.bytes"], (1 << 30).to_string());
    assert_eq!(diffs["message.timestamp.type"], "LogAppendTime");
    let bytes_max: usize = diffs["max.message.bytes"].parse().unwrap();
    assert!(bytes_max > config.record_bytes_max);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_topics_are_named_when_they_are_not_to_be_made() {
    let mut config = config("missing");
    config.missing_topics = MissingTopics::Refuse;
    create(&format!("{}control", config.topic_prefix), 4, &[]).await;
    let why = refusal(&config).await;
    let name = |topic| format!("{}{topic}", config.topic_prefix);
    assert!(
        why.contains(&name("changes")) && why.contains(&name("diffs")),
        "{why}"
    );
    assert!(!why.contains("control"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_with_another_number_of_partitions_is_refused() {
    let config = config("count");
    create(&format!("{}diffs", config.topic_prefix), 7, &[]).await;
    let why = refusal(&config).await;
    assert!(
        why.contains("diffs has 7 partitions") && why.contains('4'),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_would_lose_or_not_take_records_are_refused() {
    let large = ("max.message.bytes", "20000000");
    let compacted = config("compacted");
    let name = format!("{}changes", compacted.topic_prefix);
    create(&name, 4, &[large, ("cleanup.policy", "compact")]).await;
    let why = refusal(&compacted).await;
    assert!(why.contains("compacted"), "{why}");

    let small = config("small");
    create(&format!("{}control", small.topic_prefix), 4, &[]).await;
    let why = refusal(&small).await;
    assert!(why.contains("max.message.bytes"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_not_there_is_unavailable_and_a_wrong_setting_rejected() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config("nobody");
    config.brokers = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    config.request_timeout = Duration::from_millis(300);
    let connecting = tokio::time::timeout(PATIENCE, KafkaBus::connect(config.clone()));
    match connecting.await.expect("within its time-out") {
        Err(error) => assert!(error.is_retryable(), "{error}"),
        Ok(bus) => panic!("{bus:?}"),
    }
    let secret = "s3cret-value".to_owned();
    config.properties = vec![("sasl.passwort".to_owned(), secret.clone())];
    let why = refusal(&config).await;
    assert!(
        why.contains("sasl.passwort") && !why.contains(&secret),
        "{why}"
    );
}
