//! The page oracle: random writers against random subscriptions, every page compared with SQL's
//! answer.
//!
//! One table is written by three parties at once: a connection of this process and a Python process
//! with its own SQLite, both strangers to the server, with transactions of several rows, key moves,
//! replacements, savepoints and rollbacks; and clients of the server through procedures. Meanwhile
//! more than a hundred subscriptions with random filters, orders, limits and keysets come and go,
//! lose their connections and resume. Each writer notes the commit position of each transaction and
//! what the table held then, so that afterwards the page of every subscriber can be compared with
//! SQL's own answer at each of its positions.
//!
//! `ORACLE_SEED` and `ORACLE_CALLS` make other and longer runs.

mod checker;
mod queries;
mod subscribers;
mod things;
mod writers;

use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tidegate_client::{Client, Options};
use tokio::task::JoinSet;

use crate::harness::{Folder, Served};
use crate::oracle::checker::{Report, check, tampered};
use crate::oracle::queries::Plan;
use crate::oracle::subscribers::{Recording, subscriber};
use crate::oracle::things::{Event, History};

const CLIENTS: usize = 12;
const SUBSCRIPTIONS_PER_CLIENT: usize = 9;

#[expect(
    clippy::disallowed_methods,
    reason = "a test's own settings, read in one place"
)]
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Every page of every subscriber is SQL's answer at its position, and each tampering with what was
/// received is caught.
#[test]
fn every_page_is_what_sql_says() {
    let (seed, calls) = (setting("ORACLE_SEED", 1), setting("ORACLE_CALLS", 300));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let (history, recordings) = runtime
        .expect("a runtime starts")
        .block_on(observe(seed, calls));
    let Report {
        checks,
        wrong,
        late,
    } = check(&history, &recordings);
    let repeat = format!("ORACLE_SEED={seed} ORACLE_CALLS={calls}");
    assert!(
        wrong.is_empty(),
        "{} of {checks} pages wrong ({repeat}):\n{}",
        wrong.len(),
        wrong[0]
    );
    println!(
        "{checks} pages compared, 0 wrong, {late} late, {} subscriptions ({repeat})",
        recordings.len()
    );
    assert!(recordings.len() >= CLIENTS * SUBSCRIPTIONS_PER_CLIENT);
    assert!(checks > calls as usize * 20, "only {checks} comparisons");
    assert!(
        late * 4 < checks,
        "{late} of {checks} pages late ({repeat})"
    );
    assert!(recordings.iter().any(|one| one.resumed()), "nobody resumed");
    for (what, recordings) in tampered(&recordings) {
        let caught = check(&history, &recordings).wrong.len();
        assert!(caught > 0, "{what} was not noticed ({repeat})");
    }
}

async fn observe(seed: u64, calls: u64) -> (History, Vec<Recording>) {
    let folder = Folder::new();
    let file = folder.path().join("things.db");
    let first = things::create(&file, seed);
    let database = format!("sqlite:{}", file.display());
    let served = Arc::new(Served::start_in(folder, &["--database", &database]));
    let url = served.ws_url("demo", "oracle");

    let mut clients = Vec::new();
    for number in 0..=CLIENTS as u64 {
        let options = Options {
            seed: Some(seed + number),
            updates_max: 1 << 20,
            ..Options::new(&url)
        };
        clients.push(Client::connect(options).await.expect("the server is up"));
    }
    let caller = clients.pop().expect("one more than subscribe");

    let (finish, finished) = tokio::sync::watch::channel(None);
    let mut subscribers = JoinSet::new();
    let mut random = StdRng::seed_from_u64(seed);
    for client in &clients {
        for _ in 0..SUBSCRIPTIONS_PER_CLIENT {
            let plan = Plan::new(&mut random);
            subscribers.spawn(subscriber(client.clone(), plan, finished.clone()));
        }
    }

    let (local_turns, turns) = std::sync::mpsc::sync_channel(4);
    let local = {
        let file = file.clone();
        tokio::task::spawn_blocking(move || writers::this_process(&file, seed + 1, &turns))
    };
    let (foreign_turns, turns) = std::sync::mpsc::sync_channel(4);
    let foreign = {
        let file = file.clone();
        tokio::task::spawn_blocking(move || writers::another_process(&file, seed + 2, &turns))
    };
    let strangers = vec![local_turns, foreign_turns];
    let called = writers::procedures(&caller, &clients, seed + 3, calls, strangers).await;
    let mut events = vec![first];
    events.extend(local.await.expect("the writer does not panic"));
    events.extend(foreign.await.expect("the writer does not panic"));
    events.extend(called);
    let history = History::new(events);

    finish.send_replace(Some(history.last_lsn()));
    let recordings = subscribers.join_all().await.into_iter().flatten().collect();
    (history, recordings)
}

/// What a commit did, for the tests of this folder.
pub(crate) type Events = Vec<Event>;
