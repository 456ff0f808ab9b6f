//! The figures of this process, for Prometheus and others that read its text format: `GET /metrics` on the admin address.
//!
//! Who has a figure records it with the macros of the crate `metrics`, at the place where it comes about; here they are collected. docs/metrics.md
//! lists them, and a test compares it with what the programs expose.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::time::interval;

/// Upper bounds of the buckets of times, in seconds: from the answer of a source that has nothing else to do to what was waited for
/// in a long queue.
const SECONDS: [f64; 17] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];
/// Time between two moves of single values into their buckets. They wait in memory until then, whether anybody asks or not.
const UPKEEP: Duration = Duration::from_secs(5);

static COLLECTED: OnceLock<Metrics> = OnceLock::new();

/// What this process has recorded. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

/// Begins to collect figures. To be called once per process, before anything is recorded; whoever comes second (a test) shares the first
/// one's figures. There is one collection per process, as there is one log.
pub fn init_metrics() -> Metrics {
    let collected = COLLECTED.get_or_init(|| {
        let builder = PrometheusBuilder::new();
        let builder = builder.set_buckets(&SECONDS).unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = builder.build_recorder();
        let metrics = Metrics(recorder.handle());
        // Fails only when a program that embeds this one collects already; then ours stay empty.
        metrics::set_global_recorder(recorder).ok();
        metrics
    });
    collected.clone()
}

impl Metrics {
    /// All figures as text.
    pub(crate) fn render(&self) -> String {
        self.0.render()
    }

    /// Keeps what waits in memory small, until dropped.
    pub(crate) async fn keep_up(&self) {
        let mut times = interval(UPKEEP);
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
    fn figures_are_rendered_with_buckets() {
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
        // There from the beginning, so that nobody has to guess whether a figure is missing or zero.
        assert!(text.contains("test_untouched_seconds_count 0\n"), "{text}");
        assert!(text.contains("test_untouched_total 0\n"), "{text}");
        metrics.0.run_upkeep();
    }
}
