//! `GET /export/{id}`: how a job is.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use export_core::access::Scope;
use export_core::causes;
use tracing::warn;

use super::job_view::{JobView, RETRY_AFTER_SECONDS};
use super::links::ResultLinks;
use super::{JobPath, find_job};
use crate::auth::Caller;
use crate::problem::Problem;
use crate::state::ApiState;

/// How a job is
#[utoipa::path(
    get, path = "/export/{id}", tag = "exports", operation_id = "get_export",
    params(("id" = Uuid, Path, description = "The job")),
    responses(
        (status = 200, description = "The job", body = JobView<'_>, headers(
            ("retry-after" = u32, description = "Seconds after which asking again is worth it, while the job has not ended."),
            ("cache-control" = String, description = "To be asked for again each time."),
        )),
        (status = 404, description = "No such export"),
    )
)]
pub async fn get(
    State(state): State<ApiState>,
    caller: Caller,
    JobPath(job_id): JobPath,
) -> Result<Response, Problem> {
    let job = find_job(&state, &caller.who_may(Scope::Read)?, job_id).await?;
    // Without links the rest of the answer is still of use, and `/download` tells the error.
    let signed = ResultLinks::sign(&job, &state.results).await.unwrap_or_else(|error| {
        warn!(job.id = %job.id, error = %causes(&error), "no download links could be made");
        None
    });
    let links = signed.unwrap_or_else(|| ResultLinks::unsigned(&job));
    let mut response = Json(JobView::of(&job, links)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("private, no-cache"));
    if job.state.is_active() {
        headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
    }
    Ok(response)
}
