//! The server dies in mid-write, and nothing that was acknowledged is lost.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tidegate_client::{Client, Options, Payload, Subscribe, Subscription, Update};
use tokio::task::JoinSet;

use crate::harness::{Folder, Served};

const WRITERS: u64 = 4;
const LIVES: u64 = 4;

/// What a writer knows of one row: the last value that was acknowledged, and the one that was under
/// way.
#[derive(Debug, Default, Clone)]
struct Known {
    acknowledged: Option<u64>,
    under_way: Option<u64>,
}

/// `kill -9` while four clients write, again and again: every acknowledged write is there
/// afterwards, every subscriber ends with the table's rows, and none was given a part of a page in
/// silence.
#[test]
fn acknowledged_writes_survive_kill_nine() {
    let folder = Folder::new();
    let file = folder.path().join("ledger.db");
    let database = rusqlite::Connection::open(&file).expect("the folder is writable");
    let create = "CREATE TABLE demo_ledger (id INTEGER PRIMARY KEY, value INTEGER NOT NULL)";
    database.execute_batch(create).expect("the file is new");
    drop(database);
    let served = Served::start_in(
        folder,
        &["--database", &format!("sqlite:{}", file.display())],
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("a runtime starts").block_on(survive(served));
}

async fn survive(mut served: Served) {
    let url = served.ws_url("demo", "crash");
    let client = |seed| {
        let options = Options {
            seed: Some(seed),
            ..Options::new(&url)
        };
        async move { Client::connect(options).await.expect("the server is up") }
    };
    let watcher = client(100).await;
    let mut pages = Vec::new();
    for limit in [3, 20, 100] {
        let query = json!({ "limit": limit }).to_string();
        let subscribe = Subscribe::from_json("ledger", &query).expect("it is JSON");
        pages.push(
            watcher
                .subscribe(subscribe)
                .await
                .expect("the client lives"),
        );
    }
    let mut clients = Vec::new();
    for writer in 0..WRITERS {
        clients.push(client(writer).await);
    }
    let mut known: HashMap<u64, Known> = HashMap::new();
    let mut reasons = Vec::new();
    for life in 0..LIVES {
        let mut writers = JoinSet::new();
        for (writer, client) in clients.iter().enumerate() {
            writers.spawn(write(client.clone(), writer as u64, life, known.clone()));
        }
        // The first writer to have made its share of writes dies with the server; the others are
        // cut short.
        let first = writers
            .join_next()
            .await
            .expect("there are writers")
            .expect("it does not panic");
        served = served.crash_and_restart();
        known.extend(first);
        while let Some(others) = writers.join_next().await {
            known.extend(others.expect("it does not panic"));
        }
        settle(&clients[0], &mut pages, &mut reasons).await;
        check(&clients[0], &mut known).await;
    }
    assert!(known.len() > 20, "too little was written: {known:?}");
    // One first page each; every other page says why it came.
    let first = reasons
        .iter()
        .filter(|reason| *reason == "subscribe")
        .count();
    assert_eq!(first, pages.len(), "{reasons:?}");
    assert!(reasons.len() > pages.len(), "{reasons:?}");
    drop(served);
}

/// Writes its own rows until its share is done or the server is gone.
async fn write(
    client: Client,
    writer: u64,
    life: u64,
    before: HashMap<u64, Known>,
) -> HashMap<u64, Known> {
    let mut random = StdRng::seed_from_u64(writer * 1_000 + life);
    let mut known: HashMap<u64, Known> = before
        .into_iter()
        .filter(|(id, _)| id % WRITERS == writer)
        .collect();
    for value in 0..40 {
        let value = life * 1_000 + value;
        let id = random.random_range(0..25) * WRITERS + writer;
        let row = known.entry(id).or_default();
        let (method, payload) = match row.acknowledged {
            None => ("ADD_SINGLE", json!({ "row": { "id": id, "value": value } })),
            Some(_) => {
                let updates = json!({ "value": value });
                (
                    "UPDATE_SINGLE",
                    json!({ "primaryId": id.to_string(), "updates": updates }),
                )
            }
        };
        row.under_way = Some(value);
        let payload = Payload::parse(&payload.to_string()).expect("it is JSON");
        match client.rpc(method, Some("ledger"), payload).await {
            Ok(reply) => {
                assert!(reply.lsn.is_some(), "a write has a position");
                *row = Known {
                    acknowledged: Some(value),
                    under_way: None,
                };
            }
            // What became of this one is not known: either value may stand.
            Err(_) => return known,
        }
    }
    known
}

/// Waits until every page holds a write made after the restart.
async fn settle(client: &Client, pages: &mut [Subscription], reasons: &mut Vec<String>) {
    let touch = json!({ "row": { "id": 1_000_000, "value": 0 } }).to_string();
    let lsn = loop {
        let add = client.rpc(
            "ADD_SINGLE",
            Some("ledger"),
            Payload::parse(&touch).expect("JSON"),
        );
        if let Ok(reply) = add.await {
            break reply.lsn.expect("a write has a position");
        }
        let delete = json!({ "primaryId": "1000000" }).to_string();
        // The row of an earlier life may be there still; while the server is away both fail.
        let _ = client
            .rpc(
                "DELETE_ROW",
                Some("ledger"),
                Payload::parse(&delete).expect("JSON"),
            )
            .await;
    };
    for page in pages {
        let point = loop {
            match page.sync_point(lsn).await {
                Ok(point) => break point,
                Err(fault) => assert!(fault.retry, "{fault}"),
            }
        };
        while !page.has_passed(point) {
            if let Update::Snapshot(snapshot) = page.next().await.expect("it goes on") {
                reasons.push(snapshot.reason.name().to_owned());
            }
        }
        let data = json!({ "limit": 100 }).to_string();
        let data = client
            .rpc(
                "GET_DATA",
                Some("ledger"),
                Payload::parse(&data).expect("JSON"),
            )
            .await;
        let data = data.expect("the server is up").data;
        let rows: Vec<&str> = page.rows().collect();
        let shown = rows.join(",");
        assert!(
            data.starts_with(&format!("{{\"rows\":[{shown}")),
            "{shown}\n{data}"
        );
    }
}

/// Every acknowledged value stands, unless a later write was under way.
async fn check(client: &Client, known: &mut HashMap<u64, Known>) {
    for (id, row) in known.iter_mut() {
        let key = json!({ "primaryId": id.to_string() }).to_string();
        let call = client.rpc(
            "GET_SINGLE",
            Some("ledger"),
            Payload::parse(&key).expect("JSON"),
        );
        let data = call.await.expect("the server is up").data;
        let stored: serde_json::Value = serde_json::from_str(&data).expect("it is JSON");
        let value = stored["value"].as_u64();
        let is_right =
            value == row.acknowledged || (row.under_way.is_some() && value == row.under_way);
        assert!(is_right, "row {id} is {data}, but {row:?} was acknowledged");
        *row = Known {
            acknowledged: value,
            under_way: None,
        };
    }
}
