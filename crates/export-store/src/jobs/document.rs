//! The job document as it is stored in `jobs`.

use std::collections::BTreeSet;

use bson::{Bson, DateTime, Document, doc};
use export_core::access::{AllowedVehicles, VehiclePattern};
use export_core::job::{ExportResult, Failure, Job, JobState, NewJob, Priority, Progress, Stats, WaitingFor};
use export_core::output::OutputOptions;
use export_core::request::{ExportRequest, Label, WebhookUrl};
use export_core::result::ResultObject;
use export_core::trace::TraceParent;
use export_core::warnings::Warnings;
use export_core::{JobId, Parameter, Tenant, TimeRange, VehicleId};
use export_mongo::StoreError;
use serde::{Deserialize, Serialize};

/// The fields of a job that come from the request and its caller. They never change.
pub(crate) fn request_fields(job_id: &str, new: &NewJob) -> Document {
    let request = &new.request;
    let idempotency = new.idempotency.as_ref();
    let names = |names: Option<Vec<String>>| names.map_or(Bson::Null, Bson::from);
    let vehicles = request.vehicles.as_ref().map(|list| list.iter().map(ToString::to_string).collect());
    let parameters = request.parameters.as_ref().map(|list| list.iter().map(ToString::to_string).collect());
    let allowed_vehicles = match &new.allowed_vehicles {
        AllowedVehicles::All => None,
        AllowedVehicles::Like(patterns) => {
            Some(patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect())
        }
    };
    let mut document = doc! {
        "_id": job_id,
        "tenant": new.tenant.as_str(),
        "createdBy": &new.created_by,
        "allowedVehicles": names(allowed_vehicles),
        "idempotencyKey": idempotency.map(|idempotency| &idempotency.key),
        "requestHash": idempotency.map(|idempotency| &idempotency.request_hash),
        "startDate": &request.start_date,
        "endDate": &request.end_date,
        "timezone": request.timezone.name(),
        "range": {
            "from": DateTime::from_millis(request.range.from_ms()),
            "to": DateTime::from_millis(request.range.to_ms()),
        },
        "vehicles": names(vehicles),
        "parameters": names(parameters),
    };
    if let AllowedVehicles::Like(patterns) = &new.allowed_vehicles {
        document.insert("accessKey", access_key(patterns));
    }
    document.extend(bson::serialize_to_document(&request.output).expect("names and numbers become BSON"));
    document.extend(doc! {
        "webhookUrl": request.webhook_url.as_ref().map(WebhookUrl::as_str),
        "fresh": request.fresh,
        "firstWarnings": as_bson(&new.first_warnings),
        "label": request.label.as_ref().map(Label::as_str),
        "retryOf": request.retry_of.map(|job_id| job_id.to_string()),
    });
    document
}

/// The patterns of vehicles as one text, the same for the same patterns in any order. By it, an
/// index finds the jobs that a caller with fewer vehicles may see; jobs that may read all vehicles
/// have none. Patterns have no spaces.
pub(crate) fn access_key(patterns: &[VehiclePattern]) -> String {
    let sorted: BTreeSet<&str> = patterns.iter().map(VehiclePattern::as_str).collect();
    sorted.into_iter().collect::<Vec<_>>().join(" ")
}

/// The patterns of an access key.
pub(crate) fn patterns_of(access_key: &str) -> impl Iterator<Item = &str> {
    access_key.split(' ').filter(|pattern| !pattern.is_empty())
}

/// Stored counts: BSON has no unsigned integers, and no count comes near `i64::MAX`.
fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn progress_document(progress: &Progress) -> Document {
    doc! {
        "percent": progress.percent,
        "vehiclesDone": count(progress.vehicles_done),
        "vehiclesTotal": count(progress.vehicles_total),
        "rows": count(progress.rows),
        "points": count(progress.points),
        "bytes": count(progress.bytes),
        "documents": progress.documents.map(count),
        "etaSeconds": progress.eta_seconds.map(count),
    }
}

pub(crate) fn stats_document(stats: &Stats) -> Document {
    doc! {
        "rows": count(stats.rows),
        "points": count(stats.points),
        "rejected": count(stats.rejected),
        "csvBytes": count(stats.uncompressed_bytes),
        "bytes": count(stats.bytes),
        "sha256": &stats.sha256,
        "durationMs": count(stats.duration_ms),
        "peakMemoryBytes": count(stats.peak_memory_bytes),
        "coverage": as_bson(&stats.coverage),
        "warnings": as_bson(&stats.warnings),
    }
}

/// A value of plain numbers and texts as BSON.
fn as_bson(value: &impl Serialize) -> Bson {
    bson::serialize_to_bson(value).expect("numbers and texts become BSON")
}

pub(crate) fn object_documents(objects: &[ResultObject]) -> Vec<Document> {
    let document = |object: &ResultObject| {
        doc! { "name": &object.name, "bytes": count(object.bytes), "sha256": object.sha256.as_deref() }
    };
    objects.iter().map(document).collect()
}

