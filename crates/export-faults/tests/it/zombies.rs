//! A worker is stopped (SIGSTOP) past its lease and its job is another worker's; after it resumes,
//! it must change nothing.

use bson::{Document, doc};
use export_faults::patterns::{commit, complete_upload, finish_result, next_batch, put_object};
use export_faults::{Deployment, Fleet, Worker, attempts_of, epoch_of, key_of};
use export_testkit::proxy::{Direction, Fault, Pattern, Rule, Watch};

/// The state when the second worker has finished.
struct Finished {
    job: Document,
    object: Vec<u8>,
}

impl Finished {
    async fn by_another(deployment: &Deployment, fleet: &Fleet, job_id: &str) -> Self {
        let job = fleet.exported(deployment, job_id).await;
        assert_eq!((attempts_of(&job), epoch_of(&job)), (2, 2), "{job:#}");
        let object = deployment.space.object(&key_of(&job)).await;
        Self { job, object }
    }

    /// Panics when the job or its object has changed.
    async fn is_unchanged(&self, deployment: &Deployment) {
        let id = self.job.get_str("_id").expect("an id");
        assert_eq!(deployment.job(id).await, self.job);
        assert!(deployment.space.object(&key_of(&self.job)).await == self.object, "the object has changed");
    }
}

/// A worker that is busy with one delivery, so that it holds no other one while it is frozen: the
/// broker would requeue that only after two of its heartbeats.
async fn with_one_slot(deployment: &Deployment) -> Worker {
    // With the buffers of one of two exports, and so with parts of the same size.
    let start = deployment.hasty().with("WORKER_CONCURRENCY", "1").with("MEMORY_BUDGET_MB", "32");
    // It lists the vehicles once for the catalog, and from then on only for its jobs.
    let worker = start.with("CATALOG_REFRESH_SECONDS", "3600").worker().await;
    deployment.until_catalog_is_made().await;
    worker
}

/// Freezes a worker when these bytes pass, lets another one finish its job, resumes it, and waits
/// until it has given up.
async fn frozen_at(fleet: &Fleet, deployment: Deployment, stops_at: impl FnOnce(&Worker) -> Watch) {
    let api = deployment.hasty().api().await;
    let mut zombie = with_one_slot(&deployment).await;
    let committed = zombie.links.mongodb.add(Rule::request(commit(), Fault::None));
    let held = stops_at(&zombie);
    let job_id = api.accepted(&fleet.body).await;
    held.until_seen(1).await;
    zombie.freeze();
    let second = deployment.hasty().worker().await;
    let finished = Finished::by_another(&deployment, fleet, &job_id).await;
    held.lift();
    zombie.thaw();
    zombie.until_written("export abandoned");
    finished.is_unchanged(&deployment).await;
    assert_eq!(committed.seen(), 0, "it does not even ask");
    // It is now as good as any other worker.
    drop(second);
    let next = api.accepted(&fleet.body).await;
    let next = fleet.exported(&deployment, &next).await;
    assert_eq!(attempts_of(&next), 1, "{next:#}");
    finished.is_unchanged(&deployment).await;
    drop((api, zombie));
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_resumes_while_it_plans() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let lists = Pattern::any().containing("listDatabases\0");
    frozen_at(&fleet, deployment, |zombie| {
        zombie.links.mongodb.add(Rule::request(lists, Fault::Hold(Direction::Answers)).times(1))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_resumes_while_it_reads() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::long(&deployment, 20).await;
    frozen_at(&fleet, deployment, |zombie| {
        zombie.links.mongodb.add(Rule::request(next_batch(), Fault::Hold(Direction::Answers)).times(1))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_resumes_while_it_uploads() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    frozen_at(&fleet, deployment, |zombie| {
        zombie.links.s3.add(Rule::request(put_object(), Fault::Hold(Direction::Requests)).times(1))
    })
    .await;
}

/// Its object is complete, and so is the other one.
#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_resumes_after_its_upload() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::bulky(&deployment, 6).await;
    frozen_at(&fleet, deployment, |zombie| {
        zombie.links.s3.add(Rule::request(complete_upload(), Fault::Hold(Direction::Answers)).times(1))
    })
    .await;
}

/// The finish of the result is in flight while the lease expires: it arrives, and does not match.
#[tokio::test(flavor = "multi_thread")]
async fn a_zombies_result_comes_late() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.hasty().api().await;
    let mut zombie = with_one_slot(&deployment).await;
    let finish_seen = zombie.links.mongodb.add(Rule::request(finish_result(), Fault::None));
    let held =
        zombie.links.mongodb.add(Rule::request(finish_result(), Fault::Hold(Direction::Requests)).times(1));
    let job_id = api.accepted(&fleet.body).await;
    held.until_seen(1).await;
    let second = deployment.hasty().worker().await;
    let finished = Finished::by_another(&deployment, &fleet, &job_id).await;
    held.lift();
    finish_seen.until_answered(1).await;
    zombie.until_written("the job went to another worker before its result could be finished");
    finished.is_unchanged(&deployment).await;
    assert_eq!(finish_seen.seen(), 1, "it asks once");
    drop((api, zombie, second));
    deployment.end().await;
}

/// The commit comes late and the job waits unclaimed: the commit does not match either. The next
/// attempt commits with the result, which is complete.
#[tokio::test(flavor = "multi_thread")]
async fn a_zombies_commit_comes_between_two_attempts() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.hasty().api().await;
    let zombie = with_one_slot(&deployment).await;
    let commits = zombie.links.mongodb.add(Rule::request(commit(), Fault::None));
    let held = zombie.links.mongodb.add(Rule::request(commit(), Fault::Hold(Direction::Requests)).times(1));
    let job_id = api.accepted(&fleet.body).await;
    held.until_seen(1).await;
    // It must not be the worker that takes the job again.
    zombie.links.rabbitmq.cut();
    let released = deployment.until_state(&job_id, "NOT_STARTED").await;
    assert_eq!((attempts_of(&released), epoch_of(&released)), (1, 1), "{released:#}");
    held.lift();
    commits.until_answered(1).await;
    let second = deployment.hasty().worker().await;
    let finished = Finished::by_another(&deployment, &fleet, &job_id).await;
    finished.is_unchanged(&deployment).await;
    drop((api, zombie, second));
    deployment.end().await;
}
