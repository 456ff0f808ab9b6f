//! Download links.

use export_settings::s3::S3Settings;
use export_testkit::http::send;
use export_testkit::isolation::TestSpace;

use crate::results::{bucket, bucket_with, settings, store};

const KEY: &str = "exports/default/job/1-nonce.zip";

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
    let link =
        bucket.presign_download(&bucket.uri(KEY), "a.zip").await.expect("a link").expect("of this bucket");
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
    const PREFIX: &str = "exports/default/job/1-nonce/";
    let space = TestSpace::create().await;
    let bucket = bucket(&space).await;
    // Names of vehicles with characters that have a meaning in URLs and headers.
    let names =
        ["vehicle_001.csv.gz", "Bus_ü.csv.gz", "a+b&c=d?e#f.csv", "100%25;x='y'.csv", "manifest.json"];
    for name in names {
        store(&bucket, &format!("{PREFIX}{name}"), name.as_bytes().to_vec()).await.expect("stored");
    }
    let links =
        bucket.presign_objects(&bucket.uri(PREFIX), &names).await.expect("links").expect("of this bucket");
    assert_eq!(links.len(), names.len());
    for (name, link) in names.iter().zip(links) {
        let (status, body, disposition) = fetch(link.clone()).await;
        assert_eq!((status, body), (200, name.as_bytes().to_vec()), "{name}: {link}");
        assert!(disposition.starts_with("attachment; filename=\""), "{disposition}");
    }
    let none = bucket.presign_objects(&bucket.uri(PREFIX), &[]).await.expect("links");
    assert_eq!(none, Some(Vec::new()));
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
    let link =
        bucket.presign_download(&bucket.uri(KEY), "a.zip").await.expect("a link").expect("of this bucket");
    assert!(link.starts_with(&format!("{public_url}/{}/{KEY}?", space.bucket)), "{link}");
    let (status, body, _) = fetch(link).await;
    assert_eq!((status, &body[..]), (200, &b"a result"[..]));
    space.cleanup().await;
}

#[tokio::test]
async fn uris_of_other_buckets_have_no_link() {
    let space = TestSpace::create().await;
    let bucket = bucket(&space).await;
    let others = [
        "s3://other/exports/a.zip".to_owned(),
        format!("s3://{}-other/exports/a.zip", space.bucket),
        format!("https://{}/a.zip", space.bucket),
        format!("s3://{}", space.bucket),
        String::new(),
    ];
    for uri in others {
        assert_eq!(bucket.presign_download(&uri, "a.zip").await.expect("an answer"), None, "{uri}");
        assert_eq!(bucket.presign_objects(&uri, &["a.csv"]).await.expect("an answer"), None, "{uri}");
    }
    space.cleanup().await;
}
