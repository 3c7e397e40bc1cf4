//! Reaching a gateway: address, headers, handshake, and what an unwelcoming answer means.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::error::ConnectError;

/// A connection that is not open by then is not going to be.
const OPEN_TIME_MAX: Duration = Duration::from_secs(10);

/// Largest frame taken: a page of 1,000 rows of 64 KiB each.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// Small, for a program may hold thousands of connections; frames that do not fit make it grow.
const BUFFER_BYTES: usize = 4 << 10;

/// Room for the largest frame this client sends, and for those that wait with it.
const WRITE_BUFFER_BYTES_MAX: usize = 4 << 20;

/// What the pipe of a test holds in each direction.
const PIPE_BYTES: usize = 64 << 10;

/// How bytes get to the gateway.
#[derive(Debug, Clone)]
pub enum Dial {
    /// By TCP, to the host of the address.
    Tcp,
    /// By a pipe within the process, for tests and simulations: the other end of each new
    /// connection is sent here. A dropped receiver is a gateway that is down.
    Pipe(mpsc::Sender<DuplexStream>),
}

/// Who connects, and to what.
#[derive(Debug, Clone)]
pub struct Options {
    /// `ws://host:port/path`.
    pub url: String,
    /// Sent as `x-tenant`; a gateway believes it only when it is told to.
    pub tenant: Option<String>,
    /// Sent as `x-user-id`, likewise.
    pub user: Option<String>,
    /// Sent as a bearer token.
    pub token: Option<String>,
    /// Seeds the jitter of reconnects; random when absent.
    pub seed: Option<u64>,
    /// Updates that a subscription keeps for a reader that is busy. Past this they are merged into
    /// one snapshot. 256 is a burst; more would only be older news.
    pub updates_max: usize,
    /// How bytes get there.
    pub dial: Dial,
}

impl Options {
    /// An address, and for the rest what is usual.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            tenant: None,
            user: None,
            token: None,
            seed: None,
            updates_max: 256,
            dial: Dial::Tcp,
        }
    }

    fn request(&self) -> Result<Request, ConnectError> {
        let bad = |why: String| ConnectError::BadOptions(why);
        let request = self.url.as_str().into_client_request();
        let mut request = request.map_err(|error| bad(format!("{:?}: {error}", self.url)))?;
        if request.uri().scheme_str() != Some("ws") {
            let why = "needs to begin with ws://; for TLS put a proxy in between";
            return Err(bad(format!("{:?} {why}", self.url)));
        }
        let bearer = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let headers = [
            ("x-tenant", self.tenant.as_ref()),
            ("x-user-id", self.user.as_ref()),
            ("authorization", bearer.as_ref()),
        ];
        for (name, value) in headers {
            let Some(value) = value else { continue };
            let text = HeaderValue::from_str(value)
                .map_err(|_| bad(format!("the value for {name} cannot be sent in a header")))?;
            request
                .headers_mut()
                .insert(HeaderName::from_static(name), text);
        }
        Ok(request)
    }
}

/// A connected WebSocket.
pub(crate) type Socket = WebSocketStream<Stream>;

/// Opens a connection.
pub(crate) async fn dial(options: &Options) -> Result<Socket, ConnectError> {
    let request = options.request()?;
    let host = request.uri().host().unwrap_or_default();
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let port = request.uri().port_u16().unwrap_or(80);
    let address = format!("{host}:{port}");
    let open = async {
        let stream = open(&options.dial, &host, port).await;
        let stream = stream.map_err(|source| ConnectError::Unreachable {
            address: address.clone(),
            source,
        })?;
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(BUFFER_BYTES)
            .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        let shake = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
        let (socket, _) = shake.await.map_err(|error| refusal(&address, error))?;
        Ok(socket)
    };
    let opened = tokio::time::timeout(OPEN_TIME_MAX, open).await;
    opened.unwrap_or_else(|_| {
        Err(ConnectError::Unreachable {
            address: address.clone(),
            source: io::ErrorKind::TimedOut.into(),
        })
    })
}

async fn open(dial: &Dial, host: &str, port: u16) -> io::Result<Stream> {
    match dial {
        Dial::Tcp => {
            let stream = TcpStream::connect((host, port)).await?;
            // Commands are small and someone waits for each.
            stream.set_nodelay(true)?;
            Ok(Stream::Tcp(stream))
        }
        Dial::Pipe(listener) => {
            let (near, far) = tokio::io::duplex(PIPE_BYTES);
            let sent = listener.send(far).await;
            sent.map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(Stream::Pipe(near))
        }
    }
}

fn refusal(address: &str, error: Error) -> ConnectError {
    let address = address.to_owned();
    match error {
        Error::Io(source) => ConnectError::Unreachable { address, source },
        Error::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            let text = String::from_utf8_lossy(body);
            let line: String = text.trim().chars().take(200).collect();
            ConnectError::Refused {
                address,
                status: response.status().as_u16(),
                reason: if line.is_empty() {
                    line
                } else {
                    format!(": {line}")
                },
            }
        }
        other => ConnectError::NotWebSocket {
            address,
            reason: other.to_string(),
        },
    }
}

/// A text message.
pub(crate) fn text(frame: String) -> Message {
    Message::text(frame)
}

/// Either kind of byte stream.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Pipe(DuplexStream),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Pipe(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Pipe(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Pipe(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Pipe(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
