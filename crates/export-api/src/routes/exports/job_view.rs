//! The job as clients see it.

use chrono::{DateTime, SecondsFormat, Utc};
use export_core::job::{Failure, Job, Progress, Stats};
use export_core::{Parameter, VehicleId};
use serde::Serialize;

/// How soon asking again is worth it while a job is active, in seconds.
pub(super) const RETRY_AFTER_SECONDS: u16 = 2;

/// The body of `POST /export` and `GET /export/{id}`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JobView<'a> {
    #[serde(rename = "_id")]
    id: String,
    state: &'static str,
    start_date: &'a str,
    end_date: &'a str,
    timezone: &'static str,
    range: RangeView,
    export_uri: Option<&'a str>,
    download_url: Option<String>,
    vehicles: Vec<&'a str>,
    parameters: Vec<&'a str>,
    format: &'static str,
    archive: &'static str,
    progress: &'a Progress,
    stats: Option<&'a Stats>,
    attempts: u32,
    error: Option<&'a Failure>,
    created_at: String,
    started_at: Option<String>,
    finished_at: Option<String>,
    /// Results are kept until somebody removes them; a service that expires them says when.
    expires_at: Option<String>,
}

#[derive(Debug, Serialize)]
struct RangeView {
    from: String,
    to: String,
}

impl<'a> JobView<'a> {
    /// A job with the link to its result, where it has one.
    pub(super) fn of(job: &'a Job, download_url: Option<String>) -> Self {
        let request = &job.request;
        Self {
            id: job.id.to_string(),
            state: job.state.as_str(),
            start_date: &request.start_date,
            end_date: &request.end_date,
            timezone: request.timezone.name(),
            range: RangeView { from: request.range.from_rfc3339(), to: request.range.to_rfc3339() },
            export_uri: job.result.as_ref().map(|result| result.export_uri.as_str()),
            download_url,
            vehicles: request.vehicles.iter().flatten().map(VehicleId::as_str).collect(),
            parameters: request.parameters.iter().flatten().map(Parameter::as_str).collect(),
            format: "csv",
            archive: "zip",
            progress: &job.progress,
            stats: job.result.as_ref().map(|result| &result.stats),
            attempts: job.attempts,
            error: job.failure.as_ref(),
            created_at: rfc3339(job.created_at),
            started_at: job.started_at.map(rfc3339),
            finished_at: job.finished_at.map(rfc3339),
            expires_at: None,
        }
    }
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
