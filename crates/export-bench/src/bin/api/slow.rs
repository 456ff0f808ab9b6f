//! Clients that send a byte a second: half of them in the headers, half in the body. A client whose
//! connection is closed connects again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const PACE: Duration = Duration::from_secs(1);
/// Time limit for all to connect.
const GATHERING: Duration = Duration::from_secs(30);

const HEADERS: &[u8] = b"GET /export HTTP/1.1\r\nHost: api\r\nX-Slow: ";
const BODY: &[u8] =
    b"POST /export HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\nContent-Length: 10000\r\n\r\n{";

#[derive(Default)]
struct Counts {
    open: AtomicUsize,
    cut: AtomicU64,
}

/// The slow clients, until dropped.
pub(crate) struct Crowd {
    counts: Arc<Counts>,
    clients: JoinSet<()>,
}

impl Crowd {
    /// Returns when all of them are connected.
    pub(crate) async fn gather(address: SocketAddr, size: usize) -> anyhow::Result<Self> {
        let counts = Arc::new(Counts::default());
        let mut clients = JoinSet::new();
        for number in 0..size {
            let (counts, begin) = (Arc::clone(&counts), if number % 2 == 0 { HEADERS } else { BODY });
            // Spread over the second, like independent clients.
            let offset = PACE.mul_f64(f64::from(u32::try_from(number % 1_000).unwrap_or_default()) / 1_000.0);
            clients.spawn(async move {
                tokio::time::sleep(offset).await;
                loop {
                    if dribble(address, begin, &counts).await.is_err() {
                        tokio::time::sleep(PACE).await;
                    }
                }
            });
        }
        let begun = Instant::now();
        while counts.open.load(Relaxed) < size {
            ensure!(begun.elapsed() < GATHERING, "only {} slow clients got in", counts.open.load(Relaxed));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { counts, clients })
    }

    /// Stops them; returns how many were open, and how many had been closed by the service.
    pub(crate) fn leave(mut self) -> (usize, u64) {
        let counts = (self.counts.open.load(Relaxed), self.counts.cut.load(Relaxed));
        self.clients.abort_all();
        counts
    }
}

/// One connection, until the service ends it.
async fn dribble(address: SocketAddr, begin: &[u8], counts: &Counts) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    counts.open.fetch_add(1, Relaxed);
    let ended = async {
        stream.write_all(begin).await?;
        let mut answer = [0; 512];
        loop {
            tokio::select! {
                // An answer, or the end of the connection.
                read = stream.read(&mut answer) => if read? == 0 { return Ok::<_, std::io::Error>(()) },
                () = tokio::time::sleep(PACE) => stream.write_all(b"x").await?,
            }
        }
    }
    .await;
    counts.open.fetch_sub(1, Relaxed);
    counts.cut.fetch_add(1, Relaxed);
    ended
}
