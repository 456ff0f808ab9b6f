//! The byte gate: bounds how far collections are read ahead, by counting the bytes of all live
//! batches.
//!
//! A batch is live from before it is requested until the last of its documents is dropped, wherever
//! that happens: in the channel, in the engine, on the thread that encodes a slice. A
//! [`Reservation`] stands for the batch and travels with it.
//!
//! **Rule.** A reader passes in FIFO order when its batch fits into the export's `read_ahead_bytes`
//! beside all live batches. It also passes, however many bytes are live, when its batch is
//! *wanted*: the collection has no document left to hand out, and either the engine waits for the
//! next one or none was read yet (a merge needs the first document of every collection).
//!
//! **Deadlock freedom.** The engine waits for one thing in this crate: the next document of a
//! collection that has none to hand out. The reader of that collection is wanted, so the gate
//! admits it, and every other step of the reader has a timeout. Hence the engine never waits for
//! bytes that it holds itself, neither those of the slice that it gathers nor those of slices still
//! to be encoded. A reader that does wait at the gate is one that the engine does not wait for.
//!
//! **Bound.** Take the last time a reader passed because its batch fitted: all live bytes were
//! within `read_ahead_bytes`. Every later admission was wanted, and a collection becomes wanted
//! again only after all of its documents were handed out. So the live bytes never exceed
//! `read_ahead_bytes`, plus one batch per collection, plus the batches whose last document the
//! engine has taken and still holds. (A batch in flight is counted by an estimate. If it turns out
//! larger, its collection has a batch to hand out and is not wanted, so it is still the one batch
//! of its collection.) [`crate::reader`] bounds the size of one batch.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The live batches of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadAhead {
    /// Bytes of batches that are being read, wait in a channel, or have at least one document in
    /// use.
    pub alive_bytes: usize,
    /// The maximum of `alive_bytes` so far.
    pub peak_bytes: usize,
    /// Running reader tasks.
    pub readers: usize,
}

/// Counts live bytes against the export's memory for reading ahead.
#[derive(Debug)]
pub(crate) struct ReadAheadGate {
    read_ahead_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seen: ReadAhead,
    /// Waiting readers in FIFO order. The channel of a reader that left because it was wanted is
    /// closed.
    queue: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    bytes: usize,
    admission: oneshot::Sender<Reservation>,
}

/// Bytes that count as live until this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    gate: Arc<ReadAheadGate>,
    bytes: usize,
}

/// Counts one reader task until it is dropped.
#[derive(Debug)]
pub(crate) struct CountedReader(Arc<ReadAheadGate>);

impl ReadAheadGate {
    pub(crate) fn new(read_ahead_bytes: usize) -> Arc<Self> {
        Arc::new(Self { read_ahead_bytes, state: Mutex::default() })
    }

    pub(crate) fn read_ahead_bytes(&self) -> usize {
        self.read_ahead_bytes
    }

    pub(crate) fn seen(&self) -> ReadAhead {
        self.lock().seen
    }

    pub(crate) fn count_reader(self: &Arc<Self>) -> CountedReader {
        self.lock().seen.readers += 1;
        CountedReader(Arc::clone(self))
    }

    /// Waits until a batch of this size fits, or until `wanted` resolves to `true`. Returns `None`
    /// when `wanted` resolves to `false`: the batch is no longer needed.
    pub(crate) async fn pass(
        self: &Arc<Self>,
        bytes: usize,
        wanted: impl Future<Output = bool>,
    ) -> Option<Reservation> {
        if bytes > self.read_ahead_bytes {
            // It would never fit and would block the queue.
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
        state.seen.alive_bytes.saturating_add(bytes) <= self.read_ahead_bytes
    }

    /// Subtracts bytes and admits the waiting readers that fit now.
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
            // If the reader has left meanwhile, the reservation is dropped here and releases its
            // bytes.
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
    /// Replaces the estimate by the real size of the batch.
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

    async fn passed(gate: &Arc<ReadAheadGate>, bytes: usize) -> Reservation {
        gate.pass(bytes, pending()).await.expect("a reservation")
    }

    #[tokio::test]
    async fn readers_pass_in_fifo_order_as_bytes_are_released() {
        let gate = ReadAheadGate::new(100);
        let first = passed(&gate, 60).await;
        let waiting = |bytes| {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move { passed(&gate, bytes).await })
        };
        let (large, small) = (waiting(80), waiting(10));
        tokio::task::yield_now().await;
        assert!(!large.is_finished() && !small.is_finished(), "FIFO: the small one came later");
        drop(first);
        let (large, small) = (large.await.expect("passed"), small.await.expect("passed"));
        assert_eq!(gate.seen().alive_bytes, 90);
        drop((large, small));
        assert_eq!(gate.seen(), ReadAhead { alive_bytes: 0, peak_bytes: 90, readers: 0 });
    }

    #[tokio::test]
    async fn a_wanted_reader_passes_even_when_all_bytes_are_in_use() {
        let gate = ReadAheadGate::new(100);
        let held = passed(&gate, 100).await;
        let wanted = gate.pass(50, ready(true)).await.expect("passes");
        assert_eq!(gate.seen().alive_bytes, 150);
        assert!(gate.pass(50, ready(false)).await.is_none(), "no longer needed");
        let giant = gate.pass(500, ready(true)).await.expect("passes");
        drop(giant);
        // All have left the queue: the next reader does not wait behind them.
        drop((held, wanted));
        assert_eq!(passed(&gate, 100).await.bytes, 100);
    }

    #[tokio::test]
    async fn an_estimate_is_corrected() {
        let gate = ReadAheadGate::new(100);
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
