//! How far an export is, readable from another thread while the engine works.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Counters of a running export, and the way to stop it.
///
/// The engine is the only writer of the counters. They are monitoring figures: each is exact, but two read one after
/// the other may belong to different moments.
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
    is_stopped: AtomicBool,
}

/// `vehicle_millionths` of a whole vehicle.
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

    /// Bytes of the result given to the output so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Hour documents read so far.
    pub fn documents(&self) -> u64 {
        self.documents.load(Relaxed)
    }

    /// Vehicles whose file is written.
    pub fn vehicles_done(&self) -> u64 {
        self.vehicles_done.load(Relaxed)
    }

    /// Vehicles of the export; 0 until it has begun.
    pub fn vehicles_total(&self) -> u64 {
        self.vehicles_total.load(Relaxed)
    }

    /// Share of the work that is done, 0 to 1: each vehicle counts the same, and inside one the time passed counts.
    pub fn share_done(&self) -> f64 {
        let vehicles_total = self.vehicles_total();
        if vehicles_total == 0 {
            return 0.0;
        }
        let done = self.vehicles_done() * WHOLE + self.vehicle_millionths.load(Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "a share for people, far below 2^53")]
        let share = done as f64 / (vehicles_total * WHOLE) as f64;
        share.min(1.0)
    }

    /// Asks the engine to end at the next slice with an error.
    pub fn stop(&self) {
        self.is_stopped.store(true, Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Relaxed)
    }

    /// The export of so many vehicles begins, or begins again.
    pub(crate) fn begin(&self, vehicles_total: u64) {
        let counts = [&self.rows, &self.points, &self.bytes, &self.documents];
        for counter in counts.into_iter().chain([&self.vehicles_done, &self.vehicle_millionths]) {
            counter.store(0, Relaxed);
        }
        self.vehicles_total.store(vehicles_total, Relaxed);
    }

    /// So many bytes of the result were given to the output.
    pub(crate) fn add_bytes(&self, count: usize) {
        self.bytes.fetch_add(count as u64, Relaxed);
    }

    /// One hour document was read.
    pub(crate) fn add_document(&self) {
        self.documents.fetch_add(1, Relaxed);
    }

    /// One slice of the current vehicle is written.
    pub(crate) fn slice_done(&self, rows: u64, points: u64, vehicle_millionths: u64) {
        self.rows.fetch_add(rows, Relaxed);
        self.points.fetch_add(points, Relaxed);
        self.vehicle_millionths.store(vehicle_millionths.min(WHOLE), Relaxed);
    }

    /// The current vehicle is written.
    pub(crate) fn vehicle_done(&self) {
        self.vehicle_millionths.store(0, Relaxed);
        self.vehicles_done.fetch_add(1, Relaxed);
    }
}
