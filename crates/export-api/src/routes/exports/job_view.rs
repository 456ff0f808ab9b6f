//! The job as clients see it.

use std::num::NonZeroU64;

use chrono::{DateTime, SecondsFormat, Utc};
use export_core::job::{Failure, Job, Progress, Stats};
use export_core::output::{Archive, Compression, CsvGuard, Fill, Format, TimeFormat};
use export_core::request::WebhookUrl;
use export_core::{Parameter, VehicleId};
use serde::Serialize;

use super::links::{ObjectView, ResultLinks};

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
    objects: Option<Vec<ObjectView<'a>>>,
    vehicles: Vec<&'a str>,
    parameters: Vec<&'a str>,
    format: Format,
    archive: Archive,
    // Null where they mean nothing.
    compression: Option<Compression>,
    time_format: Option<TimeFormat>,
    csv_guard: Option<CsvGuard>,
    step_ms: Option<NonZeroU64>,
    fill: Option<Fill>,
    webhook_url: Option<&'a str>,
    progress: &'a Progress,
    stats: Option<&'a Stats>,
    attempts: u32,
    cancel_requested: bool,
    error: Option<&'a Failure>,
    created_at: String,
    started_at: Option<String>,
    finished_at: Option<String>,
    /// Until when there are files.
    expires_at: Option<String>,
}

#[derive(Debug, Serialize)]
struct RangeView {
    from: String,
    to: String,
}

impl<'a> JobView<'a> {
    /// A job with the links to its result, where it has one.
    pub(super) fn of(job: &'a Job, links: ResultLinks<'a>) -> Self {
        let (request, output) = (&job.request, &job.request.output);
        Self {
            id: job.id.to_string(),
            state: job.state.as_str(),
            start_date: &request.start_date,
            end_date: &request.end_date,
            timezone: request.timezone.name(),
            range: RangeView { from: request.range.from_rfc3339(), to: request.range.to_rfc3339() },
            export_uri: job.result.as_ref().map(|result| result.export_uri.as_str()),
            download_url: links.download_url,
            objects: links.objects,
            vehicles: request.vehicles.iter().flatten().map(VehicleId::as_str).collect(),
            parameters: request.parameters.iter().flatten().map(Parameter::as_str).collect(),
            format: output.format,
            archive: output.archive,
            compression: output.object_compression(),
            time_format: output.csv_time_format(),
            csv_guard: output.csv_formula_guard(),
            step_ms: output.step_ms(),
            fill: output.fill(),
            webhook_url: request.webhook_url.as_ref().map(WebhookUrl::as_str),
            progress: &job.progress,
            stats: job.result.as_ref().map(|result| &result.stats),
            attempts: job.attempts,
            cancel_requested: job.cancel_requested,
            error: job.failure.as_ref(),
            created_at: rfc3339(job.created_at),
            started_at: job.started_at.map(rfc3339),
            finished_at: job.finished_at.map(rfc3339),
            expires_at: job.expires_at.map(rfc3339),
        }
    }
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use export_core::access::AllowedVehicles;
    use export_core::job::JobState;
    use export_core::request::ExportRequest;
    use export_core::{JobId, Tenant};
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    /// What a client is told about the options of a request with these ones.
    fn told(options: &Value) -> Value {
        let mut body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" });
        for (name, value) in options.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let job = Job {
            id: JobId::new(Uuid::nil()),
            tenant: Tenant::default_tenant(),
            created_by: None,
            allowed_vehicles: AllowedVehicles::All,
            request: ExportRequest::parse(&body).expect("a request"),
            state: JobState::NotStarted,
            epoch: 0,
            attempts: 0,
            max_attempts: 5,
            cancel_requested: false,
            expires_at: None,
            trace_parent: None,
            progress: Progress::default(),
            result: None,
            failure: None,
            created_at: DateTime::UNIX_EPOCH,
            started_at: None,
            finished_at: None,
        };
        let view = serde_json::to_value(JobView::of(&job, ResultLinks::default())).expect("JSON");
        for name in ["exportUri", "downloadUrl", "objects", "stats", "webhookUrl"] {
            assert_eq!(view.get(name), Some(&Value::Null), "{name}");
        }
        let options = ["format", "archive", "compression", "timeFormat", "csvGuard", "stepMs", "fill"];
        options.iter().map(|name| ((*name).to_owned(), view[name].clone())).collect()
    }

    #[test]
    fn options_are_told_where_they_mean_something() {
        assert_eq!(
            told(&json!({})),
            json!({ "format": "csv", "archive": "zip", "compression": null, "timeFormat": "unix_ms",
                    "csvGuard": "on", "stepMs": null, "fill": null })
        );
        assert_eq!(
            told(&json!({ "archive": "none", "timeFormat": "rfc3339", "csvGuard": "off", "stepMs": 60_000 })),
            json!({ "format": "csv", "archive": "none", "compression": "gzip", "timeFormat": "rfc3339",
                    "csvGuard": "off", "stepMs": 60_000, "fill": "none" })
        );
        assert_eq!(
            told(&json!({ "format": "parquet", "archive": "none", "stepMs": 1, "fill": "previous" })),
            json!({ "format": "parquet", "archive": "none", "compression": null, "timeFormat": null,
                    "csvGuard": null, "stepMs": 1, "fill": "previous" })
        );
    }
}
