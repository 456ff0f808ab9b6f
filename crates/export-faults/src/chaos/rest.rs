//! From the last fault to rest.

use std::time::{Duration, Instant};

use bson::doc;
use tokio::time::sleep;

use super::fault::Process;
use super::stage::Stage;

/// How long it may take until every job has ended and every queue is empty.
const QUIESCENCE: Duration = Duration::from_secs(90);
/// How long it must look like that: longer than a message rests before it comes back.
const CALM: Duration = Duration::from_millis(500);
/// The same once a message was found in a worker's hands: longer than a worker may be busy with the end of a job that is another's.
const LONG_CALM: Duration = Duration::from_secs(12);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// Time for the broker to take back what consumers that have gone had in their hands.
const TAKEN_BACK: Duration = Duration::from_millis(300);

/// How a schedule came to rest.
pub(super) struct Rest {
    /// From the last fault until it looked like rest.
    pub(super) took: Duration,
    /// Messages left once no consumer is there, by queue.
    pub(super) left_in_queues: Vec<(String, u32)>,
}

impl Stage {
    /// Waits for rest and ends the workers: what they had in their hands is then seen in the queue.
    pub(super) async fn rest(&self) -> Rest {
        let began_at = Instant::now();
        let mut calm = CALM;
        loop {
            let calm_since = self.calm(began_at, calm).await;
            self.dismiss(|process| matches!(process, Process::Worker(_))).await;
            sleep(TAKEN_BACK).await;
            let left_in_queues = self.left_in_queues().await;
            let is_empty = left_in_queues.iter().all(|(_, count)| *count == 0);
            // A message that a consumer holds without acknowledging it remains: during the calm every consumer had time to finish.
            if is_empty || calm == LONG_CALM {
                let calm_since = calm_since.unwrap_or_else(Instant::now);
                return Rest { took: calm_since - began_at, left_in_queues };
            }
            calm = LONG_CALM;
            self.fill().await;
        }
    }

    /// Waits until all has looked like rest for so long; since when it has. `None` after the longest wait.
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
        // One whose end the relay has not seen yet is not at rest.
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
            // A queue that is not there has no room for messages, which is worse than any number of them.
            let count = broker.queue(&name).await.map_or(u32::MAX, |queue| queue.ready);
            left.push((name, count));
        }
        left
    }
}
