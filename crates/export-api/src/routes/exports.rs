//! `/export`: one file per operation.

pub mod create;
pub mod download;
pub mod get;
mod job_view;

use export_core::JobId;
use export_core::job::Job;

use crate::problem::Problem;
use crate::state::ApiState;

/// Reads the id of a path.
fn parse_id(text: &str) -> Result<JobId, Problem> {
    text.parse().map_err(|error: export_core::id::NameError| Problem::malformed(error.to_string()))
}

/// The job of this id, or the answer that there is none.
async fn find_job(state: &ApiState, job_id: JobId) -> Result<Job, Problem> {
    let found = state.jobs.get(job_id).await.map_err(|error| Problem::unavailable(&error))?;
    found.ok_or_else(Problem::unknown_job)
}
