//! Calls through a broker in memory: what comes back, what is carried out how often, and what
//! becomes of reply topics. The same over Kafka and Postgres is tested with the program.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tidegate_core::{
    Column, ColumnType, Command, CommandError, KeySpec, Life, Lsn, Outcome, QueryError, Reply, Row,
    Selection, TableName, TableSchema, TenantId, Value,
};
use tidegate_ports::{
    Broker, BrokerEvent, ChangeStream, Database, DatabaseError, Keep, Link, MemoryBroker,
    MemoryBrokerLimits, Message, PortError, Snapshot, SnapshotRequest, Start, TopicName,
};
use tidegate_protocol::{ErrorCode, SqlCall, SqlRequest, SqlResponse, WireError, reply_data};
use tidegate_rpc::{ClientConfig, ReplyTopic, RpcTopics, Worker, WorkerConfig, WorkerDatabase};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const TIMEOUT: Duration = Duration::from_secs(10);
const HEARTBEAT: Duration = Duration::from_secs(30);

/// A database that gives what its tables' names say, and notes who asked for what.
struct Stub {
    asked: Mutex<Vec<(String, &'static str)>>,
    /// One for each call that may end.
    ends: Semaphore,
    begun: AtomicUsize,
}

impl Stub {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            asked: Mutex::default(),
            ends: Semaphore::new(Semaphore::MAX_PERMITS),
            begun: AtomicUsize::new(0),
        })
    }

    /// One whose calls do not end.
    fn stuck() -> Arc<Self> {
        let stub = Self::new();
        stub.ends.forget_permits(Semaphore::MAX_PERMITS);
        stub
    }

    fn asked(&self) -> Vec<(String, &'static str)> {
        self.asked.lock().unwrap().clone()
    }
}

fn table(name: &str) -> TableName {
    TableName::parse(name).unwrap()
}

fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn schema() -> Arc<TableSchema> {
    let column = |name: &str, kind| Column {
        name: name.into(),
        kind,
        nullable: false,
    };
    let columns = vec![
        column("id", ColumnType::BigInt),
        column("mood", ColumnType::Other("mood".into())),
    ];
    Arc::new(TableSchema::new(table("notes"), columns, vec![0]))
}

fn page() -> Outcome {
    Outcome::Page {
        schema: schema(),
        rows: vec![Row::new(vec![
            Value::Int(i64::MAX),
            Value::Text("\"glad\"".into()),
        ])],
        order: vec![0],
        lsn: Lsn::new(9),
    }
}

fn get_data() -> Command {
    Command::GetData(table("notes"), Selection::default())
}

fn delete() -> Command {
    let key = KeySpec {
        column: None,
        text: "1".to_owned(),
        parts: None,
    };
    Command::DeleteRow(table("notes"), key)
}

#[async_trait]
impl Database for Stub {
    async fn describe(
        &self,
        tenant: &TenantId,
        table: &TableName,
    ) -> Result<Arc<TableSchema>, DatabaseError> {
        self.asked
            .lock()
            .unwrap()
            .push((tenant.to_string(), "DESCRIBE"));
        match table.as_str() {
            "notes" => Ok(schema()),
            _ => Err(CommandError::UnknownTable("there is no such table".to_owned()).into()),
        }
    }

    async fn snapshot(&self, _request: SnapshotRequest) -> Result<Snapshot, DatabaseError> {
        panic!("no worker asks for snapshots")
    }

