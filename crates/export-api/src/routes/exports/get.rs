//! `GET /export/{id}`: the state of a job.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use export_core::access::Scope;
use export_core::job::Job;

use super::etag::{etag, is_known};
use super::job_view::{JobView, set_job_headers};
use super::links::{ResultLinks, objects_of};
use super::wait::Wait;
use super::{JobPath, find_job, not_visible};
use crate::auth::Caller;
use crate::http::limits::Peer;
use crate::http::problem::Problem;
use crate::jobs::audit::Trail;
use crate::state::ApiState;

/// Get a job
///
/// With `Prefer: wait=N` the answer comes when the job has ended, or after N seconds. With
/// `If-None-Match` it is 304 while the job has not changed.
#[utoipa::path(
    get, path = "/export/{id}", tag = "exports", operation_id = "get_export",
    params(
        ("id" = Uuid, Path, description = "The job"),
        ("If-None-Match" = Option<String>, Header, description = "ETags of cached answers"),
        ("Prefer" = Option<String>, Header, description = "wait=N: answer when the job has ended, or after N seconds (at most 50)"),
    ),
    responses(
        (status = 200, description = "The job", body = JobView<'_>, headers(
            ("ETag" = String, description = "Changes with the job and, if there are links, with time"),
            ("Retry-After" = u16, description = "Seconds to wait before reading the job again, while it is active"),
            ("Preference-Applied" = String, description = "wait=N: the maximum wait that was applied"),
        )),
        (status = 304, description = "The cached answer of the client is current"),
        (status = 404, description = "No such export"),
    )
)]
pub async fn get(
    State(state): State<ApiState>,
    caller: Caller,
    peer: Peer,
    trail: Trail,
    JobPath(job_id): JobPath,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut principal = caller.authorize(Scope::Read)?;
    let mut job = find_job(&state, &principal, job_id).await?;
    let mut applied = None;
    if let Some(wait) = Wait::preferred(&headers) {
        let waited = wait.until_ended(&state, &principal, peer, job).await;
        if let Some(error) = waited.error {
            return Err(error.into());
        }
        (job, applied) = (waited.job, waited.applied);
        // The caller's key may have been revoked during the wait, and its vehicles changed.
        principal = state.auth.still(&headers, &principal, Scope::Read).await?;
        if !job.is_visible_to(&principal) {
            return Err(not_visible());
        }
    }

    let waiting = state.queue.look_at(&job).await;
    let etag = etag(&job, waiting, Utc::now());
    let mut response = if is_known(&headers, &etag) {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        set_headers(&mut response, &job, Some(etag));
        response
    } else {
        let objects = objects_of(&job, &state.jobs).await?;
        // The answer to HEAD has no body, and so no links to audit.
        let trail = (method != Method::HEAD).then_some(&trail);
        let (links, is_signed) =
            Box::pin(ResultLinks::for_answer(&principal, peer, &job, &objects, &state, trail)).await;
        // Without a tag, so that the next request tries again to make the links.
        let etag = is_signed.then_some(etag);
        let mut response = Json(JobView::of(&job, links).with_waiting(&job, waiting)).into_response();
        set_headers(&mut response, &job, etag);
        response
    };
    if let Some(applied) = applied {
        applied.set_header(&mut response);
    }
    Ok(response)
}

/// Sets the headers of both kinds of answer.
fn set_headers(response: &mut Response, job: &Job, etag: Option<String>) {
    set_job_headers(response, job);
    let headers = response.headers_mut();
    // A cache must not give the answer of one caller to another.
    headers.insert(header::VARY, HeaderValue::from_static("authorization"));
    headers.extend(etag.and_then(|etag| HeaderValue::try_from(etag).ok()).map(|etag| (header::ETAG, etag)));
}
