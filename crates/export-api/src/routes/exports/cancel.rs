//! `DELETE /export/{id}`: end a job.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use export_core::access::Scope;
use export_mongo::Cancelled;
use tracing::info;

use super::job_view::{JobView, RETRY_AFTER_SECONDS};
use super::links::ResultLinks;
use super::{JobPath, find_job, store_problem};
use crate::auth::Caller;
use crate::problem::Problem;
use crate::state::ApiState;

/// End a job
///
/// Answers 202 with the job, which has ended or will soon; 409 where it has ended otherwise.
#[utoipa::path(delete, path = "/export/{id}", tag = "exports", params(("id" = Uuid, Path, description = "The job")), responses((status = 202, description = "The job")))]
pub async fn cancel(
    State(state): State<ApiState>,
    caller: Caller,
    JobPath(job_id): JobPath,
) -> Result<Response, Problem> {
    let principal = caller.who_may(Scope::Write)?;
    find_job(&state, &principal, job_id).await?;
    let cancelled = state.jobs.cancel(job_id).await.map_err(|error| store_problem(job_id, &error))?;
    let job = match cancelled {
        Cancelled::Ended(job) | Cancelled::Requested(job) => job,
        Cancelled::TooLate(job) => {
            let detail = format!("The export is {}; what has ended cannot be cancelled.", job.state.as_str());
            return Err(Problem::already_ended(detail));
        }
        Cancelled::Unknown => return Err(Problem::unknown_job()),
    };
    info!(job.id = %job_id, job.state = job.state.as_str(), "export cancelled");
    let view = Json(JobView::of(&job, ResultLinks::default()));
    let mut response = (StatusCode::ACCEPTED, view).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if job.state.is_active() {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
    }
    Ok(response)
}
