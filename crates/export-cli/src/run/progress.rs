//! The progress bar of an export; only on a terminal.

use std::time::{Duration, Instant};

use export_engine::Meter;
use indicatif::{BinaryBytes, HumanCount, ProgressBar};

use crate::duration::duration;
use crate::print::{Console, show_share};

/// The share below which no time left is shown, because the estimate would be poor.
const LEAST_SHARE: f64 = 0.005;

/// A bar on standard error.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    began_at: Instant,
    rows: u64,
}

impl Progress {
    /// A bar on this console.
    pub(crate) fn new(console: &Console) -> Self {
        Self { bar: console.bar(), began_at: Instant::now(), rows: 0 }
    }

    /// Shows the meter's current figures.
    pub(crate) fn show(&mut self, meter: &Meter) {
        let rows = meter.rows();
        if rows < self.rows {
            // The engine has restarted the export.
            self.began_at = Instant::now();
        }
        self.rows = rows;
        if meter.vehicles_total() == 0 {
            show_share(&self.bar, None, "reading the list of vehicles");
            return;
        }
        let share = meter.share_done();
        let message = message(share, rows, meter.bytes(), self.began_at.elapsed());
        show_share(&self.bar, Some(share), &message);
    }
}

fn message(share: f64, rows: u64, bytes: u64, elapsed: Duration) -> String {
    let left = if share < LEAST_SHARE {
        String::new()
    } else {
        format!(", {} left", duration(elapsed.mul_f64((1.0 - share) / share).as_secs()))
    };
    format!(
        "{:.1} %, {} rows, {} rows/s, {}{left}",
        share * 100.0,
        HumanCount(rows),
        HumanCount(per_second(rows, elapsed)),
        BinaryBytes(bytes),
    )
}

/// `count` per second of `elapsed`.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "shown to people, who need three digits"
)]
pub(crate) fn per_second(count: u64, elapsed: Duration) -> u64 {
    (count as f64 / elapsed.as_secs_f64().max(0.001)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        let at = |share, seconds| message(share, 1_500_000, 3 << 20, Duration::from_secs(seconds));
        assert_eq!(at(0.25, 30), "25.0 %, 1,500,000 rows, 50,000 rows/s, 3.00 MiB, 1 min 30 s left");
        assert_eq!(at(0.0, 30), "0.0 %, 1,500,000 rows, 50,000 rows/s, 3.00 MiB");
    }
}
