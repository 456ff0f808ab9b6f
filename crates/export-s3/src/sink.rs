//! The engine's sink that stores objects in the bucket. One blocking thread writes; requests run as
//! tasks beside it.
//!
//! **Parts.** Writes fill parts of one size. A full part is sent while the next one is filled. An
//! object that ends before its first part is full is stored with one request instead, while the
//! next object is filled.
//!
//! **States.** Object: open → ended (the writer adds no more bytes) → stored. Part: filling →
//! sending → sent.
//!
//! **Backpressure.** All parts count against one share of the memory budget until their last byte
//! is sent, and the writer waits for memory. So when S3 is slow, the engine waits, and memory stays
//! bounded.
//!
//! **Failures.** The writer gets a failure at its next write. No wait is endless: every request has
//! a timeout, and the first failure ends all other waits.

use std::io;
use std::sync::Arc;

use aws_sdk_s3::types::CompletedPart;
use bytes::Bytes;
use export_core::digest::hex;
use export_core::manifest::MANIFEST_ENTRY;
use export_core::result::ResultObject;
use export_core::sink::Sink;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use crate::bucket::ResultBucket;
use crate::error::S3Error;
use crate::key::ResultLocation;
use crate::object::{Upload, put};
use crate::parts::{PartBudget, PartBuffer, PartGauge, PartSize, SMALLEST_PART_BYTES};
use crate::stored::{DISCARD_TIMEOUT, Shared, StoredResult};

/// Lower bound of the requests with content at a time. Small objects use little memory, but each
/// request takes as long as others.
const MIN_REQUESTS: usize = 4;
/// Upper bound of the requests with content at a time; more do not make uploads faster.
const MAX_REQUESTS: usize = 16;
/// Most objects that have ended but are not stored yet.
const MAX_UNSTORED_OBJECTS: usize = 32;

/// Stores the objects of one export. Its calls block, so use it on a thread of `spawn_blocking`.
///
/// Dropping it without [`ResultSink::finish`] deletes everything that it has stored.
///
/// # Examples
///
/// ```no_run
/// use export_core::sink::Sink;
/// use export_s3::{ResultBucket, ResultLocation, ResultSink, StoredResult};
///
/// # async fn example(bucket: ResultBucket) -> Result<(), Box<dyn std::error::Error>> {
/// let location = ResultLocation::Object("exports/acme/result.zip".to_owned());
/// let mut sink = ResultSink::new(&bucket, location, 24 << 20, tokio::runtime::Handle::current());
/// // If this task is dropped, the guard stops the writer below.
/// let guard = sink.stop_guard();
/// let writing = tokio::task::spawn_blocking(move || -> std::io::Result<_> {
///     sink.begin("result.zip")?;
///     sink.write(b"the bytes of a zip")?;
///     sink.end()?;
///     Ok(sink.finish())
/// });
/// let stored: StoredResult = writing.await???;
/// drop(guard);
/// println!("{} has {} bytes", stored.uri, stored.bytes);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ResultSink {
    handle: Handle,
    shared: Arc<Shared>,
    location: ResultLocation,
    part_size: PartSize,
    object: Option<OpenObject>,
    /// The objects that have ended, stored or not, in order.
    ended: Vec<ResultObject>,
    /// The last request of each ended object that is not stored yet.
    storing: JoinSet<()>,
    sha256: Option<String>,
    is_finished: bool,
}

/// The object that is being written.
#[derive(Debug)]
struct OpenObject {
    name: String,
    key: String,
    bytes: u64,
    sha256: Sha256,
    part: Option<PartBuffer>,
    /// `Some` from the first full part on.
    multipart: Option<Multipart>,
}

#[derive(Debug)]
struct Multipart {
    upload: Arc<Upload>,
    part_count: usize,
    /// Parts that are being sent, and parts whose ended task was not collected yet.
    sending: JoinSet<Option<CompletedPart>>,
    sent: Vec<CompletedPart>,
}

/// Stops the sink when dropped: its writer fails at the next write instead of waiting for S3. No
/// effect on a finished sink.
#[derive(Debug)]
pub struct StopGuard(Arc<Shared>);

impl Drop for StopGuard {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl ResultSink {
    /// A sink that stores the result of one pass of the engine. All its parts take at most
    /// `part_share_bytes` of memory, or 5 MiB if that is more, the smallest part that S3 accepts.
    /// Its requests run as tasks on the runtime of `handle`.
    pub fn new(
        bucket: &ResultBucket,
        location: ResultLocation,
        part_share_bytes: usize,
        handle: Handle,
    ) -> Self {
        let request_count = (part_share_bytes / SMALLEST_PART_BYTES).clamp(MIN_REQUESTS, MAX_REQUESTS);
        Self {
            handle,
            shared: Shared::new(bucket.clone(), PartBudget::new(part_share_bytes), request_count),
            location,
            part_size: PartSize::within(part_share_bytes),
            object: None,
            ended: Vec::new(),
            storing: JoinSet::new(),
            sha256: None,
            is_finished: false,
        }
    }

