use export_core::access::AllowedVehicles;
use export_core::request::ExportRequest;
use export_core::warnings::{Warning, WarningCode, Warnings};
use export_core::{JobId, Tenant};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

/// A new job with this request.
fn job(body: &Value) -> Job {
    Job {
        id: JobId::new(Uuid::nil()),
        tenant: Tenant::default_tenant(),
        created_by: None,
        allowed_vehicles: AllowedVehicles::All,
        request: ExportRequest::parse(body).expect("a request"),
        state: JobState::NotStarted,
        epoch: 0,
        attempts: 0,
        priority: Priority::default(),
        max_attempts: 5,
        owner: None,
        heartbeat_at: None,
        run_after: DateTime::UNIX_EPOCH,
        published_at: None,
        outage_since: None,
        cancel_requested: false,
        expires_at: None,
        share_key: None,
        result_id: None,
        made_at: None,
        checked_at: None,
        waiting_for: None,
        trace_parent: None,
        first_warnings: Warnings::default(),
        progress: Progress::default(),
        result: None,
        failure: None,
        created_at: DateTime::UNIX_EPOCH,
        started_at: None,
        finished_at: None,
    }
}

/// The options in the view of a request with these options.
fn view_of(options: &Value) -> Value {
    let mut body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" });
    for (name, value) in options.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    let job = job(&body);
    let view = serde_json::to_value(JobView::of(&job, ResultLinks::default())).expect("JSON");
    for name in ["exportUri", "downloadUrl", "objects", "stats", "webhookUrl"] {
        assert_eq!(view.get(name), Some(&Value::Null), "{name}");
    }
    let options =
        ["format", "archive", "compression", "timeFormat", "csvGuard", "stepMs", "fill", "fillLimitMs"];
    options.iter().map(|name| ((*name).to_owned(), view[name].clone())).collect()
}

#[test]
fn options_that_do_not_apply_are_null() {
    assert_eq!(
        view_of(&json!({})),
        json!({ "format": "csv", "archive": "zip", "compression": null, "timeFormat": "unix_ms",
                "csvGuard": "on", "stepMs": null, "fill": null, "fillLimitMs": null })
    );
    assert_eq!(
        view_of(&json!({ "archive": "none", "timeFormat": "rfc3339", "csvGuard": "off", "stepMs": 60_000 })),
        json!({ "format": "csv", "archive": "none", "compression": "gzip", "timeFormat": "rfc3339",
                "csvGuard": "off", "stepMs": 60_000, "fill": "none", "fillLimitMs": null })
    );
    assert_eq!(
        view_of(
            &json!({ "format": "parquet", "archive": "none", "stepMs": 1, "fill": "previous", "fillLimitMs": 7 })
        ),
        json!({ "format": "parquet", "archive": "none", "compression": null, "timeFormat": null,
                "csvGuard": null, "stepMs": 1, "fill": "previous", "fillLimitMs": 7 })
    );
}

/// What the result shows replaces what the catalog has presumed.
#[test]
fn a_result_replaces_the_warnings_of_the_catalog() {
    let mut job = job(&json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" }));
    let codes = |job: &Job| -> Vec<Value> {
        let view = serde_json::to_value(JobView::of(job, ResultLinks::default())).expect("JSON");
        view["warnings"].as_array().expect("a list").iter().map(|warning| warning["code"].clone()).collect()
    };
    job.created_at = DateTime::from_timestamp_millis(job.request.range.to_ms()).expect("a time");
    assert_eq!(codes(&job), [] as [Value; 0]);
    let silent = "vehicle_002".parse().expect("a vehicle");
    let firsts = [
        Warning::catalog_not_ready(None),
        Warning::after_last_data(0),
        Warning::after_last_data_of(&silent, 0),
    ];
    job.first_warnings = firsts.into_iter().collect();
    job.first_warnings.more = 2;
    assert_eq!(codes(&job), ["catalog_not_ready", "after_last_data", "after_last_data"]);
    assert_eq!(job.warnings().more, 2);

    // Read before the end of the range; of the vehicle there is indeed nothing.
    job.started_at = Some(DateTime::UNIX_EPOCH);
    job.state = JobState::Finished;
    let no_points = Warning {
        vehicle: Some(silent.to_string()),
        ..Warning::new(WarningCode::NoPoints, "vehicle_002 has no value in the range")
    };
    let warnings = Warnings { list: vec![no_points], more: 1 };
    let stats = Stats { warnings, ..Stats::default() };
    job.result = Some(export_core::job::ExportResult { export_uri: "s3://b/k".to_owned(), stats });
    assert_eq!(codes(&job), ["range_not_over", "after_last_data", "no_points"]);
    assert_eq!(job.warnings().list[1].vehicle.as_deref(), Some("vehicle_002"));
    assert_eq!(job.warnings().more, 1);
}
