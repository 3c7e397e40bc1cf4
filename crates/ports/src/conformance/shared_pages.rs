//! What every cache that gateways of the first generation share promises.

use std::time::Duration;

use bytes::Bytes;
use tidegate_core::Lsn;

use crate::shared_pages::{Claimed, Left, PageClaim, SharedDiff, SharedPages};

fn diff(key: &str, offset: u64, lsn: u64) -> SharedDiff {
    SharedDiff {
        key: key.to_owned(),
        topic: "conformance.diffs".to_owned(),
        partition: 3,
        offset,
        entry: format!("{{\"lsn\":\"{lsn}\",\"b64\":\"\"}}"),
    }
}

async fn lsns(cache: &dyn SharedPages, key: &str) -> Vec<String> {
    let entries = cache.diffs(key).await.expect("cache is up");
    let lsn = |entry: Bytes| {
        let text = String::from_utf8(entry.to_vec()).expect("as it was written");
        text.split('"')
            .nth(3)
            .expect("as it was written")
            .to_owned()
    };
    entries.into_iter().map(lsn).collect()
}

async fn claim(cache: &dyn SharedPages, gateway: u64, key: &str, query: &str) -> Claimed {
    let claim = PageClaim {
        key: key.to_owned(),
        query: query.to_owned(),
    };
    let claimed = cache.claim(gateway, vec![claim]).await;
    claimed.expect("cache is up")[0]
}

/// Runs the suite against an empty cache with this lease, which keeps five diffs of a page.
///
/// # Panics
/// When a promise is broken.
pub async fn shared_pages_conform(cache: &dyn SharedPages, lease: Duration) {
    claims_are_counted(cache).await;
    diffs_are_kept_once(cache).await;
    pages_drop_what_is_in_them(cache).await;
    claims_lapse(cache, lease).await;
}

async fn claims_are_counted(cache: &dyn SharedPages) {
    let key = "demo_notes|q1";
    assert_eq!(claim(cache, 1, key, "a").await, Claimed::Granted);
    assert_eq!(claim(cache, 2, key, "b").await, Claimed::Conflict);
    assert_eq!(claim(cache, 2, key, "a").await, Claimed::Granted);
    assert_eq!(claim(cache, 1, key, "a").await, Claimed::Renewed);
    let leave = async |gateway| cache.leave(gateway, key).await.expect("cache is up");
    assert_eq!(leave(1).await, Left::Others);
    assert_eq!(leave(1).await, Left::Others, "it had left already");
    assert_eq!(leave(2).await, Left::Last);
    assert_eq!(
        claim(cache, 2, key, "b").await,
        Claimed::Granted,
        "the key is free"
    );
    assert_eq!(
        claim(cache, 2, key, "c").await,
        Claimed::Renewed,
        "its own claim"
    );
    assert_eq!(leave(2).await, Left::Last);
    let lapsed = cache.take_lapsed(10).await.expect("cache is up");
    assert_eq!(lapsed, [""; 0], "those who left have not lapsed");
}

async fn diffs_are_kept_once(cache: &dyn SharedPages) {
    let key = "demo_notes|diffs";
    let append = async |diffs| cache.append(diffs).await.expect("cache is up");
    assert_eq!(lsns(cache, key).await, [""; 0]);
    append(vec![
        diff(key, 5, 100),
        diff("other", 6, 7),
        diff(key, 9, 101),
    ])
    .await;
    append(vec![
        diff(key, 5, 100),
        diff(key, 9, 101),
        diff(key, 10, 101),
    ])
    .await;
    assert_eq!(lsns(cache, key).await, ["100", "101", "101"]);
    let highest = u64::MAX;
    append(vec![
        diff(key, 11, 9),
        diff(key, 12, highest),
        diff(key, 13, 1),
    ])
    .await;
    let newest = ["101", "101", "9", &highest.to_string(), "1"];
    assert_eq!(lsns(cache, key).await, newest, "the oldest goes first");
    assert_eq!(lsns(cache, "other").await, ["7"]);
}

async fn pages_drop_what_is_in_them(cache: &dyn SharedPages) {
    let key = "demo_notes|pages";
    let store = async |lsn, page: &'static str| {
        let stored = cache.store(key, Lsn::new(lsn), Bytes::from_static(page.as_bytes()));
        stored.await.expect("cache is up");
    };
    let first = 9_007_199_254_740_992;
    let diffs = [0, 1, 2, 3].map(|at| diff(key, 20 + at, first + at));
    cache.append(diffs.to_vec()).await.expect("cache is up");
    store(first + 1, "{\"rows\":[]}").await;
    let left = [first + 2, first + 3].map(|lsn| lsn.to_string());
    assert_eq!(lsns(cache, key).await, left, "told apart above 2^53");
    store(first + 2, "{}").await;
    store(5, "{\"old\":1}").await;
    assert_eq!(lsns(cache, key).await, left[1..]);
    store(u64::MAX, "{}").await;
    assert_eq!(lsns(cache, key).await, [""; 0]);
    assert_eq!(cache.range(key).await.expect("cache is up"), [""; 0]);
}

async fn claims_lapse(cache: &dyn SharedPages, lease: Duration) {
    assert_eq!(claim(cache, 1, "lapsing", "a").await, Claimed::Granted);
    assert_eq!(claim(cache, 1, "shared", "a").await, Claimed::Granted);
    let mut lapsed = Vec::new();
    while lapsed.is_empty() {
        assert_ne!(claim(cache, 2, "shared", "a").await, Claimed::Conflict);
        tokio::time::sleep(lease / 4).await;
        lapsed = cache.take_lapsed(10).await.expect("cache is up");
    }
    assert_eq!(lapsed, ["lapsing"], "not the one that is renewed");
    let again = cache.take_lapsed(10).await.expect("cache is up");
    assert_eq!(again, [""; 0], "told once");
    assert_eq!(claim(cache, 3, "lapsing", "b").await, Claimed::Granted);
}
