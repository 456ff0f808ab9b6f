//! Bounds the memory of the slices in flight.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// The memory gate of one export's slices in the engine. (The gate in export-source bounds how far
/// collections are read ahead.)
///
/// Admits slices while their memory stays below a limit. A slice that alone exceeds the limit is
/// admitted when no other slice is admitted, so that the export makes progress.
#[derive(Clone, Debug)]
pub(super) struct SliceGate {
    shared: Arc<(Mutex<GateState>, Condvar)>,
    limit_bytes: usize,
}

#[derive(Debug, Default)]
struct GateState {
    bytes: usize,
    is_closed: bool,
}

/// Memory that counts until this is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    gate: SliceGate,
    bytes: usize,
}

impl SliceGate {
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self { shared: Arc::default(), limit_bytes }
    }

    /// Waits until there is room. `None` if the gate is closed.
    pub(super) fn enter(&self, bytes: usize) -> Option<Permit> {
        let (state, changed) = &*self.shared;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.is_closed && state.bytes > 0 && state.bytes.saturating_add(bytes) > self.limit_bytes {
            state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_closed {
            return None;
        }
        state.bytes = state.bytes.saturating_add(bytes);
        Some(Permit { gate: self.clone(), bytes })
    }

    /// Refuses all waiting and later slices.
    pub(super) fn close(&self) {
        self.change(|state| state.is_closed = true);
    }

    fn change(&self, change: impl FnOnce(&mut GateState)) {
        let (state, changed) = &*self.shared;
        change(&mut state.lock().unwrap_or_else(PoisonError::into_inner));
        changed.notify_all();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.change(|state| state.bytes = state.bytes.saturating_sub(self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn the_gate_admits_slices_that_fit_and_one_slice_always() {
        let gate = SliceGate::new(10);
        let large = gate.enter(50).expect("the first is always admitted");
        drop(large);
        let first = gate.enter(6).expect("there is room");
        let second = gate.enter(4).expect("there is room");
        let waiting = thread::spawn({
            let gate = gate.clone();
            move || gate.enter(6).map(|permit| permit.bytes)
        });
        drop(second);
        drop(first);
        assert_eq!(waiting.join().expect("no panic"), Some(6));
    }

    #[test]
    fn closing_the_gate_ends_all_waiting() {
        let gate = SliceGate::new(10);
        let _inside = gate.enter(10);
        let waiting = thread::spawn({
            let gate = gate.clone();
            move || gate.enter(1).is_none()
        });
        gate.close();
        assert!(waiting.join().expect("no panic"));
    }
}
