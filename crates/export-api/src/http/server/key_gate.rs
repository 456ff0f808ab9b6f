//! Bounds the requests of a connection on which no key was shown yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests of one connection that are answered at a time until one of them had a valid key. The
/// others of that connection wait.
const REQUESTS_WITHOUT_KEY: usize = 8;

/// Admits few requests of a connection at a time until it has shown a valid key, and then all.
/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct KeyGate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    requests: Arc<Semaphore>,
    is_open: AtomicBool,
}

impl KeyGate {
    pub(super) fn new() -> Self {
        let requests = Arc::new(Semaphore::new(REQUESTS_WITHOUT_KEY));
        Self(Arc::new(Inner { requests, is_open: AtomicBool::new(false) }))
    }

    /// Waits until the request may be answered. The permit is held until the answer is delivered;
    /// `None` when a key was shown.
    pub(super) async fn pass(&self) -> Option<OwnedSemaphorePermit> {
        if self.0.is_open.load(Ordering::Relaxed) {
            return None;
        }
        // Fails when the gate is opened.
        self.0.requests.clone().acquire_owned().await.ok()
    }

    /// A request of the connection had a valid key: admits all requests from now on.
    pub(crate) fn open(&self) {
        if !self.0.is_open.swap(true, Ordering::Relaxed) {
            self.0.requests.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn c1_few_requests_pass_until_a_key_was_shown() {
        let gate = KeyGate::new();
        let mut permits = Vec::new();
        for _ in 0..REQUESTS_WITHOUT_KEY {
            permits.push(gate.pass().await.expect("a permit"));
        }
        let mut waiting = Box::pin(gate.pass());
        assert!(futures_util::poll!(&mut waiting).is_pending());
        permits.pop();
        assert!(waiting.await.is_some(), "one was delivered");
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.pass().await.is_none() }
        });
        gate.open();
        assert!(waiting.await.expect("ended"), "all pass");
        assert!(gate.pass().await.is_none());
    }
}