pub(crate) fn failure_document(failure: &Failure) -> Document {
    doc! { "code": &failure.code, "message": &failure.message }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    #[serde(rename = "_id")]
    id: String,
    tenant: Tenant,
    created_by: Option<String>,
    /// An absent list means all.
    allowed_vehicles: Option<Vec<VehiclePattern>>,
    start_date: String,
    end_date: String,
    timezone: String,
    range: StoredRange,
    vehicles: Option<Vec<VehicleId>>,
    parameters: Option<Vec<Parameter>>,
    #[serde(flatten)]
    output: OutputOptions,
    webhook_url: Option<WebhookUrl>,
    #[serde(default)]
    fresh: bool,
    label: Option<Label>,
    retry_of: Option<JobId>,
    #[serde(default)]
    priority: Priority,
    state: JobState,
    epoch: i64,
    attempts: u32,
    // Fields of later versions.
    #[serde(default = "earlier_max_attempts")]
    max_attempts: u32,
    owner: Option<String>,
    heartbeat_at: Option<DateTime>,
    run_after: DateTime,
    published_at: Option<DateTime>,
    outage_since: Option<DateTime>,
    #[serde(default)]
    cancel_requested: bool,
    expires_at: Option<DateTime>,
    share_key: Option<String>,
    result_id: Option<JobId>,
    made_at: Option<DateTime>,
    checked_at: Option<DateTime>,
    waiting_for: Option<WaitingFor>,
    traceparent: Option<TraceParent>,
    #[serde(default)]
    first_warnings: Warnings,
    progress: Progress,
    export_uri: Option<String>,
    stats: Option<Stats>,
    error: Option<Failure>,
    created_at: DateTime,
    started_at: Option<DateTime>,
    finished_at: Option<DateTime>,
}

/// Maximum attempts of jobs of earlier versions, which did not store it.
pub(crate) const fn earlier_max_attempts() -> u32 {
    5
}

#[derive(Deserialize)]
struct StoredRange {
    from: DateTime,
    to: DateTime,
}

/// Reads a stored job.
pub(crate) fn read_job(document: Document) -> Result<Job, StoreError> {
    let corrupt = |what: String| StoreError::Corrupt(what);
    let stored: Stored =
        bson::deserialize_from_document(document).map_err(|error| corrupt(error.to_string()))?;
    let id = stored.id.parse().map_err(|_| corrupt("_id is no job id".to_owned()))?;
    let timezone = stored.timezone.parse().map_err(|_| corrupt("timezone is no IANA zone".to_owned()))?;
    let range = TimeRange::new(stored.range.from.timestamp_millis(), stored.range.to.timestamp_millis())
        .map_err(|error| corrupt(error.to_string()))?;
    let result = match (stored.export_uri, stored.stats) {
        (Some(export_uri), Some(stats)) => Some(ExportResult { export_uri, stats }),
        (None, _) => None,
        (Some(_), None) => return Err(corrupt("exportUri without stats".to_owned())),
    };
    Ok(Job {
        id,
        tenant: stored.tenant,
        created_by: stored.created_by,
        allowed_vehicles: stored.allowed_vehicles.map_or(AllowedVehicles::All, AllowedVehicles::Like),
        request: ExportRequest {
            output: stored.output,
            start_date: stored.start_date,
            end_date: stored.end_date,
            timezone,
            range,
            vehicles: stored.vehicles,
            parameters: stored.parameters,
            webhook_url: stored.webhook_url,
            fresh: stored.fresh,
            label: stored.label,
            retry_of: stored.retry_of,
        },
        priority: stored.priority,
        state: stored.state,
        epoch: stored.epoch,
        attempts: stored.attempts,
        max_attempts: stored.max_attempts,
        owner: stored.owner,
        heartbeat_at: stored.heartbeat_at.map(to_chrono),
        run_after: to_chrono(stored.run_after),
        published_at: stored.published_at.map(to_chrono),
        outage_since: stored.outage_since.map(to_chrono),
        cancel_requested: stored.cancel_requested,
        progress: stored.progress,
        result,
        failure: stored.error,
        created_at: to_chrono(stored.created_at),
        started_at: stored.started_at.map(to_chrono),
        finished_at: stored.finished_at.map(to_chrono),
        expires_at: stored.expires_at.map(to_chrono),
        share_key: stored.share_key,
        result_id: stored.result_id,
        made_at: stored.made_at.map(to_chrono),
        checked_at: stored.checked_at.map(to_chrono),
        waiting_for: stored.waiting_for,
        trace_parent: stored.traceparent,
        first_warnings: stored.first_warnings,
    })
}

/// The state of a stored job; the other fields are not read.
pub(crate) fn state_of(document: &Document) -> Result<JobState, StoreError> {
    let state = document.get("state").cloned().unwrap_or_default();
    bson::deserialize_from_bson(state)
        .map_err(|_| StoreError::Corrupt("state is none of the known".to_owned()))
}

pub(crate) fn to_chrono(time: DateTime) -> chrono::DateTime<chrono::Utc> {
    // A BSON time of any year that chrono supports fits; other times, which no server writes,
    // become the epoch.
    chrono::DateTime::from_timestamp_millis(time.timestamp_millis()).unwrap_or_default()
}
