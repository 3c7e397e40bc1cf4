//! A relay that stands by for another.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::door::Door;
use crate::engines::{Site, TENANT, address};
use crate::harness::Served;
use crate::program::Program;
use crate::queries::RandomQuery;
use crate::split::Load;
use crate::watchers::{Watchers, answers, check_ends};
use crate::writers::last_write;

const QUERIES: usize = 12;
const CLIENTS: u64 = 3;
/// Transactions before the death and after it.
const BETWEEN: usize = 60;

/// Of two relays one stands by, and says so. When the other is killed it goes on: every page is
/// SQL's answer at the end, and no client was given anything twice or a page in place of diffs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_relay_takes_over() {
    let mut site = Site::new().await;
    let kafka = address("TIDEGATE_TEST_KAFKA");
    let program = Program::over(&kafka, &address("TIDEGATE_TEST_REDIS"), &site.url);
    let first = program.start("cdc");
    let second = program.start("cdc");
    becomes(&first, "true").await;
    becomes(&second, "\"standby\"").await;
    assert_eq!(second.get("/ready").status, 200, "nothing is missing");
    let processor = program.start("processor");
    let gateways = [program.start("gateway"), program.start("gateway")];
    let door = Door::open(gateways.each_ref().map(Served::address));

    let mut random = StdRng::seed_from_u64(9);
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
    drop(first);
    load.more(BETWEEN).await;
    load.stop().await;

    let recordings = watchers.finish(last_write(&caller).await).await;
    becomes(&second, "true").await;
    let database = site.connect().await;
    check_ends(&recordings, &queries, &answers(&database, &queries).await);
    for recording in &recordings {
        assert_eq!(recording.reasons, ["subscribe"]);
    }
    let diffs: usize = recordings.iter().map(|one| one.diffs.len()).sum();
    assert!(diffs > BETWEEN, "only {diffs} diffs");
    drop((second, processor, gateways));
}

/// Waits until a relay says this of itself: it says so a moment after it is so.
async fn becomes(served: &Served, state: &str) {
    for _ in 0..200 {
        if relay_of(served) == state {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(relay_of(served), state);
}

/// What a relay says of itself.
fn relay_of(served: &Served) -> String {
    let ready = served.get("/ready").body;
    let (_, rest) = ready.split_once("\"relay\":").expect("it has this role");
    rest.trim_end_matches('}').to_owned()
}
