//! From a request to a session: what is served, who is let in, and as whom.

use tidegate_gateway::{Auth, Gateway, GatewayError, HttpReply};
use tidegate_ports::MemoryBusLimits;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Error;

use crate::world::{World, config, ports, request};

/// Health in the old shape, the injected pages, and a short text for everything else.
#[tokio::test]
async fn plain_requests_are_served() {
    let mut config = config();
    config.http = std::sync::Arc::new(|request| {
        (request.path == "/ready").then(|| HttpReply {
            status: 503,
            content_type: "text/plain",
            headers: vec![("retry-after", "1".to_owned())],
            body: "not yet".into(),
        })
    });
    let world = World::with(config, MemoryBusLimits::default()).await;
    let health = world.health().await;
    assert_eq!(health["status"], "healthy");
    for field in ["connections", "sessions", "slowSockets"] {
        assert_eq!(health[field], 0, "{field}");
    }
    assert!(health["uptime"].is_number());
    let ready = world.get("/ready").await;
    assert!(
        ready.starts_with("HTTP/1.1 503") && ready.ends_with("not yet"),
        "{ready}"
    );
    let other = world.get("/whatever?x=1").await;
    assert!(
        other.starts_with("HTTP/1.1 200") && other.ends_with("gateway\n"),
        "{other}"
    );
    world.stop().await;
}

/// Without authentication the gateway refuses to listen where others could reach it.
#[test]
fn nobody_is_believed_from_elsewhere() {
    let mut open = config();
    open.listen = "0.0.0.0:0".parse().unwrap();
    let result = Gateway::build(open, ports());
    assert!(matches!(result, Err(GatewayError::OpenToAll(_))));
}

/// A tenant that cannot exist is refused before there is a session.
#[tokio::test]
async fn impossible_tenants_are_refused() {
    let world = World::new().await;
    let refused = connect_async(request(world.address, "a_b", "ann")).await;
    assert_refused(refused, 403, "forbidden");
    world.stop().await;
}

/// Behind a proxy both headers are required: nobody is anonymous by default.
#[tokio::test]
async fn a_proxy_must_name_both() {
    let mut config = config();
    config.auth = Auth::Headers;
    let world = World::with(config, MemoryBusLimits::default()).await;
    let mut without = request(world.address, "acme", "ann");
    without.headers_mut().remove("x-user-id");
    assert_refused(connect_async(without).await, 401, "unauthorized");
    let allowed = connect_async(request(world.address, "acme", "ann")).await;
    assert!(allowed.is_ok());
    world.stop().await;
}

/// There is room for so many sessions and no more; who leaves makes room.
#[tokio::test]
async fn sessions_are_bounded() {
    let mut config = config();
    config.limits.sessions_max = 1;
    let world = World::with(config, MemoryBusLimits::default()).await;
    let first = world.connect().await;
    let second = connect_async(request(world.address, "acme", "bob")).await;
    assert_refused(second, 503, "overloaded");
    drop(first);
    world.until("sessions", 0).await;
    world.connect().await;
    world.stop().await;
}

fn assert_refused<T>(result: Result<T, Error>, status: u16, code: &str) {
    match result {
        Err(Error::Http(response)) => {
            assert_eq!(response.status().as_u16(), status);
            let body = response.body().as_deref().unwrap_or_default();
            let body: serde_json::Value = serde_json::from_slice(body).unwrap();
            assert_eq!(body["code"], code);
            assert!(
                body["message"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty())
            );
        }
        Err(other) => panic!("refused otherwise: {other}"),
        Ok(_) => panic!("not refused"),
    }
}
