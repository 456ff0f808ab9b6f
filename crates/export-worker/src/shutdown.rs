//! The worker's cancellation tree: how a stop signal reaches deliveries and running exports.
//!
//! A worker stops in two steps. After the stop signal it takes no new work, and running exports may
//! finish. When the grace period is over, exports that still run are handed over to other workers.
//! The tree has one root, and every token below it is a child, so nothing can be missed:
//!
//! ```text
//! process              cancelled when the grace period is over
//! ├── intake           cancelled by the stop signal: consumer, catalog, waits for a run slot
//! └── export, export…  one per running export; its attempt cancels it too, for any other reason
//! ```

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// The cancellation tree, and the tasks that the end of the process waits for. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown {
    process: CancellationToken,
    intake: CancellationToken,
    unfinished: TaskTracker,
}

impl Default for Shutdown {
    fn default() -> Self {
        let process = CancellationToken::new();
        Self { intake: process.child_token(), process, unfinished: TaskTracker::new() }
    }
}

impl Shutdown {
    /// Waits for the stop signal, then stops the intake at once and the running exports after the
    /// grace period.
    pub async fn follow(self, stop: CancellationToken, grace: Duration) {
        stop.cancelled().await;
        self.stop_intake();
        tokio::time::sleep(grace).await;
        self.hand_over();
    }

    /// Ends the intake: nothing new begins.
    pub fn stop_intake(&self) {
        self.intake.cancel();
    }

    /// Ends everything: running exports are handed over.
    pub fn hand_over(&self) {
        self.process.cancel();
    }

    /// The token of everything that begins new work.
    pub fn intake(&self) -> &CancellationToken {
        &self.intake
    }

    /// Whether running exports are handed over because the process ends.
    pub fn is_handing_over(&self) -> bool {
        self.process.is_cancelled()
    }

    /// Returns when running exports have been in hand-over for this long.
    pub async fn handed_over_for(&self, time: Duration) {
        self.process.cancelled().await;
        tokio::time::sleep(time).await;
    }

    /// A token for one export.
    pub fn export_token(&self) -> CancellationToken {
        self.process.child_token()
    }

    /// Spawns a task that the end of the process waits for.
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.unfinished.spawn(task.in_current_span())
    }

    /// Waits until all spawned tasks have ended, for at most `limit`; returns whether they have.
    pub async fn wait_for_tasks(&self, limit: Duration) -> bool {
        self.unfinished.close();
        tokio::time::timeout(limit, self.unfinished.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn exports_end_after_the_grace_period_and_the_intake_at_once() {
        let (shutdown, stop) = (Shutdown::default(), CancellationToken::new());
        let following = tokio::spawn(shutdown.clone().follow(stop.clone(), Duration::from_secs(20)));
        let (intake, export) = (shutdown.intake().clone(), shutdown.export_token());
        stop.cancel();
        intake.cancelled().await;
        tokio::time::sleep(Duration::from_secs(19)).await;
        assert!(!export.is_cancelled() && !shutdown.is_handing_over());
        following.await.expect("no panic");
        assert!(export.is_cancelled() && shutdown.is_handing_over());
    }

    #[tokio::test(start_paused = true)]
    async fn one_export_ends_alone() {
        let shutdown = Shutdown::default();
        let (one, other) = (shutdown.export_token(), shutdown.export_token());
        one.cancel();
        assert!(!other.is_cancelled() && !shutdown.intake().is_cancelled() && !shutdown.is_handing_over());
        shutdown.hand_over();
        assert!(other.is_cancelled() && shutdown.intake().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_tasks_up_to_a_limit() {
        let shutdown = Shutdown::default();
        shutdown.spawn(tokio::time::sleep(Duration::from_secs(2)));
        assert!(!shutdown.wait_for_tasks(Duration::from_secs(1)).await);
        assert!(shutdown.wait_for_tasks(Duration::from_secs(3)).await);
    }
}
