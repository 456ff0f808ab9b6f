use export_core::access::AllowedVehicles;
use export_core::request::ExportRequest;
use export_core::{JobId, Tenant};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

/// The options in the view of a request with these options.
fn view_of(options: &Value) -> Value {
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
fn options_that_do_not_apply_are_null() {
    assert_eq!(
        view_of(&json!({})),
        json!({ "format": "csv", "archive": "zip", "compression": null, "timeFormat": "unix_ms",
                "csvGuard": "on", "stepMs": null, "fill": null })
    );
    assert_eq!(
        view_of(&json!({ "archive": "none", "timeFormat": "rfc3339", "csvGuard": "off", "stepMs": 60_000 })),
        json!({ "format": "csv", "archive": "none", "compression": "gzip", "timeFormat": "rfc3339",
                "csvGuard": "off", "stepMs": 60_000, "fill": "none" })
    );
    assert_eq!(
        view_of(&json!({ "format": "parquet", "archive": "none", "stepMs": 1, "fill": "previous" })),
        json!({ "format": "parquet", "archive": "none", "compression": null, "timeFormat": null,
                "csvGuard": null, "stepMs": 1, "fill": "previous" })
    );
}
