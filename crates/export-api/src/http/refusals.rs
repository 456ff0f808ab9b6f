//! Counts and logs refused requests: who was refused and why, at a bounded rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use tracing::warn;

use crate::http::client_address::{Peer, network};
use crate::http::meters;
use crate::http::problem::{Reason, Refusal};
use crate::http::rate::Rate;

/// Log lines about refused requests of one address and one status: per second, and at once.
const LINES_OF_ADDRESS: (u32, u32) = (1, 10);
/// Log lines about all refused requests: per second, and at once.
const LINES_OF_ALL: (u32, u32) = (20, 100);
/// Whether answers with this status are logged here, and not with the other requests.
pub(crate) fn is_refusal(response: &Response) -> bool {
    Refusal::STATUSES.contains(&response.status()) && response.extensions().get::<Refusal>().is_some()
}

/// Writes the log lines. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct RefusedRequests(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    of_address: Rate,
    of_all: Rate,
    /// Refusals since the last line that were not logged.
    unlogged: AtomicU64,
}

impl RefusedRequests {
    pub(crate) fn new() -> Self {
        let rate = |(per_second, at_once)| Rate::of(per_second, at_once);
        let inner = Inner {
            of_address: rate(LINES_OF_ADDRESS),
            of_all: rate(LINES_OF_ALL),
            unlogged: AtomicU64::new(0),
        };
        Self(Arc::new(inner))
    }

    /// Counts and logs an answer, if it is a refusal.
    pub(crate) fn note(&self, peer: Peer, response: &Response) {
        if is_refusal(response)
            && let Some(refusal) = response.extensions().get::<Refusal>()
        {
            meters::refused(refusal);
            self.log(peer, response.status(), refusal);
        }
    }

    fn log(&self, peer: Peer, status: StatusCode, refusal: &Refusal) {
        let of_address = self.0.of_address.check(&(network(peer.address()), status.as_u16()));
        if of_address.is_err() || self.0.of_all.check(&()).is_err() {
            self.0.unlogged.fetch_add(1, Ordering::Relaxed);
            return;
        }
        warn!(
            client.address = %peer.address(),
            status = status.as_u16(),
            problem = refusal.kind.name(),
            reason = refusal.reason.map(Reason::text),
            key.id = refusal.key_id.as_ref().map(tracing::field::display),
            caller.name = refusal.caller,
            refusals.unlogged = self.0.unlogged.swap(0, Ordering::Relaxed),
            "request refused"
        );
    }
}

/// Middleware that counts and logs refused requests.
pub(crate) async fn log_refusals(
    State(refused): State<RefusedRequests>,
    request: Request,
    next: Next,
) -> Response {
    let peer = Peer::of(request.extensions());
    let response = next.run(request).await;
    refused.note(peer, &response);
    response
}
