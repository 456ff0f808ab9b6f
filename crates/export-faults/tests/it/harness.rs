//! The harness itself: with nothing broken, everything works.

use export_faults::{Deployment, Fleet};

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
