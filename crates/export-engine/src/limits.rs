//! Bounds on memory, derived from one number.

use std::num::NonZeroUsize;

use crate::slice::SliceSize;

/// What one export may hold in memory while the engine works on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How large slices are.
    pub slice: SliceSize,
    /// Memory of all slices between being gathered and being written, in bytes.
    pub slices_share_bytes: usize,
}

/// Smallest slices that are worth their overhead.
const SMALLEST_SLICE_BYTES: usize = 64 << 10;
/// Larger slices gain nothing: an hour of the field's five parameters has a third of a megabyte.
const LARGEST_SLICE_BYTES: usize = 512 << 10;
/// Memory that a slice takes for each byte of its documents until it is written: the documents, the decoded columns, the text. Points
/// take 15 bytes in the field's documents, 24 in a column and about 24 as text.
pub(crate) const BYTES_PER_DOCUMENT_BYTE: usize = 5;

impl Limits {
    /// Divides a share of memory between the slices that are in flight: one for each thread, one that is being gathered, and one
    /// that is being written.
    pub fn of_share(share_bytes: usize, threads: NonZeroUsize) -> Self {
        let slice_share_bytes = share_bytes / (threads.get() + 2) / BYTES_PER_DOCUMENT_BYTE;
        let target_bytes = slice_share_bytes.clamp(SMALLEST_SLICE_BYTES, LARGEST_SLICE_BYTES);
        // Slices end on whole hours, so most are larger than their target; only hours that exceed the share by themselves are split.
        let most_bytes = (share_bytes / 2 / BYTES_PER_DOCUMENT_BYTE).max(target_bytes);
        Self { slice: SliceSize { target_bytes, most_bytes }, slices_share_bytes: share_bytes }
    }
}

/// The memory of a worker's buffers, divided between the exports that it does at a time and between what each of them does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBudget {
    /// Documents that were read and not yet decoded, for each export.
    pub read_ahead_bytes: usize,
    /// Slices that are decoded and encoded, for each export.
    pub slices_bytes: usize,
    /// Parts that are filled and uploaded, for each export.
    pub parts_bytes: usize,
}

impl MemoryBudget {
    /// What a worker's buffers take unless it is set otherwise, in MiB.
    pub const DEFAULT_MIB: usize = 64;
    /// The least that an export can do with, in MiB: parts of an upload have 5 MiB at least.
    pub const LEAST_MIB_PER_EXPORT: usize = 16;

    /// The shares of each of so many exports.
    pub fn shared_by(budget_bytes: usize, exports: NonZeroUsize) -> Self {
        let export_bytes = budget_bytes / exports.get();
        // The upload has the largest pieces. An eighth is left for what is not counted: what the allocator loses between pieces.
        Self {
            parts_bytes: export_bytes / 8 * 3,
            read_ahead_bytes: export_bytes / 4,
            slices_bytes: export_bytes / 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_stay_within_the_budget() {
        for exports in [1, 2, 3, 7] {
            let exports = NonZeroUsize::new(exports).expect("some");
            let budget = MemoryBudget::shared_by(64 << 20, exports);
            let export_bytes = budget.read_ahead_bytes + budget.slices_bytes + budget.parts_bytes;
            assert!(export_bytes * exports.get() <= 56 << 20);
            assert!(export_bytes * exports.get() > (56 << 20) - 16 * exports.get());
        }
    }

    #[test]
    fn slices_in_flight_fit_their_share() {
        for threads in [1, 2, 8, 64] {
            let threads = NonZeroUsize::new(threads).expect("some");
            let limits = Limits::of_share(8 << 20, threads);
            assert!(limits.slice.target_bytes <= limits.slice.most_bytes);
            assert!(limits.slice.most_bytes * BYTES_PER_DOCUMENT_BYTE <= limits.slices_share_bytes);
        }
    }
}
