//! Download links.

use export_core::Tenant;
use export_s3::{ResultAddress, ResultBucket, S3Error};
use export_settings::s3::S3Settings;
use export_testkit::http::send;
use export_testkit::isolation::TestSpace;

use crate::results::{bucket, bucket_with, settings, store};

const JOB: &str = "01983c5e-7a01-7c3a-9d5e-0123456789ab";
const KEY: &str = "exports/default/01983c5e-7a01-7c3a-9d5e-0123456789ab/1-nonce.zip";

/// The address of the result of `JOB`, if the URI is one.
fn address(bucket: &ResultBucket, uri: &str) -> Option<ResultAddress> {
    bucket.address_of(uri, &Tenant::default_tenant(), JOB.parse().expect("an id"))
}

/// Follows a link without credentials, as a browser would; returns the status, the body and the `Content-Disposition`.
async fn fetch(link: String) -> (u16, Vec<u8>, String) {
    let answer = send("GET", link, Vec::new(), Vec::new()).await.expect("an answer");
    let disposition = answer.header("content-disposition").unwrap_or_default().to_owned();
    (answer.status, answer.body, disposition)
}

#[tokio::test]
async fn a_link_works_without_credentials_and_names_the_file() {
    let space = TestSpace::create().await;
    let bucket = bucket(&space).await;
    store(&bucket, KEY, b"a result".to_vec()).await.expect("stored");
    let at = address(&bucket, &bucket.uri(KEY)).expect("an address");
    let link = bucket.presign_download(&at, "a.zip").await.expect("a link");
    let (status, body, disposition) = fetch(link.clone()).await;
    assert_eq!((status, &body[..]), (200, &b"a result"[..]));
    assert_eq!(disposition, "attachment; filename=\"a.zip\"");
    assert!(link.contains("X-Amz-Expires=900"), "{link}");
    assert!(!link.contains(&space.services.s3_secret_access_key), "{link}");

    let (unsigned, _) = link.split_once('?').expect("a signature");
    assert_eq!(fetch(unsigned.to_owned()).await.0, 403);
    let tampered = link.replace("1-nonce", "2-nonce");
    assert_eq!(fetch(tampered).await.0, 403, "a link is good for one object");
    space.cleanup().await;
}

#[tokio::test]
async fn each_object_under_a_prefix_has_a_link() {
    const PREFIX: &str = "exports/default/01983c5e-7a01-7c3a-9d5e-0123456789ab/1-nonce/";
    let space = TestSpace::create().await;
    let bucket = bucket(&space).await;
    // Names of vehicles with characters that have a meaning in URLs and headers.
    let names =
        ["vehicle_001.csv.gz", "Bus_ü.csv.gz", "a+b&c=d?e#f.csv", "100%25;x='y'.csv", "manifest.json"];
    for name in names {
        store(&bucket, &format!("{PREFIX}{name}"), name.as_bytes().to_vec()).await.expect("stored");
    }
    let at = address(&bucket, &bucket.uri(PREFIX)).expect("an address");
    let links = bucket.presign_objects(&at, &names).await.expect("links");
    assert_eq!(links.len(), names.len());
    for (name, link) in names.iter().zip(links) {
        let (status, body, disposition) = fetch(link.clone()).await;
        assert_eq!((status, body), (200, name.as_bytes().to_vec()), "{name}: {link}");
        assert!(disposition.starts_with("attachment; filename=\""), "{disposition}");
    }
    assert_eq!(bucket.presign_objects(&at, &[]).await.expect("links"), [] as [String; 0]);
    for d6_wrong in ["", ".", "..", "../a", "a/b", "a\\b"] {
        let refused = bucket.presign_objects(&at, &[d6_wrong]).await;
        assert!(matches!(refused, Err(S3Error::NotAName)), "{d6_wrong:?}: {refused:?}");
    }
    space.cleanup().await;
}

#[tokio::test]
async fn a_link_carries_the_public_endpoint() {
    let space = TestSpace::create().await;
    // The same server under another name.
    let public_url = space.services.s3_endpoint_url.replace("127.0.0.1", "localhost");
    assert_ne!(public_url, space.services.s3_endpoint_url);
    let settings = S3Settings { public_endpoint_url: Some(public_url.clone()), ..settings(&space.bucket) };
    let bucket = bucket_with(&space, settings).await;
    store(&bucket, KEY, b"a result".to_vec()).await.expect("stored");
    let at = address(&bucket, &bucket.uri(KEY)).expect("an address");
    let link = bucket.presign_download(&at, "a.zip").await.expect("a link");
    assert!(link.starts_with(&format!("{public_url}/{}/{KEY}?", space.bucket)), "{link}");
    let (status, body, _) = fetch(link).await;
    assert_eq!((status, &body[..]), (200, &b"a result"[..]));
    space.cleanup().await;
}

#[tokio::test]
async fn d6_only_the_place_of_the_result_has_links() {
    let space = TestSpace::create().await;
    let bucket = bucket(&space).await;
    let name = &space.bucket;
    let own = format!("s3://{name}/exports/default/{JOB}");
    for right in [format!("{own}/1-nonce.zip"), format!("{own}/1-nonce/"), bucket.uri(KEY)] {
        assert!(address(&bucket, &right).is_some(), "{right}");
    }
    for wrong in [
        format!("s3://other/exports/default/{JOB}/1-nonce.zip"),
        format!("s3://{name}-other/exports/default/{JOB}/1-nonce.zip"),
        format!("https://{name}/exports/default/{JOB}/1-nonce.zip"),
        format!("s3://{name}"),
        String::new(),
        format!("s3://{name}/exports/other/{JOB}/1-nonce.zip"),
        format!("s3://{name}/exports/default/11983c5e-7a01-7c3a-9d5e-0123456789ab/1-nonce.zip"),
        format!("s3://{name}/default/{JOB}/1-nonce.zip"),
        format!("s3://{name}/backup/exports/default/{JOB}/1-nonce.zip"),
        own.clone(),
        format!("{own}/"),
        format!("{own}//"),
        format!("{own}/../secret.zip"),
        format!("{own}/1-nonce/vehicle.csv"),
        format!("{own}/../"),
        format!("{own}/.."),
    ] {
        assert_eq!(address(&bucket, &wrong), None, "{wrong}");
    }
    space.cleanup().await;
}
