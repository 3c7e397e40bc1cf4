//! Old gateways, served from our processors over Kafka and Postgres.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value as Json;
use tidegate_kafka::{KafkaBroker, KafkaConfig};
use tidegate_ports::{Broker, Message, TopicName};
use tokio::time::{Instant, sleep};

use crate::engines::{Site, address, unique};
use crate::harness::Served;
use crate::old_gateway::{OldGateway, Topics};
use crate::program::Program;
use crate::queries::RandomQuery;
use crate::watchers::answers;
use crate::writers::transaction;

const QUERIES: usize = 12;
const ROUNDS: usize = 4;
/// Transactions of a round, with subscribes and unsubscribes among them.
const TRANSACTIONS: usize = 25;
/// Only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two gateways of the old kind over two processors of ours. Clients come and go while the table is
/// written, under labels that stand for one query, for the same query, and for one after another;
/// junk is written to both topics; the processors die and come back, one of them at a time and both
/// at once. Each time all is quiet every client shows SQL's answer, whether it goes by page diffs
/// or by row events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_gateways_show_what_sql_answers() {
    let mut site = Site::new().await;
    let kafka = address("TIDEGATE_TEST_KAFKA");
    let topics = Topics::new(&unique("old"));
    let program =
        Program::over(&kafka, &address("TIDEGATE_TEST_REDIS"), &site.url).with(&topics.arguments());
    let broker = KafkaBroker::connect(KafkaConfig::new(kafka))
        .await
        .expect("it is there");
    let broker = Arc::new(broker);
    let gateways = [
        OldGateway::start(Arc::clone(&broker), &topics).await,
        OldGateway::start(Arc::clone(&broker), &topics).await,
    ];

    let relay = program.start("cdc");
    let mut processors = vec![program.start("processor"), program.start("processor")];

    let mut random = StdRng::seed_from_u64(11);
    let queries: Vec<RandomQuery> = (0..QUERIES)
        .map(|_| RandomQuery::new(&mut random))
        .collect();
    let mut writer = site.connect().await;
    let reader = site.connect().await;
    for round in 0..ROUNDS {
        for _ in 0..TRANSACTIONS {
            transaction(&mut writer, &mut random).await;
            come_or_go(&gateways, &reader, &queries, &mut random).await;
        }
        write_junk(&*broker, &topics.queries, round).await;
        write_junk(&*broker, &topics.seeds, round).await;
        let dying = match round {
            1 => 1,
            2 => processors.len(),
            _ => 0,
        };
        for _ in 0..dying {
            let first = processors.remove(0);
            processors.push(restart(first).await);
        }
        settle(&gateways, &reader, &queries).await;
    }
    check_reports(&gateways, &processors);
    drop(relay);
}

/// A client subscribes somewhere, or another leaves, or neither.
async fn come_or_go(
    gateways: &[OldGateway],
    reader: &tokio_postgres::Client,
    queries: &[RandomQuery],
    random: &mut StdRng,
) {
    // Labels beyond the queries stand for the first ones once more.
    let label = random.random_range(0..QUERIES + 3);
    let number = label % QUERIES;
    let gateway = &gateways[random.random_range(0..gateways.len())];
    let name = format!("q{label}");
    match random.random_range(0..4) {
        0 => {
            gateway
                .subscribe(reader, (&name, number), &queries[number])
                .await
        }
        1 => gateway.unsubscribe(&name),
        _ => sleep(Duration::from_millis(20)).await,
    }
}

/// Enough was delivered to mean something, and junk was told of once by each process.
fn check_reports(gateways: &[OldGateway], processors: &[Served]) {
    let delivered: Vec<_> = gateways.iter().map(OldGateway::delivered).collect();
    let is_enough = |(diffs, events): &(usize, usize)| *diffs > 50 && events > diffs;
    assert!(delivered.iter().all(is_enough), "{delivered:?}");
    println!("{delivered:?} diffs and events delivered");
    let log: String = processors.iter().map(Served::log).collect();
    let starts = log.matches("partitions gained").count();
    for kind in ["bad_seed", "bad_control"] {
        let told = log.matches(&format!("kind=\"{kind}\"")).count();
        // Junk came in every round.
        assert!(
            (1..=starts).contains(&told),
            "told once by each process:\n{log}"
        );
    }
}

async fn restart(served: Served) -> Served {
    let restarted = tokio::task::spawn_blocking(|| served.crash_and_restart()).await;
    restarted.expect("it becomes ready again")
}

async fn write_junk(broker: &dyn Broker, topic: &TopicName, round: usize) {
    let message = |key: &str, value: &[u8]| Message {
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::copy_from_slice(value)),
        headers: Vec::new(),
    };
    let junk = vec![
        message("demo_things|q0", &[0xff; 40]),
        message(&format!("junk {round}"), b"{}"),
        message("", b""),
        message(
            "other_things|q0",
            br#"{"companyId":"demo","table":"things","hashId":"q0","rows":[]}"#,
        ),
    ];
    broker.send(topic, junk).await.expect("the broker is there");
}

/// Waits until every client shows its answer.
async fn settle(gateways: &[OldGateway], reader: &tokio_postgres::Client, queries: &[RandomQuery]) {
    let answers = answers(reader, queries).await;
    let parse = |answer: &String| serde_json::from_str(answer).expect("an array");
    let answers: Vec<Json> = answers.iter().map(parse).collect();
    let until = Instant::now() + PATIENCE;
    while let Some(wrong) = gateways.iter().find_map(|gateway| gateway.wrong(&answers)) {
        assert!(Instant::now() < until, "{wrong}");
        sleep(Duration::from_millis(50)).await;
    }
}
