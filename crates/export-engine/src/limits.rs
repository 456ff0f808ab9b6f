//! Bounds on memory, derived from one budget, and on the size of a result.

use std::num::NonZeroUsize;

use crate::read::slice::SliceSize;

/// Bounds on one export in the engine: its memory, and the size of its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sizes of slices.
    pub slice: SliceSize,
    /// Memory of all slices that are gathered and not yet written, in bytes.
    pub slices_share_bytes: usize,
    /// Most bytes of the documents of one hour of a vehicle, which are in memory together. If there
    /// are more, the export fails with [`EngineError::HourTooLarge`](crate::EngineError).
    pub hour_bytes: usize,
    /// The largest result.
    pub result: ResultLimits,
}

/// The largest result. An export that would exceed it fails with
/// [`EngineError::ResultTooLarge`](crate::EngineError).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultLimits {
    /// Most rows of all files together.
    pub max_rows: u64,
    /// Most bytes that the sink gets, the manifest included.
    pub max_bytes: u64,
}

impl Default for ResultLimits {
    /// No limit.
    fn default() -> Self {
        Self { max_rows: u64::MAX, max_bytes: u64::MAX }
    }
}

/// An hour may have at least these bytes: 800,000 points as real writers store them.
const SMALLEST_HOUR_BYTES: usize = 12 << 20;

/// Smaller slices are not worth their overhead.
const SMALLEST_SLICE_BYTES: usize = 64 << 10;
/// Larger slices are not faster. One hour of five parameters, as real fleets have them, is a third
/// of a megabyte.
const LARGEST_SLICE_BYTES: usize = 512 << 10;
/// The [`expansion_factor`] of five parameters in CSV, which [`Limits`] assume. Slices of results
/// with a larger factor are smaller.
const USUAL_EXPANSION_FACTOR: usize = 5;
/// Bytes of a point in real documents.
const STORED_POINT_BYTES: usize = 15;
/// Bytes of a point in a decoded column.
const DECODED_POINT_BYTES: usize = 24;

/// Memory of a slice, until it is written, per byte of its documents: for the documents, the
/// decoded columns and the rows. Each point may have a row of its own, so `row_bytes` is the size
/// of a row with one value.
pub(crate) fn expansion_factor(row_bytes: usize) -> usize {
    (STORED_POINT_BYTES + DECODED_POINT_BYTES + row_bytes).div_ceil(STORED_POINT_BYTES)
}

impl Limits {
    /// Divides a share of memory between the slices in flight: one per thread, one that is being
    /// gathered, and one that is being written. The result has no limit.
    pub fn of_share(share_bytes: usize, threads: NonZeroUsize) -> Self {
        let slice_share_bytes = share_bytes / (threads.get() + 2) / USUAL_EXPANSION_FACTOR;
        let target_bytes = slice_share_bytes.clamp(SMALLEST_SLICE_BYTES, LARGEST_SLICE_BYTES);
        // Slices end on whole hours, so most exceed the target. Only an hour that is too large for
        // the share is split.
        let most_bytes = (share_bytes / 2 / USUAL_EXPANSION_FACTOR).max(target_bytes);
        // The share itself, and half of what is meant for reading ahead. Only heavy hours need it.
        // With all of that, a worker would exceed 96 MiB for a Parquet file of a 15 MiB document.
        let hour_bytes = (share_bytes + share_bytes / 2).max(SMALLEST_HOUR_BYTES);
        let slice = SliceSize { target_bytes, most_bytes };
        Self { slice, slices_share_bytes: share_bytes, hour_bytes, result: ResultLimits::default() }
    }
}

impl SliceSize {
    /// Slices that take the same memory at this expansion factor.
    pub(crate) fn for_expansion(self, factor: usize) -> Self {
        let scaled = |size: usize| size.saturating_mul(USUAL_EXPANSION_FACTOR) / factor.max(1);
        Self { target_bytes: scaled(self.target_bytes), most_bytes: scaled(self.most_bytes) }
    }
}

/// The memory of a worker's buffers, divided between concurrent exports and the stages of each
/// export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBudget {
    /// Documents that are read and not yet decoded, per export.
    pub read_ahead_bytes: usize,
    /// Slices that are being decoded and encoded, per export.
    pub slices_bytes: usize,
    /// Parts that are being filled and uploaded, per export.
    pub parts_bytes: usize,
}

impl MemoryBudget {
    /// Default memory of a worker's buffers, in MiB.
    pub const DEFAULT_MIB: usize = 64;
    /// Minimum per export, in MiB: parts of an upload have at least 5 MiB.
    pub const LEAST_MIB_PER_EXPORT: usize = 16;

    /// The shares of each of `exports` concurrent exports.
    pub fn shared_by(budget_bytes: usize, exports: NonZeroUsize) -> Self {
        let export_bytes = budget_bytes / exports.get();
        // The upload has the largest buffers. An eighth is left for the allocator's fragmentation,
        // which is not counted.
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

    /// Forty mostly blank columns of a Parquet file take 328 bytes per row.
    #[test]
    fn wide_rows_make_small_slices() {
        assert_eq!(expansion_factor(29), USUAL_EXPANSION_FACTOR);
        assert_eq!(expansion_factor(328), 25);
        let size = SliceSize { target_bytes: 100, most_bytes: 1_000 };
        assert_eq!(size.for_expansion(5), size);
        assert_eq!(size.for_expansion(25), SliceSize { target_bytes: 20, most_bytes: 200 });
    }

    #[test]
    fn slices_in_flight_fit_their_share() {
        for threads in [1, 2, 8, 64] {
            let threads = NonZeroUsize::new(threads).expect("some");
            let limits = Limits::of_share(8 << 20, threads);
            assert!(limits.slice.target_bytes <= limits.slice.most_bytes);
            assert!(limits.slice.most_bytes * USUAL_EXPANSION_FACTOR <= limits.slices_share_bytes);
        }
    }
}
