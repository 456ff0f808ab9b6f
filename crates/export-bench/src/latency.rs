//! Rates and percentiles of many operations.

use std::time::Duration;

use serde::Serialize;

/// Count, rate and latency of one measurement's operations.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Latencies {
    /// Number of operations.
    pub operations: usize,
    /// Operations per second.
    pub per_second: f64,
    /// Median, in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile, in milliseconds.
    pub p99_ms: f64,
    /// Maximum, in milliseconds.
    pub max_ms: f64,
}

impl Latencies {
    /// From the durations of the operations in a measurement of this length.
    pub fn of(mut times: Vec<Duration>, measured: Duration) -> Self {
        times.sort_unstable();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let per_second = times.len() as f64 / measured.as_secs_f64();
        Self {
            operations: times.len(),
            per_second,
            p50_ms: millis(percentile(&times, 50)),
            p99_ms: millis(percentile(&times, 99)),
            max_ms: millis(times.last().copied().unwrap_or_default()),
        }
    }

    /// The rate for display.
    pub fn rounded_rate(&self) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for people")]
        {
            self.per_second.round() as u64
        }
    }
}

/// The percentile: the smallest time that `percent` of all times do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        let found = Latencies::of(times, Duration::from_secs(10));
        assert!((found.per_second - 20.0).abs() < 1e-9);
        for (found, expected) in [(found.p50_ms, 100.0), (found.p99_ms, 198.0), (found.max_ms, 200.0)] {
            assert!((found - expected).abs() < 1e-9, "{found}");
        }
        assert_eq!(Latencies::of(Vec::new(), Duration::from_secs(1)).operations, 0);
    }
}
