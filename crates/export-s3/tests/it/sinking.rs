//! Many objects under a prefix: all of them, or none.

use export_core::manifest::MANIFEST_ENTRY;
use export_core::result::ResultObject;
use export_core::sink::Sink;
use export_s3::{ResultLocation, S3Error};
use export_testkit::isolation::TestSpace;

use crate::results::{SHARE_BYTES, blocking, bucket, bucket_at, settings, sink, write_object};
use crate::uploads::{becomes, noise, sha256};

const PREFIX: &str = "exports/default/job/1-nonce/";

fn place() -> ResultLocation {
    ResultLocation::Prefix(PREFIX.to_owned())
}

/// Small and large objects in turn, then the manifest.
fn objects() -> Vec<(String, Vec<u8>)> {
    let sizes = [0, 1, 100_000, 9 << 20, 17, 20 << 20, 8 << 20, 5];
    let vehicles = sizes.into_iter().enumerate();
    let mut objects: Vec<_> = vehicles
        .map(|(index, size)| (format!("vehicle_{index:03}.csv.gz"), noise(index as u64, size)))
        .collect();
    objects.push((MANIFEST_ENTRY.to_owned(), b"{}".to_vec()));
    objects
}

#[tokio::test]
async fn small_and_large_objects_arrive_byte_for_byte() {
    let space = TestSpace::create().await;
    let mut sink = sink(&bucket(&space).await, place());
    let gauge = sink.gauge();
    let stored = blocking(move || {
        for (name, content) in objects() {
            write_object(&mut sink, &name, &content).expect("written");
        }
        sink.finish().expect("stored")
    })
    .await;
    let expected: Vec<_> = objects()
        .into_iter()
        .map(|(name, content)| ResultObject {
            name,
            bytes: content.len() as u64,
            sha256: Some(sha256(&content)),
        })
        .collect();
    assert_eq!(stored.uri, format!("s3://{}/{PREFIX}", space.bucket));
    assert_eq!(stored.bytes, expected.iter().map(|object| object.bytes).sum::<u64>());
    assert_eq!(stored.objects, expected);
    assert_eq!(stored.sha256, sha256(b"{}"), "of the manifest");
    assert_eq!(space.object_keys().await.len(), expected.len());
    for (name, content) in objects() {
        assert!(space.object(&format!("{PREFIX}{name}")).await == content, "{name} came back otherwise");
    }
    let typed = space.s3.head_object().bucket(&space.bucket).key(format!("{PREFIX}vehicle_003.csv.gz"));
    let typed = typed.send().await.expect("there");
    assert_eq!((typed.content_type(), typed.content_encoding()), (Some("application/gzip"), None));
    let seen = gauge.seen();
    assert!(seen.peak_bytes <= SHARE_BYTES && seen.alive_bytes == 0, "{seen:?}");
    space.cleanup().await;
}

#[tokio::test]
async fn hundreds_of_small_objects_use_little_memory() {
    let space = TestSpace::create().await;
    let mut sink = sink(&bucket(&space).await, place());
    let gauge = sink.gauge();
    let stored = blocking(move || {
        for index in 0..200 {
            write_object(&mut sink, &format!("vehicle_{index:04}.csv"), b"time\n").expect("written");
        }
        write_object(&mut sink, MANIFEST_ENTRY, b"{}").expect("written");
        sink.finish().expect("stored")
    })
    .await;
    assert_eq!((stored.objects.len(), stored.bytes), (201, 1_002));
    assert_eq!(space.object_keys().await.len(), 201);
    assert!(gauge.seen().peak_bytes <= SHARE_BYTES);
    space.cleanup().await;
}

#[tokio::test]
async fn discarding_deletes_all_objects() {
    let space = TestSpace::create().await;
    let bucket = bucket(&space).await;
    // By a call, by a panic of the engine, and by an export without a manifest.
    for ending in ["discarded", "dropped", "finished"] {
        let mut sink = sink(&bucket, place());
        blocking(move || {
            for (name, content) in objects().iter().take(7) {
                write_object(&mut sink, name, content).expect("written");
            }
            match ending {
                "discarded" => assert!(sink.discard().is_none()),
                "dropped" => {
                    sink.begin("vehicle_999.csv.gz").expect("begun");
                    sink.write(&noise(1, 9 << 20)).expect("written");
                    drop(sink);
                }
                _ => assert!(matches!(sink.finish(), Err(S3Error::Unfinished))),
            }
        })
        .await;
        let keys = becomes(&Vec::new(), async || space.object_keys().await).await;
        assert_eq!(keys, Vec::<String>::new(), "{ending}");
    }
    space.cleanup().await;
}

#[tokio::test]
async fn the_first_failure_ends_everything() {
    let space = TestSpace::create().await;
    let address = space.services.s3_endpoint_url.strip_prefix("http://").expect("plain HTTP").to_owned();
    let proxy = export_testkit::proxy::Proxy::start(address).await;
    let bucket = bucket_at(&format!("http://{}", proxy.address()), &space, settings(&space.bucket)).await;
    let mut sink = sink(&bucket, place());
    let finished = blocking(move || {
        proxy.cut();
        let written =
            (0..1_000).try_for_each(|index| write_object(&mut sink, &format!("{index}.csv"), b"time\n"));
        assert!(written.is_err(), "more objects are written than may be on their way");
        sink.finish()
    });
    assert!(matches!(finished.await, Err(S3Error::Sdk { .. })));
    space.cleanup().await;
}

#[tokio::test]
async fn only_one_object_is_open_at_a_time() {
    let space = TestSpace::create().await;
    let bucket = bucket(&space).await;
    let mut zip = sink(&bucket, ResultLocation::Object("exports/a.zip".to_owned()));
    let mut many = sink(&bucket, place());
    blocking(move || {
        many.write(b"nowhere").expect_err("no object was begun");
        many.end().expect_err("no object was begun");
        many.begin("a.csv").expect("begun");
        many.begin("b.csv").expect_err("the first has not ended");
        many.discard();
        write_object(&mut zip, "export.zip", b"PK").expect("written");
        zip.begin("manifest.json").expect_err("a zip is one object");
        assert_eq!(zip.finish().expect("stored").bytes, 2);
    })
    .await;
    assert_eq!(space.object_keys().await, ["exports/a.zip"]);
    space.cleanup().await;
}
