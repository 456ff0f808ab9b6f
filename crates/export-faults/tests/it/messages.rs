//! Duplicate messages, and invalid ones.

use bson::{Bson, doc};
use export_faults::{Deployment, Fleet, attempts_of, state_of};

/// Number of copies of each job's message.
const TIMES: usize = 10;

/// Duplicate messages before the job runs, while it runs and after it has ended cause no second
/// export.
#[tokio::test(flavor = "multi_thread")]
async fn every_message_comes_ten_times() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::heavy(&deployment, 1, 600).await;
    let api = deployment.api().await;
    let mut job_ids = Vec::new();
    for _ in 0..4 {
        job_ids.push(api.accepted(&fleet.body).await);
        deployment.broker.wake_up(&job_ids[job_ids.len() - 1], TIMES).await;
    }
    let mut workers = [deployment.worker().await, deployment.worker().await];
    for job_id in &job_ids {
        deployment.until(job_id, |job| state_of(job) != "NOT_STARTED").await;
        deployment.broker.wake_up(job_id, TIMES).await;
    }
    for job_id in &job_ids {
        let job = fleet.exported(&deployment, job_id).await;
        deployment.broker.wake_up(job_id, TIMES).await;
        assert_eq!(job.get_i64("attempts").expect("a count"), 1, "{job:#}");
        assert_eq!(job.get_i64("epoch").expect("a count"), 1, "{job:#}");
    }
    let before = deployment.all_jobs().await;
    let jobs_queue = deployment.broker.jobs_queue();
    deployment
        .until_so("all were taken", || async {
            deployment.broker.queue(&jobs_queue).await.is_some_and(|queue| queue.ready == 0)
        })
        .await;
    // A clean shutdown settles the unacknowledged messages.
    for worker in &mut workers {
        worker.stop();
    }
    assert_eq!(deployment.all_jobs().await, before, "ended jobs do not change");
    assert_eq!(deployment.space.object_keys().await.len(), job_ids.len());
    assert_eq!(deployment.dead_letters().await.len(), 0);
    drop((api, workers));
    deployment.end().await;
}

/// The job waits for its next attempt, and the dispatcher will publish it: another message for it
/// is not requeued until then.
#[tokio::test]
async fn a_message_for_a_job_that_is_not_due_goes() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.api().await;
    let job_id = api.accepted(&fleet.body).await;
    deployment.until(&job_id, |job| job.get_datetime("publishedAt").is_ok()).await;
    let set = |changes| {
        let jobs = deployment.jobs();
        let job = doc! { "_id": &job_id };
        async move { jobs.update_one(job, vec![doc! { "$set": changes }]).await.expect("an answer") }
    };
    // As after a release with a long delay.
    set(doc! { "runAfter": { "$add": ["$$NOW", 3_600_000] }, "publishedAt": null }).await;
    deployment.broker.wake_up(&job_id, TIMES).await;
    let mut worker = deployment.worker().await;
    deployment.until_queues_are_empty().await;
    // A clean shutdown settles the unacknowledged messages; a nacked message would be there again.
    worker.stop();
    for name in [deployment.broker.jobs_queue(), deployment.broker.retry_queue()] {
        assert_eq!(deployment.broker.queue(&name).await.map(|queue| queue.ready), Some(0), "{name}");
    }
    let waiting = deployment.job(&job_id).await;
    assert_eq!((attempts_of(&waiting), state_of(&waiting)), (0, "NOT_STARTED"), "{waiting:#}");

    let worker = deployment.worker().await;
    set(doc! { "runAfter": "$$NOW" }).await;
    fleet.exported(&deployment, &job_id).await;
    drop((api, worker));
    deployment.end().await;
}

/// Stored byte for byte, each once, and the worker continues.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_name_no_job_are_kept_verbatim() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.api().await;
    let mut worker = deployment.worker().await;
    let large = vec![b'x'; 200_000];
    let bodies: [&[u8]; 9] = [
        b"",
        b"hello",
        b"{",
        b"\x00\xff\xfe\x00binary",
        br#"{"v":2,"jobId":"01983c5e-7a01-7c3a-9d5e-0123456789ab"}"#,
        br#"{"v":1,"jobId":"7"}"#,
        br#"{"v":1}"#,
        br#"{"v":1,"jobId":"01983c5e-7a01-7c3a-9d5e-0123456789ab"}"#,
        &large,
    ];
    deployment.broker.publish(&bodies).await;
    let job_id = api.accepted(&fleet.body).await;
    fleet.exported(&deployment, &job_id).await;
    deployment
        .until_so("all are kept", || async { deployment.dead_letters().await.len() >= bodies.len() })
        .await;
    worker.stop();
    let letters = deployment.dead_letters().await;
    let mut kept: Vec<Vec<u8>> = letters.iter().map(|letter| bytes(letter.get("body"))).collect();
    let mut sent: Vec<Vec<u8>> = bodies.iter().map(|body| body.to_vec()).collect();
    kept.sort();
    sent.sort();
    assert!(kept == sent, "{} kept, {} sent: {letters:?}", kept.len(), sent.len());
    drop((api, worker));
    deployment.end().await;
}

fn bytes(body: Option<&Bson>) -> Vec<u8> {
    match body {
        Some(Bson::Binary(binary)) => binary.bytes.clone(),
        other => panic!("no bytes: {other:?}"),
    }
}
