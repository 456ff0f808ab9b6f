//! The result bucket of one test.

use export_core::sink::{Sink, ZIP_OBJECT};
use export_s3::{ResultBucket, ResultLocation, ResultSink, S3Error, S3Server, StoredResult};
use export_settings::s3::{PayloadSigning, S3Settings};
use export_testkit::isolation::TestSpace;
use tokio::runtime::Handle;

pub(crate) fn settings(bucket: &str) -> S3Settings {
    S3Settings {
        bucket: bucket.to_owned(),
        key_prefix: "exports/".to_owned(),
        force_path_style: true,
        public_endpoint_url: None,
        payload_signing: PayloadSigning::Auto,
    }
}

pub(crate) async fn bucket_with(space: &TestSpace, settings: S3Settings) -> ResultBucket {
    bucket_at(&space.services.s3_endpoint_url, space, settings).await
}

pub(crate) async fn bucket_at(endpoint_url: &str, space: &TestSpace, settings: S3Settings) -> ResultBucket {
    let server = S3Server {
        endpoint_url: endpoint_url.to_owned(),
        access_key_id: space.services.s3_access_key_id.clone(),
        secret_access_key: space.services.s3_secret_access_key.clone().into(),
    };
    ResultBucket::at(&server, settings).await.expect("a client")
}

/// The bucket that the test's space has created.
pub(crate) async fn bucket(space: &TestSpace) -> ResultBucket {
    bucket_with(space, settings(&space.bucket)).await
}

/// The default memory of parts: three of 8 MiB.
pub(crate) const SHARE_BYTES: usize = 24 << 20;

pub(crate) fn sink(bucket: &ResultBucket, place: ResultLocation) -> ResultSink {
    ResultSink::new(bucket, place, SHARE_BYTES, Handle::current())
}

/// Runs a closure on a blocking thread, as the worker runs the engine.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

/// Writes one whole object.
pub(crate) fn write_object(sink: &mut ResultSink, name: &str, content: &[u8]) -> std::io::Result<()> {
    sink.begin(name)?;
    // The engine's writes have any size.
    for piece in content.chunks(100_003) {
        sink.write(piece)?;
    }
    sink.end()
}

/// Stores bytes as a zip.
pub(crate) async fn store(
    bucket: &ResultBucket,
    key: &str,
    content: Vec<u8>,
) -> Result<StoredResult, S3Error> {
    let mut sink = sink(bucket, ResultLocation::Object(key.to_owned()));
    blocking(move || {
        // `finish` returns the cause of a failed write.
        write_object(&mut sink, ZIP_OBJECT, &content).ok();
        sink.finish()
    })
    .await
}
