//! One process over Postgres, with bus and cache in memory.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_client::{Client, Options};
use tidegate_core::Lsn;
use tokio::task::JoinSet;

use crate::engines::Site;
use crate::harness::Served;
use crate::queries::RandomQuery;
use crate::watchers::{Recording, Watchers, answers, check_ends, is_same};
use crate::writers::{Commits, call, last_write, transaction};

const QUERIES: usize = 100;
const CLIENTS: usize = 10;
/// Writes one after the other, after each of which SQL is asked for every page.
const STEPS: usize = 150;
/// Strangers that then write at the same time, and the transactions of each.
const STRANGERS: u64 = 4;
const TRANSACTIONS: usize = 60;

/// The commits whose answers are known: where each is, and SQL's answers after it.
type Known = Vec<(Lsn, Vec<String>)>;

/// While writers take turns, every page that a diff leaves is SQL's answer at the diff's commit;
/// after writers that did not wait for one another, every page ends with SQL's answer. Meanwhile
/// connections drop, and clients resume.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_over_postgres_is_what_sql_says() {
    let mut site = Site::new().await;
    let served = Served::start(&["--database", &site.url]);
    let mut random = StdRng::seed_from_u64(1);
    let queries: Vec<RandomQuery> = (0..QUERIES)
        .map(|_| RandomQuery::new(&mut random))
        .collect();
    let mut clients = Vec::new();
    for seed in 0..=CLIENTS as u64 {
        let options = Options {
            seed: Some(seed),
            updates_max: 1 << 16,
            ..Options::new(&served.ws_url("demo", "oracle"))
        };
        clients.push(Client::connect(options).await.expect("the server is up"));
    }
    let caller = clients.pop().expect("one more than watch");
    let watchers = Watchers::start(&clients, &queries);

    let (known, end) = take_turns(&mut site, &caller, &clients, &queries).await;
    write_at_once(&mut site, &caller, &clients).await;
    let recordings = watchers.finish(last_write(&caller).await).await;

    let database = site.connect().await;
    check_ends(&recordings, &queries, &answers(&database, &queries).await);
    let right = check_diffs(&recordings, &queries, &known, end);
    assert!(right > 1_000, "only {right} comparisons");
    let resumes: usize = recordings.iter().map(|one| one.resumes).sum();
    assert!(resumes > 10, "only {resumes} resumes");
    let reasons = recordings.iter().flat_map(|one| &one.reasons);
    let first = reasons.filter(|reason| *reason == "subscribe").count();
    assert_eq!(
        first, QUERIES,
        "one first page each, others say why they came"
    );
    println!("{right} pages right after diffs, {resumes} resumes");
    drop(served);
}

/// Writers that wait for one another, so that the table after each commit is known.
async fn take_turns(
    site: &mut Site,
    caller: &Client,
    clients: &[Client],
    queries: &[RandomQuery],
) -> (Known, Lsn) {
    let mut random = StdRng::seed_from_u64(2);
    let mut database = site.connect().await;
    let commits = Commits::new(site.connect().await).await;
    let mut known = Known::new();
    for _ in 0..STEPS {
        match random.random_bool(0.5) {
            true => transaction(&mut database, &mut random).await,
            false => call(caller, &mut random).await,
        }
        // One that was rolled back, or that changed nothing, is no commit.
        if let Some(lsn) = commits.next().await {
            known.push((lsn, answers(&database, queries).await));
        }
        drop_one(clients, &mut random).await;
    }
    let (end, _) = *known.last().expect("some are committed");
    (known, end)
}

/// Writers that do not wait.
async fn write_at_once(site: &mut Site, caller: &Client, clients: &[Client]) {
    let mut writers = JoinSet::new();
    for stranger in 0..STRANGERS {
        let mut database = site.connect().await;
        writers.spawn(async move {
            let mut random = StdRng::seed_from_u64(100 + stranger);
            for _ in 0..TRANSACTIONS {
                transaction(&mut database, &mut random).await;
            }
        });
    }
    let mut random = StdRng::seed_from_u64(3);
    while !writers.is_empty() {
        // To its end: one that was given up could still be carried out after the last write.
        call(caller, &mut random).await;
        while let Some(ended) = writers.try_join_next() {
            ended.expect("no panic");
        }
        drop_one(clients, &mut random).await;
    }
}

async fn drop_one(clients: &[Client], random: &mut StdRng) {
    if random.random_bool(0.1) {
        let client = &clients[random.random_range(0..clients.len())];
        client.drop_connection().await;
    }
}

/// Holds every page that a diff left to the answer at the diff's commit, while answers are known.
/// Gives how many there were.
fn check_diffs(
    recordings: &[Recording],
    queries: &[RandomQuery],
    known: &Known,
    end: Lsn,
) -> usize {
    let mut right = 0;
    for recording in recordings {
        for (lsn, page) in recording.diffs.iter().filter(|(lsn, _)| *lsn <= end) {
            let count = known.partition_point(|(commit, _)| commit <= lsn);
            // Before the first known answer.
            let Some(at) = count.checked_sub(1) else {
                continue;
            };
            let answer = &known[at].1[recording.query];
            let RandomQuery { json, sql } = &queries[recording.query];
            assert!(
                is_same(page, answer),
                "at {lsn}: {json}\n{sql}\nshown    {page}\nexpected {answer}"
            );
            right += 1;
        }
    }
    right
}
