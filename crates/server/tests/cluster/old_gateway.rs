//! A double of the gateway that Tidegate replaces, as far as a stream processor can tell.
//!
//! It keeps to the recorded behaviour, defects included: a client's cursor is the highest LSN that
//! the gateway has seen of anything; its rows come from SQL, and a seed tells of them; a page diff
//! that reaches it while its rows are being sent is lost; one at or below its cursor is dropped;
//! row events go to everybody at once; and nothing is ever said of a query that nobody wants any
//! more. Its clients go by primary keys.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tidegate_kafka::KafkaBroker;
use tidegate_ports::{Broker, BrokerEvent, Keep, Message, Received, Start, TopicName};
use tidegate_protocol::{WireChange, encode_query, parse_query, read_binary_diff};
use tokio::task::JoinSet;

use crate::engines::TENANT;
use crate::queries::RandomQuery;

/// Another number than our own topics have.
const PARTITIONS: u32 = 3;
const KEEP_MILLIS: u64 = 3_600_000;

/// The topics of a test.
#[derive(Debug, Clone)]
pub(crate) struct Topics {
    pub(crate) queries: TopicName,
    pub(crate) seeds: TopicName,
    pub(crate) diffs: TopicName,
    pub(crate) events: TopicName,
}

impl Topics {
    pub(crate) fn new(name: &str) -> Self {
        let topic = |what: &str| TopicName::parse(&format!("{name}.{what}")).expect("a name");
        Self {
            queries: topic("control"),
            seeds: topic("seed"),
            diffs: topic("diffs"),
            events: topic("events"),
        }
    }

    /// How the program is told of them.
    pub(crate) fn arguments(&self) -> [String; 4] {
        [
            "--legacy=true".to_owned(),
            format!("--query-control-topic={}", self.queries),
            format!("--page-seed-topic={}", self.seeds),
            format!("--page-topics={},{}", self.diffs, self.events),
        ]
    }
}

/// One subscription, and what two kinds of clients would show of it.
#[derive(Debug)]
struct Client {
    key: String,
    query: usize,
    cursor: u64,
    is_buffering: bool,
    by_diffs: Vec<Json>,
    by_events: Vec<Json>,
}

#[derive(Debug, Default)]
struct State {
    last_seen: u64,
    clients: Vec<Client>,
    diffs: usize,
    events: usize,
}

/// A gateway, running.
pub(crate) struct OldGateway {
    broker: Arc<KafkaBroker>,
    topics: Topics,
    state: Arc<Mutex<State>>,
    reading: JoinSet<()>,
}

