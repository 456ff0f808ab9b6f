//! A server that demands equal parts, such as Cloudflare R2.

use std::path::Path;

use export_core::sink::ZIP_OBJECT;
use export_settings::s3::{PayloadSigning, S3Settings};
use export_testkit::s3_server::{Identity, S3Server};
use tokio::net::TcpListener;

use super::*;

const BUCKET: &str = "results";
const KEY: &str = "exports/default/job/1-nonce.zip";
const PARTS: usize = 5;
/// The smallest that S3 allows.
const PART_BYTES: usize = 5 << 20;

/// The bucket of a server that demands equal parts.
async fn strict_bucket(folder: &Path) -> ResultBucket {
    std::fs::create_dir(folder.join(BUCKET)).expect("a bucket");
    let key = Identity { access_key_id: "id".into(), secret_access_key: "key".into(), policy: None };
    let server = S3Server::new(folder, vec![key]).expect("a server").demanding_equal_parts();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint_url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(server.serve(listener, std::future::pending()));
    let settings = S3Settings {
        bucket: BUCKET.to_owned(),
        key_prefix: "exports/".to_owned(),
        force_path_style: true,
        public_endpoint_url: None,
        payload_signing: PayloadSigning::Auto,
    };
    let (access_key_id, secret_access_key) = ("id".to_owned(), "key".to_owned().into());
    let server = crate::S3Server { endpoint_url, access_key_id, secret_access_key };
    ResultBucket::at(&server, settings).await.expect("a bucket")
}

#[tokio::test(flavor = "multi_thread")]
async fn c12_a_server_that_demands_equal_parts_stores_a_result() {
    let folder = tempfile::tempdir().expect("a folder");
    let bucket = strict_bucket(folder.path()).await;
    let location = ResultLocation::Object(KEY.to_owned());
    let mut sink = ResultSink::new(&bucket, location, 12 << 20, Handle::current());
    sink.part_size = PartSize::of(PART_BYTES);
    // The last part is not full.
    let content = b"0123456789".repeat(PART_BYTES / 10 * PARTS)[PART_BYTES / 2..].to_vec();
    let written = content.clone();
    let stored = tokio::task::spawn_blocking(move || {
        sink.begin(ZIP_OBJECT)?;
        sink.write(&written)?;
        sink.end()?;
        Ok::<_, io::Error>(sink.finish())
    });
    let stored = stored.await.expect("no panic").expect("written").expect("stored");
    assert_eq!(stored.bytes, content.len() as u64);
    let read = bucket.client.get_object().bucket(BUCKET).key(KEY).send().await.expect("there");
    assert!(read.body.collect().await.expect("content").into_bytes() == content);
}

/// Uploads parts of these sizes.
async fn upload(bucket: &ResultBucket, sizes: &[usize]) -> Result<(), S3Error> {
    let upload = Upload::new(KEY.to_owned(), ZIP_OBJECT.to_owned());
    let id = upload.begin(bucket).await?.to_owned();
    let mut parts = Vec::new();
    for (number, size) in (1..).zip(sizes) {
        parts.push(upload.send_part(bucket, &id, number, vec![7; *size].into()).await?);
    }
    Box::pin(upload.complete(bucket, parts)).await
}

/// The server of these tests refuses what they are about.
#[tokio::test(flavor = "multi_thread")]
async fn c12_unequal_parts_are_refused_permanently() {
    let folder = tempfile::tempdir().expect("a folder");
    let bucket = strict_bucket(folder.path()).await;
    for sizes in [&[10, 10, 11, 5][..], &[10, 11], &[10, 9, 10]] {
        let refused = upload(&bucket, sizes).await.expect_err("unequal parts");
        assert!(matches!(&refused, S3Error::Sdk { code, .. } if code == "InvalidPart"), "{refused:?}");
        assert!(refused.is_permanent(), "{refused:?}");
    }
    upload(&bucket, &[PART_BYTES, PART_BYTES, 7]).await.expect("only the last part is smaller");
}

/// A server that fails or denies access may store the result later; one that refuses the content
/// will not.
#[test]
fn c12_only_refused_content_is_permanent() {
    let error = |code: &str| S3Error::Sdk {
        operation: "x",
        code: code.to_owned(),
        is_outage: false,
        source: "x".into(),
    };
    for code in ["EntityTooLarge", "EntityTooSmall", "InvalidPart", "InvalidPartOrder", "InvalidRequest"] {
        assert!(error(code).is_permanent(), "{code}");
    }
    for code in ["InternalError", "SlowDown", "AccessDenied", "NoSuchBucket", "NoSuchUpload", "timed out"] {
        assert!(!error(code).is_permanent(), "{code}");
    }
    assert!(S3Error::TooLarge { bytes: 1 }.is_permanent());
    assert!(!S3Error::Unfinished.is_permanent());
}