    async fn execute(&self, tenant: &TenantId, command: Command) -> Result<Reply, DatabaseError> {
        let (name, outcome) = match &command {
            Command::GetData(..) => ("GET_DATA", Ok(page())),
            Command::DeleteRow(..) => ("DELETE_ROW", Ok(Outcome::Bool(true))),
            Command::ListTables => ("LIST_TABLES", Ok(Outcome::Tables(Vec::new()))),
            Command::TableExists(..) => {
                let why = QueryError::BadValue("not a value".to_owned());
                ("TABLE_EXISTS", Err(CommandError::Query(why)))
            }
            Command::GetSingle(..) => panic!("a defect behind the seam"),
            other => panic!("not asked for here: {other:?}"),
        };
        self.asked.lock().unwrap().push((tenant.to_string(), name));
        self.begun.fetch_add(1, Ordering::SeqCst);
        let end = self.ends.acquire().await.expect("never closed");
        end.forget();
        let lsn = (name == "DELETE_ROW").then(|| Lsn::new(77));
        Ok(Reply {
            outcome: outcome?,
            lsn,
        })
    }

    async fn next_life(&self) -> Result<Life, PortError> {
        panic!("no worker asks for lives")
    }

    async fn changes(&self) -> Result<ChangeStream, PortError> {
        panic!("no worker asks for changes")
    }
}

fn topic(name: &str) -> TopicName {
    TopicName::parse(name).unwrap()
}

fn topics() -> RpcTopics {
    RpcTopics::new(topic("sql.rpc.requests"), 2).unwrap()
}

fn broker() -> Arc<MemoryBroker> {
    Arc::new(MemoryBroker::new(MemoryBrokerLimits::default()))
}

/// A worker that runs until it is dropped, which is as if it were killed.
struct Running {
    stop: CancellationToken,
    tasks: JoinSet<Result<(), PortError>>,
}

fn worker_config() -> WorkerConfig {
    WorkerConfig {
        topics: topics(),
        group: "workers".to_owned(),
        running_max: 4,
        reserved_prefixes: vec!["tidegate.".to_owned()],
        clock_millis: || 0,
    }
}

async fn start_with(
    broker: &Arc<MemoryBroker>,
    database: &Arc<Stub>,
    config: WorkerConfig,
) -> Running {
    let (broker, database) = (broker.clone(), database.clone());
    let worker = Worker::join(config, broker, database).await.expect("up");
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    tasks.spawn(worker.run(stop.clone()));
    // Time stands still while anything has to do: after this it has its share of the calls.
    tokio::time::sleep(Duration::from_millis(1)).await;
    Running { stop, tasks }
}

async fn start(broker: &Arc<MemoryBroker>, database: &Arc<Stub>) -> Running {
    start_with(broker, database, worker_config()).await
}

fn client_config(random: u64) -> ClientConfig {
    ClientConfig {
        topics: topics(),
        replies: ReplyTopic::own("a_host.", 7, random, HEARTBEAT),
        timeout: TIMEOUT,
        waiting_max: 3,
    }
}

async fn connect(broker: &Arc<MemoryBroker>) -> WorkerDatabase {
    let connected = WorkerDatabase::connect(client_config(1), broker.clone()).await;
    connected.expect("up")
}

const REPLY_TOPIC: &str = "sql.rpc.responses.ws.a-host-.7.0000000000000001";

fn wire_error(error: DatabaseError) -> WireError {
    match error {
        DatabaseError::Command(error) => error.into(),
        DatabaseError::Port(error) => panic!("{error}"),
    }
}

/// What comes through a worker is what the database said, and whose it is.
#[tokio::test(start_paused = true)]
async fn answers_are_the_databases() {
    let (broker, database) = (broker(), Stub::new());
    let _worker = start(&broker, &database).await;
    let through = connect(&broker).await;
    for command in [get_data(), delete(), Command::ListTables] {
        let direct = database.execute(&tenant(), command.clone()).await.unwrap();
        let reply = through.execute(&tenant(), command).await.unwrap();
        assert_eq!(reply.lsn, direct.lsn);
        assert_eq!(reply_data(&reply), reply_data(&direct));
    }
    let described = through.describe(&tenant(), &table("notes")).await.unwrap();
    assert_eq!(described, schema());
    let missing = through.describe(&tenant(), &table("missing")).await;
    assert_eq!(
        wire_error(missing.unwrap_err()).code,
        ErrorCode::UnknownTable
    );
    let refused = through
        .execute(&tenant(), Command::TableExists(table("t")))
        .await;
    let expected = WireError::new(ErrorCode::BadValue, "not a value");
    assert_eq!(wire_error(refused.unwrap_err()), expected);
    assert!(database.asked().iter().all(|(tenant, _)| tenant == "acme"));
}

