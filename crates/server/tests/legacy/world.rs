//! Gateways in the old one's place, around a broker and a cache in memory, and clients over real
//! sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tidegate_core::{LimitRule, Tenancy};
use tidegate_gateway::{
    Auth, Gateway, GatewayConfig, GatewayLimits, GatewayPorts, OutboxLimits, Pages,
};
use tidegate_legacy::{ForeignTopics, Keeper, KeeperConfig, KeeperPorts, Recorder};
use tidegate_ports::{
    Broker, BrokerEvent, BrokerReader, Header, Keep, MemoryBroker, MemoryBrokerLimits, MemoryBus,
    MemoryBusLimits, MemoryCache, MemoryCacheLimits, MemorySharedPages, Message, Received,
    SharedPages, SharedPagesLimits, Start,
};
use tidegate_protocol::read_stored_diff;
use tidegate_rpc::{ClientConfig, ReplyTopic, RpcTopics, WorkerDatabase};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};
use tokio_util::sync::CancellationToken;

use crate::worker::{self, Answer, Calls, Script, topic};

/// Longer than anything here takes; a test that waits for it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const DIFFS: &str = "server.page.diffs";
pub(crate) const EVENTS: &str = "server.row.events";

/// The systems around gateways.
pub(crate) struct World {
    pub(crate) memory: Arc<MemoryBroker>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) kept: Arc<MemorySharedPages>,
    pub(crate) shared: Arc<dyn SharedPages>,
    pub(crate) calls: Calls,
    /// How long gateways wait for workers.
    pub(crate) patience: Duration,
    gateways: u64,
    tasks: JoinSet<()>,
}

/// A gateway that runs.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    ended: JoinSet<()>,
}

impl World {
    /// A world whose old worker answers by this script.
    pub(crate) fn new(script: Script) -> Self {
        let memory = Arc::new(MemoryBroker::new(MemoryBrokerLimits::default()));
        let limits = SharedPagesLimits::default();
        let lsn_of = |entry: &[u8]| read_stored_diff(entry).map(|(lsn, _)| lsn);
        let kept = Arc::new(MemorySharedPages::new(limits, lsn_of));
        let mut tasks = JoinSet::new();
        let calls = Calls::default();
        tasks.spawn(worker::work(memory.clone(), script, calls.clone()));
        Self {
            broker: memory.clone(),
            shared: kept.clone(),
            memory,
            kept,
            calls,
            patience: Duration::from_secs(10),
            gateways: 0,
            tasks,
        }
    }

    pub(crate) async fn gateway(&mut self) -> Running {
        self.gateway_with(|_| {}).await
    }

    /// Starts a gateway whose settings the test has had a look at.
    pub(crate) async fn gateway_with(
        &mut self,
        change: impl FnOnce(&mut GatewayConfig),
    ) -> Running {
        self.gateways += 1;
        let mut config = gateway_config(self.gateways);
        change(&mut config);
        let gateway_id = config.gateway_id;
        let bus = Arc::new(MemoryBus::new(MemoryBusLimits {
            partition_count: 1,
            ..MemoryBusLimits::default()
        }));
        let cache = Arc::new(MemoryCache::new(MemoryCacheLimits::default()));
        let database = Arc::new(self.workers().await);
        let ports = GatewayPorts {
            bus: bus.clone(),
            cache: cache.clone(),
            database: database.clone(),
        };
        let gateway = Gateway::build(config, ports).unwrap();
        let topics = ForeignTopics::of_names(&[topic(DIFFS), topic(EVENTS)]);
        let recorder = Recorder {
            broker: self.broker.clone(),
            shared: self.shared.clone(),
            group: "cladbe-ws-gateway".to_owned(),
            topics: topics.diffs.clone(),
        };
        let keeper_config = KeeperConfig {
            topics,
            gateway_id,
            slow_sockets_max: 100,
            slow_sockets: gateway.slow_sockets(),
            read_timeout: self.patience,
            clock_micros: || 1_700_000_000_000_000,
        };
        let ports = KeeperPorts {
            bus,
            cache,
            broker: self.broker.clone(),
            shared: self.shared.clone(),
            database,
        };
        // The program starts the recorder when the keeper has made the topics; here it reads before
        // anything is said, so they are there already.
        for name in [DIFFS, EVENTS] {
            let name = topic(name);
            let made = self.broker.create(&name, 8, Keep::Millis(1_000_000));
            made.await.unwrap();
        }
        start(gateway, Keeper::new(keeper_config, ports), recorder).await
    }

