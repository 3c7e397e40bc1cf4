//! Shows the loop around the state: over a broker and a bus in memory, with the owner of the pages
//! and the old gateway played by hand.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_core::{
    Column, ColumnType, Command, CommandError, Epoch, Life, Lsn, Position, Reply, TableSchema,
};
use tidegate_ports::{
    AssignedReader, BrokerEvent, BrokerReader, BusEvent, ChangeStream, MemoryBroker,
    MemoryBrokerLimits, MemoryBus, MemoryBusLimits, Snapshot, SnapshotRequest, Start,
};
use tidegate_protocol::{
    PageCause, PageContent, PageOrigin, PageRecord, Want, encode_query, parse_query,
    read_binary_diff,
};
use tokio::time::timeout;

use super::*;

/// Knows one table.
struct Tables;

#[async_trait]
impl Database for Tables {
    async fn describe(
        &self,
        _: &TenantId,
        table: &TableName,
    ) -> Result<Arc<TableSchema>, DatabaseError> {
        if table.as_str() != "things" {
            return Err(CommandError::UnknownTable(table.to_string()).into());
        }
        let id = Column {
            name: "id".into(),
            kind: ColumnType::Text,
            nullable: false,
        };
        Ok(Arc::new(TableSchema::new(table.clone(), vec![id], vec![0])))
    }

    async fn snapshot(&self, _: SnapshotRequest) -> Result<Snapshot, DatabaseError> {
        unreachable!("a bridge reads no rows")
    }

    async fn execute(&self, _: &TenantId, _: Command) -> Result<Reply, DatabaseError> {
        unreachable!("a bridge has no commands")
    }

    async fn next_life(&self) -> Result<Life, PortError> {
        unreachable!("a bridge owns no page")
    }

    async fn changes(&self) -> Result<ChangeStream, PortError> {
        unreachable!("a bridge reads no changes")
    }
}

/// A test's seams, and the ends of them that are not the bridge's.
struct Site {
    bus: MemoryBus,
    broker: MemoryBroker,
    events: Box<dyn BrokerReader>,
    diffs: Box<dyn BrokerReader>,
    stop: CancellationToken,
    running: JoinSet<Result<(), PortError>>,
}

fn topic(name: &str) -> TopicName {
    TopicName::parse(name).expect("a name")
}

fn config(gateway_id: u64) -> BridgeConfig {
    BridgeConfig {
        topics: OldTopics {
            queries: topic("server.query.control"),
            seeds: topic("server.page.seed"),
            diffs: topic("server.page.diffs"),
            events: topic("server.row.events"),
        },
        memory: topic("bridge"),
        group: "bridge".to_owned(),
        tenancy: Tenancy::Prefix,
        subscription_limit: LimitRule::SUBSCRIPTION,
        gateway_id,
        idle: Duration::from_secs(3_600),
        // Long ago, so that nothing that is sent is old.
        started_millis: 1_000_000,
    }
}

impl Site {
    async fn new() -> Self {
        let broker = MemoryBroker::new(MemoryBrokerLimits::default());
        let topics = config(0).topics;
        for name in [
            &topics.queries,
            &topics.seeds,
            &topics.diffs,
            &topics.events,
        ] {
            let made = broker.create(name, 3, Keep::Millis(3_600_000)).await;
            made.expect("it may be made");
        }
        let read = async |name: &TopicName| {
            let reader = broker
                .follow(std::slice::from_ref(name), Start::Latest)
                .await;
            reader.expect("it was made")
        };
        let (events, diffs) = (read(&topics.events).await, read(&topics.diffs).await);
        Self {
            bus: MemoryBus::new(MemoryBusLimits::default()),
            broker,
            events,
            diffs,
            stop: CancellationToken::new(),
            running: JoinSet::new(),
        }
    }

    fn start(&mut self, gateway_id: u64) {
        self.stop = CancellationToken::new();
        let ports = BridgePorts {
            bus: Arc::new(self.bus.clone()),
            broker: Arc::new(self.broker.clone()),
            database: Arc::new(Tables),
        };
        self.running
            .spawn(run(config(gateway_id), ports, self.stop.clone()));
    }

    async fn stop(&mut self) {
        self.stop.cancel();
        let ended = self.running.join_next().await.expect("it runs");
        ended.expect("no panic").expect("no error");
    }

    async fn write(&self, name: &TopicName, value: impl Into<Bytes>) {
        let message = Message {
            key: Some(Bytes::from_static(KEY.as_bytes())),
            value: Some(value.into()),
            headers: Vec::new(),
        };
        self.broker
            .send(name, vec![message])
            .await
            .expect("it is there");
    }

