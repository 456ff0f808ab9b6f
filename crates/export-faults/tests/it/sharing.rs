//! Jobs with the same request, when the worker that writes their result is killed.

use export_faults::patterns::put_object;
use export_faults::{Deployment, Fleet, key_of};
use export_testkit::oddities::one_day;
use export_testkit::proxy::{Direction, Fault, Rule};

/// Another job writes the result instead, for itself and for the others.
#[tokio::test(flavor = "multi_thread")]
async fn the_worker_that_writes_a_shared_result_is_killed() {
    let deployment = Deployment::start().await;
    // The vehicles by name: the result does not depend on a catalog, which is made meanwhile.
    let mut body = Fleet::odd(&deployment).await.body;
    let names: Vec<String> =
        one_day().vehicles.iter().map(|vehicle| deployment.space.vehicle(vehicle.suffix)).collect();
    body["vehicles"] = names.into();
    let api = deployment.hasty().with("SHARE_RESULTS", "on").api().await;
    let mut first = deployment.hasty().worker().await;
    let held = first.links.s3.add(Rule::request(put_object(), Fault::Hold(Direction::Requests)));
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(api.accepted(&body).await);
    }
    held.until_seen(1).await;
    first.kill();
    let second = deployment.hasty().worker().await;
    let mut keys = Vec::new();
    for id in &ids {
        keys.push(key_of(&deployment.until_state(id, "FINISHED").await));
    }
    keys.dedup();
    assert_eq!(deployment.space.object_keys().await, keys);
    assert_eq!(keys.len(), 1);
    // A later request shares it, too.
    let late = api.accepted(&body).await;
    assert_eq!(key_of(&deployment.until_state(&late, "FINISHED").await), keys[0]);
    drop((api, second));
    deployment.end().await;
}