/// A defect behind the seam ends its call and nothing else.
#[tokio::test(start_paused = true)]
async fn a_panic_is_answered() {
    let (broker, database) = (broker(), Stub::new());
    let _worker = start(&broker, &database).await;
    let through = connect(&broker).await;
    let key = KeySpec {
        column: None,
        text: "1".to_owned(),
        parts: None,
    };
    let command = Command::GetSingle(table("notes"), key);
    let failed = through.execute(&tenant(), command).await;
    assert_eq!(wire_error(failed.unwrap_err()).code, ErrorCode::Internal);
    assert!(through.execute(&tenant(), get_data()).await.is_ok());
}

/// A call that nobody waits for any more is not carried out.
#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_not_carried_out() {
    let (broker, database) = (broker(), Stub::new());
    let mut config = worker_config();
    config.clock_millis = || u64::MAX;
    let worker = start_with(&broker, &database, config).await;
    let through = connect(&broker).await;
    let late = through.execute(&tenant(), delete()).await;
    assert_eq!(wire_error(late.unwrap_err()).code, ErrorCode::Timeout);
    assert!(database.asked().is_empty());
    drop(worker);
    // The same call, for a worker that thinks it is young.
    let _worker = start(&broker, &database).await;
    assert!(through.execute(&tenant(), delete()).await.is_ok());
}

/// Nor is one that waited for its turn for too long.
#[tokio::test(start_paused = true)]
async fn what_waited_for_too_long_is_not_carried_out() {
    let (broker, database) = (broker(), Stub::stuck());
    let _worker = start(&broker, &database).await;
    let mut config = client_config(1);
    config.waiting_max = 10;
    let through = WorkerDatabase::connect(config, broker.clone())
        .await
        .unwrap();
    let tenant = tenant();
    let calls = (0..6).map(|_| through.execute(&tenant, delete()));
    for late in futures_util::future::join_all(calls).await {
        assert_eq!(wire_error(late.unwrap_err()).code, ErrorCode::Timeout);
    }
    database.ends.add_permits(100);
    assert!(through.execute(&tenant, get_data()).await.is_ok());
    let writes = database
        .asked()
        .into_iter()
        .filter(|asked| asked.1 == "DELETE_ROW");
    assert_eq!(writes.count(), 4, "as many as may run at once");
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}

/// A worker dies with more writes than it has begun: another takes over, and leaves all of them
/// alone, since it cannot know which were begun.
#[tokio::test(start_paused = true)]
async fn a_write_is_not_carried_out_twice() {
    let (broker, database) = (broker(), Stub::stuck());
    let mut config = worker_config();
    config.running_max = 1;
    let worker = start_with(&broker, &database, config).await;
    let writes = vec![request("mine", SqlCall::Run(delete())); 20];
    broker.send(&topics().calls, writes).await.unwrap();
    until(|| database.begun.load(Ordering::SeqCst) == 1).await;
    drop(worker);
    database.ends.add_permits(100);
    let _worker = start(&broker, &database).await;
    let through = connect(&broker).await;
    assert!(through.execute(&tenant(), get_data()).await.is_ok());
    let asked: Vec<_> = database.asked().into_iter().map(|asked| asked.1).collect();
    assert_eq!(asked, ["DELETE_ROW", "GET_DATA"]);
}

