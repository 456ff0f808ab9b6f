//! One moment: three jobs for the same, and everybody who acts on them.

use export_core::rules::Record;

use super::Bounds;

/// Jobs that ask for the same. A job's name is its position and one, and so is the name of the result that it makes.
pub const JOBS: usize = 3;
/// Copies of the API that see to followers.
pub const SWEEPERS: usize = 2;
/// Attempts that a job may have.
pub const MAX_ATTEMPTS: u32 = 2;

/// Everything there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The documents, once they are written.
    pub jobs: [Option<Record<u8>>; JOBS],
    /// The requests.
    pub creators: [Creator; JOBS],
    /// The sweepers.
    pub sweepers: [Sweeper; SWEEPERS],
    /// Results whose time is over, by the job that has made them.
    pub over: [bool; JOBS],
    /// Jobs that gave way to a newer one.
    pub gave_way: [bool; JOBS],
    /// Whether the last request says `force`.
    pub is_forced: bool,
    /// Cancels that there may still be.
    pub cancels_left: u8,
    /// Faults that there may still be.
    pub faults_left: u8,
}

/// A request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Creator {
    /// Writes its job as a leader, if the index lets it.
    Lead,
    /// Looks at who leads.
    Look,
    /// Has seen this leader, which is worth following.
    Follow(u8),
    /// Has seen this leader, which is in its way.
    Displace(u8),
    /// Has written, or died.
    Done,
}

/// A copy of the API, seeing to followers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sweeper {
    /// Nothing to do, or died.
    Idle,
    /// Has seen that this leader has finished.
    Finished(u8),
    /// Has seen that this leader has failed.
    Failed(u8),
    /// Has seen that this leader has no result and never will: it must not lead.
    Ended(u8),
    /// The same, and it does not lead.
    Gone(u8),
    /// The same, and has seen who leads now.
    Next(u8, u8),
}

impl World {
    /// Before all requests.
    pub fn new(bounds: &Bounds) -> Self {
        Self {
            jobs: [const { None }; JOBS],
            creators: [Creator::Lead; JOBS],
            sweepers: [Sweeper::Idle; SWEEPERS],
            over: [false; JOBS],
            gave_way: [false; JOBS],
            is_forced: bounds.force,
            cancels_left: bounds.cancels,
            faults_left: bounds.faults,
        }
    }

    /// The job of this name.
    pub fn job(&self, name: u8) -> Option<&Record<u8>> {
        self.jobs[position(name)].as_ref()
    }

    /// Who leads.
    pub fn leader(&self) -> Option<u8> {
        self.jobs.iter().position(|job| job.as_ref().is_some_and(|job| job.leads)).map(name)
    }

    /// Whether all jobs have ended, and nobody is about to make one.
    pub fn is_at_rest(&self) -> bool {
        self.creators.iter().all(|creator| *creator == Creator::Done)
            && self.jobs.iter().flatten().all(|job| !job.state.is_active())
    }
}

/// A job's name.
pub fn name(position: usize) -> u8 {
    u8::try_from(position).unwrap_or(u8::MAX - 1) + 1
}

/// A job's position.
pub fn position(name: u8) -> usize {
    usize::from(name) - 1
}
