//! S3 refuses, fails, is slow or closes connections.

use std::time::Duration;

use export_faults::patterns::{abort_upload, complete_upload, create_upload, put_object, upload_part};
use export_faults::{Deployment, Fleet, SHORT_LEASE, attempts_of, epoch_of, error_of, key_of};
use export_testkit::proxy::{Direction, Fault, HttpAnswer, Pattern, Rule};

/// Attempts of one request, the first included.
const TRIES: usize = 3;
/// Bytes per second to S3: an upload of 6 MiB then takes more than two short leases.
const SLOW: u64 = 300_000;

/// Faults of requests, each `times` times; the job must have been claimed `claims` times at the end.
/// Only one of the claims is an attempt, because these faults are outages.
struct Trouble {
    request: Pattern,
    fault: Fault,
    times: usize,
    claims: i64,
}

/// One job for each fault. All must be exported; failed uploads must be aborted.
async fn exported_after(deployment: Deployment, fleet: &Fleet, troubles: impl IntoIterator<Item = Trouble>) {
    let api = deployment.hasty().api().await;
    let worker = deployment.hasty().worker().await;
    for Trouble { request, fault, times, claims } in troubles {
        let s3 = &worker.links.s3;
        let told = format!("{request:?} {fault:?} {times} times");
        let [created, completed, aborted] = [create_upload(), complete_upload(), abort_upload()]
            .map(|pattern| s3.add(Rule::request(pattern, Fault::None)));
        let trouble = s3.add(Rule::request(request, fault).times(times));
        let job_id = api.accepted(&fleet.body).await;
        let job = fleet.exported(&deployment, &job_id).await;
        assert!(trouble.seen() >= times, "{told}: seen {} times", trouble.seen());
        assert_eq!((attempts_of(&job), epoch_of(&job)), (1, claims), "{told}: {job:#}");
        assert_eq!(error_of(&job), "", "{told}: a finished job keeps no error");
        // The first attempts have left neither an object nor parts of one.
        let keys = deployment.space.object_keys().await;
        let of_job: Vec<_> = keys.into_iter().filter(|key| key.contains(&job_id)).collect();
        assert_eq!(of_job, [key_of(&job)], "{told}");
        assert_eq!(
            aborted.seen(),
            created.answered().saturating_sub(usize::from(completed.answered() > 0)),
            "{told}"
        );
        s3.restore();
    }
    drop((api, worker));
    deployment.end().await;
}

/// A single request: S3 is retried first, and only then the job.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_refused() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let trouble = |fault, times, claims| Trouble { request: put_object(), fault, times, claims };
    let troubles = [
        trouble(Fault::internal_error(), TRIES - 1, 1),
        trouble(Fault::internal_error(), TRIES, 2),
        trouble(Fault::slow_down(), TRIES, 2),
        trouble(Fault::access_denied(), 1, 2),
        trouble(Fault::Reset, 1, 1),
        trouble(Fault::Close, 1, 1),
    ];
    exported_after(deployment, &fleet, troubles).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_refused() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::bulky(&deployment, 6).await;
    let trouble = |request, fault, times, claims| Trouble { request, fault, times, claims };
    let troubles = [
        trouble(upload_part(), Fault::internal_error(), 1, 1),
        trouble(upload_part(), Fault::access_denied(), 1, 2),
        trouble(upload_part(), Fault::Reset, 1, 1),
        trouble(create_upload(), Fault::access_denied(), 1, 2),
    ];
    exported_after(deployment, &fleet, troubles).await;
}

/// A request to complete an upload can be answered with 200 and an error in the body.
#[tokio::test(flavor = "multi_thread")]
async fn the_completion_is_refused() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::bulky(&deployment, 6).await;
    let trouble = |fault, times, claims| Trouble { request: complete_upload(), fault, times, claims };
    let troubles = [
        trouble(Fault::slow_down(), 1, 1),
        trouble(Fault::s3_error(200, "InternalError"), 1, 1),
        trouble(Fault::access_denied(), 1, 2),
    ];
    exported_after(deployment, &fleet, troubles).await;
}

/// The object is stored but the reply is lost. The retry gets the answer that the object exists,
/// and finds that it is this attempt's own.
#[tokio::test(flavor = "multi_thread")]
async fn the_reply_to_an_object_is_lost() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let lost = Trouble { request: put_object(), fault: Fault::LoseReply, times: 1, claims: 1 };
    exported_after(deployment, &fleet, [lost]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reply_to_complete_is_lost() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::bulky(&deployment, 6).await;
    let api = deployment.hasty().api().await;
    let worker = deployment.hasty().worker().await;
    let s3 = &worker.links.s3;
    let lost = s3.add(Rule::request(complete_upload(), Fault::LoseReply).times(1));
    // S3's answer to a create-only request for an existing object. (The test kit's server forgets a
    // completed upload, and reports that first.)
    let mut there_already = HttpAnswer { status: 412, headers: Vec::new(), body: String::new() };
    if let Fault::Answer(answer) = Fault::s3_error(412, "PreconditionFailed") {
        there_already = answer;
    }
    s3.add(Rule::request(complete_upload(), Fault::Answer(there_already)).let_through(1).times(1));
    let aborted = s3.add(Rule::request(abort_upload(), Fault::None));
    let job_id = api.accepted(&fleet.body).await;
    let job = fleet.exported(&deployment, &job_id).await;
    assert_eq!((lost.seen(), lost.answered(), aborted.seen()), (2, 1, 0));
    assert_eq!((attempts_of(&job), epoch_of(&job)), (1, 1), "{job:#}");
    assert_eq!(deployment.space.object_keys().await, [key_of(&job)]);
    drop((api, worker));
    deployment.end().await;
}

