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
/// Memory that a slice of the field's five parameters takes for each byte of its documents until it is written, see
/// [`bytes_per_document_byte`]. Slices are made smaller where it is more.
const BYTES_PER_DOCUMENT_BYTE: usize = 5;
/// A point in the field's documents.
const STORED_POINT_BYTES: usize = 15;
/// A point in a decoded column.
const DECODED_POINT_BYTES: usize = 24;

/// Memory that a slice takes for each byte of its documents until it is written: the documents, the decoded columns, the rows. Each
/// point may have a row of its own, so `row_bytes` is what a row with one value takes.
pub(crate) fn bytes_per_document_byte(row_bytes: usize) -> usize {
    (STORED_POINT_BYTES + DECODED_POINT_BYTES + row_bytes).div_ceil(STORED_POINT_BYTES)
}

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

impl SliceSize {
    /// Slices that take as much memory where each byte of documents takes so many bytes.
    pub(crate) fn where_a_byte_takes(self, bytes: usize) -> Self {
        let scaled = |size: usize| size.saturating_mul(BYTES_PER_DOCUMENT_BYTE) / bytes.max(1);
        Self { target_bytes: scaled(self.target_bytes), most_bytes: scaled(self.most_bytes) }
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

    /// Forty mostly blank columns of a parquet file take 328 bytes for each row.
    #[test]
    fn wide_rows_make_small_slices() {
        assert_eq!(bytes_per_document_byte(29), BYTES_PER_DOCUMENT_BYTE);
        assert_eq!(bytes_per_document_byte(328), 25);
        let size = SliceSize { target_bytes: 100, most_bytes: 1_000 };
        assert_eq!(size.where_a_byte_takes(5), size);
        assert_eq!(size.where_a_byte_takes(25), SliceSize { target_bytes: 20, most_bytes: 200 });
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
