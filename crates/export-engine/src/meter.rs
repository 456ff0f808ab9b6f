//! The progress of an export, readable from another thread while the engine works.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Progress counters of a running export.
///
/// Only the engine writes them. Each counter is exact, but two counters read one after the other
/// may be of different moments.
#[derive(Debug, Default)]
pub struct Meter {
    rows: AtomicU64,
    points: AtomicU64,
    bytes: AtomicU64,
    documents: AtomicU64,
    collections_counted: AtomicU64,
    vehicles_total: AtomicU64,
    /// [`WHOLE`] for each complete vehicle, plus the fraction of the current vehicle's range that
    /// is done. One counter, so that no reader sees the progress fall at the end of a vehicle.
    millionths_done: AtomicU64,
}

/// A complete vehicle, in millionths.
const WHOLE: u64 = 1_000_000;

impl Meter {
    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.rows.load(Relaxed)
    }

    /// Points read so far.
    pub fn points(&self) -> u64 {
        self.points.load(Relaxed)
    }

    /// Bytes of the result written to the sink so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Hour documents read so far.
    pub fn documents(&self) -> u64 {
        self.documents.load(Relaxed)
    }

    /// Collections whose documents were counted so far, to compare the source with a result.
    pub fn collections_counted(&self) -> u64 {
        self.collections_counted.load(Relaxed)
    }

    /// Counts a collection whose documents were counted.
    pub fn add_counted_collection(&self) {
        self.collections_counted.fetch_add(1, Relaxed);
    }

    /// Vehicles whose file is complete.
    pub fn vehicles_done(&self) -> u64 {
        self.millionths_done.load(Relaxed) / WHOLE
    }

    /// Vehicles of the export; 0 before it begins.
    pub fn vehicles_total(&self) -> u64 {
        self.vehicles_total.load(Relaxed)
    }

    /// Fraction of the work that is done, 0 to 1. Vehicles have equal weight; within a vehicle,
    /// progress is the fraction of the range.
    pub fn share_done(&self) -> f64 {
        let vehicles_total = self.vehicles_total();
        if vehicles_total == 0 {
            return 0.0;
        }
        let done = self.millionths_done.load(Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "an estimate, far below 2^53")]
        let fraction = done as f64 / (vehicles_total * WHOLE) as f64;
        fraction.min(1.0)
    }

    /// Resets the counters: a pass over this many vehicles begins.
    pub(crate) fn begin(&self, vehicles_total: u64) {
        for counter in [&self.rows, &self.points, &self.bytes, &self.documents, &self.millionths_done] {
            counter.store(0, Relaxed);
        }
        self.vehicles_total.store(vehicles_total, Relaxed);
    }

    /// Counts bytes of the result written to the sink.
    pub(crate) fn add_bytes(&self, count: usize) {
        self.bytes.fetch_add(count as u64, Relaxed);
    }

    /// Counts one hour document read.
    pub(crate) fn add_document(&self) {
        self.documents.fetch_add(1, Relaxed);
    }

    /// Counts one slice of the current vehicle. `vehicle_millionths` is the fraction of its range
    /// up to the end of the slice.
    pub(crate) fn slice_done(&self, rows: u64, points: u64, vehicle_millionths: u64) {
        self.add_rows(rows);
        self.points.fetch_add(points, Relaxed);
        // Below `WHOLE` until `vehicle_done`, because the rest of the file may still be unwritten.
        let of_vehicle = vehicle_millionths.min(WHOLE - 1);
        self.millionths_done.store(self.vehicles_done() * WHOLE + of_vehicle, Relaxed);
    }

    /// Counts rows written after the last slice of the current vehicle.
    pub(crate) fn add_rows(&self, rows: u64) {
        self.rows.fetch_add(rows, Relaxed);
    }

    /// Counts the current vehicle as complete.
    pub(crate) fn vehicle_done(&self) {
        self.millionths_done.store((self.vehicles_done() + 1) * WHOLE, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_does_not_fall_at_the_end_of_a_vehicle() {
        let meter = Meter::default();
        meter.begin(2);
        meter.slice_done(3, 5, 400_000);
        let within = meter.share_done();
        meter.slice_done(3, 5, WHOLE);
        let before_end = meter.share_done();
        meter.add_rows(1);
        assert!(meter.share_done() >= before_end && before_end > within);
        assert_eq!((meter.rows(), meter.points(), meter.vehicles_done()), (7, 10, 0));
        meter.vehicle_done();
        assert!(meter.share_done() > before_end);
        assert_eq!(meter.vehicles_done(), 1);
        meter.vehicle_done();
        assert!((meter.share_done() - 1.0).abs() < f64::EPSILON);
    }
}
