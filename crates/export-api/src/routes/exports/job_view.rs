//! The JSON of a job.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use export_core::job::{Failure, Job, JobState, Priority, Progress, Stats, WaitingFor};
use export_core::output::OutputOptions;
use export_core::request::{ExportRequest, Label, WebhookUrl};
use export_core::waiting::waiting_for;
use export_core::warnings::{Warning, Warnings};
use export_core::{Parameter, VehicleId};
use serde::Serialize;
use utoipa::ToSchema;

use super::links::{ObjectView, ResultLinks};
use super::{enums, schema};
use crate::jobs::queue::{QueueView, Waiting};

/// `Retry-After` in seconds while a job is active.
pub(super) const RETRY_AFTER_SECONDS: u16 = 2;

/// An export job
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the JSON")]
pub(super) struct JobView<'a> {
    /// Id of the job.
    #[serde(rename = "_id")]
    #[schema(format = Uuid, example = "01983c5e-7a01-7c3a-9d5e-0123456789ab")]
    id: String,
    /// The name that the request gives the job.
    #[schema(required, example = "weekly report")]
    label: Option<&'a str>,
    /// The name of the caller that created the job; null if it is not known.
    #[schema(required)]
    created_by: Option<&'a str>,
    /// Id of the job that this one repeats.
    #[schema(required, format = Uuid)]
    retry_of: Option<String>,
    /// State of the job.
    #[schema(value_type = enums::JobState)]
    state: &'static str,
    /// Priority among the tenant's jobs: small exports are interactive.
    #[schema(value_type = enums::Priority)]
    priority: Priority,
    /// Queue position; null unless it waits. Only in `GET /export/{id}` and its events.
    #[schema(required)]
    queue: Option<QueueView>,
    /// As in the request.
    #[schema(example = "2018-11-30")]
    start_date: &'a str,
    /// As in the request.
    #[schema(example = "2018-12-01")]
    end_date: &'a str,
    /// Time zone of the dates.
    #[schema(example = "UTC")]
    timezone: &'static str,
    range: RangeView,
    /// Location of the result; null until FINISHED.
    #[schema(required)]
    export_uri: Option<&'a str>,
    /// Link to the zip, valid for 15 minutes. Only in `GET /export/{id}` and in the answer to a
    /// `POST /export` with `Prefer: wait`; null until FINISHED, and if `archive` is none.
    #[schema(required)]
    download_url: Option<String>,
    /// The objects of the result if `archive` is none. Only in `GET /export/{id}` and in the answer
    /// to a `POST /export` with `Prefer: wait`; null until FINISHED.
    #[schema(required)]
    objects: Option<Vec<ObjectView<'a>>>,
    /// The requested vehicles; empty for all.
    vehicles: Vec<&'a str>,
    /// The requested parameters, in the order of the columns; empty for all.
    parameters: Vec<&'a str>,
    // Described by `schema::add_options`.
    #[serde(flatten, serialize_with = "OutputOptions::serialize_or_null")]
    #[schema(ignore)]
    output: OutputOptions,
    /// URL that receives a POST when the job ends.
    #[schema(required)]
    webhook_url: Option<&'a str>,
    /// Whether the request asked to read the source again.
    fresh: bool,
    /// Progress of the current attempt.
    #[schema(value_type = schema::Progress)]
    progress: &'a Progress,
    /// Statistics of the result; null until FINISHED.
    #[schema(required, value_type = Option<schema::Stats>)]
    stats: Option<&'a Stats>,
    /// Number of attempts so far. Tries that an outage of a service has stopped do not count.
    attempts: u32,
    /// Most attempts that the job may have.
    attempts_max: u32,
    /// When it is tried again; null unless `waitingFor` is retry.
    #[schema(required, format = DateTime)]
    next_try_at: Option<String>,
    /// Since when a service that the export needs does not work; null unless its last try was
    /// stopped by that.
    #[schema(required, format = DateTime)]
    outage_since: Option<String>,
    /// The worker that runs it; null unless STARTED.
    #[schema(required)]
    worker: Option<&'a str>,
    /// When its worker has last reported; null unless STARTED.
    #[schema(required, format = DateTime)]
    last_sign_at: Option<String>,
    /// Whether its result was written by another job of the tenant with the same request: the
    /// source was not read for this job.
    shared: bool,
    /// When the source was read for the result: the time at which the reading began. Null until
    /// FINISHED.
    #[schema(required, format = DateTime)]
    made_at: Option<String>,
    /// For a shared result: when the source was last found to be as it was at `madeAt`. Added and
    /// removed hour documents are noticed, changes within one are not.
    #[schema(required, format = DateTime)]
    checked_at: Option<String>,
    /// The former name of `shared`.
    #[schema(deprecated)]
    coalesced: bool,
    /// Why it waits; null unless it does.
    #[schema(required, value_type = Option<enums::WaitingFor>)]
    waiting_for: Option<WaitingFor>,
    /// Whether cancellation was requested and its worker has not ended it yet.
    cancel_requested: bool,
    /// Error of the last attempt.
    #[schema(required, value_type = Option<schema::Failure>)]
    error: Option<&'a Failure>,
    /// Why the result is probably not what was meant: at most 20.
    #[schema(value_type = Vec<schema::Warning>)]
    warnings: Vec<Warning>,
    /// Number of the warnings that are not listed.
    warnings_more: u64,
    /// When the job was created.
    #[schema(format = DateTime)]
    created_at: String,
    /// When the current or last attempt started.
    #[schema(required, format = DateTime)]
    started_at: Option<String>,
    /// When the job ended.
    #[schema(required, format = DateTime)]
    finished_at: Option<String>,
    /// When the files of the result are deleted.
    #[schema(required, format = DateTime)]
    expires_at: Option<String>,
}