/// A worker that is told to stop ends what it has begun, and answers it.
#[tokio::test(start_paused = true)]
async fn a_worker_that_stops_ends_what_it_began() {
    let (broker, database) = (broker(), Stub::stuck());
    let mut worker = start(&broker, &database).await;
    let through = connect(&broker).await;
    let stopping = async {
        until(|| database.begun.load(Ordering::SeqCst) == 1).await;
        worker.stop.cancel();
        tokio::task::yield_now().await;
        database.ends.add_permits(1);
        worker.tasks.join_next().await.unwrap().unwrap().unwrap();
    };
    let tenant = tenant();
    let ((), answered) = tokio::join!(stopping, through.execute(&tenant, delete()));
    assert_eq!(answered.unwrap().lsn, Some(Lsn::new(77)));
}

/// Calls that wait fail when the broker is lost, not at their time-outs; they are taken again when
/// it is back.
#[tokio::test(start_paused = true)]
async fn a_lost_broker_is_told_at_once() {
    let (broker, database) = (broker(), Stub::stuck());
    let _worker = start(&broker, &database).await;
    let through = connect(&broker).await;
    let began = Instant::now();
    let losing = async {
        until(|| database.begun.load(Ordering::SeqCst) == 1).await;
        broker.set_link(Link::Down);
    };
    let tenant = tenant();
    let ((), waiting) = tokio::join!(losing, through.execute(&tenant, get_data()));
    let later = through.execute(&tenant, get_data()).await;
    for lost in [waiting, later] {
        let error = lost.unwrap_err();
        assert!(matches!(&error, DatabaseError::Port(error) if error.is_retryable()));
    }
    assert!(began.elapsed() < TIMEOUT);
    broker.set_link(Link::Up);
    database.ends.add_permits(100);
    assert!(through.execute(&tenant, get_data()).await.is_ok());
}

/// More calls than may wait are refused at once, and those that were given up make room.
#[tokio::test(start_paused = true)]
async fn waiting_is_bounded() {
    let broker = broker();
    let through = connect(&broker).await;
    let tenant = tenant();
    {
        let mut waiting: Vec<_> = (0..3)
            .map(|_| Box::pin(through.execute(&tenant, get_data())))
            .collect();
        for call in &mut waiting {
            assert!(futures_util::poll!(call).is_pending());
        }
        let more = through.execute(&tenant, get_data()).await;
        assert_eq!(wire_error(more.unwrap_err()).code, ErrorCode::Overloaded);
    }
    let late = through.execute(&tenant, get_data()).await;
    assert_eq!(wire_error(late.unwrap_err()).code, ErrorCode::Timeout);
    // Without a worker a page waits, it does not fail.
    let described = through.describe(&tenant, &table("notes")).await;
    assert!(matches!(described, Err(DatabaseError::Port(error)) if error.is_retryable()));
}

fn request(reply_topic: &str, call: SqlCall) -> Message {
    let request = SqlRequest {
        correlation_id: "c1".to_owned(),
        reply_topic: reply_topic.to_owned(),
        company_id: "acme".to_owned(),
        call,
    };
    Message {
        key: Some(Bytes::from_static(b"c1")),
        value: Some(request.encode().unwrap().into()),
        headers: Vec::new(),
    }
}

