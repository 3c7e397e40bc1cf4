//! Gateways without a database, over workers: calls go on when one dies, and nothing is left behind
//! of a gateway that is gone.

use std::time::Duration;

use serde_json::json;
use tidegate_client::{Client, Options, QueryBuilder, RpcReply, Subscribe};
use tidegate_kafka::{KafkaBroker, KafkaConfig};
use tidegate_ports::Broker;
use tokio::time::{Instant, sleep};

use crate::engines::{Site, TENANT, address};
use crate::harness::Served;
use crate::program::Program;

/// Only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(90);
/// Calls one after the other that have to succeed for calls to count as going on.
const CALLS: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_lives_without_a_database() {
    let site = Site::new().await;
    let kafka = address("TIDEGATE_TEST_KAFKA");
    let program = Program::over(&kafka, &address("TIDEGATE_TEST_REDIS"), &site.url);
    let _behind = [program.start("cdc"), program.start("processor")];
    let worker = program.start("worker");
    let asking = [("database", "workers:"), ("rpc-heartbeat-seconds", "1")];
    let gateway = program.start_with("gateway", &asking);
    let client = connect(&gateway).await;

    // The first call of all may be sent before the worker has its share.
    until_calls_go_on(&client).await;
    let spec = QueryBuilder::table("things").limit(1_000).to_spec();
    let page = client.subscribe(Subscribe::new("things", &spec)).await;
    let mut page = page.expect("it is open");
    page.ready().await.expect("workers know the table");
    let row = json!({ "row": { "id": "7", "name": "through a worker", "price": "1.50" } });
    let added = client
        .rpc("ADD_SINGLE", Some("things"), row)
        .await
        .expect("it is new");
    page.sync(added.lsn.expect("a write has a position"))
        .await
        .expect("it comes");
    let rows: Vec<&str> = page.rows().collect();
    assert_eq!(format!("[{}]", rows[0]), added.data, "{rows:?}");
    let unknown = json!({ "primaryId": "7", "updates": { "nope": 1 } });
    let refused = client.rpc("UPDATE_SINGLE", Some("things"), unknown).await;
    assert_eq!(refused.expect_err("no such column").code, "unknown_column");
    let listed = client.rpc("LIST_TABLES", None, json!({})).await;
    assert!(listed.expect("it can").data.contains("\"things\""));

    // A table that a worker makes can be watched.
    let definition = json!({ "definition": { "name": "made", "columns": [
        { "name": "id", "dataType": "integer", "isNullable": false, "constraints": ["primaryKey"] },
    ] } });
    client
        .rpc("CREATE_TABLE", None, definition)
        .await
        .expect("it is new");
    let spec = QueryBuilder::table("made").to_spec();
    let made = client.subscribe(Subscribe::new("made", &spec)).await;
    let mut made = made.expect("it is open");
    made.ready().await.expect("workers know it");
    let row = json!({ "row": { "id": 5 } });
    let added = client
        .rpc("ADD_SINGLE", Some("made"), row)
        .await
        .expect("it is new");
    made.sync(added.lsn.expect("a write has a position"))
        .await
        .expect("it comes");
    assert_eq!(Vec::from_iter(made.rows()), ["{\"id\":5}"]);

    let looked = program.run(&["doctor", "--roles=worker"]);
    let told = String::from_utf8_lossy(&looked.stdout).into_owned();
    assert!(told.contains("ok   workers"), "{told}");

    // Either worker alone is enough.
    let second = program.start("worker");
    drop(worker);
    until_calls_go_on(&client).await;
    let metrics = second.get("/metrics").body;
    assert!(metrics.contains("tidegate_worker_calls_total{method=\"GET_SINGLE\",outcome=\"ok\"}"));

    check_reply_topics(&kafka, gateway, program.start_with("gateway", &asking)).await;
}

async fn connect(gateway: &Served) -> Client {
    let options = Options::new(&gateway.ws_url(TENANT, "caller"));
    Client::connect(options).await.expect("the gateway is up")
}

async fn read(client: &Client) -> Result<RpcReply, tidegate_client::Fault> {
    let key = json!({ "primaryId": "7" });
    client.rpc("GET_SINGLE", Some("things"), key).await
}

/// Waits until calls succeed one after the other. Those whose worker died in the meantime time out.
async fn until_calls_go_on(client: &Client) {
    let began = Instant::now();
    let mut in_a_row = 0;
    while in_a_row < CALLS {
        match read(client).await {
            Ok(_) => in_a_row += 1,
            Err(fault) => {
                assert!(fault.retry && began.elapsed() < PATIENCE, "{fault}");
                in_a_row = 0;
            }
        }
    }
}

/// A gateway that is killed leaves its reply topic to be removed by workers, and one that stops
/// removes it by itself.
async fn check_reply_topics(kafka: &str, killed: Served, mut stopped: Served) {
    let broker = KafkaBroker::connect(KafkaConfig::new(kafka))
        .await
        .expect("it is up");
    let of = |served: &Served| format!(".{}.", served.id());
    let (of_killed, of_stopped) = (of(&killed), of(&stopped));
    let has = async |pid: &str| {
        let topics = broker.topics().await.expect("it is up");
        let names = topics.iter().map(|topic| topic.as_str());
        names
            .filter(|name| name.starts_with("sql.rpc.responses.ws.") && name.contains(pid))
            .count()
    };
    assert_eq!((has(&of_killed).await, has(&of_stopped).await), (1, 1));
    stopped.signal("TERM");
    assert!(stopped.wait().success());
    assert_eq!(has(&of_stopped).await, 0);
    drop(killed);
    let began = Instant::now();
    while has(&of_killed).await > 0 {
        assert!(began.elapsed() < PATIENCE, "the topic is still there");
        sleep(Duration::from_millis(200)).await;
    }
}
