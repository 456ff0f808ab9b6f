//! A zip appears whole, once, or not at all.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use export_core::sink::{Sink, ZIP_OBJECT};
use export_s3::{ResultLocation, ResultSink, S3Error, StoredResult};
use export_settings::s3::{PayloadSigning, S3Settings};
use export_testkit::isolation::TestSpace;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use crate::proxy::Proxy;
use crate::results::{blocking, bucket, bucket_at, settings, sink, store, write_object};

/// More than two parts of 8 MiB.
const LARGE_BYTES: usize = 17 << 20;
const KEY: &str = "exports/default/job/1-nonce.zip";
/// Longest wait for something that takes milliseconds.
const SOON: Duration = Duration::from_secs(10);

fn place() -> ResultLocation {
    ResultLocation::Object(KEY.to_owned())
}

pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut content = vec![0; length];
    fastrand::Rng::with_seed(seed).fill(&mut content);
    content
}

pub(crate) fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("strings take everything");
        hex
    })
}

/// Calls `ask` until it returns `wanted`, for a bounded time; returns the last answer.
pub(crate) async fn becomes<T: PartialEq>(wanted: &T, ask: impl AsyncFn() -> T) -> T {
    let asked_at = Instant::now();
    loop {
        let answer = ask().await;
        if answer == *wanted || asked_at.elapsed() > SOON {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn zips_of_any_size_arrive_byte_for_byte() {
    let space = TestSpace::create().await;
    let bucket = bucket(&space).await;
    // No bytes, one byte, one byte less than a part, exactly one part, several parts and a rest.
    let lengths = [0, 1, (8 << 20) - 1, 8 << 20, LARGE_BYTES];
    for (index, length) in lengths.into_iter().enumerate() {
        let (key, content) = (format!("exports/{index}.zip"), noise(7, length));
        let stored = store(&bucket, &key, content.clone()).await.expect("stored");
        let expected = StoredResult {
            uri: format!("s3://{}/{key}", space.bucket),
            objects: Vec::new(),
            bytes: length as u64,
            sha256: sha256(&content),
        };
        assert_eq!(stored, expected);
        assert!(space.object(&key).await == content, "{length} bytes came back otherwise");
    }
    assert_eq!(space.object_keys().await.len(), lengths.len());
    space.cleanup().await;
}

#[tokio::test]
async fn parts_never_take_more_than_their_share() {
    let space = TestSpace::create().await;
    let bucket = bucket(&space).await;
    for share_bytes in [1, 12 << 20] {
        let key = format!("exports/{share_bytes}.zip");
        let mut sink =
            ResultSink::new(&bucket, ResultLocation::Object(key.clone()), share_bytes, Handle::current());
        let gauge = sink.gauge();
        let content = noise(3, 26 << 20);
        let (stored, content) = blocking(move || {
            write_object(&mut sink, ZIP_OBJECT, &content).expect("written");
            (sink.finish().expect("stored"), content)
        })
        .await;
        assert_eq!(stored.sha256, sha256(&content));
        assert!(space.object(&key).await == content);
        let seen = gauge.seen();
        // A share below S3's smallest part counts as one part.
        let bound_bytes = share_bytes.max(5 << 20);
        assert!(
            seen.peak_bytes <= bound_bytes && seen.peak_bytes * 2 > bound_bytes,
            "{share_bytes}: {seen:?}"
        );
        assert_eq!(seen.alive_bytes, 0);
    }
    space.cleanup().await;
}

#[tokio::test]
async fn an_unfinished_upload_leaves_nothing_behind() {
    let space = TestSpace::create().await;
    let proxy = Proxy::to(&space.services.s3_endpoint_url).await;
    let bucket = bucket_at(&proxy.endpoint_url, &space, settings(&space.bucket)).await;
    for (index, is_discarded) in [true, false].into_iter().enumerate() {
        let mut sink = sink(&bucket, place());
        let content = noise(1, LARGE_BYTES);
        blocking(move || {
            sink.begin(ZIP_OBJECT).expect("begun");
            sink.write(&content).expect("written");
            // As if the engine failed or panicked.
            if is_discarded {
                assert!(sink.discard().is_none(), "nothing was wrong with S3");
            } else {
                drop(sink);
            }
        })
        .await;
        assert_eq!(becomes(&(index + 1), async || proxy.targets_of("DELETE").len()).await, index + 1);
        let begun = proxy.targets_of("POST").iter().filter(|target| target.contains("uploads")).count();
        assert_eq!(begun, index + 1);
        assert_eq!(space.object_keys().await, Vec::<String>::new());
        let aborted = &proxy.targets_of("DELETE")[index];
        let (_, query) = aborted.split_once("uploadId=").expect("an upload's id");
        let upload_id = query.split('&').next().expect("an id").to_owned();
        let parts = async || {
            let listed = space.s3.list_parts().bucket(&space.bucket).key(KEY).upload_id(&upload_id);
            listed.send().await.map_or(0, |listed| listed.parts().len())
        };
        assert_eq!(becomes(&0, parts).await, 0, "its parts are still there");
    }
    // An object that has not ended is never stored.
    let mut unended = sink(&bucket, place());
    let outcome = blocking(move || {
        unended.begin(ZIP_OBJECT).expect("begun");
        unended.write(b"begun").expect("written");
        unended.finish()
    });
    assert!(matches!(outcome.await, Err(S3Error::Unfinished)));
    assert_eq!(space.object_keys().await, Vec::<String>::new());
    space.cleanup().await;
}

#[tokio::test]
async fn an_existing_object_is_never_overwritten() {
    let space = TestSpace::create().await;
    let bucket = bucket(&space).await;
    for (index, length) in [5, LARGE_BYTES].into_iter().enumerate() {
        let key = format!("exports/{index}.zip");
        let (first, second) = (noise(1, length), noise(2, length));
        store(&bucket, &key, first.clone()).await.expect("stored");
        // Only one attempt writes to its key, so an existing object counts as stored by a request
        // whose answer was lost.
        store(&bucket, &key, second).await.expect("taken for stored");
        assert!(space.object(&key).await == first);
    }
    space.cleanup().await;
}

#[tokio::test]
async fn an_unreachable_server_ends_the_writer() {
    let space = TestSpace::create().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let unreachable = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let nowhere = bucket_at(&unreachable, &space, settings(&space.bucket)).await;
    let mut sink = sink(&nowhere, place());
    let gauge = sink.gauge();
    let (written, cause) = blocking(move || {
        let content = noise(2, 1 << 20);
        sink.begin(ZIP_OBJECT).expect("begun");
        let written = (0..1_000).try_for_each(|_| sink.write(&content));
        (written, sink.discard())
    })
    .await;
    assert_eq!(written.expect_err("the server takes no parts").kind(), ErrorKind::BrokenPipe);
    assert!(matches!(cause, Some(S3Error::Sdk { .. })), "{cause:?}");
    assert_eq!(gauge.seen().alive_bytes, 0);
    space.cleanup().await;
}

#[tokio::test]
async fn a_server_that_fails_during_an_upload_fails_the_next_write_and_finish() {
    let space = TestSpace::create().await;
    let address = space.services.s3_endpoint_url.strip_prefix("http://").expect("plain HTTP").to_owned();
    let proxy = export_testkit::proxy::Proxy::start(address).await;
    let bucket = bucket_at(&format!("http://{}", proxy.address()), &space, settings(&space.bucket)).await;
    let mut sink = sink(&bucket, place());
    let (written, finished) = blocking(move || {
        let content = noise(2, LARGE_BYTES);
        sink.begin(ZIP_OBJECT).expect("begun");
        sink.write(&content).expect("written");
        proxy.cut();
        let written = (0..100).try_for_each(|_| sink.write(&content));
        (written, sink.finish())
    })
    .await;
    assert_eq!(written.expect_err("the server takes no parts").kind(), ErrorKind::BrokenPipe);
    assert!(matches!(finished, Err(S3Error::Sdk { .. })), "{finished:?}");
    assert_eq!(space.object_keys().await, Vec::<String>::new());
    space.cleanup().await;
}

#[tokio::test]
async fn dropping_the_guard_ends_the_writer() {
    let space = TestSpace::create().await;
    let bucket = bucket(&space).await;
    let mut sink = sink(&bucket, place());
    let guard = sink.stop_guard();
    let (begun, is_begun) = tokio::sync::oneshot::channel();
    let writing = tokio::task::spawn_blocking(move || {
        let content = noise(2, 1 << 20);
        sink.begin(ZIP_OBJECT).expect("begun");
        sink.write(&content).expect("written");
        begun.send(()).expect("the test waits");
        // An endless write: only the guard ends it.
        let error = std::iter::repeat(()).find_map(|()| sink.write(&content).err());
        (error.expect("an end"), sink.finish())
    });
    is_begun.await.expect("begun");
    drop(guard);
    let (error, finished) = writing.await.expect("no panic");
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    assert!(matches!(finished, Err(S3Error::Unfinished)), "{finished:?}");
    assert_eq!(space.object_keys().await, Vec::<String>::new());
    space.cleanup().await;
}

#[tokio::test]
async fn a_checksum_is_sent_whether_content_is_signed_or_not() {
    let space = TestSpace::create().await;
    for (payload_signing, is_signed) in
        [(PayloadSigning::Auto, true), (PayloadSigning::Always, true), (PayloadSigning::Never, false)]
    {
        let proxy = Proxy::to(&space.services.s3_endpoint_url).await;
        let settings = S3Settings { payload_signing, ..settings(&space.bucket) };
        let bucket = bucket_at(&proxy.endpoint_url, &space, settings).await;
        for (index, length) in [5, 9 << 20].into_iter().enumerate() {
            let key = format!("exports/{payload_signing:?}-{index}.zip");
            // Text content, so that the heads of later requests on the connection can be found.
            store(&bucket, &key, vec![b'\n'; length]).await.expect("stored");
        }
        // One request for the first object, two parts for the other.
        let heads = proxy.heads_of("PUT");
        assert_eq!(heads.len(), 3);
        for head in heads {
            let head = head.to_lowercase();
            assert_eq!(head.contains("x-amz-content-sha256: unsigned-payload"), !is_signed, "{head}");
            assert!(head.contains("x-amz-checksum-crc32: "), "{head}");
        }
    }
    space.cleanup().await;
}
