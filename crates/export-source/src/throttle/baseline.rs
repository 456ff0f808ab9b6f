//! Baselines: the duration of reads without contention from this process, by the size of the reply.
//!
//! Only reads without other concurrent reads of this process are used; the others measure this
//! process's own load. A baseline follows faster reads quickly and slower reads slowly. So a source
//! that stays slower becomes the new baseline in minutes, and a source that is slow for one minute
//! does not.

use std::time::{Duration, Instant};

/// Replies below this size are one class: their duration is the round trip.
const LEAST_BYTES: usize = 4 << 10;
/// Classes of sizes, each half an octave above the one before: from 4 KiB to just above 16 MiB.
const CLASSES: usize = 26;
/// The first reads of a class; the fastest of them is the baseline.
const LEARNING: u32 = 4;
/// The share of the difference by which a faster read lowers the baseline.
const FALL: f64 = 0.25;
/// Maximum growth of a baseline in [`GROWTH_TIME`]: it doubles in five minutes.
const GROWTH: f64 = 1.15;
const GROWTH_TIME: Duration = Duration::from_mins(1);

/// The baselines of all classes.
#[derive(Debug, Default)]
pub(crate) struct Baselines([Option<Baseline>; CLASSES]);

#[derive(Clone, Copy, Debug)]
struct Baseline {
    seconds: f64,
    seen: u32,
    /// When the baseline last grew, or was created.
    grown_at: Instant,
}

impl Baselines {
    /// Takes a read into account and returns its duration as a multiple of its baseline.
    pub(crate) fn record(&mut self, now: Instant, took: Duration, bytes: usize, was_alone: bool) -> f64 {
        let seconds = took.as_secs_f64().max(1e-6);
        let slot = &mut self.0[class(bytes)];
        let Some(baseline) = slot else {
            // The first read is the only information there is.
            *slot = Some(Baseline { seconds, seen: u32::from(was_alone), grown_at: now });
            return 1.0;
        };
        if was_alone {
            baseline.learn(now, seconds);
        } else if baseline.seen == 0 {
            // No read was alone yet: the fastest is the best estimate.
            baseline.seconds = baseline.seconds.min(seconds);
        }
        seconds / baseline.seconds
    }
}

impl Baseline {
    fn learn(&mut self, now: Instant, seconds: f64) {
        if self.seen < LEARNING {
            (self.seconds, self.grown_at) = (seconds.min(self.seconds), now);
        } else if seconds < self.seconds {
            self.seconds += (seconds - self.seconds) * FALL;
        } else {
            let passed = now.saturating_duration_since(self.grown_at).min(GROWTH_TIME);
            let growth = GROWTH.powf(passed.as_secs_f64() / GROWTH_TIME.as_secs_f64());
            self.seconds = seconds.min(self.seconds * growth);
            self.grown_at = self.grown_at.max(now);
        }
        self.seen = self.seen.saturating_add(1);
    }
}

/// The class of replies of this size.
fn class(bytes: usize) -> usize {
    let times = bytes / LEAST_BYTES;
    if times == 0 {
        return 0;
    }
    // The octave is the highest bit; the upper half begins at the square root of two.
    let octave = times.ilog2() as usize;
    let is_upper_half = (bytes as u128).pow(2) >= 2 * ((LEAST_BYTES << octave) as u128).pow(2);
    (1 + 2 * octave + usize::from(is_upper_half)).min(CLASSES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn sizes_fall_into_half_octaves() {
        assert_eq!([0, 1, 4 << 10, 5 << 10, 6 << 10, 8 << 10].map(class), [0, 0, 1, 1, 2, 3]);
        assert_eq!(class(16 << 20), CLASSES - 1);
        assert_eq!(class(usize::MAX / 2), CLASSES - 1);
        let classes: Vec<usize> = (0..(20 << 20)).step_by(997).map(class).collect();
        assert!(classes.is_sorted() && *classes.last().expect("some") == CLASSES - 1);
    }

    #[test]
    fn a_slower_source_becomes_the_baseline_slowly() {
        let mut baselines = Baselines::default();
        let mut now = Instant::now();
        for _ in 0..10 {
            baselines.record(now, ms(10), 1 << 20, true);
        }
        let mut ratio_after = |seconds: u64, took: Duration| {
            let mut ratio = 0.0;
            for _ in 0..seconds {
                now += ms(1_000);
                ratio = baselines.record(now, took, 1 << 20, true);
            }
            ratio
        };
        assert!(ratio_after(60, ms(40)) > 3.3, "after a minute");
        assert!((ratio_after(1_200, ms(40)) - 1.0).abs() < 0.01, "after twenty");
        // A faster source becomes it quickly.
        assert!((ratio_after(30, ms(10)) - 1.0).abs() < 0.01);
    }

    #[test]
    fn concurrent_reads_do_not_change_the_baseline_once_one_was_alone() {
        let (mut baselines, now) = (Baselines::default(), Instant::now());
        assert!((baselines.record(now, ms(50), 100, false) - 1.0).abs() < 1e-9);
        assert!(
            (baselines.record(now, ms(10), 100, true) - 1.0).abs() < 1e-9,
            "the first read that was alone"
        );
        for _ in 0..100 {
            assert!((baselines.record(now, ms(30), 100, false) - 3.0).abs() < 1e-9);
        }
        // Without time passing the baseline does not grow.
        for _ in 0..100 {
            baselines.record(now, ms(30), 100, true);
        }
        assert!((baselines.record(now, ms(30), 100, false) - 3.0).abs() < 1e-9);
    }
}
