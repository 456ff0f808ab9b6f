//! The concurrency controller: decides the read limit by additive increase and multiplicative
//! decrease. Pure: time is passed in.
//!
//! **Signal.** The median duration of the last reads, as a multiple of their
//! [baseline](super::baseline). Below [`INCREASE_BELOW`], with the limit reached: one more read.
//! Above [`DECREASE_ABOVE`]: fewer by the factor [`DECREASE`], and no further decrease before the
//! effect can be measured. Until the first decrease the limit doubles instead, so that a healthy
//! source soon gets the full number of reads.
//!
//! **Probes.** Once a minute the limit is one for a few reads, to measure the source without this
//! process's own load. Otherwise the controller would in time take its own load for the baseline.
//!
//! **CPU contention.** A worker that is short of CPU time measures longer reads, too, and lowers
//! its limit. This is intended: on a shared machine the source may be short of CPU time as well.

use std::time::{Duration, Instant};

use super::baseline::Baselines;
use super::permits::Concurrency;
use super::pressure::Pressure;

/// Multiple of the baseline above which the limit is lowered.
const DECREASE_ABOVE: f64 = 2.2;
/// Multiple of the baseline above which the limit is lowered while the server reports that reads of
/// other clients are slower, too.
const DECREASE_ABOVE_UNDER_PRESSURE: f64 = 1.7;
/// Multiple of the baseline below which the limit may be raised. Between the two it stays.
const INCREASE_BELOW: f64 = 1.6;
/// The factor of a decrease.
const DECREASE: f64 = 0.7;
/// Minimum time between two decreases, so that the effect of the first can be measured.
const BETWEEN_DECREASES: Duration = Duration::from_millis(500);
/// Minimum time between two increases, and from a decrease to an increase.
const BETWEEN_INCREASES: Duration = Duration::from_millis(250);
/// Minimum number of reads per decision; with a higher limit, as many as the limit.
const MIN_READS: usize = 4;
/// Maximum number of reads per decision.
const MAX_READS: usize = 64;
/// Time between two probes.
const PROBE_INTERVAL: Duration = Duration::from_mins(1);
/// Reads of a probe, and its maximum duration.
const READS_PER_PROBE: u32 = 4;
const MAX_PROBE_TIME: Duration = Duration::from_secs(2);
/// How long a report of the server is valid.
const PRESSURE_VALIDITY: Duration = Duration::from_secs(3);

/// A change of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Lowered for this reason.
    Lowered(&'static str),
    Raised,
}

/// A successful read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndedRead {
    pub(crate) began_at: Instant,
    pub(crate) ended_at: Instant,
    pub(crate) bytes: usize,
    pub(crate) concurrency: Concurrency,
}

/// Decides the limit.
#[derive(Debug)]
pub(crate) struct Controller {
    max: usize,
    limit: usize,
    baselines: Baselines,
    /// Durations of the last reads as multiples of their baselines. Only reads that began after the
    /// last change of the limit.
    ratios: Vec<f64>,
    /// Whether one of these reads found the limit reached.
    is_limit_reached: bool,
    /// Whether the limit doubles: true until the first decrease.
    is_starting: bool,
    changed_at: Option<Instant>,
    lowered_at: Option<Instant>,
    probed_at: Option<Instant>,
    probe: Option<Probe>,
    /// When the server last reported that reads of other clients are slower.
    others_slower_at: Option<Instant>,
}

/// A probe: a few reads without other reads of this process.
#[derive(Clone, Copy, Debug)]
struct Probe {
    began_at: Instant,
    reads: u32,
}

