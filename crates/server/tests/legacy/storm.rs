//! Two gateways with a hundred clients, under a stream that repeats itself and comes out of order,
//! slow readings and clients that come and go: each client has every diff after its snapshot once
//! and in order, or gets another snapshot. `TIDEGATE_STORM_SEEDS` runs more of them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::worker::{Answer, Script};
use crate::world::{Client, Got, World, page_at};

const KEYS: usize = 5;
const CLIENTS: usize = 100;
const COMMITS: u64 = 300;

/// What was emitted for each key.
type Truth = Arc<Mutex<Vec<BTreeSet<u64>>>>;

/// A client of one key, up to the last commit of all.
async fn follow(mut client: Client, key: usize, last: u64, truth: Truth) -> u32 {
    client.subscribe(&format!("q{key}")).await;
    client.op("ack").await;
    let (mut fence, mut sent): (u64, Vec<u64>) = (0, Vec::new());
    let mut snapshots = 0;
    loop {
        match client.next().await {
            Got::Text(frame) if frame["op"] == "snapshot" => {
                fence = frame["cursor"]["lsn"].as_str().unwrap().parse().unwrap();
                sent.clear();
                snapshots += 1;
            }
            Got::Text(frame) if frame["op"] == "diffB64" => {
                let text = frame["b64"].as_str().unwrap();
                sent.push(number(
                    &base64::engine::general_purpose::STANDARD
                        .decode(text)
                        .unwrap(),
                ));
            }
            Got::Text(frame) => panic!("{frame}"),
            Got::Binary(bytes) => sent.push(number(&bytes)),
        }
        assert!(
            sent.first().is_none_or(|first| *first > fence),
            "{fence}: {sent:?}"
        );
        assert!(
            sent.is_sorted_by(|a, b| a < b),
            "once and in order: {sent:?}"
        );
        if fence >= last || sent.last() == Some(&last) {
            break;
        }
    }
    let truth = truth.lock().unwrap()[key].clone();
    let expect: Vec<u64> = truth.range(fence + 1..=last).copied().collect();
    assert_eq!(sent, expect, "without a hole, after {fence}");
    snapshots
}

fn number(bytes: &[u8]) -> u64 {
    std::str::from_utf8(bytes).unwrap().parse().unwrap()
}

async fn storm(seed: u64) {
    println!("seed {seed}");
    let database = Arc::new(AtomicU64::new(100));
    let (committed, gate) = (database.clone(), Arc::new(Semaphore::new(0)));
    let permits = gate.clone();
    // What is read is of the moment it was asked for; the answer comes when there is a permit.
    let script: Script = Arc::new(move |_| {
        let page = page_at(committed.load(Ordering::SeqCst));
        Answer::Held(permits.clone(), Box::new(page))
    });
    let mut world = World::new(script);
    let gateways = [world.gateway().await, world.gateway().await];
    let mut random = SmallRng::seed_from_u64(seed);
    let truth: Truth = Arc::new(Mutex::new(vec![BTreeSet::new(); KEYS]));
    let last = 100 + COMMITS;
    let mut clients = JoinSet::new();
    let mut started = 0;
    for lsn in 101..=last {
        while started < CLIENTS && random.random_bool(0.4) {
            let client = gateways[started % 2].client().await;
            clients.spawn(follow(client, started % KEYS, last, truth.clone()));
            started += 1;
        }
        database.store(lsn, Ordering::SeqCst);
        let key = random.random_range(0..KEYS);
        // The last commit is everybody's: it tells that all has come.
        let keys = match lsn == last {
            true => (0..KEYS).collect(),
            false => vec![key],
        };
        for key in keys {
            truth.lock().unwrap()[key].insert(lsn);
            world.diff(&format!("demo_notes|q{key}"), lsn).await;
            if random.random_bool(0.1) {
                // The processor says some of it again.
                let again: Vec<u64> = truth.lock().unwrap()[key]
                    .iter()
                    .rev()
                    .take(3)
                    .copied()
                    .collect();
                for lsn in again.into_iter().rev() {
                    world.diff(&format!("demo_notes|q{key}"), lsn).await;
                }
            }
        }
        if random.random_bool(0.3) {
            gate.add_permits(1);
        }
        if random.random_bool(0.2) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    gate.add_permits(10_000);
    let mut snapshots = 0;
    while let Some(followed) = clients.join_next().await {
        snapshots += followed.unwrap();
    }
    assert!(started > CLIENTS / 2 && snapshots as usize >= started);
    for gateway in gateways {
        gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(
    clippy::disallowed_methods,
    reason = "only whoever runs more knows how many"
)]
async fn every_client_has_every_diff_once() {
    let seeds = std::env::var("TIDEGATE_STORM_SEEDS").map_or(2, |text| text.parse().unwrap());
    for seed in 0..seeds {
        storm(seed).await;
    }
}
