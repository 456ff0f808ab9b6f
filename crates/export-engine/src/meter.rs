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
    vehicles_done: AtomicU64,
    vehicles_total: AtomicU64,
    /// Share of the current vehicle's range that is done, in millionths.
    vehicle_millionths: AtomicU64,
}

/// `vehicle_millionths` of a finished vehicle.
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

    /// Vehicles whose file is complete.
    pub fn vehicles_done(&self) -> u64 {
        self.vehicles_done.load(Relaxed)
    }

    /// Vehicles of the export; 0 before it begins.
    pub fn vehicles_total(&self) -> u64 {
        self.vehicles_total.load(Relaxed)
    }

    /// Share of the work that is done, 0 to 1. Vehicles have equal weight; within a vehicle,
    /// progress is the share of the range.
    pub fn share_done(&self) -> f64 {
        let vehicles_total = self.vehicles_total();
        if vehicles_total == 0 {
            return 0.0;
        }
        let done = self.vehicles_done() * WHOLE + self.vehicle_millionths.load(Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "an estimate, far below 2^53")]
        let share = done as f64 / (vehicles_total * WHOLE) as f64;
        share.min(1.0)
    }

    /// Resets the counters: an attempt at an export of this many vehicles begins.
    pub(crate) fn begin(&self, vehicles_total: u64) {
        let counts = [&self.rows, &self.points, &self.bytes, &self.documents];
        for counter in counts.into_iter().chain([&self.vehicles_done, &self.vehicle_millionths]) {
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

    /// Counts one slice of the current vehicle. `vehicle_millionths` is the share of its range up
    /// to the end of the slice.
    pub(crate) fn slice_done(&self, rows: u64, points: u64, vehicle_millionths: u64) {
        self.rows.fetch_add(rows, Relaxed);
        self.points.fetch_add(points, Relaxed);
        self.vehicle_millionths.store(vehicle_millionths.min(WHOLE), Relaxed);
    }

    /// Counts the current vehicle as complete.
    pub(crate) fn vehicle_done(&self) {
        self.vehicle_millionths.store(0, Relaxed);
        self.vehicles_done.fetch_add(1, Relaxed);
    }
}
