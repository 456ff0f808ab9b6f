//! The listener of the admin address, with limits: a client that opens connections and asks nothing
//! must not keep health checks and metrics from others.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use export_settings::networks::network;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

use crate::per_caller::{CallerPermit, PerCallerLimit};

/// Maximum number of open connections from other machines. More are closed at once.
const MAX_CONNECTIONS: usize = 128;
/// Maximum number of open connections from this machine, so that the health check of a container
/// finds room however many machines connect.
const MAX_CONNECTIONS_OF_THIS_MACHINE: usize = 32;
/// Maximum number of open connections of one address (of IPv6: one /64 network).
const MAX_CONNECTIONS_PER_ADDRESS: NonZeroU32 = NonZeroU32::new(16).expect("not zero");
/// Maximum duration of a connection, with all its requests.
const MAX_DURATION: Duration = Duration::from_secs(30);

/// Accepts connections within the limits.
pub(crate) struct AdminListener {
    listener: TcpListener,
    of_others: Arc<Semaphore>,
    of_this_machine: Arc<Semaphore>,
    of_address: PerCallerLimit<IpAddr>,
    max_duration: Duration,
}

/// Permits of one connection.
type Permit = (CallerPermit<IpAddr>, OwnedSemaphorePermit);

impl AdminListener {
    pub(crate) fn new(listener: TcpListener) -> Self {
        Self {
            listener,
            of_others: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            of_this_machine: Arc::new(Semaphore::new(MAX_CONNECTIONS_OF_THIS_MACHINE)),
            of_address: PerCallerLimit::new(MAX_CONNECTIONS_PER_ADDRESS),
            max_duration: MAX_DURATION,
        }
    }

    /// The permit of a connection from `peer` to the address `local` of this machine.
    fn admit(&self, peer: IpAddr, local: IpAddr) -> Option<Permit> {
        let is_of_this_machine = peer.to_canonical().is_loopback() || peer == local;
        let open = if is_of_this_machine { &self.of_this_machine } else { &self.of_others };
        let of_address = self.of_address.try_acquire(network(peer))?;
        Some((of_address, open.clone().try_acquire_owned().ok()?))
    }
}

impl Listener for AdminListener {
    type Io = AdminConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (AdminConnection, SocketAddr) {
        loop {
            let (stream, peer) = Listener::accept(&mut self.listener).await;
            // An address is unknown if the client is gone already.
            let Ok(local) = stream.local_addr() else { continue };
            if let Some(permit) = self.admit(peer.ip(), local.ip()) {
                let end = Box::pin(sleep(self.max_duration));
                return (AdminConnection { stream, end, _permit: permit }, peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails after [`MAX_DURATION`].
pub(crate) struct AdminConnection {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _permit: Permit,
}

impl AdminConnection {
    /// Fails after the end. While the connection waits, the end wakes it.
    fn check_end(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for AdminConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_end(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for AdminConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_end(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn c5_silent_connections_are_bounded_and_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut listener = AdminListener::new(listener);
        listener.max_duration = Duration::from_millis(50);
        let address = listener.local_addr().expect("an address");
        let mut accepted = Vec::new();
        for _ in 0..MAX_CONNECTIONS_PER_ADDRESS.get() {
            let client = TcpStream::connect(address).await.expect("a connection");
            accepted.push((listener.accept().await.0, client));
        }
        let of = |peer: IpAddr| listener.admit(peer, [10, 0, 0, 1].into());
        assert!(of(address.ip()).is_none(), "too many");
        // Each fails although its client sends nothing, and makes room.
        while let Some((mut connection, _client)) = accepted.pop() {
            let read = connection.read_u8().await.expect_err("the end");
            assert_eq!(read.kind(), io::ErrorKind::TimedOut);
        }
        let of = |peer: IpAddr| listener.admit(peer, [10, 0, 0, 1].into());
        assert!(of(address.ip()).is_some());
        let of_others: Vec<_> = (0..128).map(|other| of([10, 0, 1, other].into()).expect("room")).collect();
        assert_eq!(of_others.len(), MAX_CONNECTIONS);
        assert!(of([10, 0, 2, 1].into()).is_none(), "all together");
        // The health check of this machine.
        for own in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1"] {
            assert!(of(own.parse().expect("an address")).is_some(), "{own}");
        }
        let of_this_machine: Vec<_> = (1..=33).map(|own| of([127, 0, 0, own].into())).collect();
        assert_eq!(of_this_machine.iter().flatten().count(), MAX_CONNECTIONS_OF_THIS_MACHINE);
    }
}
