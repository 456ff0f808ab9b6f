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

/// A stack whose workers reach S3 through a proxy that can be cut.
async fn stack_with_fragile_storage(max_attempts: u32) -> (Stack, Proxy) {
    let mut stack = Stack::start_api_with(TestSpace::create().await, max_attempts).await;
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
    (stack, proxy)
}

/// S3 fails: each attempt fails and is counted in the job, the delivery is nacked and comes back,
/// and when no attempts are left the job is FAILED with its last error.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_tried_again_and_then_given_up() {
    let (stack, proxy) = stack_with_fragile_storage(3).await;
    proxy.cut();
    let job_id = stack.accepted(&one_day_request()).await;
    let (job, _) = stack.ended(&job_id).await;
    assert_eq!(job["state"], "FAILED");
    assert_eq!(job["attempts"], 3);
    assert_eq!(job["error"]["code"], "result_storage_unavailable");
    assert!(job["exportUri"].is_null(), "{job:#}");
    assert_eq!(stack.space.object_keys().await.len(), 1, "the first job's object only");
    stack.stop().await;
}

/// S3 comes back before the attempts are used up: the job finishes, and its error is removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_outlives_a_passing_failure() {
    let (stack, proxy) = stack_with_fragile_storage(1_000).await;
    proxy.cut();
    let job_id = stack.accepted(&one_day_request()).await;
    let (failing, _) = stack.until(&job_id, |job| !job["error"].is_null()).await;
    assert!(failing["exportUri"].is_null(), "{failing:#}");
    proxy.restore();
    let (job, _) = stack.ended(&job_id).await;
    assert_eq!((&job["state"], job["error"].is_null()), (&json!("FINISHED"), true), "{job:#}");
    assert!(job["attempts"].as_u64().is_some_and(|attempts| attempts > 1), "{job:#}");
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
