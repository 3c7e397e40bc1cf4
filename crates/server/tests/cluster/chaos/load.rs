//! Writers that go on whatever dies, and the ledger of what was acknowledged to them.
//!
//! A write that got no answer may be there or not. One that was acknowledged must be.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;
use tidegate_client::{Client, Payload};
use tokio::sync::{RwLock, RwLockWriteGuard};
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

use crate::writers::{call, statements};

/// Between two writes of one writer: steady, and no measure of the machine.
const PACE: Duration = Duration::from_millis(40);
/// Before a server that is down is tried again.
const DOWN_PAUSE: Duration = Duration::from_millis(100);

/// Entries of one writer begin at a multiple of this.
pub(crate) const ENTRIES: i64 = 1_000_000;

/// What was acknowledged, by tenant.
#[derive(Default)]
struct Ledger {
    entries: Vec<(String, i64)>,
    /// The highest count that each caller's own row was set to, by tenant and row.
    counts: Vec<(String, i64, i64)>,
}

/// Writers of all tenants, until they are stopped.
pub(crate) struct Load {
    shared: Arc<Shared>,
    writers: JoinSet<()>,
}

struct Shared {
    /// Held by each write, and by whoever wants quiet.
    quiet: RwLock<()>,
    ledger: Mutex<Ledger>,
    is_stopped: AtomicBool,
    acknowledged: AtomicUsize,
    unanswered: AtomicUsize,
}

/// How a write ended.
enum Outcome {
    Acknowledged,
    Refused,
    /// Nobody knows.
    Unanswered,
}

impl Load {
    pub(crate) fn start() -> Self {
        let shared = Shared {
            quiet: RwLock::default(),
            ledger: Mutex::default(),
            is_stopped: AtomicBool::new(false),
            acknowledged: AtomicUsize::new(0),
            unanswered: AtomicUsize::new(0),
        };
        Self {
            shared: Arc::new(shared),
            writers: JoinSet::new(),
        }
    }

    /// One who writes with SQL of his own.
    pub(crate) fn add_stranger(&mut self, url: &str, tenant: &str, number: i64) {
        let (url, tenant, shared) = (url.to_owned(), tenant.to_owned(), Arc::clone(&self.shared));
        self.writers.spawn(async move {
            let mut random = StdRng::seed_from_u64(number.unsigned_abs());
            let mut stranger = Stranger::new(url, tenant.clone());
            for entry in number * ENTRIES.. {
                let quiet = shared.quiet.read().await;
                if shared.is_stopped.load(Ordering::Relaxed) {
                    return;
                }
                let outcome = stranger.write(entry, &mut random).await;
                if shared.count(&outcome) {
                    shared.note(|ledger| ledger.entries.push((tenant.clone(), entry)));
                }
                drop(quiet);
                tokio::time::sleep(PACE).await;
            }
        });
    }

    /// One who calls procedures. His own row of the ledger must be there.
    pub(crate) fn add_caller(&mut self, client: Client, tenant: &str, number: i64) {
        let (tenant, shared) = (tenant.to_owned(), Arc::clone(&self.shared));
        self.writers.spawn(async move {
            let mut random = StdRng::seed_from_u64(number.unsigned_abs());
            let own = number * ENTRIES;
            for count in 1.. {
                let quiet = shared.quiet.read().await;
                if shared.is_stopped.load(Ordering::Relaxed) {
                    return;
                }
                let entry = own + count;
                let added = json!({ "row": { "id": entry.to_string() } });
                if shared.count(&ask(&client, "ADD_SINGLE", &added).await) {
                    shared.note(|ledger| ledger.entries.push((tenant.clone(), entry)));
                }
                let updates = json!({ "n": count.to_string() });
                let set = json!({ "primaryId": own.to_string(), "updates": updates });
                if shared.count(&ask(&client, "UPDATE_SINGLE", &set).await) {
                    shared.note(|ledger| ledger.counts.push((tenant.clone(), own, count)));
                }
                call(&client, &mut random).await;
                drop(quiet);
                tokio::time::sleep(PACE).await;
            }
        });
    }

