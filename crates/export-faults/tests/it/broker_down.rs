//! No broker, or an unresponsive one: requests are nevertheless accepted, and their jobs published
//! later.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bson::Document;
use export_faults::patterns::publish;
use export_faults::{Answer, Api, Deployment, Fleet, measured, state_of};
use export_testkit::proxy::{Direction, Fault, Rule};
use serde_json::json;

/// Longest wait of a client.
const ACCEPTED: Duration = Duration::from_secs(6);
/// Time from the broker's return to the next message.
const DELIVERED: Duration = Duration::from_secs(15);
/// How long the broker is down while many clients post.
const OUTAGE: Duration = Duration::from_mins(1);
/// Maximum time in which one worker exports the jobs of the outage, a few hundred.
const EXPORTED: Duration = Duration::from_mins(6);
/// Number of concurrent clients, and the delay between two requests of each.
const CLIENTS: usize = 8;
const PAUSE: Duration = Duration::from_secs(1);

fn id_of_accepted(answer: &Answer) -> String {
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
    assert!(answer.took <= ACCEPTED, "{:?}", answer.took);
    answer.json()["_id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_is_down_at_post() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.api().await;
    let worker = deployment.worker().await;
    api.links.rabbitmq.cut();
    let job_id = id_of_accepted(&api.post(&fleet.body).await);
    let job = deployment.job(&job_id).await;
    assert_eq!(state_of(&job), "NOT_STARTED");
    assert!(job.get_datetime("publishedAt").is_err(), "{job:#}");
    api.links.rabbitmq.restore();
    let job = fleet.exported(&deployment, &job_id).await;
    assert_eq!(job.get_i64("attempts").expect("a count"), 1, "{job:#}");
    drop((api, worker));
    deployment.end().await;
}

/// The broker accepts connections and sends nothing, from the start.
#[tokio::test(flavor = "multi_thread")]
async fn the_broker_is_silent_from_the_start() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let links = deployment.links().await;
    let silence = links.rabbitmq.add(Rule::always(Fault::Silence));
    let api = deployment.over(links).api().await;
    accepted_and_delivered_later(deployment, &fleet, api, || silence.lift()).await;
}

/// The broker stops answering on a connection that has worked before.
#[tokio::test(flavor = "multi_thread")]
async fn the_broker_falls_silent() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.api().await;
    let first = api.accepted(&fleet.body).await;
    deployment.until(&first, |job| job.get_datetime("publishedAt").is_ok()).await;
    let silence = api.links.rabbitmq.add(Rule::always(Fault::Silence));
    accepted_and_delivered_later(deployment, &fleet, api, || silence.lift()).await;
}

async fn accepted_and_delivered_later(
    deployment: Deployment,
    fleet: &Fleet,
    api: Api,
    recover: impl FnOnce(),
) {
    // Several at a time: no request may have to wait for the timeout of another.
    let (first, second, third) =
        tokio::join!(api.post(&fleet.body), api.post(&fleet.body), api.post(&fleet.body));
    let accepted = [first, second, third].map(|answer| id_of_accepted(&answer));
    recover();
    let worker = deployment.worker().await;
    for job_id in &accepted {
        fleet.exported(&deployment, job_id).await;
    }
    let jobs = deployment.all_jobs().await;
    for job in &jobs {
        fleet.exported(&deployment, job.get_str("_id").expect("an id")).await;
    }
    assert_eq!(deployment.space.object_keys().await.len(), jobs.len());
    drop((api, worker));
    deployment.end().await;
}

/// The message arrives, its confirm does not: it is sent again after the timeout, and exported
/// once.
#[tokio::test(flavor = "multi_thread")]
async fn a_confirm_never_arrives() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.api().await;
    let held = api.links.rabbitmq.add(Rule::request(publish(), Fault::Hold(Direction::Answers)).times(1));
    let posted_at = Instant::now();
    let job_id = id_of_accepted(&api.post(&fleet.body).await);
    held.until_answered(1).await;
    // Both messages are there before the worker.
    deployment.until(&job_id, |job| job.get_datetime("publishedAt").is_ok()).await;
    assert!(
        posted_at.elapsed() >= Duration::from_secs(4),
        "it waited for the confirm: {:?}",
        posted_at.elapsed()
    );
    let queue = deployment.broker.queue(&deployment.broker.jobs_queue()).await.expect("the queue");
    assert!(queue.ready >= 2, "{queue:?}");
    let worker = deployment.worker().await;
    let job = fleet.exported(&deployment, &job_id).await;
    assert_eq!(job.get_i64("attempts").expect("a count"), 1);
    assert_eq!(deployment.space.object_keys().await.len(), 1);
    drop((api, worker));
    deployment.end().await;
}

/// A minute without a broker, half of it with refused connections and half of it unresponsive,
/// while many clients post.
#[tokio::test(flavor = "multi_thread")]
async fn a_minute_without_a_broker() {
    let deployment = Deployment::start().await;
    let api = deployment.api().await;
    let worker = deployment.worker().await;
    let body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" });
    api.links.rabbitmq.cut();
    let is_down = AtomicBool::new(true);
    let client = || async {
        let mut answers = Vec::new();
        while is_down.load(Ordering::Relaxed) {
            answers.push(api.post(&body).await);
            tokio::time::sleep(PAUSE).await;
        }
        answers
    };
    let clients = futures_util::future::join_all((0..CLIENTS).map(|_| client()));
    // The length of the outage is what is tested: requests are accepted throughout.
    let outage = async {
        tokio::time::sleep(OUTAGE / 2).await;
        let silence = api.links.rabbitmq.add(Rule::always(Fault::Silence));
        api.links.rabbitmq.restore_connections();
        tokio::time::sleep(OUTAGE / 2).await;
        silence.lift();
        is_down.store(false, Ordering::Relaxed);
        Instant::now()
    };
    let (answers, recovered_at) = tokio::join!(clients, outage);
    let answers: Vec<Answer> = answers.into_iter().flatten().collect();
    let mut times: Vec<Duration> = answers.iter().map(|answer| answer.took).collect();
    times.sort();
    let (count, p99, longest) = (times.len(), times[times.len() * 99 / 100], times[times.len() - 1]);
    let ids: Vec<String> = answers.iter().map(id_of_accepted).collect();

    // A running job was delivered, whether or not it is marked as published yet.
    let is_delivered =
        |job: &Document| state_of(job) != "NOT_STARTED" || job.get_datetime("publishedAt").is_ok();
    deployment
        .until_so("one is delivered", || async { deployment.all_jobs().await.iter().any(is_delivered) })
        .await;
    let delivered = recovered_at.elapsed();
    // They were released few at a time, as the worker completes them. The first ones are bulk jobs,
    // which all others overtake.
    let exported = async {
        for job_id in &ids {
            while state_of(&deployment.job(job_id).await) != "FINISHED" {
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    tokio::time::timeout(EXPORTED, exported).await.expect("all jobs are exported");
    measured(&format!(
        "{count} requests during {OUTAGE:?} without a broker: p99 {p99:?}, longest {longest:?}; the first delivered {delivered:?} after it, all exported {:?} after it",
        recovered_at.elapsed()
    ));
    assert!(delivered <= DELIVERED, "{delivered:?}");
    assert_eq!(deployment.all_jobs().await.len(), ids.len());
    assert_eq!(deployment.space.object_keys().await.len(), ids.len());
    drop((api, worker));
    deployment.end().await;
}