    /// Waits for the bridge to ask for a page, and publishes it.
    async fn publish_page(&self, leases: &mut dyn AssignedReader, epoch: u64, ids: &[&str]) {
        let key = loop {
            let polled = timeout(PATIENCE, leases.poll())
                .await
                .expect("it is asked for");
            let BusEvent::Records(batch) = polled.expect("the bus is there") else {
                continue;
            };
            let record = batch.records.last().expect("never empty").value.clone();
            let lease = ControlRecord::decode(record).expect("ours");
            if let ControlRecord::Lease {
                key,
                want: Want::Page,
                ..
            } = lease
            {
                break key;
            }
        };
        let rows: Vec<Value> = ids.iter().map(|id| json!({"id": id})).collect();
        let page = PageRecord::Page(PageContent {
            origin: PageOrigin::Kept,
            position: Position::start(Epoch::from_raw(epoch)),
            lsn: Lsn::new(500),
            committed_at_micros: 0,
            cause: PageCause::Opened,
            cursor: Bytes::new(),
            rows: json!(rows).to_string().into(),
            pks: json!(ids).to_string().into(),
        });
        let record = Record {
            partition: key.partition(self.bus.partition_count()),
            key: key.encode().into(),
            value: page.encode(),
        };
        self.bus
            .publish(Topic::Diffs, vec![record])
            .await
            .expect("it is there");
    }

    async fn leases(&self) -> Box<dyn AssignedReader> {
        let count = self.bus.partition_count();
        let partitions: Vec<_> = (0..count).map(tidegate_core::Partition::new).collect();
        let reader = self
            .bus
            .read(Topic::Control, &partitions, Start::Latest)
            .await;
        reader.expect("it is there")
    }
}

/// Only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

const KEY: &str = "demo_things|q";

fn seed(ids: &[&str]) -> String {
    let rows: Vec<Value> = ids.iter().map(|id| json!({"id": id})).collect();
    json!({"companyId": "demo", "table": "things", "hashId": "q", "cursor": {"lsn": "700"},
        "rows": rows})
    .to_string()
}

/// The next messages of a topic, as soon as there are so many.
async fn next(reader: &mut dyn BrokerReader, count: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    while messages.len() < count {
        let polled = timeout(PATIENCE, reader.poll()).await;
        if let Ok(BrokerEvent::Messages(some)) = polled.expect("it comes") {
            messages.extend(some.into_iter().map(|one| one.message));
        }
    }
    messages
}

fn event(message: &Message) -> (String, String, u64) {
    assert_eq!(message.key.as_deref(), Some(KEY.as_bytes()));
    let value = message.value.as_deref().expect("an event");
    let event: Value = serde_json::from_slice(value).expect("JSON");
    let text = |name: &str| event[name].as_str().expect("text").to_owned();
    let lsn: u64 = text("lsn").parse().expect("an LSN");
    let header = message.headers[0].value.as_deref();
    assert_eq!(header, Some(lsn.to_string().as_bytes()));
    (text("kind"), text("pk"), lsn)
}

/// A client's rows are made the page; the bridge stops, the page goes on, and the next bridge makes
/// the client's rows that page, of which it has never seen the client's.
#[tokio::test(start_paused = true)]
async fn a_bridge_goes_on_where_another_stopped() {
    let mut site = Site::new().await;
    let topics = config(0).topics;
    let spec = parse_query(r#"{"limit":5}"#).expect("a query");
    let query = encode_query(&spec, "q").expect("it has a form");
    site.write(&topics.queries, query).await;
    site.write(&topics.seeds, "junk").await;
    site.write(&topics.seeds, seed(&["a", "x"])).await;
    let mut leases = site.leases().await;
    site.start(1);
    site.publish_page(&mut *leases, 1, &["a", "b"]).await;
    let events = next(&mut *site.events, 2).await;
    let said: Vec<_> = events.iter().map(event).collect();
    let expected = [("removed", "x", 701), ("added", "b", 702)];
    assert_eq!(
        said,
        expected.map(|(kind, pk, lsn)| (kind.to_owned(), pk.to_owned(), lsn))
    );
    let diffs = next(&mut *site.diffs, 1).await;
    let value = diffs[0].value.as_deref().expect("a diff");
    let diff = read_binary_diff(value).expect("ours");
    assert_eq!(
        (diff.hash_id.as_str(), diff.lsn.get(), diff.changes.len()),
        ("q", 702, 2)
    );
    site.stop().await;

    let mut leases = site.leases().await;
    site.start(2);
    site.publish_page(&mut *leases, 2, &["b", "c"]).await;
    let events = next(&mut *site.events, 4).await;
    let said: Vec<_> = events.iter().map(event).collect();
    let kinds: Vec<_> = said
        .iter()
        .map(|(kind, pk, _)| (kind.as_str(), pk.as_str()))
        .collect();
    let gone = [("removed", "a"), ("removed", "x")];
    assert_eq!(
        kinds,
        [&gone[..], &[("modified", "b"), ("added", "c")]].concat()
    );
    assert!(said.iter().all(|(_, _, lsn)| *lsn > 702), "{said:?}");
    site.stop().await;
}
