//! The bus on a real broker keeps the promises of a bus: order, positions, ownership, and what it
//! says when something is too large, too old or away.
//!
//! The broker's address is in `TIDEGATE_TEST_KAFKA`; `cargo xtask test` starts one. Each test has
//! topics and groups of its own.

mod by_name;
mod groups;
mod latency;
mod outage;
mod proxy;
mod publishing;
mod reading;
mod topics;

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use bytes::Bytes;
use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use tidegate_core::Partition;
use tidegate_kafka::{KafkaBroker, KafkaBus, KafkaConfig};
use tidegate_ports::{Batch, Bus, BusEvent, BusReader, Record, Topic};

/// Longer than anything here takes on a busy machine. Only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

#[expect(
    clippy::disallowed_methods,
    reason = "the address of a service comes from whoever started it"
)]
fn broker() -> String {
    std::env::var("TIDEGATE_TEST_KAFKA").expect(
        "TIDEGATE_TEST_KAFKA does not name a broker: run `cargo xtask test`, which starts one",
    )
}

/// A configuration whose topics nobody else has.
fn config(test: &str) -> KafkaConfig {
    let mut config = KafkaConfig::new(broker());
    let unique = RandomState::new().hash_one(test);
    config.topic_prefix = format!("test-{test}-{unique:x}.");
    config.partition_count = 4;
    config
}

async fn connect(config: &KafkaConfig) -> KafkaBus {
    let connected = KafkaBus::connect(config.clone()).await;
    connected.expect("the broker is up")
}

fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new()
        .set("bootstrap.servers", broker())
        .create()
        .expect("the settings are right")
}

fn record(partition: u32, value: impl Into<Vec<u8>>) -> Record {
    Record {
        partition: Partition::new(partition),
        key: Bytes::from_static(b"key"),
        value: Bytes::from(value.into()),
    }
}

fn numbered(partition: u32, number: u64) -> Record {
    record(partition, number.to_string())
}

fn number(record: &Record) -> u64 {
    let text = std::str::from_utf8(&record.value).expect("as published");
    text.parse().expect("as published")
}

fn all(bus: &KafkaBus) -> Vec<Partition> {
    (0..bus.partition_count()).map(Partition::new).collect()
}

async fn publish(bus: &KafkaBus, topic: Topic, records: Vec<Record>) {
    let published = tokio::time::timeout(PATIENCE, bus.publish(topic, records));
    published.await.expect("in time").expect("the broker is up");
}

/// The next records. Trouble that passes is passed over.
async fn batch(reader: &mut dyn BusReader) -> Batch {
    loop {
        let event = tokio::time::timeout(PATIENCE, reader.poll()).await;
        match event.expect("records come") {
            Ok(BusEvent::Records(batch)) => return batch,
            Ok(BusEvent::Gained(_) | BusEvent::Lost(_)) => {}
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
}

/// Runs the suite that every bus passes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_on_kafka_conforms() {
    let bus = connect(&config("conformance")).await;
    let suite = tidegate_ports::conformance::bus_conforms(&bus);
    tokio::time::timeout(PATIENCE, suite)
        .await
        .expect("the suite ends");
    bus.close(PATIENCE).await;
}

/// Runs the suite that every broker passes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_on_kafka_conforms() {
    let config = config("by-name");
    let prefix = config.topic_prefix.clone();
    let broker = KafkaBroker::connect(config)
        .await
        .expect("the broker is up");
    let suite = tidegate_ports::conformance::broker_conforms(&broker, &prefix);
    tokio::time::timeout(PATIENCE, suite)
        .await
        .expect("the suite ends");
    broker.close(PATIENCE).await;
}
