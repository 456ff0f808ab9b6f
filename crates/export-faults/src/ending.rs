//! The end of a test: no job is left unfinished and no message is left in a queue.

use tokio::sync::OnceCell;

use crate::deployment::Deployment;
use crate::job_document::state_of;

impl Deployment {
    /// Ends a test: checks that every job is in a terminal state and no message is left, then
    /// removes everything that the test created.
    pub async fn end(self) {
        // A worker that was killed between its job's commit and the ack leaves the message, which the
        // broker returns to the queue a moment later. Another worker acknowledges it.
        let last = OnceCell::new();
        let are_empty = || async {
            let are_empty = self.are_queues_empty().await;
            if !are_empty {
                last.get_or_init(|| self.worker()).await;
            }
            are_empty
        };
        self.until_so("queues are empty", are_empty).await;
        drop(last);
        for job in self.all_jobs().await {
            let state = state_of(&job);
            let is_terminal = matches!(state, "FINISHED" | "FAILED" | "CANCELLED" | "EXPIRED");
            assert!(is_terminal, "a job is not in a terminal state: {job:#}");
            let has_uri = job.get_str("exportUri").is_ok();
            assert_eq!(has_uri, state == "FINISHED", "a URI exactly when finished: {job:#}");
        }
        self.forget().await;
    }
}
