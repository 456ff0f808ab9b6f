//! Supervises the tasks that must run as long as the service runs.
//!
//! If a task panicked, no request would fail: the service would accept jobs that are never
//! dispatched. So an unexpected end of a task stops the process, and the process's supervisor
//! restarts it.

use std::collections::HashMap;

use anyhow::anyhow;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// Running tasks with names. Dropping it aborts them.
#[derive(Debug, Default)]
pub(crate) struct Supervised {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Supervised {
    /// Starts a task that is expected to end after the stop signal, and not before.
    pub(crate) fn start(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let started = self.tasks.spawn(task);
        self.names.insert(started.id(), name);
    }

    /// Waits for a task that ends before `stop`, or that panics at any time. Never returns if none
    /// does.
    pub(crate) async fn failure(&mut self, stop: &CancellationToken) -> anyhow::Error {
        while let Some(end) = self.tasks.join_next_with_id().await {
            match end {
                Ok(_) if stop.is_cancelled() => {}
                Ok((id, ())) => return anyhow!("{} has ended", self.name(id)),
                Err(error) => return self.panicked(&error),
            }
        }
        std::future::pending().await
    }

    /// Waits until all tasks have ended, after the stop signal.
    ///
    /// # Errors
    /// If one of them panicked.
    pub(crate) async fn ended(mut self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        while let Some(end) = self.tasks.join_next_with_id().await {
            if let Err(error) = end {
                outcome = Err(self.panicked(&error));
            }
        }
        outcome
    }

    fn panicked(&self, error: &JoinError) -> anyhow::Error {
        anyhow!("{} has ended: {error}", self.name(error.id()))
    }

    fn name(&self, id: Id) -> &'static str {
        self.names.get(&id).copied().unwrap_or("a task")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SHORT_WAIT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn a_task_that_panics_is_a_failure_before_and_after_the_signal() {
        for is_stopped in [false, true] {
            let (mut tasks, stop) = (Supervised::default(), CancellationToken::new());
            let waits = stop.clone();
            tasks.start("the sweeper", async move { waits.cancelled().await });
            tasks.start("the dispatcher", async { panic!("on purpose") });
            if is_stopped {
                stop.cancel();
            }
            let failure = tasks.failure(&stop).await.to_string();
            assert!(
                failure.starts_with("the dispatcher has ended: ") && failure.contains("on purpose"),
                "{failure}"
            );
            stop.cancel();
            tasks.ended().await.expect("the failure is reported once");
        }
    }

    /// The clock is paused, so that it reaches the end of a wait only when no task can run any
    /// more.
    #[tokio::test(start_paused = true)]
    async fn a_task_that_returns_is_a_failure_until_the_signal() {
        let (mut tasks, stop) = (Supervised::default(), CancellationToken::new());
        tasks.start("the relay", async {});
        assert_eq!(tasks.failure(&stop).await.to_string(), "the relay has ended");
        tasks.start("the relay", async {});
        stop.cancel();
        assert!(tokio::time::timeout(SHORT_WAIT, tasks.failure(&stop)).await.is_err());
        tasks.start("the sweeper", async { panic!("on purpose") });
        assert!(tasks.ended().await.is_err());
    }
}
