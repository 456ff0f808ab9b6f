//! The broker requeues a delivery of a worker that is still exporting.

use export_faults::patterns::close_channel;
use export_faults::{Deployment, Fleet, state_of};
use export_testkit::own::OwnRabbitmq;
use export_testkit::proxy::{Direction, Fault, Rule};
use export_testkit::services::Services;

/// Bytes per second to S3: the export's upload takes well over the broker's five seconds.
const SLOW: u64 = 60_000;

#[tokio::test(flavor = "multi_thread")]
async fn an_export_takes_longer_than_the_broker_waits() {
    let rabbitmq =
        OwnRabbitmq::start_with(&["consumer_timeout = 5000"], &[("channel_tick_interval", "1000")]);
    let services = Services { rabbitmq_url: rabbitmq.url(), ..Services::from_environment() };
    let deployment = Deployment::on(services).await;
    let fleet = Fleet::heavy(&deployment, 2, 600).await;
    let links = deployment.links().await;
    links.s3.add(Rule::always(Fault::Throttle(Direction::Requests, SLOW)));
    let taken_away = links.rabbitmq.add(Rule::answer(close_channel(), Fault::None));
    let api = deployment.api().await;
    let mut slow = deployment.over(links).worker().await;
    let job_id = api.accepted(&fleet.body).await;
    let started = deployment.until_state(&job_id, "STARTED").await;
    let owner = started.get_str("owner").expect("an owner");
    // Gets the message while the first worker still exports, and has nothing to do for it.
    let mut other = deployment.worker().await;
    taken_away.until_seen(1).await;
    let held = deployment.job(&job_id).await;
    assert_eq!((state_of(&held), held.get_str("owner").expect("an owner")), ("STARTED", owner));

    let job = fleet.exported(&deployment, &job_id).await;
    assert_eq!(job.get_i64("attempts").expect("a count"), 1, "{job:#}");
    assert_eq!(deployment.space.object_keys().await.len(), 1);
    // Again with the worker whose channel was closed: it consumes again.
    other.stop();
    slow.links.s3.restore();
    let job_id = api.accepted(&fleet.body).await;
    fleet.exported(&deployment, &job_id).await;
    slow.stop();
    drop((api, slow, other));
    deployment.end().await;
}
