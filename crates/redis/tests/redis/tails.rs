//! Shows that the cache keeps the promises of its seam on a real Redis: refusals, bounds and ends
//! of tails included.

use std::time::Duration;

use tidegate_ports::conformance::cache_conforms;
use tidegate_ports::{HotCache, PortError};
use tidegate_redis::RedisCache;

use crate::world::{append, ask, at, entries, entry, key, replay, shared, stream, until};

#[tokio::test]
async fn the_cache_conforms() {
    cache_conforms(&RedisCache::new(shared())).await;
}

#[tokio::test]
async fn a_late_owner_is_refused_by_the_server() {
    let config = shared();
    let old_owner = RedisCache::new(config.clone());
    let new_owner = RedisCache::new(config);
    append(&old_owner, entries(1, 0, 3)).await;
    append(
        &new_owner,
        vec![entry(at(2, 0), "new"), entry(at(2, 1), "new")],
    )
    .await;

    assert_eq!(append(&old_owner, entries(1, 3, 6)).await, 3);
    let run = replay(&new_owner, at(2, 0)).await.unwrap();
    assert_eq!(run, [(at(2, 1), "new 2-1".into())]);
    assert_eq!(replay(&new_owner, at(1, 2)).await, None);
}

/// Each of two writers writes every position once. Whichever is first at a position wins it, and
/// the other is refused, so the tail is whole and the refusals are exactly the losers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_at_once_leave_a_whole_tail() {
    const COUNT: u64 = 300;
    let config = shared();
    let write = async |writer: &'static str| {
        let cache = RedisCache::new(config.clone());
        let mut refused = 0;
        for offset in 0..COUNT {
            refused += append(&cache, vec![entry(at(1, offset), writer)]).await;
        }
        refused
    };
    let (first, second) = tokio::join!(write("first"), write("second"));
    assert_eq!(first + second, 300);
    let run = replay(&RedisCache::new(config), at(1, 0)).await.unwrap();
    let positions: Vec<_> = run.iter().map(|(position, _)| *position).collect();
    assert!(
        positions
            .into_iter()
            .eq((1..COUNT).map(|offset| at(1, offset)))
    );
}

#[tokio::test]
async fn a_tail_keeps_its_newest_entries() {
    let mut config = shared();
    config.tail_entries_max = 100;
    let cache = RedisCache::new(config.clone());
    assert_eq!(append(&cache, entries(1, 0, 1_000)).await, 0);
    let kept: u64 = ask(&config, &["XLEN", &stream(&config)]).await;
    // The server cuts whole nodes of 100 entries.
    assert!((100..=200).contains(&kept), "{kept}");

    assert_eq!(replay(&cache, at(1, 0)).await, None);
    assert_eq!(replay(&cache, at(1, 900)).await.unwrap().len(), 99);
    assert_eq!(replay(&cache, at(1, 899)).await.unwrap().len(), 100);
    assert_eq!(
        replay(&cache, at(1, 898)).await,
        None,
        "the server may still have it, but it is past the bound"
    );
}

#[tokio::test]
async fn an_answer_is_bounded_in_bytes() {
    let mut config = shared();
    config.replay_bytes_max = 10 * "owner 1-100".len();
    let cache = RedisCache::new(config);
    append(&cache, entries(1, 100, 200)).await;
    assert_eq!(replay(&cache, at(1, 189)).await.unwrap().len(), 10);
    assert_eq!(replay(&cache, at(1, 188)).await, None);
}

#[tokio::test]
async fn a_long_tail_is_read_in_parts() {
    let cache = RedisCache::new(shared());
    append(&cache, entries(9, 0, 1_000)).await;
    let run = replay(&cache, at(9, 3)).await.unwrap();
    assert_eq!(run.len(), 996);
    assert_eq!(run.last().unwrap().1, "owner 9-999");
}

#[tokio::test]
async fn the_largest_numbers_are_positions_too() {
    let cache = RedisCache::new(shared());
    let last = at(u64::MAX, u64::MAX);
    append(
        &cache,
        vec![entry(at(u64::MAX, u64::MAX - 1), "a"), entry(last, "a")],
    )
    .await;
    assert_eq!(
        replay(&cache, at(u64::MAX, u64::MAX - 1))
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(replay(&cache, last).await, Some(vec![]));
    // No stream can hold 0-0; no owner has the epoch 0 either.
    let cache = RedisCache::new(shared());
    assert_eq!(append(&cache, vec![entry(at(0, 0), "a")]).await, 1);
}

#[tokio::test]
async fn a_tail_ends_some_time_after_its_newest_entry() {
    let mut config = shared();
    let cache = RedisCache::new(config.clone());
    append(&cache, entries(1, 0, 2)).await;
    let left: u64 = ask(&config, &["PTTL", &stream(&config)]).await;
    assert!((1..=600_000).contains(&left), "{left}");

    config.retention = Duration::from_millis(20);
    let hasty = RedisCache::new(config.clone());
    append(&hasty, entries(1, 2, 3)).await;
    until("the tail ends", async || {
        replay(&cache, at(1, 0)).await.is_none()
    })
    .await;
    let there: u64 = ask(&config, &["EXISTS", &stream(&config)]).await;
    assert_eq!(there, 0);
}

#[tokio::test]
async fn a_key_of_another_kind_is_an_error_and_harms_no_other_call() {
    let config = shared();
    let cache = RedisCache::new(config.clone());
    let () = ask(&config, &["SET", &stream(&config), "not a stream"]).await;
    let error = cache.append(entries(1, 0, 1)).await.unwrap_err();
    assert!(matches!(error, PortError::Rejected { .. }), "{error:?}");
    assert!(error.to_string().contains("WRONGTYPE"), "{error}");
    let error = cache.replay(&key(), at(1, 0)).await.unwrap_err();
    assert!(matches!(error, PortError::Rejected { .. }), "{error:?}");

    let () = ask(&config, &["DEL", &stream(&config)]).await;
    let () = ask(
        &config,
        &["XADD", &stream(&config), "1-1", "other", "field"],
    )
    .await;
    let error = cache.replay(&key(), at(1, 0)).await.unwrap_err();
    assert!(matches!(error, PortError::Corrupt { .. }), "{error:?}");

    let () = ask(&config, &["DEL", &stream(&config)]).await;
    assert_eq!(append(&cache, entries(1, 0, 1)).await, 0);
}

#[tokio::test]
async fn nothing_to_append_is_no_call() {
    let nowhere = crate::world::config("redis://127.0.0.1:1");
    assert_eq!(append(&RedisCache::new(nowhere), Vec::new()).await, 0);
}
