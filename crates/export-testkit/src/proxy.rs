//! A TCP proxy that can be cut, for faults that real services do not produce on demand.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards connections to a service until it is cut; a cut ends the open ones and refuses new ones.
///
/// Runs on the runtime of whoever starts it and ends with it.
pub struct Proxy {
    address: SocketAddr,
    is_open: watch::Sender<bool>,
    refused: Arc<Mutex<Option<Refused>>>,
}

/// Requests that do not get through.
struct Refused {
    /// What they begin with.
    start: &'static [u8],
    /// How many more of them do.
    let_through: usize,
}

impl Proxy {
    /// Listens on a free port of this machine for connections to `target` (`host:port`). Panics when there is no port.
    pub async fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.unwrap_or_else(|error| panic!("no free port for a proxy: {error}"));
        let address =
            listener.local_addr().unwrap_or_else(|error| panic!("a proxy without address: {error}"));
        let (is_open, seen) = watch::channel(true);
        let refused = Arc::new(Mutex::new(None));
        tokio::spawn(accept(listener, target, seen, Arc::clone(&refused)));
        Self { address, is_open, refused }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections; new ones end as soon as they are made.
    pub fn cut(&self) {
        self.is_open.send_replace(false);
    }

    /// Lets through so many more requests that begin with `start`, for instance `PUT /`. From then on a connection ends where
    /// one of them comes. All other requests get through.
    pub fn refuse_after(&self, let_through: usize, start: &'static str) {
        *locked(&self.refused) = Some(Refused { start: start.as_bytes(), let_through });
    }

    /// Lets everything through again.
    pub fn restore(&self) {
        *locked(&self.refused) = None;
        self.is_open.send_replace(true);
    }
}

fn locked(refused: &Mutex<Option<Refused>>) -> MutexGuard<'_, Option<Refused>> {
    refused.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(
    listener: TcpListener,
    target: String,
    is_open: watch::Receiver<bool>,
    refused: Arc<Mutex<Option<Refused>>>,
) {
    while let Ok((inbound, _)) = listener.accept().await {
        let (target, mut is_open, refused) = (target.clone(), is_open.clone(), Arc::clone(&refused));
        tokio::spawn(async move {
            if *is_open.borrow() {
                tokio::select! {
                    _ = is_open.wait_for(|is_open| !is_open) => {}
                    _ = forward(inbound, target, &refused) => {}
                }
            }
        });
    }
}

/// However it ends, both sides see the end of their connection.
async fn forward(inbound: TcpStream, target: String, refused: &Mutex<Option<Refused>>) -> io::Result<()> {
    let (mut from_client, mut to_client) = inbound.into_split();
    let (mut from_server, mut to_server) = TcpStream::connect(target).await?.into_split();
    let requests = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = from_client.read(&mut buffer).await?;
            // A client sends the head of a request by itself or first, so it is at the start of what is read.
            if length == 0 || is_refused(&buffer[..length], refused) {
                return Ok(());
            }
            to_server.write_all(&buffer[..length]).await?;
        }
    };
    let answers = async { copy(&mut from_server, &mut to_client).await.map(drop) };
    tokio::select! {
        ended = requests => ended,
        ended = answers => ended,
    }
}

fn is_refused(bytes: &[u8], refused: &Mutex<Option<Refused>>) -> bool {
    let mut refused = locked(refused);
    let Some(refused) = refused.as_mut().filter(|refused| bytes.starts_with(refused.start)) else {
        return false;
    };
    if refused.let_through == 0 {
        return true;
    }
    refused.let_through -= 1;
    false
}
