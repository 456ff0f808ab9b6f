//! Limits of requests: per caller, and for all callers together.
//!
//! [`limit_all`] runs first and bounds the concurrent requests of the process. [`limit_failures`]
//! runs before authentication and bounds the 401 answers per address. [`limit_callers`] runs after
//! authentication and bounds rate and concurrency per caller, or per address if `AUTH=none`. The
//! limits of a *connection* are in [`crate::http::server`].

mod held_body;
mod lane;
mod per_caller;
mod rate;

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use export_core::Tenant;
use export_core::access::Principal;
use tokio::sync::Semaphore;
use tracing::Instrument;

use crate::auth::Caller;
use crate::config::{AccessSettings, LimitSettings};
use crate::http::problem::Problem;
use held_body::hold_until_sent;
use lane::{Lane, NoAnswer};
use per_caller::{CallerPermit, PerCallerLimit};
pub(crate) use rate::Rate;

/// `Retry-After` in seconds for a caller with too many concurrent requests: most requests end
/// within a second.
const RETRY_AFTER_SECONDS: u16 = 1;
/// One request in this number may wait for a job to end (`Prefer: wait`). The others stay available
/// for requests that are answered immediately.
const WAITING_FRACTION: usize = 4;
/// Concurrent searches for the names that requests may have meant.
const MAX_SUGGESTION_SEARCHES: usize = 2;
/// Requests per second from one address that are answered with 401, after the initial burst.
const FAILURES_PER_SECOND: NonZeroU32 = NonZeroU32::MIN;

/// The limits and their current use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Limits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    body_read: Duration,
    /// `AUTH=none`: callers are identified by their address.
    is_by_address: bool,
    /// Concurrent requests of the process.
    requests: Arc<Semaphore>,
    /// Concurrent requests of the process that wait for a job to end.
    waits: Arc<Semaphore>,
    request_rate: Rate,
    failure_rate: Rate,
    requests_per_caller: PerCallerLimit<CallerKey>,
    streams_per_caller: PerCallerLimit<CallerKey>,
    waits_per_caller: PerCallerLimit<CallerKey>,
    /// Questions whose cost grows with the data.
    heavy: Lane<CallerKey>,
    /// Searches for the names that a request may have meant.
    suggestions: Arc<Semaphore>,
}

/// Identifies a caller in the limits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum CallerKey {
    Caller(Tenant, String),
    Address(IpAddr),
}