    /// The gauge of this sink's parts.
    pub fn gauge(&self) -> Arc<PartGauge> {
        self.shared.budget.gauge()
    }

    /// A guard for the task that waits for the writer: if the task is dropped, the guard stops the
    /// sink.
    pub fn stop_guard(&self) -> StopGuard {
        StopGuard(Arc::clone(&self.shared))
    }

    /// Waits until everything is stored. On an error everything is deleted, as by
    /// [`Self::discard`]. A result without its zip or its manifest is [`S3Error::Unfinished`].
    pub fn finish(mut self) -> Result<StoredResult, S3Error> {
        let is_complete = self.object.is_none() && !self.ended.is_empty();
        if is_complete && !self.shared.stop.is_cancelled() {
            while let Some(ended) = self.handle.block_on(self.storing.join_next()) {
                self.shared.fail_if_panicked(&ended);
            }
            if let (false, Some(sha256)) = (self.shared.stop.is_cancelled(), self.sha256.take()) {
                self.is_finished = true;
                let bytes = self.ended.iter().map(|object| object.bytes).sum();
                let objects = match self.location {
                    ResultLocation::Object(_) => Vec::new(),
                    ResultLocation::Prefix(_) => std::mem::take(&mut self.ended),
                };
                let uri = self.shared.bucket.uri(self.location.as_str());
                return Ok(StoredResult { uri, objects, bytes, sha256 });
            }
        }
        Err(self.discard().unwrap_or(S3Error::Unfinished))
    }

    /// Deletes everything that was stored, as far as that is possible in a few seconds. Returns the
    /// failure that stopped the sink, if there was one: it is the cause of the engine's write
    /// error.
    pub fn discard(mut self) -> Option<S3Error> {
        let discarding = self.begin_to_discard();
        // After the timeout the deletion continues in the background; each request has its own
        // timeout.
        self.handle.block_on(async { tokio::time::timeout(DISCARD_TIMEOUT, discarding).await.ok() });
        self.shared.take_failure()
    }

    fn begin_to_discard(&mut self) -> tokio::task::JoinHandle<()> {
        self.is_finished = true;
        self.shared.stop();
        let keys = self.ended.iter().map(|object| self.location.key_of(&object.name)).collect();
        let mut tasks = vec![std::mem::take(&mut self.storing)];
        if let Some(OpenObject { multipart: Some(multipart), .. }) = self.object.take() {
            let mut sending = multipart.sending;
            let mut ending = JoinSet::new();
            ending.spawn_on(async move { while sending.join_next().await.is_some() {} }, &self.handle);
            tasks.push(ending);
        }
        self.handle.spawn(Arc::clone(&self.shared).discard(tasks, keys))
    }

    /// Waits for the permit of one more request with content.
    fn request(&self) -> io::Result<OwnedSemaphorePermit> {
        let requests = Arc::clone(&self.shared.requests);
        self.handle.block_on(requests.acquire_owned()).map_err(|_| upload_ended())
    }

    fn fill(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let object = self.object.as_mut().ok_or_else(no_object)?;
            let part = match &mut object.part {
                Some(part) => part,
                none => {
                    let part_count = object.multipart.as_ref().map_or(0, |multipart| multipart.part_count);
                    let Some(part_bytes) = self.part_size.after(part_count) else {
                        self.shared.fail(S3Error::TooLarge { bytes: object.bytes });
                        return Err(io::Error::other(S3Error::TooLarge { bytes: object.bytes }));
                    };
                    let part = self.handle.block_on(self.shared.budget.part(part_bytes));
                    none.insert(part.ok_or_else(upload_ended)?)
                }
            };
            let rest = part.fill(bytes);
            object.bytes += (bytes.len() - rest.len()) as u64;
            bytes = rest;
            if part.is_full() {
                self.send_part()?;
            }
        }
        Ok(())
    }

