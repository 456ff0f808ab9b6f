//! The gate that bounds how far collections are read ahead: it counts the bytes of all batches that are alive.
//!
//! A batch is alive from before it is asked for until the last of its documents is dropped, wherever that happens: in
//! the channel, in the engine, on the thread that encodes a slice. A [`Reservation`] stands for it and travels with it.
//!
//! **The rule.** A reader passes when its batch fits into the share beside everything alive, first come, first served;
//! or, whatever is alive, when it is *wanted*: its collection has no document left to hand out, and either the engine
//! waits for the next one or none was read yet (a merge needs the first document of every collection).
//!
//! **Why nothing can lock up.** The engine waits for one thing of this crate: the next document of a collection that
//! has none to hand out. That collection's reader is wanted, so it does not wait at the gate, and whatever else it does
//! ends within a bound of time. So no wait of the engine ever depends on bytes that the engine itself holds, be it the
//! slice it is just gathering or slices still to be encoded; and a reader that does wait at the gate is one that nobody
//! waits for.
//!
//! **The bound.** Take the last time any reader passed because its batch fitted: all bytes alive were within the share
//! then. What came since was wanted, and a collection is wanted again only after all of its documents were handed out.
//! So the bytes alive never exceed the share, plus one batch of each collection, plus the batches that the engine has
//! taken to the last document and holds on to. (A batch under way is counted by an estimate. When it turns out larger
//! its collection has a batch to hand out and is not wanted, so it is still the one of its collection.) How large one
//! batch is, is [`crate::reader`]'s part.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// What is alive of the documents that a source has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadAhead {
    /// Bytes of batches now: being read, waiting, or with at least one document in use.
    pub alive_bytes: usize,
    /// The most they have been.
    pub peak_bytes: usize,
    /// Tasks that read a collection.
    pub readers: usize,
}

/// Counts bytes against one share of the memory budget.
#[derive(Debug)]
pub(crate) struct Gate {
    share_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seen: ReadAhead,
    /// Readers at the gate, in the order they came. Those that left by being wanted are closed.
    queue: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    bytes: usize,
    admission: oneshot::Sender<Reservation>,
}

/// Bytes that count as alive until this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    gate: Arc<Gate>,
    bytes: usize,
}

/// Stands for one reading task.
#[derive(Debug)]
pub(crate) struct CountedReader(Arc<Gate>);

impl Gate {
    pub(crate) fn new(share_bytes: usize) -> Arc<Self> {
        Arc::new(Self { share_bytes, state: Mutex::default() })
    }

    pub(crate) fn share_bytes(&self) -> usize {
        self.share_bytes
    }

    pub(crate) fn seen(&self) -> ReadAhead {
        self.lock().seen
    }

    pub(crate) fn count_reader(self: &Arc<Self>) -> CountedReader {
        self.lock().seen.readers += 1;
        CountedReader(Arc::clone(self))
    }

    /// Waits until a batch of this size may be read: when it fits, or at once when `wanted` comes true. When that comes
    /// false nobody needs the batch any more, and the answer is `None`.
    pub(crate) async fn pass(
        self: &Arc<Self>,
        bytes: usize,
        wanted: impl Future<Output = bool>,
    ) -> Option<Reservation> {
        if bytes > self.share_bytes {
            // Would never fit, and would keep all others waiting behind it.
            return wanted.await.then(|| self.take(bytes));
        }
        let admitted = match self.reserve_or_queue(bytes) {
            Ok(reservation) => return Some(reservation),
            Err(admitted) => admitted,
        };
        tokio::select! {
            biased;
            Ok(reservation) = admitted => Some(reservation),
            is_wanted = wanted => is_wanted.then(|| self.take(bytes)),
        }
    }

    fn reserve_or_queue(
        self: &Arc<Self>,
        bytes: usize,
    ) -> Result<Reservation, oneshot::Receiver<Reservation>> {
        let mut state = self.lock();
        state.queue.retain(|waiting| !waiting.admission.is_closed());
        if state.queue.is_empty() && self.fits(&state, bytes) {
            state.add(bytes);
            return Ok(Reservation { gate: Arc::clone(self), bytes });
        }
        let (admission, admitted) = oneshot::channel();
        state.queue.push_back(Waiting { bytes, admission });
        Err(admitted)
    }

