//! Lifetimes that end: of a result, of an attempt.

use bson::doc;
use export_faults::patterns::{abort_upload, create_upload};
use export_faults::{Deployment, Fleet, attempts_of, error_of};
use export_testkit::proxy::{Direction, Fault, Rule};

/// Bytes per second to S3: an upload of 6 MiB takes many times the deadline.
const SLOW: u64 = 300_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_results_time_is_over() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.api().await;
    let worker = deployment.worker().await;
    let job_id = api.accepted(&fleet.body).await;
    fleet.exported(&deployment, &job_id).await;
    let (path, download) = (format!("/export/{job_id}"), format!("/export/{job_id}/download"));
    assert_eq!(api.get(&download).await.status, 303);
    let past = [doc! { "$set": { "expiresAt": { "$subtract": ["$$NOW", 1] } } }].to_vec();
    deployment.jobs().update_one(doc! { "_id": &job_id }, past).await.expect("changed");
    assert_eq!(api.get(&download).await.status, 410);
    let view = api.get(&path).await.json();
    assert_eq!((view["state"].as_str(), view["exportUri"].is_null()), (Some("EXPIRED"), true), "{view:#}");
    let expired = deployment.until_state(&job_id, "EXPIRED").await;
    let answer = api.request("DELETE", &path, &[], Vec::new()).await.expect("an answer");
    assert_eq!(answer.status, 409);
    assert_eq!(deployment.job(&job_id).await, expired);
    drop((api, worker));
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_takes_too_long() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::bulky(&deployment, 6).await;
    let api = deployment.api().await;
    let worker = deployment.with("EXPORT_DEADLINE_SECONDS", "1").worker().await;
    let s3 = &worker.links.s3;
    let slow = s3.add(Rule::always(Fault::Throttle(Direction::Requests, SLOW)));
    let [created, aborted] =
        [create_upload(), abort_upload()].map(|pattern| s3.add(Rule::request(pattern, Fault::None)));
    let job_id = api.accepted(&fleet.body).await;
    let job = deployment.until_state(&job_id, "FAILED").await;
    assert_eq!((error_of(&job), attempts_of(&job)), ("deadline_exceeded", 1), "{job:#}");
    slow.lift();
    aborted.until_answered(created.answered()).await;
    assert!(deployment.space.object_keys().await.is_empty());
    deployment.until_queues_are_empty().await;
    drop((api, worker));
    deployment.end().await;
}
