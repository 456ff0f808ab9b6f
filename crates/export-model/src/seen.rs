//! What an onlooker remembers who sees everything and takes part in nothing. Invariants about the past are checked on it.

use export_core::job::JobState;
use export_core::rules::Record;

/// Something that must never happen at any step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wrong {
    /// An ended job changed.
    EndedJobChanged,
    /// An epoch did not grow by one with a claim, or changed without one.
    EpochAstray,
    /// A result was committed by an attempt that was no longer the job's.
    StaleCommit,
    /// A job was changed by a worker whose claim was not its last.
    ZombieChange,
    /// A job was given up although it had attempts left.
    GivenUpEarly,
    /// A job got a second result.
    SecondResult,
    /// A part was written where there was one.
    WrittenTwice,
}

/// What was seen so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seen {
    /// The client got its 202.
    pub is_accepted: bool,
    /// The client was told that the job will be cancelled.
    pub is_cancel_accepted: bool,
    /// Claims.
    pub claims: u8,
    /// Claims that count as attempts: all but those that were handed over.
    pub attempts: u8,
    /// The attempt whose result the job has or had.
    pub committed: Option<u8>,
    wrongs: [bool; 7],
}

impl Seen {
    /// Remembers that something happened which must not.
    pub fn note(&mut self, wrong: Wrong) {
        self.wrongs[wrong as usize] = true;
    }

    /// Whether that ever happened.
    pub fn has(&self, wrong: Wrong) -> bool {
        self.wrongs[wrong as usize]
    }

    /// Compares the job before and after one step, in which `claims` claims were made.
    pub fn compare(&mut self, before: &Record<u8>, after: &Record<u8>, claims: u8) {
        let is_expiry = before.state == JobState::Finished && after.state == JobState::Expired;
        if !before.state.is_active() && before.state != after.state && !is_expiry {
            self.note(Wrong::EndedJobChanged);
        }
        if after.epoch != before.epoch + i64::from(claims) {
            self.note(Wrong::EpochAstray);
        }
    }

    /// A commit was made by this attempt; `is_current` says whether it was the job's last claim.
    pub fn commit(&mut self, attempt: u8, is_current: bool) {
        if !is_current {
            self.note(Wrong::StaleCommit);
        }
        if self.committed.is_some() {
            self.note(Wrong::SecondResult);
        }
        self.committed = Some(attempt);
    }
}