    fn take(self: &Arc<Self>, bytes: usize) -> Reservation {
        self.lock().add(bytes);
        Reservation { gate: Arc::clone(self), bytes }
    }

    fn fits(&self, state: &State, bytes: usize) -> bool {
        state.seen.alive_bytes.saturating_add(bytes) <= self.share_bytes
    }

    /// Counts bytes off and lets those pass that fit now.
    fn release(self: &Arc<Self>, bytes: usize) {
        let mut admitted = Vec::new();
        let mut state = self.lock();
        state.seen.alive_bytes -= bytes;
        while let Some(waiting) = state.queue.pop_front() {
            if waiting.admission.is_closed() {
                continue;
            }
            if !self.fits(&state, waiting.bytes) {
                state.queue.push_front(waiting);
                break;
            }
            state.add(waiting.bytes);
            admitted.push(waiting);
        }
        drop(state);
        for Waiting { bytes, admission } in admitted {
            // A reader that has left meanwhile gives its reservation back by dropping it here.
            admission.send(Reservation { gate: Arc::clone(self), bytes }).ok();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, bytes: usize) {
        self.seen.alive_bytes += bytes;
        self.seen.peak_bytes = self.seen.peak_bytes.max(self.seen.alive_bytes);
    }
}

impl Reservation {
    /// Corrects the estimate to what the batch really has.
    pub(crate) fn resize(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes > before {
            self.gate.lock().add(bytes - before);
        } else {
            self.gate.release(before - bytes);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.gate.release(self.bytes);
    }
}

impl Drop for CountedReader {
    fn drop(&mut self) {
        self.0.lock().seen.readers -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    async fn passed(gate: &Arc<Gate>, bytes: usize) -> Reservation {
        gate.pass(bytes, pending()).await.expect("a reservation")
    }

    #[tokio::test]
    async fn readers_pass_in_turn_as_bytes_are_given_back() {
        let gate = Gate::new(100);
        let first = passed(&gate, 60).await;
        let waiting = |bytes| {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move { passed(&gate, bytes).await })
        };
        let (large, small) = (waiting(80), waiting(10));
        tokio::task::yield_now().await;
        assert!(!large.is_finished() && !small.is_finished(), "the small one came later");
        drop(first);
        let (large, small) = (large.await.expect("passed"), small.await.expect("passed"));
        assert_eq!(gate.seen().alive_bytes, 90);
        drop((large, small));
        assert_eq!(gate.seen(), ReadAhead { alive_bytes: 0, peak_bytes: 90, readers: 0 });
    }

    #[tokio::test]
    async fn who_is_wanted_passes_whatever_is_alive() {
        let gate = Gate::new(100);
        let held = passed(&gate, 100).await;
        let wanted = gate.pass(50, ready(true)).await.expect("passes");
        assert_eq!(gate.seen().alive_bytes, 150);
        assert!(gate.pass(50, ready(false)).await.is_none(), "nobody needs it any more");
        let giant = gate.pass(500, ready(true)).await.expect("passes");
        drop(giant);
        // All have left the queue: who comes next does not wait behind them.
        drop((held, wanted));
        assert_eq!(passed(&gate, 100).await.bytes, 100);
    }

    #[tokio::test]
    async fn an_estimate_is_corrected() {
        let gate = Gate::new(100);
        let mut batch = passed(&gate, 90).await;
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { passed(&gate, 40).await }
        });
        tokio::task::yield_now().await;
        batch.resize(130);
        assert_eq!(gate.seen().alive_bytes, 130);
        batch.resize(60);
        let other = waiting.await.expect("passes");
        assert_eq!(gate.seen().alive_bytes, 100);
        drop((batch, other));
        assert_eq!(gate.seen().alive_bytes, 0);
    }
}
