//! The harness itself: without faults, everything works.

use export_faults::patterns::{abort_upload, complete_upload, create_upload, upload_part};
use export_faults::{Deployment, Fleet};
use export_testkit::proxy::{Fault, Rule};

#[tokio::test(flavor = "multi_thread")]
async fn unbroken() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let mut api = deployment.api().await;
    let mut worker = deployment.worker().await;
    let job_id = api.accepted(&fleet.body).await;
    let job = fleet.exported(&deployment, &job_id).await;
    assert_eq!(job.get_i64("attempts").expect("a count"), 1);
    assert_eq!(deployment.space.object_keys().await.len(), 1);
    assert_eq!(api.get(&format!("/export/{job_id}")).await.json()["state"], "FINISHED");
    assert_eq!(worker.stop().code, Some(0));
    assert_eq!(api.stop().code, Some(0));
    deployment.end().await;
}

/// Large enough for an upload in parts, each of which a rule sees.
#[tokio::test(flavor = "multi_thread")]
async fn a_heavy_fleet_is_uploaded_in_parts() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::heavy(&deployment, 4, 3_600).await;
    let api = deployment.api().await;
    let worker = deployment.worker().await;
    let seen = [create_upload(), upload_part(), complete_upload(), abort_upload()]
        .map(|pattern| worker.links.s3.add(Rule::request(pattern, Fault::None)));
    let job_id = api.accepted(&fleet.body).await;
    fleet.exported(&deployment, &job_id).await;
    assert_eq!(seen.map(|watch| watch.answered()), [1, 2, 1, 0]);
    drop((api, worker));
    deployment.end().await;
}
