//! `GET /export/{id}/download`: off to the result.

use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use export_core::job::{Job, JobState};

use super::{JobPath, find_job};
use crate::problem::Problem;
use crate::state::ApiState;

/// Answers 303 with a fresh link to the result.
pub async fn download(
    State(state): State<ApiState>,
    JobPath(job_id): JobPath,
) -> Result<(StatusCode, [(HeaderName, String); 2]), Problem> {
    let job = find_job(&state, job_id).await?;
    let Some(result) = &job.result else { return Err(Problem::no_result(why_no_result(&job))) };
    let link = state.results.presign_download(&result.export_uri, job.id).await;
    let link = link.map_err(|error| Problem::unavailable(&error))?;
    let link = link
        .ok_or_else(|| Problem::no_result("The result lies in a bucket that this service no longer uses."))?;
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, link), (header::CACHE_CONTROL, "no-store".to_owned())]))
}

fn why_no_result(job: &Job) -> &'static str {
    match job.state {
        JobState::NotStarted | JobState::Started => {
            "The export is not finished; ask GET /export/{id} again later."
        }
        JobState::Failed => "The export failed; error of GET /export/{id} says why.",
        JobState::Cancelled => "The export was cancelled.",
        JobState::Finished | JobState::Expired => "The export's files are gone.",
    }
}
