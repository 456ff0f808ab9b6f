//! `GET /export/{id}`: how a job is.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use export_core::access::Scope;
use export_core::causes;
use export_core::job::Job;
use tracing::warn;

use super::etag::{etag, is_known};
use super::job_view::{JobView, RETRY_AFTER_SECONDS};
use super::links::{ResultLinks, objects_of};
use super::wait::Wait;
use super::{JobPath, find_job, store_problem};
use crate::auth::Caller;
use crate::http::limits::Peer;
use crate::http::problem::Problem;
use crate::jobs::audit::Trail;
use crate::state::ApiState;

/// How a job is
///
/// With `Prefer: wait=N` the answer comes when the job has ended, or after N seconds. With `If-None-Match` it is 304 while
/// nothing has changed.
#[utoipa::path(
    get, path = "/export/{id}", tag = "exports", operation_id = "get_export",
    params(
        ("id" = Uuid, Path, description = "The job"),
        ("If-None-Match" = Option<String>, Header, description = "Tags of answers that the client has"),
        ("Prefer" = Option<String>, Header, description = "wait=N: answer when the job has ended, or after N seconds, at most 50"),
    ),
    responses(
        (status = 200, description = "The job", body = JobView<'_>, headers(
            ("ETag" = String, description = "Changes with the job, and with time while there are links"),
            ("Retry-After" = u16, description = "When asking again is worth it, in seconds, while the job is active"),
            ("Preference-Applied" = String, description = "wait=N: how long the answer was waited for at most"),
        )),
        (status = 304, description = "The client has this answer already"),
        (status = 404, description = "No such export"),
    )
)]
pub async fn get(
    State(state): State<ApiState>,
    caller: Caller,
    peer: Peer,
    trail: Trail,
    JobPath(job_id): JobPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut principal = caller.who_may(Scope::Read)?;
    let mut job = find_job(&state, &principal, job_id).await?;
    let mut applied = None;
    if let Some(wait) = Wait::preferred(&headers) {
        let waited = wait.until_ended(&state, &principal, peer, job).await;
        if let Some(error) = waited.error {
            return Err(store_problem(job_id, &error));
        }
        (job, applied) = (waited.job, waited.applied);
        // A key may have been revoked meanwhile.
        principal = state.auth.still(&headers, &principal, Scope::Read).await?;
    }

    let queue = state.queue.position_of(&job).await;
    let etag = etag(&job, queue, Utc::now());
    let mut response = if is_known(&headers, &etag) {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        describe(&mut response, &job, Some(etag));
        response
    } else {
        let objects = objects_of(&job, &state.jobs).await.map_err(|error| store_problem(job_id, &error))?;
        // Without links the rest of the answer is still of use, and `/download` tells the error. It has no tag: the next one is
        // to be another.
        let given = ResultLinks::given_to(&principal, &job, &objects, &state, &trail).await;
        let etag = given.is_ok().then_some(etag);
        let links = given.unwrap_or_else(|error| {
            warn!(job.id = %job.id, error = %causes(&error), "no download links could be given");
            None
        });
        let links = links.unwrap_or_else(|| ResultLinks::unsigned(&job, &objects));
        let mut response = Json(JobView::of(&job, links).in_line(queue)).into_response();
        describe(&mut response, &job, etag);
        response
    };
    if let Some(applied) = applied {
        applied.tell(&mut response);
    }
    Ok(response)
}

/// The headers of both answers.
fn describe(response: &mut Response, job: &Job, etag: Option<String>) {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    // What one caller was told is not for the next one on the same machine.
    headers.insert(header::VARY, HeaderValue::from_static("authorization"));
    headers.extend(etag.and_then(|etag| HeaderValue::try_from(etag).ok()).map(|etag| (header::ETAG, etag)));
    if job.state.is_active() {
        headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
    }
}
