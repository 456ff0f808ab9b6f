//! Stops claims while the object store refuses writes.
//!
//! Without it, a worker would read the source for one export after the other during an outage of
//! the object store, only to fail at each upload. The first refused upload closes the gate; a small
//! test object, written again and again with growing pauses, opens it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use export_core::causes;
use export_s3::{ResultBucket, S3Error};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::shutdown::Shutdown;

/// Mean pause before the first check of a closed gate. It doubles with each failed check.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest mean pause between two checks.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Timeout of one check: a store that takes longer for a few bytes is not usable.
const CHECK_TIMEOUT: Duration = Duration::from_secs(20);
/// Time between two log lines about the same outage.
const LOG_INTERVAL: Duration = Duration::from_mins(5);
/// A gate that closes again so soon after it was opened continues with longer pauses: a store whose
/// disk is full may accept a small object and refuse results.
const SAME_OUTAGE: Duration = Duration::from_mins(5);

/// Tries to write to the object store: the bucket in a service, a fake in tests.
#[async_trait]
pub trait WriteCheck: fmt::Debug + Send + Sync {
    /// Writes a small object, as a result would be written.
    async fn check_write(&self) -> Result<(), S3Error>;
}

#[async_trait]
impl WriteCheck for ResultBucket {
    async fn check_write(&self) -> Result<(), S3Error> {
        Self::check_write(self).await
    }
}

/// Whether the object store accepts writes, as far as this worker knows. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StorageGate {
    check: Arc<dyn WriteCheck>,
    shutdown: Shutdown,
    refusal: Arc<watch::Sender<Option<Refusal>>>,
    last: Arc<Mutex<Option<LastOutage>>>,
}

/// How the last outage ended.
#[derive(Clone, Copy, Debug)]
struct LastOutage {
    opened_at: Instant,
    pause: Duration,
}

/// Since when and why the object store refuses writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// When the first write was refused.
    pub since: Instant,
    /// The error of the last try, for people.
    pub reason: String,
}

impl StorageGate {
    /// An open gate.
    pub fn new(check: Arc<dyn WriteCheck>, shutdown: Shutdown) -> Self {
        Self { check, shutdown, refusal: Arc::new(watch::Sender::new(None)), last: Arc::default() }
    }

    /// The object store has refused a write: closes the gate until a check succeeds.
    pub fn close(&self, reason: &str) {
        let since = Instant::now();
        let is_new = self.refusal.send_if_modified(|refusal| {
            let is_new = refusal.is_none();
            let since = refusal.as_ref().map_or(since, |refusal| refusal.since);
            *refusal = Some(Refusal { since, reason: reason.to_owned() });
            is_new
        });
        if is_new {
            warn!(
                reason,
                "the object store refuses writes: this worker claims no exports until it accepts them"
            );
            let (gate, stop) = (self.clone(), self.shutdown.intake().clone());
            tokio::spawn(async move { stop.run_until_cancelled(gate.check_until_accepted(since)).await });
        }
    }

    /// Why the gate is closed; `None` while it is open.
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal.borrow().clone()
    }

    /// Waits until the gate is open, for at most `limit`; returns whether it is.
    pub async fn wait_until_open(&self, limit: Duration) -> bool {
        let mut refusal = self.refusal.subscribe();
        // The sender is a part of `self`, so the channel stays open.
        matches!(timeout(limit, refusal.wait_for(Option::is_none)).await, Ok(Ok(_)))
    }

    fn first_pause(&self) -> Duration {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = last.filter(|last| last.opened_at.elapsed() < SAME_OUTAGE);
        recent.map_or(FIRST_PAUSE, |last| (last.pause * 2).min(LONGEST_PAUSE))
    }

    async fn check_until_accepted(&self, since: Instant) {
        let (mut pause, mut logged_at) = (self.first_pause(), since);
        loop {
            sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            let reason = match timeout(CHECK_TIMEOUT, self.check.check_write()).await {
                Ok(Ok(())) => break,
                Ok(Err(error)) => causes(&error),
                Err(_) => "the object store does not answer".to_owned(),
            };
            if logged_at.elapsed() >= LOG_INTERVAL {
                warn!(
                    outage_seconds = since.elapsed().as_secs(),
                    reason, "the object store still refuses writes"
                );
                logged_at = Instant::now();
            }
            self.refusal.send_replace(Some(Refusal { since, reason }));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(LastOutage { opened_at: Instant::now(), pause });
        self.refusal.send_replace(None);
        info!(
            outage_seconds = since.elapsed().as_secs(),
            "the object store accepts writes again: this worker claims exports again"
        );
    }
}

#[cfg(test)]
#[path = "storage_gate_tests.rs"]
mod tests;
