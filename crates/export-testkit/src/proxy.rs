//! A TCP proxy that can be cut, for faults that real services do not produce on demand.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards connections to a service until it is cut; a cut ends the open ones and refuses new ones.
///
/// Runs on the runtime of whoever starts it and ends with it.
pub struct Proxy {
    address: SocketAddr,
    is_open: watch::Sender<bool>,
}

impl Proxy {
    /// Listens on a free port of this machine for connections to `target` (`host:port`). Panics when there is no port.
    pub async fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.unwrap_or_else(|error| panic!("no free port for a proxy: {error}"));
        let address =
            listener.local_addr().unwrap_or_else(|error| panic!("a proxy without address: {error}"));
        let (is_open, seen) = watch::channel(true);
        tokio::spawn(accept(listener, target, seen));
        Self { address, is_open }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections; new ones end as soon as they are made.
    pub fn cut(&self) {
        self.is_open.send_replace(false);
    }

    /// Lets connections through again.
    pub fn restore(&self) {
        self.is_open.send_replace(true);
    }
}

async fn accept(listener: TcpListener, target: String, is_open: watch::Receiver<bool>) {
    while let Ok((inbound, _)) = listener.accept().await {
        let (target, mut is_open) = (target.clone(), is_open.clone());
        tokio::spawn(async move {
            if *is_open.borrow() {
                tokio::select! {
                    _ = is_open.wait_for(|is_open| !is_open) => {}
                    () = forward(inbound, target) => {}
                }
            }
        });
    }
}

async fn forward(mut inbound: TcpStream, target: String) {
    if let Ok(mut outbound) = TcpStream::connect(target).await {
        // However it ends, both sides see the end of their connection.
        copy_bidirectional(&mut inbound, &mut outbound).await.ok();
    }
}