impl Controller {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max: max.max(1),
            // The first reads run alone and set the baseline.
            limit: 1,
            baselines: Baselines::default(),
            ratios: Vec::with_capacity(MAX_READS),
            is_limit_reached: false,
            is_starting: true,
            changed_at: None,
            lowered_at: None,
            probed_at: None,
            probe: None,
            others_slower_at: None,
        }
    }

    /// The maximum number of concurrent reads now.
    pub(crate) fn limit(&self) -> usize {
        if self.probe.is_some() { 1 } else { self.limit }
    }

    /// Takes a successful read into account.
    pub(crate) fn read_ended(&mut self, read: EndedRead) -> Option<Change> {
        let now = read.ended_at;
        let took = now.saturating_duration_since(read.began_at);
        let ratio = self.baselines.record(now, took, read.bytes, read.concurrency.was_alone);
        if self.is_probing(now, read.concurrency.was_alone) {
            return None;
        }
        if self.changed_at.is_some_and(|changed_at| read.began_at < changed_at) {
            // The read began under another limit.
            return None;
        }
        self.is_limit_reached |= read.concurrency.is_full;
        self.ratios.push(ratio);
        let enough = self.limit.clamp(MIN_READS, MAX_READS);
        if self.ratios.len() < enough {
            return None;
        }
        let (median, is_limit_reached) =
            (median(&mut self.ratios), std::mem::take(&mut self.is_limit_reached));
        self.ratios.clear();
        let others_slower = is_within(self.others_slower_at, now, PRESSURE_VALIDITY);
        if median > if others_slower { DECREASE_ABOVE_UNDER_PRESSURE } else { DECREASE_ABOVE } {
            return self.lower(now, "reads take longer than their baseline");
        }
        if median < INCREASE_BELOW && is_limit_reached { self.raise(now) } else { None }
    }

    /// Takes a timeout into account.
    pub(crate) fn read_timed_out(&mut self, now: Instant) -> Option<Change> {
        self.lower(now, "a read timed out")
    }

    /// Takes a report of the server into account.
    pub(crate) fn server_reported(&mut self, now: Instant, pressure: Pressure) -> Option<Change> {
        match pressure {
            Pressure::None => None,
            Pressure::Slower => {
                self.others_slower_at = Some(now);
                None
            }
            Pressure::Waiting(reason) => self.lower(now, reason),
        }
    }

    /// Starts, continues or ends a probe; whether the read belongs to one and must not count for a
    /// decision.
    fn is_probing(&mut self, now: Instant, was_alone: bool) -> bool {
        let probed_at = *self.probed_at.get_or_insert(now);
        if let Some(probe) = &mut self.probe {
            probe.reads += u32::from(was_alone);
            let took = now.saturating_duration_since(probe.began_at);
            if probe.reads >= READS_PER_PROBE || took >= MAX_PROBE_TIME {
                self.probe = None;
                self.probed_at = Some(now);
                self.changed(now);
            }
            return true;
        }
        if self.limit > 1 && now.saturating_duration_since(probed_at) >= PROBE_INTERVAL {
            self.probe = Some(Probe { began_at: now, reads: 0 });
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
        if self.limit >= self.max {
            return None;
        }
        let too_soon = !self.is_starting && is_within(self.changed_at, now, BETWEEN_INCREASES);
        if too_soon {
            return None;
        }
        let step = if self.is_starting { self.limit } else { 1 };
        self.limit = (self.limit + step).min(self.max);
        self.changed(now);
        Some(Change::Raised)
    }

    fn changed(&mut self, now: Instant) {
        self.changed_at = Some(now);
        self.ratios.clear();
        self.is_limit_reached = false;
    }
}

fn is_within(since: Option<Instant>, now: Instant, time: Duration) -> bool {
    since.is_some_and(|since| now.saturating_duration_since(since) < time)
}

/// The median; of an even number the lower one, because slow outliers are more frequent than fast
/// ones. Not empty.
fn median(ratios: &mut [f64]) -> f64 {
    let middle = (ratios.len() - 1) / 2;
    *ratios.select_nth_unstable_by(middle, f64::total_cmp).1
}

#[cfg(test)]
#[path = "controller_tests.rs"]
mod tests;
