//! Warns in the log while jobs wait and no worker can claim them.

use std::time::Duration;

use chrono::Utc;
use export_core::causes;
use export_core::waiting::WorkerSummary;
use export_store::{JobStore, StoreError, WorkerRegistry};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(30);
/// Time between two warnings of the same state.
const WARN_INTERVAL: Duration = Duration::from_mins(5);
/// Waiting jobs are counted up to this number.
const COUNTED_JOBS: u64 = 10_000;

/// Looks at workers and waiting jobs.
#[derive(Clone, Debug)]
pub struct WorkerWatch {
    /// The job store.
    pub jobs: JobStore,
    /// The workers' reports.
    pub workers: WorkerRegistry,
}

/// What is wrong while jobs wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    NoWorker,
    NoStorage,
}

impl WorkerWatch {
    /// Looks after each interval until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut warned: Option<(Trouble, tokio::time::Instant)> = None;
        let looking = async {
            loop {
                tokio::time::sleep(INTERVAL).await;
                match self.look().await {
                    Ok(Some((trouble, summary, waiting_count))) => {
                        let is_known =
                            warned.is_some_and(|(of, at)| of == trouble && at.elapsed() < WARN_INTERVAL);
                        if !is_known {
                            warned = Some((trouble, tokio::time::Instant::now()));
                            log_trouble(trouble, &summary, waiting_count);
                        }
                    }
                    Ok(None) => {
                        if warned.take().is_some() {
                            info!("workers can claim jobs again, or no job waits");
                        }
                    }
                    // The sweeper warns of a job store that does not answer.
                    Err(error) => debug!(error = %causes(&error), "cannot look at the workers"),
                }
            }
        };
        let _: Option<()> = stop.run_until_cancelled(looking).await;
    }

    async fn look(&self) -> Result<Option<(Trouble, WorkerSummary, u64)>, StoreError> {
        let summary = self.workers.summary().await?;
        if summary.can_claim() {
            return Ok(None);
        }
        let waiting_count = self.jobs.count_queued(None, COUNTED_JOBS).await?;
        let trouble = if summary.alive == 0 { Trouble::NoWorker } else { Trouble::NoStorage };
        Ok((waiting_count > 0).then_some((trouble, summary, waiting_count)))
    }
}

fn log_trouble(trouble: Trouble, summary: &WorkerSummary, waiting_count: u64) {
    let last_seen_seconds = summary.last_seen_at.map(|at| (Utc::now() - at).num_seconds().max(0));
    match (trouble, last_seen_seconds) {
        (Trouble::NoWorker, Some(last_seen_seconds)) => {
            warn!(waiting_count, last_seen_seconds, "jobs wait and no worker reports");
        }
        (Trouble::NoWorker, None) => warn!(waiting_count, "jobs wait and no worker has ever reported"),
        (Trouble::NoStorage, _) => {
            warn!(
                waiting_count,
                worker_count = summary.alive,
                "jobs wait because the object store refuses the writes of all workers"
            );
        }
    }
}
