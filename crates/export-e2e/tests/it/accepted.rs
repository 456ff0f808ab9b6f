//! A job from a client's view, from the answer to its POST to its result.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use export_e2e::Stack;
use export_testkit::oddities::one_day;
use export_testkit::proxy::Proxy;
use serde_json::json;

/// Longest wait for a job to be marked as published.
const NOTED: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_job_from_accepted_to_finished() {
    let mut stack = Stack::start_api(export_testkit::isolation::TestSpace::create().await).await;
    stack.provision().await;
    let fleet = one_day();
    stack.space.insert_fleet(&fleet).await;

    let answer = stack.post(&json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" })).await;
    assert_eq!(answer.status, 202);
    let job = answer.json();
    let job_id = job["_id"].as_str().expect("an id").to_owned();
    assert_eq!(answer.header("location"), Some(format!("/export/{job_id}").as_str()));
    assert!(answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
    assert!(answer.header("x-request-id").is_some());
    assert_eq!(job["state"], "NOT_STARTED");
    assert_eq!(
        job["range"],
        json!({ "from": "2018-11-30T00:00:00Z", "to": "2018-12-01T00:00:00Z",
            "text": "from 2018-11-30T00:00:00Z up to, not including, 2018-12-01T00:00:00Z, 24 h" })
    );
    assert_eq!((job["exportUri"].is_null(), job["downloadUrl"].is_null()), (true, true));

    // Durable and published: the broker has confirmed the message.
    let jobs = stack.space.mongodb.database(&stack.space.jobs_database).collection::<Document>("jobs");
    let stored = jobs.find_one(doc! { "_id": &job_id }).await.expect("an answer").expect("the job");
    assert_eq!(stored.get_str("state").ok(), Some("NOT_STARTED"));
    assert!(stored.get_datetime("createdAt").is_ok());
    // The job is marked as published soon afterwards.
    let is_noted = doc! { "_id": &job_id, "publishedAt": { "$type": "date" } };
    let asked_at = Instant::now();
    while jobs.find_one(is_noted.clone()).await.expect("an answer").is_none() {
        assert!(asked_at.elapsed() < NOTED, "the job is never marked as published");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    // There is nothing to download without a result.
    let early = stack.get(&format!("/export/{job_id}/download")).await;
    assert_eq!((early.status, early.header("content-type")), (409, Some("application/problem+json")));

    stack.start_worker().await;
    let (job, states) = stack.ended(&job_id).await;
    assert_eq!(job["state"], "FINISHED", "{job:#}");
    assert_eq!(states.first().map(String::as_str), Some("NOT_STARTED"));
    let uri = job["exportUri"].as_str().expect("a URI");
    let bucket = &stack.space.bucket;
    assert!(
        uri.starts_with(&format!("s3://{bucket}/exports/default/{job_id}/1-"))
            && uri.strip_suffix(".zip").is_some(),
        "{uri}"
    );
    assert!(job["downloadUrl"].as_str().is_some_and(|url| url.starts_with("http")), "{job:#}");
    assert_eq!(job["attempts"], 1);
    assert_eq!(job["progress"]["percent"], 100.0);
    assert_eq!(job["progress"]["vehiclesDone"], fleet.vehicles.len());
    assert!(job["error"].is_null() && job["finishedAt"].is_string() && job["startedAt"].is_string());
    assert_eq!(job["stats"]["sha256"].as_str().map(str::len), Some(64));

    assert_eq!(stack.space.object_keys().await.len(), 1, "one attempt, one object");
    stack.stop().await;
}

/// A message that arrives again after the job has ended changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_finished_job_is_not_exported_again() {
    use export_amqp::Publisher;
    use export_core::message::WakeUp;

    let stack = Stack::start().await;
    stack.space.insert_fleet(&one_day()).await;
    let job_id = stack.accepted(&json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" })).await;
    let (first, _) = stack.ended(&job_id).await;

    let publisher = Publisher::new(stack.space.services.rabbitmq_url.clone().into(), stack.topology());
    let message = WakeUp { job_id: job_id.parse().expect("an id") };
    for _ in 0..10 {
        publisher.publish(message, None).await.expect("published");
    }
    // A later job ends after them: by then they were handled, two at a time and in order.
    let later = stack.accepted(&json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" })).await;
    stack.ended(&later).await;
    let again = stack.get(&format!("/export/{job_id}")).await.json();
    assert_eq!((&again["exportUri"], &again["attempts"]), (&first["exportUri"], &json!(1)));
    assert_eq!(stack.space.object_keys().await.len(), 2, "one object per job");
    stack.stop().await;
}

/// API and worker are started before the queues exist, and the worker before S3 answers: they wait,
/// and then work.
#[tokio::test(flavor = "multi_thread")]
async fn services_that_come_late() {
    let mut stack = Stack::start_api(export_testkit::isolation::TestSpace::create().await).await;
    let target =
        stack.space.services.s3_endpoint_url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let s3 = Proxy::start(target).await;
    s3.cut();
    stack.s3_endpoint_of_workers = Some(format!("http://{}", s3.address()));
    stack.start_worker().await;
    stack.space.insert_fleet(&one_day()).await;
    // The exchange does not exist yet: the job is nevertheless accepted, and published later by the
    // sweeper.
    let job_id = stack.accepted(&json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" })).await;
    stack.provision().await;
    s3.restore();
    let (job, _) = stack.ended(&job_id).await;
    assert_eq!((&job["state"], &job["attempts"]), (&json!("FINISHED"), &json!(1)), "{job:#}");
    stack.stop().await;
}

/// The forms are those of `export_core::range`, whose tests list them all: here, that the API uses
/// its parser and answers with its words.
#[tokio::test(flavor = "multi_thread")]
async fn b4_dates_zones_and_names_are_read_by_the_one_parser() {
    let stack = Stack::start_api(export_testkit::isolation::TestSpace::create().await).await;
    let range = |from: &str, to: &str| json!({ "startDate": from, "endDate": to, "timezone": " europe/amsterdam", "parameters": [" soc", "odo "] });
    let ends = [
        ("2018-11-30T06:00:00.123456+00:00", "2018-11-30 08:00+0100"),
        ("2018-11-30T07:00:00,1231", "2018-11-30T07Z"),
    ];
    let accepted = stack.post(&range(ends[0].0, ends[0].1)).await;
    assert_eq!(accepted.status, 202, "{:#}", accepted.json());
    let job = accepted.json();
    assert_eq!((&job["timezone"], &job["parameters"]), (&json!("Europe/Amsterdam"), &json!(["soc", "odo"])));
    let text = "from 2018-11-30T07:00:00.124+01:00 up to, not including, 2018-11-30T08:00:00+01:00, 59 min 59 s 876 ms";
    assert_eq!(job["range"]["text"], text);
    assert_eq!(job["startDate"], ends[0].0, "as written");

    let refused = stack.post(&range(ends[1].0, ends[1].1)).await;
    let expected = "is not written as expected; did you mean 2018-11-30T07:00:00Z?";
    assert_eq!(refused.status, 422);
    assert_eq!(refused.json()["errors"], json!([{ "pointer": "/endDate", "detail": expected }]));
    let mut body = range("2018-11-30", "2018-11-30");
    body["timezone"] = json!("W. Europe Standard Time");
    let refused = stack.post(&body).await.json();
    let details: Vec<&str> = refused["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|error| error["detail"].as_str())
        .collect();
    assert_eq!(
        details,
        [
            "is a time zone of Windows, not of IANA; did you mean Europe/Berlin?",
            "is not part of the range; for all of 2018-11-30, give 2018-12-01",
        ]
    );
    stack.stop().await;
}
