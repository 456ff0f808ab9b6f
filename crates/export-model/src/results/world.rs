//! The state of the whole system at one moment: jobs, results, and the processes that act on them.

use crate::applied::{Record, ResultRecord};
use export_core::result::ResultState;

use super::Bounds;
use super::wrong::Wrong;

/// Most jobs for the same export. A job is named by its position, and so is its result.
pub const JOBS: usize = 3;
/// Workers, each with one job at a time.
pub const WORKERS: usize = 2;
/// Most attempts of a job.
pub const MAX_ATTEMPTS: u32 = 2;
/// A result is kept until this time when it is finished; the time is always 0.
pub const RETENTION_MS: i64 = 2;
/// A result that is kept until this time is too short-lived to be shared.
pub const LEAST_LIFETIME_MS: i64 = 1;

/// The state of the system.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The jobs, once they are created.
    pub jobs: [Option<Record<u8>>; JOBS],
    /// The results, while they exist.
    pub results: [Option<ResultRecord<u8>>; JOBS],
    /// The reading time when each job was created.
    pub created_at: [u8; JOBS],
    /// The same, for jobs that ask for a fresh result.
    pub fresh_since: [Option<u8>; JOBS],
    /// The requests that create the jobs.
    pub requests: [Request; JOBS],
    /// The workers, in the order of their values: they differ in nothing else.
    pub workers: [Worker; WORKERS],
    /// The sweeper of void results.
    pub sweeper: Sweeper,
    /// The reading time: grows whenever a job is created. It orders creations, beginnings and
    /// comparisons.
    pub reading_time: u8,
    /// The version of the source: grows when a document is added.
    pub source: u8,
    /// The version of the source when each job was created.
    pub source_at_creation: [u8; JOBS],
    /// The version of the source when each job's result was begun.
    pub read_under: [u8; JOBS],
    /// How often each job was given back to wait.
    pub waits: [u8; JOBS],
    /// A step that must never happen, once it has.
    pub wrong: Option<Wrong>,
    /// Faults that may still happen.
    pub faults_left: u8,
    /// Cancels that may still happen.
    pub cancels_left: u8,
    /// Steps that lifetimes may still take.
    pub ages_left: u8,
    /// Jobs that may still be dispatched too early.
    pub early_left: u8,
    /// Documents that may still be added.
    pub loads_left: u8,
}

/// A finished result as a process has read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Found {
    /// Its address.
    pub uri: u8,
    /// When it expires, in milliseconds.
    pub expires_at_ms: Option<i64>,
    /// The version of the source when it was begun.
    pub source: u8,
}

/// How a job may use a result of another job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sharing {
    /// At once.
    Use(Found),
    /// If the source is as it was when the result of this claim was begun.
    Compare(Found, Claimed),
}

/// A request that creates a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// It inserts the job.
    Insert,
    /// It was answered, was never made, or was lost.
    Done,
}

/// The sweeper of void results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sweeper {
    /// It may look at any time.
    Idle,
    /// It has found the result of this claim void, and is about to remove it.
    Remove(Claimed),
}

/// A claim of a job: names a WRITING or finished result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Claimed {
    /// The job's position.
    pub job: usize,
    /// The claim's epoch.
    pub epoch: u8,
}

/// A worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Worker {
    /// Its next step.
    pub step: Step,
    /// Its claim.
    pub claim: Claimed,
    /// The reading time when it began its result.
    pub begun_at: u8,
    /// Whether its object is complete.
    pub has_written: bool,
    /// The result that was current when it began its own.
    pub replaces: Option<Claimed>,
    /// The address of the result that it has found to be outdated.
    pub outdated: Option<u8>,
    /// The reading time when its last comparison began.
    pub looked_at: u8,
}

/// A worker's next step, in the order of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Claim a job.
    Idle,
    /// Look for the job's own finished result.
    CheckOwn,
    /// Look for a current result to share.
    Look,
    /// Compare the source with a result.
    Compare(Found, Claimed),
    /// Store that they are the same, and share the result.
    MarkChecked(Found, Claimed),
    /// Begin the job's own result.
    Begin,
    /// Find the WRITING result that refused it.
    FindHolder,
    /// Read the job of that result: is the result void?
    CheckHolder(Claimed),
    /// Remove the void result.
    RemoveVoid(Claimed),
    /// Give the job back to wait.
    Wait,
    /// Look once more for a current result to share.
    LookAgain,
    /// Remove the job's own WRITING result, and then use another one.
    Withdraw(Sharing),
    /// Write the object.
    Write,
    /// Retire the result that was current.
    Retire,
    /// Finish the job's own result.
    Finish,
    /// Read whether the result was finished, after a lost answer.
    ReadBack,
    /// Commit the job with this result.
    Commit(Found),
    /// Give the job back after an error.
    Release,
    /// End the job because a cancel was requested.
    Cancel,
}

