//! Parts of uploads: their sizes, and the memory that they share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Size of the first parts in bytes, if the budget allows three of them.
const FIRST_PART_BYTES: usize = 8 << 20;
/// The smallest part that S3 accepts, except for the last of an object.
const SMALLEST_PART_BYTES: usize = 5 << 20;
/// Upper bound against absurd settings; S3 accepts parts of up to 5 GiB.
const LARGEST_PART_BYTES: usize = 1 << 30;
/// The most parts of an object that S3 accepts.
const MAX_PARTS: usize = 10_000;
/// Number of parts after which the size grows by the size of the first part. Most results are far
/// smaller and use small parts.
const PARTS_PER_SIZE: usize = 1_000;
/// Number of first parts that the budget holds: one is filled while two are sent.
const FIRST_PARTS_IN_BUDGET: usize = 3;

/// The sizes of an object's parts, derived from a share of the memory budget.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartSizes {
    first_bytes: usize,
    largest_bytes: usize,
}

impl PartSizes {
    pub(crate) fn within(share_bytes: usize) -> Self {
        let first_bytes = (share_bytes / FIRST_PARTS_IN_BUDGET).clamp(SMALLEST_PART_BYTES, FIRST_PART_BYTES);
        // Towards the end of a result of many gigabytes one part may take the whole share: then
        // filling and sending alternate instead of overlapping.
        let largest_bytes = share_bytes.clamp(first_bytes, LARGEST_PART_BYTES);
        Self { first_bytes, largest_bytes }
    }

    /// Size in bytes of the part that follows `part_count` others; `None` if S3 accepts no more
    /// parts.
    pub(crate) fn after(self, part_count: usize) -> Option<usize> {
        let bytes = self.first_bytes * (1 + part_count / PARTS_PER_SIZE);
        (part_count < MAX_PARTS).then(|| bytes.min(self.largest_bytes))
    }

    pub(crate) fn first_bytes(self) -> usize {
        self.first_bytes
    }
}

/// Memory of all parts, whether they are being filled, wait or are being sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartBytes {
    /// Bytes now.
    pub alive_bytes: usize,
    /// The most bytes so far.
    pub peak_bytes: usize,
}

/// Measures the memory of a sink's parts, also after the sink is dropped.
#[derive(Debug, Default)]
pub struct PartGauge {
    alive_bytes: AtomicUsize,
    peak_bytes: AtomicUsize,
}

impl PartGauge {
    /// The memory of parts now and at most.
    pub fn seen(&self) -> PartBytes {
        PartBytes {
            alive_bytes: self.alive_bytes.load(Ordering::Relaxed),
            peak_bytes: self.peak_bytes.load(Ordering::Relaxed),
        }
    }

    fn add(&self, bytes: usize) {
        let alive_bytes = self.alive_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak_bytes.fetch_max(alive_bytes, Ordering::Relaxed);
    }

    fn subtract(&self, bytes: usize) {
        self.alive_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The share of the memory budget for the parts of one export.
#[derive(Debug)]
pub(crate) struct PartBudget {
    bytes: Arc<Semaphore>,
    gauge: Arc<PartGauge>,
}

impl PartBudget {
    /// A budget of this size, or of one smallest part if that is more.
    pub(crate) fn new(share_bytes: usize) -> Self {
        let bytes = share_bytes.clamp(SMALLEST_PART_BYTES, Semaphore::MAX_PERMITS);
        Self { bytes: Arc::new(Semaphore::new(bytes)), gauge: Arc::default() }
    }

    /// Waits for memory for a part of this size. `None` after [`Self::close`].
    pub(crate) async fn part(&self, bytes: usize) -> Option<PartBuffer> {
        let permits = u32::try_from(bytes).ok()?;
        let permit = Arc::clone(&self.bytes).acquire_many_owned(permits).await.ok()?;
        let content = Vec::with_capacity(bytes);
        self.gauge.add(content.capacity());
        Some(PartBuffer { content, target_bytes: bytes, permit, gauge: Arc::clone(&self.gauge) })
    }

    /// Ends all waits for memory.
    pub(crate) fn close(&self) {
        self.bytes.close();
    }

    pub(crate) fn gauge(&self) -> Arc<PartGauge> {
        Arc::clone(&self.gauge)
    }
}

/// A part that is being filled. Its bytes count until the last clone of the `Bytes` it becomes is
/// dropped.
#[derive(Debug)]
pub(crate) struct PartBuffer {
    content: Vec<u8>,
    target_bytes: usize,
    permit: OwnedSemaphorePermit,
    gauge: Arc<PartGauge>,
}

impl PartBuffer {
    /// Appends as many bytes as fit; returns the rest.
    pub(crate) fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(bytes.len().min(self.target_bytes - self.content.len()));
        self.content.extend_from_slice(taken);
        rest
    }

    pub(crate) fn is_full(&self) -> bool {
        self.content.len() == self.target_bytes
    }

    /// The part as `Bytes`. Returns its unused memory to the budget.
    pub(crate) fn into_bytes(mut self) -> Bytes {
        let before_bytes = self.content.capacity();
        self.content.shrink_to_fit();
        let unused_bytes = before_bytes - self.content.capacity();
        self.gauge.subtract(unused_bytes);
        drop(self.permit.split(unused_bytes));
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for PartBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.content
    }
}

impl Drop for PartBuffer {
    fn drop(&mut self) {
        self.gauge.subtract(self.content.capacity());
        self.content = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn c3_parts_are_as_large_as_the_share_allows_and_no_more_than_s3_takes() {
        let first_mib = |share_mib: usize| PartSizes::within(share_mib * MIB).first_bytes() / MIB;
        assert_eq!([1, 5, 15, 18, 24, 64].map(first_mib), [5, 5, 5, 6, 8, 8]);
        let sizes = PartSizes::within(64 * MIB);
        let mib_after = |count| sizes.after(count).map(|bytes| bytes / MIB);
        assert_eq!([0, 999, 1_000, 2_999, 3_000, 9_999].map(mib_after), [8, 8, 16, 24, 32, 64].map(Some));
        assert_eq!(mib_after(10_000), None);
        // The largest object by share, in GiB.
        let most = |share_mib: usize| {
            let sizes = PartSizes::within(share_mib * MIB);
            (0..MAX_PARTS).filter_map(|count| sizes.after(count)).sum::<usize>() >> 30
        };
        assert_eq!([5, 12, 24, 64, 512].map(most), [48, 108, 210, 406, 429]);
    }

    #[tokio::test]
    async fn the_share_is_never_exceeded_and_unused_memory_is_returned() {
        let budget = Arc::new(PartBudget::new(16 * MIB));
        let mut first = budget.part(8 * MIB).await.expect("room");
        let second = budget.part(8 * MIB).await.expect("room");
        let third = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.part(6 * MIB).await.expect("room") }
        });
        tokio::task::yield_now().await;
        assert!(!third.is_finished());
        let too_much = vec![7; 9 * MIB];
        assert_eq!(first.fill(&too_much[..2 * MIB]).len(), 0);
        let sent = first.into_bytes();
        assert_eq!(sent.len(), 2 * MIB);
        let mut third = third.await.expect("no panic");
        assert_eq!(budget.gauge().seen(), PartBytes { alive_bytes: 16 * MIB, peak_bytes: 16 * MIB });
        assert_eq!((third.fill(&too_much).len(), third.is_full()), (3 * MIB, true));
        drop((sent, second, third));
        assert_eq!(budget.gauge().seen().alive_bytes, 0);
        budget.close();
        assert!(budget.part(1).await.is_none());
    }
}
