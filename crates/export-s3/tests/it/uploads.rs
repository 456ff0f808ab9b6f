//! An object appears whole, once, or not at all.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write};

use export_s3::{S3Error, Uploaded, part_channel, upload};
use export_testkit::isolation::TestSpace;
use sha2::{Digest, Sha256};

use crate::proxy::Proxy;
use crate::results::{bucket, bucket_at, settings, store};

/// More than two parts of eight MiB.
const LARGE_BYTES: usize = 17 << 20;
const KEY: &str = "exports/default/job/1-nonce.zip";

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut content = vec![0; length];
    fastrand::Rng::with_seed(seed).fill(&mut content);
    content
}

fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("strings take everything");
        hex
    })
}

#[tokio::test]
async fn objects_of_any_size_arrive_byte_for_byte() {
    let space = TestSpace::create().await;
    let bucket = bucket(&space).await;
    // Nothing, one byte, a full part and no more, and parts with a rest.
    for (index, length) in [0, 1, 8 << 20, LARGE_BYTES].into_iter().enumerate() {
        let (key, content) = (format!("exports/{index}.zip"), noise(7, length));
        let expected = Uploaded { bytes: length as u64, sha256: sha256(&content) };
        let uploaded = store(&bucket, &key, content.clone()).await.expect("stored");
        assert_eq!(uploaded, expected);
        assert!(space.object(&key).await == content, "{length} bytes came back otherwise");
    }
    assert_eq!(space.object_keys().await.len(), 4);
    space.cleanup().await;
}

#[tokio::test]
async fn a_writer_that_ends_early_leaves_nothing_behind() {
    let space = TestSpace::create().await;
    let proxy = Proxy::to(&space.services.s3_endpoint_url).await;
    let bucket = bucket_at(&proxy.endpoint_url, &space, settings(&space.bucket)).await;
    for (index, length) in [0, 10, LARGE_BYTES].into_iter().enumerate() {
        let (mut writer, parts) = part_channel();
        let content = noise(1, length);
        // Dropped without `finish`, as when the engine fails.
        let writing = tokio::task::spawn_blocking(move || writer.write_all(&content));
        let outcome = upload(&bucket, KEY, parts).await;
        assert!(matches!(outcome, Err(S3Error::Unfinished)), "{outcome:?}");
        writing.await.expect("no panic").expect("written");
        assert_eq!(space.object_keys().await, Vec::<String>::new());

        let begun = proxy.targets_of("POST").iter().filter(|target| target.contains("uploads")).count();
        let aborted = proxy.targets_of("DELETE");
        assert_eq!((begun, aborted.len()), (index + 1, index + 1), "{aborted:?}");
        let (_, query) = aborted[index].split_once("uploadId=").expect("an upload's id");
        let upload_id = query.split('&').next().expect("an id");
        let parts = space.s3.list_parts().bucket(&space.bucket).key(KEY).upload_id(upload_id).send().await;
        assert!(parts.map_or(true, |listed| listed.parts().is_empty()), "its parts are still there");
    }
    space.cleanup().await;
}

#[tokio::test]
async fn an_object_that_is_there_is_never_overwritten() {
    let space = TestSpace::create().await;
    let bucket = bucket(&space).await;
    store(&bucket, KEY, b"first".to_vec()).await.expect("stored");
    // Nobody else writes to an attempt's key, so what is there counts as stored by a try whose answer was lost.
    store(&bucket, KEY, b"second".to_vec()).await.expect("taken for stored");
    assert_eq!(space.object(KEY).await, b"first");
    assert_eq!(space.object_keys().await, [KEY]);
    space.cleanup().await;
}

#[tokio::test]
async fn a_failed_upload_ends_its_writer() {
    let space = TestSpace::create().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let nobody = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let nowhere = bucket_at(&nobody, &space, settings(&space.bucket)).await;
    let (mut writer, parts) = part_channel();
    let writing = tokio::task::spawn_blocking(move || {
        let content = noise(2, 1 << 20);
        (0..100).try_for_each(|_| writer.write_all(&content))
    });
    let outcome = upload(&nowhere, KEY, parts).await;
    assert!(matches!(outcome, Err(S3Error::Sdk { .. })), "{outcome:?}");
    let ended = writing.await.expect("no panic").expect_err("nobody takes the parts");
    assert_eq!(ended.kind(), ErrorKind::BrokenPipe);
    space.cleanup().await;
}
