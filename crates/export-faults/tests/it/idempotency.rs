//! Clients that send the same request at the same time.

use std::collections::BTreeSet;

use export_faults::{Answer, Api, Deployment, Fleet};
use serde_json::{Value, json};

const CLIENTS: usize = 20;

async fn post(api: &Api, key: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    let answer = api.request("POST", "/export", &headers, body.to_string().into_bytes()).await;
    answer.unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_clients_with_one_key() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    // Two APIs, because one process could order its own requests.
    let apis = [deployment.api().await, deployment.api().await];
    let worker = deployment.worker().await;
    let posts = (0..CLIENTS).map(|client| post(&apis[client % 2], "one", &fleet.body));
    let answers = futures_util::future::join_all(posts).await;
    let ids: BTreeSet<String> = answers
        .iter()
        .map(|answer| {
            assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
            answer.json()["_id"].as_str().expect("an id").to_owned()
        })
        .collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(deployment.all_jobs().await.len(), 1);
    let job_id = ids.first().expect("an id");
    let finished = fleet.exported(&deployment, job_id).await;
    // Also afterwards, and not for another request.
    let again = post(&apis[0], "one", &fleet.body).await;
    assert_eq!((again.status, again.json()["_id"].as_str()), (202, Some(job_id.as_str())));
    let other = json!({ "startDate": "2018-11-30", "endDate": "2018-12-02" });
    assert_eq!(post(&apis[1], "one", &other).await.status, 422);
    // Still one job, and it has not changed.
    assert_eq!(deployment.all_jobs().await.len(), 1);
    assert_eq!(deployment.job(job_id).await, finished);
    assert_eq!(deployment.space.object_keys().await.len(), 1);
    drop((apis, worker));
    deployment.end().await;
}
