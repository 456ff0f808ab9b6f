//! `GET /export/{id}/events`: a job as it changes, as server-sent events.
//!
//! Every event is the whole job, so that a client which missed some has lost nothing. Its id is the job's version
//! ([`super::etag::version`]): a client that comes back with `Last-Event-ID` is sent nothing that it has. Which replica of the
//! API it comes back to makes no difference, since all of them tell what MongoDB has.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
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
use crate::http::problem::Problem;
use crate::jobs::queue::QueueView;
use crate::state::ApiState;

/// A comment is sent after so long without an event, so that nobody on the way takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How soon a client comes back when a stream has ended before its job.
const COME_BACK: Duration = Duration::from_secs(2);
/// A stream ends after this time, and its client comes back: streams spread over the replicas there are, and none is for ever.
const LONGEST_STREAM: Duration = Duration::from_mins(10);
/// How often a waiting job's place in line is looked for: no change of the job tells that those before it have moved on.
const POSITION_CHECK: Duration = Duration::from_secs(2);
/// How often a stream asks whether its caller may still see the job. Below the time in which a revoked key must be of no use.
const CALLER_CHECK: Duration = Duration::from_secs(15);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Tells a proxy not to collect events before it passes them on.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A job as it changes
///
/// Server-sent events named `job`, each with the whole job as its data, but without download links. The stream ends after the
/// event of the job's end; a client that comes back with that event's id is answered 204.
#[utoipa::path(
    get,
    path = "/export/{id}/events",
    operation_id = "export_events",
    tag = "exports",
    params(
        ("id" = Uuid, Path, description = "The job"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that the client has"),
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
    let principal = caller.who_may(Scope::Read)?;
    let permit = state.limits.stream_permit(&principal, peer)?;
    // Before the first look at the job: what changes after it is not missed.
    let subscription = state.changes.subscribe(job_id);
    let job = find_job(&state, &principal, job_id).await?;
    let known = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    if !job.state.is_active() && version(&job, None) == known {
        return Ok((StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, "no-store")]).into_response());
    }
    let subscription = subscription.ok_or_else(Problem::too_many_streams)?;
    let now = Instant::now();
    let watcher = Watcher {
        known: known.to_owned(),
        newest: Some(job),
        waiting: None,
        position_at: now,
        subscription,
        _permit: permit,
        state,
        principal,
        headers,
        check_at: now + CALLER_CHECK,
        end_at: now + LONGEST_STREAM,
    };
    let not_stored = [(header::CACHE_CONTROL, "no-store"), (ACCEL_BUFFERING, "no")];
    let stream = Sse::new(watcher.events()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok((not_stored, stream).into_response())
}

/// One client's stream. What the client holds as long as it listens is held here.
struct Watcher {
    /// Version of the last event.
    known: String,
    /// The job, if it was looked at and may be news.
    newest: Option<Job>,
    /// The job, where the client knows that it waits.
    waiting: Option<Job>,
    /// When its place in line is looked for again.
    position_at: Instant,
    subscription: Subscription,
    /// The caller's place for a stream.
    _permit: StreamPermit,
    state: ApiState,
    principal: Principal,
    /// What the caller proved itself with.
    headers: HeaderMap,
    check_at: Instant,
    end_at: Instant,
}

impl Watcher {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        unfold(Some(self), async |watcher| {
            let mut watcher = watcher?;
            let (job, queue) = watcher.next().await?;
            let event = Event::default().event("job").id(&watcher.known).retry(COME_BACK);
            let data =
                serde_json::to_string(&JobView::of(&job, ResultLinks::default()).in_line(queue)).ok()?;
            // Nothing comes after the end.
            Some((Ok(event.data(data)), job.state.is_active().then_some(watcher)))
        })
    }

    /// The job when it is another than the client knows. `None`: the stream has had its time.
    async fn next(&mut self) -> Option<(Job, Option<QueueView>)> {
        loop {
            if let Some(job) = self.newest.take() {
                let queue = self.state.queue.position_of(&job).await;
                self.waiting = (job.state == JobState::NotStarted).then(|| job.clone());
                self.position_at = Instant::now() + POSITION_CHECK;
                let version = version(&job, queue);
                if version != self.known {
                    self.known = version;
                    return Some((job, queue));
                }
            }
            let mut until = self.check_at.min(self.end_at);
            if self.waiting.is_some() {
                until = until.min(self.position_at);
            }
            match timeout_at(until, self.subscription.changed()).await {
                Ok(true) => self.look().await,
                // The service stops.
                Ok(false) => return None,
                Err(_) if self.waiting.is_some() && self.position_at <= Instant::now() => {
                    if let Some(moved) = self.moved().await {
                        return Some(moved);
                    }
                }
                Err(_) if Instant::now() >= self.end_at || !self.may_still_listen().await => return None,
                Err(_) => self.check_at = Instant::now() + CALLER_CHECK,
            }
        }
    }

    /// The waiting job, if it has another place than the client knows. One that has none any more is about to be told.
    async fn moved(&mut self) -> Option<(Job, Option<QueueView>)> {
        self.position_at = Instant::now() + POSITION_CHECK;
        let job = self.waiting.clone()?;
        let queue = self.state.queue.position_of(&job).await?;
        let version = version(&job, Some(queue));
        (version != self.known).then(|| {
            self.known = version;
            (job, Some(queue))
        })
    }

    /// What cannot be read now is looked at again when the next wake-up comes.
    async fn look(&mut self) {
        let job_id = self.subscription.job_id();
        match self.state.jobs.get(job_id).await {
            Ok(found) => self.newest = found,
            Err(error) => debug!(job.id = %job_id, error = %causes(&error), "a watched job cannot be read"),
        }
    }

    /// Whether the caller is who it was and may still see the job. Where nobody can tell, because MongoDB is away, there is
    /// nothing new to be told of the job either, and a browser that is turned away with a 503 never comes back.
    async fn may_still_listen(&self) -> bool {
        match self.state.auth.principal(&self.headers).await {
            Ok(now) => now.tenant == self.principal.tenant && now.may(Scope::Read),
            Err(problem) => problem.into_response().status().is_server_error(),
        }
    }
}
