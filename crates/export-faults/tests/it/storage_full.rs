//! No bucket, a full one, or one that refuses the result.

use export_faults::patterns::{complete_upload, put_object, upload_part};
use export_faults::{Deployment, Fleet, attempts_of, error_of, state_of};
use export_testkit::own::OwnS3;
use export_testkit::proxy::{Direction, Fault, HttpAnswer, Rule};
use export_testkit::services::Services;

/// The sizes of a disk, of a file on it, and of a result that does not fit beside the file. Parts
/// and the object made of them are on the disk at the same time.
const DISK_BYTES: u64 = 24 << 20;
const FILLER_BYTES: usize = 16 << 20;
const RESULT_MIB: u32 = 7;
/// Key of that file.
const FILLER: &str = "filler";

#[tokio::test(flavor = "multi_thread")]
async fn e1_the_bucket_is_deleted_and_recreated() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let api = deployment.hasty().with("MAX_ATTEMPTS", "1").api().await;
    let worker = deployment.hasty().worker().await;
    let held = worker.links.s3.add(Rule::request(put_object(), Fault::Hold(Direction::Requests)).times(1));
    let job_id = api.accepted(&fleet.body).await;
    held.until_seen(1).await;
    delete_bucket(&deployment).await;
    held.lift();
    let failed = deployment.until(&job_id, |job| error_of(job) == "result_storage_unavailable").await;
    assert!(matches!(state_of(&failed), "NOT_STARTED" | "STARTED"), "{failed:#}");
    make_bucket(&deployment).await;
    let job = fleet.exported(&deployment, &job_id).await;
    assert_eq!(attempts_of(&job), 1, "an outage uses no attempt: {job:#}");
    drop((api, worker));
    deployment.end().await;
}

async fn delete_bucket(deployment: &Deployment) {
    let space = &deployment.space;
    space.s3.delete_bucket().bucket(&space.bucket).send().await.expect("the bucket is deleted");
}

async fn make_bucket(deployment: &Deployment) {
    let space = &deployment.space;
    space.s3.create_bucket().bucket(&space.bucket).send().await.expect("the bucket is made");
}

#[tokio::test(flavor = "multi_thread")]
async fn e1_the_disk_is_full_until_room_is_made() {
    let (s3, deployment) = on_a_full_disk().await;
    let fleet = Fleet::bulky(&deployment, RESULT_MIB).await;
    let api = deployment.hasty().api().await;
    let worker = deployment.hasty().worker().await;
    let job_id = api.accepted(&fleet.body).await;
    let failed = deployment.until(&job_id, |job| error_of(job) == "result_storage_unavailable").await;
    assert!(failed.get_str("exportUri").is_err(), "{failed:#}");
    make_room(&deployment).await;
    let job = fleet.exported(&deployment, &job_id).await;
    assert_eq!(attempts_of(&job), 1, "an outage uses no attempt: {job:#}");
    drop((api, worker));
    deployment.end().await;
    drop(s3);
}

/// A server that refuses the result's parts or its size will refuse them again.
#[tokio::test(flavor = "multi_thread")]
async fn c12_refused_content_is_not_tried_again() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::bulky(&deployment, RESULT_MIB).await;
    let api = deployment.hasty().api().await;
    let worker = deployment.hasty().worker().await;
    for (request, status, code) in [
        (complete_upload(), 400, "InvalidPart"),
        (complete_upload(), 200, "InvalidPart"),
        (upload_part(), 400, "EntityTooLarge"),
        (upload_part(), 413, "no code of S3's"),
    ] {
        let s3 = &worker.links.s3;
        let fault = if code.contains(' ') {
            Fault::Answer(HttpAnswer {
                status,
                headers: Vec::new(),
                body: "<html>too large</html>".to_owned(),
            })
        } else {
            Fault::s3_error(status, code)
        };
        s3.add(Rule::request(request, fault));
        let job_id = api.accepted(&fleet.body).await;
        let job = deployment.until_state(&job_id, "FAILED").await;
        assert_eq!((error_of(&job), attempts_of(&job)), ("result_refused", 1), "{status} {code}: {job:#}");
        let message =
            job.get_document("error").and_then(|error| error.get_str("message")).expect("a message");
        let expected = if status == 413 { "EntityTooLarge" } else { code };
        assert!(message.contains(expected) && !message.contains("asked for by a test"), "{message}");
        s3.restore();
    }
    deployment.until_queues_are_empty().await;
    assert_eq!(deployment.space.object_keys().await, Vec::<String>::new());
    drop((api, worker));
    deployment.end().await;
}

/// Three parts, and the last one smaller.
#[tokio::test(flavor = "multi_thread")]
async fn c12_a_server_that_demands_equal_parts_gets_them() {
    let (s3, deployment) = on(OwnS3::demanding_equal_parts()).await;
    let fleet = Fleet::bulky(&deployment, 14).await;
    let api = deployment.api().await;
    let worker = deployment.worker().await;
    let parts = worker.links.s3.add(Rule::request(upload_part(), Fault::None));
    let job_id = api.accepted(&fleet.body).await;
    let job = fleet.exported(&deployment, &job_id).await;
    assert_eq!((attempts_of(&job), parts.answered()), (1, 3), "{job:#}");
    drop((api, worker));
    deployment.end().await;
    drop(s3);
}

async fn on_a_full_disk() -> (OwnS3, Deployment) {
    let (s3, deployment) = on(OwnS3::on_disk_of(DISK_BYTES)).await;
    let space = &deployment.space;
    let filler = vec![0; FILLER_BYTES].into();
    let stored = space.s3.put_object().bucket(&space.bucket).key(FILLER).body(filler).send().await;
    stored.expect("the disk is filled");
    (s3, deployment)
}

/// A deployment on a server of its own.
async fn on(s3: OwnS3) -> (OwnS3, Deployment) {
    let (access_key_id, secret_access_key) = s3.credentials();
    let services = Services {
        s3_endpoint_url: s3.endpoint_url(),
        s3_access_key_id: access_key_id.to_owned(),
        s3_secret_access_key: secret_access_key.to_owned(),
        ..Services::from_environment()
    };
    let deployment = Deployment::on(services).await;
    (s3, deployment)
}

async fn make_room(deployment: &Deployment) {
    let space = &deployment.space;
    let deleted = space.s3.delete_object().bucket(&space.bucket).key(FILLER).send().await;
    deleted.expect("room is made");
}
