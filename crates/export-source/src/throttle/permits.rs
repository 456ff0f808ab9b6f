//! Permits to read: so many at a time as the limit says now, first come, first served.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Hands out permits.
#[derive(Debug)]
pub(crate) struct Permits(Mutex<State>);

#[derive(Debug)]
struct State {
    limit: usize,
    in_flight: usize,
    /// Permits given so far.
    given: u64,
    /// Those who wait, in the order they came. Who has left meanwhile is closed.
    queue: VecDeque<oneshot::Sender<Permit>>,
}

/// The right to one read, until dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    permits: Arc<Permits>,
    number: u64,
    /// Whether no other read was under way when this one began.
    began_alone: bool,
}

/// What a permit's owner sees of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Company {
    /// Whether no other read was under way at any moment of this one.
    pub(crate) alone: bool,
    /// Whether as many reads are under way as may be: a higher limit would be used.
    pub(crate) is_full: bool,
}

impl Permits {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        let state = State { limit: limit.max(1), in_flight: 0, given: 0, queue: VecDeque::new() };
        Arc::new(Self(Mutex::new(state)))
    }

    /// Waits for a permit.
    pub(crate) async fn get(self: &Arc<Self>) -> Permit {
        let given = match self.get_or_queue() {
            Ok(permit) => return permit,
            Err(given) => given,
        };
        if let Ok(permit) = given.await {
            permit
        } else {
            // Those who wait are let go with a permit only; this cannot be, and an unlimited read is better than none.
            let mut state = self.lock();
            state.give(self)
        }
    }

    fn get_or_queue(self: &Arc<Self>) -> Result<Permit, oneshot::Receiver<Permit>> {
        let mut state = self.lock();
        state.queue.retain(|waiting| !waiting.is_closed());
        if state.queue.is_empty() && state.in_flight < state.limit {
            return Ok(state.give(self));
        }
        let (sender, given) = oneshot::channel();
        state.queue.push_back(sender);
        Err(given)
    }

    /// Sets how many there may be at a time. When there are more already, the next ones wait until enough have ended.
    pub(crate) fn set_limit(self: &Arc<Self>, limit: usize) {
        self.lock().limit = limit.max(1);
        self.hand_out();
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.lock().in_flight
    }

    pub(crate) fn waiting(&self) -> usize {
        self.lock().queue.iter().filter(|waiting| !waiting.is_closed()).count()
    }

    /// Gives permits to those who wait, as far as there are any.
    fn hand_out(self: &Arc<Self>) {
        let mut handed = Vec::new();
        let mut state = self.lock();
        while state.in_flight < state.limit {
            let Some(waiting) = state.queue.pop_front() else { break };
            if !waiting.is_closed() {
                handed.push((waiting, state.give(self)));
            }
        }
        drop(state);
        for (waiting, permit) in handed {
            // One who has left meanwhile gives the permit back by dropping it here.
            waiting.send(permit).ok();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn give(&mut self, permits: &Arc<Permits>) -> Permit {
        self.in_flight += 1;
        self.given += 1;
        Permit { permits: Arc::clone(permits), number: self.given, began_alone: self.in_flight == 1 }
    }
}

impl Permit {
    /// How it was with the others. To be asked when the read has ended.
    pub(crate) fn company(&self) -> Company {
        let state = self.permits.lock();
        Company {
            alone: self.began_alone && state.given == self.number,
            is_full: state.in_flight >= state.limit,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.permits.lock().in_flight -= 1;
        self.permits.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn permits_are_given_in_turn_and_never_more_than_the_limit() {
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
        assert!(!fourth.is_finished() && permits.in_flight() == 2, "in turn, one for one");

        // A lower limit takes nothing away, and gives nothing out before enough have ended.
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
    async fn who_leaves_the_queue_holds_up_nobody() {
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
        assert_eq!(alone.company(), Company { alone: true, is_full: false });
        let other = permits.get().await;
        assert_eq!(alone.company(), Company { alone: false, is_full: true });
        assert!(!other.company().alone);
        drop(other);
        assert!(!alone.company().alone, "another one has been there");
    }
}
