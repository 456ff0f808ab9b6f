//! Read permits: a semaphore with a changing limit, granted in FIFO order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Grants permits.
#[derive(Debug)]
pub(crate) struct Permits(Mutex<State>);

#[derive(Debug)]
struct State {
    limit: usize,
    in_flight: usize,
    /// Permits granted so far.
    granted: u64,
    /// Waiting reads in FIFO order. The channel of a cancelled one is closed.
    queue: VecDeque<oneshot::Sender<Permit>>,
}

/// The right to run one read, until dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    permits: Arc<Permits>,
    number: u64,
    /// Whether no other read was running when this one began.
    began_alone: bool,
}

/// The concurrency that one read has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Concurrency {
    /// Whether no other read was running at any time during this one.
    pub(crate) was_alone: bool,
    /// Whether the limit is reached, so that a higher limit would be used.
    pub(crate) is_full: bool,
}

impl Permits {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        let state = State { limit: limit.max(1), in_flight: 0, granted: 0, queue: VecDeque::new() };
        Arc::new(Self(Mutex::new(state)))
    }

    /// Waits for a permit.
    pub(crate) async fn get(self: &Arc<Self>) -> Permit {
        let granted = match self.get_or_queue() {
            Ok(permit) => return permit,
            Err(granted) => granted,
        };
        if let Ok(permit) = granted.await {
            permit
        } else {
            // Unreachable: a waiting read is removed from the queue only with a permit. An extra
            // read is better than a lost one.
            let mut state = self.lock();
            state.grant(self)
        }
    }

    fn get_or_queue(self: &Arc<Self>) -> Result<Permit, oneshot::Receiver<Permit>> {
        let mut state = self.lock();
        state.queue.retain(|waiting| !waiting.is_closed());
        if state.queue.is_empty() && state.in_flight < state.limit {
            return Ok(state.grant(self));
        }
        let (sender, granted) = oneshot::channel();
        state.queue.push_back(sender);
        Err(granted)
    }

    /// Sets the limit. Permits above a lower limit stay valid; the next ones wait until enough
    /// reads have ended.
    pub(crate) fn set_limit(self: &Arc<Self>, limit: usize) {
        self.lock().limit = limit.max(1);
        self.grant_waiting();
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.lock().in_flight
    }

    pub(crate) fn waiting(&self) -> usize {
        self.lock().queue.iter().filter(|waiting| !waiting.is_closed()).count()
    }

    /// Grants permits to waiting reads up to the limit.
    fn grant_waiting(self: &Arc<Self>) {
        let mut granted = Vec::new();
        let mut state = self.lock();
        while state.in_flight < state.limit {
            let Some(waiting) = state.queue.pop_front() else { break };
            if !waiting.is_closed() {
                granted.push((waiting, state.grant(self)));
            }
        }
        drop(state);
        for (waiting, permit) in granted {
            // If the read was cancelled meanwhile, the permit is dropped here and returned.
            waiting.send(permit).ok();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn grant(&mut self, permits: &Arc<Permits>) -> Permit {
        self.in_flight += 1;
        self.granted += 1;
        Permit { permits: Arc::clone(permits), number: self.granted, began_alone: self.in_flight == 1 }
    }
}

impl Permit {
    /// The concurrency during the read. Called when the read has ended.
    pub(crate) fn concurrency(&self) -> Concurrency {
        let state = self.permits.lock();
        Concurrency {
            was_alone: self.began_alone && state.granted == self.number,
            is_full: state.in_flight >= state.limit,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.permits.lock().in_flight -= 1;
        self.permits.grant_waiting();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn permits_are_granted_in_fifo_order_up_to_the_limit() {
        let permits = Permits::new(2);
        let (first, second) = (permits.get().await, permits.get().await);
        let waiting = |permits: &Arc<Permits>| {
            let permits = Arc::clone(permits);
            tokio::spawn(async move { permits.get().await })
        };
        let third = waiting(&permits);
        tokio::task::yield_now().await;
        let fourth = waiting(&permits);
        tokio::task::yield_now().await;
        assert!(!third.is_finished() && !fourth.is_finished());
        drop(first);
        let third = third.await.expect("a permit");
        assert!(!fourth.is_finished() && permits.in_flight() == 2, "FIFO, one for one");

        // A lower limit revokes nothing, and grants nothing before enough reads have ended.
        permits.set_limit(1);
        drop(second);
        tokio::task::yield_now().await;
        assert!(!fourth.is_finished() && permits.in_flight() == 1);
        permits.set_limit(2);
        let fourth = fourth.await.expect("a permit");
        drop((third, fourth));
        assert_eq!(permits.in_flight(), 0);
    }

    #[tokio::test]
    async fn a_cancelled_read_does_not_block_the_queue() {
        let permits = Permits::new(1);
        let held = permits.get().await;
        let leaves = tokio::spawn({
            let permits = Arc::clone(&permits);
            async move { permits.get().await }
        });
        tokio::task::yield_now().await;
        leaves.abort();
        assert!(leaves.await.is_err());
        let stays = tokio::spawn({
            let permits = Arc::clone(&permits);
            async move { permits.get().await }
        });
        tokio::task::yield_now().await;
        drop(held);
        drop(stays.await.expect("a permit"));
        assert_eq!(permits.in_flight(), 0);
    }

    #[tokio::test]
    async fn a_read_knows_whether_it_was_alone() {
        let permits = Permits::new(2);
        let alone = permits.get().await;
        assert_eq!(alone.concurrency(), Concurrency { was_alone: true, is_full: false });
        let other = permits.get().await;
        assert_eq!(alone.concurrency(), Concurrency { was_alone: false, is_full: true });
        assert!(!other.concurrency().was_alone);
        drop(other);
        assert!(!alone.concurrency().was_alone, "another read was running meanwhile");
    }
}
