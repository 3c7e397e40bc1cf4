//! A gateway over the in-memory seams, a database that knows one table, a processor that is the
//! test's own hand, and clients over real sockets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tidegate_core::{
    Column, ColumnType, Command, CommandError, Epoch, Life, LimitRule, Lsn, Offset, Outcome,
    Position, Reply, RoutingKey, TableName, TableSchema, Tenancy, TenantId,
};
use tidegate_gateway::{
    Auth, Gateway, GatewayConfig, GatewayError, GatewayLimits, GatewayPorts, Pages,
};
use tidegate_ports::{
    Bus, BusEvent, BusReader, ChangeStream, Database, DatabaseError, HotCache, MemoryBus,
    MemoryBusLimits, MemoryCache, MemoryCacheLimits, PortError, Record, Snapshot, SnapshotRequest,
    Start, TailEntry, Topic,
};
use tidegate_protocol::{
    ControlRecord, DiffContent, DiffKind, ErrorCode, PageCause, PageContent, PageOrigin,
    PageRecord, Want,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::Request;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes; a test that waits for it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What the fake database was asked to do, and by whom.
pub(crate) type Calls = Arc<Mutex<Vec<(TenantId, Command)>>>;

/// Knows the table `orders` of every tenant, a table `slow` that never answers, and one called
/// `broken`.
struct OneTable {
    calls: Calls,
}

#[async_trait]
impl Database for OneTable {
    async fn describe(
        &self,
        _tenant: &TenantId,
        table: &TableName,
    ) -> Result<Arc<TableSchema>, DatabaseError> {
        if table.as_str() != "orders" {
            let why = format!("there is no table {table}");
            return Err(CommandError::UnknownTable(why).into());
        }
        let column = |name: &str, kind| Column {
            name: name.into(),
            kind,
            nullable: false,
        };
        let columns = vec![
            column("id", ColumnType::BigInt),
            column("name", ColumnType::Text),
        ];
        Ok(Arc::new(TableSchema::new(table.clone(), columns, vec![0])))
    }

    async fn snapshot(&self, _request: SnapshotRequest) -> Result<Snapshot, DatabaseError> {
        unreachable!("a gateway reads no pages")
    }

    async fn execute(&self, tenant: &TenantId, command: Command) -> Result<Reply, DatabaseError> {
        self.calls
            .lock()
            .unwrap()
            .push((tenant.clone(), command.clone()));
        match command {
            Command::TableExists(table) if table.as_str() == "slow" => std::future::pending().await,
            Command::TableExists(table) if table.as_str() == "broken" => panic!("as asked"),
            Command::DeleteRow(..) => Ok(Reply {
                outcome: Outcome::Bool(true),
                lsn: Some(Lsn::new(77)),
            }),
            _ => Ok(Reply {
                outcome: Outcome::Bool(true),
                lsn: None,
            }),
        }
    }

    async fn next_life(&self) -> Result<Life, PortError> {
        unreachable!("a gateway owns nothing")
    }

    async fn changes(&self) -> Result<ChangeStream, PortError> {
        unreachable!("a gateway reads no changes")
    }
}

/// A running gateway and everything around it.
pub(crate) struct World {
    pub(crate) bus: MemoryBus,
    pub(crate) cache: Arc<MemoryCache>,
    pub(crate) calls: Calls,
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) running: JoinHandle<Result<(), GatewayError>>,
    control: Box<dyn BusReader>,
    leases: Vec<ControlRecord>,
}

pub(crate) fn config() -> GatewayConfig {
    GatewayConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        shard_count: 1,
        gateway_id: 42,
        auth: Auth::None,
        tenancy: Tenancy::Prefix,
        pages: Pages::Processor,
        subscription_limit: LimitRule::SUBSCRIPTION,
        limits: GatewayLimits {
            // Test clients do not answer a close unless they are reading.
            drain_timeout: Duration::from_millis(100),
            ..GatewayLimits::default()
        },
        clock_micros: || 1_700_000_000_000_000,
        http: Arc::new(|_| None),
    }
}

