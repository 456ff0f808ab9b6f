//! The tasks that must go on for as long as the service does.
//!
//! One that ends before the service stops, because it panicked, would not be missed by any request: the service would accept jobs that
//! nobody releases. So its end is the end of the process, which its supervisor starts again.

use std::collections::HashMap;

use anyhow::anyhow;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// Tasks, by name. Those that are left are aborted when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Supervised {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Supervised {
    /// Starts a task that ends by itself after the stop signal, and never before.
    pub(crate) fn start(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let started = self.tasks.spawn(task);
        self.names.insert(started.id(), name);
    }

    /// Waits for a task that ends although it is not to `stop`, or that panics whenever that is. Where none does, this takes for ever.
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

    /// Waits until all have ended, as they do after the stop signal.
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

    const MOMENT: Duration = Duration::from_millis(100);

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
            tasks.ended().await.expect("told already");
        }
    }

    #[tokio::test]
    async fn a_task_that_just_ends_is_a_failure_until_the_signal() {
        let (mut tasks, stop) = (Supervised::default(), CancellationToken::new());
        tasks.start("the relay", async {});
        assert_eq!(tasks.failure(&stop).await.to_string(), "the relay has ended");
        tasks.start("the relay", async {});
        stop.cancel();
        assert!(tokio::time::timeout(MOMENT, tasks.failure(&stop)).await.is_err());
        tasks.start("the sweeper", async { panic!("on purpose") });
        assert!(tasks.ended().await.is_err());
    }
}
