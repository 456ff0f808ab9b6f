//! `GET /export/{id}`: how a job is.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use export_core::causes;

use super::job_view::{JobView, RETRY_AFTER_SECONDS};
use super::{JobPath, find_job};
use crate::problem::Problem;
use crate::state::ApiState;

/// Answers with the job document.
pub async fn get(State(state): State<ApiState>, JobPath(job_id): JobPath) -> Result<Response, Problem> {
    let job = find_job(&state, job_id).await?;
    let download_url = match &job.result {
        None => None,
        // Without a link the rest of the answer is still of use, and `/download` tells the error.
        Some(result) => {
            state.results.presign_download(&result.export_uri, job.id).await.unwrap_or_else(|error| {
                tracing::warn!(job.id = %job.id, error = %causes(&error), "no download link could be made");
                None
            })
        }
    };
    let mut response = Json(JobView::of(&job, download_url)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("private, no-cache"));
    if job.state.is_active() {
        headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
    }
    Ok(response)
}