    /// Waits until no write is under way, and lets none begin while the value lives.
    pub(crate) async fn quiet(&self) -> RwLockWriteGuard<'_, ()> {
        self.shared.quiet.write().await
    }

    /// How many writes were acknowledged, and how many got no answer.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let load = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        (
            load(&self.shared.acknowledged),
            load(&self.shared.unanswered),
        )
    }

    /// Fails when something that was acknowledged is not in the database.
    pub(crate) async fn check(&self, database: &tokio_postgres::Client, tenants: &[&str]) {
        for &tenant in tenants {
            let (entries, counts) = self.of(tenant);
            let sql = format!(
                "SELECT wanted FROM unnest($1::bigint[]) AS wanted
                 WHERE NOT EXISTS (SELECT 1 FROM {tenant}_ledger WHERE id = wanted)"
            );
            let lost = database.query(&sql, &[&entries]).await;
            let lost = lost.expect("it is SQL");
            let lost: Vec<i64> = lost.iter().map(|row| row.get(0)).collect();
            assert!(
                lost.is_empty(),
                "acknowledged to {tenant} and lost: {lost:?}"
            );
            for (own, count) in counts {
                let sql = format!("SELECT n FROM {tenant}_ledger WHERE id = $1");
                let row = database
                    .query_one(&sql, &[&own])
                    .await
                    .expect("it is there");
                let found: i64 = row.get(0);
                assert!(
                    found >= count,
                    "{tenant} {own} was set to {count}, is {found}"
                );
            }
        }
    }

    fn of(&self, tenant: &str) -> (Vec<i64>, Vec<(i64, i64)>) {
        let ledger = self.shared.ledger.lock().expect("nobody panics with it");
        let entries = ledger.entries.iter().filter(|entry| entry.0 == tenant);
        let counts = ledger.counts.iter().filter(|count| count.0 == tenant);
        (
            entries.map(|entry| entry.1).collect(),
            counts.map(|(_, own, count)| (*own, *count)).collect(),
        )
    }

    pub(crate) async fn stop(self) {
        self.shared.is_stopped.store(true, Ordering::Relaxed);
        self.writers.join_all().await;
    }
}

impl Shared {
    /// Counts an outcome; whether it was acknowledged.
    fn count(&self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Acknowledged => self.acknowledged.fetch_add(1, Ordering::Relaxed),
            Outcome::Unanswered => self.unanswered.fetch_add(1, Ordering::Relaxed),
            Outcome::Refused => return false,
        };
        matches!(outcome, Outcome::Acknowledged)
    }

    fn note(&self, note: impl FnOnce(&mut Ledger)) {
        note(&mut self.ledger.lock().expect("nobody panics with it"));
    }
}

async fn ask(client: &Client, method: &str, payload: &serde_json::Value) -> Outcome {
    let payload = Payload::parse(&payload.to_string()).expect("it is JSON");
    match client.rpc(method, Some("ledger"), payload).await {
        Ok(reply) if reply.lsn.is_some() => Outcome::Acknowledged,
        Ok(reply) => panic!("{method} did nothing: {reply:?}"),
        Err(_) => {
            tokio::time::sleep(DOWN_PAUSE).await;
            Outcome::Unanswered
        }
    }
}

/// A program that writes to the database and knows nothing of the gateway.
struct Stranger {
    url: String,
    tenant: String,
    /// With what drives it.
    connection: Option<(tokio_postgres::Client, JoinSet<()>)>,
}

impl Stranger {
    fn new(url: String, tenant: String) -> Self {
        Self {
            url,
            tenant,
            connection: None,
        }
    }

    /// A random transaction and an entry in the ledger, all of it or nothing.
    async fn write(&mut self, entry: i64, random: &mut StdRng) -> Outcome {
        if self.connection.is_none() {
            let Ok((client, driving)) = tokio_postgres::connect(&self.url, NoTls).await else {
                tokio::time::sleep(DOWN_PAUSE).await;
                return Outcome::Refused;
            };
            let mut tasks = JoinSet::new();
            tasks.spawn(async move {
                // What is wrong the client says.
                let _ = driving.await;
            });
            self.connection = Some((client, tasks));
        }
        let (client, _) = self.connection.as_mut().expect("it was just made");
        let outcome = transaction(client, &self.tenant, entry, random).await;
        match outcome {
            Ok(outcome) => outcome,
            Err(_) => {
                self.connection = None;
                Outcome::Unanswered
            }
        }
    }
}

/// An error means that the connection ended, and perhaps after the commit.
async fn transaction(
    client: &mut tokio_postgres::Client,
    tenant: &str,
    entry: i64,
    random: &mut StdRng,
) -> Result<Outcome, tokio_postgres::Error> {
    let mut all = statements(tenant, random);
    all.push(format!("INSERT INTO {tenant}_ledger VALUES ({entry})"));
    let transaction = client.transaction().await?;
    for statement in &all {
        if let Err(error) = transaction.batch_execute(statement).await {
            return match transaction.client().is_closed() {
                true => Err(error),
                // A deadlock, or a key that is taken.
                false => Ok(Outcome::Refused),
            };
        }
    }
    transaction.commit().await?;
    Ok(Outcome::Acknowledged)
}
