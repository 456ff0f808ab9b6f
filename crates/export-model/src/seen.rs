//! The observer: a record of the run so far, on which invariants about the past are checked. No
//! process reads it.

use crate::applied::Record;
use export_core::job::JobState;

/// Something that must never happen at any step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wrong {
    /// An ended job changed.
    EndedJobChanged,
    /// An epoch did not grow by one with a claim, or changed without one.
    EpochAstray,
    /// A result was committed by an attempt whose claim was not the job's last.
    StaleCommit,
    /// A job was changed by a worker whose claim was not its last.
    ZombieChange,
    /// A job failed although it had attempts left.
    GivenUpEarly,
    /// A job got a second result.
    SecondResult,
    /// An existing part was overwritten.
    WrittenTwice,
    /// A job that has lost too many workers was claimed to run beside other exports.
    BesideOthers,
    /// A job was postponed after its outage had lasted longer than the patience.
    PostponedTooLong,
}

/// The observer's record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts: every combination may happen")]
pub struct Seen {
    /// The client got its 202.
    pub is_accepted: bool,
    /// The client's cancel was accepted.
    pub is_cancel_accepted: bool,
    /// Claims.
    pub claims: u8,
    /// Claims that count as attempts: all except those handed over or postponed.
    pub attempts: u8,
    /// Attempts that ended because a sweeper took the job from a lost worker, for another attempt.
    pub lost_workers: u8,
    /// Attempts that an outage has stopped.
    pub postponed: u8,
    /// Whether the last attempt that ended for a reason of its own was stopped by an outage.
    pub is_in_outage: bool,
    /// Whether an outage has lasted longer than the patience.
    pub is_patience_over: bool,
    /// The attempt whose result the job has or had.
    pub committed: Option<u8>,
    wrongs: [bool; 9],
}

impl Seen {
    /// Records a step that must never happen.
    pub fn note(&mut self, wrong: Wrong) {
        self.wrongs[wrong as usize] = true;
    }

    /// Whether such a step has happened.
    pub fn has(&self, wrong: Wrong) -> bool {
        self.wrongs[wrong as usize]
    }

    /// Compares the job before and after one step with this number of claims.
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
