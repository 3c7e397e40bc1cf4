//! A gateway that says what a test tells it to, over a pipe or a real socket.
//!
//! Over pipes nothing outside the runtime takes part, so paused time makes every test exact: a wait
//! of five seconds is five seconds on the paused clock and none on the wall's.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tidegate_client::{Client, Dial, Options};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

pub(crate) struct FakeServer {
    listener: mpsc::Receiver<DuplexStream>,
}

impl FakeServer {
    /// A server, and the options that lead to it.
    pub(crate) fn new() -> (Self, Options) {
        let (dialed, listener) = mpsc::channel(4);
        let mut options = Options::new("ws://gateway.test/live");
        options.seed = Some(7);
        options.dial = Dial::Pipe(dialed);
        (Self { listener }, options)
    }

    /// A server with one client connected to it.
    pub(crate) async fn with_client() -> (Self, Client, Peer<DuplexStream>) {
        let (server, options) = Self::new();
        Self::connect(server, options).await
    }

    pub(crate) async fn connect(mut self, options: Options) -> (Self, Client, Peer<DuplexStream>) {
        let (client, peer) = tokio::join!(Client::connect(options), self.accept());
        (self, client.expect("the fake server takes everyone"), peer)
    }

    pub(crate) async fn accept(&mut self) -> Peer<DuplexStream> {
        let stream = self.listener.recv().await.expect("the client dials");
        Peer::shake(stream).await
    }

    /// Whether no client will ever dial again.
    pub(crate) async fn is_given_up(&mut self) -> bool {
        self.listener.recv().await.is_none()
    }

    /// Answers the next connection with an HTTP status.
    pub(crate) async fn answer(&mut self, status: &str) {
        let mut stream = self.listener.recv().await.expect("the client dials");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.expect("a whole request comes"));
        }
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        stream
            .write_all(answer.as_bytes())
            .await
            .expect("the client listens");
    }
}

/// One connection, from the server's side.
pub(crate) struct Peer<S> {
    socket: WebSocketStream<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(crate) async fn shake(stream: S) -> Self {
        let socket = tokio_tungstenite::accept_async(stream).await;
        Self {
            socket: socket.expect("the client shakes hands"),
        }
    }

    /// The next frame of the client.
    pub(crate) async fn frame(&mut self) -> Value {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text).expect("clients send JSON");
                }
                Some(Ok(Message::Pong(_))) => {}
                other => panic!("expected a frame, got {other:?}"),
            }
        }
    }

    /// Whether the client's next word is goodbye.
    pub(crate) async fn is_left(&mut self) -> bool {
        matches!(
            self.socket.next().await,
            None | Some(Err(_) | Ok(Message::Close(_)))
        )
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.send_text(&frame.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, frame: &str) {
        let sent = self.socket.send(Message::text(frame)).await;
        sent.expect("the client listens");
    }

    pub(crate) async fn send_binary(&mut self, frame: Vec<u8>) {
        let sent = self.socket.send(Message::binary(frame)).await;
        sent.expect("the client listens");
    }

    pub(crate) async fn ping(&mut self) {
        let sent = self.socket.send(Message::Ping(Vec::new().into())).await;
        sent.expect("the client listens");
    }

    /// Sends the first half of a text frame, and then nothing more ever.
    pub(crate) async fn send_half(mut self, frame: &Value) {
        let text = frame.to_string();
        let length = u16::try_from(text.len()).expect("frames of tests are small");
        let mut bytes = vec![0x81, 126];
        bytes.extend(length.to_be_bytes());
        bytes.extend(&text.as_bytes()[..text.len() / 2]);
        let stream = self.socket.get_mut();
        stream.write_all(&bytes).await.expect("the client listens");
        stream.shutdown().await.expect("a pipe can be closed");
    }

    pub(crate) async fn close(mut self, code: u16, reason: &str) {
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.to_owned().into(),
        };
        self.socket
            .close(Some(frame))
            .await
            .expect("the client listens");
    }

    /// Reads a subscribe frame and acknowledges it; the frame.
    pub(crate) async fn ack(&mut self) -> Value {
        let frame = self.frame().await;
        assert_eq!(frame["op"], "subscribe");
        self.send(json!({"op": "ack", "hashId": frame["hashId"]}))
            .await;
        frame
    }

    /// Answers a subscribe frame with a page of these keys; the label.
    pub(crate) async fn page(&mut self, pks: &[&str], position: &str) -> String {
        let frame = self.ack().await;
        let label = frame["hashId"]
            .as_str()
            .expect("labels are text")
            .to_owned();
        self.send(snapshot(&label, pks, position, "subscribe"))
            .await;
        label
    }
}

pub(crate) fn row(pk: &str) -> Value {
    json!({"id": pk})
}

pub(crate) fn snapshot(label: &str, pks: &[&str], position: &str, reason: &str) -> Value {
    let rows: Vec<Value> = pks.iter().map(|pk| row(pk)).collect();
    json!({"op": "snapshot", "hashId": label, "version": 5,
        "cursor": {"id": "z", "lsn": "5", "position": position},
        "rows": rows, "pks": pks, "reason": reason})
}

pub(crate) fn resumed(label: &str, position: &str) -> Value {
    json!({"op": "resumed", "hashId": label, "cursor": {"lsn": "5", "position": position}})
}

/// A diff that puts a row at the end of a page of `pos` rows.
pub(crate) fn added(label: &str, pk: &str, pos: usize, position: &str) -> Value {
    json!({"op": "diff", "hashId": label, "version": 6,
        "cursor": {"lsn": "6", "position": position},
        "changes": [{"kind": "added", "pk": pk, "pos": pos, "row": row(pk)}]})
}
