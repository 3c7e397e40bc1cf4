//! Shows that what gateways share is shared on a real Redis, in the very bytes of the programs
//! before us, and once however many of them write it.

use std::time::Duration;

use tidegate_core::Lsn;
use tidegate_ports::conformance::shared_pages_conform;
use tidegate_ports::{SharedDiff, SharedPages};
use tidegate_redis::{RedisConfig, RedisSharedPages, SharedPagesSettings};

use crate::world::{ask, shared};

fn pages(config: &RedisConfig, diffs_max: usize) -> RedisSharedPages {
    let settings = SharedPagesSettings {
        lease: Duration::from_secs(1),
        diffs_max,
        retention: Duration::from_secs(600),
    };
    RedisSharedPages::new(config, settings)
}

#[tokio::test]
async fn shared_pages_keep_their_promises() {
    let pages = pages(&shared(), 5);
    shared_pages_conform(&pages, Duration::from_secs(1)).await;
}

/// Defect 4 of the gateway before us: each of them appended every diff, and some twice.
#[tokio::test]
async fn two_gateways_keep_a_diff_once_and_in_the_old_form() {
    let config = shared();
    let (one, other) = (pages(&config, 5_000), pages(&config, 5_000));
    let diff = |offset: u64| SharedDiff {
        key: "demo_notes|q1".to_owned(),
        topic: "server.page.diffs".to_owned(),
        partition: 0,
        offset,
        entry: format!("{{\"lsn\":\"{}\",\"b64\":\"AAFi\"}}", 100 + offset),
    };
    let diffs: Vec<_> = (0..50).map(diff).collect();
    let (first, second) = tokio::join!(one.append(diffs.clone()), other.append(diffs));
    first.unwrap();
    second.unwrap();
    let list = format!("{}diff:demo_notes|q1", config.key_prefix);
    let kept: Vec<String> = ask(&config, &["LRANGE", &list, "0", "-1"]).await;
    assert_eq!(kept.len(), 50);
    assert_eq!(kept[0], r#"{"lsn":"100","b64":"AAFi"}"#);
    let left: i64 = ask(&config, &["PTTL", &list]).await;
    assert!((1..=600_000).contains(&left));

    one.store("demo_notes|q1", Lsn::new(148), "{\"rows\":[]}".into())
        .await
        .unwrap();
    let page = format!("{}snap:demo_notes|q1", config.key_prefix);
    let stored: String = ask(&config, &["GET", &page]).await;
    assert_eq!(stored, "{\"rows\":[]}");
    let kept: Vec<String> = ask(&config, &["LRANGE", &list, "0", "-1"]).await;
    assert_eq!(kept, [r#"{"lsn":"149","b64":"AAFi"}"#]);

    let range = format!("{}range:demo_notes|q1", config.key_prefix);
    let _: i64 = ask(&config, &["RPUSH", &range, "n01", "é"]).await;
    assert_eq!(one.range("demo_notes|q1").await.unwrap(), ["n01", "é"]);
}
