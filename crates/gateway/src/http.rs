//! Everything before a connection is a WebSocket: health, the injected pages, and the upgrade.
//!
//! A connection's first request is served by hyper. When it is an upgrade, the bare socket is taken
//! back together with what hyper has already read, and hyper's buffers go: a session must not carry
//! them.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH,
    SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use sha1::{Digest, Sha1};
use tidegate_protocol::{ErrorCode, WireError};
use tokio::net::TcpStream;

use crate::auth::{Principal, Refusal, SUBPROTOCOL, Subprotocol};
use crate::config::{HttpReply, HttpRequest};
use crate::gateway::Shared;
use crate::metrics;

/// RFC 6455, 1.3.
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Bytes of a request's head. Tokens and cookies fit; the least that hyper takes is 8 KiB.
const HEAD_BYTES_MAX: usize = 16 << 10;

type Reply = Response<Full<Bytes>>;

/// A connection that has become a WebSocket.
pub(crate) struct Upgraded {
    pub(crate) socket: TcpStream,
    /// What the client sent right behind its request.
    pub(crate) early_bytes: Bytes,
    pub(crate) principal: Principal,
}

/// An upgrade that was granted and waits for the answer to be written.
type Granted = Rc<RefCell<Option<(OnUpgrade, Principal)>>>;

/// Serves a connection's request. `Some` when it asked for a WebSocket and got it.
pub(crate) async fn serve(socket: TcpStream, shared: &Shared) -> Option<Upgraded> {
    let granted = Granted::default();
    let service = service_fn(|request: Request<Incoming>| {
        let reply = answer(request, shared, &granted);
        std::future::ready(Ok::<_, Infallible>(reply))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.config.limits.head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a request failed");
        return None;
    }
    let (upgrade, principal) = granted.take()?;
    let parts = match upgrade
        .await
        .map(hyper::upgrade::Upgraded::downcast::<TokioIo<TcpStream>>)
    {
        Ok(Ok(parts)) => parts,
        Ok(Err(_)) => unreachable!("the socket is the one that was given"),
        Err(error) => {
            tracing::debug!(%error, "an upgrade failed");
            return None;
        }
    };
    Some(Upgraded {
        socket: parts.io.into_inner(),
        early_bytes: parts.read_buf,
        principal,
    })
}

fn answer(mut request: Request<Incoming>, shared: &Shared, granted: &Granted) -> Reply {
    if wants_websocket(request.headers()) {
        return match upgrade(&request, shared) {
            Ok((reply, principal)) => {
                let upgrade = hyper::upgrade::on(&mut request);
                *granted.borrow_mut() = Some((upgrade, principal));
                reply
            }
            Err(refusal) => {
                metrics::count_refusal(refusal.error.code);
                refuse(&refusal)
            }
        };
    }
    let path = request.uri().path();
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if is_read && path == "/health" {
        return reply(200, "application/json", health(shared).into());
    }
    let known = request
        .headers()
        .get(IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok());
    let asked = HttpRequest {
        path,
        if_none_match: known,
    };
    match is_read.then(|| (shared.config.http)(asked)).flatten() {
        Some(answer) => hook_reply(answer),
        None => reply(
            200,
            "text/plain",
            Bytes::from_static(b"Tidegate WebSocket gateway\n"),
        ),
    }
}

fn hook_reply(answer: HttpReply) -> Reply {
    let mut reply = reply(answer.status, answer.content_type, answer.body);
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            reply
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
    }
    reply
}

pub(crate) fn health(shared: &Shared) -> String {
    let census = &shared.census;
    // Every WebSocket is a session here; plain requests, such as this one, never counted.
    let sessions = census.sessions();
    format!(
        r#"{{"status":"healthy","connections":{sessions},"sessions":{sessions},"uptime":{:.3},"slowSockets":{}}}"#,
        shared.uptime().as_secs_f64(),
        census.slow_sockets(),
    )
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(token))
}

fn wants_websocket(headers: &HeaderMap) -> bool {
    has_token(headers, UPGRADE, "websocket") && has_token(headers, CONNECTION, "upgrade")
}

/// Checks an upgrade and makes its answer.
fn upgrade(request: &Request<Incoming>, shared: &Shared) -> Result<(Reply, Principal), Refusal> {
    let headers = request.headers();
    let bad = |message: &str| Refusal {
        status: 400,
        error: WireError::new(ErrorCode::BadFrame, message),
    };
    if request.method() != Method::GET {
        return Err(bad("a WebSocket begins with GET"));
    }
    if headers
        .get(SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != "13")
    {
        return Err(Refusal {
            status: 426,
            error: WireError::new(ErrorCode::BadFrame, "the WebSocket version must be 13"),
        });
    }
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .filter(|key| {
            STANDARD
                .decode(key.as_bytes())
                .is_ok_and(|nonce| nonce.len() == 16)
        })
        .ok_or_else(|| bad("Sec-WebSocket-Key is not 16 bytes in base64"))?;
    let config = &shared.config;
    let (principal, subprotocol) =
        config
            .auth
            .authenticate(headers, request.uri().query(), &config.tenancy)?;
    if shared.is_stopping() || shared.census.sessions() >= config.limits.sessions_max {
        return Err(Refusal {
            status: 503,
            error: WireError::new(ErrorCode::Overloaded, "there are too many sessions"),
        });
    }
    let mut reply = reply(101, "", Bytes::new());
    let out = reply.headers_mut();
    out.remove(CONTENT_TYPE);
    out.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    out.insert(UPGRADE, HeaderValue::from_static("websocket"));
    out.insert(SEC_WEBSOCKET_ACCEPT, accept_value(key.as_bytes()));
    match subprotocol {
        Subprotocol::None => {}
        Subprotocol::Tidegate => {
            out.insert(
                SEC_WEBSOCKET_PROTOCOL,
                HeaderValue::from_static(SUBPROTOCOL),
            );
        }
    }
    Ok((reply, principal))
}

fn accept_value(key: &[u8]) -> HeaderValue {
    let mut digest = Sha1::new();
    digest.update(key);
    digest.update(ACCEPT_SUFFIX);
    let text = STANDARD.encode(digest.finalize());
    HeaderValue::from_str(&text).expect("base64 is plain ASCII")
}

fn refuse(refusal: &Refusal) -> Reply {
    let body = serde_json::json!({
        "code": refusal.error.code.as_str(),
        "message": refusal.error.message,
    });
    let mut reply = reply(refusal.status, "application/json", body.to_string().into());
    if refusal.status == 426 {
        reply
            .headers_mut()
            .insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    reply
}

fn reply(status: u16, content_type: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = HeaderValue::from_static(content_type);
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    // One request per connection: nothing to sit idle on, and nothing to drain at the end.
    reply
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    reply
}
