//! The address for machines: `/health`, `/ready` and `/metrics` and nothing else.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tidegate_gateway::HttpReply;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::exit::{Exit, Failure};
use crate::site::Site;

/// Connections at once: a few scrapers and probes. One more waits to be accepted.
const CONNECTIONS_MAX: usize = 32;
/// Time for a request's head to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A pause after an accept that failed, which mostly means that file handles ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Gives the body of `/health`: the gateway's, once this process has one. Clones share it.
#[derive(Clone)]
pub(crate) struct Health {
    started: Instant,
    gateway: Arc<OnceLock<GatewayHealth>>,
}

type GatewayHealth = Arc<dyn Fn() -> String + Send + Sync>;

impl Health {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            gateway: Arc::default(),
        }
    }

    /// From now on the gateway answers.
    pub(crate) fn hand_to(&self, gateway: GatewayHealth) {
        // A process has one gateway, which is built once.
        let _ = self.gateway.set(gateway);
    }

    fn body(&self) -> String {
        match self.gateway.get() {
            Some(gateway) => gateway(),
            None => {
                let uptime = self.started.elapsed().as_secs_f64();
                format!(r#"{{"status":"healthy","uptime":{uptime:.3}}}"#)
            }
        }
    }
}

/// The bound address.
pub(crate) struct Admin {
    listener: TcpListener,
    site: Site,
    health: Health,
}

impl Admin {
    pub(crate) async fn bind(
        address: SocketAddr,
        site: Site,
        health: Health,
    ) -> Result<Self, Failure> {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            let sentence = format!("cannot listen on {address}: {error}");
            Failure::new(Exit::Unavailable, sentence)
        })?;
        Ok(Self {
            listener,
            site,
            health,
        })
    }

    /// The address that was bound.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Serves until it is told to stop. What is being answered then is cut off: machines ask again.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let connections = TaskTracker::new();
        let accept = async {
            let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
            loop {
                let permit = free.clone().acquire_owned().await;
                let permit = permit.expect("the semaphore is never closed");
                let Ok((socket, _)) = self.listener.accept().await else {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                };
                let (site, health) = (self.site.clone(), self.health.clone());
                let stop = stop.clone();
                connections.spawn(async move {
                    stop.run_until_cancelled(serve(socket, site, health)).await;
                    drop(permit);
                });
            }
        };
        stop.run_until_cancelled(accept).await;
        connections.close();
        connections.wait().await;
    }
}

async fn serve(socket: TcpStream, site: Site, health: Health) {
    let service = service_fn(move |request: Request<Incoming>| {
        let reply = match request.uri().path() {
            "/health" => Some(HttpReply {
                status: 200,
                content_type: "application/json",
                headers: Vec::new(),
                body: health.body().into(),
            }),
            path => site.machine_answer(path),
        };
        std::future::ready(Ok::<_, Infallible>(answer(reply)))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(socket), service);
    if let Err(error) = served.await {
        tracing::debug!(error = %error, "a request on the admin address failed");
    }
}

fn answer(reply: Option<HttpReply>) -> Response<Full<Bytes>> {
    let Some(reply) = reply else {
        let mut answer = Response::new(Full::new(Bytes::from_static(b"not here\n")));
        *answer.status_mut() = StatusCode::NOT_FOUND;
        return answer;
    };
    let mut answer = Response::new(Full::new(reply.body));
    *answer.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = HeaderValue::from_static(reply.content_type);
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}
