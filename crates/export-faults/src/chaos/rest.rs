//! Waits from the last fault until everything is at rest.

use std::time::{Duration, Instant};

use bson::doc;
use tokio::time::sleep;

use super::fault::Process;
use super::stage::Stage;

/// Longest wait until every job has ended and every queue is empty. On a machine with other tests,
/// 40 exports over slowed connections take more than a minute; a stuck job stays stuck however long
/// the wait.
const QUIESCENCE: Duration = Duration::from_mins(5);
/// Minimum duration of rest: longer than the delay of a nacked message.
const CALM: Duration = Duration::from_millis(500);
/// Minimum duration after an unacknowledged message was found: longer than a worker can be busy
/// with the end of a lost job.
const LONG_CALM: Duration = Duration::from_secs(12);
/// Delay between two checks.
const PAUSE: Duration = Duration::from_millis(100);
/// Time for the broker to requeue the unacknowledged messages of disconnected consumers.
const TAKEN_BACK: Duration = Duration::from_millis(300);

/// How a schedule came to rest.
pub(super) struct Rest {
    /// Time from the last fault to the beginning of rest.
    pub(super) took: Duration,
    /// Messages left when there are no consumers, by queue.
    pub(super) left_in_queues: Vec<(String, u32)>,
}

impl Stage {
    /// Waits for rest and stops the workers: their unacknowledged messages are then visible in the
    /// queue.
    pub(super) async fn rest(&self) -> Rest {
        let began_at = Instant::now();
        let mut calm = CALM;
        loop {
            let calm_since = self.calm(began_at, calm).await;
            self.dismiss(|process| matches!(process, Process::Worker(_))).await;
            sleep(TAKEN_BACK).await;
            let left_in_queues = self.left_in_queues().await;
            let is_empty = left_in_queues.iter().all(|(_, count)| *count == 0);
            // A message that a consumer holds without acknowledging it remains: every consumer had
            // time to finish.
            if is_empty || calm == LONG_CALM {
                let calm_since = calm_since.unwrap_or_else(Instant::now);
                return Rest { took: calm_since - began_at, left_in_queues };
            }
            calm = LONG_CALM;
            self.fill().await;
        }
    }

    /// Waits until everything has been at rest for this long; returns the beginning. `None` after
    /// the longest wait.
    async fn calm(&self, began_at: Instant, calm: Duration) -> Option<Instant> {
        let mut calm_since: Option<Instant> = None;
        while began_at.elapsed() < QUIESCENCE {
            if self.looks_like_rest().await {
                let since = *calm_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= calm {
                    return Some(since);
                }
            } else {
                calm_since = None;
            }
            sleep(PAUSE).await;
        }
        None
    }

    async fn looks_like_rest(&self) -> bool {
        // A job whose end the relay has not seen yet is not at rest.
        let unannounced = doc! { "unannounced.0": { "$exists": true } };
        let unannounced = self.deployment.jobs().count_documents(unannounced).await;
        // A job whose first message was never sent is found by its state.
        let active = doc! { "state": { "$in": ["NOT_STARTED", "STARTED"] } };
        let active = self.deployment.jobs().count_documents(active).await;
        [active, unannounced].into_iter().all(|found| found.is_ok_and(|count| count == 0))
            && self.left_in_queues().await.iter().all(|(_, count)| *count == 0)
    }

    async fn left_in_queues(&self) -> Vec<(String, u32)> {
        let broker = &self.deployment.broker;
        let mut left = Vec::new();
        for name in [broker.jobs_queue(), broker.retry_queue()] {
            // A missing queue is worse than any number of messages.
            let count = broker.queue(&name).await.map_or(u32::MAX, |queue| queue.ready);
            left.push((name, count));
        }
        left
    }
}
