//! The requests that make one object: a single one for small objects, a multipart upload for others.
//!
//! All are create-only: an object that is there is never overwritten. Nobody else writes to the keys of an attempt, so
//! when S3 says that the object is there already, it is ours, and only the first answer was lost.

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier,
};
use bytes::Bytes;
use tokio::sync::OnceCell;
use tracing::debug;

use crate::bucket::ResultBucket;
use crate::error::S3Error;
use crate::signing::SignPayload;

/// S3's answer to a create-only request for an object that is there.
const PRECONDITION_FAILED: u16 = 412;
/// Objects that S3 removes by one request.
const OBJECTS_PER_DELETE: usize = 1_000;

/// What a file is, as far as its name tells.
fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("zip") => "application/zip",
        Some("csv") => "text/csv; charset=utf-8",
        // The file is the compressed one: with a Content-Encoding clients would unpack it and keep the name.
        Some("gz") => "application/gzip",
        Some("zst") => "application/zstd",
        Some("parquet") => "application/vnd.apache.parquet",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

/// Stores a whole object at once.
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
        Err(error) if is_there_already(&error) => Ok(()),
        Err(error) => Err(S3Error::sdk("store an object")(error)),
    }
}

/// Removes objects, as far as they are there.
pub(crate) async fn delete(bucket: &ResultBucket, keys: &[String]) -> Result<(), S3Error> {
    const OPERATION: &str = "remove objects";
    for keys in keys.chunks(OBJECTS_PER_DELETE) {
        let objects: Result<Vec<_>, _> =
            keys.iter().map(|key| ObjectIdentifier::builder().key(key).build()).collect();
        let delete =
            objects.and_then(|objects| Delete::builder().set_objects(Some(objects)).quiet(true).build());
        let delete = delete.map_err(|source| S3Error::Sdk {
            operation: OPERATION,
            code: "request not possible".to_owned(),
            source: Box::new(source),
        })?;
        let request = bucket.client.delete_objects().bucket(&bucket.settings.bucket).delete(delete);
        let answer = request.send().await.map_err(S3Error::sdk(OPERATION))?;
        if let Some(error) = answer.errors().first() {
            return Err(S3Error::Sdk {
                operation: OPERATION,
                code: error.code().unwrap_or("no reason given").to_owned(),
                source: error.message().unwrap_or("no reason given").into(),
            });
        }
    }
    Ok(())
}

/// A multipart upload. Begins with its first part, whichever that is.
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

    /// Begins the upload, if no part has yet, and returns its id.
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
                .map_err(S3Error::sdk("begin an upload"))?;
            Ok(created.upload_id.unwrap_or_default())
        };
        self.id.get_or_try_init(|| Box::pin(create)).await.map(String::as_str)
    }

    /// Sends one part; they are numbered from 1 without a hole.
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
            .map_err(S3Error::sdk("upload a part"))?;
        debug!(part_number = number, "part uploaded");
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(sent.e_tag)
            .set_checksum_crc32(sent.checksum_crc32)
            .build())
    }

    /// Makes the object appear.
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
            Err(error) if is_there_already(&error) => Ok(()),
            Err(error) => Err(S3Error::sdk("finish an upload")(error)),
        }
    }

    /// Throws the parts away, if there are any.
    pub(crate) async fn abort(&self, bucket: &ResultBucket) -> Result<(), S3Error> {
        let Some(id) = self.id.get() else { return Ok(()) };
        let abort = bucket.client.abort_multipart_upload().bucket(&bucket.settings.bucket);
        abort.key(&self.key).upload_id(id).send().await.map_err(S3Error::sdk("abort an upload"))?;
        Ok(())
    }
}

fn is_there_already<E>(error: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>) -> bool {
    error.raw_response().is_some_and(|response| response.status().as_u16() == PRECONDITION_FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_served_as_what_they_are() {
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
