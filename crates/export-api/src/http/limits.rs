//! Limits of requests: per caller, and for all callers together.
//!
//! [`limit_callers`] runs after authentication and bounds rate and concurrency per caller, or per
//! address if `AUTH=none`; its permit is held until the answer is delivered, so a caller that does
//! not read its answers limits itself. It also bounds the bytes of large answers that a tenant has
//! not read. [`limit_all`] runs last, when the body of the request is there, and bounds the requests
//! that the process works on; its permit ends with the work, so no client keeps it by sending or
//! reading slowly. The limits of a *connection* are in [`crate::http::server`].

mod lane;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use export_core::Tenant;
use export_core::access::Principal;
use export_observability::{CallerPermit, PerCallerLimit};
use hyper::body::Body as _;
use tokio::sync::Semaphore;
use tracing::Instrument;

use crate::auth::Caller;
use crate::config::{AccessSettings, LimitSettings};
use crate::http::client_address::network;
use crate::http::problem::{Problem, Reason};
use crate::http::rate::Rate;
use crate::http::rate_limit::RateLimitPolicy;
use crate::http::server::HeldUntilDelivered;
use lane::{Lane, NoAnswer};

pub use crate::http::client_address::Peer;

/// `Retry-After` in seconds for a caller with too many concurrent requests: most requests end
/// within a second.
const RETRY_AFTER_SECONDS: u16 = 1;
/// One request in this number may wait for a job to end (`Prefer: wait`). The others stay available
/// for requests that are answered immediately.
const WAITING_FRACTION: usize = 4;
/// Concurrent searches for the names that requests may have meant.
const MAX_SUGGESTION_SEARCHES: usize = 2;
/// Maximum size, in KiB, of the large answers of one tenant (or with `AUTH=none` of one address) that
/// are not delivered, whatever the number of its keys. The largest answer has a few MiB.
const MAX_UNREAD_KIB: NonZeroU32 = NonZeroU32::new(32 * 1024).expect("not zero");
/// Size of an answer above which it counts as large.
const LARGE_ANSWER_BYTES: u64 = 16 * 1024;
const EVENT_STREAM: &[u8] = b"text/event-stream";

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
    rate_limit_policy: RateLimitPolicy,
    requests_per_caller: PerCallerLimit<CallerKey>,
    streams_per_caller: PerCallerLimit<CallerKey>,
    waits_per_caller: PerCallerLimit<CallerKey>,
    /// KiB of large answers that are not delivered, of a tenant or an address.
    unread_kib: PerCallerLimit<CallerKey>,
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
            rate_limit_policy: RateLimitPolicy::new(settings.requests_per_second, settings.requests_at_once),
            requests_per_caller: PerCallerLimit::new(settings.max_requests_per_caller),
            streams_per_caller: PerCallerLimit::new(settings.max_streams_per_caller),
            // A waiting request costs as much as an event stream.
            waits_per_caller: PerCallerLimit::new(settings.max_streams_per_caller),
            unread_kib: PerCallerLimit::new(MAX_UNREAD_KIB),
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
        let permit = self.0.streams_per_caller.try_acquire(self.caller_key(principal, peer.address()));
        permit.map(StreamPermit).ok_or_else(|| {
            let max = self.0.streams_per_caller.max();
            let detail = format!("You have {max} event streams open, which is the maximum; close one first.");
            Problem::too_many_requests(detail, RETRY_AFTER_SECONDS).because(Reason::Streams)
        })
    }

    /// A permit for one request that waits for a job to end; `None` while its caller, or all
    /// callers together, have the maximum.
    pub fn wait_permit(&self, principal: &Principal, peer: Peer) -> Option<impl Send + use<>> {
        let of_caller = self.0.waits_per_caller.try_acquire(self.caller_key(principal, peer.address()))?;
        let of_process = self.0.waits.clone().try_acquire_owned().ok()?;
        Some((of_caller, of_process))
    }

    /// Answers a question whose cost grows with the data, a few at a time, and fewer of one tenant,
    /// whatever the number of its keys. If the client is gone, the question is cancelled soon after.
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
        let caller = self.tenant_key(principal, peer);
        self.0.heavy.run(caller, question.in_current_span()).await.map_err(Problem::from)
    }

    /// A turn among the questions of [`heavy`](Self::heavy), until it is dropped: for work that goes
    /// on when the client is gone.
    ///
    /// # Errors
    /// 429 or 503 if the turn does not come soon.
    pub async fn heavy_turn(&self, principal: &Principal, peer: Peer) -> Result<impl Send + use<>, Problem> {
        self.0.heavy.enter(self.tenant_key(principal, peer)).await.map_err(Problem::from)
    }

    /// Like [`heavy`](Self::heavy), but returns `None` instead of waiting for a turn, for questions
    /// whose answer the request can do without.
    pub async fn heavy_now<T>(
        &self,
        principal: &Principal,
        peer: Peer,
        question: impl Future<Output = T> + Send + 'static,
    ) -> Option<T>
    where
        T: Send + 'static,
    {
        self.0.heavy.try_run(self.tenant_key(principal, peer), question.in_current_span()).await
    }

    /// A permit for an answer of this size, until it is delivered; `None` for a small one.
    fn delivery_permit(
        &self,
        principal: &Principal,
        peer: Peer,
        bytes: u64,
    ) -> Result<Option<CallerPermit<CallerKey>>, Problem> {
        if bytes <= LARGE_ANSWER_BYTES {
            return Ok(None);
        }
        let kib =
            u32::try_from(bytes.div_ceil(1024)).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX);
        let permit = self.0.unread_kib.try_acquire_many(self.tenant_key(principal, peer), kib);
        permit.map(Some).ok_or_else(|| {
            let max = MAX_UNREAD_KIB.get() / 1024;
            let detail =
                format!("You have not read answers of {max} MiB, which is the maximum; read them first.");
            Problem::too_many_requests(detail, RETRY_AFTER_SECONDS).because(Reason::UnreadAnswers)
        })
    }

    /// Identifies a tenant, or an address.
    fn tenant_key(&self, principal: &Principal, peer: Peer) -> CallerKey {
        match self.caller_key(principal, peer.address()) {
            CallerKey::Caller(tenant, _) => CallerKey::Caller(tenant, String::new()),
            address @ CallerKey::Address(_) => address,
        }
    }

    /// A permit for one search for the names that a request may have meant; `None` while there are
    /// others. The answer is useful without suggestions.
    pub fn suggestion_permit(&self) -> Option<impl Send + use<>> {
        self.0.suggestions.clone().try_acquire_owned().ok()
    }

    /// A permit for one request of the caller, for which a token was `taken` of its rate.
    fn request_permit(
        &self,
        caller: CallerKey,
        taken: Result<u32, u16>,
    ) -> Result<CallerPermit<CallerKey>, Problem> {
        taken.map_err(|seconds| {
            let detail = format!("You have exceeded your rate limit; try again in {seconds} s.");
            Problem::too_many_requests(detail, seconds).because(Reason::Rate)
        })?;
        self.0.requests_per_caller.try_acquire(caller).ok_or_else(|| {
            let max = self.0.requests_per_caller.max();
            let detail =
                format!("You have {max} requests open, which is the maximum; wait for one to complete.");
            Problem::too_many_requests(detail, RETRY_AFTER_SECONDS).because(Reason::OpenRequests)
        })
    }

    /// The answer with its permits, which are held until it is delivered; 429 instead of a large one
    /// while the tenant has not read others.
    fn deliver(
        &self,
        principal: &Principal,
        peer: Peer,
        permit: CallerPermit<CallerKey>,
        mut response: Response,
    ) -> Response {
        let media_type = response.headers().get(header::CONTENT_TYPE);
        if media_type.is_some_and(|media_type| media_type.as_bytes().starts_with(EVENT_STREAM)) {
            return response;
        }
        let bytes = response.body().size_hint().lower();
        match self.delivery_permit(principal, peer, bytes) {
            Ok(of_bytes) => {
                response.extensions_mut().insert(HeldUntilDelivered(Arc::new((permit, of_bytes))));
                response
            }
            Err(problem) => problem.into_response(),
        }
    }

    fn caller_key(&self, principal: &Principal, peer: IpAddr) -> CallerKey {
        if self.0.is_by_address {
            CallerKey::Address(network(peer))
        } else {
            CallerKey::Caller(principal.tenant.clone(), principal.name.clone())
        }
    }
}

