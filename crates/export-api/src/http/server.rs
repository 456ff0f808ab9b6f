//! The HTTP server: connections within limits, so that no client has more of the service than its share.
//!
//! [`serve`] accepts connections and hands each to [`connection`]; [`socket`] is what the HTTP library reads from and writes
//! to; [`activity`] knows whether anything happens on a connection. Who the caller is counts for nothing here: that is for
//! [`crate::http::limits`].

mod activity;
mod connection;
mod refusals;
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
use refusals::Refusals;

/// Rest after an `accept` that failed for want of something, such as file descriptors: trying at once would fail again.
const ACCEPT_REST: Duration = Duration::from_millis(200);

/// Serves the router until `stop`, then until the requests in hand are answered. Dropped, it cuts all connections.
pub async fn serve(listener: TcpListener, router: Router, limits: LimitSettings, stop: CancellationToken) {
    let places =
        Arc::new(Semaphore::new(usize::try_from(limits.max_connections.get()).unwrap_or(usize::MAX)));
    let connections = Arc::new(Connections::new(router, limits, stop.clone()));
    let mut refusals = Refusals::default();
    let mut open = JoinSet::new();
    loop {
        let (stream, peer) = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = open.join_next() => continue,
            () = refusals.until_told() => continue,
            accepted = accept(&listener) => accepted,
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            turn_away(stream);
            refusals.count();
            continue;
        };
        let connections = connections.clone();
        open.spawn(async move {
            connections.serve(stream, peer).await;
            drop(place);
        });
    }
    // Nobody new; on a machine of several, the others get them.
    drop(listener);
    while open.join_next().await.is_some() {}
}

/// The next connection, however long that takes.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // That one client has gone already.
            Err(error) if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) => {
                debug!(%error, "a connection was gone before it was accepted");
            }
            // At most five lines a second, by the rest.
            Err(error) => {
                warn!(%error, "no connection can be accepted now, trying again");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

/// Says why, as far as that is possible without waiting, and hangs up.
fn turn_away(stream: TcpStream) {
    let answer = socket::bare_problem(&Problem::overloaded());
    // The system's own write: the runtime does not know yet that a new connection can be written to. It does not block.
    if let Ok(mut stream) = stream.into_std() {
        stream.write_all(answer.as_bytes()).ok();
    }
}
