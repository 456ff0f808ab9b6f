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
use crate::audit::Trail;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::state::ApiState;

/// How a job is
#[utoipa::path(get, path = "/export/{id}", tag = "exports", params(("id" = Uuid, Path, description = "The job")), responses((status = 200, description = "The job")))]
pub async fn get(
    State(state): State<ApiState>,
    caller: Caller,
    trail: Trail,
    JobPath(job_id): JobPath,
) -> Result<Response, Problem> {
    let principal = caller.who_may(Scope::Read)?;
    let job = find_job(&state, &principal, job_id).await?;
    // Without links the rest of the answer is still of use, and `/download` tells the error.
    let given = ResultLinks::given_to(&principal, &job, &state, &trail).await.unwrap_or_else(|error| {
        warn!(job.id = %job.id, error = %causes(&error), "no download links could be given");
        None
    });
    let links = given.unwrap_or_else(|| ResultLinks::unsigned(&job));
    let mut response = Json(JobView::of(&job, links)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("private, no-cache"));
    if job.state.is_active() {
        headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
    }
    Ok(response)
}
