//! How many reads the source takes well at a time: additive increase, multiplicative decrease. Pure: time is passed in.
//!
//! It goes by how long reads take against their [baseline](super::baseline), in the middle of the last few. Well and the limit used: one
//! more. Much longer than alone: fewer, by a factor, and not again before that could have shown. At first it doubles instead, as long as
//! all is well, so that a healthy source is soon read at full width. Once a minute it goes down to one for a few reads, to look at the source
//! without its own company: otherwise it would take its own load for the normal state after a while.
//!
//! A worker that is itself short of processor time sees longer reads, too, and lowers its limit. That is as it should be: on a shared machine
//! the source may be short of the same.

use std::time::{Duration, Instant};

use super::baseline::Baselines;
use super::permits::Company;
use super::pressure::Pressure;

/// Times its baseline that the middle one of the last reads may take before the limit is lowered.
const SUFFERS: f64 = 2.2;
/// The same where the server says that others' reads are slower, too.
const SUFFERS_WITH_OTHERS: f64 = 1.7;
/// Below this all is well and the limit may be raised; between the two it stays.
const WELL: f64 = 1.6;
/// What is left of the limit when it is lowered.
const DECREASE: f64 = 0.7;
/// Time between two decreases: what the first has changed must show before it is judged.
const BETWEEN_DECREASES: Duration = Duration::from_millis(500);
/// Time between two increases, and of quiet after a decrease.
const BETWEEN_INCREASES: Duration = Duration::from_millis(250);
/// Fewest reads that are judged together; with a higher limit as many as it allows at a time.
const LEAST_READS: usize = 4;
/// Most of them.
const MOST_READS: usize = 64;
/// Time of reading after which the source is looked at alone.
const BETWEEN_LOOKS: Duration = Duration::from_mins(1);
/// Reads of such a look, and the longest that it may take.
const READS_OF_A_LOOK: u32 = 4;
const LONGEST_LOOK: Duration = Duration::from_secs(2);
/// How long a word of the server counts.
const PRESSURE_COUNTS: Duration = Duration::from_secs(3);

/// The limit was lowered or raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Lowered, and why.
    Lowered(&'static str),
    Raised,
}

/// One read that has ended well.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndedRead {
    pub(crate) began_at: Instant,
    pub(crate) ended_at: Instant,
    pub(crate) bytes: usize,
    pub(crate) company: Company,
}

/// Decides the limit.
#[derive(Debug)]
pub(crate) struct Controller {
    most: usize,
    limit: usize,
    baselines: Baselines,
    /// What the last reads took, in multiples of their baselines; only of reads that began after the last change.
    ratios: Vec<f64>,
    /// Whether one of them found as many under way as may be.
    is_used: bool,
    /// Doubling, until the first decrease.
    is_starting: bool,
    changed_at: Option<Instant>,
    lowered_at: Option<Instant>,
    looked_at: Option<Instant>,
    look: Option<Look>,
    /// When the server said last that others' reads are slower.
    others_slower_at: Option<Instant>,
}

/// A look at the source without company.
#[derive(Clone, Copy, Debug)]
struct Look {
    began_at: Instant,
    reads: u32,
}

impl Controller {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            // The first reads are alone: they teach the baseline.
            limit: 1,
            baselines: Baselines::default(),
            ratios: Vec::with_capacity(MOST_READS),
            is_used: false,
            is_starting: true,
            changed_at: None,
            lowered_at: None,
            looked_at: None,
            look: None,
            others_slower_at: None,
        }
    }

    /// How many reads there may be at a time now.
    pub(crate) fn limit(&self) -> usize {
        if self.look.is_some() { 1 } else { self.limit }
    }

    /// A read has ended.
    pub(crate) fn read_ended(&mut self, read: EndedRead) -> Option<Change> {
        let now = read.ended_at;
        let took = now.saturating_duration_since(read.began_at);
        let ratio = self.baselines.saw(now, took, read.bytes, read.company.alone);
        if self.is_looking(now, read.company.alone) {
            return None;
        }
        if self.changed_at.is_some_and(|changed_at| read.began_at < changed_at) {
            // It began under another limit.
            return None;
        }
        self.is_used |= read.company.is_full;
        self.ratios.push(ratio);
        let enough = self.limit.clamp(LEAST_READS, MOST_READS);
        if self.ratios.len() < enough {
            return None;
        }
        let (middle, is_used) = (median(&mut self.ratios), std::mem::take(&mut self.is_used));
        self.ratios.clear();
        let others_slower = is_within(self.others_slower_at, now, PRESSURE_COUNTS);
        if middle > if others_slower { SUFFERS_WITH_OTHERS } else { SUFFERS } {
            return self.lower(now, "its reads take longer than they did alone");
        }
        if middle < WELL && is_used { self.raise(now) } else { None }
    }

    /// A read got no answer in time.
    pub(crate) fn read_timed_out(&mut self, now: Instant) -> Option<Change> {
        self.lower(now, "a read got no answer in time")
    }

    /// The server has told how it is.
    pub(crate) fn server_told(&mut self, now: Instant, pressure: Pressure) -> Option<Change> {
        match pressure {
            Pressure::None => None,
            Pressure::Slower => {
                self.others_slower_at = Some(now);
                None
            }
            Pressure::Waiting(reason) => self.lower(now, reason),
        }
    }

    /// Whether this read is part of a look at the source, or is the first to be followed by one.
    fn is_looking(&mut self, now: Instant, alone: bool) -> bool {
        let looked_at = *self.looked_at.get_or_insert(now);
        if let Some(look) = &mut self.look {
            look.reads += u32::from(alone);
            let took = now.saturating_duration_since(look.began_at);
            if look.reads >= READS_OF_A_LOOK || took >= LONGEST_LOOK {
                self.look = None;
                self.looked_at = Some(now);
                self.changed(now);
            }
            return true;
        }
        if self.limit > 1 && now.saturating_duration_since(looked_at) >= BETWEEN_LOOKS {
            self.look = Some(Look { began_at: now, reads: 0 });
            return true;
        }
        false
    }

    fn lower(&mut self, now: Instant, reason: &'static str) -> Option<Change> {
        if self.limit == 1 || is_within(self.lowered_at, now, BETWEEN_DECREASES) {
            return None;
        }
        self.is_starting = false;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small positive number"
        )]
        let lower = (self.limit as f64 * DECREASE) as usize;
        self.limit = lower.max(1);
        self.lowered_at = Some(now);
        self.changed(now);
        Some(Change::Lowered(reason))
    }

    fn raise(&mut self, now: Instant) -> Option<Change> {
        if self.limit >= self.most {
            return None;
        }
        let too_soon = !self.is_starting && is_within(self.changed_at, now, BETWEEN_INCREASES);
        if too_soon {
            return None;
        }
        let step = if self.is_starting { self.limit } else { 1 };
        self.limit = (self.limit + step).min(self.most);
        self.changed(now);
        Some(Change::Raised)
    }

    fn changed(&mut self, now: Instant) {
        self.changed_at = Some(now);
        self.ratios.clear();
        self.is_used = false;
    }
}

fn is_within(since: Option<Instant>, now: Instant, time: Duration) -> bool {
    since.is_some_and(|since| now.saturating_duration_since(since) < time)
}

/// The middle one, of an even number the lower: a slow one is chance more often than a fast one. There is at least one.
fn median(ratios: &mut [f64]) -> f64 {
    let middle = (ratios.len() - 1) / 2;
    *ratios.select_nth_unstable_by(middle, f64::total_cmp).1
}

#[cfg(test)]
#[path = "controller_tests.rs"]
mod tests;
