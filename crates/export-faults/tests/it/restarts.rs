//! The broker is restarted repeatedly while jobs are posted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use export_faults::{Deployment, measured, state_of};
use export_testkit::own::OwnRabbitmq;
use export_testkit::services::Services;
use serde_json::json;

const RESTARTS: usize = 20;
/// One restart in this many is a clean shutdown.
const ORDERLY: usize = 5;
/// Longest wait of a client.
const ACCEPTED: Duration = Duration::from_secs(6);
const PAUSE: Duration = Duration::from_millis(250);
/// Time in which one worker exports all jobs, a thousand on a busy machine, after the last restart.
/// The first ones are bulk jobs, which all others overtake.
const EXPORTED: Duration = Duration::from_mins(10);

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_is_restarted_twenty_times() {
    let mut rabbitmq = OwnRabbitmq::start(&[]);
    let services = Services { rabbitmq_url: rabbitmq.url(), ..Services::from_environment() };
    let deployment = Deployment::on(services).await;
    let api = deployment.api().await;
    let worker = deployment.worker().await;
    let body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" });
    let is_over = AtomicBool::new(false);
    let posts = async {
        let mut answers = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            answers.push(api.post(&body).await);
            tokio::time::sleep(PAUSE).await;
        }
        answers
    };
    let is_over = &is_over;
    let restarts = async move {
        let begun_at = Instant::now();
        let rabbitmq = tokio::task::spawn_blocking(move || {
            for restart in 0..RESTARTS {
                if restart % ORDERLY == ORDERLY - 1 {
                    rabbitmq.stop();
                } else {
                    rabbitmq.kill();
                }
                rabbitmq.start_again();
            }
            rabbitmq
        });
        let rabbitmq = rabbitmq.await.expect("restarted");
        is_over.store(true, Ordering::Relaxed);
        (rabbitmq, begun_at.elapsed())
    };
    let (answers, (rabbitmq, took)) = tokio::join!(posts, restarts);
    let recovered_at = Instant::now();
    let longest = answers.iter().map(|answer| answer.took).max().expect("an answer");
    let exported = async {
        for answer in &answers {
            assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
            let job_id = answer.json()["_id"].as_str().expect("an id").to_owned();
            while state_of(&deployment.job(&job_id).await) != "FINISHED" {
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    tokio::time::timeout(EXPORTED, exported).await.expect("all jobs are exported");
    measured(&format!(
        "{RESTARTS} restarts in {took:?}: {} requests, the longest took {longest:?}; all exported {:?} after the last one",
        answers.len(),
        recovered_at.elapsed()
    ));
    assert!(longest <= ACCEPTED, "{longest:?}");
    assert_eq!(deployment.all_jobs().await.len(), answers.len());
    assert_eq!(deployment.space.object_keys().await.len(), answers.len());
    drop((api, worker));
    deployment.end().await;
    drop(rabbitmq);
}
