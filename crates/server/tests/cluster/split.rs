//! The roles in processes of their own, over Kafka, Redis and Postgres.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_client::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::door::Door;
use crate::engines::{Site, TENANT, address};
use crate::harness::Served;
use crate::program::Program;
use crate::queries::RandomQuery;
use crate::watchers::{Watchers, answers, check_ends};
use crate::writers::{call, last_write, transaction};

const QUERIES: usize = 48;
const CLIENTS: u64 = 8;
const STRANGERS: u64 = 2;
/// Transactions between one death and the next.
const BETWEEN: usize = 60;

/// Each role dies by `kill -9` while strangers and clients write; clients come back to whichever of
/// two gateways takes them. At the end every page is SQL's answer, and on the way nobody was given
/// a part of a page in silence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_may_die() {
    let mut site = Site::new().await;
    let kafka = address("TIDEGATE_TEST_KAFKA");
    let program = Program::over(&kafka, &address("TIDEGATE_TEST_REDIS"), &site.url);
    let relay = program.start("cdc");
    let processor = program.start("processor");
    let gateways = [program.start("gateway"), program.start("gateway")];
    let door = Door::open(gateways.each_ref().map(Served::address));

    let mut random = StdRng::seed_from_u64(5);
    let queries: Vec<RandomQuery> = (0..QUERIES)
        .map(|_| RandomQuery::new(&mut random))
        .collect();
    let mut clients = Vec::new();
    for seed in 0..=CLIENTS {
        clients.push(door.client(TENANT, seed).await);
    }
    let caller = clients.pop().expect("one more than watch");
    let watchers = Watchers::start(&clients, &queries);

    let mut load = Load::start(&mut site, caller.clone(), clients.clone()).await;
    load.more(BETWEEN).await;
    let [first, second] = gateways;
    let first = kill(first, &mut load).await;
    let second = kill(second, &mut load).await;
    let processor = kill(processor, &mut load).await;
    let relay = kill(relay, &mut load).await;
    load.stop().await;

    let recordings = watchers.finish(last_write(&caller).await).await;
    let database = site.connect().await;
    check_ends(&recordings, &queries, &answers(&database, &queries).await);
    let resumes: usize = recordings.iter().map(|one| one.resumes).sum();
    let reasons: Vec<&String> = recordings.iter().flat_map(|one| &one.reasons).collect();
    let first_pages = reasons.iter().filter(|reason| **reason == "subscribe");
    assert_eq!(first_pages.count(), QUERIES, "{reasons:?}");
    assert!(resumes > 0, "nobody resumed: {reasons:?}");
    println!(
        "{QUERIES} pages right at the end, {resumes} resumes, {} pages",
        reasons.len()
    );
    drop((first, second, processor, relay));
}

/// Kills a process, starts it again, and lets more be written.
async fn kill(served: Served, load: &mut Load) -> Served {
    let restarted = tokio::task::spawn_blocking(|| served.crash_and_restart()).await;
    load.more(BETWEEN).await;
    restarted.expect("it becomes ready again")
}

/// Writers, until they are stopped.
pub(crate) struct Load {
    writers: JoinSet<()>,
    stop: watch::Sender<bool>,
    written: Arc<AtomicUsize>,
    progress: watch::Receiver<usize>,
}

impl Load {
    pub(crate) async fn start(site: &mut Site, caller: Client, clients: Vec<Client>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (noted, progress) = watch::channel(0);
        let noted = Arc::new(noted);
        let written = Arc::new(AtomicUsize::new(0));
        let mut writers = JoinSet::new();
        for stranger in 0..STRANGERS {
            let mut database = site.connect().await;
            let (stopped, noted) = (stopped.clone(), Arc::clone(&noted));
            let written = Arc::clone(&written);
            writers.spawn(async move {
                let mut random = StdRng::seed_from_u64(200 + stranger);
                while !*stopped.borrow() {
                    transaction(&mut database, &mut random).await;
                    noted.send_replace(written.fetch_add(1, Ordering::Relaxed) + 1);
                    // As fast as possible would measure the machine, not the system.
                    tokio::time::sleep(std::time::Duration::from_millis(30)).await;
                }
            });
        }
        writers.spawn(async move {
            let mut random = StdRng::seed_from_u64(300);
            while !*stopped.borrow() {
                call(&caller, &mut random).await;
                if random.random_bool(0.1) {
                    let client = &clients[random.random_range(0..clients.len())];
                    client.drop_connection().await;
                }
            }
        });
        Self {
            writers,
            stop,
            written,
            progress,
        }
    }

    /// Waits until the strangers have made so many transactions more.
    pub(crate) async fn more(&mut self, count: usize) {
        let goal = self.written.load(Ordering::Relaxed) + count;
        let reached = self.progress.wait_for(|written| *written >= goal).await;
        reached.expect("the strangers live");
    }

    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        self.writers.join_all().await;
    }
}