/// The half-open range of instants that the dates mean
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Range)]
pub(super) struct RangeView {
    /// The first instant of the range, in UTC.
    #[schema(format = DateTime, example = "2018-11-30T00:00:00Z")]
    from: String,
    /// The first instant after it, in UTC.
    #[schema(format = DateTime, example = "2018-12-01T00:00:00Z")]
    to: String,
    /// Both in the time zone of the request, and the length, for people.
    #[schema(example = "from 2018-11-30T00:00:00Z up to, not including, 2018-12-01T00:00:00Z, 24 h")]
    text: String,
}

impl RangeView {
    pub(super) fn of(request: &ExportRequest) -> Self {
        let range = request.range;
        Self { from: range.from_rfc3339(), to: range.to_rfc3339(), text: range.describe(request.timezone) }
    }
}

impl<'a> JobView<'a> {
    /// The view of a job, with the links to its result.
    pub(super) fn of(job: &'a Job, links: ResultLinks<'a>) -> Self {
        let request = &job.request;
        let Warnings { list: warnings, more: warnings_more } = job.warnings();
        Self {
            id: job.id.to_string(),
            label: request.label.as_ref().map(Label::as_str),
            created_by: job.created_by.as_deref(),
            retry_of: request.retry_of.map(|job_id| job_id.to_string()),
            state: job.state.as_str(),
            priority: job.priority,
            queue: None,
            start_date: &request.start_date,
            end_date: &request.end_date,
            timezone: request.timezone.name(),
            range: RangeView::of(request),
            export_uri: job.result.as_ref().map(|result| result.export_uri.as_str()),
            download_url: links.download_url,
            objects: links.objects,
            vehicles: request.vehicles.iter().flatten().map(VehicleId::as_str).collect(),
            parameters: request.parameters.iter().flatten().map(Parameter::as_str).collect(),
            output: request.output,
            webhook_url: request.webhook_url.as_ref().map(WebhookUrl::as_str),
            fresh: request.fresh,
            progress: &job.progress,
            stats: job.result.as_ref().map(|result| &result.stats),
            attempts: job.attempts,
            attempts_max: job.max_attempts,
            next_try_at: None,
            outage_since: job.outage_since.filter(|_| job.state.is_active()).map(rfc3339),
            worker: job.owner.as_deref(),
            last_sign_at: job.heartbeat_at.filter(|_| job.state == JobState::Started).map(rfc3339),
            shared: job.shares_result(),
            made_at: job.made_at.map(rfc3339),
            checked_at: job.checked_at.filter(|_| job.shares_result()).map(rfc3339),
            coalesced: job.shares_result(),
            waiting_for: None,
            cancel_requested: job.cancel_requested,
            error: job.failure.as_ref(),
            warnings,
            warnings_more,
            created_at: rfc3339(job.created_at),
            started_at: job.started_at.map(rfc3339),
            finished_at: job.finished_at.map(rfc3339),
            expires_at: job.expires_at.map(rfc3339),
        }
        .waiting_for(job, waiting_for(job, Utc::now(), None))
    }
}

impl JobView<'_> {
    /// Adds the queue position, and why the job waits.
    pub(super) fn with_waiting(self, job: &Job, waiting: Waiting) -> Self {
        Self { queue: waiting.queue, ..self }.waiting_for(job, waiting.reason)
    }

    fn waiting_for(self, job: &Job, reason: Option<WaitingFor>) -> Self {
        let next_try_at = (reason == Some(WaitingFor::Retry)).then(|| rfc3339(job.run_after));
        Self { waiting_for: reason, next_try_at, ..self }
    }

    /// Without the worker's last sign, which changes every second or two.
    pub(super) fn without_sign(self) -> Self {
        Self { last_sign_at: None, ..self }
    }
}

/// The 202 answer with the job.
pub(super) fn accepted(job: &Job, links: ResultLinks<'_>) -> Response {
    let view = Json(JobView::of(job, links));
    let mut response = (StatusCode::ACCEPTED, view).into_response();
    set_job_headers(&mut response, job);
    response
}

/// Sets the headers of every answer with one job.
pub(super) fn set_job_headers(response: &mut Response, job: &Job) {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if job.state.is_active() {
        headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
    }
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests;
