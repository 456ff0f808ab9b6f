//! The end of a test: no job is left unfinished and no message is left in a queue.

use crate::deployment::Deployment;
use crate::job_document::state_of;

impl Deployment {
    /// Ends a test: no job may be left halfway, no message anywhere. Removes what the test made.
    pub async fn end(self) {
        // A worker that was ended between a job's end and its ack has left the message: another one sees that nothing is to be done.
        let last = if self.are_queues_empty().await { None } else { Some(self.worker().await) };
        self.until_queues_are_empty().await;
        drop(last);
        for job in self.all_jobs().await {
            let state = state_of(&job);
            let is_terminal = matches!(state, "FINISHED" | "FAILED" | "CANCELLED" | "EXPIRED");
            assert!(is_terminal, "a job is left halfway: {job:#}");
            let has_uri = job.get_str("exportUri").is_ok();
            assert_eq!(has_uri, state == "FINISHED", "a URI exactly when finished: {job:#}");
        }
        self.forget().await;
    }
}
