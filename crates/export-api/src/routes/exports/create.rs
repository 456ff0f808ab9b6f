//! `POST /export`: accept a job.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use export_core::job::Job;
use export_core::message::WakeUp;
use export_core::request::ExportRequest;
use export_core::{JobId, Tenant, causes};
use serde_json::Value;
use tracing::{Instrument, error, info, warn};
use uuid::Uuid;

use super::job_view::{JobView, RETRY_AFTER_SECONDS};
use super::links::ResultLinks;
use crate::problem::Problem;
use crate::state::ApiState;

/// Answers 202 once the job is durable.
pub async fn create(
    State(state): State<ApiState>,
    body: Result<Json<Value>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(body) = body?;
    let request = ExportRequest::parse(&body).map_err(Problem::invalid)?;

    // On a task of its own: a client that hangs up half-way changes nothing about a job that is being accepted.
    let accepting = tokio::spawn(accept(state.clone(), request).in_current_span());
    let job = accepting.await.map_err(|panic| {
        error!(error = %panic, "a job could not be accepted");
        Problem::internal()
    })??;

    let location = format!("{}/export/{}", state.public_base_url, job.id);
    let headers = [(header::LOCATION, location), (header::RETRY_AFTER, RETRY_AFTER_SECONDS.to_string())];
    Ok((StatusCode::ACCEPTED, headers, Json(JobView::of(&job, ResultLinks::default()))).into_response())
}

/// Writes the job, then sends its message. A message that does not go out now is sent by the sweeper.
async fn accept(state: ApiState, request: ExportRequest) -> Result<Job, Problem> {
    let job_id = JobId::new(Uuid::now_v7());
    let tenant = Tenant::default_tenant();
    let created = state.jobs.create(job_id, &tenant, &request).await;
    let job = created.map_err(|error| Problem::unavailable(&error))?;
    info!(job.id = %job_id, job.range = %request.range, "export accepted");

    match state.publisher.publish(WakeUp { job_id }).await {
        Ok(()) => {
            if let Err(error) = state.jobs.mark_published(job_id).await {
                warn!(job.id = %job_id, error = %causes(&error), "the job's message is out, but that could not be noted");
            }
        }
        Err(error) => {
            warn!(job.id = %job_id, error = %causes(&error), "the job waits for the sweeper to publish it");
        }
    }
    Ok(job)
}
