//! A plain server to compare with: it asks the database again whenever a query was touched.
//!
//! It is what one writes first, done well: a trigger says with NOTIFY which bucket a row is in, a
//! map finds the queries of the bucket, each is run again as a prepared statement on connections
//! that take many at once, what the page has more and less goes to its clients, and touches that
//! come while a query runs cause one more run and not one each. It speaks as much of the client's
//! protocol as the load needs, knows queries of one form only, and promises nothing about order or
//! holes. It runs on one thread, which costs it least.

use std::collections::HashMap;

use futures_util::{SinkExt, StreamExt, stream};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_postgres::{AsyncMessage, Client, NoTls, Statement};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use crate::table::{connect, prepare_table};
use crate::{Failure, argument};

/// Connections that read; each takes further statements while it answers.
const READERS: usize = 4;

/// Inputs and frames that may wait.
const WAITING_MAX: usize = 65_536;

/// What the owner of the pages takes.
enum Input {
    /// A session wants the page of a query, under its label.
    Subscribe(Newest, Listener),
    /// A row of the bucket was written.
    Touched(i32),
    /// The rows of the query now.
    Rows(Newest, Result<Vec<Shown>, tokio_postgres::Error>),
}

/// The only form of query: the newest of a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Newest {
    bucket: i32,
    limit: i64,
}

/// Whom a page is for.
struct Listener {
    label: String,
    frames: mpsc::Sender<Message>,
}

/// A row of a page.
#[derive(Clone, PartialEq)]
struct Shown {
    id: i64,
    text: String,
}

/// Whether the database is being asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asking {
    No,
    Once,
    /// Once, and again when that is answered: the page was touched since.
    Again,
}

struct Page {
    listeners: Vec<Listener>,
    /// Who waits for the whole page.
    newcomers: Vec<Listener>,
    rows: Vec<Shown>,
    asking: Asking,
    version: u64,
}

pub(crate) async fn run(arguments: &mut impl Iterator<Item = String>) -> Result<(), Failure> {
    let postgres: String = argument(arguments, "POSTGRES")?;
    let table: String = argument(arguments, "TABLE")?;
    let mut tasks = JoinSet::new();
    prepare_table(&postgres, &table, &mut tasks).await?;
    let (inputs, mut taken) = mpsc::channel(WAITING_MAX);
    listen(&postgres, &table, inputs.clone(), &mut tasks).await?;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(Reader::connect(&postgres, &table, &mut tasks).await?);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!(
        "{}",
        json!({ "url": format!("ws://{}", listener.local_addr()?) })
    );
    let mut sessions = JoinSet::new();
    let mut hub = Hub {
        pages: HashMap::new(),
        by_bucket: HashMap::new(),
        readers,
        turn: 0,
        inputs: inputs.clone(),
        running: JoinSet::new(),
    };
    loop {
        tokio::select! {
            Some(input) = taken.recv() => hub.take(input)?,
            Some(_) = hub.running.join_next() => {}
            accepted = listener.accept() => {
                let (socket, _) = accepted?;
                socket.set_nodelay(true)?;
                sessions.spawn(session(socket, inputs.clone()));
            }
        }
    }
}

/// Has the database say which buckets are touched.
async fn listen(
    postgres: &str,
    table: &str,
    inputs: mpsc::Sender<Input>,
    tasks: &mut JoinSet<()>,
) -> Result<(), Failure> {
    let (client, mut connection) = tokio_postgres::connect(postgres, NoTls).await?;
    let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
    tasks.spawn(async move {
        while let Some(Ok(message)) = messages.next().await {
            let AsyncMessage::Notification(notification) = message else {
                continue;
            };
            let Ok(bucket) = notification.payload().parse() else {
                continue;
            };
            if inputs.send(Input::Touched(bucket)).await.is_err() {
                return;
            }
        }
    });
    client
        .batch_execute(&format!(
            "CREATE OR REPLACE FUNCTION {table}_touched() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM pg_notify('{table}', NEW.bucket::text); RETURN NULL; END $$; \
             CREATE OR REPLACE TRIGGER touched AFTER INSERT ON demo_{table} \
             FOR EACH ROW EXECUTE FUNCTION {table}_touched(); LISTEN {table}"
        ))
        .await?;
    tasks.spawn(async move {
        // The connection ends with its client.
        let _client = client;
        std::future::pending::<()>().await;
    });
    Ok(())
}

/// A connection that reads pages.
struct Reader {
    client: std::sync::Arc<Client>,
    newest: Statement,
}

impl Reader {
    async fn connect(
        postgres: &str,
        table: &str,
        driving: &mut JoinSet<()>,
    ) -> Result<Self, Failure> {
        let client = connect(postgres, driving).await?;
        let newest = format!(
            "SELECT id, text FROM demo_{table} WHERE bucket = $1 ORDER BY id DESC LIMIT $2"
        );
        let newest = client.prepare(&newest).await?;
        let client = client.into();
        Ok(Self { client, newest })
    }
}

/// The owner of the pages.
struct Hub {
    pages: HashMap<Newest, Page>,
    by_bucket: HashMap<i32, Vec<Newest>>,
    readers: Vec<Reader>,
    turn: usize,
    inputs: mpsc::Sender<Input>,
    running: JoinSet<()>,
}

