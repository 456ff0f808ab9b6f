//! The patterns of the protocol's steps match these steps alone.

use export_faults::patterns::{ack, commit, complete_upload, create_upload, finish_result};
use export_faults::{Deployment, Fleet, attempts_of};
use export_testkit::proxy::{Fault, Pattern, Rule};

/// If a pattern matched another request, a test that holds a step would hold that request instead,
/// and could pass without the situation that it is about.
#[tokio::test(flavor = "multi_thread")]
async fn each_step_of_an_export_is_matched_once() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::bulky(&deployment, 6).await;
    let api = deployment.api().await;
    let worker = deployment.worker().await;
    let on_mongodb = [("finish of the result", finish_result()), ("commit", commit())];
    let on_mongodb = on_mongodb.map(|(step, pattern)| (step, worker.links.mongodb.add(seen(pattern))));
    let on_s3 = [("begin of the upload", create_upload()), ("end of the upload", complete_upload())];
    let on_s3 = on_s3.map(|(step, pattern)| (step, worker.links.s3.add(seen(pattern))));
    let acked = worker.links.rabbitmq.add(seen(ack()));
    let job_id = api.accepted(&fleet.body).await;
    let job = fleet.exported(&deployment, &job_id).await;
    assert_eq!(attempts_of(&job), 1, "{job:#}");
    acked.until_seen(1).await;
    for (step, watch) in on_mongodb.into_iter().chain(on_s3).chain([("ack", acked)]) {
        assert_eq!(watch.seen(), 1, "{step}");
    }
    drop((api, worker));
    deployment.end().await;
}

/// Counts the requests that match.
fn seen(pattern: Pattern) -> Rule {
    Rule::request(pattern, Fault::None)
}
