//! Reports to the job store that this worker lives, how busy it is, and whether it can store
//! results: the API explains with it why jobs wait.

use std::time::Duration;

use export_core::causes;
use export_store::{REPORT_INTERVAL, WorkerRegistry, WorkerReport};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::run_permits::RunPermits;
use crate::storage_gate::StorageGate;

/// Time for the last report of a stopping worker.
const LAST_REPORT: Duration = Duration::from_secs(2);

/// Reports one worker.
#[derive(Debug)]
pub(crate) struct Presence {
    pub(crate) registry: WorkerRegistry,
    /// The worker's name as the owner of jobs.
    pub(crate) owner: String,
    /// Exports that it may run at a time.
    pub(crate) slots: u32,
    pub(crate) permits: RunPermits,
    pub(crate) storage: StorageGate,
}

impl Presence {
    /// Reports until `stop`, then once more that the worker stops. A report that fails is left out:
    /// the next one has all that it had.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let reporting = async {
            loop {
                if let Err(error) = self.registry.report(&self.report()).await {
                    debug!(error = %causes(&error), "cannot report this worker");
                }
                sleep(REPORT_INTERVAL).await;
            }
        };
        let _: Option<()> = stop.run_until_cancelled(reporting).await;
        match timeout(LAST_REPORT, self.registry.report_stopped(&self.owner)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(error = %causes(&error), "cannot report that this worker stops"),
            Err(_) => debug!("no answer to the report that this worker stops"),
        }
    }

    fn report(&self) -> WorkerReport {
        WorkerReport {
            id: self.owner.clone(),
            host: host_name(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            slots: self.slots,
            running: self.permits.running_count(),
            storage_refusal: self.storage.refusal().map(|refusal| refusal.reason),
        }
    }
}

/// The name of the machine or container; empty where the system does not say.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
    name.unwrap_or_default().trim().to_owned()
}
