//! What can happen next.

use export_core::rules::Transition;

/// Something that happens. Processes of one kind are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A worker gets a message.
    Deliver(usize),
    /// A worker claims the job.
    Claim(usize),
    /// A worker reads why it could not claim the job.
    Look(usize),
    /// A worker writes its next part.
    Write(usize),
    /// A worker sends a heartbeat, and learns that it has to stop.
    Heartbeat(usize),
    /// A worker's own clock shows that its lease has ended.
    OwnClock(usize),
    /// A worker stores how its attempt ended.
    End(usize),
    /// A worker reads whether that was stored.
    ReadBack(usize),
    /// A worker acks.
    Ack(usize),
    /// A worker nacks.
    Nack(usize),
    /// A message comes back from the retry queue.
    Return,
    /// A copy of the API inserts the job.
    Insert(usize),
    /// A dispatcher or sweeper publishes, and gets the confirm.
    Publish(usize),
    /// A dispatcher or sweeper marks the job as published.
    Mark(usize),
    /// A copy of the API answers 202.
    Answer(usize),
    /// A dispatcher finds a waiting job, or a sweeper finds one that was published long ago.
    Sweep(usize),
    /// A sweeper takes the job from a lost worker.
    SweepLost(Transition),
    /// The cancel is tried again, as that of a running job.
    CancelAsRunning,
    /// The back-off is over.
    BecomeDue,
    /// A lease ends that no worker would renew.
    LeaseEnds,

    /// The client cancels.
    Cancel,
    /// The result's lifetime is over.
    Expire,
    /// An outage stops an export.
    OutageStops(usize),
    /// The outage has lasted longer than the workers' patience.
    PatienceEnds,

    /// A worker dies.
    Crash(usize),
    /// A worker is stopped, and gives its job back.
    HandOver(usize),
    /// A worker's connection to the broker breaks; the worker continues.
    Disconnect(usize),
    /// An export meets a retryable error.
    ExportFails(usize),
    /// An export meets a permanent error.
    ExportFailsForGood(usize),
    /// A worker ends its attempt and cannot store how.
    LeaveUnstored(usize),
    /// The claim is made, but its answer is lost.
    ClaimUnanswered(usize),
    /// The claim is not made, and its answer is lost.
    ClaimLost(usize),
    /// The part is written, but the answer is lost.
    WriteUnanswered(usize),
    /// The part is not written, and the answer is lost.
    WriteLost(usize),
    /// The end of the attempt is stored, but the answer is lost.
    EndUnanswered(usize),
    /// A lease ends although its worker lives: the worker is frozen or cut off.
    LeaseEndsEarly,
    /// A message is duplicated.
    Duplicate,
    /// The broker loses its queue.
    LoseReady,
    /// The broker loses its retry queue.
    LoseResting,
    /// A copy of the API dies.
    CrashApi(usize),
    /// The job is not inserted: 503.
    InsertFails(usize),
    /// The job is inserted, but the answer is lost: 503.
    InsertUnanswered(usize),
    /// The message does not arrive, and there is no confirm.
    PublishFails(usize),
    /// The message arrives, but there is no confirm.
    PublishUnconfirmed(usize),
}

/// The kind of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Happens sooner or later.
    Step,
    /// May happen or not: no guarantee may depend on it.
    Choice,
    /// Like a choice, and limited by the bounds.
    Fault,
}

impl Action {
    /// The action's kind.
    pub fn kind(self) -> Kind {
        match self {
            Self::Deliver(_)
            | Self::Claim(_)
            | Self::Look(_)
            | Self::Write(_)
            | Self::Heartbeat(_)
            | Self::OwnClock(_)
            | Self::End(_)
            | Self::ReadBack(_)
            | Self::Ack(_)
            | Self::Nack(_)
            | Self::Return
            | Self::Insert(_)
            | Self::Publish(_)
            | Self::Mark(_)
            | Self::Answer(_)
            | Self::Sweep(_)
            | Self::SweepLost(_)
            | Self::CancelAsRunning
            | Self::BecomeDue
            | Self::LeaseEnds => Kind::Step,
            Self::Cancel | Self::Expire | Self::OutageStops(_) | Self::PatienceEnds => Kind::Choice,
            _ => Kind::Fault,
        }
    }
}
