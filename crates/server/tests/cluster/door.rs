//! The way to the gateways.

use std::net::SocketAddr;

use tidegate_client::{Client, Dial, Options};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// A load balancer: each new connection goes to the next gateway.
pub(crate) struct Door {
    dial: Dial,
    gateway: SocketAddr,
    /// What carries bytes; it ends with the value.
    _carrying: JoinSet<()>,
}

impl Door {
    pub(crate) fn open(gateways: [SocketAddr; 2]) -> Self {
        let (dialled, mut pipes) = mpsc::channel(16);
        let mut carrying = JoinSet::new();
        carrying.spawn(async move {
            let mut connections = JoinSet::new();
            for turn in 0_usize.. {
                let Some(mut pipe) = pipes.recv().await else {
                    return;
                };
                connections.spawn(async move {
                    // A gateway that is down closes the pipe, and the client tries again.
                    if let Ok(mut socket) = TcpStream::connect(gateways[turn % 2]).await {
                        let _ = tokio::io::copy_bidirectional(&mut pipe, &mut socket).await;
                    }
                });
            }
        });
        Self {
            dial: Dial::Pipe(dialled),
            gateway: gateways[0],
            _carrying: carrying,
        }
    }

    pub(crate) async fn client(&self, tenant: &str, seed: u64) -> Client {
        let url = format!("ws://{}/?tenant={tenant}&user=split", self.gateway);
        let options = Options {
            seed: Some(seed),
            updates_max: 1 << 16,
            dial: self.dial.clone(),
            ..Options::new(&url)
        };
        Client::connect(options).await.expect("the gateways are up")
    }
}
