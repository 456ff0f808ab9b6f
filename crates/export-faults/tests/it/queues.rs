//! Queues and bindings that are removed unnoticed by the programs.

use export_faults::{Deployment, Fleet, state_of};

/// Number of waiting jobs, and how many of them the broker gets while none runs.
const WAITING: usize = 6;
const IN_BROKER: usize = 4;

/// Jobs that wait for a worker, and an API that soon republishes unclaimed jobs.
async fn with_waiting_jobs() -> (Deployment, Fleet, export_faults::Api, Vec<String>) {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.with("REPUBLISH_AFTER_SECONDS", "1").api().await;
    let mut waiting = Vec::new();
    for _ in 0..WAITING {
        waiting.push(api.accepted(&fleet.body).await);
    }
    let is_published = |job: &&bson::Document| job.get_datetime("publishedAt").is_ok();
    deployment
        .until_so("the broker has its share", || async {
            deployment.all_jobs().await.iter().filter(is_published).count() >= IN_BROKER
        })
        .await;
    (deployment, fleet, api, waiting)
}

async fn all_are_exported(deployment: &Deployment, fleet: &Fleet, waiting: &[String]) {
    for job_id in waiting {
        let job = fleet.exported(deployment, job_id).await;
        assert_eq!(job.get_i64("attempts").expect("a count"), 1);
    }
    assert_eq!(deployment.space.object_keys().await.len(), waiting.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_purged_while_jobs_wait() {
    let (deployment, fleet, api, waiting) = with_waiting_jobs().await;
    assert!(deployment.broker.purge(&deployment.broker.jobs_queue()).await >= 1);
    let worker = deployment.worker().await;
    all_are_exported(&deployment, &fleet, &waiting).await;
    // Messages that are published repeatedly must end with their jobs.
    drop((api, worker));
    let worker = deployment.worker().await;
    drop_when_idle(deployment, worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_deleted_while_jobs_wait() {
    let (deployment, fleet, api, waiting) = with_waiting_jobs().await;
    deployment.broker.delete(&deployment.broker.jobs_queue()).await;
    let worker = deployment.worker().await;
    // Still accepted, although no queue would take the message.
    let late = api.accepted(&fleet.body).await;
    deployment.provision(&[("RETRY_REST_MS", "200")]).await;
    let all: Vec<String> = waiting.into_iter().chain([late]).collect();
    all_are_exported(&deployment, &fleet, &all).await;
    drop((api, worker));
    let worker = deployment.worker().await;
    drop_when_idle(deployment, worker).await;
}

/// The worker's consumer is cancelled by the broker; the worker must consume the new queue without
/// a restart.
#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_deleted_under_a_worker() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.with("REPUBLISH_AFTER_SECONDS", "1").api().await;
    let worker = deployment.worker().await;
    let jobs_queue = deployment.broker.jobs_queue();
    let has_consumer =
        || async { deployment.broker.queue(&jobs_queue).await.is_some_and(|queue| queue.consumers > 0) };
    deployment.until_so("the worker consumes", has_consumer).await;
    deployment.broker.delete(&jobs_queue).await;
    let job_id = api.accepted(&fleet.body).await;
    deployment.provision(&[("RETRY_REST_MS", "200")]).await;
    deployment.until_so("the worker consumes again", has_consumer).await;
    fleet.exported(&deployment, &job_id).await;
    drop(api);
    drop_when_idle(deployment, worker).await;
}

/// A message that no queue accepts is returned with an acknowledgement; that is not a confirmation.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_returned_as_unroutable() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.api().await;
    let worker = deployment.worker().await;
    deployment.broker.unbind_jobs().await;
    let job_id = api.accepted(&fleet.body).await;
    let job = deployment.job(&job_id).await;
    assert_eq!(state_of(&job), "NOT_STARTED");
    assert!(job.get_datetime("publishedAt").is_err(), "{job:#}");
    deployment.broker.bind_jobs().await;
    fleet.exported(&deployment, &job_id).await;
    drop(api);
    drop_when_idle(deployment, worker).await;
}

async fn drop_when_idle(deployment: Deployment, mut worker: export_faults::Worker) {
    let queues = [deployment.broker.jobs_queue(), deployment.broker.retry_queue()];
    deployment
        .until_so("queues are empty", || async {
            let [jobs, retry] = &queues;
            let counts = [deployment.broker.queue(jobs).await, deployment.broker.queue(retry).await];
            counts.iter().all(|queue| queue.is_some_and(|queue| queue.ready == 0))
        })
        .await;
    worker.stop();
    drop(worker);
    deployment.end().await;
}
