//! Parts of uploads: their sizes, and the memory that they share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The smallest part that S3 accepts, except for the last of an object.
pub(crate) const SMALLEST_PART_BYTES: usize = 5 << 20;
/// The largest part. S3 accepts up to 5 GiB, but a part must be sent within the timeout of a
/// request, and is sent again as a whole.
const LARGEST_PART_BYTES: usize = 64 << 20;
/// The most parts of an object that S3 accepts.
const MAX_PARTS: usize = 10_000;
/// Number of parts that the budget holds: one is filled while two are sent. Fewer in a budget that
/// has no room for three of the smallest.
const PARTS_IN_BUDGET: usize = 3;

/// The size of the parts of all objects, derived from a share of the memory budget.
///
/// All parts of an object have this size, except for the last one, which may be smaller. Some S3
/// servers, such as Cloudflare R2, demand this, and refuse other parts only when the upload is
/// completed. So the size decides how large an object may become: [`MAX_PARTS`] times the size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartSize {
    bytes: usize,
}

impl PartSize {
    pub(crate) fn within(share_bytes: usize) -> Self {
        let part_count = (share_bytes / SMALLEST_PART_BYTES).clamp(1, PARTS_IN_BUDGET);
        Self::of((share_bytes / part_count).clamp(SMALLEST_PART_BYTES, LARGEST_PART_BYTES))
    }

    /// Parts of this size, whatever S3 accepts.
    pub(crate) fn of(bytes: usize) -> Self {
        Self { bytes }
    }

    /// Size in bytes of the part that follows `part_count` others; `None` if S3 accepts no more
    /// parts.
    pub(crate) fn after(self, part_count: usize) -> Option<usize> {
        (part_count < MAX_PARTS).then_some(self.bytes)
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
    fn c12_all_parts_have_one_size_that_the_share_allows() {
        let mib = |share_mib: usize| PartSize::within(share_mib * MIB).bytes / MIB;
        assert_eq!([0, 5, 10, 12, 15, 18, 24, 64, 512].map(mib), [5, 5, 5, 6, 5, 6, 8, 21, 64]);
        let size = PartSize::within(12 * MIB);
        assert!((0..MAX_PARTS).all(|count| size.after(count) == Some(6 * MIB)));
        assert_eq!(size.after(MAX_PARTS), None);
        // The largest object by share, in GiB.
        let most = |share_mib: usize| (PartSize::within(share_mib * MIB).bytes * MAX_PARTS) >> 30;
        assert_eq!([5, 12, 24, 64, 512].map(most), [48, 58, 78, 208, 625]);
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