impl From<NoAnswer> for Problem {
    fn from(no_answer: NoAnswer) -> Self {
        match no_answer {
            NoAnswer::CallerBusy => {
                let detail = "Your other lists, estimates and answers with many links are not answered yet; wait for them.";
                Self::too_many_requests(detail, RETRY_AFTER_SECONDS).because(Reason::Lists)
            }
            NoAnswer::AllBusy => Self::overloaded().because(Reason::AllLists),
            NoAnswer::Panicked => Self::internal(),
        }
    }
}

/// Permit of one event stream.
#[derive(Debug)]
pub struct StreamPermit(#[expect(dead_code, reason = "counts until it is dropped")] CallerPermit<CallerKey>);

/// Middleware that refuses requests with 503 while the process works on the maximum number. Runs
/// when the body of the request is there, and its permit ends when the answer is made.
pub async fn limit_all(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    match limits.0.requests.clone().try_acquire_owned() {
        Ok(_permit) => next.run(request).await,
        Err(_) => Problem::overloaded().because(Reason::Overloaded).into_response(),
    }
}

/// Middleware that refuses requests with 429 beyond the rate and concurrency of their caller. Runs
/// after authentication. Its permit is held until the answer is delivered, except by an event
/// stream, which has a permit of its own kind. Every answer says how much of the rate is left.
pub async fn limit_callers(
    State(limits): State<Limits>,
    caller: Caller,
    request: Request,
    next: Next,
) -> Response {
    let peer = Peer::of(request.extensions());
    let key = limits.caller_key(&caller.0, peer.address());
    let taken = limits.0.request_rate.check(&key);
    let mut response = match limits.request_permit(key, taken) {
        Ok(permit) => limits.deliver(&caller.0, peer, permit, next.run(request).await),
        Err(problem) => problem.into_response(),
    };
    limits.0.rate_limit_policy.describe(response.headers_mut(), taken);
    response
}

#[cfg(test)]
mod tests;