/// Seams of a gateway that is not run.
pub(crate) fn ports() -> GatewayPorts {
    GatewayPorts {
        bus: Arc::new(MemoryBus::new(MemoryBusLimits::default())),
        cache: Arc::new(MemoryCache::new(MemoryCacheLimits::default())),
        database: Arc::new(OneTable {
            calls: Calls::default(),
        }),
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(config(), MemoryBusLimits::default()).await
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the test joins the gateway through its handle"
    )]
    pub(crate) async fn with(config: GatewayConfig, bus_limits: MemoryBusLimits) -> Self {
        let bus = MemoryBus::new(bus_limits);
        let cache = Arc::new(MemoryCache::new(MemoryCacheLimits::default()));
        let calls = Calls::default();
        let database = Arc::new(OneTable {
            calls: Arc::clone(&calls),
        });
        let ports = GatewayPorts {
            bus: Arc::new(bus.clone()),
            cache: cache.clone(),
            database,
        };
        let gateway = Gateway::build(config, ports).unwrap();
        let address = gateway.local_addr();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(gateway.run(shutdown.clone()));
        let partitions: Vec<_> = (0..bus.partition_count())
            .map(tidegate_core::Partition::new)
            .collect();
        let control = bus
            .read(Topic::Control, &partitions, Start::Earliest)
            .await
            .unwrap();
        Self {
            bus,
            cache,
            calls,
            address,
            shutdown,
            running,
            control,
            leases: Vec::new(),
        }
    }

    /// A client with a live subscription of this label, at the start of epoch 1, and its key.
    pub(crate) async fn live(&mut self, label: &str) -> (Client, RoutingKey) {
        let mut client = self.connect().await;
        client.subscribe(label, json!({})).await;
        client.expect("ack").await;
        let key = self.next_wish().await;
        self.publish(&key, &[page(at(1, 0), PageCause::Opened)])
            .await;
        client.expect("snapshot").await;
        (client, key)
    }

    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.address, "acme", "ann").await
    }

    /// The next thing that the gateway tells owners, renewals left out.
    pub(crate) async fn next_control(&mut self) -> ControlRecord {
        loop {
            if !self.leases.is_empty() {
                return self.leases.remove(0);
            }
            let event = tokio::time::timeout(PATIENCE, self.control.poll()).await;
            if let BusEvent::Records(batch) = event.expect("the gateway says something").unwrap() {
                let records = batch.records.iter();
                let decoded =
                    records.map(|record| ControlRecord::decode(record.value.clone()).unwrap());
                self.leases.extend(decoded.filter(|record| {
                    !matches!(
                        record,
                        ControlRecord::Lease {
                            want: Want::Renew,
                            ..
                        }
                    )
                }));
            }
        }
    }

    /// Waits until the gateway asks for a page, and says of which key.
    pub(crate) async fn next_wish(&mut self) -> RoutingKey {
        match self.next_control().await {
            ControlRecord::Lease {
                key,
                want: Want::Page,
                ..
            } => key,
            other => panic!("a page was not asked for, but {other:?} was said"),
        }
    }

    pub(crate) async fn publish(&self, key: &RoutingKey, records: &[PageRecord]) {
        let partition = key.partition(self.bus.partition_count());
        let records = records.iter().map(|record| Record {
            partition,
            key: Bytes::from(key.encode()),
            value: record.encode(),
        });
        self.bus
            .publish(Topic::Diffs, records.collect())
            .await
            .unwrap();
    }

    /// Says how far the owner of a key's partition is.
    pub(crate) async fn progress(&self, key: &RoutingKey, life: u32, lsn: u64) {
        let record = Record {
            partition: key.partition(self.bus.partition_count()),
            key: Bytes::new(),
            value: PageRecord::Progress {
                life: Life::new(life),
                lsn: Lsn::new(lsn),
            }
            .encode(),
        };
        self.bus.publish(Topic::Diffs, vec![record]).await.unwrap();
    }

    pub(crate) async fn keep(&self, key: &RoutingKey, records: &[PageRecord]) {
        let entries = records.iter().map(|record| TailEntry {
            key: key.clone(),
            position: match record {
                PageRecord::Diff(diff) => diff.position,
                PageRecord::Page(page) => page.position,
                other => panic!("{other:?} has no position"),
            },
            value: record.encode(),
        });
        self.cache.append(entries.collect()).await.unwrap();
    }

    /// The whole answer to a plain request.
    pub(crate) async fn get(&self, path: &str) -> String {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = tokio::time::timeout(PATIENCE, socket.read_to_string(&mut answer)).await;
        read.expect("the gateway answers and closes").unwrap();
        answer
    }

    pub(crate) async fn health(&self) -> Value {
        let answer = self.get("/health").await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }

    /// Waits until a count of the health report is this.
    pub(crate) async fn until(&self, field: &str, count: u64) {
        let reached = async { while self.health().await[field] != json!(count) {} };
        let waited = tokio::time::timeout(PATIENCE, reached).await;
        waited.unwrap_or_else(|_| panic!("{field} does not become {count}"));
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }
}

