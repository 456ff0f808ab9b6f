//! `GET /export/{id}/events`: the changes of a job as server-sent events.
//!
//! Every event contains the whole job, so a client that missed events has lost nothing. The id of
//! an event is the job's version ([`super::etag::version`]): a client that reconnects with
//! `Last-Event-ID` gets only what it does not have. It may reconnect to any replica, because all of
//! them read MongoDB.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use export_core::JobId;
use export_core::access::{Principal, Scope};
use export_core::causes;
use export_core::job::{Job, JobState};
use export_store::Subscription;
use futures_util::stream::{Stream, unfold};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::etag::version;
use super::job_view::JobView;
use super::links::ResultLinks;
use super::{JobPath, find_job};
use crate::auth::Caller;
use crate::http::limits::{Peer, StreamPermit};
use crate::http::problem::{Problem, Reason};
use crate::jobs::queue::Waiting;
use crate::state::ApiState;

/// Interval of comments while there are no events, so that proxies do not close the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Time after which a client reconnects if a stream ends before its job.
const RECONNECT_AFTER: Duration = Duration::from_secs(2);
/// Maximum duration of a stream. Its client reconnects, so that streams spread over the replicas.
const MAX_STREAM_DURATION: Duration = Duration::from_mins(10);
/// Interval of checks of a waiting job's queue position, which changes without a change of the job.
const POSITION_CHECK: Duration = Duration::from_secs(2);
/// Interval of checks whether the caller may still see the job: below the 30 seconds within which a
/// revoked key stops working.
const CALLER_CHECK: Duration = Duration::from_secs(15);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Tells a proxy not to buffer events.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Follow a job
///
/// Server-sent events named `job`, each with the whole job as its data, but without download links.
/// The stream ends after the event of the job's end. A client that reconnects with the id of that
/// event gets 204.
#[utoipa::path(
    get,
    path = "/export/{id}/events",
    operation_id = "export_events",
    tag = "exports",
    params(
        ("id" = Uuid, Path, description = "The job"),
        ("Last-Event-ID" = Option<String>, Header, description = "Id of the last event that the client received"),
    ),
    responses(
        (status = 200, description = "The events", body = String, content_type = "text/event-stream"),
        (status = 204, description = "The job has ended, and the client has its last event"),
        (status = 404, description = "No such export"),
    )
)]
pub async fn events(
    State(state): State<ApiState>,
    caller: Caller,
    peer: Peer,
    JobPath(job_id): JobPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let principal = caller.authorize(Scope::Read)?;
    let permit = state.limits.stream_permit(&principal, peer)?;
    // Subscribed before the job is read, so that no change after the read is missed.
    let subscription = state.changes.subscribe(job_id);
    let job = find_job(&state, &principal, job_id).await?;
    let known = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    if !job.state.is_active() && version(&job, Waiting::default()) == known {
        return Ok((StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, "no-store")]).into_response());
    }
    let subscription = subscription.ok_or_else(|| Problem::too_many_streams().because(Reason::AllStreams))?;
    let now = Instant::now();
    let watcher = Watcher {
        known: known.to_owned(),
        newest: Some(job),
        waiting: None,
        had_position: false,
        position_at: now,
        job_id,
        subscription,
        _permit: permit,
        state,
        principal,
        headers,
        check_at: now + CALLER_CHECK,
        end_at: now + MAX_STREAM_DURATION,
    };
    let not_stored = [(header::CACHE_CONTROL, "no-store"), (ACCEL_BUFFERING, "no")];
    let stream = Sse::new(watcher.events()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok((not_stored, stream).into_response())
}

/// The stream of one client, with its permit and subscription.
struct Watcher {
    /// Version of the last event.
    known: String,
    /// The job, if it was read and may differ from the last event.
    newest: Option<Job>,
    /// The job, if the last event said that it waits.
    waiting: Option<Job>,
    /// Whether the last event had its queue position.
    had_position: bool,
    /// Time of the next check of its queue position.
    position_at: Instant,
    job_id: JobId,
    subscription: Subscription,
    /// The caller's permit for a stream.
    _permit: StreamPermit,
    state: ApiState,
    principal: Principal,
    /// The caller's credentials.
    headers: HeaderMap,
    check_at: Instant,
    end_at: Instant,
}

impl Watcher {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        unfold(Some(self), async |watcher| {
            let mut watcher = watcher?;
            let (job, waiting) = watcher.next().await?;
            let event = Event::default().event("job").id(&watcher.known).retry(RECONNECT_AFTER);
            let data =
                serde_json::to_string(&JobView::of(&job, ResultLinks::default()).with_waiting(&job, waiting))
                    .ok()?;
            // The event of the job's end is the last one.
            Some((Ok(event.data(data)), job.state.is_active().then_some(watcher)))
        })
    }

    /// Waits for a version of the job that the client does not have; `None` at the end of the
    /// stream.
    async fn next(&mut self) -> Option<(Job, Waiting)> {
        loop {
            if let Some(job) = self.newest.take() {
                let waiting = self.state.queue.look_at(&job).await;
                self.waiting = (job.state == JobState::NotStarted).then(|| job.clone());
                self.had_position = waiting.queue.is_some();
                self.position_at = Instant::now() + POSITION_CHECK;
                let version = version(&job, waiting);
                if version != self.known {
                    self.known = version;
                    return Some((job, waiting));
                }
            }
            let mut until = self.check_at.min(self.end_at);
            if self.waiting.is_some() {
                until = until.min(self.position_at);
            }
            match timeout_at(until, self.subscription.changed()).await {
                Ok(true) => self.read_job().await,
                // The service stops.
                Ok(false) => return None,
                Err(_) if self.waiting.is_some() && self.position_at <= Instant::now() => {
                    if let Some(moved) = self.moved().await {
                        return Some(moved);
                    }
                }
                Err(_) if Instant::now() >= self.end_at || !self.may_still_read().await => return None,
                Err(_) => self.check_at = Instant::now() + CALLER_CHECK,
            }
        }
    }

    /// The waiting job, if its queue position or the reason of its wait has changed. A job that no
    /// longer waits is reported by its own change.
    async fn moved(&mut self) -> Option<(Job, Waiting)> {
        self.position_at = Instant::now() + POSITION_CHECK;
        let job = self.waiting.clone()?;
        let waiting = self.state.queue.look_at(&job).await;
        if waiting.queue.is_none() && self.had_position {
            // It could not be read, or the job is about to leave the queue.
            return None;
        }
        let version = version(&job, waiting);
        (version != self.known).then(|| {
            self.known = version;
            self.had_position = waiting.queue.is_some();
            (job, waiting)
        })
    }

    /// Reads the job. If that fails, the next notification reads it again.
    async fn read_job(&mut self) {
        match self.state.jobs.get(self.job_id).await {
            Ok(found) => self.newest = found,
            Err(error) => debug!(job.id = %self.job_id, error = %causes(&error), "cannot read a watched job"),
        }
    }

    /// Whether the caller is still authenticated for the same tenant, and may read jobs and see
    /// the same vehicles. A client whose vehicles have changed reconnects, and gets the stream if
    /// it may still see the job.
    ///
    /// While this cannot be checked, because MongoDB is unavailable, the stream stays open: there
    /// are no new events then either, and a browser that gets a 503 never reconnects.
    async fn may_still_read(&self) -> bool {
        let still = self.state.auth.still(&self.headers, &self.principal, Scope::Read).await;
        match still {
            Ok(now) => now.vehicles == self.principal.vehicles,
            Err(problem) => problem.status().is_server_error(),
        }
    }
}