impl Limits {
    /// The limits of the settings.
    pub fn new(settings: &LimitSettings, access: &AccessSettings) -> Self {
        let max_requests = usize::try_from(settings.max_requests.get()).unwrap_or(usize::MAX);
        let max_requests = max_requests.min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Inner {
            body_read: settings.body_read,
            is_by_address: matches!(access, AccessSettings::Anyone),
            requests: Arc::new(Semaphore::new(max_requests)),
            waits: Arc::new(Semaphore::new((max_requests / WAITING_FRACTION).max(1))),
            request_rate: Rate::new(settings.requests_per_second, settings.requests_at_once),
            failure_rate: Rate::new(FAILURES_PER_SECOND, settings.auth_failures_at_once),
            requests_per_caller: PerCallerLimit::new(settings.max_requests_per_caller),
            streams_per_caller: PerCallerLimit::new(settings.max_streams_per_caller),
            // A waiting request costs as much as an event stream.
            waits_per_caller: PerCallerLimit::new(settings.max_streams_per_caller),
            heavy: Lane::new(),
            suggestions: Arc::new(Semaphore::new(MAX_SUGGESTION_SEARCHES)),
        }))
    }

    /// Maximum time for the body of a request to arrive.
    pub fn body_read(&self) -> Duration {
        self.0.body_read
    }

    /// A permit for one event stream, held until it is dropped. Fails with 429 if the caller has
    /// the maximum number of streams.
    pub fn stream_permit(&self, principal: &Principal, peer: Peer) -> Result<StreamPermit, Problem> {
        let permit = self.0.streams_per_caller.try_acquire(self.caller_key(principal, peer.0));
        permit.map(StreamPermit).ok_or_else(|| {
            let max = self.0.streams_per_caller.max();
            let detail = format!("You have {max} event streams open, which is the maximum; close one first.");
            Problem::too_many_requests(detail, RETRY_AFTER_SECONDS)
        })
    }

    /// A permit for one request that waits for a job to end; `None` while its caller, or all
    /// callers together, have the maximum.
    pub fn wait_permit(&self, principal: &Principal, peer: Peer) -> Option<impl Send + use<>> {
        let of_caller = self.0.waits_per_caller.try_acquire(self.caller_key(principal, peer.0))?;
        let of_process = self.0.waits.clone().try_acquire_owned().ok()?;
        Some((of_caller, of_process))
    }

    /// Answers a question whose cost grows with the data, a few at a time, and fewer of one tenant,
    /// whatever the number of its keys. If the client is gone, the question is cancelled after a
    /// second.
    ///
    /// # Errors
    /// 429 or 503 if the question has waited too long for its turn.
    pub async fn heavy<T>(
        &self,
        principal: &Principal,
        peer: Peer,
        question: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Problem>
    where
        T: Send + 'static,
    {
        let caller = match self.caller_key(principal, peer.0) {
            CallerKey::Caller(tenant, _) => CallerKey::Caller(tenant, String::new()),
            address @ CallerKey::Address(_) => address,
        };
        self.0.heavy.run(caller, question.in_current_span()).await.map_err(|no_answer| match no_answer {
            NoAnswer::CallerBusy => {
                let detail = "Your other lists and estimates are not answered yet; wait for them.";
                Problem::too_many_requests(detail, RETRY_AFTER_SECONDS)
            }
            NoAnswer::AllBusy => Problem::overloaded(),
            NoAnswer::Panicked => Problem::internal(),
        })
    }

    /// A permit for one search for the names that a request may have meant; `None` while there are
    /// others. The answer is useful without suggestions.
    pub fn suggestion_permit(&self) -> Option<impl Send + use<>> {
        self.0.suggestions.clone().try_acquire_owned().ok()
    }

    fn request_permit(
        &self,
        principal: &Principal,
        peer: IpAddr,
    ) -> Result<CallerPermit<CallerKey>, Problem> {
        let caller = self.caller_key(principal, peer);
        self.0.request_rate.check(&caller).map_err(|seconds| {
            let detail = format!("You have exceeded your rate limit; try again in {seconds} s.");
            Problem::too_many_requests(detail, seconds)
        })?;
        self.0.requests_per_caller.try_acquire(caller).ok_or_else(|| {
            let max = self.0.requests_per_caller.max();
            let detail =
                format!("You have {max} requests open, which is the maximum; wait for one to complete.");
            Problem::too_many_requests(detail, RETRY_AFTER_SECONDS)
        })
    }

    fn caller_key(&self, principal: &Principal, peer: IpAddr) -> CallerKey {
        if self.0.is_by_address {
            CallerKey::Address(network(peer))
        } else {
            CallerKey::Caller(principal.tenant.clone(), principal.name.clone())
        }
    }
}

/// Permit of one event stream.
#[derive(Debug)]
pub struct StreamPermit(#[expect(dead_code, reason = "counts until it is dropped")] CallerPermit<CallerKey>);

/// Middleware that refuses requests with 503 while the process serves the maximum number.
pub async fn limit_all(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    match limits.0.requests.clone().try_acquire_owned() {
        Ok(permit) => hold_until_sent(next.run(request).await, permit),
        Err(_) => Problem::overloaded().into_response(),
    }
}

/// Middleware that refuses requests with 429 beyond the rate and concurrency of their caller. Runs
/// after authentication.
pub async fn limit_callers(
    State(limits): State<Limits>,
    caller: Caller,
    request: Request,
    next: Next,
) -> Response {
    match limits.request_permit(&caller.0, peer_of(request.extensions())) {
        Ok(permit) => hold_until_sent(next.run(request).await, permit),
        Err(problem) => problem.into_response(),
    }
}

/// Middleware that replaces 401 by 429 beyond the rate limit of 401 answers per address.
///
/// Requests with valid keys always pass, because the address may belong to a proxy of many clients:
/// one client with a wrong key must not lock out the others.
pub async fn limit_failures(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let address = network(peer_of(request.extensions()));
    let response = next.run(request).await;
    if response.status() != StatusCode::UNAUTHORIZED {
        return response;
    }
    match limits.0.failure_rate.check(&address) {
        Ok(()) => response,
        Err(seconds) => {
            let detail = "Too many requests from your address had no valid key.";
            Problem::too_many_requests(detail, seconds).into_response()
        }
    }
}

/// The client's address of a request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self(peer_of(&parts.extensions)))
    }
}

fn peer_of(extensions: &Extensions) -> IpAddr {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>();
    peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |ConnectInfo(peer)| peer.ip())
}

/// The part of an address that identifies one customer: all of IPv4, the /64 network of IPv6,
/// because a customer with one IPv6 address usually has the whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests;