    async fn workers(&self) -> WorkerDatabase {
        let replies = ReplyTopic::own("host", 7, self.gateways, Duration::from_secs(10));
        let config = ClientConfig {
            topics: RpcTopics::new(topic("sql.rpc.requests"), 1).unwrap(),
            replies,
            timeout: self.patience,
            waiting_max: 1_000,
        };
        WorkerDatabase::connect(config, self.broker.clone())
            .await
            .unwrap()
    }

    /// The stream processor says something.
    pub(crate) async fn emit(&self, topic_name: &str, key: &str, value: &[u8], lsn: Option<&str>) {
        let header = lsn.map(|lsn| ("lsn", lsn));
        self.emit_with(topic_name, key, value, header).await;
    }

    /// The same, with whatever header.
    pub(crate) async fn emit_with(
        &self,
        topic_name: &str,
        key: &str,
        value: &[u8],
        header: Option<(&str, &str)>,
    ) {
        let made = |(name, value): (&str, &str)| Header {
            name: name.to_owned(),
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
        };
        let message = Message {
            key: Some(Bytes::copy_from_slice(key.as_bytes())),
            value: Some(Bytes::copy_from_slice(value)),
            headers: header.map(made).into_iter().collect(),
        };
        self.memory
            .send(&topic(topic_name), vec![message])
            .await
            .unwrap();
    }

    /// A page diff of a commit, whose bytes are its number.
    pub(crate) async fn diff(&self, key: &str, lsn: u64) {
        let lsn = lsn.to_string();
        self.emit(DIFFS, key, lsn.as_bytes(), Some(&lsn)).await;
    }

    /// A reader of a topic from its start.
    pub(crate) async fn listen(&self, topic_name: &str) -> Listening {
        let topics = [topic(topic_name)];
        let reader = self.memory.follow(&topics, Start::Earliest).await.unwrap();
        Listening {
            reader,
            unread: Vec::new(),
        }
    }
}

/// A topic being read.
pub(crate) struct Listening {
    reader: Box<dyn BrokerReader>,
    unread: Vec<Received>,
}

impl Listening {
    /// The next message: its key and its value.
    pub(crate) async fn next(&mut self) -> (String, Option<Bytes>) {
        while self.unread.is_empty() {
            let polled = tokio::time::timeout(PATIENCE, self.reader.poll()).await;
            if let BrokerEvent::Messages(messages) = polled.expect("a message comes").unwrap() {
                self.unread = messages;
            }
        }
        let message = self.unread.remove(0).message;
        let key = String::from_utf8(message.key.unwrap().to_vec()).unwrap();
        (key, message.value)
    }
}

fn gateway_config(number: u64) -> GatewayConfig {
    GatewayConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        shard_count: 2,
        gateway_id: number << 32,
        auth: Auth::None,
        tenancy: Tenancy::Prefix,
        pages: Pages::Foreign,
        subscription_limit: LimitRule::SUBSCRIPTION,
        limits: GatewayLimits {
            drain_timeout: Duration::from_millis(100),
            linger: Duration::from_secs(1),
            outbox: OutboxLimits::default(),
            ..GatewayLimits::default()
        },
        clock_micros: || 1_700_000_000_000_000,
        http: Arc::new(|_| None),
    }
}

async fn start(gateway: Gateway, keeper: Keeper, recorder: Recorder) -> Running {
    let address = gateway.local_addr();
    let stop = CancellationToken::new();
    let mut ended = JoinSet::new();
    let (ready, is_ready) = oneshot::channel();
    let keeping = keeper.run(move || ready.send(()).unwrap(), stop.clone());
    ended.spawn(async move { keeping.await.unwrap() });
    let recording = recorder.run(stop.clone());
    ended.spawn(async move { recording.await.unwrap() });
    is_ready.await.unwrap();
    let serving = gateway.run(stop.clone());
    ended.spawn(async move { serving.await.unwrap() });
    Running {
        address,
        stop,
        ended,
    }
}

