//! Exports that cannot succeed: the job shows the error, and the queue does not spin.

use bson::{Document, doc};
use export_core::access::AllowedVehicles;
use export_e2e::Stack;
use export_testkit::isolation::TestSpace;
use export_testkit::oddities::one_day;
use export_testkit::proxy::Proxy;
use serde_json::{Value, json};

fn one_day_request() -> Value {
    json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" })
}

/// The API refuses vehicles that the catalog does not list. A vehicle may be removed while its job
/// waits: then the worker finds out.
#[tokio::test(flavor = "multi_thread")]
async fn a_vehicle_that_does_not_exist_fails_the_job() {
    let stack = Stack::start().await;
    stack.space.insert_fleet(&one_day()).await;
    let vehicle = stack.space.vehicle("unknown");
    let body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "vehicles": [vehicle] });
    let job_id = stack.made(&body, AllowedVehicles::All).await;
    let (job, _) = stack.ended(&job_id).await;
    assert_eq!(job["state"], "FAILED");
    assert_eq!(job["error"]["code"], "unknown_vehicle");
    assert!(job["error"]["message"].as_str().is_some_and(|message| message.contains(&vehicle)), "{job:#}");
    assert!(job["exportUri"].is_null() && job["attempts"] == 1, "{job:#}");
    assert_eq!(stack.get(&format!("/export/{job_id}/download")).await.status, 409);
    stack.stop().await;
}

/// S3 is away: the job with one attempt waits for its next try, says why, and finishes once S3 is
/// back. Its error is removed.
#[tokio::test(flavor = "multi_thread")]
async fn e1_an_outage_of_the_object_store_uses_no_attempt() {
    let mut stack = Stack::start_api_with(TestSpace::create().await, 1).await;
    stack.provision().await;
    stack.space.insert_fleet(&one_day()).await;
    let target =
        stack.space.services.s3_endpoint_url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let proxy = Proxy::start(target).await;
    stack.s3_endpoint_of_workers = Some(format!("http://{}", proxy.address()));
    stack.start_worker().await;
    // A worker waits for its bucket before it takes jobs: the first job shows that it has started.
    let job_id = stack.accepted(&one_day_request()).await;
    let (job, _) = stack.ended(&job_id).await;
    assert_eq!(job["state"], "FINISHED", "{job:#}");

    proxy.cut();
    let job_id = stack.accepted(&one_day_request()).await;
    let (waiting, _) = stack.until(&job_id, |job| job["waitingFor"] == "storage").await;
    assert_eq!(waiting["error"]["code"], "result_storage_unavailable", "{waiting:#}");
    assert!(waiting["exportUri"].is_null() && waiting["outageSince"].is_string(), "{waiting:#}");
    assert_eq!((&waiting["attempts"], &waiting["attemptsMax"]), (&json!(0), &json!(1)), "{waiting:#}");
    assert_eq!(waiting["queue"]["workersAlive"], 1, "{waiting:#}");
    assert!(waiting["queue"]["startsInSeconds"].is_null(), "{waiting:#}");
    proxy.restore();
    let (job, _) = stack.ended(&job_id).await;
    assert_eq!((&job["state"], job["error"].is_null()), (&json!("FINISHED"), true), "{job:#}");
    assert_eq!((&job["attempts"], job["outageSince"].is_null()), (&json!(1), true), "{job:#}");
    stack.stop().await;
}

/// Without a worker a job waits, and says so instead of guessing when it starts.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_workers_says_what_it_waits_for() {
    let mut stack = Stack::start_api_with(TestSpace::create().await, 1).await;
    stack.provision().await;
    stack.space.insert_fleet(&one_day()).await;
    let job_id = stack.accepted(&one_day_request()).await;
    let (waiting, _) = stack.until(&job_id, |job| job["waitingFor"] == "worker").await;
    let queue = &waiting["queue"];
    assert_eq!((&queue["position"], &queue["workersAlive"]), (&json!(1), &json!(0)), "{waiting:#}");
    assert!(queue["workerSeenAt"].is_null() && queue["startsInSeconds"].is_null(), "{waiting:#}");
    stack.start_worker().await;
    let (job, _) = stack.ended(&job_id).await;
    assert_eq!((&job["state"], job["waitingFor"].is_null()), (&json!("FINISHED"), true), "{job:#}");
    stack.stop().await;
}

/// Messages that name no job are kept for inspection, and do not block others.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_name_no_job() {
    use export_amqp::Publisher;
    use export_core::message::WakeUp;

    let stack = Stack::start().await;
    stack.space.insert_fleet(&one_day()).await;
    let publisher = Publisher::new(stack.space.services.rabbitmq_url.clone().into(), stack.topology());
    let unknown = WakeUp { job_id: "01983c5e-7a01-7c3a-9d5e-0123456789ab".parse().expect("an id") };
    publisher.publish(unknown, None).await.expect("published");
    let job_id = stack.accepted(&one_day_request()).await;
    let (job, _) = stack.ended(&job_id).await;
    assert_eq!(job["state"], "FINISHED");
    let letters =
        stack.space.mongodb.database(&stack.space.jobs_database).collection::<Document>("deadLetters");
    let letter = letters.find_one(doc! {}).await.expect("an answer").expect("a dead letter");
    assert_eq!(letter.get_binary_generic("body").ok(), Some(&unknown.encode()));
    stack.stop().await;
}
