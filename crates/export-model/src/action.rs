//! Everything that can happen next.

use export_core::rules::Transition;

/// What happens next. Processes of a kind are told apart by their position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A worker gets a message.
    Deliver(usize),
    /// A worker claims the job.
    Claim(usize),
    /// A worker sees why it could not claim.
    Look(usize),
    /// A worker writes its next part.
    Write(usize),
    /// A worker shows that it is at work, and learns that it should not be.
    Heartbeat(usize),
    /// A worker's clock tells it that its lease has run out.
    OwnClock(usize),
    /// A worker writes down how its attempt ended.
    End(usize),
    /// A worker reads what became of that.
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
    /// A dispatcher sees a job that waits, or a sweeper one that was published long ago.
    Sweep(usize),
    /// A sweeper takes the job from a lost worker.
    SweepLost(Transition),
    /// The cancel goes on, as that of a running job.
    CancelAsRunning,
    /// The back-off is over.
    BecomeDue,
    /// A lease runs out that nobody would renew.
    LeaseRunsOut,

    /// The client cancels.
    Cancel,
    /// The result's time is over.
    Expire,

    /// A worker dies.
    Crash(usize),
    /// A worker is told to stop, and gives its job back.
    HandOver(usize),
    /// A worker's connection to the broker breaks; it goes on working.
    Disconnect(usize),
    /// An export meets an error that another attempt may not meet.
    ExportFails(usize),
    /// An export meets an error that every attempt would meet.
    ExportIsHopeless(usize),
    /// A worker ends its attempt and cannot write down how.
    LeaveUnwritten(usize),
    /// The claim is made, but its answer is lost.
    ClaimUnanswered(usize),
    /// The claim is not made, and its answer is lost.
    ClaimLost(usize),
    /// The part is written, but the answer is lost.
    WriteUnanswered(usize),
    /// The part is not written, and the answer is lost.
    WriteLost(usize),
    /// How the attempt ended is written down, but the answer is lost.
    EndUnanswered(usize),
    /// A lease runs out although its worker lives: frozen, or cut off.
    LeaseRunsOutEarly,
    /// A message comes twice.
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

/// What kind of thing an action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Happens by itself, sooner or later.
    Step,
    /// May happen or not, through nobody's fault.
    Choice,
    /// Must not be needed, and must do no harm.
    Fault,
}

impl Action {
    /// Its kind.
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
            | Self::LeaseRunsOut => Kind::Step,
            Self::Cancel | Self::Expire => Kind::Choice,
            _ => Kind::Fault,
        }
    }
}
