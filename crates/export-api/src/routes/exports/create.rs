//! `POST /export`: creates a job.
//!
//! The request has passed the limits and the caller is authenticated ([`routes`](crate::routes)).
//! The handler parses, checks and admits the request; [`accept`] writes the job and wakes the
//! dispatcher.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use export_core::JobId;
use export_core::access::{Principal, Scope};
use export_core::causes;
use export_core::digest::sha256_hex;
use export_core::job::{Idempotency, Job, NewJob, Priority};
use export_core::request::ExportRequest;
use export_core::result::ResultObject;
use export_core::sharing::ShareKey;
use export_core::trace::TraceParent;
use export_core::warnings::Warnings;
use export_store::{AuditAction, Created};
use serde_json::Value;
use tracing::{Instrument, error, info, warn};
use uuid::Uuid;

use super::checks;
use super::first_warnings::first_warnings;
use super::job_view::{self, JobView};
use super::links::{ResultLinks, objects_of};
use super::schema::ExportRequest as ExportRequestBody;
use super::wait::Wait;
use crate::auth::Caller;
use crate::http::json_body::JsonBody;
use crate::http::limits::Peer;
use crate::http::problem::Problem;
use crate::jobs::accepting::NotAccepted;
use crate::jobs::admission::AdmissionPermit;
use crate::jobs::audit::Trail;
use crate::state::ApiState;

/// Header with the client's idempotency key.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Maximum length of an idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 255;
/// Header of the W3C Trace Context.
const TRACE_PARENT: &str = "traceparent";

/// Create an export job
///
/// Answers 202 when the job is durable.
#[utoipa::path(
    post, path = "/export", tag = "exports", operation_id = "create_export",
    params(
        ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
         description = "The client's unique key of the request: a repeated request with the same key creates no second job."),
        ("traceparent" = Option<String>, Header, description = "W3C Trace Context, which is passed on with the job."),
        ("prefer" = Option<String>, Header,
         description = "wait=N: answer when the job has ended, or after N seconds (at most 50)"),
    ),
    request_body(content = ExportRequestBody, description = "What to export, and how"),
    responses(
        (status = 202, description = "The job, which is durable", body = JobView<'_>, headers(
            ("location" = String, description = "URL of the job."),
            ("retry-after" = u32, description = "Seconds to wait before reading the job."),
            ("preference-applied" = String, description = "wait=N: the maximum wait that was applied"),
        )),
    )
)]
pub async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    peer: Peer,
    trail: Trail,
    headers: HeaderMap,
    body: Result<JsonBody, Problem>,
) -> Result<Response, Problem> {
    let principal = caller.authorize(Scope::Write)?;
    let JsonBody(body) = body?;
    let request = ExportRequest::parse(&body).map_err(Problem::invalid)?;
    checks::check_webhook(state.webhooks.as_ref(), &request)?;
    let mut new = NewJob {
        id: JobId::new(Uuid::now_v7()),
        tenant: principal.tenant.clone(),
        created_by: principal.name.clone(),
        share_key: state.share_results.then(|| ShareKey::of(&request, &principal.vehicles)),
        request,
        allowed_vehicles: principal.vehicles.clone(),
        // Set below, because it depends on the number of vehicles.
        priority: Priority::default(),
        max_attempts: state.max_attempts.get(),
        idempotency: idempotency(&headers, &body)?,
        trace_parent: Some(trace_parent(&headers)),
        // Set below, for an admitted request only.
        first_warnings: Warnings::default(),
    };
    // Without a permit, the store finds the existing job by its key and writes nothing.
    let permit = check_and_admit(&state, &principal, peer, &new).await?.map(|(priority, permit)| {
        new.priority = priority;
        permit
    });
    if permit.is_some() {
        new.first_warnings = first_warnings(&state, &principal, &new.request).await;
    }

    // Its own task, so that the job is accepted completely even if the client disconnects.
    let accepting = accept(state.clone(), principal.clone(), new, permit, trail.clone());
    let accepted = tokio::spawn(accepting.in_current_span());
    let job = accepted.await.map_err(|panic| {
        error!(error = %panic, "accepting a job panicked");
        Problem::internal()
    })??;

    let location = format!("{}/export/{}", state.public_base_url, job.id);
    let location = [(header::LOCATION, location)];
    let Some(wait) = Wait::preferred(&headers) else {
        return Ok((location, job_view::accepted(&job, ResultLinks::default())).into_response());
    };
    let waited = wait.until_ended(&state, &principal, peer, job.clone()).await;
    // A caller whose key was revoked during the wait gets the job as of the start of the wait.
    let caller = state.auth.still(&headers, &principal, Scope::Write).await.ok();
    let job = if caller.is_some() { waited.job } else { job };
    let objects = objects_for(caller.as_ref(), &job, &state).await;
    let links = match (&caller, &objects) {
        (Some(caller), Some(objects)) => {
            Box::pin(ResultLinks::for_answer(caller, peer, &job, objects, &state, Some(&trail))).await.0
        }
        _ => ResultLinks::default(),
    };
    let mut response = (location, job_view::accepted(&job, links)).into_response();
    if let Some(applied) = waited.applied {
        applied.set_header(&mut response);
    }
    Ok(response)
}

