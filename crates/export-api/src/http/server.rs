//! The HTTP server, with limits for connections.
//!
//! [`serve`] accepts connections and passes each to [`connection`]. [`socket`] is the stream that
//! the HTTP library reads and writes; it detects stalled clients. [`activity`] detects idle
//! connections. The limits here hold for every client, authenticated or not; the limits per caller
//! are in [`crate::http::limits`].

mod activity;
mod connection;
mod refusal_log;
mod socket;

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::config::LimitSettings;
use crate::http::problem::Problem;
use connection::Connections;
use refusal_log::RefusalLog;

/// Pause after an `accept` that failed for lack of a resource, such as file descriptors: an
/// immediate retry would fail again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves the router until `stop`, then finishes the open requests.
///
/// Cancel safety. Dropping the future closes all connections.
pub async fn serve(listener: TcpListener, router: Router, limits: LimitSettings, stop: CancellationToken) {
    let permits =
        Arc::new(Semaphore::new(usize::try_from(limits.max_connections.get()).unwrap_or(usize::MAX)));
    let connections = Arc::new(Connections::new(router, limits, stop.clone()));
    let mut refusal_log = RefusalLog::default();
    let mut open = JoinSet::new();
    loop {
        let (stream, peer) = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = open.join_next() => continue,
            () = refusal_log.log_when_due() => continue,
            accepted = accept(&listener) => accepted,
        };
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            refuse(stream);
            refusal_log.count();
            continue;
        };
        let connections = connections.clone();
        open.spawn(async move {
            connections.serve(stream, peer).await;
            drop(permit);
        });
    }
    // No new connections: behind a load balancer, other replicas get them.
    drop(listener);
    while open.join_next().await.is_some() {}
}

/// Waits for the next connection.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The client has already disconnected.
            Err(error) if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) => {
                debug!(%error, "a client disconnected before its connection was accepted");
            }
            // The pause bounds this to five lines per second.
            Err(error) => {
                warn!(%error, "cannot accept connections, trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers 503 if that is possible without waiting, and closes the connection.
fn refuse(stream: TcpStream) {
    let answer = socket::bare_problem(&Problem::overloaded());
    // A direct, non-blocking system call: the runtime does not know yet that the new connection is
    // writable.
    if let Ok(mut stream) = stream.into_std() {
        stream.write_all(answer.as_bytes()).ok();
    }
}
