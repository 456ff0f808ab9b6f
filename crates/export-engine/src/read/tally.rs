//! Counts of a vehicle's points and documents: each is exported, set aside or rejected.

use export_core::manifest::{Counts, Sample};

use super::samples::{Reason, Rejected};

/// Counts of one vehicle.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    pub(crate) rejected_points: Rejected,
    pub(crate) rejected_documents: Rejected,
}

impl Tally {
    /// Counts a point that cannot be exported. It is already among the points read.
    pub(crate) fn reject_point(&mut self, reason: Reason, sample: impl FnOnce() -> Sample) {
        self.counts.rejected += 1;
        self.rejected_points.add(reason, 1, sample);
    }

    /// Adds counts that come later in the order of the data.
    pub(crate) fn merge(&mut self, later: Self) {
        self.counts.add(&later.counts);
        self.rejected_points.merge(later.rejected_points);
        self.rejected_documents.merge(later.rejected_documents);
    }
}