impl Worker {
    /// A worker without a job.
    pub const IDLE: Self = Self {
        step: Step::Idle,
        claim: Claimed { job: 0, epoch: 0 },
        begun_at: 0,
        has_written: false,
        replaces: None,
        outdated: None,
        looked_at: 0,
    };

    /// Whether it writes the object, or is about to finish a written one.
    pub fn is_writing(&self) -> bool {
        matches!(self.step, Step::Write | Step::Retire | Step::Finish)
    }

    /// The address of its object: the job, the reading time when it was begun, and the epoch.
    pub fn uri(&self) -> u8 {
        let job = u8::try_from(self.claim.job).unwrap_or(u8::MAX);
        (job << 6) | (self.begun_at << 4) | self.claim.epoch
    }
}

/// The job whose worker has written the object at this address.
pub fn job_of(uri: u8) -> usize {
    usize::from(uri >> 6)
}

/// The reading time when the object at this address was begun.
pub fn begun_at(uri: u8) -> u8 {
    (uri >> 4) & 0b11
}

/// Addresses have no room for later epochs; no run within the bounds reaches one.
pub const EPOCH_MAX: u8 = 0b1111;

impl World {
    /// Before all requests.
    pub fn new(bounds: &Bounds) -> Self {
        Self {
            jobs: [const { None }; JOBS],
            results: [const { None }; JOBS],
            created_at: [0; JOBS],
            fresh_since: [None; JOBS],
            requests: std::array::from_fn(
                |job| if job < bounds.jobs { Request::Insert } else { Request::Done },
            ),
            workers: [Worker::IDLE; WORKERS],
            sweeper: Sweeper::Idle,
            reading_time: 0,
            source: 0,
            source_at_creation: [0; JOBS],
            read_under: [0; JOBS],
            waits: [0; JOBS],
            wrong: None,
            faults_left: bounds.faults,
            cancels_left: bounds.cancels,
            ages_left: bounds.ages,
            early_left: bounds.early,
            loads_left: bounds.loads,
        }
    }

    /// The position of the current result.
    pub fn current(&self) -> Option<usize> {
        self.results.iter().position(|result| result.as_ref().is_some_and(|result| result.is_current))
    }

    /// The claim whose result is WRITING, leaving out that of one job.
    pub fn writing_other_than(&self, own: usize) -> Option<Claimed> {
        let mut results = self.results.iter().enumerate().filter(|(job, _)| *job != own);
        results.find_map(|(job, result)| {
            let result = result.as_ref().filter(|result| result.state == ResultState::Writing)?;
            Some(Claimed { job, epoch: small(result.epoch) })
        })
    }

    /// Whether the claim is the job's last, and the job runs.
    pub fn is_live(&self, claim: Claimed) -> bool {
        self.jobs[claim.job].as_ref().is_some_and(|job| {
            job.state == export_core::job::JobState::Started && job.epoch == i64::from(claim.epoch)
        })
    }

    /// Whether a worker holds the last claim of this job, dead workers not counted.
    pub fn is_held(&self, job: usize) -> bool {
        self.workers
            .iter()
            .any(|worker| worker.step != Step::Idle && worker.claim.job == job && self.is_live(worker.claim))
    }

    /// Whether all jobs have ended, no process has anything left to do, and no WRITING result is
    /// left over.
    pub fn is_at_rest(&self) -> bool {
        self.requests.iter().all(|request| *request == Request::Done)
            && self.workers.iter().all(|worker| worker.step == Step::Idle)
            && self.sweeper == Sweeper::Idle
            && self.jobs.iter().flatten().all(|job| !job.state.is_active())
            && self.results.iter().flatten().all(|result| result.state != ResultState::Writing)
    }

    /// Notes a step that must never happen.
    pub fn note(&mut self, wrong: Wrong) {
        self.wrong.get_or_insert(wrong);
    }
}

/// An epoch as stored, in the size of the model's.
pub fn small(epoch: i64) -> u8 {
    u8::try_from(epoch).unwrap_or(u8::MAX)
}
