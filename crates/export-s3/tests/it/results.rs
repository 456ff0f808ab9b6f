//! The result bucket of one test.

use std::io::Write;

use export_s3::{PartWriter, ResultBucket, S3Error, S3Server, Uploaded, part_channel, upload};
use export_settings::s3::S3Settings;
use export_testkit::isolation::TestSpace;

pub(crate) fn settings(bucket: &str) -> S3Settings {
    S3Settings {
        bucket: bucket.to_owned(),
        key_prefix: "exports/".to_owned(),
        force_path_style: true,
        public_endpoint_url: None,
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

/// The bucket that the test's space has made.
pub(crate) async fn bucket(space: &TestSpace) -> ResultBucket {
    bucket_with(space, settings(&space.bucket)).await
}

/// Stores bytes as a worker does: written on a thread that may block, uploaded meanwhile.
pub(crate) async fn store(bucket: &ResultBucket, key: &str, content: Vec<u8>) -> Result<Uploaded, S3Error> {
    let write = move |mut writer: PartWriter| {
        // The engine's writes are small and of any size.
        for piece in content.chunks(100_003) {
            writer.write_all(piece)?;
        }
        writer.finish()
    };
    let (writer, parts) = part_channel();
    let writing = tokio::task::spawn_blocking(move || write(writer));
    upload(bucket, key, parts).await?;
    Ok(writing.await.expect("no panic").expect("written to its end"))
}
