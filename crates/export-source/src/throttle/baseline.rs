//! How long reads take when nobody is in their way, by the size of the answer.
//!
//! Only reads of ours that were *alone* teach it: with others under way, it is their company that is measured. It follows faster ones
//! soon and slower ones slowly, so a source that stays slower becomes the new normal in minutes, and one that suffers for a minute does not.

use std::time::{Duration, Instant};

/// Answers below this size count as one size: what they take is the way there and back.
const LEAST_BYTES: usize = 4 << 10;
/// Classes, each larger by half an octave than the one before: from 4 KiB to 16 MiB and a bit.
const CLASSES: usize = 26;
/// A class has its baseline after so many reads: of these the fastest counts.
const LEARNING: u32 = 4;
/// How far a faster read pulls the baseline down to itself.
const FALL: f64 = 0.25;
/// How much a baseline grows in [`GROWTH_TIME`] at most: twice the time in five minutes.
const GROWTH: f64 = 1.15;
const GROWTH_TIME: Duration = Duration::from_mins(1);

/// The baselines of all classes.
#[derive(Debug, Default)]
pub(crate) struct Baselines([Option<Baseline>; CLASSES]);

#[derive(Clone, Copy, Debug)]
struct Baseline {
    seconds: f64,
    seen: u32,
    /// When it last grew, or was made.
    grown_at: Instant,
}

impl Baselines {
    /// Takes a read into account; says how many times its baseline it took.
    pub(crate) fn saw(&mut self, now: Instant, took: Duration, bytes: usize, alone: bool) -> f64 {
        let seconds = took.as_secs_f64().max(1e-6);
        let slot = &mut self.0[class(bytes)];
        let Some(baseline) = slot else {
            // Whatever it is, it is all that is known.
            *slot = Some(Baseline { seconds, seen: u32::from(alone), grown_at: now });
            return 1.0;
        };
        if alone {
            baseline.learn(now, seconds);
        } else if baseline.seen == 0 {
            // None was alone yet: the fastest is nearest to it.
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

/// The class of answers of this size.
fn class(bytes: usize) -> usize {
    let times = bytes / LEAST_BYTES;
    if times == 0 {
        return 0;
    }
    // Half octaves: the whole ones by the highest bit, the half by whether it is beyond the square root of two.
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
    fn a_slower_source_is_the_new_normal_only_slowly() {
        let mut baselines = Baselines::default();
        let mut now = Instant::now();
        for _ in 0..10 {
            baselines.saw(now, ms(10), 1 << 20, true);
        }
        let mut ratio_after = |seconds: u64, took: Duration| {
            let mut ratio = 0.0;
            for _ in 0..seconds {
                now += ms(1_000);
                ratio = baselines.saw(now, took, 1 << 20, true);
            }
            ratio
        };
        assert!(ratio_after(60, ms(40)) > 3.3, "after a minute");
        assert!((ratio_after(1_200, ms(40)) - 1.0).abs() < 0.01, "after twenty");
        // A faster one is soon.
        assert!((ratio_after(30, ms(10)) - 1.0).abs() < 0.01);
    }

    #[test]
    fn reads_in_company_teach_nothing_once_one_was_alone() {
        let (mut baselines, now) = (Baselines::default(), Instant::now());
        assert!((baselines.saw(now, ms(50), 100, false) - 1.0).abs() < 1e-9);
        assert!((baselines.saw(now, ms(10), 100, true) - 1.0).abs() < 1e-9, "the first that was alone");
        for _ in 0..100 {
            assert!((baselines.saw(now, ms(30), 100, false) - 3.0).abs() < 1e-9);
        }
        // A clock that stands still makes nothing grow.
        for _ in 0..100 {
            baselines.saw(now, ms(30), 100, true);
        }
        assert!((baselines.saw(now, ms(30), 100, false) - 3.0).abs() < 1e-9);
    }
}