/// A position in an epoch of life 1.
pub(crate) fn at(epoch: u32, offset: u64) -> Position {
    at_life(1, epoch, offset)
}

/// A position in an epoch of some life.
pub(crate) fn at_life(life: u32, epoch: u32, offset: u64) -> Position {
    Position {
        epoch: Epoch::new(Life::new(life), epoch),
        offset: Offset::new(offset),
    }
}

/// A page that says which position it is of.
pub(crate) fn page(position: Position, cause: PageCause) -> PageRecord {
    PageRecord::Page(PageContent {
        position,
        lsn: Lsn::new(100 + position.offset.get()),
        committed_at_micros: 1_700_000_000_000_000,
        cause,
        origin: PageOrigin::Kept,
        cursor: Bytes::from_static(b"\"id\":\"1\""),
        rows: Bytes::from(format!("[{{\"id\":\"1\",\"name\":\"{position}\"}}]")),
        pks: Bytes::from_static(b"[\"1\"]"),
    })
}

/// A diff that says which position it is of.
pub(crate) fn diff(position: Position) -> PageRecord {
    sized_diff(position, 0)
}

/// A diff with this many bytes of padding.
pub(crate) fn sized_diff(position: Position, bytes: usize) -> PageRecord {
    let (name, padding) = (position.to_string(), "x".repeat(bytes));
    let changes = json!([{"kind": "modified", "pk": "1", "from": 0, "pos": 0,
                          "row": {"id": "1", "name": name, "padding": padding}}]);
    PageRecord::Diff(DiffContent {
        position,
        lsn: Lsn::new(100 + position.offset.get()),
        committed_at_micros: 1_700_000_000_000_000,
        kind: DiffKind::Changes,
        body: Bytes::from(changes.to_string()),
    })
}

pub(crate) fn refused(code: ErrorCode, message: &str) -> PageRecord {
    PageRecord::Refused {
        code,
        message: message.to_owned(),
    }
}

/// A client on a real socket.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<TcpStream>,
}

pub(crate) fn request(address: SocketAddr, tenant: &str, user: &str) -> Request<()> {
    let mut request = format!("ws://{address}/any/path")
        .into_client_request()
        .unwrap();
    request
        .headers_mut()
        .insert("x-tenant", tenant.parse().unwrap());
    request
        .headers_mut()
        .insert("x-user-id", user.parse().unwrap());
    request
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr, tenant: &str, user: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // The kernel must not take in for a client what the client does not read.
        socket.set_recv_buffer_size(64 << 10).unwrap();
        let socket = socket.connect(address).await.unwrap();
        let request = request(address, tenant, user);
        let (socket, _) = client_async(request, socket).await.unwrap();
        let mut client = Self { socket };
        let welcome = client.next().await;
        assert_eq!(welcome["type"], "welcome");
        client
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.send_text(&frame.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn raw(&mut self) -> Option<Result<Message, tungstenite::Error>> {
        let next = tokio::time::timeout(PATIENCE, self.socket.next());
        next.await.expect("the gateway answers")
    }

    /// The next text frame of any kind.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            match self.raw().await {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("instead of a text frame: {other:?}"),
            }
        }
    }

    /// The next frame of the op protocol.
    pub(crate) async fn op(&mut self) -> Value {
        loop {
            let frame = self.next().await;
            if frame.get("op").is_some() {
                return frame;
            }
        }
    }

    /// The next frame of the op protocol, which must be of this kind.
    pub(crate) async fn expect(&mut self, op: &str) -> Value {
        let frame = self.op().await;
        assert_eq!(frame["op"], op, "{frame}");
        frame
    }

    /// Proves that nothing more was sent so far: the next frame answers a ping sent now.
    pub(crate) async fn expect_silence(&mut self) {
        self.send(json!({"op": "ping"})).await;
        self.expect("pong").await;
    }

    pub(crate) async fn subscribe(&mut self, label: &str, extra: Value) {
        let mut frame = json!({"op": "subscribe", "table": "orders", "hashId": label,
                               "query": {"limit": 10}});
        for (name, value) in extra.as_object().unwrap() {
            frame[name] = value.clone();
        }
        self.send(frame).await;
    }

    /// The code with which the gateway closes, whatever it sends before.
    pub(crate) async fn close_code(&mut self) -> CloseCode {
        loop {
            match self.raw().await {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code,
                Some(Ok(_)) => {}
                other => panic!("closed without a code: {other:?}"),
            }
        }
    }
}

/// The position of a frame.
pub(crate) fn position(frame: &Value) -> Position {
    frame["cursor"]["position"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}
