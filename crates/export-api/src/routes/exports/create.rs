//! `POST /export`: accept a job.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use export_core::JobId;
use export_core::access::{Principal, Scope};
use export_core::digest::sha256_hex;
use export_core::job::{Idempotency, Job, NewJob, Priority};
use export_core::request::ExportRequest;
use export_core::trace::TraceParent;
use export_store::Created;
use serde_json::Value;
use tracing::{Instrument, error, info, warn};
use uuid::Uuid;

use super::job_view::{JobView, RETRY_AFTER_SECONDS};
use super::known;
use super::links::ResultLinks;
use super::schema::ExportRequest as ExportRequestBody;
use super::wait::Wait;
use super::{store_problem, webhook};
use crate::auth::Caller;
use crate::http::json_body::JsonBody;
use crate::http::limits::Peer;
use crate::http::problem::Problem;
use crate::jobs::accepting::NotAccepted;
use crate::jobs::admission::Ticket;
use crate::jobs::audit::Trail;
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
#[utoipa::path(
    post, path = "/export", tag = "exports", operation_id = "create_export",
    params(
        ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
         description = "The client's own name for its request: sent again, it makes no second job."),
        ("traceparent" = Option<String>, Header, description = "W3C Trace Context, which goes along with the job."),
        ("prefer" = Option<String>, Header,
         description = "wait=N: answer when the job has ended, or after N seconds, at most 50"),
    ),
    request_body(content = ExportRequestBody, description = "What to export, and how"),
    responses(
        (status = 202, description = "The job, which is durable", body = JobView<'_>, headers(
            ("location" = String, description = "The address of the job."),
            ("retry-after" = u32, description = "Seconds after which asking is worth it."),
            ("preference-applied" = String, description = "wait=N: how long the answer was waited for at most"),
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
    let principal = caller.who_may(Scope::Write)?;
    let JsonBody(body) = body?;
    let request = ExportRequest::parse(&body).map_err(Problem::invalid)?;
    webhook::check(state.webhooks.as_ref(), &request)?;
    let mut new = NewJob {
        id: JobId::new(Uuid::now_v7()),
        tenant: principal.tenant.clone(),
        created_by: principal.name.clone(),
        share_key: state.sharing.key_of(&request, &principal.vehicles),
        request,
        allowed_vehicles: principal.vehicles.clone(),
        priority: Priority::default(),
        max_attempts: state.max_attempts.get(),
        idempotency: idempotency(&headers, &body)?,
        trace_parent: Some(trace_parent(&headers)),
    };
    let ticket = known::admit(&state, &mut new).await?;

    // On a task of its own: a client that hangs up half-way changes nothing about a job that is being accepted.
    let accepting =
        tokio::spawn(accept(state.clone(), principal.clone(), new, ticket, trail).in_current_span());
    let job = accepting.await.map_err(|panic| {
        error!(error = %panic, "a job could not be accepted");
        Problem::internal()
    })??;

    let wait = Wait::preferred(&headers);
    let (job, applied) = match wait {
        Some(wait) => {
            let waited = wait.until_ended(&state, &principal, peer, job.clone()).await;
            // Whose key was revoked meanwhile is told what it was when the request came, and no more.
            let is_good = state.auth.still(&headers, &principal, Scope::Write).await.is_ok();
            (if is_good { waited.job } else { job }, waited.applied)
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

/// Writes the job, and has it released to the workers when its turn comes.
async fn accept(
    state: ApiState,
    asker: Principal,
    new: NewJob,
    ticket: Option<Ticket>,
    trail: Trail,
) -> Result<Job, Problem> {
    let (job_id, tenant, created_by) = (new.id, new.tenant.clone(), new.created_by.clone());
    let created = state.acceptor.create(new).await;
    if matches!(&created, Ok(Created::New(_)) | Err(NotAccepted { may_exist: true, .. })) {
        ticket.into_iter().for_each(Ticket::used);
    }
    let job = match created {
        Ok(Created::New(job)) => job,
        Ok(Created::Before(job)) => {
            // A caller of fewer vehicles must not get at the job of one that may see more by using its key.
            if !asker.sees(&job.tenant, job.created_by.as_deref(), &job.allowed_vehicles) {
                return Err(Problem::idempotency_key_taken());
            }
            info!(job.id = %job.id, "the request was accepted before");
            state.audit.created(&tenant, &created_by, job.id, &trail, "accepted before").await;
            return Ok(job);
        }
        Ok(Created::KeyTaken) => return Err(Problem::idempotency_key_taken()),
        Err(NotAccepted { error, may_exist }) => {
            if may_exist {
                warn!(job.id = %job_id, "it is not known whether the job was accepted");
                // Not waited for: where MongoDB is away, the client has waited for long already.
                let audit = state.audit.clone();
                let noted = async move {
                    audit.created(&tenant, &created_by, job_id, &trail, "not known").await;
                };
                tokio::spawn(noted.in_current_span());
            }
            return Err(store_problem(job_id, &error));
        }
    };
    let trace_id = job.trace_parent.as_ref().map(TraceParent::trace_id);
    if let Some(result_id) = job.result_id {
        info!(job.id = %job_id, result.id = %result_id, "the export shares a result that is there already");
    }
    info!(job.id = %job_id, trace.id = trace_id, job.range = %job.request.range, "export accepted");

    state.dispatch.now();
    state.audit.created(&tenant, &created_by, job_id, &trail, "accepted").await;
    Ok(job)
}

/// The client's own name for the request, with a hash of what is asked. JSON that differs in blanks or the order of its fields
/// only is the same request.
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
            "Idempotency-Key must have 1 to {MAX_KEY_BYTES} printable ASCII characters, and be there once"
        ))
    })?;
    let request_hash = sha256_hex(body.to_string());
    Ok(Some(Idempotency { key: key.to_owned(), request_hash }))
}

/// The client's trace, or a new one. One that cannot be read is not the client's fault to fix: it gets a new one, too.
fn trace_parent(headers: &HeaderMap) -> TraceParent {
    let given = headers.get(TRACE_PARENT).and_then(|value| value.to_str().ok()?.parse().ok());
    given.unwrap_or_else(|| TraceParent::new(Uuid::new_v4().as_u128(), fastrand::u64(1..)))
}
