//! Multipart upload of what a blocking writer produces.
//!
//! The engine writes into a [`PartWriter`] on its own thread; full parts go through a channel of one to [`upload`], which
//! keeps a few of them in flight. When S3 is slow the channel is full and the writer waits: nothing piles up.

use std::fmt::Write as _;
use std::io::{self, Write};

use aws_sdk_s3::operation::complete_multipart_upload::CompleteMultipartUploadOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::bucket::ResultBucket;
use crate::error::S3Error;

/// Size of the first parts in bytes.
const PART_BYTES: usize = 8 << 20;
/// After so many parts they grow by [`PART_BYTES`]: 10,000 parts, all that S3 allows, are then 440 GB.
const PARTS_PER_SIZE: usize = 1_000;
/// Uploads of parts at a time, for one object.
const PARTS_IN_FLIGHT: usize = 2;

/// A piece of the object.
enum Part {
    More(Bytes),
    Last(Bytes),
}

/// Makes the two ends of an upload: what is written into one is what the other stores.
pub fn part_channel() -> (PartWriter, Parts) {
    let (sender, receiver) = mpsc::channel(1);
    let writer =
        PartWriter { buffer: Vec::new(), sender, sent_count: 0, written_bytes: 0, sha256: Sha256::new() };
    (writer, Parts { receiver })
}

/// The writing end. Blocks while parts wait to be sent, so it must be used on a thread that may block.
#[derive(Debug)]
pub struct PartWriter {
    buffer: Vec<u8>,
    sender: mpsc::Sender<Part>,
    sent_count: usize,
    written_bytes: u64,
    sha256: Sha256,
}

/// The storing end.
pub struct Parts {
    receiver: mpsc::Receiver<Part>,
}

/// What a finished writer has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// Size of the object in bytes.
    pub bytes: u64,
    /// SHA-256 of the object, in hex.
    pub sha256: String,
}

impl PartWriter {
    /// Sends the rest. A writer dropped without this has written nothing: its upload is aborted.
    pub fn finish(mut self) -> io::Result<Uploaded> {
        let last = Bytes::from(std::mem::take(&mut self.buffer));
        self.sender.blocking_send(Part::Last(last)).map_err(|_| upload_gone())?;
        Ok(Uploaded { bytes: self.written_bytes, sha256: hex(&self.sha256.finalize()) })
    }

    fn part_bytes(&self) -> usize {
        PART_BYTES * (1 + self.sent_count / PARTS_PER_SIZE)
    }
}

impl Write for PartWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sha256.update(bytes);
        self.written_bytes += bytes.len() as u64;
        if self.buffer.capacity() == 0 {
            // Whole at once: growing by doubling would hold up to two parts' worth for one.
            self.buffer.reserve_exact(self.part_bytes() + bytes.len());
        }
        self.buffer.extend_from_slice(bytes);
        // The last part may be of any size, also empty when it is the only one; so a full part is sent at once.
        if self.buffer.len() >= self.part_bytes() {
            let part = Bytes::from(std::mem::take(&mut self.buffer));
            self.sender.blocking_send(Part::More(part)).map_err(|_| upload_gone())?;
            self.sent_count += 1;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

fn upload_gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the upload has ended")
}

/// Stores everything that the writing end sends as one object under `key`, which must not exist yet.
///
/// When the writer ends without [`PartWriter::finish`], or S3 fails, the upload is aborted and no object appears.
pub async fn upload(bucket: &ResultBucket, key: &str, parts: Parts) -> Result<(), S3Error> {
    let name = &bucket.settings.bucket;
    let created = bucket
        .client
        .create_multipart_upload()
        .bucket(name)
        .key(key)
        .content_type("application/zip")
        .checksum_algorithm(ChecksumAlgorithm::Crc32)
        .send()
        .await
        .map_err(S3Error::sdk("begin an upload"))?;
    let upload = Upload { bucket, key, id: created.upload_id.unwrap_or_default() };
    let outcome = match upload.send_parts(parts).await {
        Ok(completed) => upload.complete(completed).await,
        Err(error) => Err(error),
    };
    if outcome.is_err() {
        upload.abort().await;
    }
    outcome
}

struct Upload<'a> {
    bucket: &'a ResultBucket,
    key: &'a str,
    id: String,
}

impl Upload<'_> {
    /// Sends the parts, a few at a time, and returns them in order.
    async fn send_parts(&self, mut parts: Parts) -> Result<Vec<CompletedPart>, S3Error> {
        let mut in_flight = JoinSet::new();
        let mut completed = Vec::new();
        let mut number = 0;
        loop {
            let part = parts.receiver.recv().await.ok_or(S3Error::Unfinished)?;
            let (bytes, is_last) = match part {
                Part::More(bytes) => (bytes, false),
                Part::Last(bytes) => (bytes, true),
            };
            if !bytes.is_empty() || number == 0 {
                number += 1;
                if in_flight.len() == PARTS_IN_FLIGHT {
                    completed.push(joined(in_flight.join_next().await)?);
                }
                in_flight.spawn(self.send_part(number, bytes));
            }
            if is_last {
                break;
            }
        }
        while !in_flight.is_empty() {
            completed.push(joined(in_flight.join_next().await)?);
        }
        completed.sort_by_key(CompletedPart::part_number);
        Ok(completed)
    }

    fn send_part(
        &self,
        number: i32,
        bytes: Bytes,
    ) -> impl Future<Output = Result<CompletedPart, S3Error>> + Send + 'static {
        let request = self
            .bucket
            .client
            .upload_part()
            .bucket(&self.bucket.settings.bucket)
            .key(self.key)
            .upload_id(&self.id)
            .part_number(number)
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .body(ByteStream::from(bytes));
        async move {
            let sent = request.send().await.map_err(S3Error::sdk("upload a part"))?;
            debug!(part_number = number, "part uploaded");
            Ok(CompletedPart::builder()
                .part_number(number)
                .set_e_tag(sent.e_tag)
                .set_checksum_crc32(sent.checksum_crc32)
                .build())
        }
    }

    /// Makes the object appear. Create-only: an object that is there already is never overwritten.
    async fn complete(&self, parts: Vec<CompletedPart>) -> Result<(), S3Error> {
        let completed = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let outcome = self
            .bucket
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket.settings.bucket)
            .key(self.key)
            .upload_id(&self.id)
            .multipart_upload(completed)
            .if_none_match("*")
            .send()
            .await;
        match outcome {
            Ok(CompleteMultipartUploadOutput { .. }) => Ok(()),
            // Nobody else writes to this attempt's key: an object there is ours, and only the first answer was lost.
            Err(error) if error.raw_response().is_some_and(|response| response.status().as_u16() == 412) => {
                Ok(())
            }
            Err(error) => Err(S3Error::sdk("finish an upload")(error)),
        }
    }

    /// Throws the parts away. When even that fails, the bucket's lifecycle does it a day later.
    async fn abort(&self) {
        let aborted = self
            .bucket
            .client
            .abort_multipart_upload()
            .bucket(&self.bucket.settings.bucket)
            .key(self.key)
            .upload_id(&self.id)
            .send()
            .await;
        if let Err(error) = aborted {
            let error = S3Error::sdk("abort an upload")(error);
            warn!(%error, key = self.key, "the parts of a failed upload stay until the bucket's lifecycle removes them");
        }
    }
}

fn joined(
    outcome: Option<Result<Result<CompletedPart, S3Error>, tokio::task::JoinError>>,
) -> Result<CompletedPart, S3Error> {
    outcome.unwrap_or(Ok(Err(S3Error::Unfinished))).unwrap_or(Err(S3Error::Unfinished))
}
