//! What one caller may have of the service, and what all may have together.
//!
//! [`limit_callers`] comes after authentication and counts by caller; where nobody is asked who they are, by address.
//! [`limit_failures`] comes before it. [`limit_all`] comes before everything. How much a *connection* may have is for
//! [`crate::http::server`].

mod held;
mod rate;
mod share;

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
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::auth::Caller;
use crate::config::{AccessSettings, LimitSettings};
use crate::http::problem::Problem;
use held::held;
use rate::Rate;
use share::Shares;

pub use share::Share;

/// How soon a caller may try again who has as many requests open as it may: one of them ends soon.
const RETRY_AFTER_SECONDS: u16 = 1;
/// Of the requests that may be open, this part may be waiting for jobs to end: one in four. The others are for those who want
/// their answers now.
const WAITING_PART: usize = 4;
/// Requests without a valid key from one address, per second, after the first ones.
const FAILURES_PER_SECOND: NonZeroU32 = NonZeroU32::MIN;

/// The limits and who has how much of them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Limits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    body_read: Duration,
    /// Whether callers cannot be told apart but by their address.
    is_anyone: bool,
    places: Arc<Semaphore>,
    /// Those of the places whose requests may wait for jobs to end.
    waits: Arc<Semaphore>,
    requests: Rate,
    failures: Rate,
    open_requests: Shares<Who>,
    open_streams: Shares<Who>,
    open_waits: Shares<Who>,
}

/// Whose share it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Who {
    Caller(Tenant, String),
    Address(IpAddr),
}

impl Limits {
    /// As the settings want it.
    pub fn new(settings: &LimitSettings, access: &AccessSettings) -> Self {
        let places = usize::try_from(settings.max_requests.get()).unwrap_or(usize::MAX);
        let places = places.min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Inner {
            body_read: settings.body_read,
            is_anyone: matches!(access, AccessSettings::Anyone),
            places: Arc::new(Semaphore::new(places)),
            waits: Arc::new(Semaphore::new((places / WAITING_PART).max(1))),
            requests: Rate::new(settings.requests_per_second, settings.requests_at_once),
            failures: Rate::new(FAILURES_PER_SECOND, settings.auth_failures_at_once),
            open_requests: Shares::of(settings.max_requests_per_caller),
            open_streams: Shares::of(settings.max_streams_per_caller),
            // One that waits costs what one that listens does.
            open_waits: Shares::of(settings.max_streams_per_caller),
        }))
    }

    /// How long the body of a request may take to arrive.
    pub fn body_read(&self) -> Duration {
        self.0.body_read
    }

    /// A place for one event stream; it is free again when what is returned is dropped.
    pub fn stream_permit(&self, principal: &Principal, peer: Peer) -> Result<StreamPermit, Problem> {
        let share = self.0.open_streams.take(self.who(principal, peer.0));
        share.map(StreamPermit).ok_or_else(|| {
            let most = self.0.open_streams.most();
            let detail = format!("You have {most} event streams open; end one first.");
            Problem::too_many_requests(detail, RETRY_AFTER_SECONDS)
        })
    }

    /// A place for one request that waits for a job to end; `None` while its caller, or all together, have as many as they may.
    pub fn wait_permit(&self, principal: &Principal, peer: Peer) -> Option<WaitPermit> {
        let share = self.0.open_waits.take(self.who(principal, peer.0))?;
        let place = self.0.waits.clone().try_acquire_owned().ok()?;
        Some(WaitPermit { _share: share, _place: place })
    }

    fn request_permit(&self, principal: &Principal, peer: IpAddr) -> Result<Share<Who>, Problem> {
        let who = self.who(principal, peer);
        self.0.requests.check(&who).map_err(|seconds| {
            let detail =
                format!("You send more requests than you may; the next one has a chance in {seconds} s.");
            Problem::too_many_requests(detail, seconds)
        })?;
        self.0.open_requests.take(who).ok_or_else(|| {
            let most = self.0.open_requests.most();
            let detail = format!("{most} of your requests are being answered; wait for one of them.");
            Problem::too_many_requests(detail, RETRY_AFTER_SECONDS)
        })
    }

    fn who(&self, principal: &Principal, peer: IpAddr) -> Who {
        if self.0.is_anyone {
            Who::Address(network(peer))
        } else {
            Who::Caller(principal.tenant.clone(), principal.name.clone())
        }
    }
}

/// The place of one event stream.
#[derive(Debug)]
pub struct StreamPermit(#[expect(dead_code, reason = "counts until it is dropped")] Share<Who>);

/// The place of one request that waits.
#[derive(Debug)]
pub struct WaitPermit {
    _share: Share<Who>,
    _place: OwnedSemaphorePermit,
}

/// Answers at once while as many requests are being answered as may be.
pub async fn limit_all(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    match limits.0.places.clone().try_acquire_owned() {
        Ok(place) => held(next.run(request).await, place),
        Err(_) => Problem::overloaded().into_response(),
    }
}

/// Lets a request through that its caller may have now. The caller must be known.
pub async fn limit_callers(
    State(limits): State<Limits>,
    caller: Caller,
    request: Request,
    next: Next,
) -> Response {
    match limits.request_permit(&caller.0, peer_of(request.extensions())) {
        Ok(share) => held(next.run(request).await, share),
        Err(problem) => problem.into_response(),
    }
}

/// Turns one 401 too many into a 429. Valid keys are let through whatever else comes from their address: it may be that of a
/// proxy for everybody, and one client with a wrong key must not lock out the others.
pub async fn limit_failures(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let address = network(peer_of(request.extensions()));
    let response = next.run(request).await;
    if response.status() != StatusCode::UNAUTHORIZED {
        return response;
    }
    match limits.0.failures.check(&address) {
        Ok(()) => response,
        Err(seconds) => {
            let detail = "Too many requests from your address had no valid key.";
            Problem::too_many_requests(detail, seconds).into_response()
        }
    }
}

/// Where a request comes from.
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

/// The address as far as it tells one customer from another: who has one IPv6 address has 2⁶⁴ of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests;