    /// Sends the part of the open object, full or not, if there is one.
    fn send_part(&mut self) -> io::Result<()> {
        if self.object.as_ref().is_none_or(|object| object.part.is_none()) {
            return Ok(());
        }
        let request = self.request()?;
        let Some(object) = &mut self.object else { return Ok(()) };
        let Some(part) = object.part.take() else { return Ok(()) };
        let multipart = object.multipart.get_or_insert_with(|| {
            let upload = Arc::new(Upload::new(object.key.clone(), object.name.clone()));
            self.shared.upload_began(&upload);
            Multipart { upload, part_count: 0, sending: JoinSet::new(), sent: Vec::new() }
        });
        multipart.part_count += 1;
        let number = i32::try_from(multipart.part_count).unwrap_or(i32::MAX);
        let (shared, upload) = (Arc::clone(&self.shared), Arc::clone(&multipart.upload));
        let sending = send_part(shared, upload, number, part.into_bytes(), request);
        multipart.sending.spawn_on(sending, &self.handle);
        // Collects ended tasks, because an object may have thousands.
        while let Some(sent) = multipart.sending.try_join_next() {
            multipart.sent.extend(sent.ok().flatten());
        }
        Ok(())
    }

    /// Waits while [`MAX_UNSTORED_OBJECTS`] have ended but are not stored.
    fn make_room_for_object(&mut self) {
        while let Some(ended) = self.storing.try_join_next() {
            self.shared.fail_if_panicked(&ended);
        }
        while self.storing.len() >= MAX_UNSTORED_OBJECTS
            && let Some(ended) = self.handle.block_on(self.storing.join_next())
        {
            self.shared.fail_if_panicked(&ended);
        }
    }
}

async fn send_part(
    shared: Arc<Shared>,
    upload: Arc<Upload>,
    number: i32,
    content: Bytes,
    _request: OwnedSemaphorePermit,
) -> Option<CompletedPart> {
    // Not cancelled by `stop`, so that the upload's id is known when the upload has to be aborted.
    let id = shared.ok_or_fail(upload.begin(&shared.bucket).await)?;
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => None,
        sent = upload.send_part(&shared.bucket, id, number, content) => shared.ok_or_fail(sent),
    }
}

async fn complete(shared: Arc<Shared>, multipart: Multipart) {
    let Multipart { upload, part_count, mut sending, mut sent } = multipart;
    while let Some(part) = sending.join_next().await {
        sent.extend(part.ok().flatten());
    }
    if shared.stop.is_cancelled() {
        return;
    }
    if sent.len() != part_count {
        shared.fail(S3Error::Unfinished);
    } else if shared.ok_or_fail(Box::pin(upload.complete(&shared.bucket, sent)).await).is_some() {
        shared.upload_completed(&upload);
    }
}

impl Sink for ResultSink {
    fn begin(&mut self, name: &str) -> io::Result<()> {
        let is_zip = matches!(self.location, ResultLocation::Object(_));
        if self.object.is_some() {
            return Err(invalid("begin() before the end of another object"));
        }
        if is_zip && !self.ended.is_empty() {
            return Err(invalid("begin() after the end of the only object: a zip is one object"));
        }
        self.object = Some(OpenObject {
            name: name.to_owned(),
            key: self.location.key_of(name),
            bytes: 0,
            sha256: Sha256::new(),
            part: None,
            multipart: None,
        });
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.shared.stop.is_cancelled() {
            return Err(upload_ended());
        }
        let object = self.object.as_mut().ok_or_else(no_object)?;
        object.sha256.update(bytes);
        self.fill(bytes)
    }

    fn end(&mut self) -> io::Result<()> {
        self.make_room_for_object();
        let is_multipart = self.object.as_ref().ok_or_else(no_object)?.multipart.is_some();
        // Each part of a multipart upload has its own permit. Completing the upload has no content
        // and needs none.
        let request = if is_multipart {
            self.send_part()?;
            None
        } else {
            Some(self.request()?)
        };
        let OpenObject { name, key, bytes, sha256, part, multipart } =
            self.object.take().ok_or_else(no_object)?;
        let sha256 = hex(&sha256.finalize());
        if matches!(self.location, ResultLocation::Object(_)) || name == MANIFEST_ENTRY {
            self.sha256 = Some(sha256.clone());
        }
        self.ended.push(ResultObject { name: name.clone(), bytes, sha256: Some(sha256) });
        let shared = Arc::clone(&self.shared);
        if let Some(multipart) = multipart {
            self.storing.spawn_on(complete(shared, multipart), &self.handle);
        } else {
            let content = part.map(PartBuffer::into_bytes).unwrap_or_default();
            let storing = async move {
                let _request = request;
                shared.ok_or_fail(put(&shared.bucket, &key, &name, content).await);
            };
            self.storing.spawn_on(storing, &self.handle);
        }
        Ok(())
    }
}

impl Drop for ResultSink {
    fn drop(&mut self) {
        if !self.is_finished {
            drop(self.begin_to_discard());
        }
    }
}

fn upload_ended() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the upload was stopped")
}

fn no_object() -> io::Error {
    invalid("no object was begun")
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[cfg(test)]
#[path = "sink_tests.rs"]
mod tests;
