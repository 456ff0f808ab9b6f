//! The bucket as the engine's sink: for one thread that writes and may block, with requests that run beside it.
//!
//! What is written fills parts. A part that is full is sent while the next one is filled; an object that ends before its
//! first part is full is stored by one request instead, while the next object is filled. All parts count against one
//! share of the memory budget until their last byte is sent, and the writer waits where there is no room: when S3 is slow,
//! the engine stops, and nothing piles up.
//!
//! Whoever writes learns of a failure at the next write; nobody waits for ever, since every request has its limit and
//! the first failure ends all other waiting.

use std::io;
use std::sync::Arc;

use aws_sdk_s3::types::CompletedPart;
use bytes::Bytes;
use export_core::manifest::MANIFEST_ENTRY;
use export_core::result::ResultObject;
use export_core::sink::Sink;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use crate::bucket::ResultBucket;
use crate::error::S3Error;
use crate::key::ResultPlace;
use crate::object::{Upload, put};
use crate::parts::{Gauge, PartBudget, PartBuffer, PartBytes, PartSizes};
use crate::stored::{DISCARDING, Shared, StoredResult, hex};

/// Requests with content at a time, at least: small objects take little of the budget but as long as others.
const FEWEST_REQUESTS: usize = 4;
/// The same at most: more do not make an upload faster.
const MOST_REQUESTS: usize = 16;
/// Objects at a time that are written but not stored yet.
const MOST_UNSTORED_OBJECTS: usize = 32;

/// Stores the objects of one export. Use it on a thread of `spawn_blocking`: its calls block.
///
/// Dropped without [`ResultSink::finish`], it throws away everything it has stored.
#[derive(Debug)]
pub struct ResultSink {
    handle: Handle,
    shared: Arc<Shared>,
    place: ResultPlace,
    sizes: PartSizes,
    object: Option<OpenObject>,
    /// The objects that were ended, in order.
    ended: Vec<ResultObject>,
    /// Their last requests.
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
    sha256: Option<Sha256>,
    part: Option<PartBuffer>,
    /// From the first full part on.
    multipart: Option<Multipart>,
}

#[derive(Debug)]
struct Multipart {
    upload: Arc<Upload>,
    part_count: usize,
    sending: JoinSet<Option<CompletedPart>>,
    sent: Vec<CompletedPart>,
}

/// Watches the bytes in parts, also after the sink is gone.
#[derive(Clone, Debug)]
pub struct PartGauge(Arc<Gauge>);

impl PartGauge {
    /// What parts take now and have taken at most.
    pub fn seen(&self) -> PartBytes {
        self.0.seen()
    }
}

/// Ends the sink's sending when dropped: its writer fails at the next write instead of waiting for S3. Without effect on a
/// sink that was finished.
#[derive(Debug)]
pub struct StopGuard(Arc<Shared>);

impl Drop for StopGuard {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl ResultSink {
    /// A sink for an attempt's place, whose parts take at most `part_share_bytes` together (or 5 MiB, the smallest part
    /// that S3 takes). Its requests run as tasks on the runtime of `handle`.
    pub fn new(bucket: &ResultBucket, place: ResultPlace, part_share_bytes: usize, handle: Handle) -> Self {
        let sizes = PartSizes::within(part_share_bytes);
        let request_count = (part_share_bytes / sizes.first_bytes()).clamp(FEWEST_REQUESTS, MOST_REQUESTS);
        Self {
            handle,
            shared: Shared::new(bucket.clone(), PartBudget::new(part_share_bytes), request_count),
            place,
            sizes,
            object: None,
            ended: Vec::new(),
            storing: JoinSet::new(),
            sha256: None,
            is_finished: false,
        }
    }

    /// Watches the bytes in parts.
    pub fn gauge(&self) -> PartGauge {
        PartGauge(self.shared.budget.gauge())
    }

    /// For whoever waits for the writer and may leave: the sink ends with the guard.
    pub fn stop_guard(&self) -> StopGuard {
        StopGuard(Arc::clone(&self.shared))
    }

    /// Waits until everything is stored. On an error everything is thrown away, as by [`Self::discard`]; a result without
    /// its zip or its manifest is [`S3Error::Unfinished`].
    pub fn finish(mut self) -> Result<StoredResult, S3Error> {
        let is_whole = self.object.is_none() && !self.ended.is_empty();
        if is_whole && !self.shared.stop.is_cancelled() {
            while let Some(ended) = self.handle.block_on(self.storing.join_next()) {
                self.shared.note_end(&ended);
            }
            if let (false, Some(sha256)) = (self.shared.stop.is_cancelled(), self.sha256.take()) {
                self.is_finished = true;
                let bytes = self.ended.iter().map(|object| object.bytes).sum();
                let objects = match self.place {
                    ResultPlace::Object(_) => Vec::new(),
                    ResultPlace::Prefix(_) => std::mem::take(&mut self.ended),
                };
                let uri = self.shared.bucket.uri(self.place.as_str());
                return Ok(StoredResult { uri, objects, bytes, sha256 });
            }
        }
        Err(self.discard().unwrap_or(S3Error::Unfinished))
    }

