//! Who accepts a request, or asks for it, goes away in the middle.

use export_faults::patterns::{command, publish};
use export_faults::{Deployment, Fleet, state_of};
use export_testkit::proxy::{Direction, Fault, Rule};

/// The job is in the database, its message never went out: another API's sweeper publishes it.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_killed_between_insert_and_publish() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let mut api = deployment.api().await;
    let held = api.links.rabbitmq.add(Rule::request(publish(), Fault::Hold(Direction::Requests)));
    let mut request = api.half_post(&fleet.body).await;
    request.send_rest().await;
    held.until_seen(1).await;
    api.kill();
    assert_eq!(request.answer().await, None, "nothing was promised");

    let jobs = deployment.all_jobs().await;
    let [job] = &jobs[..] else { panic!("one job: {jobs:?}") };
    assert_eq!(state_of(job), "NOT_STARTED");
    assert!(job.get_datetime("publishedAt").is_err(), "{job:#}");
    let queue = deployment.broker.queue(&deployment.broker.jobs_queue()).await.expect("the queue");
    assert_eq!(queue.ready, 0, "the message never arrived");

    let api = deployment.api().await;
    let worker = deployment.worker().await;
    let finished = fleet.exported(&deployment, job.get_str("_id").expect("an id")).await;
    assert_eq!(finished.get_i64("attempts").expect("a count"), 1);
    assert_eq!(deployment.space.object_keys().await.len(), 1);
    drop((api, worker));
    deployment.end().await;
}

/// The message is in the queue, but nobody knows: neither the client nor the database.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_killed_between_publish_and_answer() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let mut api = deployment.api().await;
    let held = api.links.rabbitmq.add(Rule::request(publish(), Fault::Hold(Direction::Answers)));
    let mut request = api.half_post(&fleet.body).await;
    request.send_rest().await;
    held.until_answered(1).await;
    api.kill();
    assert_eq!(request.answer().await, None, "nothing was promised");

    let jobs = deployment.all_jobs().await;
    let [job] = &jobs[..] else { panic!("one job: {jobs:?}") };
    assert!(job.get_datetime("publishedAt").is_err(), "{job:#}");
    let queue = deployment.broker.queue(&deployment.broker.jobs_queue()).await.expect("the queue");
    assert_eq!(queue.ready, 1, "the message has arrived");

    // The sweeper publishes it once more before a worker is there to take the first.
    let api = deployment.api().await;
    let job_id = job.get_str("_id").expect("an id");
    deployment.until(job_id, |job| job.get_datetime("publishedAt").is_ok()).await;
    let worker = deployment.worker().await;
    let finished = fleet.exported(&deployment, job_id).await;
    assert_eq!(finished.get_i64("attempts").expect("a count"), 1);
    assert_eq!(deployment.space.object_keys().await.len(), 1);
    drop((api, worker));
    deployment.end().await;
}

/// A client that hangs up before its request is complete has asked for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_hangs_up_before_its_request_ends() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.api().await;
    let worker = deployment.worker().await;
    for missing in [1, 20, 100] {
        let mut request = api.half_post(&fleet.body).await;
        request.send_all_but(missing).await;
        drop(request);
    }
    // What comes after it is served as ever.
    let job_id = api.accepted(&fleet.body).await;
    fleet.exported(&deployment, &job_id).await;
    assert_eq!(deployment.all_jobs().await.len(), 1);
    drop((api, worker));
    deployment.end().await;
}

/// A client that hangs up while the job is being inserted changes nothing: the job is inserted, published, and known as published.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_hangs_up_during_the_insert() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.api().await;
    // However the job is inserted, its document holds the first day of its range.
    let start_date = fleet.body["startDate"].as_str().expect("a day");
    let insert = command("startDate", start_date);
    let held = api.links.mongodb.add(Rule::request(insert, Fault::Hold(Direction::Requests)).times(1));
    hangs_up_while(deployment, &fleet, api, held).await;
}

/// A client that hangs up while the message is on its way changes nothing either.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_hangs_up_during_the_publish() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.api().await;
    let held = api.links.rabbitmq.add(Rule::request(publish(), Fault::Hold(Direction::Requests)).times(1));
    hangs_up_while(deployment, &fleet, api, held).await;
}

async fn hangs_up_while(
    deployment: Deployment,
    fleet: &Fleet,
    api: export_faults::Api,
    held: export_testkit::proxy::Watch,
) {
    let published = api.links.rabbitmq.add(Rule::request(publish(), Fault::None));
    let mut request = api.half_post(&fleet.body).await;
    request.send_rest().await;
    held.until_seen(1).await;
    drop(request);
    held.lift();
    deployment.until_so("the job is there", || async { deployment.all_jobs().await.len() == 1 }).await;
    let job_id = deployment.all_jobs().await[0].get_str("_id").expect("an id").to_owned();
    deployment.until(&job_id, |job| job.get_datetime("publishedAt").is_ok()).await;
    // The sweeper would have sent a second one.
    assert_eq!(published.seen(), 1);
    let worker = deployment.worker().await;
    fleet.exported(&deployment, &job_id).await;
    drop((api, worker));
    deployment.end().await;
}
