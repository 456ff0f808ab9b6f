//! Faults of a store in memory, for one operation each.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::future::pending;
use std::sync::Mutex;

use export_store::StoreError;

/// A fault of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing changes, and the caller gets an error.
    Refused,
    /// The change is made, and the caller gets an error.
    AnswerLost,
    /// Nothing changes, and no answer ever comes.
    Hangs,
}

/// Faults to come, and the calls so far.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    faults: Mutex<HashMap<&'static str, VecDeque<Fault>>>,
    calls: Mutex<Vec<&'static str>>,
}

impl Faults {
    /// Lets the next `count` calls of an operation fail.
    pub(crate) fn inject(&self, operation: &'static str, fault: Fault, count: usize) {
        let mut faults = self.faults.lock().expect("no panic");
        faults.entry(operation).or_default().extend(std::iter::repeat_n(fault, count));
    }

    /// The operations called so far, without the heartbeats and the looks.
    pub(crate) fn changes(&self) -> Vec<&'static str> {
        let calls = self.calls.lock().expect("no panic").clone();
        calls.into_iter().filter(|call| !["heartbeat", "claimability", "renew"].contains(call)).collect()
    }

    /// Calls of one operation so far.
    pub(crate) fn count(&self, operation: &str) -> usize {
        self.calls.lock().expect("no panic").iter().filter(|call| **call == operation).count()
    }

    /// Makes a change with the fault that is due, if any.
    pub(crate) async fn call<T>(
        &self,
        operation: &'static str,
        change: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.calls.lock().expect("no panic").push(operation);
        let due = self.faults.lock().expect("no panic").get_mut(operation).and_then(VecDeque::pop_front);
        let timed_out = StoreError::TimedOut { operation, seconds: 5 };
        match due {
            None => change(),
            Some(Fault::Refused) => Err(timed_out),
            Some(Fault::AnswerLost) => change().and(Err(timed_out)),
            Some(Fault::Hangs) => pending().await,
        }
    }
}
