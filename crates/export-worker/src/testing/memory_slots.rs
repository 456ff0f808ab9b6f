//! Run slots in memory.

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use export_core::JobId;
use export_store::{RunSlot, StoreError};

use super::TestClock;
use super::faults::Faults;
use crate::job_operations::RunSlotOperations;

/// The run slots of all workers: one compare-and-set per call, as in the database.
#[derive(Debug)]
pub(crate) struct MemorySlots {
    clock: TestClock,
    state: Mutex<State>,
    pub(crate) faults: Faults,
}

#[derive(Debug, Default)]
struct State {
    takings: u64,
    /// The taking and the end of the lease of each held slot, by number.
    held: Vec<Option<([u8; 12], i64)>>,
}

impl MemorySlots {
    pub(crate) fn new(clock: TestClock) -> Self {
        Self { clock, state: Mutex::default(), faults: Faults::default() }
    }

    /// Slots that are held now.
    pub(crate) fn held_count(&self) -> usize {
        let now_ms = self.clock.now_ms();
        let state = self.state.lock().expect("no panic");
        state.held.iter().flatten().filter(|(_, until_ms)| *until_ms > now_ms).count()
    }

    /// Gives every slot to another worker, as if its lease had expired.
    pub(crate) fn rob(&self) {
        let mut state = self.state.lock().expect("no panic");
        for (taking, _) in state.held.iter_mut().flatten() {
            *taking = [0xff; 12];
        }
    }

    /// Changes a slot unless it was taken again; returns whether it did.
    fn change(&self, slot: &RunSlot, new: Option<([u8; 12], i64)>) -> bool {
        let number = usize::try_from(slot.number).expect("a slot");
        let held = &mut self.state.lock().expect("no panic").held[number];
        let is_held = held.is_some_and(|(taking, _)| taking == slot.taking);
        if is_held {
            *held = new;
        }
        is_held
    }
}

#[async_trait]
impl RunSlotOperations for MemorySlots {
    async fn take(
        &self,
        limit: NonZeroU32,
        _owner: &str,
        _job_id: JobId,
        lease: Duration,
    ) -> Result<Option<RunSlot>, StoreError> {
        self.faults
            .call("take", || {
                let mut state = self.state.lock().expect("no panic");
                let now_ms = self.clock.now_ms();
                let limit = limit.get() as usize;
                if state.held.len() < limit {
                    state.held.resize(limit, None);
                }
                let is_free =
                    |slot: &Option<([u8; 12], i64)>| slot.is_none_or(|(_, until_ms)| until_ms < now_ms);
                let Some(index) = state.held[..limit].iter().position(is_free) else { return Ok(None) };
                state.takings += 1;
                let mut taking = [0; 12];
                taking[..8].copy_from_slice(&state.takings.to_be_bytes());
                state.held[index] = Some((taking, now_ms + millis(lease)));
                Ok(Some(RunSlot { number: i64::try_from(index).expect("a slot"), taking }))
            })
            .await
    }

    async fn renew(&self, slot: &RunSlot, lease: Duration) -> Result<bool, StoreError> {
        let renewed = Some((slot.taking, self.clock.now_ms() + millis(lease)));
        self.faults.call("renew", || Ok(self.change(slot, renewed))).await
    }

    async fn give_back(&self, slot: &RunSlot) -> Result<(), StoreError> {
        self.faults
            .call("give_back", || {
                self.change(slot, None);
                Ok(())
            })
            .await
    }
}

pub(super) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).expect("a short time")
}
