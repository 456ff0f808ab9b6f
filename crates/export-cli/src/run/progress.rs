//! How far the export is, on a terminal; elsewhere nothing.

use std::time::{Duration, Instant};

use export_engine::Meter;
use indicatif::{BinaryBytes, HumanCount, ProgressBar, ProgressStyle};

/// The bar's resolution.
const STEPS: f64 = 1000.0;
/// Before this share is done, the time left would be a guess.
const LEAST_SHARE: f64 = 0.005;

/// A bar on standard error.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    began_at: Instant,
    rows: u64,
}

impl Progress {
    /// A bar, if somebody can see it and wants to.
    pub(crate) fn new(quiet: bool) -> Self {
        // Hides itself where standard error is no terminal.
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(1000) };
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {wide_msg}") {
            bar.set_style(style);
        }
        Self { bar, began_at: Instant::now(), rows: 0 }
    }

    /// Shows the figures of now.
    pub(crate) fn show(&mut self, meter: &Meter) {
        let rows = meter.rows();
        if rows < self.rows {
            // The export was begun again.
            self.began_at = Instant::now();
        }
        self.rows = rows;
        let share = meter.share_done();
        self.bar.set_message(message(share, rows, meter.bytes(), self.began_at.elapsed()));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share: 0 to 1")]
        self.bar.set_position((share * STEPS) as u64);
    }

    /// Leaves the terminal as it was.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn message(share: f64, rows: u64, bytes: u64, elapsed: Duration) -> String {
    let left = if share < LEAST_SHARE {
        String::new()
    } else {
        format!(", {} left", duration(elapsed.mul_f64((1.0 - share) / share)))
    };
    format!(
        "{:.1} %, {} rows, {} rows/s, {}{left}",
        share * 100.0,
        HumanCount(rows),
        HumanCount(per_second(rows, elapsed)),
        BinaryBytes(bytes),
    )
}

/// How many of something there are in a second.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "for people, who need three digits of it"
)]
pub(crate) fn per_second(count: u64, elapsed: Duration) -> u64 {
    (count as f64 / elapsed.as_secs_f64().max(0.001)) as u64
}

fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_in_one_line() {
        let at = |share, seconds| message(share, 1_500_000, 3 << 20, Duration::from_secs(seconds));
        assert_eq!(at(0.25, 30), "25.0 %, 1,500,000 rows, 50,000 rows/s, 3.00 MiB, 1 min 30 s left");
        assert_eq!(at(0.0, 30), "0.0 %, 1,500,000 rows, 50,000 rows/s, 3.00 MiB");
        assert_eq!(duration(Duration::from_secs(59)), "59 s");
        assert_eq!(duration(Duration::from_secs(2 * 3600 + 61)), "2 h 1 min");
    }
}
