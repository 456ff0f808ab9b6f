//! A stop that was asked for (SIGTERM) is no fault: the logs of API and worker have no warning, and
//! none of a driver (lapin, mongodb, the AWS SDK).

use std::time::Duration;

use export_faults::patterns::put_object;
use export_faults::{Deployment, Fleet, Service};
use export_testkit::http::send;
use export_testkit::proxy::{Direction, Fault, Rule};
use serde_json::Value;

/// Stops of each program. A driver's error comes only at some moments.
const STOPS: usize = 4;
/// Longest wait of the client whose request the stop interrupts.
const WAIT: &str = "wait=45";

/// Asks the program to stop; returns the lines that it wrote from then on which say that something
/// is wrong: warnings and errors, and everything that is no log line, such as a panic.
fn stopped(service: &mut Service) -> Vec<String> {
    let before = service.output().len();
    let asked_at = service.ask_to_end();
    let ended = service.until_ended(asked_at);
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert!(ended.output.contains("stopped"), "{}", ended.output);
    let lines = ended.output[before..].lines().filter(|line| {
        let line: Option<Value> = serde_json::from_str(line).ok();
        line.is_none_or(|line| ["WARN", "ERROR"].contains(&line["level"].as_str().unwrap_or("ERROR")))
    });
    lines.map(str::to_owned).collect()
}

/// Of lines as [`stopped`] returns them, those that the service itself did not write.
fn of_drivers(lines: Vec<String>) -> Vec<String> {
    let is_ours = |line: &String| {
        let line: Option<Value> = serde_json::from_str(line).ok();
        line.is_some_and(|line| line["target"].as_str().is_some_and(|target| target.starts_with("export_")))
    };
    lines.into_iter().filter(|line| !is_ours(line)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_program_stops_without_a_warning() {
    let deployment = Deployment::start().await;
    for _ in 0..STOPS {
        let mut api = deployment.api().await;
        let mut worker = deployment.worker().await;
        worker.until_written("waiting for jobs");
        let is_ready = || async { api.readiness().await.status == 200 };
        deployment.until_so("the API is ready", is_ready).await;
        assert_eq!(stopped(&mut worker), [""; 0]);
        assert_eq!(stopped(&mut api), [""; 0]);
    }
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_program_stops_without_an_error_of_a_driver() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let mut jobs = Vec::new();
    for _ in 0..STOPS {
        let mut api = deployment.api().await;
        let mut worker = deployment.with("SHUTDOWN_GRACE_SECONDS", "0").worker().await;
        let held = worker.links.s3.add(Rule::request(put_object(), Fault::Hold(Direction::Requests)));
        let job_id = api.accepted(&fleet.body).await;
        held.until_seen(1).await;
        // The worker gives its export back, and the API answers a client that waits for it.
        assert_eq!(of_drivers(stopped(&mut worker)), [""; 0]);
        let url = format!("{}/export/{job_id}", api.url());
        let client = send("GET", url, vec![("prefer".to_owned(), WAIT.to_owned())], Vec::new());
        let mut client = std::pin::pin!(client);
        // Long enough for the request to arrive on a busy machine.
        let early = tokio::time::timeout(Duration::from_secs(2), client.as_mut()).await;
        assert!(early.is_err(), "it waits: {early:?}");
        assert_eq!(of_drivers(stopped(&mut api)), [""; 0]);
        assert_eq!(client.await.expect("an answer").status, 200);
        jobs.push(job_id);
    }
    let running = (deployment.api().await, deployment.worker().await);
    for job_id in &jobs {
        fleet.exported(&deployment, job_id).await;
    }
    drop(running);
    deployment.end().await;
}
