//! One end of a range, and why a text is none.

use crate::names::alternatives;

/// One end of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The instant in unix milliseconds.
    ///
    /// An instant between two milliseconds is rounded up, at both ends of a range. Points have
    /// whole milliseconds, so the range has the same points as with the exact instants.
    pub time_ms: i64,
    /// Whether it was rounded up.
    pub is_rounded: bool,
    /// Whether it is a day instead of a time.
    pub is_day: bool,
}

/// Why a text is not an end of a range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoundError {
    /// Another spelling of dates or times that are listed.
    #[error("is not written as expected; did you mean {}?", alternatives(.0))]
    Misspelt(Vec<String>),
    /// A day that no calendar has.
    #[error("there is no {date}: that month has {days} days")]
    NoSuchDay {
        /// The day, as written.
        date: String,
        /// The days of its month.
        days: u32,
    },
    /// A local time in the hour that is skipped when clocks go forward.
    #[error("does not exist in {zone}, where clocks go forward; write {} or {}", instants[0], instants[1])]
    Skipped {
        /// The zone's name.
        zone: &'static str,
        /// The time with the offset after the change and with the one before it.
        instants: [String; 2],
    },
    /// A local time in the hour that is repeated when clocks go back.
    #[error("exists twice in {zone}, where clocks go back; write {} or {}", instants[0], instants[1])]
    Repeated {
        /// The zone's name.
        zone: &'static str,
        /// Both instants.
        instants: [String; 2],
    },
    /// Such as `now` or `yesterday`.
    #[error("is relative to the current time; write the date itself, such as 2018-11-30")]
    Relative,
    /// Anything else.
    #[error(
        "expected a date such as 2018-11-30, a time such as 2018-11-30T06:00:00Z or 2018-11-30T06:00:00+01:00, \
         or a local time of the time zone such as 2018-11-30T06:00"
    )]
    NotADate,
}
