//! A broker that can go away: a proxy in front of the real one.
//!
//! Kafka's clients ask one broker where all are, so the proxy also puts its own port in the place
//! of the broker's in what the broker answers. Frames keep their length by that.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

const HOST: &str = "127.0.0.1";

/// Whether clients get through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Link {
    Up,
    Down,
}

/// Runs until it is dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    link: watch::Sender<Link>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(broker: String) -> Self {
        let (host, port) = broker.rsplit_once(':').expect("host:port");
        assert_eq!(host, HOST, "the broker calls itself so");
        let port: u16 = port.parse().expect("a port");
        let listener = TcpListener::bind((HOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let rewrite = Arc::new((name(port), name(address.port())));
        let link = watch::Sender::new(Link::Up);
        let mut tasks = JoinSet::new();
        let links = link.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (mut link, rewrite) = (links.subscribe(), Arc::clone(&rewrite));
                let server = (HOST, port);
                connections.spawn(async move {
                    tokio::select! {
                        _ = link.wait_for(|link| *link == Link::Down) => {}
                        () = carry(client, server, &rewrite) => {}
                    }
                });
            }
        });
        Self {
            address,
            link,
            _tasks: tasks,
        }
    }

    /// Cuts all connections, and every new one.
    pub(crate) fn cut(&self) {
        self.link.send_replace(Link::Down);
    }

    /// Lets clients through again.
    pub(crate) fn mend(&self) {
        self.link.send_replace(Link::Up);
    }
}

/// A broker's address as answers spell it.
fn name(port: u16) -> Vec<u8> {
    let mut name = HOST.as_bytes().to_vec();
    name.extend(i32::from(port).to_be_bytes());
    name
}

async fn carry(client: TcpStream, server: (&str, u16), rewrite: &(Vec<u8>, Vec<u8>)) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    for socket in [&client, &server] {
        socket.set_nodelay(true).expect("it is open");
    }
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    tokio::select! {
        // Whichever ends first ends both.
        _ = copy(&mut from_client, &mut to_server) => {}
        _ = answers(from_server, to_client, rewrite) => {}
    }
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    (real, ours): &(Vec<u8>, Vec<u8>),
) -> std::io::Result<()> {
    loop {
        let length = from.read_u32().await?;
        let mut frame = vec![0; length as usize];
        from.read_exact(&mut frame).await?;
        let found: Vec<usize> = frame
            .windows(real.len())
            .enumerate()
            .filter_map(|(at, window)| (window == real).then_some(at))
            .collect();
        for at in found {
            frame[at..at + ours.len()].copy_from_slice(ours);
        }
        to.write_u32(length).await?;
        to.write_all(&frame).await?;
    }
}
