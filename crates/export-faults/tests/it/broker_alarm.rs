//! The broker has an alarm: its connections stay open, and it reads no message.

use std::time::{Duration, Instant};

use export_faults::{Deployment, Fleet, measured, state_of};
use export_testkit::own::OwnRabbitmq;
use export_testkit::services::Services;

/// The share of the machine's memory from which on the broker has an alarm: at once, and never.
const ALARM: &str = "0";
const NO_ALARM: &str = "0.9";
/// Longest wait for the readiness, which is checked every five seconds.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(500);
/// What the log says of jobs that cannot be published, and how often it must say it: before, each
/// time cost a connection.
const FAILED: &str = "cannot publish to RabbitMQ";
const FAILURES: usize = 3;

/// The jobs of an alarm are accepted, and exported after it. Log and readiness say what is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn d9_a_blocked_broker_is_named_in_log_and_readiness() {
    let rabbitmq = OwnRabbitmq::start(&[]);
    let services = Services { rabbitmq_url: rabbitmq.url(), ..Services::from_environment() };
    let deployment = Deployment::on(services).await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.api().await;
    let worker = deployment.worker().await;
    let before = api.accepted(&fleet.body).await;
    fleet.exported(&deployment, &before).await;

    rabbitmq.control(&["set_vm_memory_high_watermark", ALARM]);
    // The broker tells a connection of the alarm when it publishes, and still takes that message.
    let mut waiting = Vec::new();
    let blocked_by = Instant::now() + PATIENCE;
    loop {
        waiting.push(api.accepted(&fleet.body).await);
        let readiness = api.readiness().await;
        let body = readiness.json();
        if readiness.status == 503 && body["reachable"]["rabbitmq"] == false {
            let reason = body["reasons"]["rabbitmq"].as_str().expect("a reason");
            assert!(reason.contains("connection.blocked") && reason.contains("memory"), "{body}");
            assert_eq!(body["reachable"]["mongodb"], true, "{body}");
            break;
        }
        assert!(Instant::now() < blocked_by, "the readiness does not say it: {body}");
        tokio::time::sleep(PAUSE).await;
    }
    // The connection is kept: each new one would add a thread that waits for the end of the alarm.
    // One more is the relay's, which connects when it has something to publish.
    let connections = api.links.rabbitmq.connections() + 1;
    for _ in 0..3 {
        waiting.push(api.accepted(&fleet.body).await);
    }
    let failed = || api.output().matches(FAILED).count();
    deployment.until_so("publishing has failed some times", || async { failed() >= FAILURES }).await;
    let last = waiting.last().expect("one");
    assert_eq!(state_of(&deployment.job(last).await), "NOT_STARTED");
    assert!(api.links.rabbitmq.connections() <= connections, "{}", api.output());
    for failure in api.output().lines().filter(|line| line.contains(FAILED)) {
        assert!(failure.contains("connection.blocked") && !failure.contains("timeout"), "{failure}");
    }

    rabbitmq.control(&["set_vm_memory_high_watermark", NO_ALARM]);
    let ended_at = Instant::now();
    for job_id in &waiting {
        let job = fleet.exported(&deployment, job_id).await;
        assert_eq!(job.get_i64("attempts").expect("a count"), 1, "{job:#}");
    }
    measured(&format!("{} jobs exported {:?} after the alarm", waiting.len(), ended_at.elapsed()));
    deployment.until_so("ready again", || async { api.readiness().await.status == 200 }).await;
    drop((api, worker));
    deployment.end().await;
}
