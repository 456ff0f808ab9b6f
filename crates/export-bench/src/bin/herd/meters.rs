//! The workers' throttles, from `/metrics`: the limit on their reads of the source.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinHandle;

use crate::client::metrics;
use crate::stop::{Stop, Stopper};

/// Delay between two reads.
const INTERVAL: Duration = Duration::from_secs(1);
/// A worker's limit on concurrent reads of the source.
const LIMIT: &str = "exports_source_read_limit";
/// How often a worker has lowered its limit.
const DECREASES: &str = "exports_source_limit_decreases_total";

/// Figures of all workers; `None` if they do not report them.
#[derive(Debug, Default, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReadLimits {
    least_limit: Option<f64>,
    most_limit: Option<f64>,
    /// Since the start of the workers.
    decreases: Option<f64>,
}

/// Reads the metrics once a second, until [`Meters::end`].
pub(crate) struct Meters {
    stopper: Stopper,
    task: JoinHandle<ReadLimits>,
}

impl Meters {
    pub(crate) fn begin(workers: Vec<SocketAddr>) -> Self {
        let stopper = Stopper::default();
        let stop = stopper.stop();
        let task = tokio::spawn(async move { look(&workers, &stop).await });
        Self { stopper, task }
    }

    pub(crate) async fn end(self) -> anyhow::Result<ReadLimits> {
        drop(self.stopper);
        Ok(self.task.await?)
    }
}

async fn look(workers: &[SocketAddr], stop: &Stop) -> ReadLimits {
    let mut limits = ReadLimits::default();
    while !stop.is_wanted() {
        let mut decreases = None;
        for worker in workers {
            let text = metrics(*worker).await.unwrap_or_default();
            if let Some(limit) = figure(&text, LIMIT) {
                limits.least_limit = Some(limits.least_limit.map_or(limit, |least: f64| least.min(limit)));
                limits.most_limit = Some(limits.most_limit.map_or(limit, |most: f64| most.max(limit)));
            }
            if let Some(count) = figure(&text, DECREASES) {
                decreases = Some(decreases.unwrap_or_default() + count);
            }
        }
        limits.decreases = decreases.or(limits.decreases);
        tokio::time::sleep(INTERVAL).await;
    }
    limits
}

/// The value of the first series with this name.
fn figure(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::figure;

    #[test]
    fn a_figure_is_found_by_its_whole_name() {
        let text = "# TYPE reads gauge\nreads_total 5\nreads{worker=\"a b\"} 2.5\nidle 0\n";
        assert_eq!(figure(text, "reads"), Some(2.5));
        assert_eq!(figure(text, "idle"), Some(0.0));
        assert_eq!(figure(text, "read"), None);
    }
}