/// Hostile bytes are passed over, a senseless call is told so, and no call makes a worker write
/// where answers do not belong.
#[tokio::test(start_paused = true)]
async fn hostile_calls_harm_nobody() {
    let (broker, database) = (broker(), Stub::new());
    let _worker = start(&broker, &database).await;
    let names = [topic("tidegate.changes"), topic("mine"), topics().owners];
    for name in &names[..2] {
        broker.create(name, 1, Keep::Millis(60_000)).await.unwrap();
    }
    let calls = topics().calls;
    let mut all = broker.follow(&names, Start::Earliest).await.unwrap();
    let run = || SqlCall::Run(get_data());
    let mut senseless = request("mine", run());
    senseless.value = senseless.value.map(|bytes| {
        let mut bytes = bytes.to_vec();
        let at = bytes
            .windows(4)
            .position(|window| window == b"acme")
            .unwrap();
        bytes[at] = b'/';
        bytes.into()
    });
    let hostile = [
        Message::default(),
        Message {
            value: Some(Bytes::from_static(b"\xff\xff\xff\x7f junk")),
            ..Message::default()
        },
        request("tidegate.changes", run()),
        request(calls.as_str(), run()),
        request(names[2].as_str(), run()),
        request("", run()),
        request("no/topic", run()),
        senseless,
    ];
    for message in hostile {
        broker.send(&calls, vec![message]).await.unwrap();
    }
    let mut answers = Vec::new();
    while answers.is_empty() {
        let BrokerEvent::Messages(messages) = all.poll().await.unwrap() else {
            continue;
        };
        answers.extend(messages);
    }
    let answer = &answers[0];
    assert_eq!((answers.len(), answer.topic.as_str()), (1, "mine"));
    let response = SqlResponse::decode(answer.message.value.as_deref().unwrap()).unwrap();
    assert_eq!(response.correlation_id, "c1");
    assert_eq!(response.result.unwrap_err().code, ErrorCode::BadCommand);
    let through = connect(&broker).await;
    assert!(through.execute(&tenant(), get_data()).await.is_ok());
    assert_eq!(database.asked().len(), 1);
}

async fn reply_topics(broker: &MemoryBroker) -> BTreeSet<String> {
    let topics = broker.topics().await.unwrap().into_iter();
    let names = topics.map(|topic| topic.to_string());
    names.filter(|name| name.contains("responses")).collect()
}

/// A process that ends takes its reply topic with it. That of one that died goes when it has been
/// silent for long; those of the living stay, and so do those that nobody said anything about.
#[tokio::test(start_paused = true)]
async fn reply_topics_go_with_their_owners() {
    let (broker, database) = (broker(), Stub::new());
    let old = "sql.rpc.responses.ws.old.1.ab";
    let keep = Keep::Millis(60_000);
    broker.create(&topic(old), 1, keep).await.unwrap();
    let ended = connect(&broker).await;
    ended.close(TIMEOUT).await;
    drop(ended);
    assert_eq!(
        reply_topics(&broker).await,
        BTreeSet::from([old.to_owned()])
    );

    let dead = connect(&broker).await;
    let living = WorkerDatabase::connect(client_config(2), broker.clone()).await;
    let living = living.unwrap();
    drop(dead);
    // Nobody was there to hear it: the silence counts from when a worker listens.
    tokio::time::sleep(HEARTBEAT * 100).await;
    let _worker = start(&broker, &database).await;
    tokio::time::sleep(HEARTBEAT * 9).await;
    assert!(reply_topics(&broker).await.contains(REPLY_TOPIC));
    tokio::time::sleep(HEARTBEAT * 2).await;
    let left = reply_topics(&broker).await;
    let of_living = REPLY_TOPIC.replace("0001", "0002");
    assert_eq!(left, BTreeSet::from([old.to_owned(), of_living]));
    assert!(living.execute(&tenant(), get_data()).await.is_ok());
}

/// A process that stood still for so long that its topic was removed makes it again.
#[tokio::test(start_paused = true)]
async fn a_removed_reply_topic_is_made_again() {
    let (broker, database) = (broker(), Stub::new());
    let _worker = start(&broker, &database).await;
    let through = connect(&broker).await;
    broker.remove(&topic(REPLY_TOPIC)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(through.execute(&tenant(), get_data()).await.is_ok());
}

/// What pages are kept with is not to be had, and the sentence says so.
#[tokio::test(start_paused = true)]
async fn pages_need_the_database_itself() {
    let through = connect(&broker()).await;
    let refused = through.changes().await.unwrap_err();
    assert!(matches!(refused, PortError::Rejected { .. }), "{refused}");
    assert!(through.next_life().await.is_err());
}