    /// Throws away everything that was stored, as far as that is possible in a few seconds. Returns the failure that
    /// ended the sink, if one did: when the engine failed by its output, this is why.
    pub fn discard(mut self) -> Option<S3Error> {
        let discarding = self.begin_to_discard();
        // What takes longer goes on by itself: each request has its limit.
        self.handle.block_on(async { tokio::time::timeout(DISCARDING, discarding).await.ok() });
        self.shared.take_failure()
    }

    fn begin_to_discard(&mut self) -> tokio::task::JoinHandle<()> {
        self.is_finished = true;
        self.shared.stop();
        let keys = self.ended.iter().map(|object| self.place.key_of(&object.name)).collect();
        let mut tasks = vec![std::mem::take(&mut self.storing)];
        if let Some(OpenObject { multipart: Some(multipart), .. }) = self.object.take() {
            let mut sending = multipart.sending;
            let mut ending = JoinSet::new();
            ending.spawn_on(async move { while sending.join_next().await.is_some() {} }, &self.handle);
            tasks.push(ending);
        }
        self.handle.spawn(Arc::clone(&self.shared).discard(tasks, keys))
    }

    /// Waits for one of the few requests with content that may run.
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
                    let Some(part_bytes) = self.sizes.after(part_count) else {
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

    /// Sends what the open object has of a part.
    fn send_part(&mut self) -> io::Result<()> {
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
        // Tasks that have ended are cleared away, since there may be thousands.
        while let Some(sent) = multipart.sending.try_join_next() {
            multipart.sent.extend(sent.ok().flatten());
        }
        Ok(())
    }

    /// Waits while too many objects are written but not stored.
    fn make_room_for_object(&mut self) {
        while let Some(ended) = self.storing.try_join_next() {
            self.shared.note_end(&ended);
        }
        while self.storing.len() >= MOST_UNSTORED_OBJECTS
            && let Some(ended) = self.handle.block_on(self.storing.join_next())
        {
            self.shared.note_end(&ended);
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
    // Not broken off, so that the upload's id is known to whoever has to abort it.
    let id = shared.kept(upload.begin(&shared.bucket).await)?;
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => None,
        sent = upload.send_part(&shared.bucket, id, number, content) => shared.kept(sent),
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
    } else if shared.kept(Box::pin(upload.complete(&shared.bucket, sent)).await).is_some() {
        shared.upload_completed(&upload);
    }
}

impl Sink for ResultSink {
    fn begin(&mut self, name: &str) -> io::Result<()> {
        let is_second = matches!(self.place, ResultPlace::Object(_)) && !self.ended.is_empty();
        if self.object.is_some() || is_second {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "one object is begun before another may be",
            ));
        }
        let is_hashed = matches!(self.place, ResultPlace::Object(_)) || name == MANIFEST_ENTRY;
        self.object = Some(OpenObject {
            name: name.to_owned(),
            key: self.place.key_of(name),
            bytes: 0,
            sha256: is_hashed.then(Sha256::new),
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
        if let Some(sha256) = &mut object.sha256 {
            sha256.update(bytes);
        }
        self.fill(bytes)
    }

    fn end(&mut self) -> io::Result<()> {
        self.make_room_for_object();
        if self.object.as_ref().is_some_and(|object| object.multipart.is_some()) {
            self.send_part()?;
        }
        let request = self.request()?;
        let OpenObject { name, key, bytes, sha256, part, multipart } =
            self.object.take().ok_or_else(no_object)?;
        self.ended.push(ResultObject { name: name.clone(), bytes });
        if let Some(sha256) = sha256 {
            self.sha256 = Some(hex(&sha256.finalize()));
        }
        let shared = Arc::clone(&self.shared);
        if let Some(multipart) = multipart {
            self.storing.spawn_on(complete(shared, multipart), &self.handle);
        } else {
            let content = part.map(PartBuffer::into_bytes).unwrap_or_default();
            let storing = async move {
                let _request = request;
                shared.kept(put(&shared.bucket, &key, &name, content).await);
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
    io::Error::new(io::ErrorKind::BrokenPipe, "the upload has ended")
}

fn no_object() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "no object was begun")
}
