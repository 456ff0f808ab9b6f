//! Metrics of this process in Prometheus's text format: `GET /metrics` on the admin address.
//!
//! Code records metrics with the macros of the crate `metrics`; this module collects them.
//! docs/metrics.md lists them, and a test compares it with what the programs expose.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::time::interval;

/// Upper bounds of the buckets of times, in seconds: from an answer of an idle source to a wait in
/// a long queue.
const SECONDS: [f64; 17] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];
/// The metric of the API's requests, which has one series for each route, method and status.
const HTTP_REQUESTS: &str = "exports_http_request_seconds";
/// Upper bounds of its buckets, in seconds: fewer than those of other times, because it has many
/// series.
const HTTP_SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
/// Interval at which recorded values are moved into their buckets. Until then each value is kept in
/// memory.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

static COLLECTED: OnceLock<Metrics> = OnceLock::new();

/// The metrics of this process. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

/// Starts to collect metrics. Call it before anything is recorded. There is one collection per
/// process, so a later call (in a test) returns the same one.
pub fn init_metrics() -> Metrics {
    let collected = COLLECTED.get_or_init(|| {
        let builder = PrometheusBuilder::new();
        let builder = builder.set_buckets(&SECONDS).unwrap_or_else(|_| PrometheusBuilder::new());
        let requests = Matcher::Full(HTTP_REQUESTS.to_owned());
        // Fails only without buckets.
        let builder = builder.set_buckets_for_metric(requests, &HTTP_SECONDS).unwrap_or_default();
        let recorder = builder.build_recorder();
        let metrics = Metrics(recorder.handle());
        // Fails only if an embedding program has a recorder already; then this one stays empty.
        metrics::set_global_recorder(recorder).ok();
        metrics
    });
    collected.clone()
}

impl Metrics {
    /// All metrics as text.
    pub(crate) fn render(&self) -> String {
        self.0.render()
    }

    /// Moves recorded values into their buckets at an interval, until the future is dropped.
    pub(crate) async fn run_upkeep(&self) {
        let mut times = interval(UPKEEP_INTERVAL);
        loop {
            times.tick().await;
            self.0.run_upkeep();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_rendered_with_buckets() {
        let metrics = init_metrics();
        metrics::describe_histogram!("test_seconds", "How long a test takes");
        metrics::histogram!("test_seconds").record(0.3);
        metrics::counter!("test_total").increment(2);
        drop(metrics::histogram!("test_untouched_seconds"));
        metrics::counter!("test_untouched_total").increment(0);
        let text = init_metrics().render();
        assert!(text.contains("# HELP test_seconds How long a test takes\n"), "{text}");
        assert!(text.contains("test_seconds_bucket{le=\"0.25\"} 0\n"), "{text}");
        assert!(text.contains("test_seconds_bucket{le=\"0.5\"} 1\n"), "{text}");
        assert!(text.contains("\ntest_total 2\n"), "{text}");
        // Untouched metrics are there as zero, so that missing and zero can be told apart.
        assert!(text.contains("test_untouched_seconds_count 0\n"), "{text}");
        assert!(text.contains("test_untouched_total 0\n"), "{text}");
        metrics.0.run_upkeep();
    }
}
