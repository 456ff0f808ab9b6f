//! `POST /export`: accept a job.

use std::fmt::Write;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use export_core::access::Scope;
use export_core::job::{Idempotency, Job, NewJob};
use export_core::message::WakeUp;
use export_core::request::ExportRequest;
use export_core::trace::TraceParent;
use export_core::{JobId, causes};
use export_mongo::Created;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tracing::{Instrument, error, info, warn};
use uuid::Uuid;

use super::job_view::{JobView, RETRY_AFTER_SECONDS};
use super::links::ResultLinks;
use super::store_problem;
use super::wait::Wait;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::state::ApiState;

/// The header with a client's own name for its request.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Longest such name, in bytes.
const MAX_KEY_BYTES: usize = 255;
/// The header of the W3C Trace Context.
const TRACE_PARENT: &str = "traceparent";

/// Accept an export job
///
/// Answers 202 once the job is durable.
#[utoipa::path(post, path = "/export", tag = "exports", responses((status = 202, description = "Accepted")))]
pub async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    headers: HeaderMap,
    body: Result<Json<Value>, JsonRejection>,
) -> Result<Response, Problem> {
    let principal = caller.who_may(Scope::Write)?;
    let Json(body) = body?;
    let new = NewJob {
        id: JobId::new(Uuid::now_v7()),
        tenant: principal.tenant,
        created_by: principal.name,
        request: ExportRequest::parse(&body).map_err(Problem::invalid)?,
        allowed_vehicles: principal.vehicles,
        max_attempts: state.max_attempts.get(),
        idempotency: idempotency(&headers, &body)?,
        trace_parent: Some(trace_parent(&headers)),
    };

    // On a task of its own: a client that hangs up half-way changes nothing about a job that is being accepted.
    let accepting = tokio::spawn(accept(state.clone(), new).in_current_span());
    let job = accepting.await.map_err(|panic| {
        error!(error = %panic, "a job could not be accepted");
        Problem::internal()
    })??;

    let wait = Wait::preferred(&headers);
    let (job, applied) = match wait {
        Some(wait) => {
            let waited = wait.until_ended(&state, job).await;
            (waited.job, waited.applied)
        }
        None => (job, None),
    };
    let location = format!("{}/export/{}", state.public_base_url, job.id);
    let view = Json(JobView::of(&job, ResultLinks::default()));
    let mut response = (StatusCode::ACCEPTED, [(header::LOCATION, location)], view).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if job.state.is_active() {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
    }
    if let Some(applied) = applied {
        applied.tell(&mut response);
    }
    Ok(response)
}

/// Writes the job, then sends its message. A message that does not go out now is sent by the sweeper.
async fn accept(state: ApiState, new: NewJob) -> Result<Job, Problem> {
    let job_id = new.id;
    let job = match state.jobs.create(&new).await.map_err(|error| store_problem(job_id, &error))? {
        Created::New(job) => job,
        Created::Before(job) => {
            info!(job.id = %job.id, "the request was accepted before");
            return Ok(job);
        }
        Created::KeyTaken => return Err(Problem::idempotency_key_taken()),
    };
    let trace_id = new.trace_parent.as_ref().map(TraceParent::trace_id);
    info!(job.id = %job_id, trace.id = trace_id, job.range = %new.request.range, "export accepted");

    match state.publisher.publish(WakeUp { job_id }, new.trace_parent.as_ref()).await {
        Ok(()) => {
            if let Err(error) = state.jobs.mark_published(job_id, job.epoch).await {
                warn!(job.id = %job_id, error = %causes(&error), "the job's message is out, but that could not be noted");
            }
        }
        Err(error) => {
            warn!(job.id = %job_id, error = %causes(&error), "the job waits for the sweeper to publish it");
        }
    }
    Ok(job)
}

/// The client's own name for the request, with a hash of what is asked. JSON that differs in blanks or the order of its fields
/// only is the same request.
fn idempotency(headers: &HeaderMap, body: &Value) -> Result<Option<Idempotency>, Problem> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let is_plain = |key: &&str| {
        (1..=MAX_KEY_BYTES).contains(&key.len())
            && key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
    };
    let key = key.to_str().ok().filter(is_plain).ok_or_else(|| {
        Problem::malformed(format!(
            "Idempotency-Key must have 1 to {MAX_KEY_BYTES} printable ASCII characters"
        ))
    })?;
    let mut request_hash = String::with_capacity(64);
    for byte in Sha256::digest(body.to_string()) {
        let _ = write!(request_hash, "{byte:02x}");
    }
    Ok(Some(Idempotency { key: key.to_owned(), request_hash }))
}

/// The client's trace, or a new one. One that cannot be read is not the client's fault to fix: it gets a new one, too.
fn trace_parent(headers: &HeaderMap) -> TraceParent {
    let given = headers.get(TRACE_PARENT).and_then(|value| value.to_str().ok()?.parse().ok());
    given.unwrap_or_else(|| TraceParent::new(Uuid::new_v4().as_u128(), fastrand::u64(1..)))
}
