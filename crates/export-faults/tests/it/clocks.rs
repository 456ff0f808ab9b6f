//! Clocks that are wrong by an hour: all times come from the database, so nothing happens too early
//! or too late.

use std::time::{Duration, Instant};

use bson::Document;
use export_faults::patterns::put_object;
use export_faults::{Deployment, Fleet, SHORT_LEASE, Worker, attempts_of, epoch_of};
use export_testkit::proxy::{Direction, Fault, Rule};
use export_testkit::wrong_clock::WrongClock;

const HOUR_SECONDS: i64 = 3_600;
/// A lost worker's job runs again within this time: a short lease, two sweeps, a short wait, and a
/// margin for a busy machine.
const RUNS_AGAIN: Duration = Duration::from_secs(SHORT_LEASE.as_secs() + 17);
/// How long results are kept, unless set otherwise.
const RETENTION_MS: i64 = 7 * 24 * 3_600_000;

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_is_an_hour_ahead_and_the_api_behind() {
    an_hour_apart(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_is_an_hour_behind_and_the_api_ahead() {
    an_hour_apart(-1).await;
}

async fn an_hour_apart(direction: i64) {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let of_worker = WrongClock::ahead_by(direction * HOUR_SECONDS);
    let of_api = WrongClock::ahead_by(-direction * HOUR_SECONDS);
    let api = deployment.hasty().changed(|program| of_api.applied_to(program)).api().await;
    let start =
        || async { deployment.hasty().changed(|program| of_worker.applied_to(program)).worker().await };

    // A lease is kept only as long as its worker sends heartbeats.
    let mut first: Worker = start().await;
    let held = first.links.s3.add(Rule::request(put_object(), Fault::Hold(Direction::Requests)));
    let job_id = api.accepted(&fleet.body).await;
    held.until_seen(1).await;
    let lease = |job: &Document| job.get_datetime("leaseUntil").map(|until| until.to_system_time()).ok();
    let begun = lease(&deployment.job(&job_id).await);
    // Past the first lease.
    deployment.until(&job_id, |job| lease(job) > begun.map(|until| until + SHORT_LEASE)).await;
    assert_eq!(epoch_of(&deployment.job(&job_id).await), 1);
    first.kill();
    let killed_at = Instant::now();
    let second = start().await;
    deployment.until(&job_id, |job| epoch_of(job) == 2).await;
    assert!(killed_at.elapsed() <= RUNS_AGAIN, "{:?}", killed_at.elapsed());

    let job = fleet.exported(&deployment, &job_id).await;
    assert_eq!((attempts_of(&job), epoch_of(&job)), (2, 2), "{job:#}");
    let millis = |name| job.get_datetime(name).expect("a time").timestamp_millis();
    let result = deployment.result(&job_id).await.expect("its result");
    let made_at = result.get_datetime("madeAt").expect("a time").timestamp_millis();
    assert_eq!(millis("expiresAt") - made_at, RETENTION_MS);
    assert!((0..HOUR_SECONDS * 500).contains(&(millis("finishedAt") - made_at)), "{result:#}");
    let now_ms = bson::DateTime::now().timestamp_millis();
    for name in ["createdAt", "startedAt", "finishedAt"] {
        assert!((now_ms - millis(name)).abs() < HOUR_SECONDS * 500, "{name} is of a wrong clock: {job:#}");
    }
    let view = api.get(&format!("/export/{job_id}")).await.json();
    assert_eq!(view["state"], "FINISHED");
    drop((api, second));
    deployment.end().await;
}
