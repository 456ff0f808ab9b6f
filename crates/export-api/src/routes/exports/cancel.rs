//! `DELETE /export/{id}`: end a job.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use export_core::JobId;
use export_core::access::{Principal, Scope};
use export_core::job::Job;
use export_store::Cancelled;
use tracing::{Instrument, error, info};

use super::job_view::{JobView, RETRY_AFTER_SECONDS};
use super::links::ResultLinks;
use super::{JobPath, find_job, store_problem};
use crate::auth::Caller;
use crate::http::problem::Problem;
use crate::jobs::audit::Trail;
use crate::state::ApiState;

/// End a job
///
/// Answers 202 with the job, which has ended or will soon; 409 where it has ended otherwise.
#[utoipa::path(
    delete, path = "/export/{id}", tag = "exports", operation_id = "cancel_export",
    params(("id" = Uuid, Path, description = "The job")),
    responses(
        (status = 202, description = "The job, which has ended or will soon", body = JobView<'_>, headers(
            ("retry-after" = u32, description = "Seconds after which asking again is worth it, while the job has not ended."),
        )),
        (status = 404, description = "No such export"),
        (status = 409, description = "The export has finished, failed or expired"),
    )
)]
pub async fn cancel(
    State(state): State<ApiState>,
    caller: Caller,
    trail: Trail,
    JobPath(job_id): JobPath,
) -> Result<Response, Problem> {
    let principal = caller.who_may(Scope::Write)?;
    find_job(&state, &principal, job_id).await?;
    // On a task of its own: a client that hangs up half-way must not keep it out of the audit log.
    let cancelling = tokio::spawn(end(state, principal, job_id, trail).in_current_span());
    let job = cancelling.await.map_err(|panic| {
        error!(job.id = %job_id, error = %panic, "a job could not be cancelled");
        Problem::internal()
    })??;
    let view = Json(JobView::of(&job, ResultLinks::default()));
    let mut response = (StatusCode::ACCEPTED, view).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if job.state.is_active() {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
    }
    Ok(response)
}

/// Ends the job, and notes who wanted that.
async fn end(state: ApiState, principal: Principal, job_id: JobId, trail: Trail) -> Result<Job, Problem> {
    let cancelled = state.jobs.cancel(job_id).await.map_err(|error| store_problem(job_id, &error))?;
    let (job, outcome) = match cancelled {
        Cancelled::Ended(job) => (job, "cancelled"),
        Cancelled::Requested(job) => (job, "its worker will hear of it"),
        Cancelled::TooLate(job) => {
            let detail = format!("The export is {}; what has ended cannot be cancelled.", job.state.as_str());
            return Err(Problem::already_ended(detail));
        }
        Cancelled::Unknown => return Err(Problem::unknown_job()),
    };
    info!(job.id = %job_id, job.state = job.state.as_str(), "export cancelled");
    state.audit.cancelled(&principal, job_id, &trail, outcome).await;
    Ok(job)
}
