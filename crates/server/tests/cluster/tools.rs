//! The commands that look at topics: what one sends another shows, and a mock answers as a worker.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tidegate_core::{Command as Procedure, Outcome, Selection, TableName, TenantId};
use tidegate_kafka::{KafkaBroker, KafkaConfig};
use tidegate_ports::{Broker, Database, Keep, TopicName};
use tidegate_rpc::{ClientConfig, ReplyTopic, RpcTopics, WorkerDatabase};

use crate::engines::{address, unique};
use crate::harness::{Folder, run, tidegate};

fn topic(name: &str) -> TopicName {
    TopicName::parse(name).expect("a name")
}

/// A command that runs until this is dropped.
struct Running(Child);

impl Running {
    /// Starts it, and waits for its first line.
    fn start(mut command: Command) -> Self {
        let child = command.stdout(Stdio::piped()).spawn();
        let mut child = child.expect("the program starts");
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("it speaks");
        assert!(line.contains("answering"), "{line}");
        // It goes on writing.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Self(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already, which is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines that `tap` prints of one message.
fn tapped(folder: &Folder, bus: &str, what: &str, topic: &TopicName) -> Json {
    let said = [
        "tap",
        what,
        "--topic",
        topic.as_str(),
        "--from-start",
        "--count=1",
        bus,
    ];
    let output = run(folder.path(), &said);
    let text = String::from_utf8(output.stdout).expect("it is text");
    assert!(output.status.success(), "{text}");
    serde_json::from_str(&text).expect("a line is JSON")
}

async fn check_produce(broker: &dyn Broker, folder: &Folder, bus: &str, diffs: &TopicName) {
    let minute = Keep::Millis(60_000);
    broker.create(diffs, 1, minute).await.expect("it is up");
    let said = [
        "produce",
        "--topic",
        diffs.as_str(),
        "--key=demo_notes|q1",
        bus,
    ];
    let value = ["--value-base64=AP8B", "--lsn=97500059720"];
    let output = run(folder.path(), &[&said[..], &value].concat());
    assert!(output.status.success(), "{output:?}");
    let shown = tapped(folder, bus, "diffs", diffs);
    assert_eq!(shown["key"], "demo_notes|q1");
    assert_eq!(shown["headers"]["lsn"], "97500059720");
    assert_eq!(shown["value"]["base64"], "AP8B");
    // The same bytes as something they are not.
    let shown = tapped(folder, bus, "calls", diffs);
    assert_eq!(shown["value"]["base64"], "AP8B");
    assert!(shown["value"]["unreadable"].is_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_produced_is_tapped_and_calls_are_mocked() {
    let kafka = address("TIDEGATE_TEST_KAFKA");
    let (folder, name) = (Folder::new(), unique("tools"));
    let bus = format!("--bus=kafka://{kafka}");
    let broker = KafkaBroker::connect(KafkaConfig::new(kafka))
        .await
        .expect("it is up");
    let broker: Arc<dyn Broker> = Arc::new(broker);

    check_produce(&*broker, &folder, &bus, &topic(&format!("{name}.diffs"))).await;
    let (calls, replies) = (format!("{name}.calls"), topic(&format!("{name}.replies")));
    let mut mock = tidegate(folder.path());
    mock.args([
        "mock-worker",
        "--row={\"big\":9007199254740993,\"id\":7}",
        "--rows=2",
        &bus,
    ]);
    mock.args([
        &format!("--rpc-request-topic={calls}"),
        &format!("--kafka-topic-prefix={name}."),
    ]);
    let _mock = Running::start(mock);
    let config = ClientConfig {
        topics: RpcTopics::new(topic(&calls), 1).expect("there is room"),
        replies: ReplyTopic::Given(replies.clone()),
        timeout: Duration::from_secs(2),
        waiting_max: 10,
    };
    let workers = WorkerDatabase::connect(config, Arc::clone(&broker))
        .await
        .expect("it is up");
    let tenant = TenantId::parse("demo").expect("a name");
    let table = TableName::parse("notes").expect("a name");
    // Sent before the mock has its share, a call is nobody's.
    let mut tries = 0;
    let reply = loop {
        let call = Procedure::GetData(table.clone(), Selection::default());
        match workers.execute(&tenant, call).await {
            Ok(reply) => break reply,
            Err(error) => assert!(tries < 20, "{error}"),
        }
        tries += 1;
    };
    let row = "{\"big\":9007199254740993,\"id\":7}";
    let expected = format!("{{\"rows\":[{row},{row}],\"cursor\":{{\"lsn\":\"1\"}}}}");
    assert_eq!(reply.outcome, Outcome::Json(expected));
    let shown = tapped(&folder, &bus, "replies", &replies);
    assert_eq!(shown["value"]["data"]["rows"][1]["id"], 7);
    let shown = tapped(&folder, &bus, "calls", &topic(&calls));
    assert_eq!(shown["value"]["method"], "GET_DATA");
    assert_eq!(shown["value"]["companyId"], "demo");
}
