//! The bucket itself: an error if it is missing, created by provisioning.

use std::net::TcpListener;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use export_s3::{ResultBucket, S3Error, S3Server};
use export_testkit::isolation::TestSpace;

use crate::results::{bucket_with, settings, store};

#[tokio::test]
async fn a_missing_bucket_is_an_error_and_provisioning_creates_it() {
    let space = TestSpace::create().await;
    let name = format!("{}-new", space.bucket);
    let bucket = bucket_with(&space, settings(&name)).await;
    let outcome = bucket.check().await;
    assert!(matches!(&outcome, Err(S3Error::NoBucket(missing)) if *missing == name), "{outcome:?}");

    bucket.provision(NonZeroU32::MIN).await.expect("provisioned");
    bucket.check().await.expect("there");
    store(&bucket, "exports/kept.zip", b"kept".to_vec()).await.expect("stored");
    bucket.provision(NonZeroU32::MIN).await.expect("provisioned again");
    let object =
        space.s3.get_object().bucket(&name).key("exports/kept.zip").send().await.expect("still there");
    assert_eq!(object.body.collect().await.expect("its content").to_vec(), b"kept");

    space.s3.delete_object().bucket(&name).key("exports/kept.zip").send().await.expect("deleted");
    space.s3.delete_bucket().bucket(&name).send().await.expect("deleted");
    space.cleanup().await;
}

#[tokio::test]
async fn an_unreachable_server_is_an_error_in_time() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port()
    };
    let server = S3Server {
        endpoint_url: format!("http://127.0.0.1:{port}"),
        access_key_id: "id".to_owned(),
        secret_access_key: "hunter2".to_owned().into(),
    };
    let bucket = ResultBucket::at(&server, settings("exports")).await.expect("preparing does not wait");
    let asked_at = Instant::now();
    let error = bucket.check().await.expect_err("there is no server");
    assert!(matches!(&error, S3Error::Sdk { .. }), "{error:?}");
    assert!(asked_at.elapsed() < Duration::from_secs(20), "{:?}", asked_at.elapsed());
    assert!(!format!("{error:?} {bucket:?}").contains("hunter2"));
}