impl OldGateway {
    pub(crate) async fn start(broker: Arc<KafkaBroker>, topics: &Topics) -> Self {
        let all = [
            &topics.queries,
            &topics.seeds,
            &topics.diffs,
            &topics.events,
        ];
        for topic in all {
            let made = broker
                .create(topic, PARTITIONS, Keep::Millis(KEEP_MILLIS))
                .await;
            made.expect("it may be made");
        }
        let state: Arc<Mutex<State>> = Arc::default();
        let read = [topics.diffs.clone(), topics.events.clone()];
        let mut reader = broker
            .follow(&read, Start::Latest)
            .await
            .expect("they are there");
        let (seen, diffs) = (Arc::clone(&state), topics.diffs.clone());
        let mut reading = JoinSet::new();
        reading.spawn(async move {
            loop {
                if let Ok(BrokerEvent::Messages(messages)) = reader.poll().await {
                    let mut state = seen.lock().expect("nobody panics");
                    messages
                        .iter()
                        .for_each(|one| state.on_message(one, &diffs));
                }
            }
        });
        Self {
            broker,
            topics: topics.clone(),
            state,
            reading,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        assert!(!self.reading.is_empty());
        self.state.lock().expect("nobody panics")
    }

    /// A client subscribes to a query of the test under a label.
    pub(crate) async fn subscribe(
        &self,
        database: &tokio_postgres::Client,
        (label, number): (&str, usize),
        query: &RandomQuery,
    ) {
        let key = format!("{TENANT}_things|{label}");
        let spec = parse_query(&query.json).expect("it is JSON");
        let bytes = encode_query(&spec, label).expect("it has a form");
        let at = {
            let mut state = self.lock();
            let cursor = state.last_seen;
            state.clients.push(Client {
                key: key.clone(),
                query: number,
                cursor,
                is_buffering: true,
                by_diffs: Vec::new(),
                by_events: Vec::new(),
            });
            state.clients.len() - 1
        };
        self.write(&self.topics.queries, &key, bytes.into()).await;
        let row = database
            .query_one(&format!("SELECT {}", query.sql), &[])
            .await;
        let rows: String = row.expect("it is SQL").get(0);
        let rows: Vec<Json> = serde_json::from_str(&rows).expect("an array");
        let cursor = {
            let mut state = self.lock();
            let client = &mut state.clients[at];
            client.by_diffs.clone_from(&rows);
            client.by_events.clone_from(&rows);
            client.cursor
        };
        let seed = json!({
            "companyId": TENANT, "table": "things", "hashId": label,
            "cursor": { "lsn": cursor.to_string() }, "rows": rows,
        });
        self.write(&self.topics.seeds, &key, seed.to_string().into())
            .await;
        self.lock().clients[at].is_buffering = false;
    }

    /// The first client of a label leaves. The gateway means to say so, and its Kafka client
    /// refuses the null.
    pub(crate) fn unsubscribe(&self, label: &str) {
        let key = format!("{TENANT}_things|{label}");
        let mut state = self.lock();
        if let Some(at) = state.clients.iter().position(|client| client.key == key) {
            state.clients.remove(at);
        }
    }

    async fn write(&self, topic: &TopicName, key: &str, value: Bytes) {
        let message = Message {
            key: Some(Bytes::copy_from_slice(key.as_bytes())),
            value: Some(value),
            headers: Vec::new(),
        };
        let sent = self.broker.send(topic, vec![message]).await;
        sent.expect("the broker is there");
    }

    /// Diffs and events delivered so far.
    pub(crate) fn delivered(&self) -> (usize, usize) {
        let state = self.lock();
        (state.diffs, state.events)
    }

    /// The first client that does not show its query's answer, with what it shows.
    pub(crate) fn wrong(&self, answers: &[Json]) -> Option<String> {
        let state = self.lock();
        state.clients.iter().find_map(|client| {
            let answer = &answers[client.query];
            let (diffs, events) = (json!(client.by_diffs), json!(client.by_events));
            (diffs != *answer || events != *answer).then(|| {
                let key = &client.key;
                format!("{key}\nby diffs  {diffs}\nby events {events}\nexpected  {answer}")
            })
        })
    }
}

impl State {
    fn on_message(&mut self, received: &Received, diffs: &TopicName) {
        let message = &received.message;
        let text = |bytes: &Option<Bytes>| {
            let bytes = bytes.clone().expect("there is one");
            String::from_utf8(bytes.to_vec()).expect("it is text")
        };
        assert_eq!(message.headers[0].name, "lsn");
        let lsn: u64 = text(&message.headers[0].value).parse().expect("an LSN");
        self.last_seen = self.last_seen.max(lsn);
        let key = text(&message.key);
        if received.topic == *diffs {
            let value = message.value.as_ref().expect("a diff");
            let diff = read_binary_diff(value).expect("ours");
            assert_eq!(diff.lsn.get(), lsn);
            self.diffs += 1;
            for client in self.clients.iter_mut().filter(|client| client.key == key) {
                if client.is_buffering || lsn <= client.cursor {
                    continue;
                }
                client.cursor = lsn;
                for change in &diff.changes {
                    let (pk, put) = parts(change);
                    place(&mut client.by_diffs, pk, put);
                }
            }
            return;
        }
        let event: Json = serde_json::from_str(&text(&message.value)).expect("an event");
        assert_eq!(
            (&event["routingKey"], &event["needFetch"]),
            (&json!(key), &json!(false))
        );
        assert_eq!(event["lsn"], lsn.to_string());
        self.events += 1;
        let pk = event["pk"].as_str().expect("a key");
        for client in self.clients.iter_mut().filter(|client| client.key == key) {
            let put = event["pos"].as_u64().map(|pos| (pos, event["row"].clone()));
            assert_eq!(put.is_none(), event["kind"] == "removed");
            place(&mut client.by_events, pk, put);
        }
    }
}

fn parts(change: &WireChange) -> (&str, Option<(u64, Json)>) {
    let row = |row: &str| serde_json::from_str(row).expect("rows are JSON");
    match change {
        WireChange::Removed { pk, .. } => (pk, None),
        WireChange::Added { pk, pos, row: text }
        | WireChange::Modified {
            pk, pos, row: text, ..
        } => (pk, Some((u64::from(*pos), row(text)))),
    }
}

/// Takes a row out if it is shown, and puts it in where it is said to be.
fn place(rows: &mut Vec<Json>, pk: &str, put: Option<(u64, Json)>) {
    rows.retain(|row| row["id"] != pk);
    if let Some((pos, row)) = put {
        let at = usize::try_from(pos)
            .expect("a page is short")
            .min(rows.len());
        rows.insert(at, row);
    }
}
