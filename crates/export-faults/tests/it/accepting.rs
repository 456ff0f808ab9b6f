//! The API or the client fails in the middle of a request.

use bson::Document;
use export_faults::patterns::{command, publish};
use export_faults::{Deployment, Fleet, state_of};
use export_testkit::proxy::{Direction, Fault, Rule};

/// The job is stored but the client got no answer. It is exported nevertheless.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_killed_between_insert_and_answer() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let mut api = deployment.api().await;
    let start_date = fleet.body["startDate"].as_str().expect("a day");
    let insert = command("startDate", start_date);
    let held = api.links.mongodb.add(Rule::request(insert, Fault::Hold(Direction::Answers)).times(1));
    let mut request = api.half_post(&fleet.body).await;
    request.send_rest().await;
    held.until_answered(1).await;
    api.kill();
    assert_eq!(request.answer().await, None, "nothing was promised");

    let job = the_one_job(&deployment).await;
    assert!(job.get_datetime("publishedAt").is_err(), "{job:#}");
    is_exported_once(deployment, &fleet, &job).await;
}

/// The job was accepted, but its message was never sent: another API's dispatcher releases it, as
/// soon as the dead one's turn has expired.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_killed_before_it_publishes() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let mut api = deployment.api().await;
    let held = api.links.rabbitmq.add(Rule::request(publish(), Fault::Hold(Direction::Requests)));
    api.accepted(&fleet.body).await;
    held.until_seen(1).await;
    api.kill();

    let job = the_one_job(&deployment).await;
    assert!(job.get_datetime("publishedAt").is_err(), "{job:#}");
    let queue = deployment.broker.queue(&deployment.broker.jobs_queue()).await.expect("the queue");
    assert_eq!(queue.ready, 0, "the message never arrived");
    is_exported_once(deployment, &fleet, &job).await;
}

/// The message is in the queue, but the job is not marked as published.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_killed_between_publish_and_mark() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let mut api = deployment.api().await;
    let held = api.links.rabbitmq.add(Rule::request(publish(), Fault::Hold(Direction::Answers)));
    api.accepted(&fleet.body).await;
    held.until_answered(1).await;
    api.kill();

    let job = the_one_job(&deployment).await;
    assert!(job.get_datetime("publishedAt").is_err(), "{job:#}");
    let jobs_queue = deployment.broker.jobs_queue();
    let queue = deployment.broker.queue(&jobs_queue).await.expect("the queue");
    assert_eq!(queue.ready, 1, "the message has arrived");

    // Another dispatcher publishes the job again before a worker takes the first message.
    let api = deployment.api().await;
    deployment.until(id_of(&job), |job| job.get_datetime("publishedAt").is_ok()).await;
    drop(api);
    is_exported_once(deployment, &fleet, &job).await;
}

/// The only job, which is unclaimed.
async fn the_one_job(deployment: &Deployment) -> Document {
    let mut jobs = deployment.all_jobs().await;
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    let job = jobs.remove(0);
    assert_eq!(state_of(&job), "NOT_STARTED");
    job
}

fn id_of(job: &Document) -> &str {
    job.get_str("_id").expect("an id")
}

/// Another API and a worker complete the job.
async fn is_exported_once(deployment: Deployment, fleet: &Fleet, job: &Document) {
    let api = deployment.api().await;
    let worker = deployment.worker().await;
    let finished = fleet.exported(&deployment, id_of(job)).await;
    assert_eq!(finished.get_i64("attempts").expect("a count"), 1);
    assert_eq!(deployment.space.object_keys().await.len(), 1);
    drop((api, worker));
    deployment.end().await;
}

/// A client that disconnects before its request is complete has requested nothing.
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
    // Later requests are served as usual.
    let job_id = api.accepted(&fleet.body).await;
    fleet.exported(&deployment, &job_id).await;
    assert_eq!(deployment.all_jobs().await.len(), 1);
    drop((api, worker));
    deployment.end().await;
}

/// A client that disconnects while the job is being inserted changes nothing: the job is inserted,
/// published, and marked as published.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_hangs_up_during_the_insert() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.api().await;
    // However the job is inserted, its document contains the first day of its range.
    let start_date = fleet.body["startDate"].as_str().expect("a day");
    let insert = command("startDate", start_date);
    let held = api.links.mongodb.add(Rule::request(insert, Fault::Hold(Direction::Requests)).times(1));
    hangs_up_while(deployment, &fleet, api, held).await;
}

/// A client that disconnects while the message is on its way changes nothing either.
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
    // A republish while the first message was in flight would have sent a second one.
    assert_eq!(published.seen(), 1);
    let worker = deployment.worker().await;
    fleet.exported(&deployment, &job_id).await;
    drop((api, worker));
    deployment.end().await;
}