impl Hub {
    fn take(&mut self, input: Input) -> Result<(), Failure> {
        match input {
            Input::Subscribe(query, listener) => {
                self.page(query).newcomers.push(listener);
                self.ask(query);
            }
            Input::Touched(bucket) => {
                for query in self.by_bucket.get(&bucket).cloned().unwrap_or_default() {
                    self.ask(query);
                }
            }
            Input::Rows(query, rows) => {
                let page = self.page(query);
                page.show(rows?);
                let asking = std::mem::replace(&mut page.asking, Asking::No);
                if asking == Asking::Again {
                    self.ask(query);
                }
            }
        }
        Ok(())
    }

    fn page(&mut self, query: Newest) -> &mut Page {
        self.pages.entry(query).or_insert_with(|| {
            self.by_bucket.entry(query.bucket).or_default().push(query);
            Page {
                listeners: Vec::new(),
                newcomers: Vec::new(),
                rows: Vec::new(),
                asking: Asking::No,
                version: 0,
            }
        })
    }

    /// Runs the query, now or when the run that is under way has ended.
    fn ask(&mut self, query: Newest) {
        let page = self.page(query);
        if page.asking != Asking::No {
            page.asking = Asking::Again;
            return;
        }
        page.asking = Asking::Once;
        self.turn = (self.turn + 1) % self.readers.len();
        let reader = &self.readers[self.turn];
        let (client, newest) = (reader.client.clone(), reader.newest.clone());
        let inputs = self.inputs.clone();
        self.running.spawn(async move {
            let rows = client.query(&newest, &[&query.bucket, &query.limit]).await;
            let shown = |row: &tokio_postgres::Row| Shown {
                id: row.get(0),
                text: row.get(1),
            };
            let rows = rows.map(|rows| rows.iter().map(shown).collect());
            // The hub lives as long as the program.
            let _ = inputs.send(Input::Rows(query, rows)).await;
        });
    }
}

impl Page {
    fn show(&mut self, rows: Vec<Shown>) {
        if rows != self.rows {
            self.version += 1;
            let changes = changes(&self.rows, &rows);
            for listener in &self.listeners {
                listener.send("diff", self.version, json!({ "changes": changes }));
            }
            self.rows = rows;
        }
        for newcomer in self.newcomers.drain(..) {
            let rows: Vec<Value> = self.rows.iter().map(Shown::json).collect();
            let pks: Vec<String> = self.rows.iter().map(Shown::pk).collect();
            let page = json!({ "rows": rows, "pks": pks, "reason": "subscribe" });
            newcomer.send("snapshot", self.version, page);
            self.listeners.push(newcomer);
        }
    }
}

/// What a page of rows that only ever come and go has less, and then more.
fn changes(old: &[Shown], new: &[Shown]) -> Vec<Value> {
    let left = old
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, row)| !new.contains(row));
    let left = left.map(|(from, row)| json!({ "kind": "removed", "pk": row.pk(), "from": from }));
    let came = new.iter().enumerate().filter(|(_, row)| !old.contains(row));
    let came = came.map(
        |(pos, row)| json!({ "kind": "added", "pk": row.pk(), "pos": pos, "row": row.json() }),
    );
    left.chain(came).collect()
}

impl Shown {
    fn pk(&self) -> String {
        self.id.to_string()
    }

    fn json(&self) -> Value {
        json!({ "id": self.pk(), "text": self.text })
    }
}

impl Listener {
    fn send(&self, op: &str, version: u64, mut frame: Value) {
        let lsn = version.to_string();
        frame["op"] = op.into();
        frame["hashId"] = self.label.as_str().into();
        frame["cursor"] = json!({ "lsn": lsn, "position": lsn });
        // One who does not read is not waited for; the load then counts what is missing.
        let _ = self.frames.try_send(Message::text(frame.to_string()));
    }
}

/// One connection: subscribes come, frames go.
async fn session(socket: TcpStream, inputs: mpsc::Sender<Input>) -> Result<(), Failure> {
    let (mut out, mut frames_in) = accept_async(socket).await?.split();
    let (frames, mut waiting) = mpsc::channel::<Message>(1_024);
    loop {
        tokio::select! {
            Some(frame) = waiting.recv() => out.send(frame).await?,
            frame = frames_in.next() => {
                let Some(Ok(Message::Text(text))) = frame else {
                    return Ok(());
                };
                let (query, label) = subscribe(&text).ok_or("only subscribes are known")?;
                let ack = json!({ "op": "ack", "hashId": label });
                out.send(Message::text(ack.to_string())).await?;
                let frames = frames.clone();
                inputs.send(Input::Subscribe(query, Listener { label, frames })).await?;
            }
        }
    }
}

/// The query and the label that a subscribe names.
fn subscribe(text: &str) -> Option<(Newest, String)> {
    let frame: Value = serde_json::from_str(text).ok()?;
    let label = frame["hashId"].as_str()?.to_owned();
    let query = match &frame["query"] {
        Value::Null => serde_json::from_str(frame["queryJson"].as_str()?).ok()?,
        query => query.clone(),
    };
    let value = &query["wrapper"]["filters"][0]["value"]["Int64Value"]["value"];
    let bucket = value.as_str()?.parse().ok()?;
    let limit = query["limit"].as_i64()?;
    Some((Newest { bucket, limit }, label))
}
