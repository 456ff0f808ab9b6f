//! Steps that must never happen.

/// A step that must never happen, as the model notices it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wrong {
    /// A result was finished before its object.
    Incomplete,
    /// A finished result changed.
    Changed,
    /// A worker retired another result than the one that was current when it began.
    RetiredNewer,
    /// A job got an expired result.
    ExpiredResult,
    /// A job that asks for a fresh result got an older one.
    StaleForFresh,
    /// A running job began to read although it could share.
    ReadTwice,
    /// A result was finished, and is not current.
    NotCurrent,
    /// A job got a result that lacks what the source had when the job was created.
    Stale,
    /// An ended job changed.
    EndedChanged,
}