/// The objects of the job's result, if the caller may have links to them, as in `GET /export/{id}`:
/// that needs the scope `export:read`, and the caller may have lost vehicles during the wait. The
/// job is durable, so a failure costs the answer only its links.
async fn objects_for(caller: Option<&Principal>, job: &Job, state: &ApiState) -> Option<Vec<ResultObject>> {
    caller.filter(|caller| caller.may(Scope::Read) && job.is_visible_to(caller))?;
    let objects = objects_of(job, &state.jobs).await;
    objects
        .inspect_err(|error| warn!(job.id = %job.id, error = %causes(error), "answering without links"))
        .ok()
}

/// Checks a new job and admits it within the limits of queued jobs; returns its priority among its
/// tenant's jobs, and the permission to write it. `None`: it was refused, but its idempotency key is
/// known. The repeated request gets the existing job, whose vehicles may have disappeared since.
///
/// # Errors
/// 422 for an invalid request or if the tenant has stored as much as it may, 429 if a limit of
/// queued jobs is reached, 503 if MongoDB is unavailable.
async fn check_and_admit(
    state: &ApiState,
    caller: &Principal,
    peer: Peer,
    new: &NewJob,
) -> Result<Option<(Priority, AdmissionPermit)>, Problem> {
    let admitted = async {
        checks::check_retry(state, caller, &new.request).await?;
        let priority = checks::check(state, caller, peer, &new.request).await?;
        Ok(Some((priority, state.admission.admit(&new.tenant).await?)))
    };
    let problem = match admitted.await {
        Ok(admitted) => return Ok(admitted),
        Err(problem) => problem,
    };
    let known = match &new.idempotency {
        Some(idempotency) => state.jobs.knows_key(&new.tenant, &new.created_by, &idempotency.key).await?,
        None => false,
    };
    if known { Ok(None) } else { Err(problem) }
}

/// Writes the job, wakes the dispatcher and writes the audit entry. There is no `permit` if a job
/// with the idempotency key is known.
async fn accept(
    state: ApiState,
    caller: Principal,
    new: NewJob,
    permit: Option<AdmissionPermit>,
    trail: Trail,
) -> Result<Job, Problem> {
    let (job_id, action) = (new.id, AuditAction::ExportCreate);
    let created = state.acceptor.create(new).await;
    let may_be_written = matches!(&created, Ok(Created::New(_)) | Err(NotAccepted { may_exist: true, .. }));
    if may_be_written && let Some(permit) = permit {
        // The job stays counted. Otherwise dropping the permit takes the admission back.
        permit.keep();
    }
    let job = match created {
        Ok(Created::New(job)) => job,
        Ok(Created::Before(job)) => {
            // The caller may have lost vehicles since it created the job.
            if !job.is_visible_to(&caller) {
                return Err(Problem::idempotency_key_taken());
            }
            info!(job.id = %job.id, "the job of this idempotency key exists already");
            state.audit.accepted_before(&caller, job.id, &trail).await;
            return Ok(job);
        }
        Ok(Created::KeyTaken) => return Err(Problem::idempotency_key_taken()),
        Err(NotAccepted { error, may_exist }) => {
            if may_exist {
                warn!(job.id = %job_id, "the outcome of creating the job is unknown");
                // Not awaited: MongoDB is probably unavailable, and the client has already waited
                // long.
                let audit = state.audit.clone();
                let write_entry = async move {
                    audit.record(&caller, action, job_id, &trail, "not known").await;
                };
                tokio::spawn(write_entry.in_current_span());
            }
            return Err(error.into());
        }
    };
    let trace_id = job.trace_parent.as_ref().map(TraceParent::trace_id);
    if let Some(result_id) = job.result_id {
        info!(job.id = %job_id, result.id = %result_id, "the export shares an existing result");
    }
    info!(job.id = %job_id, trace.id = trace_id, job.range = %job.request.range, "export accepted");

    state.dispatcher.wake_up();
    state.audit.record(&caller, action, job_id, &trail, "accepted").await;
    Ok(job)
}

/// The idempotency key with a hash of the request. Whitespace and the order of fields do not change
/// the hash.
fn idempotency(headers: &HeaderMap, body: &Value) -> Result<Option<Idempotency>, Problem> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let is_plain = |key: &&str| {
        (1..=MAX_KEY_BYTES).contains(&key.len())
            && key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
    };
    let is_only = keys.next().is_none();
    let key = key.to_str().ok().filter(|key| is_only && is_plain(key)).ok_or_else(|| {
        Problem::malformed(format!(
            "Idempotency-Key must have 1 to {MAX_KEY_BYTES} printable ASCII characters, and be sent once"
        ))
    })?;
    let request_hash = sha256_hex(body.to_string());
    Ok(Some(Idempotency { key: key.to_owned(), request_hash }))
}

/// The client's trace context, or a new one if it is missing or invalid.
fn trace_parent(headers: &HeaderMap) -> TraceParent {
    let sent = headers.get(TRACE_PARENT).and_then(|value| value.to_str().ok()?.parse().ok());
    sent.unwrap_or_else(|| TraceParent::new(Uuid::new_v4().as_u128(), fastrand::u64(1..)))
}
