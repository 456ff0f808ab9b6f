//! `GET /export/{id}`: how a job is.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::job_view::{JobView, RETRY_AFTER_SECONDS};
use super::{find_job, parse_id};
use crate::problem::{Problem, chain};
use crate::state::ApiState;

/// Answers with the job document.
pub async fn get(State(state): State<ApiState>, Path(id): Path<String>) -> Result<Response, Problem> {
    let job = find_job(&state, parse_id(&id)?).await?;
    let download_url = match &job.result {
        None => None,
        // Without a link the rest of the answer is still of use, and `/download` tells the error.
        Some(result) => {
            state.results.presign_download(&result.export_uri, job.id).await.unwrap_or_else(|error| {
                tracing::warn!(job.id = %job.id, error = %chain(&error), "no download link could be made");
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
