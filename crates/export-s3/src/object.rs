//! The requests that store one object: a single request for a small object, a multipart upload for
//! a larger one.
//!
//! All are create-only: an existing object is never overwritten. Only one sink writes to its keys,
//! so if S3 answers that the object exists, this sink has stored it and only the first answer was
//! lost.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier,
};
use bytes::Bytes;
use tokio::sync::OnceCell;
use tracing::debug;

use crate::bucket::{MISSING_MD5, ResultBucket};
use crate::error::S3Error;
use crate::signing::SignPayload;

/// S3's status for a create-only request if the object exists.
const PRECONDITION_FAILED: u16 = 412;
/// Most objects that one request can delete.
const OBJECTS_PER_DELETE: usize = 1_000;

/// The content type of a file, by the ending of its name.
fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("zip") => "application/zip",
        Some("csv") => "text/csv; charset=utf-8",
        // The compressed file itself is the result: with a Content-Encoding clients would
        // decompress it and keep the name.
        Some("gz") => "application/gzip",
        Some("zst") => "application/zstd",
        Some("parquet") => "application/vnd.apache.parquet",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

/// Stores a whole object with one request.
pub(crate) async fn put(bucket: &ResultBucket, key: &str, name: &str, content: Bytes) -> Result<(), S3Error> {
    let outcome = bucket
        .client
        .put_object()
        .bucket(&bucket.settings.bucket)
        .key(key)
        .content_type(content_type(name))
        .checksum_algorithm(ChecksumAlgorithm::Crc32)
        .if_none_match("*")
        .body(ByteStream::from(content))
        .customize()
        .interceptor(SignPayload(bucket.settings.payload_signing))
        .send()
        .await;
    match outcome {
        Ok(_) => Ok(()),
        Err(error) if is_existing_object(&error) => Ok(()),
        Err(error) => Err(S3Error::sdk("storing an object")(error)),
    }
}

/// Deletes objects; missing ones are no error.
pub(crate) async fn delete(bucket: &ResultBucket, keys: &[String]) -> Result<(), S3Error> {
    const OPERATION: &str = "deleting objects";
    for keys in keys.chunks(OBJECTS_PER_DELETE) {
        let objects: Result<Vec<_>, _> =
            keys.iter().map(|key| ObjectIdentifier::builder().key(key).build()).collect();
        let delete =
            objects.and_then(|objects| Delete::builder().set_objects(Some(objects)).quiet(true).build());
        let delete = delete.map_err(S3Error::invalid_request(OPERATION))?;
        let request = bucket.client.delete_objects().bucket(&bucket.settings.bucket).delete(delete);
        let answer = match request.send().await {
            Err(error) if error.code() == Some(MISSING_MD5) => {
                delete_each(bucket, keys).await?;
                continue;
            }
            answer => answer.map_err(S3Error::sdk(OPERATION))?,
        };
        if let Some(error) = answer.errors().first() {
            return Err(S3Error::Sdk {
                operation: OPERATION,
                code: error.code().unwrap_or("no reason given").to_owned(),
                is_outage: false,
                source: error.message().unwrap_or("no reason given").into(),
            });
        }
    }
    Ok(())
}

/// Deletes objects one by one, on servers that refuse to delete many at once.
async fn delete_each(bucket: &ResultBucket, keys: &[String]) -> Result<(), S3Error> {
    for key in keys {
        let request = bucket.client.delete_object().bucket(&bucket.settings.bucket).key(key);
        request.send().await.map_err(S3Error::sdk("deleting an object"))?;
    }
    Ok(())
}

/// A multipart upload. It begins with whichever part is sent first.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) key: String,
    name: String,
    id: OnceCell<String>,
}

impl Upload {
    pub(crate) fn new(key: String, name: String) -> Self {
        Self { key, name, id: OnceCell::new() }
    }

    /// Returns the upload's id; begins the upload if no part has done so.
    pub(crate) async fn begin(&self, bucket: &ResultBucket) -> Result<&str, S3Error> {
        let create = async {
            let created = bucket
                .client
                .create_multipart_upload()
                .bucket(&bucket.settings.bucket)
                .key(&self.key)
                .content_type(content_type(&self.name))
                .checksum_algorithm(ChecksumAlgorithm::Crc32)
                .send()
                .await
                .map_err(S3Error::sdk("beginning an upload"))?;
            Ok(created.upload_id.unwrap_or_default())
        };
        self.id.get_or_try_init(|| Box::pin(create)).await.map(String::as_str)
    }

    /// Sends one part. Parts are numbered from 1 without gaps.
    pub(crate) async fn send_part(
        &self,
        bucket: &ResultBucket,
        id: &str,
        number: i32,
        content: Bytes,
    ) -> Result<CompletedPart, S3Error> {
        let sent = bucket
            .client
            .upload_part()
            .bucket(&bucket.settings.bucket)
            .key(&self.key)
            .upload_id(id)
            .part_number(number)
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .body(ByteStream::from(content))
            .customize()
            .interceptor(SignPayload(bucket.settings.payload_signing))
            .send()
            .await
            .map_err(S3Error::sdk("uploading a part"))?;
        debug!(part_number = number, "part uploaded");
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(sent.e_tag)
            .set_checksum_crc32(sent.checksum_crc32)
            .build())
    }

    /// Completes the upload: the object exists from then on.
    pub(crate) async fn complete(
        &self,
        bucket: &ResultBucket,
        mut parts: Vec<CompletedPart>,
    ) -> Result<(), S3Error> {
        parts.sort_by_key(CompletedPart::part_number);
        let completed = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let outcome = bucket
            .client
            .complete_multipart_upload()
            .bucket(&bucket.settings.bucket)
            .key(&self.key)
            .upload_id(self.begin(bucket).await?)
            .multipart_upload(completed)
            .if_none_match("*")
            .send()
            .await;
        match outcome {
            Ok(_) => Ok(()),
            Err(error) if is_existing_object(&error) => Ok(()),
            Err(error) => Err(S3Error::sdk("completing an upload")(error)),
        }
    }

    /// Aborts the upload, if it has begun, and deletes its parts.
    pub(crate) async fn abort(&self, bucket: &ResultBucket) -> Result<(), S3Error> {
        let Some(id) = self.id.get() else { return Ok(()) };
        let abort = bucket.client.abort_multipart_upload().bucket(&bucket.settings.bucket);
        abort.key(&self.key).upload_id(id).send().await.map_err(S3Error::sdk("aborting an upload"))?;
        Ok(())
    }
}

fn is_existing_object<E>(error: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>) -> bool {
    error.raw_response().is_some_and(|response| response.status().as_u16() == PRECONDITION_FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_follow_the_names() {
        let types = ["export.zip", "v.csv", "v.csv.gz", "v.csv.zst", "v.parquet", "manifest.json", "v"];
        let expected = [
            "application/zip",
            "text/csv; charset=utf-8",
            "application/gzip",
            "application/zstd",
            "application/vnd.apache.parquet",
            "application/json",
            "application/octet-stream",
        ];
        assert_eq!(types.map(content_type), expected);
    }
}

#[cfg(test)]
#[path = "object_tests.rs"]
mod old_servers;
