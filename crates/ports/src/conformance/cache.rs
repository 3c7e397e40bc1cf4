//! What every hot cache promises.

use bytes::Bytes;
use tidegate_core::{Epoch, Offset, Position, QueryHash, RoutingKey, TableName, TenantId};

use crate::cache::{HotCache, Replay, TailEntry};

fn key(table: &str) -> RoutingKey {
    let hash = "00112233445566778899aabbccddeeff";
    RoutingKey {
        tenant: TenantId::parse("conformance").expect("valid"),
        table: TableName::parse(table).expect("valid"),
        query: hash.parse::<QueryHash>().expect("valid"),
    }
}

fn at(epoch: u64, offset: u64) -> Position {
    Position {
        epoch: Epoch::from_raw(epoch),
        offset: Offset::new(offset),
    }
}

async fn append(cache: &dyn HotCache, key: &RoutingKey, positions: &[Position]) -> usize {
    let entry = |position: &Position| TailEntry {
        key: key.clone(),
        position: *position,
        value: Bytes::from(position.to_string()),
    };
    cache
        .append(positions.iter().map(entry).collect())
        .await
        .expect("cache is up")
        .refused
}

async fn replay(cache: &dyn HotCache, key: &RoutingKey, after: Position) -> Option<Vec<Position>> {
    match cache.replay(key, after).await.expect("cache is up") {
        Replay::Gap => None,
        Replay::Complete(entries) => {
            for (position, value) in &entries {
                assert_eq!(
                    value,
                    &position.to_string(),
                    "the value is kept byte for byte"
                );
            }
            Some(entries.into_iter().map(|(position, _)| position).collect())
        }
    }
}

/// Runs the suite against an empty cache.
///
/// # Panics
/// When a promise is broken.
pub async fn cache_conforms(cache: &dyn HotCache) {
    let orders = key("orders");
    assert_eq!(
        replay(cache, &orders, at(1, 0)).await,
        None,
        "an unknown key is a gap"
    );

    append(cache, &orders, &[at(1, 0), at(1, 1), at(1, 2)]).await;
    assert_eq!(
        replay(cache, &orders, at(1, 0)).await,
        Some(vec![at(1, 1), at(1, 2)])
    );
    assert_eq!(
        replay(cache, &orders, at(1, 2)).await,
        Some(vec![]),
        "the newest has nothing after"
    );
    assert_eq!(
        replay(cache, &orders, at(1, 3)).await,
        None,
        "a position not reached yet is a gap"
    );
    assert_eq!(
        replay(cache, &orders, at(0, 9)).await,
        None,
        "an older epoch is a gap"
    );
    assert_eq!(
        replay(cache, &key("other"), at(1, 0)).await,
        None,
        "keys do not mix"
    );

    assert_eq!(
        append(cache, &orders, &[at(1, 2), at(1, 1)]).await,
        2,
        "not higher is refused"
    );
    assert_eq!(
        append(cache, &orders, &[at(0, 7)]).await,
        1,
        "a late owner is refused"
    );

    append(cache, &orders, &[at(1, 4)]).await;
    assert_eq!(
        replay(cache, &orders, at(1, 2)).await,
        None,
        "a hole is a gap, not a part"
    );
    assert_eq!(
        replay(cache, &orders, at(1, 3)).await,
        Some(vec![at(1, 4)]),
        "after the hole is whole"
    );

    append(cache, &orders, &[at(2, 0), at(2, 1)]).await;
    assert_eq!(
        replay(cache, &orders, at(1, 4)).await,
        None,
        "a run does not cross epochs"
    );
    assert_eq!(replay(cache, &orders, at(2, 0)).await, Some(vec![at(2, 1)]));
}
