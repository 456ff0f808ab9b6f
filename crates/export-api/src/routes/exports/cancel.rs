//! `DELETE /export/{id}`: cancels a job.

use axum::extract::State;
use axum::response::Response;
use export_core::JobId;
use export_core::access::{Principal, Scope};
use export_core::job::Job;
use export_store::{AuditAction, Cancelled};
use tracing::{Instrument, error, info};

use super::job_view::{JobView, accepted};
use super::links::ResultLinks;
use super::{JobPath, find_job};
use crate::auth::Caller;
use crate::http::problem::Problem;
use crate::jobs::audit::Trail;
use crate::state::ApiState;

/// Cancel a job
///
/// Answers 202 with the job, which is cancelled or will be soon; 409 if it has already ended
/// otherwise.
#[utoipa::path(
    delete, path = "/export/{id}", tag = "exports", operation_id = "cancel_export",
    params(("id" = Uuid, Path, description = "The job")),
    responses(
        (status = 202, description = "The job, which is cancelled or will be soon", body = JobView<'_>, headers(
            ("retry-after" = u32, description = "Seconds to wait before reading the job again, while it has not ended."),
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
    let principal = caller.authorize(Scope::Write)?;
    find_job(&state, &principal, job_id).await?;
    // Its own task, so that the audit entry is written even if the client disconnects.
    let cancelling = tokio::spawn(cancel_and_audit(state, principal, job_id, trail).in_current_span());
    let job = cancelling.await.map_err(|panic| {
        error!(job.id = %job_id, error = %panic, "cancelling a job panicked");
        Problem::internal()
    })??;
    Ok(accepted(&job, ResultLinks::default()))
}

/// Cancels the job and writes the audit entry.
async fn cancel_and_audit(
    state: ApiState,
    principal: Principal,
    job_id: JobId,
    trail: Trail,
) -> Result<Job, Problem> {
    let (job, outcome) = match state.jobs.cancel(job_id).await? {
        Cancelled::Ended(job) => (job, "cancelled"),
        Cancelled::Requested(job) => (job, "cancellation requested"),
        Cancelled::TooLate(job) => {
            let detail = format!(
                "The export is {}; an export that has ended cannot be cancelled.",
                job.state.as_str()
            );
            return Err(Problem::already_ended(detail));
        }
        Cancelled::Unknown => return Err(Problem::unknown_job()),
    };
    info!(job.id = %job_id, job.state = job.state.as_str(), "export cancelled");
    state.audit.record(&principal, AuditAction::ExportCancel, job_id, &trail, outcome).await;
    Ok(job)
}
