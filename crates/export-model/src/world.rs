//! One moment of the whole system: the job, everybody who acts on it, and what an onlooker has seen so far.

use export_core::rules::Record;

use crate::protocol::{Departure, Protocol};
use crate::seen::Seen;

/// How many processes of each kind there are.
pub const PROCESSES: usize = 2;

/// Object keys there may be; no run within the bounds needs more.
pub const KEYS: usize = 8;

/// Everything there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The job's document, once it is inserted.
    pub job: Option<Record<u8>>,
    /// What the API does: the first creates the job, the second dispatches; they are one copy, or two.
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
    /// What an onlooker remembers.
    pub seen: Seen,
}

/// What one of the API's tasks is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Publisher {
    /// Nothing; the dispatcher or the sweeper may look at any time.
    Idle,
    /// It has a request and is about to insert the job.
    Insert,
    /// It is about to publish a job that it saw at this epoch.
    Publish {
        /// The epoch.
        epoch: u8,
    },
    /// It is about to mark as published the job that it saw at this epoch.
    Mark {
        /// The epoch.
        epoch: u8,
    },
    /// It is about to answer 202.
    Answer,
}

/// How far the request to cancel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Canceller {
    /// Not made, or to be made again.
    Idle,
    /// The job was not waiting; it is to be cancelled as a running one.
    Running,
    /// Answered.
    Done,
}

/// One worker: at most one delivery at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Worker {
    /// What it does next.
    pub step: Step,
    /// Whether the broker waits for its ack.
    pub has_delivery: bool,
    /// The epoch of its claim.
    pub epoch: u8,
    /// The onlooker's number for its claim: unlike epochs, no two claims share one.
    pub attempt: u8,
    /// Whether the job may have no attempt after this one.
    pub is_last: bool,
}

impl Worker {
    /// A worker that waits for a delivery.
    pub const IDLE: Self =
        Self { step: Step::Idle, has_delivery: false, epoch: 0, attempt: 0, is_last: false };

    /// Whether it believes that a job is its own.
    pub fn is_at_work(&self) -> bool {
        matches!(self.step, Step::Write(_) | Step::End(_) | Step::EndUnchecked | Step::ReadBack(_))
    }

    /// Whether it exports, and so sends heartbeats.
    pub fn is_exporting(&self) -> bool {
        matches!(self.step, Step::Write(_) | Step::End(Ending::Commit))
    }
}

/// What a worker does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Wait for a delivery.
    Idle,
    /// Claim the job.
    Claim,
    /// See why it could not be claimed.
    Look,
    /// Write this part of the result: 0, then 1, which makes it complete.
    Write(u8),
    /// Write down how the attempt ended.
    End(Ending),
    /// Commit, having checked the fence a moment ago. Only a mutant does so.
    EndUnchecked,
    /// See what became of the ending that was not confirmed.
    ReadBack(Ending),
    /// Ack or nack: nothing may depend on which.
    Settle,
    /// Nack.
    Nack,
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// With a result.
    Commit,
    /// With an error that another attempt may not meet.
    Release,
    /// With an error for good.
    Fail,
    /// Because the job's owner wants it to.
    Cancel,
}

/// What is stored under one key: for each part, the attempt that wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Object {
    /// The parts' writers.
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
            seen: Seen::default(),
        }
    }

    /// Messages that the broker has, delivered or not.
    pub fn messages(&self) -> u8 {
        let unacked = self.workers.iter().filter(|worker| worker.has_delivery).count();
        self.ready + self.resting + u8::try_from(unacked).unwrap_or(u8::MAX)
    }

    /// Whether a worker believes that the job is its own, and is right.
    pub fn is_held(&self) -> bool {
        let epoch = self.job.as_ref().map(|job| job.epoch);
        self.workers.iter().any(|worker| worker.is_at_work() && Some(i64::from(worker.epoch)) == epoch)
    }

    /// Whether everybody has nothing left to do, and nothing is left over.
    pub fn is_at_rest(&self) -> bool {
        self.messages() == 0
            && self.workers.iter().all(|worker| worker.step == Step::Idle)
            && self.publishers.iter().all(|publisher| *publisher == Publisher::Idle)
            && self.canceller != Canceller::Running
            && self.job.as_ref().is_none_or(|job| !job.state.is_active())
    }
}
