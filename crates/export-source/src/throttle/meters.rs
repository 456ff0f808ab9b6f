//! The metrics of reading the source. docs/metrics.md describes them.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

const LIMIT: &str = "exports_source_read_limit";
const IN_FLIGHT: &str = "exports_source_reads_in_flight";
const READ: &str = "exports_source_read_seconds";
const BYTES: &str = "exports_source_bytes_total";
const DECREASES: &str = "exports_source_limit_decreases_total";
const TIMEOUTS: &str = "exports_source_read_timeouts_total";
const WAIT: &str = "exports_source_wait_seconds";

/// Registers all metrics, so that they exist before the first read.
pub(crate) fn describe(limit: usize) {
    describe_gauge!(LIMIT, "Maximum number of concurrent reads of the source now");
    describe_gauge!(IN_FLIGHT, "Running reads of the source");
    describe_histogram!(READ, "Duration of reads of the source");
    describe_counter!(BYTES, "Bytes of the source's replies");
    describe_counter!(DECREASES, "How often the read limit was lowered");
    describe_counter!(TIMEOUTS, "Reads of hour documents that timed out, at the client or at the source");
    describe_histogram!(WAIT, "How long reads waited for a permit and for the rate limit");
    limited(limit);
    gauge!(IN_FLIGHT).set(0.0);
    counter!(BYTES).increment(0);
    counter!(DECREASES).increment(0);
    counter!(TIMEOUTS).increment(0);
    // Registered without a value.
    drop((histogram!(READ), histogram!(WAIT)));
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
pub(crate) fn limited(limit: usize) {
    gauge!(LIMIT).set(limit as f64);
}

pub(crate) fn lowered() {
    counter!(DECREASES).increment(1);
}

pub(crate) fn timed_out() {
    counter!(TIMEOUTS).increment(1);
}

pub(crate) fn began(waited: Duration) {
    gauge!(IN_FLIGHT).increment(1.0);
    histogram!(WAIT).record(waited.as_secs_f64());
}

pub(crate) fn ended() {
    gauge!(IN_FLIGHT).decrement(1.0);
}

pub(crate) fn answered(took: Duration, bytes: usize) {
    histogram!(READ).record(took.as_secs_f64());
    counter!(BYTES).increment(bytes as u64);
}
