//! What fan-out through the whole gateway costs, as a ratio to a program that only writes.
//!
//! Unit: CPU seconds (user and system) of the sending threads per million frames. A record is
//! published on the bus; the gateway's reader, a shard and the sockets do the rest. The bare sender
//! makes one `write` per socket and frame, or one `writev` per socket and burst, of the very same
//! bytes: the limit of any design that sends to each socket. Both run in turn, many short blasts,
//! and the medians are printed. The reader is another process, on the other core where `taskset` is
//! there to put it, and must have got every byte before the next blast begins.
//!
//! `cargo bench -p tidegate-gateway` runs it; `SOCKETS ROUNDS` may follow after `--`. The last line
//! is the same as JSON.

#![expect(clippy::unwrap_used, reason = "a failed step ends the measurement")]

use std::io::{BufRead, BufReader, IoSlice, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use async_trait::async_trait;
use bytes::Bytes;
use tidegate_core::{
    Column, ColumnType, Command as Procedure, Epoch, Life, LimitRule, Lsn, Partition, Position,
    Reply, RoutingKey, TableName, TableSchema, Tenancy, TenantId,
};
use tidegate_gateway::{Auth, Gateway, GatewayConfig, GatewayLimits, GatewayPorts, Pages};
use tidegate_ports::{
    Bus, BusEvent, ChangeStream, Database, DatabaseError, MemoryBus, MemoryBusLimits, MemoryCache,
    MemoryCacheLimits, PortError, Record, Snapshot, SnapshotRequest, Start, Topic,
};
use tidegate_protocol::{
    ControlRecord, DiffContent, DiffKind, HashId, PageCause, PageContent, PageOrigin, PageRecord,
    server_frame,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

/// The program's own: what an idle session costs depends on it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Payload of a frame is about this; `x` fills it up.
const PAYLOAD_BYTES: usize = 256;
const BURST: usize = 8;
/// Blasts of each sender and burst size; the median of their ratios is what counts.
const BLASTS: usize = 9;

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    match arguments.next().as_deref() {
        Some("reader") => reader(
            &arguments.next().unwrap(),
            arguments.next().unwrap().parse().unwrap(),
        ),
        first => {
            let sockets = first.map_or(1_000, |text| text.parse().unwrap());
            let rounds = arguments.next().map_or(40, |text| text.parse().unwrap());
            measure(sockets, rounds);
        }
    }
}

fn measure(sockets: usize, rounds: usize) {
    let mut gateway = GatewaySender::start(sockets);
    let mut bare = BareSender::start(sockets, gateway.frame.clone());
    println!(
        "{sockets} sockets, {} bytes a frame, {rounds} rounds a blast",
        gateway.frame.len()
    );
    let mut bursts = Vec::new();
    for burst in [1, BURST] {
        let (mut units, mut costs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..BLASTS {
            let unit = bare.blast(rounds, burst);
            let cost = gateway.blast(rounds, burst);
            units.push(unit);
            costs.push(cost);
            ratios.push(cost / unit);
        }
        let (unit, cost, ratio) = (median(units), median(costs), median(ratios));
        println!("burst {burst}: {cost:.2} CPU s per million frames, {ratio:.2} x bare");
        bursts.push(serde_json::json!({
            "burst": burst, "bare": unit, "gateway": cost, "ratio": ratio,
        }));
    }
    let line = serde_json::json!({
        "sockets": sockets,
        "frame_bytes": gateway.frame.len(),
        "idle_bytes": gateway.idle_bytes,
        "bursts": bursts,
    });
    println!("{line}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Memory that this process has in use, in bytes, by pages of 4 KiB.
fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap()
        * 4096
}

/// CPU seconds that threads of this process have had.
fn cpu_seconds(threads: &[u32]) -> f64 {
    let nanos = |thread: &u32| -> f64 {
        let path = format!("/proc/self/task/{thread}/schedstat");
        let text = std::fs::read_to_string(path).unwrap();
        text.split_whitespace()
            .next()
            .unwrap()
            .parse::<f64>()
            .unwrap()
    };
    threads.iter().map(nanos).sum::<f64>() / 1e9
}

/// Threads of this process whose names begin so. They are put on the first core.
fn threads_named(prefix: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = entry.unwrap().path();
        let name = std::fs::read_to_string(path.join("comm")).unwrap();
        if name.starts_with(prefix) {
            let id: u32 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
            let pinned = Command::new("taskset")
                .args(["-cp", "0", &id.to_string()])
                .output();
            if pinned.is_err() {
                println!("{name} could not be put on a core");
            }
            found.push(id);
        }
    }
    assert!(!found.is_empty(), "{prefix} runs");
    found
}

/// The process that reads.
struct Reader {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    bytes: u64,
}

impl Reader {
    /// Starts a reader that connects to an address of this kind.
    fn start(target: &str, sockets: usize) -> Self {
        let program = std::env::current_exe().unwrap();
        let spawn = |mut command: Command| {
            command
                .args(["reader", target, &sockets.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
        };
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", "1"]).arg(&program);
        let mut child = spawn(pinned)
            .or_else(|_| spawn(Command::new(&program)))
            .unwrap();
        let commands = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            commands,
            answers,
            bytes: 0,
        }
    }

    fn answer(&mut self) -> u64 {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }

    /// Waits until nothing more comes, and starts counting there.
    fn settle(&mut self) {
        writeln!(self.commands, "settle").unwrap();
        self.bytes = self.answer();
    }

    /// Waits until so many more bytes have come.
    fn expect(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        writeln!(self.commands, "{}", self.bytes).unwrap();
        assert_eq!(self.answer(), self.bytes, "every byte came, and none twice");
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program that only writes.
struct BareSender {
    blasts: mpsc::Sender<(usize, usize)>,
    costs: mpsc::Receiver<f64>,
}

impl BareSender {
    fn start(sockets: usize, frame: Bytes) -> Self {
        let (blasts, requests) = mpsc::channel();
        let (results, costs) = mpsc::channel();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = format!("bare:{}", listener.local_addr().unwrap());
        let mut reader = Reader::start(&target, sockets);
        let streams: Vec<TcpStream> = (0..sockets).map(|_| listener.accept().unwrap().0).collect();
        streams
            .iter()
            .for_each(|stream| stream.set_nodelay(true).unwrap());
        let run = move || {
            let threads = threads_named("bare");
            reader.settle();
            for (rounds, burst) in requests {
                let before = cpu_seconds(&threads);
                let mut waited = 0.0;
                for _ in 0..rounds {
                    let slices = vec![IoSlice::new(&frame); burst];
                    for mut stream in &streams {
                        let written = stream.write_vectored(&slices).unwrap();
                        assert_eq!(written, burst * frame.len(), "the socket takes it all");
                    }
                    // Telling the reader is not sending.
                    let sent = cpu_seconds(&threads);
                    reader.expect(burst * frame.len() * streams.len());
                    waited += cpu_seconds(&threads) - sent;
                }
                let cost = cpu_seconds(&threads) - before - waited;
                let frames = (rounds * burst * streams.len()) as f64;
                results.send(cost / frames * 1e6).unwrap();
            }
        };
        thread::Builder::new()
            .name("bare".to_owned())
            .spawn(run)
            .unwrap();
        Self { blasts, costs }
    }

    fn blast(&mut self, rounds: usize, burst: usize) -> f64 {
        self.blasts.send((rounds, burst)).unwrap();
        self.costs.recv().unwrap()
    }
}

/// A gateway with one shard, and the hand that publishes for it.
struct GatewaySender {
    runtime: tokio::runtime::Runtime,
    bus: MemoryBus,
    key: RoutingKey,
    position: Position,
    frame: Bytes,
    sockets: usize,
    reader: Reader,
    threads: Vec<u32>,
    /// Memory of each idle, subscribed session.
    idle_bytes: usize,
}

impl GatewaySender {
    fn start(sockets: usize) -> Self {
        let bus = MemoryBus::new(MemoryBusLimits::default());
        let ports = GatewayPorts {
            bus: Arc::new(bus.clone()),
            cache: Arc::new(MemoryCache::new(MemoryCacheLimits::default())),
            database: Arc::new(OneTable),
        };
        let gateway = Gateway::build(config(), ports).unwrap();
        let target = format!("gateway:{}", gateway.local_addr());
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime
                .unwrap()
                .block_on(gateway.run(CancellationToken::new()))
                .unwrap();
        };
        thread::Builder::new()
            .name("gateway".to_owned())
            .spawn(run)
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let before = resident_bytes();
        let mut reader = Reader::start(&target, sockets);
        let key = runtime.block_on(wanted_key(&bus));
        let position = Position::start(Epoch::new(Life::new(1), 1));
        let payload = server_frame::diff(&HashId::parse("bench").unwrap(), &diff(position.next()));
        let mut frame = vec![0x81, 126];
        frame.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(&payload);
        runtime.block_on(publish(&bus, &key, vec![PageRecord::Page(page(position))]));
        reader.settle();
        let idle_bytes = resident_bytes().saturating_sub(before) / sockets;
        println!("{idle_bytes} bytes of memory for each idle, subscribed session");
        let mut threads = threads_named("shard-");
        threads.extend(threads_named("gateway"));
        Self {
            runtime,
            bus,
            key,
            position,
            frame: frame.into(),
            sockets,
            reader,
            threads,
            idle_bytes,
        }
    }

    fn blast(&mut self, rounds: usize, burst: usize) -> f64 {
        let before = cpu_seconds(&self.threads);
        for _ in 0..rounds {
            let records = (0..burst).map(|_| {
                self.position = self.position.next();
                PageRecord::Diff(diff(self.position))
            });
            let records = records.collect();
            self.runtime
                .block_on(publish(&self.bus, &self.key, records));
            self.reader.expect(burst * self.frame.len() * self.sockets);
        }
        let frames = (rounds * burst * self.sockets) as f64;
        (cpu_seconds(&self.threads) - before) / frames * 1e6
    }
}

fn config() -> GatewayConfig {
    GatewayConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        shard_count: 1,
        gateway_id: 1,
        auth: Auth::None,
        tenancy: Tenancy::Prefix,
        pages: Pages::Processor,
        subscription_limit: LimitRule::SUBSCRIPTION,
        limits: GatewayLimits {
            announced_sessions_max: 0,
            // Nothing but what is published may be sent.
            ping_interval: std::time::Duration::from_secs(3_600),
            idle_timeout: std::time::Duration::from_secs(7_200),
            ..GatewayLimits::default()
        },
        clock_micros: || 0,
        http: Arc::new(|_| None),
    }
}

/// Waits until the gateway asks for the page.
async fn wanted_key(bus: &MemoryBus) -> RoutingKey {
    let partitions: Vec<_> = (0..bus.partition_count()).map(Partition::new).collect();
    let mut control = bus
        .read(Topic::Control, &partitions, Start::Earliest)
        .await
        .unwrap();
    loop {
        if let BusEvent::Records(batch) = control.poll().await.unwrap()
            && let Ok(ControlRecord::Lease { key, .. }) =
                ControlRecord::decode(batch.records[0].value.clone())
        {
            return key;
        }
    }
}

async fn publish(bus: &MemoryBus, key: &RoutingKey, records: Vec<PageRecord>) {
    let partition = key.partition(bus.partition_count());
    let records = records.iter().map(|record| Record {
        partition,
        key: Bytes::from(key.encode()),
        value: record.encode(),
    });
    bus.publish(Topic::Diffs, records.collect()).await.unwrap();
}

/// The filling makes up for the width of the offset, so that all frames have one length.
fn diff(position: Position) -> DiffContent {
    let digits = position.offset.get().to_string().len();
    let filling = "x".repeat(PAYLOAD_BYTES - 170 - digits);
    DiffContent {
        position,
        lsn: Lsn::new(1_000),
        committed_at_micros: 0,
        kind: DiffKind::Changes,
        body: Bytes::from(format!("[{{\"kind\":\"added\",\"row\":\"{filling}\"}}]")),
    }
}

fn page(position: Position) -> PageContent {
    PageContent {
        position,
        lsn: Lsn::new(1_000),
        committed_at_micros: 0,
        cause: PageCause::Opened,
        origin: PageOrigin::Kept,
        cursor: Bytes::new(),
        rows: Bytes::from_static(b"[]"),
        pks: Bytes::from_static(b"[]"),
    }
}

struct OneTable;

#[async_trait]
impl Database for OneTable {
    async fn describe(
        &self,
        _tenant: &TenantId,
        table: &TableName,
    ) -> Result<Arc<TableSchema>, DatabaseError> {
        let id = Column {
            name: "id".into(),
            kind: ColumnType::BigInt,
            nullable: false,
        };
        Ok(Arc::new(TableSchema::new(table.clone(), vec![id], vec![0])))
    }

    async fn snapshot(&self, _request: SnapshotRequest) -> Result<Snapshot, DatabaseError> {
        unreachable!("a gateway reads no pages")
    }

    async fn execute(&self, _: &TenantId, _: Procedure) -> Result<Reply, DatabaseError> {
        unreachable!("nothing is called")
    }

    async fn next_life(&self) -> Result<Life, PortError> {
        unreachable!("a gateway owns nothing")
    }

    async fn changes(&self) -> Result<ChangeStream, PortError> {
        unreachable!("a gateway reads no changes")
    }
}

/// The reading process: connects, counts bytes, and tells its parent.
fn reader(target: &str, sockets: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (kind, address) = target.split_once(':').unwrap();
    let (lines, mut commands) = tokio::sync::mpsc::channel(1);
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if lines.blocking_send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    let (total, mut counted) = tokio::sync::watch::channel(0_u64);
    let total = Arc::new(total);
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..sockets {
            let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
            if kind == "gateway" {
                subscribe(&mut socket).await;
            }
            let total = Arc::clone(&total);
            tasks.spawn(async move {
                let mut buffer = vec![0; 16 << 10];
                while let Ok(length @ 1..) = socket.read(&mut buffer).await {
                    total.send_modify(|total| *total += length as u64);
                }
            });
        }
        while let Some(line) = commands.recv().await {
            match line.parse::<u64>() {
                Ok(expected) => {
                    counted.wait_for(|total| *total >= expected).await.unwrap();
                }
                Err(_) => {
                    let pause = std::time::Duration::from_millis(500);
                    while tokio::time::timeout(pause, counted.changed()).await.is_ok() {}
                }
            }
            println!("{}", *counted.borrow());
        }
    });
}

/// Upgrades by hand and subscribes, with a frame masked by zeros. One after the other, so that what
/// idle sessions cost is not hidden behind what a herd of handshakes costs.
async fn subscribe(socket: &mut tokio::net::TcpStream) {
    let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        socket.read_buf(&mut answer).await.unwrap();
    }
    let text = br#"{"op":"subscribe","table":"t","hashId":"bench","query":{"limit":10}}"#;
    let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(text);
    socket.write_all(&frame).await.unwrap();
}
