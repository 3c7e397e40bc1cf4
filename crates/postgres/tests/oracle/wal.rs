//! Reads the server's log through its own text decoder, over a replication connection.
//!
//! The few messages of the protocol that this needs are written here by hand, so that no code of
//! the product, nor a library that the product uses, stands between the log and the oracle.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::history::{Change, Decoded};
use crate::rows::{Cell, kind};

/// How often the server is told how far we are.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) struct Wal {
    stream: BufReader<TcpStream>,
    tables: Vec<String>,
    open: Vec<(usize, Change)>,
    told: Instant,
}

impl Wal {
    /// Reads the log of a database from now on, as far as these tables are concerned.
    pub(crate) async fn start(address: &str, tables: &[String]) -> Self {
        let rest = address.strip_prefix("postgres://postgres@");
        let (host, database) = rest
            .and_then(|rest| rest.split_once('/'))
            .expect("an address");
        let stream = TcpStream::connect(host).await.expect("the server is up");
        let mut wal = Self {
            stream: BufReader::with_capacity(1 << 16, stream),
            tables: tables.to_vec(),
            open: Vec::new(),
            told: Instant::now(),
        };
        let mut startup = 196_608_u32.to_be_bytes().to_vec();
        for word in [
            "user",
            "postgres",
            "database",
            database,
            "replication",
            "database",
            "",
        ] {
            startup.extend_from_slice(word.as_bytes());
            startup.push(0);
        }
        wal.send(None, &startup).await;
        wal.until(b'Z').await;
        let slot = format!("oracle_{}", std::process::id());
        wal.query(&format!(
            "CREATE_REPLICATION_SLOT {slot} TEMPORARY LOGICAL test_decoding"
        ))
        .await;
        wal.until(b'Z').await;
        wal.query(&format!("START_REPLICATION SLOT {slot} LOGICAL 0/0"))
            .await;
        wal.until(b'W').await;
        wal
    }

    async fn query(&mut self, sql: &str) {
        let mut body = sql.as_bytes().to_vec();
        body.push(0);
        self.send(Some(b'Q'), &body).await;
    }

    async fn send(&mut self, kind: Option<u8>, body: &[u8]) {
        let mut message: Vec<u8> = kind.into_iter().collect();
        message.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        message.extend_from_slice(body);
        let written = self.stream.get_mut().write_all(&message).await;
        written.expect("the server is up");
    }

    async fn receive(&mut self) -> (u8, Vec<u8>) {
        let kind = self.stream.read_u8().await.expect("the server is up");
        let length = self.stream.read_u32().await.expect("the server is up");
        let mut body = vec![0; length as usize - 4];
        let read = self.stream.read_exact(&mut body).await;
        read.expect("the server is up");
        assert_ne!(kind, b'E', "{}", String::from_utf8_lossy(&body));
        (kind, body)
    }

    async fn until(&mut self, wanted: u8) {
        while self.receive().await.0 != wanted {}
    }

    /// The next transaction.
    pub(crate) async fn next(&mut self) -> Decoded {
        loop {
            let (kind, body) = self.receive().await;
            assert_eq!(kind, b'd', "only data are sent now");
            let number =
                |at: usize| u64::from_be_bytes(body[at..at + 8].try_into().expect("eight"));
            let position = number(1);
            if self.told.elapsed() > STATUS_INTERVAL || body[0] == b'k' {
                self.tell(position).await;
            }
            if body[0] != b'w' {
                continue;
            }
            let text = std::str::from_utf8(&body[25..]).expect("the database is UTF-8");
            if let Some(xid) = text.strip_prefix("COMMIT ") {
                return Decoded {
                    lsn: position,
                    xid: xid.parse().expect("an id"),
                    changes: std::mem::take(&mut self.open),
                };
            }
            self.line(text);
        }
    }

    async fn tell(&mut self, position: u64) {
        self.told = Instant::now();
        let mut status = vec![b'r'];
        for number in [position, position, position, 0] {
            status.extend_from_slice(&number.to_be_bytes());
        }
        status.push(0);
        self.send(Some(b'd'), &status).await;
    }

    fn line(&mut self, text: &str) {
        if let Some(rest) = text.strip_prefix("table public.") {
            let (name, rest) = rest.split_once(": ").expect("a name");
            if let Some(table) = self.tables.iter().position(|table| table == name) {
                self.open.push((table, change(rest)));
            }
        } else if let Some((_, added)) = text.split_once(" content:add ") {
            let (name, value) = added.split_once(' ').expect("two words");
            let table = self.tables.iter().position(|table| table == name);
            let value = value.parse().expect("an integer");
            let table = table.expect("it is one of ours");
            self.open.push((table, Change::AddColumn(Cell::Int(value))));
        }
    }
}

fn change(text: &str) -> Change {
    let (verb, rest) = text.split_once(": ").expect("a verb");
    match verb {
        "INSERT" => Change::Put {
            old: None,
            cells: cells(rest),
        },
        "UPDATE" => {
            let (old, new) = match rest.split_once(" new-tuple: ") {
                Some((old, new)) => (old.strip_prefix("old-key: "), new),
                None => (None, rest),
            };
            Change::Put {
                old: old.map(id),
                cells: cells(new),
            }
        }
        "DELETE" => Change::Delete(id(rest)),
        "TRUNCATE" => Change::Truncate,
        other => panic!("{other}"),
    }
}

/// Of an old row that is told whole, the columns that are NULL are left out; its key comes first.
fn id(text: &str) -> i64 {
    let value = text
        .strip_prefix("id[bigint]:")
        .expect("the key comes first");
    let end = value.find(' ').unwrap_or(value.len());
    value[..end].parse().expect("an integer")
}

/// Reads `name[type]:value name[type]:'it''s' …`; a cell that was not changed is not told.
fn cells(mut text: &str) -> Vec<Option<Cell>> {
    let mut cells = Vec::new();
    while let Some((_, rest)) = text.split_once("]:") {
        let (value, rest) = match rest.strip_prefix('\'') {
            Some(quoted) => quoted_value(quoted),
            None => {
                let end = rest.find(' ').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        let is_quoted = text
            .split_once("]:")
            .is_some_and(|(_, at)| at.starts_with('\''));
        let kind = kind(cells.len());
        cells.push(match (is_quoted, &*value) {
            (false, "null") => Some(Cell::Null),
            (false, "unchanged-toast-datum") => None,
            (_, value) => Some(Cell::parse(kind, value)),
        });
        text = rest;
    }
    cells
}

fn quoted_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('\'').expect("the quote is closed");
        value.push_str(part);
        match after.strip_prefix('\'') {
            Some(more) => {
                value.push('\'');
                rest = more;
            }
            None => return (value, after),
        }
    }
}
