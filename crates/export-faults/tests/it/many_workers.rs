//! Many workers compete for one job.

use export_faults::{Deployment, Fleet, attempts_of, epoch_of, key_of};

const WORKERS: usize = 4;
const SLOTS_OF_EACH: &str = "4";
/// Messages of the one job: several for each slot.
const MESSAGES: usize = 48;

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_workers_on_one_job() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.api().await;
    let job_id = api.accepted(&fleet.body).await;
    deployment.broker.wake_up(&job_id, MESSAGES).await;
    let start = || deployment.with("WORKER_CONCURRENCY", SLOTS_OF_EACH).worker();
    let workers = [start().await, start().await, start().await, start().await];
    assert_eq!(workers.len(), WORKERS);
    let job = fleet.exported(&deployment, &job_id).await;
    assert_eq!((attempts_of(&job), epoch_of(&job)), (1, 1), "{job:#}");
    deployment
        .until_so("all messages are handled", || async {
            let handled = |worker: &export_faults::Worker| {
                let output = worker.output();
                output.matches("ignored the message of a job that has ended or is running").count()
                    + output.matches("export finished").count()
            };
            workers.iter().map(handled).sum::<usize>() > MESSAGES
        })
        .await;
    assert_eq!(deployment.job(&job_id).await, job);
    assert_eq!(deployment.space.object_keys().await, [key_of(&job)]);
    let starts: usize = workers.iter().map(|worker| worker.output().matches("export started").count()).sum();
    assert_eq!(starts, 1);
    drop((api, workers));
    deployment.end().await;
}
