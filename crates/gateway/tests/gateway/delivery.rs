//! Pages and diffs reach clients whole and in order, or with a reason why not.

use serde_json::json;
use tidegate_protocol::PageCause;

use crate::world::{World, at, diff, page, position};

/// The whole path: a subscribe asks the owner for the page, the page and each later diff arrive once.
#[tokio::test]
async fn a_subscription_gets_its_page_and_then_its_diffs() {
    let mut world = World::new().await;
    let mut client = world.connect().await;
    client.subscribe("mine", json!({})).await;
    assert_eq!(client.expect("ack").await["hashId"], "mine");
    let key = world.next_wish().await;
    assert_eq!(key.tenant.as_str(), "acme");

    world
        .publish(
            &key,
            &[
                page(at(1, 0), PageCause::Opened),
                diff(at(1, 1)),
                diff(at(1, 2)),
            ],
        )
        .await;
    let snapshot = client.expect("snapshot").await;
    assert_eq!(snapshot["reason"], "subscribe");
    assert_eq!(snapshot["hashId"], "mine");
    assert_eq!(position(&snapshot), at(1, 0));
    for offset in 1..=2 {
        assert_eq!(position(&client.expect("diff").await), at(1, offset));
    }
    client
        .send(
            json!({"op": "rpc", "method": "TABLE_EXISTS", "table": "orders", "correlationId": "c"}),
        )
        .await;
    let result = client.expect("rpcResult").await;
    assert_eq!(
        (&result["data"], &result["correlationId"]),
        (&json!(true), &json!("c"))
    );
    world.stop().await;
}
