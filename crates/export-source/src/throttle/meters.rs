//! The figures of reading, for `/metrics`. docs/metrics.md says what they mean.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

const LIMIT: &str = "exports_source_read_limit";
const IN_FLIGHT: &str = "exports_source_reads_in_flight";
const READ: &str = "exports_source_read_seconds";
const BYTES: &str = "exports_source_bytes_total";
const DECREASES: &str = "exports_source_limit_decreases_total";
const TIMEOUTS: &str = "exports_source_read_timeouts_total";
const WAIT: &str = "exports_source_wait_seconds";

/// Makes all of them known, so that they are there before the first read.
pub(crate) fn describe(limit: usize) {
    describe_gauge!(LIMIT, "Reads of the source that may be under way at a time now");
    describe_gauge!(IN_FLIGHT, "Reads of the source that are under way");
    describe_histogram!(READ, "How long reads of the source took");
    describe_counter!(BYTES, "Bytes of the source's answers");
    describe_counter!(DECREASES, "How often the limit was lowered");
    describe_counter!(
        TIMEOUTS,
        "Reads of hour documents that got no answer in time, or that the source gave up"
    );
    describe_histogram!(WAIT, "How long reads waited before they began, for a permit and for the byte rate");
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
