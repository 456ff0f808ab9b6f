//! The HTTP server, with limits for connections.
//!
//! [`serve`] accepts connections and passes each to [`connection`]. [`socket`] is the stream that
//! the HTTP library reads and writes. [`activity`] and [`delivery`] detect idle connections and
//! clients that do not take their answers; [`key_gate`] admits few requests of a connection until a
//! key was shown. The limits here hold for every client, authenticated or not; the limits per
//! caller are in [`crate::http::limits`].

mod activity;
mod connection;
mod delivery;
mod key_gate;
mod refusal_log;
mod socket;

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use export_observability::{CallerPermit, PerCallerLimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::config::LimitSettings;
use crate::http::client_address::{TrustedProxies, network};
use crate::http::meters;
use crate::http::problem::Problem;
use connection::Connections;
use refusal_log::{Reason, RefusalLog};

pub(crate) use connection::HeldUntilDelivered;
pub(crate) use key_gate::KeyGate;

/// Pause after an `accept` that failed for lack of a resource, such as file descriptors: an
/// immediate retry would fail again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How connections are served.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Limits of connections.
    pub limits: LimitSettings,
    /// Proxies in front of the service.
    pub trusted_proxies: TrustedProxies,
    /// Whether callers need a key or a token.
    pub has_keys: bool,
}

/// The numbers of open connections.
struct OpenConnections {
    all: Arc<Semaphore>,
    of_address: PerCallerLimit<IpAddr>,
    trusted_proxies: TrustedProxies,
}

/// Permits of one connection.
type ConnectionPermit = (OwnedSemaphorePermit, Option<CallerPermit<IpAddr>>);

impl OpenConnections {
    fn new(settings: &ServerSettings) -> Self {
        let limits = &settings.limits;
        let max = usize::try_from(limits.max_connections.get()).unwrap_or(usize::MAX);
        Self {
            all: Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))),
            of_address: PerCallerLimit::new(limits.max_connections_per_address),
            trusted_proxies: settings.trusted_proxies.clone(),
        }
    }

    /// The permit of one connection of this address; a trusted proxy may have all of them.
    fn admit(&self, address: IpAddr) -> Result<ConnectionPermit, Reason> {
        let of_address = if self.trusted_proxies.contain(address) {
            None
        } else {
            Some(self.of_address.try_acquire(network(address)).ok_or(Reason::Address)?)
        };
        let of_all = self.all.clone().try_acquire_owned().map_err(|_| Reason::Process)?;
        Ok((of_all, of_address))
    }
}

/// Serves the router until `stop`, then finishes the open requests.
///
/// Cancel safety. Dropping the future closes all connections.
pub async fn serve(listener: TcpListener, router: Router, settings: ServerSettings, stop: CancellationToken) {
    let open_connections = OpenConnections::new(&settings);
    let connections = Arc::new(Connections::new(router, settings, stop.clone()));
    let mut refusal_log = RefusalLog::default();
    let mut open = JoinSet::new();
    loop {
        let (stream, peer) = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = open.join_next() => continue,
            () = refusal_log.log_when_due() => continue,
            accepted = accept(&listener) => accepted,
        };
        let permit = match open_connections.admit(peer.ip()) {
            Ok(permit) => permit,
            Err(reason) => {
                refuse(stream, reason);
                refusal_log.count(reason, peer.ip());
                meters::connection_refused();
                continue;
            }
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

/// Answers 503 or 429 if that is possible without waiting, and closes the connection.
fn refuse(stream: TcpStream, reason: Reason) {
    let answer = socket::bare_problem(&match reason {
        Reason::Process => Problem::overloaded(),
        Reason::Address => Problem::too_many_connections(),
    });
    // A direct, non-blocking system call: the runtime does not know yet that the new connection is
    // writable.
    if let Ok(mut stream) = stream.into_std() {
        stream.write_all(answer.as_bytes()).ok();
    }
}
