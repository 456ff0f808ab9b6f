//! The state of the whole system at one moment: the job, the processes that act on it, and the
//! observer's record.

use crate::applied::Record;
use crate::protocol::{Bounds, Departure, Protocol};
use crate::seen::Seen;

/// Number of processes of each kind.
pub const PROCESSES: usize = 2;

/// Number of object keys; no run within the bounds needs more.
pub const KEYS: usize = 8;

/// The state of the system.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The job's document, once it is inserted.
    pub job: Option<Record<u8>>,
    /// The API: the first task creates the job, the second dispatches. They belong to one copy or
    /// to two.
    pub publishers: [Publisher; PROCESSES],
    /// The request to cancel.
    pub canceller: Canceller,
    /// Messages in the queue.
    pub ready: u8,
    /// Messages in the retry queue.
    pub resting: u8,
    /// The workers.
    pub workers: [Worker; PROCESSES],
    /// The bucket, by key.
    pub objects: [Object; KEYS],
    /// Faults that may still happen.
    pub faults_left: u8,
    /// Attempts that outages may still stop.
    pub outages_left: u8,
    /// The observer's record.
    pub seen: Seen,
}

/// The next step of one of the API's tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Publisher {
    /// None; the dispatcher or the sweeper may look at any time.
    Idle,
    /// Insert the job of a request.
    Insert,
    /// Publish the job that it has read at this epoch.
    Publish {
        /// The epoch.
        epoch: u8,
    },
    /// Mark the job as published that it has read at this epoch.
    Mark {
        /// The epoch.
        epoch: u8,
    },
    /// Answer 202.
    Answer,
}

/// The next step of the request to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Canceller {
    /// Cancel the job as a waiting one.
    Idle,
    /// Cancel the job as a running one.
    Running,
    /// None: the request was answered.
    Done,
}

/// A worker with at most one delivery at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Worker {
    /// Its next step.
    pub step: Step,
    /// Whether the broker waits for its ack.
    pub has_delivery: bool,
    /// The epoch of its claim.
    pub epoch: u8,
    /// The observer's number of its claim. Unlike epochs it is unique even in mutants.
    pub attempt: u8,
    /// Whether this is the job's last attempt.
    pub is_last: bool,
}

impl Worker {
    /// A worker without a delivery.
    pub const IDLE: Self =
        Self { step: Step::Idle, has_delivery: false, epoch: 0, attempt: 0, is_last: false };

    /// Whether it acts as if it had the job.
    pub fn is_at_work(&self) -> bool {
        matches!(self.step, Step::Write(_) | Step::End(_) | Step::EndUnchecked | Step::ReadBack(_))
    }

    /// Whether it exports and therefore sends heartbeats.
    pub fn is_exporting(&self) -> bool {
        matches!(self.step, Step::Write(_) | Step::End(Ending::Commit))
    }
}

/// A worker's next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Wait for a delivery.
    Idle,
    /// Claim the job.
    Claim,
    /// Read why the job could not be claimed.
    Look,
    /// Write this part of the result: 0, then 1, which completes the object.
    Write(u8),
    /// Store how the attempt ended.
    End(Ending),
    /// Commit after checking the fence in an earlier step. Only a mutant does so.
    EndUnchecked,
    /// Read whether the ending was stored, after a lost answer.
    ReadBack(Ending),
    /// Ack or nack: no invariant may depend on which.
    Settle,
    /// Nack.
    Nack,
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// With a result.
    Commit,
    /// With a retryable error.
    Release,
    /// Stopped by an outage.
    Postpone,
    /// With a permanent error.
    Fail,
    /// Because a cancel was requested.
    Cancel,
}

/// An object of two parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Object {
    /// For each part, the attempt that wrote it.
    pub parts: [Option<u8>; 2],
}

impl World {
    /// Before the client's request.
    pub fn new(protocol: &Protocol) -> Self {
        let answers_first = protocol.departs(Departure::AnswerBeforeInsert);
        let creator = if answers_first { Publisher::Answer } else { Publisher::Insert };
        Self {
            job: None,
            publishers: [creator, Publisher::Idle],
            canceller: Canceller::Idle,
            ready: 0,
            resting: 0,
            workers: [Worker::IDLE; PROCESSES],
            objects: [Object::default(); KEYS],
            faults_left: protocol.bounds.faults,
            outages_left: protocol.bounds.outages,
            seen: Seen::default(),
        }
    }

    /// Whether the search continues from this world. Only mutants that claim for ever leave the
    /// bounds.
    pub fn is_within(&self, bounds: &Bounds) -> bool {
        let claims_max = bounds.max_attempts + u32::from(bounds.faults + bounds.outages) + 1;
        u32::from(self.seen.claims) <= claims_max && usize::from(self.seen.claims) < KEYS
    }

    /// Number of messages in the broker, delivered or not.
    pub fn messages(&self) -> u8 {
        let unacked = self.workers.iter().filter(|worker| worker.has_delivery).count();
        self.ready + self.resting + u8::try_from(unacked).unwrap_or(u8::MAX)
    }

    /// Whether a living worker holds the job's last claim.
    pub fn is_held(&self) -> bool {
        let epoch = self.job.as_ref().map(|job| job.epoch);
        self.workers.iter().any(|worker| worker.is_at_work() && Some(i64::from(worker.epoch)) == epoch)
    }

    /// Whether no process has anything left to do, and no message and no active job is left over.
    pub fn is_at_rest(&self) -> bool {
        self.messages() == 0
            && self.workers.iter().all(|worker| worker.step == Step::Idle)
            && self.publishers.iter().all(|publisher| *publisher == Publisher::Idle)
            && self.canceller != Canceller::Running
            && self.job.as_ref().is_none_or(|job| !job.state.is_active())
    }
}