impl Running {
    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address, "demo", "user-a").await
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        let all = async {
            while let Some(ended) = self.ended.join_next().await {
                ended.unwrap();
            }
        };
        let all = tokio::time::timeout(PATIENCE, all);
        all.await.expect("the gateway ends");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

/// A client on a real socket.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<TcpStream>,
}

/// What a client gets, in short.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Got {
    Text(Value),
    Binary(Vec<u8>),
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr, tenant: &str, user: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // The kernel must not take in for a client what the client does not read.
        socket.set_recv_buffer_size(64 << 10).unwrap();
        let socket = socket.connect(address).await.unwrap();
        let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert("x-tenant", tenant.parse().unwrap());
        headers.insert("x-user-id", user.parse().unwrap());
        let (socket, _) = client_async(request, socket).await.unwrap();
        let mut client = Self { socket };
        let welcome = client.text().await;
        assert_eq!(welcome["type"], "welcome");
        client
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.send_text(&frame.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.socket.send(Frame::text(text)).await.unwrap();
    }

    /// The next frame, joins and leaves left out.
    pub(crate) async fn next(&mut self) -> Got {
        // Pings come for as long as one waits: they must not prolong it.
        let next = tokio::time::timeout(PATIENCE, self.wait_for_next());
        next.await.expect("the gateway says something")
    }

    async fn wait_for_next(&mut self) -> Got {
        loop {
            match self.socket.next().await.unwrap().unwrap() {
                Frame::Text(text) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    if !matches!(frame["type"].as_str(), Some("user_joined" | "user_left")) {
                        return Got::Text(frame);
                    }
                }
                Frame::Binary(bytes) => return Got::Binary(bytes.to_vec()),
                Frame::Ping(_) | Frame::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) async fn text(&mut self) -> Value {
        match self.next().await {
            Got::Text(frame) => frame,
            Got::Binary(bytes) => panic!("instead of a text: {bytes:?}"),
        }
    }

    pub(crate) async fn op(&mut self, op: &str) -> Value {
        let frame = self.text().await;
        assert_eq!(frame["op"], op, "{frame}");
        frame
    }

    pub(crate) async fn binary(&mut self) -> Vec<u8> {
        match self.next().await {
            Got::Binary(bytes) => bytes,
            Got::Text(frame) => panic!("instead of a diff: {frame}"),
        }
    }

    /// A subscribe of everything in `notes`, under a label.
    pub(crate) async fn subscribe(&mut self, label: &str) {
        self.subscribe_to(label, json!({"hash": label, "limit": 2}))
            .await;
    }

    pub(crate) async fn subscribe_to(&mut self, label: &str, query: Value) {
        let frame = json!({"op": "subscribe", "table": "notes", "hashId": label,
                           "queryJson": query.to_string()});
        self.send(frame).await;
    }

    pub(crate) async fn unsubscribe(&mut self, label: &str) {
        self.send(json!({"op": "unsubscribe", "table": "notes", "hashId": label}))
            .await;
    }

    /// A live subscription: its snapshot.
    pub(crate) async fn live(&mut self, label: &str) -> Value {
        self.subscribe(label).await;
        self.op("ack").await;
        self.op("snapshot").await
    }

    /// Proves that nothing more was sent so far.
    pub(crate) async fn expect_silence(&mut self) {
        self.send(json!({"op": "ping"})).await;
        self.op("pong").await;
    }
}

/// Two rows, up to a commit.
pub(crate) fn page_at(lsn: u64) -> Answer {
    Answer::Page {
        rows: vec![r#"{"id":"n01"}"#.to_owned(), r#"{"id":"n02"}"#.to_owned()],
        cursor: vec![
            ("id".to_owned(), "n02".to_owned()),
            (
                "lsn".to_owned(),
                format!("{:X}/{:X}", lsn >> 32, lsn as u32),
            ),
        ],
    }
}

/// A worker that always reads up to this commit.
pub(crate) fn always(lsn: u64) -> Script {
    Arc::new(move |_| page_at(lsn))
}
