//! Results that grow too large, and exports of very many rows.

use std::time::Instant;

use bson::Document;
use export_faults::patterns::{abort_upload, create_upload};
use export_faults::{Deployment, Fleet, attempts_of, epoch_of, error_of, key_of, measured, state_of};
use export_testkit::hour::HourBuilder;
use export_testkit::proxy::{Fault, Rule};
use serde_json::{Value, json};

/// 2018-11-30T00:00:00Z.
const DAY_MS: i64 = 1_543_536_000_000;

/// A vehicle with two points, and the request of its export.
async fn small_vehicle(deployment: &Deployment) -> Value {
    let hour = HourBuilder::new(DAY_MS).points([(DAY_MS + 5, 1.5), (DAY_MS + 7, 2.5)]).build();
    deployment.space.insert_hours("small", "soc", vec![hour]).await;
    json!({
        "startDate": "2018-11-30", "endDate": "2018-12-01", "vehicles": [deployment.space.vehicle("small")],
    })
}

fn is_over(job: &Document) -> bool {
    !matches!(state_of(job), "NOT_STARTED" | "STARTED")
}

/// The large export fails after one attempt and leaves nothing in the bucket; the other export of
/// its worker finishes.
async fn fails_once(deployment: Deployment, large: &Value, setting: &str, value: &str, has_parts: bool) {
    let small = small_vehicle(&deployment).await;
    let api = deployment.api().await;
    let worker = deployment.hasty().with(setting, value).worker().await;
    let begun = worker.links.s3.add(Rule::request(create_upload(), Fault::None));
    let aborted = worker.links.s3.add(Rule::request(abort_upload(), Fault::None));
    let (large_id, small_id) = (api.accepted(large).await, api.accepted(&small).await);
    let finished = deployment.until(&small_id, is_over).await;
    assert_eq!(state_of(&finished), "FINISHED", "{finished:#}");
    let failed = deployment.until(&large_id, is_over).await;
    let outcome = (state_of(&failed), error_of(&failed), attempts_of(&failed), epoch_of(&failed));
    assert_eq!(outcome, ("FAILED", "result_too_large", 1, 1), "{failed:#}");
    let message = failed.get_document("error").and_then(|error| error.get_str("message"));
    let message = message.expect("a message");
    assert!(message.contains(setting) && message.contains(value), "{message}");
    // On a busy machine the last deletions end in the background.
    let is_empty = || async {
        deployment.space.object_keys().await == [key_of(&finished)] && aborted.answered() == begun.seen()
    };
    deployment.until_so("only the other export has objects, and no upload is open", is_empty).await;
    assert_eq!(begun.seen() > 0, has_parts, "the upload began before the limit");
    deployment.until_queues_are_empty().await;
    // A worker that is gone before it acknowledges leaves its message.
    deployment.until_queues_are_empty().await;
    drop((api, worker));
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_a_result_with_too_many_bytes_fails_once() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::bulky(&deployment, 9).await;
    // Parts have 5 MiB, so that one is sent before.
    fails_once(deployment, &fleet.body, "MAX_RESULT_BYTES", "7000000", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_a_result_with_too_many_rows_fails_once() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::bulky(&deployment, 9).await;
    // Of about 12,600.
    fails_once(deployment, &fleet.body, "MAX_RESULT_ROWS", "11000", true).await;
}

/// The objects of the first vehicles are stored when the last one exceeds the limit.
#[tokio::test(flavor = "multi_thread")]
async fn c3_objects_of_a_result_with_too_many_rows_are_deleted() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::heavy(&deployment, 4, 50).await;
    let mut body = fleet.body.clone();
    body["archive"] = json!("none");
    // Each vehicle has about 2,400.
    fails_once(deployment, &body, "MAX_RESULT_ROWS", "8000", false).await;
}

/// What a plan fills is known before anything is read.
#[tokio::test(flavor = "multi_thread")]
async fn c3_a_plan_that_fills_too_many_rows_fails_once() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let mut body = fleet.body.clone();
    (body["stepMs"], body["fill"]) = (json!(1), json!("previous"));
    // The API has the default, and does not know the number of vehicles yet.
    let small = small_vehicle(&deployment).await;
    let api = deployment.api().await;
    let worker = deployment.hasty().with("MAX_RESULT_ROWS", "1000000").worker().await;
    let (large_id, small_id) = (api.accepted(&body).await, api.accepted(&small).await);
    let failed = deployment.until(&large_id, is_over).await;
    let outcome = (state_of(&failed), error_of(&failed), attempts_of(&failed));
    assert_eq!(outcome, ("FAILED", "result_too_large", 1), "{failed:#}");
    let finished = deployment.until(&small_id, is_over).await;
    assert_eq!(deployment.space.object_keys().await, [key_of(&finished)]);
    // A worker that is gone before it acknowledges leaves its message.
    deployment.until_queues_are_empty().await;
    drop((api, worker));
    deployment.end().await;
}

/// Three exports of a week with a row per millisecond, 605 million rows each, leave a lane to small
/// exports.
#[tokio::test(flavor = "multi_thread")]
async fn c3_exports_of_very_many_rows_leave_a_lane_to_small_ones() {
    let deployment = Deployment::start().await;
    let small = small_vehicle(&deployment).await;
    let mut week = small.clone();
    (week["endDate"], week["stepMs"], week["fill"]) = (json!("2018-12-07"), json!(1), json!("previous"));
    let mut worker = deployment.with("WORKER_CONCURRENCY", "2").with("WORKER_THREADS", "1").worker().await;
    // An API that does not know the number of lanes yet would dispatch two large ones.
    worker.until_written("waiting for jobs");
    let api = deployment.api().await;
    let mut large = Vec::new();
    for _ in 0..3 {
        large.push(api.accepted(&week).await);
    }
    let running = deployment.until_state(&large[0], "STARTED").await;
    assert_eq!(running.get_str("priority").expect("a priority"), "bulk", "{running:#}");
    let asked_at = Instant::now();
    let small_id = api.accepted(&small).await;
    let finished = deployment.until(&small_id, is_over).await;
    assert_eq!((state_of(&finished), attempts_of(&finished)), ("FINISHED", 1), "{finished:#}");
    measured(&format!("small_beside_605_million_rows_ms={}", asked_at.elapsed().as_millis()));
    for job_id in &large {
        let job = deployment.job(job_id).await;
        assert!(!is_over(&job), "the large exports have not ended: {job:#}");
        let cancelled = api.request("DELETE", &format!("/export/{job_id}"), &[], Vec::new()).await;
        assert_eq!(cancelled.expect("an answer").status, 202);
    }
    for job_id in &large {
        deployment.until_state(job_id, "CANCELLED").await;
    }
    assert_eq!(deployment.space.object_keys().await, [key_of(&finished)]);
    // A worker that is gone before it acknowledges leaves its message.
    deployment.until_queues_are_empty().await;
    drop((api, worker));
    deployment.end().await;
}
