//! Counts of a vehicle's points, buckets and documents: each is exported, set aside or rejected.

use export_core::manifest::{Counts, Sample};

use super::samples::{Inside, Reason, Rejected};

/// Counts of one vehicle.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    pub(crate) rejected_points: Rejected,
    pub(crate) rejected_buckets: Rejected,
    pub(crate) rejected_documents: Rejected,
}

impl Tally {
    /// Counts a point that cannot be exported.
    pub(crate) fn reject_point(&mut self, reason: Reason, sample: impl FnOnce() -> Sample) {
        self.counts.rejected += 1;
        self.rejected_points.add(reason, sample);
    }

    /// Counts a bucket that cannot be read, or not to its end.
    pub(crate) fn reject_bucket(&mut self, reason: Reason, inside: Inside, sample: impl FnOnce() -> Sample) {
        self.counts.rejected += inside.points;
        self.rejected_buckets.add_containers(reason, 1, inside, sample);
    }

    /// Counts documents that cannot be read, with one sample. `inside` is what all of them hold.
    pub(crate) fn reject_documents(
        &mut self,
        reason: Reason,
        count: u64,
        inside: Inside,
        sample: impl FnOnce() -> Sample,
    ) {
        self.counts.rejected += inside.points;
        self.rejected_documents.add_containers(reason, count, inside, sample);
    }

    /// Adds counts that come later in the order of the data.
    pub(crate) fn merge(&mut self, later: Self) {
        self.counts.add(&later.counts);
        self.rejected_points.merge(later.rejected_points);
        self.rejected_buckets.merge(later.rejected_buckets);
        self.rejected_documents.merge(later.rejected_documents);
    }
}
