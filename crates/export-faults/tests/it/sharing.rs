//! Jobs that share a result, when the API that was to see to it is killed.

use export_faults::patterns::command;
use export_faults::{Deployment, Fleet, attempts_of, key_of, state_of};
use export_testkit::proxy::{Direction, Fault, Rule};

/// The leader has finished; the API dies just as it gives the followers its result, before or after MongoDB has heard of it.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_killed_while_a_result_is_shared() {
    for direction in [Direction::Requests, Direction::Answers] {
        let deployment = Deployment::start().await;
        let fleet = Fleet::odd(&deployment).await;
        let mut api = deployment.with("SHARE_RESULTS", "on").api().await;
        let leader = api.accepted(&fleet.body).await;
        let followers = [api.accepted(&fleet.body).await, api.accepted(&fleet.body).await];
        let sharing = command("update", "resultAt");
        let held = api.links.mongodb.add(Rule::request(sharing, Fault::Hold(direction)));
        let worker = deployment.worker().await;
        let led = fleet.exported(&deployment, &leader).await;
        match direction {
            Direction::Requests => held.until_seen(1).await,
            Direction::Answers => held.until_answered(1).await,
        }
        api.kill();
        if direction == Direction::Requests {
            assert_eq!(state_of(&deployment.job(&followers[0]).await), "NOT_STARTED");
        }
        // Whether new jobs share does not matter to those that do already.
        let next = deployment.with("SHARE_RESULTS", "off").api().await;
        for follower in &followers {
            let job = deployment.until_state(follower, "FINISHED").await;
            assert_eq!((attempts_of(&job), key_of(&job)), (0, key_of(&led)), "{job:#}");
            assert_eq!(job.get("expiresAt"), led.get("expiresAt"));
        }
        assert_eq!(deployment.space.object_keys().await, [key_of(&led)]);
        drop((next, worker));
        deployment.end().await;
    }
}