/// The same lost reply, if S3 has forgotten the upload: whether the object exists cannot be known,
/// so there is another attempt.
#[tokio::test(flavor = "multi_thread")]
async fn the_reply_to_complete_is_lost_and_the_upload_forgotten() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::bulky(&deployment, 6).await;
    let api = deployment.hasty().api().await;
    let worker = deployment.hasty().worker().await;
    let s3 = &worker.links.s3;
    let lost = s3.add(Rule::request(complete_upload(), Fault::LoseReply).times(1));
    s3.add(Rule::request(complete_upload(), Fault::s3_error(404, "NoSuchUpload")).let_through(1).times(1));
    let job_id = api.accepted(&fleet.body).await;
    let job = fleet.exported(&deployment, &job_id).await;
    assert_eq!(lost.answered(), 1);
    assert_eq!((attempts_of(&job), epoch_of(&job)), (2, 2), "{job:#}");
    assert!(key_of(&job).contains("/2-"), "{job:#}");
    drop((api, worker));
    deployment.end().await;
}

/// Slower than two leases: the job stays with its worker.
#[tokio::test(flavor = "multi_thread")]
async fn s3_is_slow() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::bulky(&deployment, 6).await;
    let api = deployment.hasty().api().await;
    let worker = deployment.hasty().worker().await;
    worker.links.s3.add(Rule::always(Fault::Throttle(Direction::Requests, SLOW)));
    let job_id = api.accepted(&fleet.body).await;
    let job = fleet.exported(&deployment, &job_id).await;
    assert_eq!((attempts_of(&job), epoch_of(&job)), (1, 1), "{job:#}");
    let millis = |name| job.get_datetime(name).expect("a time").timestamp_millis();
    let took = Duration::from_millis((millis("finishedAt") - millis("startedAt")).unsigned_abs());
    assert!(took > 2 * SHORT_LEASE, "not slow: {took:?}");
    assert_eq!(deployment.space.object_keys().await, [key_of(&job)]);
    drop((api, worker));
    deployment.end().await;
}

/// S3 refuses every write for a while: no attempt is used, and the job with one attempt ends
/// FINISHED.
#[tokio::test(flavor = "multi_thread")]
async fn e1_a_wrong_bucket_policy_is_mended() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.hasty().with("MAX_ATTEMPTS", "1").api().await;
    let worker = deployment.hasty().worker().await;
    let refused = worker.links.s3.add(Rule::request(put_object(), Fault::access_denied()));
    let job_id = api.accepted(&fleet.body).await;
    let job = deployment.until(&job_id, |job| error_of(job) == "result_storage_unavailable").await;
    assert_eq!(attempts_of(&job), 0, "{job:#}");
    assert!(job.get_datetime("outageSince").is_ok(), "{job:#}");
    // The upload, and checks whether the store accepts writes again.
    refused.until_seen(6).await;
    let job = deployment.job(&job_id).await;
    assert_eq!((epoch_of(&job), attempts_of(&job)), (1, 0), "claimed while S3 refuses: {job:#}");
    let readiness = worker.readiness().await.json();
    let reason = readiness["reasons"]["s3"].as_str().unwrap_or_default();
    assert!(reason.contains("AccessDenied"), "{readiness}");
    refused.lift();
    let job = fleet.exported(&deployment, &job_id).await;
    assert_eq!((attempts_of(&job), error_of(&job)), (1, ""), "{job:#}");
    assert!(job.get("outageSince").is_none(), "{job:#}");
    deployment.until_queues_are_empty().await;
    drop((api, worker));
    deployment.end().await;
}

/// An answer that says that the upload itself is wrong is no outage: it costs an attempt.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_upload_costs_attempts_until_none_is_left() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.hasty().with("MAX_ATTEMPTS", "3").api().await;
    let worker = deployment.hasty().worker().await;
    worker.links.s3.add(Rule::request(put_object(), Fault::s3_error(400, "BadDigest")));
    let job_id = api.accepted(&fleet.body).await;
    let job = deployment.until_state(&job_id, "FAILED").await;
    assert_eq!((error_of(&job), attempts_of(&job)), ("result_storage_unavailable", 3), "{job:#}");
    assert!(deployment.space.object_keys().await.is_empty());
    deployment.until_queues_are_empty().await;
    drop((api, worker));
    deployment.end().await;
}
